//! What is between a sender and who it sends to.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use teleflow::exporter::ExportError;
use tokio::time::{Instant, sleep, timeout};

/// Loses and delays. Clones are the same link.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    /// Of a thousand requests or answers so many are lost.
    lossy: u32,
    slowest: Duration,
    patience: Duration,
    cut_until: Instant,
    /// Items of requests after which the sender does not know whether they arrived.
    uncertain: u64,
}

impl Link {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: rng.fork(),
            lossy: rng.u32(..150),
            slowest: Duration::from_millis(rng.u64(1..200)),
            patience: Duration::from_secs(if rng.bool() {
                rng.u64(2..10)
            } else {
                rng.u64(10..300)
            }),
            cut_until: Instant::now(),
            uncertain: 0,
        })))
    }

    pub(crate) fn cut(&self, time: Duration) {
        self.0.lock().unwrap().cut_until = Instant::now() + time;
    }

    /// From now on nothing is lost.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        (state.lossy, state.cut_until) = (0, Instant::now());
    }

    pub(crate) fn uncertain(&self) -> u64 {
        self.0.lock().unwrap().uncertain
    }

    /// Takes `items` to the other side, which does `call` with them, and the answer back.
    pub(crate) async fn carry<T>(
        &self,
        items: u64,
        call: impl Future<Output = Result<T, ExportError>>,
    ) -> Result<T, ExportError> {
        let patience = self.0.lock().unwrap().patience;
        let answered = timeout(patience, async {
            self.travel().await?;
            // From here on the sender cannot know, until it has the answer.
            let answer = call.await;
            self.travel().await?;
            answer
        })
        .await
        .unwrap_or(Err(ExportError::Timeout(patience)));
        let is_uncertain = matches!(
            answered,
            Err(ExportError::Timeout(_) | ExportError::Unreachable(_) | ExportError::BadAnswer(_))
        );
        if is_uncertain {
            self.0.lock().unwrap().uncertain += items;
        }
        answered
    }

    async fn travel(&self) -> Result<(), ExportError> {
        let (delay, is_cut, is_lost) = {
            let state = &mut *self.0.lock().unwrap();
            let slowest = state.slowest.as_millis() as u64;
            let delay = Duration::from_millis(state.rng.u64(..=slowest));
            (delay, Instant::now() < state.cut_until, state.rng.u32(..1000) < state.lossy)
        };
        sleep(delay).await;
        match (is_cut, is_lost) {
            (true, _) => Err(ExportError::Unreachable("the link is cut".into())),
            // Nobody says anything any more.
            (false, true) => std::future::pending().await,
            (false, false) => Ok(()),
        }
    }
}
