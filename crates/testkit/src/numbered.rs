//! Spans whose names are numbers, so that they can be told apart.

#![allow(clippy::unwrap_used, reason = "only tests call it, and have failed where it panics")]
#![allow(clippy::missing_panics_doc, reason = "it panics where the test has failed")]

use teleflow_otlp::span::Span;
use teleflow_otlp::{Payload, tree};

/// The numbers of a payload's spans, in order.
pub fn numbers(payload: &Payload) -> Vec<u64> {
    let mut numbers = Vec::new();
    for segment in payload.segments() {
        let scopes = tree::resources(segment).flat_map(|group| group.scopes());
        for span in scopes.flat_map(|scope| scope.items()) {
            numbers.push(Span::read(span.message).name.parse().unwrap());
        }
    }
    assert_eq!(numbers.len() as u64, payload.items());
    numbers
}
