//! How long a batch waits, learnt from how long exports take.

use std::time::Duration;

use crate::ConfigError;

/// How much of a mean the newest sample makes.
const ALPHA: f64 = 0.3;

/// How much of it is forgotten when a sample lies closer to the mean than expected: a few calm exports
/// must not make a deadline missed.
const ALPHA_CALM: f64 = 0.05;

/// What a timer may be late by.
const SLACK: Duration = Duration::from_millis(5);

/// How long exports take: the exponentially weighted mean (alpha 0.3) of what is recorded, and of
/// how far that lies from the mean, which is quick to grow and slow to shrink.
///
/// ```
/// use std::time::Duration;
/// use teleflow_batcher::ExportTime;
///
/// let mut time = ExportTime::default();
/// assert_eq!(time.mean(), None);
/// time.record(Duration::from_millis(100));
/// time.record(Duration::from_millis(200));
/// assert_eq!(time.mean(), Some(Duration::from_millis(130)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExportTime {
    /// In seconds; `None` before the first sample.
    mean: Option<f64>,
    deviation: f64,
}

/// The shortest and the longest wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitRange {
    /// The shortest: 10 ms. Must not be zero.
    pub least: Duration,
    /// The longest: 10 s.
    pub most: Duration,
}

/// A wait that follows the export time.
///
/// While the mean [`ExportTime`] is above half the wait, each sample doubles the wait: a slow backend
/// gets fewer and larger requests. While it is at most a sixth, each sample halves the wait. In
/// between the wait stays: if all below a half halved it, the next sample would double it again, for
/// ever. So with a steady export time `t` the wait ends between `2 t` and `6 t`, within its range,
/// and a mean that keeps within a factor of 1.5 moves it once at most.
///
/// It reads no clock: the wait is a function of the samples.
///
/// ```
/// use std::time::Duration;
/// use teleflow_batcher::{AdaptiveWait, WaitRange};
///
/// let ms = Duration::from_millis;
/// let mut wait = AdaptiveWait::new(ms(200), WaitRange::default(), ms(100))?;
/// assert_eq!(wait.record(ms(300)), ms(400));
/// assert_eq!(wait.record(ms(300)), ms(800));
/// assert_eq!(wait.record(ms(300)), ms(800), "between 2 and 6 times the export time");
/// # Ok::<(), teleflow_batcher::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveWait {
    export: ExportTime,
    wait: Duration,
    range: WaitRange,
    /// The margin while nothing was recorded.
    margin: Duration,
}

// === impl ExportTime ===

impl ExportTime {
    /// Counts an export that took so long, from the moment the batch was handed on to the answer.
    pub fn record(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        match &mut self.mean {
            // As of a first round trip (RFC 6298): half of it may be chance.
            None => (self.mean, self.deviation) = (Some(took), took / 2.0),
            Some(mean) => {
                let change = (took - *mean).abs() - self.deviation;
                self.deviation += change * if change > 0.0 { ALPHA } else { ALPHA_CALM };
                *mean += ALPHA * (took - *mean);
            }
        }
    }

    /// The mean; `None` before the first sample.
    pub fn mean(&self) -> Option<Duration> {
        self.mean.map(seconds)
    }

    /// How much time to leave for an export that must be done by a deadline: the mean, four times
    /// the deviation, and 5 ms for a late timer. `None` before the first sample.
    pub fn margin(&self) -> Option<Duration> {
        let mean = self.mean?;
        Some(seconds(4.0f64.mul_add(self.deviation, mean)).saturating_add(SLACK))
    }
}

// === impl WaitRange ===

impl Default for WaitRange {
    fn default() -> Self {
        Self { least: Duration::from_millis(10), most: Duration::from_secs(10) }
    }
}

// === impl AdaptiveWait ===

impl AdaptiveWait {
    /// Begins with `start`, or the end of the range that is nearest to it. `margin` is what
    /// [`margin`](Self::margin) says while nothing was recorded.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wait`] where the range is empty or begins at zero.
    pub fn new(start: Duration, range: WaitRange, margin: Duration) -> Result<Self, ConfigError> {
        let WaitRange { least, most } = range;
        if least.is_zero() || most < least {
            return Err(ConfigError::Wait { least, most });
        }
        Ok(Self { export: ExportTime::default(), wait: start.clamp(least, most), range, margin })
    }

    /// A wait that only learns the margin.
    pub(crate) fn fixed(wait: Duration, margin: Duration) -> Self {
        let range = WaitRange { least: wait, most: wait };
        Self { export: ExportTime::default(), wait, range, margin }
    }

    /// Counts an export that took so long; returns the wait from now on.
    pub fn record(&mut self, took: Duration) -> Duration {
        self.export.record(took);
        let WaitRange { least, most } = self.range;
        let mean = self.export.mean().unwrap_or_default();
        if mean > self.wait / 2 {
            self.wait = self.wait.saturating_mul(2).min(most);
        } else if mean <= self.wait / 6 {
            self.wait = (self.wait / 2).max(least);
        }
        self.wait
    }

    /// The wait now.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// How long before a caller's deadline a batch should leave.
    pub fn margin(&self) -> Duration {
        self.export.margin().unwrap_or(self.margin)
    }

    /// What was learnt of the export time.
    pub const fn export_time(&self) -> ExportTime {
        self.export
    }
}

/// A time that is not too long for a `Duration` to name, and not negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
