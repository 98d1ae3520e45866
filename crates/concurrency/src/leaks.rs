//! Finds tasks that pile up.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Counts live tasks by name and by the place where they were started, and tells when they grow
/// from one look to the next by more than they should.
///
/// Clones share everything. The names and places are those of the program's text, so there are as
/// many counters as the program has places that start something, and no more.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_concurrency::TaskMonitor;
///
/// let monitor = TaskMonitor::new(Duration::from_secs(60), 100);
/// let start = Instant::now();
/// assert!(monitor.look(start).is_none(), "the first look has nothing to compare with");
/// let leaked: Vec<_> = (0..101).map(|_| monitor.track("session")).collect();
/// let growth = monitor.look(start + Duration::from_secs(60)).unwrap();
/// assert_eq!((growth.before, growth.now), (0, 101));
/// assert_eq!(growth.sites[0].name, "session");
/// # drop(leaked);
/// ```
#[derive(Clone, Debug)]
pub struct TaskMonitor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    every: Duration,
    growth: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sites: BTreeMap<Site, Arc<Counters>>,
    last: Option<Look>,
    looks: u64,
    warnings: u64,
}

type Site = (&'static str, &'static Location<'static>);

#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    ended: AtomicU64,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    live: BTreeMap<Site, u64>,
}

/// A task that is counted as live until this is dropped.
#[derive(Debug)]
#[must_use = "it counts as ended when it is dropped"]
pub struct Tracked(Arc<Counters>);

/// Live tasks grew by more than allowed from one look to the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Growth {
    /// Live tasks at the look before.
    pub before: u64,
    /// Live tasks now.
    pub now: u64,
    /// How long ago the look before was.
    pub within: Duration,
    /// Where they were started, those that grew most first; places that did not grow are left out.
    pub sites: Vec<SiteGrowth>,
}

/// A place in the program that starts tasks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SiteGrowth {
    /// The tasks' name.
    pub name: &'static str,
    /// Where they are started.
    pub site: &'static Location<'static>,
    /// Live tasks now.
    pub live: u64,
    /// How many more those are than at the look before.
    pub grown: u64,
}

/// What a [`TaskMonitor`] has counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TaskStats {
    /// Live tasks by name.
    pub live: BTreeMap<&'static str, u64>,
    /// Tasks that were ever started.
    pub started: u64,
    /// Looks that were due.
    pub looks: u64,
    /// Looks that found too much growth.
    pub warnings: u64,
}

// === impl TaskMonitor ===

impl TaskMonitor {
    /// Looks at most once in `every`, and tells of growth by more than `growth` tasks.
    pub fn new(every: Duration, growth: u64) -> Self {
        Self(Arc::new(Inner { every, growth, state: Mutex::default() }))
    }

    /// Counts a task from here on, under this name and the caller's place.
    #[track_caller]
    pub fn track(&self, name: &'static str) -> Tracked {
        let counters =
            Arc::clone(self.state().sites.entry((name, Location::caller())).or_default());
        counters.started.fetch_add(1, Ordering::Relaxed);
        Tracked(counters)
    }

    /// The future, counted until it ends or is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use teleflow_concurrency::TaskMonitor;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let monitor = TaskMonitor::new(Duration::from_secs(60), 100);
    /// let task = tokio::spawn(monitor.watch("session", std::future::pending::<()>()));
    /// assert_eq!(monitor.stats().live["session"], 1);
    /// task.abort();
    /// assert!(task.await.is_err());
    /// assert_eq!(monitor.stats().live.get("session").copied().unwrap_or(0), 0);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn watch<F: Future>(
        &self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let tracked = self.track(name);
        async move {
            let _tracked = tracked;
            future.await
        }
    }

    /// Compares with the look before, if that is long enough ago; tells of too much growth.
    ///
    /// With the feature `tracing` each growth is also a warning in the log.
    pub fn look(&self, now: Instant) -> Option<Growth> {
        let mut state = self.state();
        let is_early = |last: &Look| now.saturating_duration_since(last.at) < self.0.every;
        if state.last.as_ref().is_some_and(is_early) {
            return None;
        }
        let live = state.live();
        let last = state.last.replace(Look { at: now, live: live.clone() });
        state.looks += 1;
        let last = last?;
        let (before, total) = (last.live.values().sum(), live.values().sum::<u64>());
        if total.saturating_sub(before) <= self.0.growth {
            return None;
        }
        state.warnings += 1;
        let grown = |(site, live): (Site, u64)| {
            let before = last.live.get(&site).copied().unwrap_or_default();
            let grown = live.checked_sub(before).filter(|grown| *grown > 0)?;
            Some(SiteGrowth { name: site.0, site: site.1, live, grown })
        };
        let mut sites: Vec<_> = live.into_iter().filter_map(grown).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.grown));
        let within = now.saturating_duration_since(last.at);
        let growth = Growth { before, now: total, within, sites };
        #[cfg(feature = "tracing")]
        tracing::warn!("{growth}");
        Some(growth)
    }

    /// Looks as often as it should, on tokio's clock, until it is cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the looking and loses nothing; another may go on.
    pub async fn run(&self, stop: CancellationToken, mut on_growth: impl FnMut(Growth)) {
        loop {
            if let Some(growth) = self.look(tokio::time::Instant::now().into_std()) {
                on_growth(growth);
            }
            let pause = self.0.every.max(Duration::from_millis(1));
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> TaskStats {
        let state = self.state();
        let mut stats =
            TaskStats { looks: state.looks, warnings: state.warnings, ..TaskStats::default() };
        for ((name, _), live) in state.live() {
            *stats.live.entry(name).or_default() += live;
        }
        let started = state.sites.values().map(|site| site.started.load(Ordering::Relaxed));
        stats.started = started.sum();
        stats
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TaskMonitor {
    /// Every minute, more than 100.
    fn default() -> Self {
        Self::new(Duration::from_secs(60), 100)
    }
}

// === impl State ===

impl State {
    fn live(&self) -> BTreeMap<Site, u64> {
        let live = |counters: &Counters| {
            // Ended first: a task that starts and ends in between must not make it negative.
            let ended = counters.ended.load(Ordering::Acquire);
            counters.started.load(Ordering::Relaxed).saturating_sub(ended)
        };
        self.sites.iter().map(|(site, counters)| (*site, live(counters))).collect()
    }
}

// === impl Tracked ===

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

// === impl Growth ===

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, now, within, sites } = self;
        write!(f, "live tasks grew from {before} to {now} within {within:?}:")?;
        for SiteGrowth { name, site, live, grown } in sites {
            write!(f, " {name} at {site}: {grown} more, {live} live;")?;
        }
        Ok(())
    }
}
