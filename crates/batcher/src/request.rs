//! Individual requests in one call, and each caller its own answer.
//!
//! A driver task collects what callers hand in and begins a batch when it is large enough, old
//! enough, asked for, or needed by a caller's deadline, as soon as one of the slots for calls in
//! flight is free. Each batch runs in a task of its own, so a call that fails, panics or hangs
//! touches its own callers only. A caller is present as long as its end of a one-shot channel is:
//! dropping the future is all it takes to leave.

mod driver;
mod stats;

use std::fmt;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use self::driver::{Call, Driver, Entry, Message};
pub use self::stats::RequestStats;
use self::stats::Shared;
use crate::wait::{AdaptiveWait, WaitRange};
use crate::{Config, ConfigError};

/// When a batch of requests is sent, and how many there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestConfig {
    /// So many requests go at once: 64. One sends what there is whenever a call may begin. Not
    /// zero.
    pub min_requests: usize,
    /// No batch has more: 512. It fills up to that while all calls are in flight. Not less than
    /// `min_requests`.
    pub max_requests: usize,
    /// A batch goes when its first request has waited this long: 10 ms. Zero lets none wait for
    /// others.
    pub timeout: Duration,
    /// Lets the wait follow the time that calls take, between these two. `None`, the default: the
    /// wait is `timeout`. See [`AdaptiveWait`].
    pub adaptive: Option<WaitRange>,
    /// How long before the deadline of a caller a batch leaves while no call was timed yet: 20 ms.
    /// Afterwards [`ExportTime::margin`](crate::ExportTime::margin) says.
    pub margin: Duration,
    /// Calls in flight at once, at most: 4. Not zero.
    pub in_flight: usize,
    /// Requests in the queue, at most: 1024, besides those of the batch that is being filled. Not
    /// zero.
    pub max_waiting: usize,
    /// What happens to a request when the queue is full.
    pub overflow: Overflow,
}

/// What happens to a request when the queue is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overflow {
    /// Its caller waits for room.
    Wait,
    /// Its caller gets [`RequestError::Full`].
    Refuse,
}

/// Why there is no answer.
///
/// Each caller of a batch gets the same one; those of other batches know nothing of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError<E> {
    /// The call failed: the error of the user's closure.
    #[error("the call failed: {0}")]
    Failed(Arc<E>),
    /// The call panicked, and said this.
    #[error("the call panicked: {0}")]
    Panicked(Arc<str>),
    /// The closure returned another number of answers than it had requests: nobody can tell whose
    /// they are. A bug of the closure.
    #[error("the call returned {answers} answers to {requests} requests")]
    WrongAnswers {
        /// What it had.
        requests: usize,
        /// What it returned.
        answers: usize,
    },
    /// The deadline of this caller passed. Whether its request was sent is not known.
    #[error("the deadline passed")]
    DeadlinePassed,
    /// The queue is full, and the configuration says [`Overflow::Refuse`]. It was not sent.
    #[error("too many requests wait")]
    Full,
    /// The batcher was closed. It was not sent.
    #[error("the batcher is closed")]
    Closed,
    /// The task of the batch ended before the answer: the runtime shut down, or something of the
    /// user's panicked while it was dropped. Whether it was sent is not known.
    #[error("the batch ended without an answer")]
    Lost,
}

/// Coalesces requests into calls, and hands each caller its own answer.
///
/// The closure takes the requests of a batch and returns as many answers, in their order. An answer
/// may be a `Result` itself, where single requests of a batch can fail. A clone is another handle of
/// the same batcher; once the last one is gone, nobody waits for an answer, and the driver ends.
///
/// ```
/// use std::convert::Infallible;
/// use teleflow_batcher::{RequestBatcher, RequestConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let squares = RequestBatcher::new(RequestConfig::default(), |numbers: Vec<u64>| async move {
///     Ok::<_, Infallible>(numbers.into_iter().map(|n| n * n).collect())
/// })?;
/// let (four, nine) = tokio::join!(squares.call(2), squares.call(3));
/// assert_eq!((four?, nine?), (4, 9));
/// assert_eq!(squares.stats().batches, 1, "one call for both");
/// squares.close().await;
/// # Ok(())
/// # }
/// ```
pub struct RequestBatcher<Q, A, E> {
    intake: mpsc::Sender<Message<Q, A, E>>,
    shared: Arc<Shared>,
    overflow: Overflow,
    /// Closed when the driver has ended.
    ended: watch::Receiver<()>,
}

// === impl RequestConfig ===

impl Default for RequestConfig {
    /// 64 to 512 requests, 10 ms, 4 calls in flight, 1024 waiting.
    fn default() -> Self {
        Self {
            min_requests: 64,
            max_requests: 512,
            timeout: Duration::from_millis(10),
            adaptive: None,
            margin: Duration::from_millis(20),
            in_flight: 4,
            max_waiting: 1024,
            overflow: Overflow::Wait,
        }
    }
}

impl RequestConfig {
    fn wait(&self) -> Result<AdaptiveWait, ConfigError> {
        let numbers = [
            ("min_requests", self.min_requests),
            ("in_flight", self.in_flight),
            ("max_waiting", self.max_waiting),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|&(_, number)| number == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.max_requests < self.min_requests {
            let (min, max) = (self.min_requests as u64, self.max_requests as u64);
            return Err(ConfigError::MaxRequestsBelowMin { min, max });
        }
        let (timeout, adaptive, margin) = (self.timeout, self.adaptive, self.margin);
        Config { timeout, adaptive, margin, ..Config::default() }.wait()
    }
}

// === impl RequestBatcher ===

impl<Q, A, E> RequestBatcher<Q, A, E>
where
    Q: Send + 'static,
    A: Send + 'static,
    E: Send + Sync + 'static,
{
    /// Creates a batcher and spawns its driver. A panic of the closure or its future ends in its own
    /// batch.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the configuration makes no sense.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new<F, C>(config: RequestConfig, call: C) -> Result<Self, ConfigError>
    where
        C: Fn(Vec<Q>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<A>, E>> + Send + 'static,
    {
        let shared = Arc::new(Shared::new(config.in_flight as u64, config.wait()?));
        // No queue is longer than a semaphore of tokio counts.
        let places = config.max_waiting.min(tokio::sync::Semaphore::MAX_PERMITS);
        let (intake, messages) = mpsc::channel(places);
        let (alive, ended) = watch::channel(());
        let overflow = config.overflow;
        let call: Call<Q, A, E> = Arc::new(move |requests| call(requests).boxed());
        tokio::spawn(Driver::new(config, call, messages, Arc::clone(&shared), alive).run());
        Ok(Self { intake, shared, overflow, ended })
    }

    /// Hands in a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`RequestError`], but for [`DeadlinePassed`](RequestError::DeadlinePassed).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its batch begins, the request is not sent: it is taken out. Dropped later, its
    /// answer is discarded. Other callers are not touched.
    pub async fn call(&self, request: Q) -> Result<A, RequestError<E>> {
        self.call_until(request, None).await
    }

    /// As [`call`](Self::call), until `deadline`. The batch leaves early enough for the first of its
    /// callers' deadlines, as far as the time of earlier calls tells.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    ///
    /// # Cancel safety
    ///
    /// As of [`call`](Self::call).
    pub async fn call_by(&self, request: Q, deadline: Instant) -> Result<A, RequestError<E>> {
        let call = self.call_until(request, Some(deadline));
        let answer = match timeout_at(deadline, call).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::DeadlinePassed),
        };
        if matches!(answer, Err(RequestError::DeadlinePassed)) {
            self.shared.expired.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Has everything sent that was handed in before, without waiting for more. Returns once the
    /// driver was told, not once the answers are there.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it may not happen.
    pub async fn flush(&self) {
        // Where it is closed everything is sent already.
        let _ = self.intake.send(Message::Flush).await;
    }

    /// Takes no more requests, and waits until every caller has its answer. The handles that are
    /// left get [`RequestError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it may be that nothing was closed, or that it goes on by itself. It may be
    /// called again.
    pub async fn close(&self) {
        let _ = self.intake.send(Message::Close).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// How long a batch that begins now waits.
    pub fn wait(&self) -> Duration {
        self.shared.wait.lock().unwrap_or_else(PoisonError::into_inner).wait()
    }

    /// What was done so far.
    pub fn stats(&self) -> RequestStats {
        self.shared.stats()
    }

    async fn call_until(
        &self,
        request: Q,
        deadline: Option<Instant>,
    ) -> Result<A, RequestError<E>> {
        let came = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= came) {
            return Err(RequestError::DeadlinePassed);
        }
        let place = match self.overflow {
            Overflow::Wait => self.intake.reserve().await.map_err(|_| RequestError::Closed),
            Overflow::Refuse => self.intake.try_reserve().map_err(|refused| match refused {
                TrySendError::Full(()) => RequestError::Full,
                TrySendError::Closed(()) => RequestError::Closed,
            }),
        };
        let place = place.inspect_err(|_| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        // From here to the answer there is no other wait: a request is handed in or it is not.
        let (answer, waits) = oneshot::channel();
        self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        place.send(Message::Request(Entry { request, answer, came, deadline }));
        waits.await.unwrap_or(Err(RequestError::Lost))
    }
}

impl<Q, A, E> Clone for RequestBatcher<Q, A, E> {
    fn clone(&self) -> Self {
        Self {
            intake: self.intake.clone(),
            shared: Arc::clone(&self.shared),
            overflow: self.overflow,
            ended: self.ended.clone(),
        }
    }
}

impl<Q, A, E> fmt::Debug for RequestBatcher<Q, A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBatcher")
            .field("stats", &self.shared.stats())
            .finish_non_exhaustive()
    }
}

// === impl RequestError ===

impl<E> Clone for RequestError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Panicked(text) => Self::Panicked(Arc::clone(text)),
            &Self::WrongAnswers { requests, answers } => Self::WrongAnswers { requests, answers },
            Self::DeadlinePassed => Self::DeadlinePassed,
            Self::Full => Self::Full,
            Self::Closed => Self::Closed,
            Self::Lost => Self::Lost,
        }
    }
}
