//! `extensions.file_storage`

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};

/// Keeps queues in files, so that what waits is there after a restart.
///
/// The Collector's storage is a database, which it compacts; this one is a log in segments, which
/// are removed whole. What bounds it, and how it is written, are keys of our own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FileStorage {
    /// Where the files are. Has to be written (the Collector: `/var/lib/otelcol/file_storage`).
    pub(crate) directory: PathBuf,
    /// Whether the directory is made if it is not there. Default no.
    pub(crate) create_directory: bool,
    /// How large each queue gets, in bytes. Default 1 GiB. At least [`MIN_BYTES`].
    pub(crate) max_bytes: u64,
    /// How large a file of a queue gets, in bytes. Default 32 MiB, or half of `max_bytes`, which is
    /// also the most.
    pub(crate) segment_bytes: u64,
    /// How long something is kept that cannot be delivered. Default `None` (0 in the file): for ever.
    pub(crate) max_age: Option<Duration>,
    /// What happens when a queue is as large as it gets. Default [`StorageFull::Refuse`].
    pub(crate) on_full: StorageFull,
    /// When what was accepted survives a loss of power. Default [`StorageSync::Always`].
    pub(crate) sync: StorageSync,
    /// How fast what has piled up goes out. Default: as fast as it can.
    pub(crate) drain: Drain,
}

/// `on_full`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum StorageFull {
    /// `refuse`: as `block_on_overflow` of the queue says.
    #[default]
    Refuse,
    /// `drop_oldest`
    DropOldest,
}

/// `sync`, or the Collector's `fsync`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum StorageSync {
    /// `always`, or `fsync: true`: before a sender is answered.
    #[default]
    Always,
    /// A duration: after that time at the latest.
    Interval(Duration),
    /// `never`, or `fsync: false`: when the operating system likes to.
    Never,
}

/// `drain`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Drain {
    /// So many requests a second. Default `None`: not limited.
    pub(crate) records_per_second: Option<NonZeroU32>,
    /// So many bytes a second. Default `None`: not limited.
    pub(crate) bytes_per_second: Option<NonZeroU32>,
}

const MIB: u64 = 1024 * 1024;
const DEFAULT_BYTES: u64 = 1024 * MIB;
const DEFAULT_SEGMENT: u64 = 32 * MIB;

/// A request may take a half of it, and fits into a segment.
pub(crate) const MIN_BYTES: u64 = 32 * MIB;

/// There are not too many files.
const MIN_SEGMENT: u64 = MIB;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> FileStorage {
    at.section(later::FILE_STORAGE, |keys| {
        let directory = keys.require("directory").and_then(|at| at.text_that_is_not_empty());
        let max_bytes = keys.value("max_bytes").and_then(|at| at.bytes(MIN_BYTES..=u64::MAX));
        let max_bytes = max_bytes.unwrap_or(DEFAULT_BYTES);
        let segment = keys.value("segment_bytes");
        let segment = segment.and_then(|at| at.bytes(MIN_SEGMENT..=max_bytes / 2));
        read_and_forget(keys);
        FileStorage {
            directory: directory.unwrap_or_default().into(),
            create_directory: truth(keys, "create_directory").unwrap_or_default(),
            max_bytes,
            segment_bytes: segment.unwrap_or_else(|| DEFAULT_SEGMENT.min(max_bytes / 2)),
            max_age: keys
                .value("max_age")
                .and_then(|at| at.duration())
                .filter(|age| !age.is_zero()),
            on_full: read_on_full(keys),
            sync: read_sync(keys),
            drain: keys.value("drain").map(|at| read_drain(&at)).unwrap_or_default(),
        }
    })
}

fn truth(keys: &mut Keys<'_>, name: &'static str) -> Option<bool> {
    keys.value(name).and_then(|at| at.truth())
}

/// Keys that are about the Collector's database. They are checked, so that a file of its can be used
/// as it is, and change nothing.
fn read_and_forget(keys: &mut Keys<'_>) {
    if let Some(at) = keys.value("timeout") {
        at.duration();
    }
    let Some(at) = keys.value("compaction") else { return };
    at.section(later::NONE, |keys| {
        for name in ["on_start", "on_rebound", "cleanup_on_start"] {
            truth(keys, name);
        }
        for name in [
            "max_transaction_size",
            "rebound_needed_threshold_mib",
            "rebound_trigger_threshold_mib",
        ] {
            keys.value(name).and_then(|at| at.whole(0..=u64::MAX));
        }
        keys.value("directory").and_then(|at| at.text());
        keys.value("check_interval").and_then(|at| at.duration());
    });
}

fn read_on_full(keys: &mut Keys<'_>) -> StorageFull {
    const NAMES: [(&str, StorageFull); 2] =
        [("drop_oldest", StorageFull::DropOldest), ("refuse", StorageFull::Refuse)];
    keys.value("on_full").and_then(|at| at.one_of(&NAMES, later::NONE)).unwrap_or_default()
}

/// Reads `sync`, or `fsync` where that is not written.
fn read_sync(keys: &mut Keys<'_>) -> StorageSync {
    let fsync = keys.value("fsync").and_then(|at| Some((at.truth()?, at)));
    let Some(at) = keys.value("sync") else {
        return match fsync {
            Some((false, _)) => StorageSync::Never,
            Some((true, _)) | None => StorageSync::Always,
        };
    };
    if let Some((_, fsync)) = fsync {
        let message = format!("{} is written, and `sync` as well", fsync.path());
        at.report.error_with_hint(fsync.name_at(), message, "leave one of them out");
    }
    match at.text_or(|_| ()) {
        Some("always") => StorageSync::Always,
        Some("never") => StorageSync::Never,
        Some(text) if !text.starts_with(|first: char| first.is_ascii_digit()) => {
            at.refuse("be `always`, `never` or a duration such as `5s`", None);
            StorageSync::Always
        }
        _ => match at.duration().filter(|interval| !interval.is_zero()) {
            Some(interval) => StorageSync::Interval(interval),
            None => StorageSync::Always,
        },
    }
}

fn read_drain(at: &At<'_>) -> Drain {
    at.section(later::NONE, |keys| {
        let records = keys.value("records_per_second").and_then(|at| at.whole(1..=u32::MAX.into()));
        let bytes = keys.value("bytes_per_second").and_then(|at| at.bytes(1..=u32::MAX.into()));
        let limit = |number: Option<u64>| {
            number.and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new)
        };
        Drain { records_per_second: limit(records), bytes_per_second: limit(bytes) }
    })
}
