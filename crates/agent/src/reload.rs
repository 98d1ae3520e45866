//! Reading the config file again, at SIGHUP.
//!
//! A file that is wrong changes nothing, and its errors are logged. Of one that is right, what tail
//! samplers are to do is applied at once: nothing that is held is lost. Everything else takes a
//! restart, and is named in the log.

mod difference;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use teleflow::Pipeline;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

use self::difference::Running;
use crate::config::Config;
use crate::{gateway, run};

/// SIGHUP, which from now on does not end the program.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

/// How often the file was read again.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    of_restart: AtomicU64,
}

/// What [`Reloads`] were at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reloaded {
    /// All that could be applied was.
    pub(crate) succeeded: u64,
    /// The file was wrong, or something could not be applied.
    pub(crate) failed: u64,
    /// Keys of the file that only a restart brings.
    pub(crate) of_restart: u64,
}

/// A gateway whose file may be read again.
#[derive(Debug)]
struct Reload {
    /// `None`: it runs without a file.
    path: Option<PathBuf>,
    running: Running,
    pipeline: Arc<Pipeline>,
    counts: Arc<Reloads>,
}

// === impl Hangups ===

impl Hangups {
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Reads the file again at each, until the task is aborted.
    pub(crate) fn reload(
        mut self,
        path: Option<&Path>,
        config: &Config,
        pipeline: &Arc<Pipeline>,
        counts: &Arc<Reloads>,
    ) -> JoinHandle<()> {
        let mut reload = Reload {
            path: path.map(Path::to_owned),
            running: Running::new(config),
            pipeline: Arc::clone(pipeline),
            counts: Arc::clone(counts),
        };
        tokio::spawn(async move {
            while self.0.recv().await.is_some() {
                reload.again().await;
            }
        })
    }
}

// === impl Reload ===

impl Reload {
    async fn again(&mut self) {
        let Some(path) = self.path.clone() else {
            tracing::warn!("SIGHUP, but there is no config file to read again");
            return;
        };
        let name = path.display().to_string();
        // What reads from a pipe may wait.
        match spawn_blocking(move || run::read(&path)).await {
            Ok(Ok((config, warnings))) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.apply(&name, &config);
            }
            Ok(Err(errors)) => {
                self.count(false);
                tracing::error!("{name} was read again and is wrong: nothing changed");
                errors.to_string().lines().for_each(|error| tracing::error!("{error}"));
            }
            Err(error) => {
                self.count(false);
                tracing::error!("{name} could not be read again, nothing changed: {error}");
            }
        }
    }

    /// Counts how it went, before that is told: who reads of it may look at the metrics at once.
    fn count(&self, is_done: bool) {
        let count = if is_done { &self.counts.succeeded } else { &self.counts.failed };
        count.fetch_add(1, Relaxed);
    }

    /// Applies what can be.
    fn apply(&mut self, name: &str, config: &Config) {
        let difference = self.running.difference(config);
        let mut all = true;
        for change in difference.samplers {
            let (lane, what) = (&change.lane, change.what.join(", "));
            // What is not a sampler is not among the changes.
            let Some(config) = gateway::sampler(&change.sampler) else { continue };
            let changed = self.pipeline.change_sampler(lane, config);
            match changed.map_err(anyhow::Error::from) {
                Ok(()) => {
                    tracing::info!("{name} was read again: pipeline {lane} has new {what}");
                    self.running.note(change);
                }
                Err(error) => {
                    tracing::error!("{name} was read again: pipeline {lane}: {error:#}");
                    all = false;
                }
            }
        }
        self.counts.of_restart.store(difference.of_restart.len() as u64, Relaxed);
        self.count(all);
        if difference.of_restart.is_empty() {
            tracing::info!("{name} was read again: all of it is applied now");
        } else {
            let what = difference.of_restart.iter().map(String::as_str);
            let what = what.collect::<Vec<_>>().join(", ");
            tracing::warn!(
                "{name} was read again: these take a restart, and stay as they were: {what}"
            );
        }
    }
}

// === impl Reloads ===

impl Reloads {
    pub(crate) fn counted(&self) -> Reloaded {
        Reloaded {
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            of_restart: self.of_restart.load(Relaxed),
        }
    }
}
