//! `extensions.pebble_tail_storage`

use std::path::PathBuf;

use super::super::later;
use super::super::read::At;

/// Keeps what tail samplers hold in files.
///
/// The Collector's is a database, from which its type has the name. Neither outlives the program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TailStorage {
    /// Where the files are. Is made if it is not there.
    pub(crate) directory: PathBuf,
    /// `max_storage_size_mib`: how much they take together, in bytes. Default `None` (0 in the file):
    /// as much as the disk has.
    pub(crate) max_bytes: Option<u64>,
}

const MIB: u64 = 1024 * 1024;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> TailStorage {
    const ON_READ_ERROR: [(&str, ()); 2] = [("drop_trace", ()), ("return_partial", ())];
    at.section(later::NONE, |keys| {
        let directory = keys.require("directory").and_then(|at| at.text_that_is_not_empty());
        let size = keys.value("max_storage_size_mib").and_then(|at| at.whole(0..=u64::MAX / MIB));
        // About the Collector's database: checked, so that a file of its can be used as it is.
        if let Some(at) = keys.value("on_read_error") {
            at.one_of(&ON_READ_ERROR, later::NONE);
        }
        TailStorage {
            directory: directory.unwrap_or_default().into(),
            max_bytes: size.filter(|&size| size != 0).map(|size| size * MIB),
        }
    })
}
