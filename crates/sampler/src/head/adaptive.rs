//! Keeps a share of all traces, whoever decides about some of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Candidate, HeadConfigError, Sampler, within};
use crate::{Intent, Threshold};

/// Aims at a share of all traces being kept: its own, and those that are decided elsewhere, by their
/// parents or by other samplers, which it only hears of.
///
/// At the end of each window in which there was something it corrects its rate. Traces are counted
/// where they [come to their service](Candidate::is_entry). A decision reads one number and counts;
/// no lock is taken. Counts that come while a window ends belong to this one or to the next.
#[derive(Debug)]
pub struct Adaptive {
    config: AdaptiveConfig,
    start: Instant,
    /// When the window ends, in nanoseconds since the start.
    window_end: AtomicU64,
    /// The bits of the rate, and of its threshold.
    rate: AtomicU64,
    threshold: AtomicU64,
    windows: AtomicU64,
    own: Tally,
    others: Tally,
}

/// How an [`Adaptive`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// The share of all traces that is to be kept, above 0 and at most 1: 0.1.
    pub target: f64,
    /// How often the rate is corrected: 60 s.
    pub window: Duration,
    /// How it is corrected: in steps.
    pub controller: Controller,
    /// Where the rate starts: 1.
    pub initial_rate: f64,
    /// The lowest rate, above 0: 0.01.
    pub min_rate: f64,
    /// The highest rate, at most 1: 1.
    pub max_rate: f64,
}

/// How the rate follows what was kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Controller {
    /// Where the share that was kept is more than a tenth above the target, the rate becomes 0.9 of
    /// itself; where it is more than a tenth below, 1.1. Slow and calm: from 1 to 0.1 it takes 22
    /// windows.
    #[default]
    Steps,
    /// The rate becomes the one that would have met the target. Two windows after traffic has changed
    /// it is met again.
    Proportional,
}

/// What an [`Adaptive`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AdaptiveStats {
    /// The rate at which it keeps now.
    pub rate: f64,
    /// How many windows have ended.
    pub windows: u64,
    /// Traces of this window that it decided about, and how many of them were kept.
    pub own: (u64, u64),
    /// Traces of this window that were decided elsewhere, and how many of them were kept.
    pub others: (u64, u64),
}

/// How far from the target the share may be before a step is made.
const TOLERANCE: f64 = 0.1;

#[derive(Debug, Default)]
struct Tally {
    seen: AtomicU64,
    kept: AtomicU64,
}

// === impl AdaptiveConfig ===

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            target: 0.1,
            window: Duration::from_secs(60),
            controller: Controller::Steps,
            initial_rate: 1.0,
            min_rate: 0.01,
            max_rate: 1.0,
        }
    }
}

// === impl Adaptive ===

impl Adaptive {
    /// Starts its first window.
    ///
    /// # Errors
    ///
    /// If a share is not within its range or the window is empty or longer than a day.
    pub fn new(config: AdaptiveConfig, now: Instant) -> Result<Self, HeadConfigError> {
        let window = super::window_nanos(config.window)?;
        within("the target", config.target, 1.0)?;
        within("the highest rate", config.max_rate, 1.0)?;
        within("the lowest rate", config.min_rate, config.max_rate)?;
        within("the initial rate", config.initial_rate, 1.0)?;
        let sampler = Self {
            start: now,
            window_end: AtomicU64::new(window),
            rate: AtomicU64::default(),
            threshold: AtomicU64::default(),
            windows: AtomicU64::default(),
            own: Tally::default(),
            others: Tally::default(),
            config,
        };
        sampler.set_rate(config.initial_rate);
        Ok(sampler)
    }

    /// The share of its own traces that it keeps now.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// What it does.
    pub fn stats(&self) -> AdaptiveStats {
        AdaptiveStats {
            rate: self.rate(),
            windows: self.windows.load(Ordering::Relaxed),
            own: self.own.read(),
            others: self.others.read(),
        }
    }

    fn set_rate(&self, rate: f64) {
        let rate = rate.clamp(self.config.min_rate, self.config.max_rate);
        // A rate below all thresholds is as good as the lowest.
        let threshold =
            Threshold::from_probability(rate).map_or(Threshold::MOST.bits(), Threshold::bits);
        self.threshold.store(threshold, Ordering::Relaxed);
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Ends the window, where its time has come: the one who sets the next end does the work.
    #[inline]
    fn turn(&self, now: Instant) {
        let at = now.saturating_duration_since(self.start).as_nanos() as u64;
        let end = self.window_end.load(Ordering::Relaxed);
        if at >= end {
            self.end_window(at, end);
        }
    }

    #[cold]
    fn end_window(&self, at: u64, end: u64) {
        let window = self.config.window.as_nanos() as u64;
        let next = at - (at - end) % window + window;
        let set = self.window_end.compare_exchange(end, next, Ordering::Relaxed, Ordering::Relaxed);
        if set.is_err() {
            return;
        }
        self.windows.fetch_add(1, Ordering::Relaxed);
        let (own, own_kept) = self.own.take();
        let (others, others_kept) = self.others.take();
        let all = own + others;
        if all == 0.0 {
            return;
        }
        let Self { config: AdaptiveConfig { target, .. }, .. } = *self;
        let rate = self.rate();
        match self.config.controller {
            Controller::Steps => {
                let share = (own_kept + others_kept) / all;
                if share > target * (1.0 + TOLERANCE) {
                    self.set_rate(rate * 0.9);
                } else if share < target * (1.0 - TOLERANCE) {
                    self.set_rate(rate * 1.1);
                }
            }
            Controller::Proportional if own > 0.0 => {
                self.set_rate((target * all - others_kept) / own);
            }
            Controller::Proportional => {}
        }
    }
}

impl Sampler for Adaptive {
    #[inline]
    fn intent(&self, now: Instant, _: &Candidate) -> Intent {
        self.turn(now);
        let bits = self.threshold.load(Ordering::Relaxed);
        Intent::Sample(Threshold::from_bits(bits).unwrap_or(Threshold::ALL))
    }

    #[inline]
    fn hear(&self, now: Instant, candidate: &Candidate, is_kept: bool, is_own: bool) {
        if candidate.is_entry {
            self.turn(now);
            let tally = if is_own { &self.own } else { &self.others };
            tally.count(is_kept);
        }
    }
}

// === impl Tally ===

impl Tally {
    fn count(&self, is_kept: bool) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        if is_kept {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> (u64, u64) {
        (self.seen.load(Ordering::Relaxed), self.kept.load(Ordering::Relaxed))
    }

    /// Starts from nothing. A trace of which one half is counted before and one after makes a share
    /// wrong by one trace, once.
    fn take(&self) -> (f64, f64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed) as f64;
        (take(&self.seen), take(&self.kept))
    }
}
