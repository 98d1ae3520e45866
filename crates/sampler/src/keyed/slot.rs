//! A key, and what is known of it.

use super::flow::{Ended, Flow, Forecast};
use super::plan::{self, Account, Plan};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: u64,
    pub(super) flow: Flow,
    /// The sum of the probabilities of what came, each by its weight.
    pub(super) offered: f64,
    pub(super) probability: f64,
    pub(super) budget: f64,
    /// Whether the first trace of the window is kept for sure, and still to come.
    pub(super) keeps_first: bool,
    /// Whether it was not there before this window.
    pub(super) is_new: bool,
    /// Only where each key has its own budget.
    pub(super) account: Account,
}

// === impl Slot ===

impl Slot {
    pub(super) fn new(key: u64, plan: &Plan, forecast: Forecast) -> Self {
        let share = match plan {
            Plan::PerKey(share) => *share,
            Plan::Shared(_) => 0.0,
        };
        let mut slot = Self {
            key,
            flow: Flow::new(forecast),
            offered: 0.0,
            probability: 1.0,
            budget: 0.0,
            keeps_first: true,
            is_new: true,
            account: Account::new(share),
        };
        slot.start_window(plan);
        slot
    }

    pub(super) fn end_window(&mut self, ended: &Ended) {
        self.flow.end_window(ended);
        self.account.end_window(ended.windows as f64, ended.forecast.reach());
        self.offered = 0.0;
        self.is_new = false;
    }

    pub(super) fn start_window(&mut self, plan: &Plan) {
        let (expected, size) = (self.flow.expected, self.flow.size());
        let rest;
        match plan {
            Plan::PerKey(_) => {
                self.budget = self.account.budget();
                self.keeps_first = self.account.tokens >= size;
                rest = if self.keeps_first && self.budget >= size {
                    plan::after_first(self.budget, expected, size)
                } else {
                    self.budget / expected.max(size)
                };
            }
            Plan::Shared(shared) => {
                (self.budget, rest) = shared.of_known(expected, size);
                self.keeps_first = true;
            }
        }
        self.probability = rest.min(1.0);
    }

    /// Starts a window as all those that are not known.
    pub(super) fn start_window_of_others(&mut self, plan: &Plan) {
        self.start_window(plan);
        if let Plan::Shared(shared) = plan {
            let (budget, rest) = shared.of_others();
            (self.budget, self.probability) = (budget, rest.min(1.0));
        }
    }

    /// Whether to forget it changes nothing: it brings nothing, and owes nothing.
    pub(super) fn is_idle(&self, plan: &Plan) -> bool {
        self.flow.is_over() && (plan.is_shared() || self.account.is_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_what_the_documentation_says() {
        assert!(size_of::<Slot>() <= 112, "{}", size_of::<Slot>());
    }
}
