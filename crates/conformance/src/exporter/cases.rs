//! The checks of an exporter, for one protocol.

mod answers;
mod delivery;
mod requests;
mod retries;

use super::case::Case;
use super::{Subject, Unseen};
use crate::rule::Level;
use crate::server::Protocol;

/// Every check of this subject by this protocol.
pub(super) fn all(subject: &Subject, protocol: Protocol) -> Vec<Case> {
    let mut cases = requests::cases(subject, protocol);
    cases.extend(answers::cases(protocol));
    cases.extend(retries::cases(subject, protocol));
    cases.extend(delivery::cases(subject, protocol));
    cases
}

/// What this subject does not show, and why.
pub(super) fn unseen(subject: &Subject) -> Vec<Unseen> {
    let mut all = vec![
        ("8.drops_are_counted", Level::Should, "counters have no wire"),
        ("43.other_answers", Level::May, "a redirect may be followed or not"),
        ("44.default_ports", Level::May, "the address was given"),
    ];
    if !subject.is_gateway() {
        all.extend([
            ("11.several_in_flight", Level::Should, "a driver sends one request at a time"),
            ("14.destinations_of_their_own", Level::Should, "a driver has one destination"),
            ("56.round_trip", Level::Must, "a program forwards nothing"),
        ]);
        return all;
    }
    const VARIABLES: &str = "a gateway has a file; ours: crates/exporter/tests/it/env.rs";
    const SAMPLING: &str = "no wire shows it; ours: crates/sampler/tests/it/rules.rs";
    all.extend([
        ("60.endpoint_variables", Level::Must, VARIABLES),
        ("61.base_and_signal_urls", Level::Must, VARIABLES),
        ("62.scheme", Level::Must, VARIABLES),
        ("63.other_variables", Level::Must, VARIABLES),
        ("64.signal_beats_general", Level::Must, VARIABLES),
        ("65.size_options", Level::Must, VARIABLES),
        ("67.batch_defaults", Level::Must, VARIABLES),
        ("68.randomness", Level::Must, SAMPLING),
        ("69.threshold", Level::Must, SAMPLING),
        ("70.decision", Level::Must, SAMPLING),
        ("71.never_lower", Level::Must, SAMPLING),
        ("72.unknown_probability", Level::Must, SAMPLING),
        ("73.tracestate", Level::Must, SAMPLING),
        ("74.precision", Level::Should, SAMPLING),
        ("75.warning", Level::Should, SAMPLING),
        ("76.logs", Level::Must, SAMPLING),
    ]);
    all
}
