//! The suite itself: it finds each breach in peers that are bad on purpose, and none that must not be in
//! our own program.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod bad_exporter;
mod bad_receiver;
mod teleflow;

use std::collections::BTreeSet;

use teleflow_conformance::rule::{Level, Outcome};

/// The names of the checks of a level that failed.
fn failed(outcomes: &[Outcome], level: Level) -> BTreeSet<String> {
    let failed = outcomes.iter().filter(|one| one.level == level && one.verdict.failed());
    failed.map(|one| one.name.clone()).collect()
}

/// The names of all checks of a level.
fn every(outcomes: &[Outcome], level: Level) -> BTreeSet<String> {
    outcomes.iter().filter(|one| one.level == level).map(|one| one.name.clone()).collect()
}
