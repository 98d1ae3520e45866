//! The task that carries proposals to the store, and answers back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use teleflow_cache::SecondLevelError;
use teleflow_sampler::Answer;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Asked, Counts, Desk};
use super::{SharedDecisions, value};

/// How many proposals may be on their way.
const MOST_PROPOSALS: usize = 32 * 1024;

/// How many go to the store at a time.
const AT_ONCE: usize = 1024;

/// How long the store is left alone after the first failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The task of one lane.
#[derive(Debug)]
pub(crate) struct Exchange {
    lane: String,
    config: SharedDecisions,
    proposals: mpsc::Receiver<Asked>,
    /// Of each shard.
    desks: Vec<Arc<Desk>>,
    counts: Arc<Counts>,
    /// Where the store has failed: how long it is left alone the next time, and until when it is now.
    pause: Option<(Duration, Instant)>,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(lane: &str, config: SharedDecisions, shards: usize) -> Self {
        let (sender, proposals) = mpsc::channel(MOST_PROPOSALS);
        let counts = Arc::<Counts>::default();
        let desk = |shard| Arc::new(Desk::new(shard, sender.clone(), Arc::clone(&counts)));
        let desks = (0..shards).map(desk).collect();
        Self { lane: lane.to_owned(), config, proposals, desks, counts, pause: None }
    }

    /// Where the samplers of the shards leave their proposals.
    pub(crate) fn desks(&self) -> &[Arc<Desk>] {
        &self.desks
    }

    /// Works until `end`, and until all that was proposed before is written.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut asked = Vec::with_capacity(AT_ONCE);
        loop {
            tokio::select! {
                biased;
                _ = self.proposals.recv_many(&mut asked, AT_ONCE) => {}
                () = end.cancelled() => return,
            }
            let found = self.settle(&asked).await;
            self.answer(&mut asked, found);
        }
    }

    /// What is in the store then; `None` where it does not answer.
    async fn settle(&mut self, asked: &[Asked]) -> Option<Vec<Option<Bytes>>> {
        if self.pause.is_some_and(|(_, until)| Instant::now() < until) {
            return None;
        }
        let claim = |asked: &Asked| value::claim(&self.lane, &asked.proposal);
        let claims: Vec<_> = asked.iter().map(claim).collect();
        self.counts.calls.fetch_add(1, Relaxed);
        let settling = self.config.store.settle(&claims, self.config.ttl);
        let settled = match timeout(self.config.timeout, settling).await {
            Ok(Ok(found)) if found.len() == asked.len() => Ok(found),
            Ok(Ok(_)) => Err(SecondLevelError::Malformed),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SecondLevelError::Timeout),
        };
        match settled {
            Ok(found) => {
                self.is_up();
                Some(found)
            }
            Err(error) => {
                self.counts.failures.fetch_add(1, Relaxed);
                self.is_down(&error);
                None
            }
        }
    }

    fn is_up(&mut self) {
        if self.pause.take().is_some() {
            self.counts.is_down.store(false, Relaxed);
            tracing::info!(pipeline = self.lane, "decides about traces together with others again");
        }
    }

    fn is_down(&mut self, error: &SecondLevelError) {
        let pause = match self.pause {
            Some((pause, _)) => pause,
            None => {
                self.counts.is_down.store(true, Relaxed);
                tracing::warn!(pipeline = self.lane, %error, "decides about traces alone for now");
                FIRST_PAUSE
            }
        };
        self.pause = Some(((2 * pause).min(LONGEST_PAUSE), Instant::now() + pause));
    }

    fn answer(&self, asked: &mut Vec<Asked>, found: Option<Vec<Option<Bytes>>>) {
        let mut answers: Vec<Vec<Answer>> = self.desks.iter().map(|_| Vec::new()).collect();
        let mut found = found.map(Vec::into_iter);
        for Asked { shard, proposal } in asked.drain(..) {
            let value = found.as_mut().and_then(Iterator::next).flatten();
            let shared = value.as_deref().and_then(value::decode);
            let count = match (&value, &shared) {
                (Some(_), Some(_)) => &self.counts.answered,
                (Some(_), None) => &self.counts.unreadable,
                (None, _) => &self.counts.unanswered,
            };
            count.fetch_add(1, Relaxed);
            answers[shard].push(Answer { id: proposal.id, shared });
        }
        for (desk, answers) in self.desks.iter().zip(answers) {
            if !answers.is_empty() {
                desk.answer(answers);
            }
        }
    }
}
