//! What a tail sampler writes to what it keeps, beside thresholds and policies.

use super::super::later;
use super::super::read::Keys;

/// Of both tail samplers. The Collector has none of these keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Recorded {
    /// `record_counts`: what the root span tells of its trace. Default none.
    pub(crate) counts: Counts,
    /// `record_host`: who decided, in attributes of scopes. Default `None`: that is not told.
    pub(crate) host: Option<String>,
    /// `dry_run`: everything is kept, and tells what would have been. Default false.
    pub(crate) dry_run: bool,
}

/// What a root span tells of its trace.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Counts {
    /// Nothing.
    #[default]
    None,
    /// How many spans it has.
    Spans,
    /// How many events and links, too.
    All,
}

const COUNTS: [(&str, Counts); 3] =
    [("none", Counts::None), ("spans", Counts::Spans), ("all", Counts::All)];

/// Reads the keys.
pub(super) fn read(keys: &mut Keys<'_>) -> Recorded {
    let counts = keys.value("record_counts").and_then(|at| at.one_of(&COUNTS, later::NONE));
    let host = keys.value("record_host");
    let host = host.as_ref().and_then(|at| at.text_that_is_not_empty());
    Recorded {
        counts: counts.unwrap_or_default(),
        host: host.map(str::to_owned),
        dry_run: keys.truth("dry_run"),
    }
}
