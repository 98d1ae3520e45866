//! `exporters.debug`

use super::super::later;
use super::super::read::At;

/// Shows what arrives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct DebugExporter {
    /// How much of it. Default `basic`.
    pub(crate) verbosity: Verbosity,
}

/// `verbosity`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Verbosity {
    /// The number of items of each request.
    #[default]
    Basic,
    /// A line for each item.
    Normal,
    /// Everything about each item.
    Detailed,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> DebugExporter {
    const LEVELS: [(&str, Verbosity); 3] = [
        ("basic", Verbosity::Basic),
        ("detailed", Verbosity::Detailed),
        ("normal", Verbosity::Normal),
    ];
    at.section(later::DEBUG, |keys| DebugExporter {
        verbosity: keys
            .value("verbosity")
            .and_then(|at| at.one_of(&LEVELS, later::NONE))
            .unwrap_or_default(),
    })
}
