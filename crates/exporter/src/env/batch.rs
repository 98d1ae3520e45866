//! `OTEL_BSP_*` and `OTEL_BLRP_*`: the batch processors of an SDK.

use std::num::NonZeroU64;
use std::time::Duration;

use super::EnvWarning;
use super::source::Source;
use crate::QueueConfig;

/// What the environment says of the batch processor of spans or of log records.
///
/// | suffix | meaning | spans | log records |
/// |---|---|---|---|
/// | `SCHEDULE_DELAY` | milliseconds between two exports | 5000 | 1000 |
/// | `EXPORT_TIMEOUT` | milliseconds for an export; 0 for no limit | 30 000 | 30 000 |
/// | `MAX_QUEUE_SIZE` | items that wait | 2048 | 2048 |
/// | `MAX_EXPORT_BATCH_SIZE` | items of a batch, at most those of the queue | 512 | 512 |
///
/// As settings of a batcher: its least and most items are [`max_export_batch_size`], its timeout is
/// [`schedule_delay`]. [`queue`](Self::queue) has the rest.
///
/// ```
/// use std::time::Duration;
///
/// use teleflow_exporter::BatchEnv;
///
/// let variables = |name: &str| (name == "OTEL_BSP_SCHEDULE_DELAY").then(|| "100".to_owned());
/// assert_eq!(BatchEnv::spans(variables).schedule_delay, Duration::from_millis(100));
/// assert_eq!(BatchEnv::logs(variables).schedule_delay, Duration::from_secs(1));
/// ```
///
/// [`max_export_batch_size`]: Self::max_export_batch_size
/// [`schedule_delay`]: Self::schedule_delay
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchEnv {
    /// How long an item waits for others.
    pub schedule_delay: Duration,
    /// How long an export may take, all of its attempts together; zero is no limit.
    pub export_timeout: Duration,
    /// The most items that wait.
    pub max_queue_size: NonZeroU64,
    /// The most items of a batch, which goes when it has as many; never more than wait.
    pub max_export_batch_size: NonZeroU64,
    /// What could not be used. Whoever starts the program should see it.
    pub warnings: Vec<EnvWarning>,
}

const QUEUE: NonZeroU64 = NonZeroU64::new(2048).unwrap();
const BATCH: NonZeroU64 = NonZeroU64::new(512).unwrap();

// === impl BatchEnv ===

impl BatchEnv {
    /// Reads what `lookup` knows of `OTEL_BSP_*`.
    pub fn spans(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::read(&lookup, "OTEL_BSP_", Duration::from_secs(5))
    }

    /// Reads what `lookup` knows of `OTEL_BLRP_*`.
    pub fn logs(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::read(&lookup, "OTEL_BLRP_", Duration::from_secs(1))
    }

    fn read(lookup: &dyn Fn(&str) -> Option<String>, prefix: &str, delay: Duration) -> Self {
        let prefixes = [prefix];
        let mut source = Source::new(lookup, &prefixes);
        let schedule_delay = source.millis("SCHEDULE_DELAY").unwrap_or(delay);
        let export_timeout = source.millis("EXPORT_TIMEOUT").unwrap_or(Duration::from_secs(30));
        let max_queue_size = source.positive("MAX_QUEUE_SIZE").map_or(QUEUE, |(size, _)| size);
        let max_export_batch_size = match source.positive("MAX_EXPORT_BATCH_SIZE") {
            Some((size, _)) if size <= max_queue_size => size,
            Some((_, name)) => {
                source.warn(name, format!("is more than the queue holds, {max_queue_size}"));
                BATCH.min(max_queue_size)
            }
            None => BATCH.min(max_queue_size),
        };
        Self {
            schedule_delay,
            export_timeout,
            max_queue_size,
            max_export_batch_size,
            warnings: source.into_warnings(),
        }
    }

    /// A queue that holds as many items; the rest are the defaults.
    pub fn queue(&self) -> QueueConfig {
        QueueConfig { max_items: Some(self.max_queue_size), ..QueueConfig::default() }
    }
}
