//! So many traces a second, of each key or in all, and a word of the rare ones.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Candidate, HeadConfigError, Sampler, within};
use crate::keyed::{self, Forecast, Keyed, Weigh};
use crate::{Intent, Threshold};

/// Aims at so many kept traces a second.
///
/// Traces are counted where they [come to their service](Candidate::is_entry); other spans are
/// sampled as the traces of their key are. What a key is expected to bring in a window is what it
/// brought in the last: at once where that was more, half of the way where it was less. The first
/// trace of a key in a window is kept for sure, if the goal allows for one.
///
/// No burst of whatever size keeps more than three windows' goals (four, where keys share one), and
/// what it keeps is paid back in the windows that follow: over time the goal is kept to.
///
/// Keys beyond the number that is told apart are one key more together, with the same goal; where
/// keys share a goal, so are those that were not there in the window before. A key that brought
/// nothing for a while makes room.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_sampler::head::{self, Candidate, Goal, Throughput, ThroughputConfig};
/// use teleflow_sampler::Composition;
///
/// let start = Instant::now();
/// let config = ThroughputConfig { goal: Goal::PerKey(10.0), ..ThroughputConfig::default() };
/// let sampler = Throughput::new(config, start)?;
/// let mut kept = 0;
/// for n in 0..100_000u128 {
///     // A thousand traces a second for a hundred seconds.
///     let now = start + Duration::from_millis(n as u64);
///     let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
///     let candidate = Candidate { key: 1, ..Candidate::of_trace(id) };
///     let decision = head::sample(&sampler, Composition::Equalizing, now, &candidate);
///     kept += u32::from(decision.is_kept());
/// }
/// assert!((900..1100).contains(&kept), "{kept}");
/// # Ok::<(), teleflow_sampler::head::HeadConfigError>(())
/// ```
#[derive(Debug)]
pub struct Throughput(Mutex<Keyed>);

/// How a [`Throughput`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThroughputConfig {
    /// What it aims at: 10 traces a second of each key.
    pub goal: Goal,
    /// How long a probability stays: 10 s. The goal should allow for some traces in a window, or the
    /// counts become coarse.
    pub window: Duration,
    /// How many keys are told apart: 500. Each takes 112 bytes, and as much again for free places.
    pub max_keys: usize,
}

/// What a [`Throughput`] aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many traces a second of each key.
    PerKey(f64),
    /// So many traces a second of all keys together: the same number of each, and of those that have
    /// fewer all.
    Total(f64),
}

/// What a [`Throughput`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ThroughputStats {
    /// Traces that it was asked about.
    pub seen: u64,
    /// Traces that were kept.
    pub kept: u64,
    /// Traces of keys that were not told apart.
    pub others: u64,
    /// Keys that are told apart now.
    pub keys: u64,
    /// Windows that have ended.
    pub windows: u64,
}

/// More a second than any machine moves; beyond it numbers lose their units.
const MOST: f64 = 1e15;

// === impl ThroughputConfig ===

impl Default for ThroughputConfig {
    fn default() -> Self {
        Self { goal: Goal::PerKey(10.0), window: Duration::from_secs(10), max_keys: 500 }
    }
}

// === impl Throughput ===

impl Throughput {
    /// Starts its first window.
    ///
    /// # Errors
    ///
    /// If the goal is not above zero and below 10^15, or the window is empty or longer than a day.
    pub fn new(config: ThroughputConfig, now: Instant) -> Result<Self, HeadConfigError> {
        super::window_nanos(config.window)?;
        let goal = match config.goal {
            Goal::PerKey(goal) => keyed::Goal::PerKey(within("the goal", goal, MOST)?),
            Goal::Total(goal) => keyed::Goal::Total(within("the goal", goal, MOST)?),
        };
        let mut keyed = Keyed::new(keyed::Config {
            goal,
            weigh: Weigh::Equal,
            forecast: Forecast::Rising,
            window: config.window,
            max_keys: config.max_keys,
            initial: 1.0,
        });
        keyed.turn(now);
        Ok(Self(Mutex::new(keyed)))
    }

    /// What it did.
    pub fn stats(&self) -> ThroughputStats {
        let keyed::Stats { seen, kept, others, keys, windows, .. } = self.lock().stats();
        ThroughputStats { seen, kept, others, keys, windows }
    }

    fn lock(&self) -> MutexGuard<'_, Keyed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler for Throughput {
    fn intent(&self, now: Instant, candidate: &Candidate) -> Intent {
        let probability = self.lock().ask(now, candidate.key, f64::from(candidate.is_entry));
        // Below all thresholds the highest is the nearest.
        Intent::Sample(Threshold::from_probability(probability).unwrap_or(Threshold::MOST))
    }

    fn hear(&self, _: Instant, candidate: &Candidate, is_kept: bool, is_own: bool) {
        if is_kept && is_own && candidate.is_entry {
            self.lock().count_kept(candidate.key, 1.0);
        }
    }
}
