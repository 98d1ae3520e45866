//! Typed stages in a row, each with a bounded queue in front of it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::FutureExt as _;
use futures_util::stream::{self, Stream, StreamExt as _};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::panic;

/// In which order a stage hands on what it made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StageOrder {
    /// As it came in: a slow item holds those behind it up.
    Kept,
    /// As it gets ready.
    Free,
}

/// How a stage works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StageConfig {
    /// What errors and statistics call it.
    pub name: &'static str,
    /// How many items it works on at a time, each in a task of its own.
    pub at_once: NonZeroUsize,
    /// How many items wait in front of it at most; zero is taken for one.
    pub queue: usize,
    /// The order of what it hands on.
    pub order: StageOrder,
}

/// Stages that are put together: what goes into the first is `In`, what comes out of the last `Out`.
///
/// A stage that is behind holds up the one before it, up to whoever sends. A stage makes one item of
/// each, or, with `None`, leaves it out.
///
/// ```
/// use std::num::NonZeroUsize;
/// use teleflow_concurrency::{StageConfig, Stages};
/// use tokio_util::sync::CancellationToken;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let four = NonZeroUsize::new(4).unwrap();
/// let mut line = Stages::<String, String>::new()
///     .stage(StageConfig::new("parse", four), async |text: String| text.parse::<u32>().ok())
///     .stage(StageConfig::new("double", four), async |number: u32| Some(2 * number))
///     .start(CancellationToken::new());
/// for text in ["1", "two", "3"] {
///     line.input.send(text.to_owned()).await?;
/// }
/// drop(line.input);
/// assert_eq!(line.output.recv().await, Some(2));
/// assert_eq!(line.output.recv().await, Some(6));
/// assert_eq!(line.output.recv().await, None);
/// line.running.join().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stages<In, Out> {
    start: Start<In, Out>,
    stats: Vec<Arc<Counters>>,
}

/// Starts all stages that are there, in front of one more; gives where its items come in, in so
/// large a queue.
type Start<In, Out> = Box<dyn FnOnce(mpsc::Sender<Out>, &mut Tasks) -> mpsc::Sender<In> + Send>;

/// Stages at work.
#[derive(Debug)]
pub struct Line<In, Out> {
    /// Takes items; the stages end when this and its clones are dropped and all is handed on.
    pub input: mpsc::Sender<In>,
    /// Gives what the last stage made. Dropped early, all stages end at their next item.
    pub output: mpsc::Receiver<Out>,
    /// The stages themselves.
    pub running: Running,
}

/// The tasks of stages at work. Dropped, they end at once.
#[derive(Debug)]
pub struct Running {
    tasks: Tasks,
    stats: Vec<Arc<Counters>>,
}

#[derive(Debug)]
struct Tasks {
    set: JoinSet<Result<(), StagePanicked>>,
    cancel: CancellationToken,
}

/// An item panicked. All stages ended of it; what was under way is lost.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("stage `{stage}` panicked: {said}")]
pub struct StagePanicked {
    /// Where.
    pub stage: &'static str,
    /// What with, where that is a text.
    pub said: String,
}

/// What a stage did and has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StageStats {
    /// Its name.
    pub name: &'static str,
    /// Items that were begun.
    pub taken: u64,
    /// Items that were handed on.
    pub handed_on: u64,
    /// Items that it left out.
    pub left_out: u64,
}

#[derive(Debug)]
struct Counters {
    name: &'static str,
    taken: AtomicU64,
    handed_on: AtomicU64,
    left_out: AtomicU64,
}

// === impl StageConfig ===

impl StageConfig {
    /// A stage that keeps the order, with a queue twice as long as it works on at once.
    pub const fn new(name: &'static str, at_once: NonZeroUsize) -> Self {
        Self { name, at_once, queue: at_once.get().saturating_mul(2), order: StageOrder::Kept }
    }
}

// === impl Stages ===

impl<T: Send + 'static> Stages<T, T> {
    /// Starts with no stage.
    #[expect(clippy::new_without_default, reason = "nobody needs a line without a stage")]
    pub fn new() -> Self {
        Self { start: Box::new(|output, _| output), stats: Vec::new() }
    }
}

impl<In: Send + 'static, Out: Send + 'static> Stages<In, Out> {
    /// Puts a stage behind those that are there.
    #[must_use]
    pub fn stage<F, W, Next>(mut self, config: StageConfig, work: F) -> Stages<In, Next>
    where
        F: Fn(Out) -> W + Send + 'static,
        W: Future<Output = Option<Next>> + Send + 'static,
        Next: Send + 'static,
    {
        let counters = Arc::new(Counters {
            name: config.name,
            taken: AtomicU64::new(0),
            handed_on: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        });
        self.stats.push(Arc::clone(&counters));
        let before = self.start;
        let start = move |output, tasks: &mut Tasks| {
            let (sender, items) = mpsc::channel(config.queue.max(1));
            let cancel = tasks.cancel.clone();
            tasks.set.spawn(async move {
                let run = run(config, &counters, items, work, output);
                // The closure itself runs in here, and so may panic in here.
                let run = AssertUnwindSafe(cancel.run_until_cancelled(run)).catch_unwind();
                match run.await {
                    Ok(ended) => ended.unwrap_or(Ok(())),
                    Err(panic) => Err(StagePanicked::new(config.name, &*panic)),
                }
            });
            before(sender, tasks)
        };
        Stages { start: Box::new(start), stats: self.stats }
    }

    /// Starts the stages. They end at once when `cancel` is cancelled, and what is under way is
    /// dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self, cancel: CancellationToken) -> Line<In, Out> {
        let mut tasks = Tasks { set: JoinSet::new(), cancel };
        let (sender, output) = mpsc::channel(1);
        let input = (self.start)(sender, &mut tasks);
        Line { input, output, running: Running { tasks, stats: self.stats } }
    }
}

impl<In, Out> fmt::Debug for Stages<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.stats.iter().map(|stage| stage.name);
        f.debug_list().entries(names).finish()
    }
}

/// One stage at work: until nothing comes in any more, nobody wants what goes out, or a panic.
async fn run<T, Next, W>(
    config: StageConfig,
    counters: &Counters,
    mut items: mpsc::Receiver<T>,
    work: impl Fn(T) -> W + Send,
    output: mpsc::Sender<Next>,
) -> Result<(), StagePanicked>
where
    T: Send,
    W: Future<Output = Option<Next>> + Send + 'static,
    Next: Send + 'static,
{
    let at_once = config.at_once.get();
    let begun = stream::poll_fn(move |cx| items.poll_recv(cx)).map(move |item| {
        counters.taken.fetch_add(1, Relaxed);
        // Dropped with the stage, so that nothing goes on alone.
        AbortOnDropHandle::new(tokio::spawn(work(item)))
    });
    let mut done: Pin<Box<dyn Stream<Item = Result<Option<Next>, JoinError>> + Send + '_>> =
        match config.order {
            StageOrder::Kept => Box::pin(begun.buffered(at_once)),
            StageOrder::Free => Box::pin(begun.buffer_unordered(at_once)),
        };
    while let Some(result) = done.next().await {
        match result {
            Ok(Some(made)) => {
                if output.send(made).await.is_err() {
                    return Ok(());
                }
                counters.handed_on.fetch_add(1, Relaxed);
            }
            Ok(None) => drop(counters.left_out.fetch_add(1, Relaxed)),
            Err(error) => return panicked(config.name, error),
        }
    }
    Ok(())
}

fn panicked(stage: &'static str, error: JoinError) -> Result<(), StagePanicked> {
    // Else the runtime ended, and this task with it.
    let Ok(panic) = error.try_into_panic() else { return Ok(()) };
    Err(StagePanicked::new(stage, &*panic))
}

// === impl StagePanicked ===

impl StagePanicked {
    fn new(stage: &'static str, panic: &(dyn Any + Send)) -> Self {
        Self { stage, said: panic::text(panic) }
    }
}

// === impl Running ===

impl Running {
    /// Waits until all stages have ended.
    ///
    /// # Errors
    ///
    /// The first panic, if there was one.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the stages.
    pub async fn join(mut self) -> Result<(), StagePanicked> {
        let mut first = Ok(());
        while let Some(ended) = self.tasks.set.join_next().await {
            let ended = ended.unwrap_or(Ok(()));
            if ended.is_err() && first.is_ok() {
                // Those in front end when they hand on, those behind when nothing comes; one that
                // waits for an item that never ends would not.
                self.tasks.set.abort_all();
                first = ended;
            }
        }
        first
    }

    /// What each stage did, in their order.
    pub fn stats(&self) -> Vec<StageStats> {
        let read = |stage: &Arc<Counters>| StageStats {
            name: stage.name,
            taken: stage.taken.load(Relaxed),
            handed_on: stage.handed_on.load(Relaxed),
            left_out: stage.left_out.load(Relaxed),
        };
        self.stats.iter().map(read).collect()
    }
}
