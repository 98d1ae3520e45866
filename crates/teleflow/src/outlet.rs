//! What stands between a lane and one of its exporters: a queue in memory, or one on disk.

mod persistent;
mod storage;

use std::time::Duration;

use teleflow_exporter::{Queue, QueueStats, Refused};
use teleflow_otlp::Payload;
use tokio::time::Instant;

pub(crate) use self::persistent::PersistentQueue;
pub use self::storage::{Storage, StorageError};

/// The way to one destination of a lane.
#[derive(Debug)]
pub(crate) enum Outlet {
    Memory(Queue),
    Persistent(PersistentQueue),
}

// === impl Outlet ===

impl Outlet {
    /// Takes `batch`, or says why not. What a queue on disk took and could not keep it enters into
    /// the books itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the batch, which was not taken then.
    pub(crate) async fn push(&self, batch: Payload) -> Result<(), Refused> {
        match self {
            Self::Memory(queue) => queue.push(batch).await,
            Self::Persistent(queue) => queue.push(batch).await,
        }
    }

    /// Delivers what is held, as long as there is time; a queue on disk keeps the rest.
    pub(crate) async fn drain(&self, deadline: Instant) {
        match self {
            Self::Memory(queue) => _ = queue.drain(deadline).await,
            Self::Persistent(queue) => queue.drain(deadline).await,
        }
    }

    pub(crate) fn stats(&self) -> QueueStats {
        match self {
            Self::Memory(queue) => queue.stats(),
            Self::Persistent(queue) => queue.stats(),
        }
    }

    /// How long exports took since this was last asked.
    pub(crate) fn take_export_times(&self) -> impl Iterator<Item = Duration> + use<> {
        let (memory, persistent) = match self {
            Self::Memory(queue) => (Some(queue.take_export_times()), None),
            Self::Persistent(queue) => (None, Some(queue.take_export_times())),
        };
        memory.into_iter().flatten().chain(persistent.into_iter().flatten())
    }
}
