//! Ends a program's tasks in order: stop taking in, drain, force, give up; and says what was lost.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Knows a program's tasks by name, and ends them in phases.
///
/// 1. [`stopping`](Self::stopping) is cancelled: whoever takes work in stops, and tasks finish what
///    they have.
/// 2. When the time to drain has passed, [`forced`](Self::forced) is cancelled: tasks hand back what
///    they hold and end.
/// 3. When the time for that has passed too, the futures that are left are dropped where they
///    wait. One that never waits cannot be dropped, and is reported as stuck.
///
/// Clones share everything.
///
/// ```
/// use std::time::Duration;
/// use teleflow_concurrency::Shutdown;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let shutdown = Shutdown::new();
/// let stopping = shutdown.stopping();
/// tokio::spawn(shutdown.run("server", async move { stopping.cancelled().await }));
/// tokio::spawn(shutdown.run("stuck client", std::future::pending::<()>()));
/// let report = shutdown.shut_down(Duration::from_secs(5), Duration::from_secs(1)).await;
/// assert_eq!(report.drained["server"], 1);
/// assert_eq!(report.abandoned["stuck client"], 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopping: CancellationToken,
    forced: CancellationToken,
    abandoned: CancellationToken,
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Names,
    report: ShutdownReport,
}

type Names = BTreeMap<&'static str, usize>;

/// Where a shutdown is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ShutdownPhase {
    /// It has not begun.
    Running,
    /// Nothing is taken in; what is held is finished.
    Draining,
    /// The time to drain has passed.
    Forced,
    /// What was left was dropped.
    Abandoned,
}

/// What became of the tasks, by name: how many of each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShutdownReport {
    /// Ended while there was time to drain.
    pub drained: BTreeMap<&'static str, usize>,
    /// Ended once they were forced to.
    pub forced: BTreeMap<&'static str, usize>,
    /// Dropped where they waited.
    pub abandoned: BTreeMap<&'static str, usize>,
    /// Do not wait anywhere, and so still run.
    pub stuck: BTreeMap<&'static str, usize>,
}

/// A task that runs, until this is dropped.
struct Running {
    shutdown: Shutdown,
    name: &'static str,
    is_abandoned: bool,
}

// === impl Shutdown ===

impl Shutdown {
    /// One that knows no task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when nothing more is to be taken in.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Cancelled when the time to drain has passed.
    pub fn forced(&self) -> CancellationToken {
        self.0.forced.clone()
    }

    /// The future as a task that the shutdown waits for and, in the end, drops; give it to
    /// `tokio::spawn`. It counts from this call on, also before it is first polled.
    ///
    /// Its output is `None` where it was dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropped from outside it counts as ended in the phase of that moment.
    pub fn run<F: Future>(
        &self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        *self.state().live.entry(name).or_default() += 1;
        let running = Running { shutdown: self.clone(), name, is_abandoned: false };
        let abandoned = self.0.abandoned.clone();
        self.0.tasks.track_future(async move {
            let mut running = running;
            let output = abandoned.run_until_cancelled(future).await;
            running.is_abandoned = output.is_none();
            output
        })
    }

    /// Where it is.
    pub fn phase(&self) -> ShutdownPhase {
        let Inner { stopping, forced, abandoned, .. } = &*self.0;
        match () {
            () if abandoned.is_cancelled() => ShutdownPhase::Abandoned,
            () if forced.is_cancelled() => ShutdownPhase::Forced,
            () if stopping.is_cancelled() => ShutdownPhase::Draining,
            () => ShutdownPhase::Running,
        }
    }

    /// Tasks that have not ended, by name.
    pub fn live(&self) -> BTreeMap<&'static str, usize> {
        self.state().live.clone()
    }

    /// Goes through the phases as far as it has to, at most `drain` and twice `force` long, on
    /// tokio's clock. A task that is started meanwhile is ended like the others.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stays in the phase where it is; another call goes on from there, with times of
    /// its own. Two calls at a time share the phases: the shorter time holds.
    pub async fn shut_down(&self, drain: Duration, force: Duration) -> ShutdownReport {
        self.0.tasks.close();
        for (token, time) in
            [(&self.0.stopping, drain), (&self.0.forced, force), (&self.0.abandoned, force)]
        {
            token.cancel();
            let now = Instant::now();
            // A time that the clock cannot name never comes.
            let ended = match now.checked_add(time) {
                Some(deadline) => timeout_at(deadline, self.0.tasks.wait()).await.is_ok(),
                None => {
                    self.0.tasks.wait().await;
                    true
                }
            };
            if ended {
                break;
            }
        }
        let state = self.state();
        ShutdownReport { stuck: state.live.clone(), ..state.report.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ShutdownReport ===

impl ShutdownReport {
    /// Whether every task ended by itself, in time.
    pub fn is_clean(&self) -> bool {
        self.forced.is_empty() && self.abandoned.is_empty() && self.stuck.is_empty()
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let phase = self.shutdown.phase();
        let mut state = self.shutdown.state();
        if let Some(live) = state.live.get_mut(self.name) {
            *live -= 1;
            if *live == 0 {
                state.live.remove(self.name);
            }
        }
        let ended = match phase {
            ShutdownPhase::Running => return,
            _ if self.is_abandoned => &mut state.report.abandoned,
            ShutdownPhase::Draining => &mut state.report.drained,
            ShutdownPhase::Forced | ShutdownPhase::Abandoned => &mut state.report.forced,
        };
        *ended.entry(self.name).or_default() += 1;
    }
}
