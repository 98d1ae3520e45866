//! Where the task of a sampler leaves proposals, and finds answers.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use teleflow_sampler::{Answer, Proposal};
use tokio::sync::{Notify, mpsc};

/// The most answers that wait for a sampler's task. It decides alone about the rest.
const MOST_ANSWERS: usize = 64 * 1024;

/// A sampler's side of the exchange.
#[derive(Debug)]
pub(crate) struct Desk {
    shard: usize,
    proposals: mpsc::Sender<Asked>,
    answers: Mutex<Vec<Answer>>,
    arrived: Notify,
    counts: Arc<Counts>,
}

/// What a sampler proposes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) shard: usize,
    pub(super) proposal: Proposal,
}

/// What came of a lane's exchange with a store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExchangeStats {
    /// Proposals that were answered.
    pub answered: u64,
    /// Proposals that nobody answered: the store failed, or had failed a moment ago.
    pub unanswered: u64,
    /// Proposals that found no room on their way there, and answers on their way back.
    pub without_room: u64,
    /// Answers that make no sense, as those of a later version.
    pub unreadable: u64,
    /// Calls of the store, each with many proposals.
    pub calls: u64,
    /// Of those, what failed.
    pub failures: u64,
    /// Whether the last one did.
    pub is_down: bool,
}

/// The same while it grows.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(super) answered: AtomicU64,
    pub(super) unanswered: AtomicU64,
    without_room: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) is_down: AtomicBool,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(shard: usize, proposals: mpsc::Sender<Asked>, counts: Arc<Counts>) -> Self {
        let (answers, arrived) = (Mutex::default(), Notify::new());
        Self { shard, proposals, answers, arrived, counts }
    }

    /// Hands proposals in. Those that there is no room for are answered at once.
    pub(crate) fn propose(&self, proposals: impl Iterator<Item = Proposal>) -> Vec<Answer> {
        let mut refused = Vec::new();
        for proposal in proposals {
            let id = proposal.id;
            if self.proposals.try_send(Asked { shard: self.shard, proposal }).is_err() {
                refused.push(Answer { id, shared: None });
            }
        }
        self.counts.without_room.fetch_add(refused.len() as u64, Relaxed);
        refused
    }

    /// The answers that have come.
    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for an answer. Some may come once more after they were taken.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call returns at once.
    pub(crate) async fn answers_come(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn answer(&self, new: Vec<Answer>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_ANSWERS.saturating_sub(answers.len());
        self.counts.without_room.fetch_add(new.len().saturating_sub(room) as u64, Relaxed);
        answers.extend(new.into_iter().take(room));
        drop(answers);
        self.arrived.notify_one();
    }

    pub(crate) fn stats(&self) -> ExchangeStats {
        let Counts { answered, unanswered, without_room, unreadable, calls, failures, is_down } =
            &*self.counts;
        ExchangeStats {
            answered: answered.load(Relaxed),
            unanswered: unanswered.load(Relaxed),
            without_room: without_room.load(Relaxed),
            unreadable: unreadable.load(Relaxed),
            calls: calls.load(Relaxed),
            failures: failures.load(Relaxed),
            is_down: is_down.load(Relaxed),
        }
    }
}
