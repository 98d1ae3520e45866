//! What the sampler says of a trace.

use anyhow::bail;
use hyper::body::Bytes;
use teleflow::sampler::{Explained, Rules, Threshold};

/// What becomes of a trace, and why.
#[derive(Clone, Debug)]
pub(super) struct Explanation {
    /// How every policy votes, each before its parts.
    pub(super) votes: Vec<Explained>,
    pub(super) is_kept: bool,
    /// How likely it was to be kept, where that is known.
    pub(super) threshold: Option<Threshold>,
    /// What keeps it, or has it dropped.
    pub(super) by: Option<String>,
}

/// Asks rules about the spans that requests have of a trace.
pub(super) fn explain(_: &Rules, _: [u8; 16], _: Vec<Bytes>) -> anyhow::Result<Explanation> {
    bail!("the sampler cannot explain its decisions in this version")
}
