//! `sending_queue`: what waits for an exporter, where, and in which batches it goes.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::extensions::MIN_STORAGE_BYTES;
use super::super::later;
use super::super::read::{At, Keys};
use super::super::reference::Reference;
use super::wrappers::Wrappers;

/// `sending_queue`: what waits for an exporter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Queue {
    /// How many requests are sent at a time. Default 10. At least 1.
    pub(crate) num_consumers: NonZeroUsize,
    /// How much there is at most, what is being sent included. At least 1. Default 1000 requests;
    /// with a storage `None`: as much as that holds.
    pub(crate) queue_size: Option<NonZeroUsize>,
    /// In what that is counted. Default [`Sizer::Requests`].
    pub(crate) sizer: Sizer,
    /// What happens to what does not fit. Default [`OnFull::Refuse`].
    pub(crate) on_full: OnFull,
    /// Whether senders are answered only when what they sent has arrived. Default no.
    pub(crate) wait_for_result: bool,
    /// `storage`: what keeps them over a restart. Default `None`: they are in memory.
    pub(crate) storage: Option<Reference>,
    /// How requests are merged. Default `None`: they are not.
    pub(crate) batch: Option<QueueBatch>,
}

/// `sending_queue.batch`: merges small requests into larger ones, and cuts what is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QueueBatch {
    /// A batch goes out when its first item has waited this long. Default 200 ms. More than 0.
    pub(crate) flush_timeout: Duration,
    /// A batch goes out when it has this much. Default 8192. With 0 it never waits.
    pub(crate) min_size: usize,
    /// A larger batch is split. Default `None` (0 in the file): as large as it comes. Not less than
    /// `min_size`.
    pub(crate) max_size: Option<NonZeroUsize>,
    /// In what that is counted: items or bytes. Default the queue's, if that is written, else items.
    pub(crate) sizer: Sizer,
}

/// `sizer`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Sizer {
    #[default]
    Requests,
    Items,
    Bytes,
}

/// `block_on_overflow`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum OnFull {
    /// `false`: it is refused.
    #[default]
    Refuse,
    /// `true`: it waits for room.
    Wait,
}

const DEFAULT_QUEUE_SIZE: NonZeroUsize = NonZeroUsize::new(1000).expect("is not zero");
/// How many requests are sent at a time.
pub(super) const DEFAULT_CONSUMERS: NonZeroUsize = NonZeroUsize::new(10).expect("is not zero");
const DEFAULT_FLUSH: Duration = Duration::from_millis(200);

/// How many requests are sent at a time, where the file does not say it: as many as the exporter may
/// find out that it can.
pub(super) fn consumers_for(wrappers: &Wrappers) -> NonZeroUsize {
    wrappers.concurrency.map_or(DEFAULT_CONSUMERS, |adaptive| adaptive.max)
}

/// Reads `sending_queue`: `None` if it is turned off.
pub(super) fn read(keys: &mut Keys<'_>, consumers: NonZeroUsize) -> Option<Queue> {
    read_with(keys, |keys| {
        let written = keys.value("num_consumers").and_then(|at| at.count(1));
        written.and_then(NonZeroUsize::new).unwrap_or(consumers)
    })
}

/// Refuses `sending_queue`, where it is before several destinations.
pub(super) fn refuse(keys: &mut Keys<'_>) {
    if let Some(at) = keys.value("sending_queue") {
        let message = format!("{} has no place here", at.path());
        let hint = "write it for the exporter as a whole";
        at.report.error_with_hint(at.name_at(), message, hint);
    }
}

/// Reads `sending_queue` of an exporter that sends one request at a time.
pub(super) fn read_of_one(keys: &mut Keys<'_>, why: &str) -> Option<Queue> {
    read_with(keys, |keys| {
        if let Some(at) = keys.value("num_consumers") {
            at.report.error_with_hint(at.name_at(), format!("{} cannot be chosen", at.path()), why);
        }
        NonZeroUsize::MIN
    })
}

fn read_with(
    keys: &mut Keys<'_>,
    consumers: impl FnOnce(&mut Keys<'_>) -> NonZeroUsize,
) -> Option<Queue> {
    const SIZERS: [(&str, Sizer); 3] =
        [("bytes", Sizer::Bytes), ("items", Sizer::Items), ("requests", Sizer::Requests)];
    let read = |keys: &mut Keys<'_>| {
        let enabled = keys.value("enabled").and_then(|at| at.truth()).unwrap_or(true);
        let size = keys.value("queue_size");
        let storage = keys.value("storage").and_then(|at| Reference::read(&at));
        let mut truth = |name| keys.value(name).and_then(|at| at.truth()).unwrap_or(false);
        let (waits_for_room, wait_for_result) =
            (truth("block_on_overflow"), truth("wait_for_result"));
        let sizer = keys.value("sizer").and_then(|at| at.one_of(&SIZERS, later::NONE));
        let least = match (&storage, sizer) {
            (Some(_), Some(Sizer::Bytes)) => MIN_STORAGE_BYTES,
            _ => 1,
        };
        let size = size.and_then(|at| at.count(least)).and_then(NonZeroUsize::new);
        let queue = Queue {
            num_consumers: consumers(keys),
            queue_size: size.or_else(|| storage.is_none().then_some(DEFAULT_QUEUE_SIZE)),
            sizer: sizer.unwrap_or_default(),
            on_full: if waits_for_room { OnFull::Wait } else { OnFull::Refuse },
            wait_for_result,
            storage,
            batch: keys.find("batch").map(|at| read_batch(&at, sizer)),
        };
        enabled.then_some(queue)
    };
    match keys.find("sending_queue") {
        Some(at) => at.section(later::NONE, read),
        None => read(&mut keys.nothing()),
    }
}

/// Reads `batch`. That it is there turns it on.
fn read_batch(at: &At<'_>, of_queue: Option<Sizer>) -> QueueBatch {
    const SIZERS: [(&str, Sizer); 2] = [("bytes", Sizer::Bytes), ("items", Sizer::Items)];
    at.section(later::QUEUE_BATCH, |keys| {
        let flush = keys.value("flush_timeout");
        let flush_timeout = flush.as_ref().and_then(|at| at.duration());
        if let (Some(at), Some(Duration::ZERO)) = (&flush, flush_timeout) {
            at.refuse("be more than 0", Some("min_size: 0 sends at once".to_owned()));
        }
        let min_size = keys.value("min_size").and_then(|at| at.count(0)).unwrap_or(8192);
        let max = keys.value("max_size");
        let max_size = max.as_ref().and_then(|at| at.count(0)).and_then(NonZeroUsize::new);
        if let (Some(at), Some(max)) = (max, max_size)
            && max.get() < min_size
        {
            at.refuse(&format!("be 0 or at least min_size ({min_size})"), None);
        }
        let sizer = keys.value("sizer").and_then(|at| at.one_of(&SIZERS, later::NONE));
        if sizer.is_none() && of_queue == Some(Sizer::Requests) {
            let hint = "write `sizer: items` or `sizer: bytes` in the batch";
            let message = format!("{} cannot be counted in requests, as the queue is", at.path());
            at.report.error_with_hint(at.name_at(), message, hint);
        }
        QueueBatch {
            flush_timeout: flush_timeout.unwrap_or(DEFAULT_FLUSH),
            min_size,
            max_size,
            sizer: sizer.or(of_queue).unwrap_or(Sizer::Items),
        }
    })
}
