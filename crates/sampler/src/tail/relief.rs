//! Stress relief: under pressure, chance decides about a trace as soon as it begins.
//!
//! Deciding early makes room, and is paid for with traces that are not whole. Before that has to be,
//! nothing new may be let in: a trace that begins while relief is active is decided by its randomness
//! alone, and is not held. The decision is remembered with its threshold like any other, so the rest
//! of the trace follows it, and what is kept stands for what is not. Traces that are held already, or
//! were decided about, go on as without.
//!
//! Log records alone do not begin a trace that way: they do not say what chance decides with, which a
//! span's trace state may. They wait as ever.

use std::time::{Duration, Instant};

use super::kept::MarkRef;
use super::{ConfigError, TailSampler, Trigger, chance, nanos};
use crate::engine::{By, Verdict};
use crate::{Randomness, Threshold, TraceSummary};

/// When to decide about traces as they begin, and what to keep of them.
///
/// The level is how full the fullest is of what has a bound, in percent: [`Config::max_bytes`],
/// [`Config::max_traces`], and where the caller [tells](TailSampler::note_waiting) of it, what waits
/// for the sampler.
///
/// While it is active, no caller has to hold back for the number of traces:
/// [`Config::blocks_when_full`] is then without effect.
///
/// [`Config::max_bytes`]: crate::Config::max_bytes
/// [`Config::max_traces`]: crate::Config::max_traces
/// [`Config::blocks_when_full`]: crate::Config::blocks_when_full
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Relief {
    /// What is kept of the traces that begin meanwhile. It should be less than rules keep: else it is
    /// no relief. One of 100.
    pub threshold: Threshold,
    /// The level from which on it is active, in percent. 0: always. 90.
    pub activation: u8,
    /// The level below which it ends, in percent; not above `activation`. 0: never. 75.
    pub deactivation: u8,
    /// How long the level has to be below that before it ends. More than a year is a year. 10 s.
    pub at_least: Duration,
}

/// What relief did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReliefStats {
    /// How many samplers have it active now: of one, 0 or 1.
    pub active: u64,
    /// The level when it was last looked at, in percent; of several samplers, the highest. 0 without
    /// relief.
    pub level: u64,
    /// How often it began.
    pub activations: u64,
    /// Traces that were kept when they began.
    pub traces_kept: u64,
    /// Traces that were left out when they began.
    pub traces_sampled_out: u64,
}

/// What a sampler knows of the pressure it is under.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    is_active: bool,
    /// Until when the level has to stay low, in nanoseconds since the sampler began.
    until: u64,
    level: u8,
    /// How full what waits for the sampler is.
    waiting: u8,
    pub(super) stats: ReliefStats,
}

// === impl Relief ===

impl Relief {
    pub(super) const fn check(self) -> Result<(), ConfigError> {
        let Self { activation, deactivation, .. } = self;
        if activation > 100 || deactivation > activation {
            return Err(ConfigError::Relief { activation, deactivation });
        }
        Ok(())
    }
}

impl Default for Relief {
    /// Refinery's: one of 100 from 90 % on, until it was below 75 % for 10 s.
    fn default() -> Self {
        Self {
            // It is a probability.
            threshold: Threshold::from_probability(0.01).unwrap_or(Threshold::MOST),
            activation: 90,
            deactivation: 75,
            at_least: Duration::from_secs(10),
        }
    }
}

// === impl Pressure ===

impl Pressure {
    /// What is always to be active is so from the first trace on.
    pub(super) fn new(relief: Option<Relief>) -> Self {
        let mut pressure = Self::default();
        if let Some(relief) = relief {
            pressure.look(relief, 0, 0);
        }
        pressure
    }

    #[inline]
    pub(super) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// When there is something to look at, for who has nothing else to do.
    pub(super) fn deadline(&self, relief: Option<Relief>) -> Option<u64> {
        let is_ending = self.is_active && self.level < relief?.deactivation;
        is_ending.then_some(self.until)
    }

    fn look(&mut self, relief: Relief, level: u8, time: u64) {
        self.level = level;
        let begins = !self.is_active && level >= relief.activation;
        self.stats.activations += u64::from(begins);
        self.is_active |= begins;
        if level >= relief.deactivation {
            self.until = time.saturating_add(nanos(relief.at_least));
        } else if time >= self.until {
            self.is_active = false;
        }
    }
}

// === impl TailSampler ===

impl TailSampler {
    /// Tells how full what waits for the sampler is, in percent: for [`Relief`], which heeds what was
    /// told last.
    pub const fn note_waiting(&mut self, percent: u8) {
        self.pressure.waiting = percent;
    }

    /// Whether [`Relief`] is active.
    pub const fn is_relieving(&self) -> bool {
        self.pressure.is_active()
    }

    /// Looks at the pressure, and begins or ends relief.
    pub(super) fn look_at_pressure(&mut self, now: Instant) {
        let Some(relief) = self.config.relief else { return };
        let full = percent(self.table.bytes(), self.config.max_bytes);
        let many = percent(self.table.traces(), self.config.max_traces);
        let level = full.max(many).max(self.pressure.waiting.min(100));
        let time = self.time(now);
        self.pressure.look(relief, level, time);
    }

    /// Takes over another configuration.
    pub(super) fn change_relief(&mut self) {
        let stats = self.pressure.stats;
        match self.config.relief {
            None => self.pressure = Pressure { stats, ..Pressure::default() },
            Some(relief) if relief.activation == 0 => self.pressure.look(relief, 0, 0),
            // The next look at the pressure says.
            Some(_) => {}
        }
    }

    /// Decides about a trace by its first spans, while relief is active. Tells what is written to
    /// them, where they are kept.
    #[cold]
    pub(super) fn relieve(
        &mut self,
        id: &[u8; 16],
        hash: u64,
        summary: &TraceSummary,
    ) -> Option<(MarkRef, Option<Threshold>)> {
        let relief = self.config.relief?;
        let own = summary.randomness.unwrap_or_else(|| Randomness::from_trace_id(*id));
        let threshold = Some(relief.threshold);
        let by = Some(By::RELIEF);
        self.stats.decisions[Trigger::Relief as usize] += 1;
        if !relief.threshold.keeps(own) {
            self.memory.remember_dropped(hash);
            self.stats.traces_sampled_out += 1;
            self.pressure.stats.traces_sampled_out += 1;
            self.stats.spans_sampled_out[Trigger::Relief as usize] += summary.spans;
            return self.dry_drop(by).map(|mark| (mark, None));
        }
        self.memory.remember_kept(hash, threshold, by);
        self.stats.traces_kept += 1;
        self.pressure.stats.traces_kept += 1;
        let verdict = Verdict { is_kept: true, threshold, randomness: None, by };
        let label = self.label(&verdict);
        let chance = chance(&verdict, summary, *id);
        let mark = self.mark(threshold, chance, true, label);
        Some((self.noted(mark, by, None), threshold))
    }

    pub(super) fn relief_stats(&self) -> ReliefStats {
        let Pressure { is_active, level, stats, .. } = self.pressure;
        ReliefStats { active: is_active.into(), level: level.into(), ..stats }
    }
}

/// At most 100.
fn percent(used: usize, most: usize) -> u8 {
    // What is above 255 is 255.
    ((used as f64 / most.max(1) as f64 * 100.0) as u8).min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_begins_high_and_ends_when_it_was_low_for_long() {
        let relief = Relief::default();
        let mut pressure = Pressure::default();
        for (at, level, is_active, deadline) in [
            (0, 89, false, None),
            (1, 90, true, None),
            (2, 75, true, None),
            (3, 74, true, Some(12)),
            (11, 0, true, Some(12)),
            // Once more, and it waits anew.
            (11, 80, true, None),
            (20, 10, true, Some(21)),
            // A clock that goes back ends nothing.
            (3, 10, true, Some(21)),
            (21, 74, false, None),
            (22, 89, false, None),
            (23, 100, true, None),
        ] {
            pressure.look(relief, level, at * SECOND);
            assert_eq!(pressure.is_active(), is_active, "{at} s");
            assert_eq!(
                pressure.deadline(Some(relief)),
                deadline.map(|deadline: u64| deadline * SECOND),
                "{at} s"
            );
        }
        assert_eq!(pressure.stats.activations, 2);
        assert_eq!(pressure.deadline(None), None);
    }

    #[test]
    fn from_zero_on_it_never_ends() {
        let relief = Relief { activation: 0, deactivation: 0, ..Relief::default() };
        let mut pressure = Pressure::default();
        for at in 0..3 {
            pressure.look(relief, 0, at * 1_000_000 * SECOND);
            assert!(pressure.is_active() && pressure.deadline(Some(relief)).is_none());
        }
    }

    #[test]
    fn one_of_a_hundred_is_the_default() {
        assert!((Relief::default().threshold.adjusted_count() - 100.0).abs() < 0.01);
        assert_eq!([percent(3, 4), percent(9, 3), percent(1, 0)], [75, 100, 100]);
        assert_eq!([percent(0, usize::MAX), percent(usize::MAX, 1)], [0, 100]);
    }
}
