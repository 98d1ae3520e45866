//! Double-entry books: where every item is, and where it went.
//!
//! For each lane and destination, at every moment:
//!
//! ```text
//! accepted = delivered + sampled_out + rejected + dropped{reason} + held
//! ```
//!
//! Every change is a transfer from one entry to another under one lock, so no reader ever sees the
//! equation broken. `held` is the sum of what each stage has been given and has not handed on: an
//! item that a stage loses stays there for ever and is found when the pipeline has drained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teleflow_exporter::{Observer, Outcome, Tally};
use teleflow_otlp::Signal;

/// The reason of what was still held when the time to shut down had passed.
pub(crate) const SHUTDOWN: &str = "shutdown";

/// The reason of what no queue has room for.
pub(crate) const QUEUE_FULL: &str = "queue_full";

/// The reason of what is larger than anything that a queue holds.
pub(crate) const TOO_LARGE: &str = "too_large";

/// The reason of what a lane held when a bug ended it.
pub(crate) const FAILED: &str = "lane_failed";

/// The state of all books at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Books {
    /// One for each lane and destination.
    pub accounts: Vec<Account>,
    /// Items of requests that were turned away at the door, by [`Signal::index`]: the sender was
    /// told so, and they are in no account.
    pub refused: [u64; 3],
}

/// What became of a lane's items on their way to one destination. All in items.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The lane's name.
    pub lane: String,
    /// The signal of its items.
    pub signal: Signal,
    /// The exporter's name.
    pub destination: String,
    /// Answered with success by a receiver, and [found on disk](Self::recovered).
    pub accepted: u64,
    /// Of [`accepted`](Self::accepted): on disk at the start, from an earlier run.
    pub recovered: u64,
    /// Taken by the destination.
    pub delivered: u64,
    /// Left out by the sampler.
    pub sampled_out: u64,
    /// Refused for good by the destination.
    pub rejected: u64,
    /// Lost, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// On their way: undecided, waiting in a batch or a queue, or being sent. After the end, what is
    /// on disk for the next start.
    pub held: u64,
}

// === impl Account ===

impl Account {
    /// Whether nothing is missing and nothing is there twice.
    pub fn balances(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.accepted == self.delivered + self.sampled_out + self.rejected + dropped + self.held
    }
}

// === impl Books ===

impl Books {
    /// Whether every account balances.
    pub fn balance(&self) -> bool {
        self.accounts.iter().all(Account::balances)
    }

    /// The accounts of one signal.
    pub fn of(&self, signal: Signal) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(move |account| account.signal == signal)
    }

    /// Everything that was lost, over all accounts.
    pub fn dropped(&self) -> u64 {
        self.accounts.iter().flat_map(|account| account.dropped.values()).sum()
    }
}

impl fmt::Display for Books {
    /// A table with one row an account.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:>12}{:>12}{:>12}{:>10}{:>10}{:>10}",
            "", "accepted", "delivered", "sampled out", "rejected", "dropped", "held"
        )?;
        for account in &self.accounts {
            let dropped: u64 = account.dropped.values().sum();
            write!(
                f,
                "{:<24}{:>12}{:>12}{:>12}{:>10}{:>10}{:>10}",
                format!("{} → {}", account.lane, account.destination),
                account.accepted,
                account.delivered,
                account.sampled_out,
                account.rejected,
                dropped,
                account.held
            )?;
            for (reason, count) in &account.dropped {
                write!(f, "  {reason}: {count}")?;
            }
            writeln!(f, "{}", if account.balances() { "" } else { "  DOES NOT BALANCE" })?;
            if account.recovered > 0 {
                writeln!(f, "  {} of the accepted were on disk at the start", account.recovered)?;
            }
        }
        for signal in Signal::ALL {
            let refused = self.refused[signal.index()];
            if refused > 0 {
                writeln!(f, "refused at the door: {refused} {}", signal.items_name())?;
            }
        }
        Ok(())
    }
}

/// The book of one lane. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    lane: String,
    signal: Signal,
    accepted: u64,
    sampled_out: u64,
    /// What the lane's own stages hold.
    intake: u64,
    sampler: u64,
    batcher: u64,
    destinations: Vec<Destination>,
}

#[derive(Debug)]
struct Destination {
    name: String,
    /// Found on disk at the start.
    recovered: u64,
    /// In its queue or being sent.
    held: u64,
    delivered: u64,
    rejected: u64,
    dropped: BTreeMap<&'static str, u64>,
}

/// What a lane did in one step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Step {
    /// Taken in from the receivers.
    pub(crate) taken: u64,
    /// Of what was taken in before or now: left out.
    pub(crate) sampled_out: u64,
    /// Of what was taken in before or now: given to the batcher.
    pub(crate) kept: u64,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new(lane: &str, signal: Signal, destinations: &[String]) -> Self {
        let destinations = destinations
            .iter()
            .map(|name| Destination {
                name: name.clone(),
                recovered: 0,
                held: 0,
                delivered: 0,
                rejected: 0,
                dropped: BTreeMap::new(),
            })
            .collect();
        Self(Arc::new(Mutex::new(State {
            lane: lane.to_owned(),
            signal,
            accepted: 0,
            sampled_out: 0,
            intake: 0,
            sampler: 0,
            batcher: 0,
            destinations,
        })))
    }

    /// The lane's name.
    pub(crate) fn lane(&self) -> String {
        self.state().lane.clone()
    }

    /// A receiver has given the lane `items`.
    pub(crate) fn accept(&self, items: u64) {
        let mut state = self.state();
        state.accepted += items;
        state.intake += items;
    }

    /// The lane has worked.
    pub(crate) fn step(&self, step: Step) {
        let state = &mut *self.state();
        transfer(&mut state.intake, &mut state.sampler, step.taken);
        transfer(&mut state.sampler, &mut state.sampled_out, step.sampled_out);
        transfer(&mut state.sampler, &mut state.batcher, step.kept);
    }

    /// A batch goes to all destinations.
    pub(crate) fn dispatch(&self, items: u64) {
        let state = &mut *self.state();
        take(&mut state.batcher, items);
        state.destinations.iter_mut().for_each(|destination| destination.held += items);
    }

    /// A destination's queue did not take a batch.
    pub(crate) fn drop_queued(&self, destination: usize, items: u64, reason: &'static str) {
        let destination = &mut self.state().destinations[destination];
        let lost = destination.dropped.entry(reason).or_default();
        transfer(&mut destination.held, lost, items);
    }

    /// The lane gives up what it still holds.
    pub(crate) fn abandon(&self, reason: &'static str) {
        let state = &mut *self.state();
        let mut items = 0;
        for stage in [&mut state.intake, &mut state.sampler, &mut state.batcher] {
            items += std::mem::take(stage);
        }
        if items > 0 {
            for destination in &mut state.destinations {
                *destination.dropped.entry(reason).or_default() += items;
            }
        }
    }

    pub(crate) fn accounts(&self) -> Vec<Account> {
        let state = self.state();
        let in_lane = state.intake + state.sampler + state.batcher;
        state
            .destinations
            .iter()
            .map(|destination| Account {
                lane: state.lane.clone(),
                signal: state.signal,
                destination: destination.name.clone(),
                accepted: state.accepted + destination.recovered,
                recovered: destination.recovered,
                delivered: destination.delivered,
                sampled_out: state.sampled_out,
                rejected: destination.rejected,
                dropped: destination.dropped.clone(),
                held: in_lane + destination.held,
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code between the locks can leave a transfer half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a queue says about its items, entered into the book of its lane.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) ledger: Ledger,
    pub(crate) destination: usize,
}

impl Entries {
    pub(crate) fn signal(&self) -> Signal {
        self.ledger.state().signal
    }

    /// What was found on disk is accepted, and held.
    pub(crate) fn recover(&self, items: u64) {
        let destination = &mut self.ledger.state().destinations[self.destination];
        destination.recovered += items;
        destination.held += items;
    }

    /// What became of items that were held.
    pub(crate) fn enter(&self, tally: &Tally) {
        let destination = &mut self.ledger.state().destinations[self.destination];
        transfer(&mut destination.held, &mut destination.delivered, tally.delivered);
        transfer(&mut destination.held, &mut destination.rejected, tally.rejected);
        for (reason, items) in &tally.dropped {
            let lost = destination.dropped.entry(reason).or_default();
            transfer(&mut destination.held, lost, *items);
        }
    }
}

impl Observer for Entries {
    fn outcome(&self, _signal: Signal, items: u64, outcome: Outcome<'_>) {
        self.enter(&outcome.tally(items));
    }
}

fn transfer(from: &mut u64, to: &mut u64, items: u64) {
    take(from, items);
    *to += items;
}

/// Takes `items` from an entry that has them. If it has not, a stage handed on what it never got:
/// a defect of this crate, which tests are to find and a running gateway is to survive.
fn take(from: &mut u64, items: u64) {
    debug_assert!(*from >= items, "{items} items taken from an entry of {from}");
    if *from < items {
        tracing::error!(entry = *from, items, "the books are wrong: an entry would be negative");
    }
    *from = from.saturating_sub(items);
}
