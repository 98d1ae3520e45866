//! `exporters.sqlite`

use std::path::PathBuf;

use super::super::later::Later;
use super::super::read::At;
use super::queue::{self, Queue};

/// Stores in a SQLite file. The Collector has no such exporter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SqliteExporter {
    /// The file, which is created if need be. Has to be written; no two exporters share one.
    pub(crate) path: PathBuf,
    /// How large the file gets, in bytes, before the oldest goes. Default 1 GiB. At least 1 MiB.
    pub(crate) max_bytes: u64,
    /// Default on. Its `num_consumers` is 1.
    pub(crate) queue: Option<Queue>,
}

const MIB: u64 = 1024 * 1024;
const DEFAULT_MAX_BYTES: u64 = 1024 * MIB;

/// Keys of other exporters that make no sense here.
const NOT_HERE: Later = &[("retry_on_failure", "a store that is busy is tried again in any case")];

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> SqliteExporter {
    at.section(NOT_HERE, |keys| SqliteExporter {
        path: keys
            .require("path")
            .and_then(|at| at.text_that_is_not_empty())
            .map(PathBuf::from)
            .unwrap_or_default(),
        max_bytes: keys
            .value("max_size")
            .and_then(|at| at.bytes(MIB..=u64::MAX))
            .unwrap_or(DEFAULT_MAX_BYTES),
        queue: queue::read_of_one(keys, "a store has one writer"),
    })
}
