//! So many traces a second, of each key or in all, and a word of the rare ones.
//!
//! Time goes in windows. What a key is expected to bring in a window is what it brought in the last:
//! at once where that was more, half of the way where it was less. From that and from what it may
//! keep, its budget, follows the probability for the window, and from that the threshold: so what is
//! kept stands for what came, however the rate moves. The first trace of a key in a window is kept
//! for sure, if the budget allows for one, and the others share the rest.
//!
//! Nobody knows a burst before it is there. Once a window's expected number of kept traces is past
//! the budget, the probability falls with the power 1.5 of the excess. So no burst of whatever size
//! keeps more than three budgets (four in all, where keys share one), and what it keeps is paid back in the
//! windows that follow: over time the goal is kept to. It never falls to nothing, for what is left
//! out without a chance would be missing from the counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Candidate, HeadConfigError, Sampler, within};
use crate::{Intent, Threshold};

/// Aims at so many kept traces a second.
///
/// Traces are counted where they [come to their service](Candidate::is_entry); other spans are
/// sampled as the traces of their key are. Keys beyond the number that is told apart are one key more
/// together, with the same goal. A key that brought nothing for a while makes room.
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
pub struct Throughput(Mutex<State>);

/// How a [`Throughput`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThroughputConfig {
    /// What it aims at: 10 traces a second of each key.
    pub goal: Goal,
    /// How long a probability stays: 10 s. The goal should allow for some traces in a window, or the
    /// counts become coarse.
    pub window: Duration,
    /// How many keys are told apart: 500. Each takes 100 bytes.
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

#[derive(Debug)]
struct State {
    window: Duration,
    max_keys: usize,
    window_end: Instant,
    keys: HashTable<Slot>,
    /// All keys that found no place, as one.
    others: Slot,
    plan: Plan,
    stats: ThroughputStats,
}

/// What may be kept in a window.
#[derive(Debug)]
enum Plan {
    /// The budget of each key.
    PerKey(f64),
    Total(Total),
}

/// A budget that keys share.
#[derive(Debug)]
struct Total {
    account: Account,
    offered: f64,
    /// The most that a key may have; without bounds where there is enough for all.
    level: f64,
    /// How many keys may still have their first trace kept.
    firsts: f64,
}

/// A budget with what was left of those before, or is owed.
#[derive(Clone, Copy, Debug)]
struct Account {
    share: f64,
    tokens: f64,
    kept: f64,
}

#[derive(Debug)]
struct Slot {
    key: u64,
    /// What came in this window, and what is expected in one.
    seen: f64,
    expected: f64,
    /// The sum of the probabilities of what came.
    offered: f64,
    probability: f64,
    budget: f64,
    /// Whether the first trace of the window is kept for sure, and still to come.
    keeps_first: bool,
    account: Account,
}

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
        let (Goal::PerKey(goal) | Goal::Total(goal)) = config.goal;
        let goal = within("the goal", goal, MOST)?;
        let share = goal * config.window.as_secs_f64();
        let plan = match config.goal {
            Goal::PerKey(_) => Plan::PerKey(share),
            Goal::Total(_) => {
                let account = Account::new(share);
                let firsts = account.budget();
                Plan::Total(Total { account, offered: 0.0, level: f64::INFINITY, firsts })
            }
        };
        Ok(Self(Mutex::new(State {
            window: config.window,
            max_keys: config.max_keys,
            window_end: now + config.window,
            keys: HashTable::new(),
            others: Slot::new(0, &plan),
            plan,
            stats: ThroughputStats::default(),
        })))
    }

    /// What it did.
    pub fn stats(&self) -> ThroughputStats {
        let state = self.lock();
        ThroughputStats { keys: state.keys.len() as u64, ..state.stats }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler for Throughput {
    fn intent(&self, now: Instant, candidate: &Candidate) -> Intent {
        let mut state = self.lock();
        state.turn(now);
        let probability = state.probability(candidate.key, candidate.is_entry);
        // Below all thresholds the highest is the nearest.
        Intent::Sample(Threshold::from_probability(probability).unwrap_or(Threshold::MOST))
    }

    fn hear(&self, _: Instant, candidate: &Candidate, is_kept: bool, is_own: bool) {
        if is_kept && is_own && candidate.is_entry {
            self.lock().count_kept(candidate.key);
        }
    }
}

// === impl State ===

impl State {
    fn probability(&mut self, key: u64, is_entry: bool) -> f64 {
        let Self { keys, others, plan, stats, max_keys, .. } = self;
        let is_full = keys.len() >= *max_keys;
        let slot = match keys.entry(key, |slot| slot.key == key, |slot| slot.key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if is_entry && !is_full => {
                entry.insert(Slot::new(key, plan)).into_mut()
            }
            Entry::Vacant(_) => {
                stats.others += u64::from(is_entry);
                others
            }
        };
        let own = slot.probability * damping(slot.offered, slot.budget);
        let probability = match plan {
            Plan::PerKey(_) => own,
            Plan::Total(total) => own * damping(total.offered, total.account.budget()),
        };
        if !is_entry {
            return probability;
        }
        stats.seen += 1;
        slot.seen += 1.0;
        let keeps_first = std::mem::take(&mut slot.keeps_first)
            && match plan {
                Plan::PerKey(_) => true,
                Plan::Total(total) => total.take_first(),
            };
        let (of_slot, of_total) = if keeps_first { (1.0, 1.0) } else { (slot.probability, own) };
        slot.offered += of_slot;
        if let Plan::Total(total) = plan {
            total.offered += of_total;
        }
        if keeps_first { 1.0 } else { probability }
    }

    fn count_kept(&mut self, key: u64) {
        self.stats.kept += 1;
        let found = self.keys.find_mut(key, |slot| slot.key == key);
        found.unwrap_or(&mut self.others).account.kept += 1.0;
        if let Plan::Total(total) = &mut self.plan {
            total.account.kept += 1.0;
        }
    }

    /// Starts a new window, where it is time.
    #[inline]
    fn turn(&mut self, now: Instant) {
        if now >= self.window_end {
            self.start_window(now);
        }
    }

    #[cold]
    fn start_window(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.window_end).as_nanos();
        let windows = (late / self.window.as_nanos()) as f64 + 1.0;
        let rest = late % self.window.as_nanos();
        self.window_end = now + self.window - Duration::from_nanos(rest as u64);
        self.stats.windows += windows as u64;
        let is_total = matches!(self.plan, Plan::Total(_));
        self.others.end_window(windows);
        self.keys.retain(|slot| {
            slot.end_window(windows);
            !slot.is_idle(is_total)
        });
        if let Plan::Total(total) = &mut self.plan {
            let all = self.keys.iter().chain([&self.others]);
            total.start_window(windows, all.map(|slot| slot.expected).collect());
        }
        let Self { keys, others, plan, .. } = self;
        keys.iter_mut().chain([others]).for_each(|slot| slot.start_window(plan));
    }
}

/// How much the probability falls once more than the budget was offered. Over any excess the sum of
/// what it leaves is at most two budgets.
fn damping(offered: f64, budget: f64) -> f64 {
    if offered <= budget {
        return 1.0;
    }
    let part = budget / offered;
    part * part.sqrt()
}

// === impl Slot ===

impl Slot {
    fn new(key: u64, plan: &Plan) -> Self {
        let share = match plan {
            Plan::PerKey(share) => *share,
            // A key has no account of its own.
            Plan::Total(_) => 0.0,
        };
        let mut slot = Self {
            key,
            seen: 0.0,
            expected: 0.0,
            offered: 0.0,
            probability: 1.0,
            budget: 0.0,
            keeps_first: true,
            account: Account::new(share),
        };
        slot.start_window(plan);
        slot
    }

    fn end_window(&mut self, windows: f64) {
        self.expected =
            if self.seen > self.expected { self.seen } else { (self.expected + self.seen) / 2.0 };
        // Those in which nothing at all came.
        self.expected *= (1.0 - windows).exp2();
        self.account.end_window(windows);
        (self.seen, self.offered) = (0.0, 0.0);
    }

    fn start_window(&mut self, plan: &Plan) {
        (self.budget, self.keeps_first) = match plan {
            Plan::PerKey(_) => (self.account.budget(), self.account.tokens >= 1.0),
            Plan::Total(total) => (total.level, true),
        };
        let rest = if self.keeps_first && self.budget >= 1.0 {
            // What the first leaves to the others: never nothing, or they would not be counted.
            (self.budget - 1.0).max(self.budget / 10.0) / (self.expected - 1.0).max(0.0)
        } else {
            self.budget / self.expected.max(1.0)
        };
        // Nothing expected is no number, and then there is enough.
        self.probability = if rest < 1.0 { rest } else { 1.0 };
    }

    /// Whether to forget it changes nothing: it brings nothing, and owes nothing.
    fn is_idle(&self, is_total: bool) -> bool {
        self.expected < 0.5 && (is_total || self.account.tokens >= self.account.initial())
    }
}

// === impl Total ===

impl Total {
    fn take_first(&mut self) -> bool {
        let is_left = self.firsts >= 1.0;
        if is_left {
            self.firsts -= 1.0;
        }
        is_left
    }

    /// Finds the level up to which each key may be kept.
    fn start_window(&mut self, windows: f64, mut expected: Vec<f64>) {
        self.account.end_window(windows);
        self.offered = 0.0;
        expected.sort_unstable_by(f64::total_cmp);
        let budget = self.account.budget();
        self.firsts = budget;
        self.level = level(&expected, budget);
        if self.level < 1.0 {
            // More keys than there is budget for: half of it goes to first traces, the other half
            // is shared by everything else.
            self.firsts = budget / 2.0;
            self.level = level(&expected, budget / 2.0);
        }
    }
}

/// The level up to which each of these, sorted, can have what it expects, within a budget.
fn level(expected: &[f64], mut budget: f64) -> f64 {
    for (index, &each) in expected.iter().enumerate() {
        let rest = (expected.len() - index) as f64;
        if each * rest > budget {
            return budget / rest;
        }
        budget -= each;
    }
    f64::INFINITY
}

// === impl Account ===

impl Account {
    const fn new(share: f64) -> Self {
        let mut account = Self { share, tokens: 0.0, kept: 0.0 };
        account.tokens = account.initial();
        account
    }

    /// What there is at first: of any goal, however low, one trace is kept.
    const fn initial(&self) -> f64 {
        self.share.max(1.0)
    }

    /// What may be kept in the window. Debts are paid back with three quarters of the share: some is
    /// always kept.
    const fn budget(&self) -> f64 {
        self.tokens.max(self.share / 4.0)
    }

    fn end_window(&mut self, windows: f64) {
        let most = self.initial().max(self.share * 2.0);
        self.tokens = most.min(self.tokens - self.kept + self.share * windows);
        self.kept = 0.0;
    }
}
