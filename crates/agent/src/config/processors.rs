//! The `processors` section.

mod batch;
mod policy;
mod tail_sampling;

use super::components::{self, Components};
use super::later;
use super::read::At;

pub(crate) use batch::Batch;
#[cfg(test)]
pub(crate) use policy::Policy;
pub(crate) use policy::{Rule, StatusCode};
pub(crate) use tail_sampling::TailSampling;
#[cfg(test)]
pub(crate) use tail_sampling::{DecisionCache, MIN_MAX_BYTES};

/// What happens between a receiver and an exporter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Processor {
    /// `batch`
    Batch(Batch),
    /// `tail_sampling`
    TailSampling(TailSampling),
}

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Processor> {
    let kinds: &components::Kinds<Processor> = &[
        ("batch", |at| Processor::Batch(batch::read(at))),
        ("tail_sampling", |at| Processor::TailSampling(tail_sampling::read(at))),
    ];
    components::read(section, kinds, later::PROCESSORS)
}
