//! How likely a trace is kept that has a key, so that of each key, of all, or of what comes, as many
//! are kept as wanted, and a word of the rare ones.
//!
//! A trace has a weight: 1 where traces are counted, and its number of spans where those are. What is
//! said of numbers here is about weights; and how likely a trace is kept follows from its weight, too,
//! as far as it is more than what is left of a budget.
//!
//! Time goes in windows. What a key is expected to bring in a window follows from what it brought
//! before. From that and from what may be kept, its budget, follows the probability for the window,
//! and from that the threshold: so what is kept stands for what came, however the rate moves. The
//! first trace of a key in a window is kept for sure, if the budget allows for one, and the others
//! share the rest.
//!
//! Nobody knows a burst before it is there. Once a window's expected number of kept traces is past
//! the budget, the probability falls with the power 1.5 of the excess. So no burst of whatever size
//! keeps more than three budgets (four in all, where keys share one), and what it keeps is paid back
//! in the windows that follow: over time the goal is kept to. It never falls to nothing, for what is
//! left out without a chance would be missing from the counts.
//!
//! Where keys share a budget, those that were not there in the window before, and those beyond the
//! number that is told apart, are the others, with their own part of the budget: however many of them
//! come, they do not break the goal.

use std::time::{Duration, Instant};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use self::flow::Ended;
pub(crate) use self::flow::Forecast;
use self::plan::Plan;
pub(crate) use self::plan::{Goal, Weigh};
use self::slot::Slot;

mod flow;
mod plan;
mod slot;
#[cfg(test)]
mod tests;

/// Hands out probabilities by key, and learns from what it is asked about.
#[derive(Debug)]
pub(crate) struct Keyed {
    config: Config,
    /// `None` before the first is asked about.
    window_end: Option<Instant>,
    /// Where the window is in what is remembered of windows.
    cursor: usize,
    keys: HashTable<Slot>,
    /// All keys that found no place or are new, as one.
    others: Slot,
    plan: Plan,
    stats: Stats,
    /// What was seen and kept when the window began.
    before: (u64, u64),
}

/// How a [`Keyed`] works. Whoever makes one has checked that the goal is above zero and the window,
/// too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) goal: Goal,
    pub(crate) weigh: Weigh,
    pub(crate) forecast: Forecast,
    /// How long a probability stays.
    pub(crate) window: Duration,
    /// How many keys are told apart.
    pub(crate) max_keys: usize,
    /// What is kept in the first window of a goal for all keys together, above 0 and at most 1.
    pub(crate) initial: f64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stats {
    pub(crate) seen: u64,
    pub(crate) kept: u64,
    /// Of keys beyond those that are told apart.
    pub(crate) others: u64,
    /// Keys that are told apart now.
    pub(crate) keys: u64,
    /// Windows that have ended.
    pub(crate) windows: u64,
    /// Traces in the last of those, and what was kept of them.
    pub(crate) last_seen: u64,
    pub(crate) last_kept: u64,
}

/// What a trace would meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Odds {
    pub(crate) probability: f64,
    /// Whether it would be the first of its key in the window, and kept for sure as that.
    pub(crate) is_first: bool,
    pub(crate) standing: Standing,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It was there in earlier windows.
    Known,
    /// It was not.
    New,
    /// There is no place for it.
    Beyond,
}

// === impl Keyed ===

impl Keyed {
    pub(crate) fn new(config: Config) -> Self {
        let plan = Plan::new(&config);
        let mut others = Slot::new(0, &plan, config.forecast);
        others.start_window_of_others(&plan);
        Self {
            window_end: None,
            cursor: 0,
            keys: HashTable::new(),
            others,
            plan,
            stats: Stats::default(),
            before: (0, 0),
            config,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { keys: self.keys.len() as u64, ..self.stats }
    }

    /// How likely a trace of this key and weight is to be kept. One of no weight stands for no trace,
    /// and is not counted.
    pub(crate) fn ask(&mut self, now: Instant, key: u64, weight: f64) -> f64 {
        self.turn(now);
        let is_entry = weight > 0.0;
        let Self { config, keys, others, plan, stats, .. } = self;
        let is_full = keys.len() >= config.max_keys;
        let found = match keys.entry(key, |slot| slot.key == key, |slot| slot.key) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) if is_entry && !is_full => {
                Some(entry.insert(Slot::new(key, plan, config.forecast)).into_mut())
            }
            Entry::Vacant(_) => None,
        };
        if is_entry {
            stats.seen += 1;
            stats.others += u64::from(found.is_none());
        }
        let is_found = found.is_some();
        let (slot, newcomer) = match found {
            Some(slot) if slot.is_new && plan.is_shared() => (others, Some(slot)),
            Some(slot) => (slot, None),
            None => (others, None),
        };
        let (own, probability) = plan.odds(slot, weight);
        if !is_entry {
            return probability;
        }
        let is_known = newcomer.is_none() && is_found;
        let wants_first = match newcomer {
            Some(newcomer) => {
                newcomer.flow.count(weight);
                // At first everything is new: that does not tell how many new ones are to come.
                if stats.windows > 0 {
                    slot.flow.count(weight);
                }
                std::mem::take(&mut newcomer.keeps_first)
            }
            None => {
                slot.flow.count(weight);
                std::mem::take(&mut slot.keeps_first)
            }
        };
        if wants_first && let Some(cost) = plan.take_first(is_known, weight, slot.budget) {
            slot.offered += cost;
            plan.count(weight, 1.0);
            return 1.0;
        }
        slot.offered += slot.probability * weight;
        plan.count(weight, own);
        probability
    }

    /// What [`ask`](Self::ask) would say, as of the last time it was asked.
    pub(crate) fn peek(&self, key: u64, weight: f64) -> Odds {
        let Self { config, keys, others, plan, .. } = self;
        let found = keys.find(key, |slot| slot.key == key);
        let is_full = keys.len() >= config.max_keys;
        let (standing, slot, keeps_first) = match found {
            Some(slot) if slot.is_new && plan.is_shared() => {
                (Standing::New, others, slot.keeps_first)
            }
            Some(slot) if slot.is_new => (Standing::New, slot, slot.keeps_first),
            Some(slot) => (Standing::Known, slot, slot.keeps_first),
            None if is_full => (Standing::Beyond, others, others.keeps_first),
            None if plan.is_shared() => (Standing::New, others, true),
            None => {
                let slot = Slot::new(key, plan, config.forecast);
                let probability = plan.odds(&slot, weight).1;
                let is_first = slot.keeps_first && plan.has_first(false, weight, slot.budget);
                let probability = if is_first { 1.0 } else { probability };
                return Odds { probability, is_first, standing: Standing::New };
            }
        };
        let is_known = standing == Standing::Known;
        let is_first = keeps_first && plan.has_first(is_known, weight, slot.budget);
        let probability = if is_first { 1.0 } else { plan.odds(slot, weight).1 };
        Odds { probability, is_first, standing }
    }

    /// Hears that a trace of this weight that it was asked about was kept.
    pub(crate) fn count_kept(&mut self, key: u64, weight: f64) {
        self.stats.kept += 1;
        match &mut self.plan {
            Plan::PerKey(_) => {
                let found = self.keys.find_mut(key, |slot| slot.key == key);
                found.unwrap_or(&mut self.others).account.kept += weight;
            }
            Plan::Shared(shared) => shared.account.kept += weight,
        }
    }

    /// Starts a window, where it is time.
    #[inline]
    pub(crate) fn turn(&mut self, now: Instant) {
        match self.window_end {
            Some(end) if now < end => {}
            Some(end) => self.start_window(now, end),
            None => self.window_end = Some(now + self.config.window),
        }
    }

    #[cold]
    fn start_window(&mut self, now: Instant, end: Instant) {
        let Config { window, forecast, .. } = self.config;
        let late = now.saturating_duration_since(end).as_nanos();
        let windows = u64::try_from(late / window.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        let rest = late % window.as_nanos();
        self.window_end = Some(now + window - Duration::from_nanos(rest as u64));
        self.stats.windows = self.stats.windows.saturating_add(windows);
        let Stats { seen, kept, .. } = self.stats;
        let (seen_before, kept_before) = std::mem::replace(&mut self.before, (seen, kept));
        // Of several the last had nothing.
        (self.stats.last_seen, self.stats.last_kept) =
            if windows == 1 { (seen - seen_before, kept - kept_before) } else { (0, 0) };
        let ended = Ended { windows, forecast, cursor: self.cursor };
        self.cursor = ended.next_cursor();

        let Self { keys, others, plan, .. } = self;
        others.end_window(&ended);
        let mut new_keys = 0.0;
        keys.retain(|slot| {
            new_keys += if slot.is_new { slot.flow.size() } else { 0.0 };
            slot.end_window(&ended);
            !slot.is_idle(plan)
        });
        if let Plan::Shared(shared) = plan {
            let known = keys.iter().map(|slot| slot.flow.expected).collect();
            let of_others = (others.flow.expected, others.flow.size());
            shared.start_window(&ended, known, of_others, new_keys);
        }
        keys.iter_mut().for_each(|slot| slot.start_window(plan));
        others.start_window_of_others(plan);
    }
}
