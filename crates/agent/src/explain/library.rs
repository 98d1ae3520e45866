//! What the sampler says of a trace.

use std::time::Instant;

use hyper::body::Bytes;
use teleflow::sampler::{self, Explanation, Gathered, Rules};

/// Asks rules about the spans that requests have of a trace.
pub(super) fn explain(
    rules: &Rules,
    id: [u8; 16],
    requests: Vec<Bytes>,
) -> anyhow::Result<Explanation> {
    let gathered = Gathered::new(id, requests);
    Ok(sampler::explain(rules, Instant::now(), &gathered.trace())?)
}
