//! What may be kept in a window, and how keys share it.

use super::Config;
use super::flow::{Ended, Flow};
use super::slot::Slot;

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// So much a second of each key.
    PerKey(f64),
    /// So much a second of all keys together.
    Total(f64),
    /// A share of what comes.
    Share(f64),
}

/// What part of a budget a key has, of those that do not get all they have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weigh {
    /// The same.
    Equal,
    /// The logarithm of what it is expected to bring in so many windows.
    Logarithm(f64),
}

#[derive(Debug)]
pub(super) enum Plan {
    /// The budget of each key.
    PerKey(f64),
    Shared(Shared),
}

/// A budget that keys share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) account: Account,
    weigh: Weigh,
    /// The share of what comes that is wanted, where it is a share.
    of_all: Option<f64>,
    /// What was to be kept in the last window, where a share is wanted.
    due: f64,
    /// All that comes.
    flow: Flow,
    /// How many traces that were in this window, and what one weighed in those before.
    traces: f64,
    unit: f64,
    offered: f64,
    /// The most that a key of weight 1 may have; without bounds where there is enough for all.
    level: f64,
    /// What may be kept as first traces of known keys, and of those that are not.
    firsts: f64,
    new_firsts: f64,
    /// What those that are not known may have together, and how likely they are kept.
    of_others: f64,
    other_probability: f64,
    /// Whether the first traces of known keys have a half of the budget for themselves.
    has_reserve: bool,
}

/// The most of a budget that keys may have together that are not known.
const MOST_OF_OTHERS: f64 = 0.75;

/// What they may have in any case.
const LEAST_OF_OTHERS: f64 = 0.125;

/// A budget with what was left of those before, or is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    share: f64,
    pub(super) tokens: f64,
    pub(super) kept: f64,
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(config: &Config) -> Self {
        let seconds = config.window.as_secs_f64();
        let (share, of_all, initial) = match config.goal {
            Goal::PerKey(goal) => return Self::PerKey(goal * seconds),
            Goal::Total(goal) => (goal * seconds, None, config.initial),
            Goal::Share(goal) => (0.0, Some(goal), goal),
        };
        let account = Account::new(share);
        Self::Shared(Shared {
            account,
            weigh: config.weigh,
            of_all,
            due: 0.0,
            flow: Flow::new(config.forecast),
            traces: 0.0,
            unit: 1.0,
            offered: 0.0,
            level: f64::INFINITY,
            firsts: account.budget(),
            new_firsts: account.budget(),
            of_others: f64::INFINITY,
            other_probability: initial,
            has_reserve: false,
        })
    }

    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Counts a trace of this weight that was kept with this probability, as far as keys go.
    pub(super) fn count(&mut self, weight: f64, probability: f64) {
        if let Self::Shared(shared) = self {
            shared.flow.count(weight);
            shared.traces += 1.0;
            shared.offered += probability * weight;
        }
    }

    /// How likely a trace of this key and weight is kept, as far as its own budget goes, and in all.
    pub(super) fn odds(&self, slot: &Slot, weight: f64) -> (f64, f64) {
        let all = slot.probability * weight;
        let own = slot.probability * damping(slot.offered, all, slot.budget);
        match self {
            Self::PerKey(_) => (own, own),
            Self::Shared(shared) => {
                let own = match shared.of_all {
                    // Where a share is wanted, more may be kept of more; and more has to be, up to
                    // the share, where others than expected come.
                    Some(goal) => own.max((slot.probability * shared.lag(goal)).min(goal)),
                    None => own,
                };
                (own, own * damping(shared.offered, own * weight, shared.budget(weight)))
            }
        }
    }

    /// Whether a key's first trace of the window may be kept for sure, of this weight and where the
    /// key has this budget.
    pub(super) fn has_first(&self, is_known: bool, weight: f64, budget: f64) -> bool {
        match self {
            Self::PerKey(_) => budget >= weight,
            Self::Shared(shared) if shared.is_one_pool(is_known) => {
                shared.firsts >= weight && (shared.has_reserve || budget >= weight)
            }
            Self::Shared(shared) => shared.new_firsts + shared.surplus(weight) / 2.0 >= weight,
        }
    }

    /// Takes one of those, and tells what it costs the key's own budget.
    pub(super) fn take_first(&mut self, is_known: bool, weight: f64, budget: f64) -> Option<f64> {
        if !self.has_first(is_known, weight, budget) {
            return None;
        }
        let Self::Shared(shared) = self else { return Some(weight) };
        if !shared.is_one_pool(is_known) {
            shared.new_firsts -= weight;
            return Some(weight);
        }
        shared.firsts -= weight;
        Some(if shared.has_reserve { 0.0 } else { weight })
    }
}

/// How much the probability falls once more than the budget was offered, for a trace that offers so
/// much more: over any excess the sum of what it leaves is at most two budgets, and a trace.
///
/// One of weight 1 has what holds where it begins; a heavier one, of which a few may be more than a
/// budget, the mean of what that many would have.
fn damping(offered: f64, more: f64, budget: f64) -> f64 {
    let at = |offered: f64| {
        if offered <= budget {
            return 1.0;
        }
        let part = budget / offered;
        part * part.sqrt()
    };
    if more <= 1.0 {
        return at(offered);
    }
    let mean = (undamped(offered + more, budget) - undamped(offered, budget)) / more;
    // A difference of large numbers is not exact.
    mean.max(at(offered + more)).min(1.0)
}

/// What is left of so much that is offered, bit by bit.
fn undamped(offered: f64, budget: f64) -> f64 {
    if offered <= budget {
        offered
    } else {
        3.0 * budget - 2.0 * budget * (budget / offered).sqrt()
    }
}

// === impl Shared ===

impl Shared {
    fn budget(&self, weight: f64) -> f64 {
        self.account.budget() + self.surplus(weight)
    }

    /// What may be kept because more came than was expected, with the trace that is asked about.
    fn surplus(&self, weight: f64) -> f64 {
        let more = (self.flow.seen + weight - self.flow.expected).max(0.0);
        self.of_all.map_or(0.0, |goal| goal * more)
    }

    /// How many times more should be kept to keep the share of what came so far: at least 1.
    fn lag(&self, goal: f64) -> f64 {
        // Not at once: chance mixes what comes.
        let slack = (self.account.budget() / 4.0).max(2.0 * self.unit);
        ((goal * self.flow.seen + slack) / (self.offered + slack)).max(1.0)
    }

    /// Whether first traces of keys that are not known count among those of known ones.
    fn is_one_pool(&self, is_known: bool) -> bool {
        is_known || self.weigh == Weigh::Equal
    }

    fn budget_of(&self, expected: f64) -> f64 {
        self.level * self.weigh.of(expected / self.unit)
    }

    /// What a known key may have.
    pub(super) fn of_known(&self, expected: f64, size: f64) -> (f64, f64) {
        let budget = self.budget_of(expected);
        let rest = if budget >= size && !self.has_reserve {
            after_first(budget, expected, size)
        } else {
            budget / expected.max(size)
        };
        (budget, rest)
    }

    /// What all others may have together.
    pub(super) const fn of_others(&self) -> (f64, f64) {
        (self.of_others, self.other_probability)
    }

    /// Finds the level up to which each key may be kept, of which so much is expected, and what is
    /// for the others, of which so much is (and one of them weighs so much); `new_keys` is what the
    /// first traces of keys weighed that were new.
    pub(super) fn start_window(
        &mut self,
        ended: &Ended,
        mut known: Vec<f64>,
        (others, of_other): (f64, f64),
        new_keys: f64,
    ) {
        let (seen, traces) = (self.flow.seen, std::mem::take(&mut self.traces));
        if traces > 0.0 {
            let last = seen / traces;
            self.unit = if self.flow.expected > 0.0 { (self.unit + last) / 2.0 } else { last };
        }
        self.flow.end_window(ended);
        match self.of_all {
            Some(goal) => {
                let due_before = std::mem::replace(&mut self.due, goal * seen);
                self.account.start_share(due_before, self.due, goal * self.flow.expected);
            }
            None => self.account.end_window(ended.windows as f64, ended.forecast.reach()),
        }
        self.offered = 0.0;
        known.sort_unstable_by(f64::total_cmp);
        let budget = self.account.budget();
        if self.weigh == Weigh::Equal {
            // They are one key more.
            known.insert(known.partition_point(|each| *each < others), others);
            self.set_level(&known, budget);
            (self.of_others, self.other_probability) = match others {
                0.0 => (self.level, 1.0),
                _ => self.of_known(others, of_other),
            };
            return;
        }
        // Nobody knows what they are, so they have as much of the budget as they are of all.
        let part = if others > 0.0 { others / self.flow.expected } else { 0.0 };
        let part = part.min(MOST_OF_OTHERS);
        self.set_level(&known, budget * (1.0 - part));
        self.of_others = budget * part.max(LEAST_OF_OTHERS);
        self.new_firsts = (self.of_others / 2.0).max(budget * LEAST_OF_OTHERS);
        let rest = self.of_others - new_keys.min(self.new_firsts);
        self.other_probability = if others > 0.0 {
            (rest.max(self.of_others / 10.0) / others.max(of_other)).min(1.0)
        } else {
            // As all are in the mean.
            let mean = self.of_all.unwrap_or(budget / self.flow.expected);
            if mean < 1.0 { mean } else { 1.0 }
        };
    }

    fn set_level(&mut self, known: &[f64], budget: f64) {
        self.level = self.weigh.level(known, self.unit, budget);
        self.firsts = budget;
        self.has_reserve = self.budget_of(0.0) < self.unit;
        if self.has_reserve {
            // More keys than there is budget for: half of it goes to first traces, the other half
            // is shared by everything else.
            self.firsts = budget / 2.0;
            self.level = self.weigh.level(known, self.unit, budget / 2.0);
        }
    }
}

/// How likely the others are kept where the first, which weighs so much, is for sure: never not at
/// all, or they would not be counted.
pub(super) fn after_first(budget: f64, expected: f64, size: f64) -> f64 {
    (budget - size).max(budget / 10.0) / (expected - size).max(0.0)
}

// === impl Weigh ===

impl Weigh {
    /// The weight of a key that is expected to bring so many traces. It grows slower than that does.
    fn of(self, expected: f64) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Logarithm(windows) => ((expected * windows).max(1.0) + 1.0).log10(),
        }
    }

    /// The level up to which each of these, sorted, can have what it expects, within a budget, where
    /// a trace counts for so much.
    fn level(self, expected: &[f64], unit: f64, mut budget: f64) -> f64 {
        let mut rest: f64 = expected.iter().map(|each| self.of(*each / unit)).sum();
        for &each in expected {
            let weight = self.of(each / unit);
            if each * rest > budget * weight {
                return budget / rest;
            }
            budget -= each;
            rest -= weight;
        }
        f64::INFINITY
    }
}

// === impl Account ===

impl Account {
    pub(super) const fn new(share: f64) -> Self {
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
    pub(super) const fn budget(&self) -> f64 {
        self.tokens.max(self.share / 4.0)
    }

    /// Whether nothing is owed.
    pub(super) fn is_full(&self) -> bool {
        self.tokens >= self.initial()
    }

    /// Ends windows. Of what was left so many shares count, with the one for the next.
    pub(super) fn end_window(&mut self, windows: f64, most: f64) {
        let most = self.initial().max(self.share * most);
        self.tokens = most.min(self.tokens - self.kept + self.share * windows);
        self.kept = 0.0;
    }

    /// Ends a window in which `due` was to be kept, after one in which `due_before` was, and starts one
    /// with another share. What is left or owed shrinks when traffic does, and counts as far as it is
    /// one share: a busy time is not paid for in a quiet one.
    fn start_share(&mut self, due_before: f64, due: f64, share: f64) {
        let before = self.tokens - self.share;
        let before = if due < due_before { before * due / due_before } else { before };
        let left = before + due - std::mem::take(&mut self.kept);
        self.share = share;
        self.tokens = share + left.clamp(-share, share);
    }
}
