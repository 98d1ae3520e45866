//! `processors.batch`

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::later;
use super::super::read::At;

/// Merges small requests into larger ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Batch {
    /// A batch goes out when it has this many items. Default 8192. With 0 it never waits: what
    /// comes in goes out, split by `send_batch_max_size` alone.
    pub(crate) send_batch_size: usize,
    /// A batch goes out when its first item has waited this long. Default 200 ms. With 0 it never
    /// waits.
    pub(crate) timeout: Duration,
    /// A larger batch is split. Default `None` (0 in the file): as large as it comes. Not less than
    /// `send_batch_size`.
    pub(crate) send_batch_max_size: Option<NonZeroUsize>,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> Batch {
    at.section(later::BATCH, |keys| {
        let size = keys.value("send_batch_size").and_then(|at| at.count(0)).unwrap_or(8192);
        let timeout = keys.value("timeout").and_then(|at| at.duration());
        let max_size = keys.value("send_batch_max_size");
        let max = max_size.as_ref().and_then(|at| at.count(0)).and_then(NonZeroUsize::new);
        if let (Some(at), Some(max)) = (max_size, max)
            && max.get() < size
        {
            at.refuse(&format!("be 0 or at least send_batch_size ({size})"), None);
        }
        Batch {
            send_batch_size: size,
            timeout: timeout.unwrap_or(Duration::from_millis(200)),
            send_batch_max_size: max,
        }
    })
}
