//! How a head sampler works on payloads.

use std::sync::Arc;

use super::{Priority, Sampler, Source};
use crate::Composition;

/// How a [`HeadSampler`](super::HeadSampler) works.
#[derive(Clone, Debug)]
pub struct HeadConfig {
    /// What says how much is kept. Clones share it.
    pub sampler: Arc<dyn Sampler>,
    /// What a threshold means that a span comes with: equalizing.
    pub composition: Composition,
    /// What the sampler tells apart: nothing.
    pub key: Key,
    /// What chance decides with: the randomness of the trace.
    pub source: Source,
    /// What becomes of what chance cannot decide about.
    pub undecidable: Undecidable,
    /// What may say for itself how likely it is to be kept: nothing.
    pub priority: Priority,
    /// A secret that senders do not know, so that they cannot choose names that meet.
    pub hash_seed: u64,
}

/// What a sampler tells apart.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Key {
    /// Nothing.
    #[default]
    One,
    /// `service.name` of the resource.
    Service,
    /// The service, and the name of the span or of the event that a record is.
    ServiceAndName,
}

/// What becomes of what chance cannot decide about: what has neither a trace id nor randomness of its
/// own, what came with a threshold by which it would have been left out, and what says something
/// about its sampling that cannot be read. Where a [hash](Source::Hash) is to decide, what was decided
/// about by chance before is such, too.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Undecidable {
    /// Its own randomness decides, and where it has none a hash of its content; what it says that
    /// cannot be so, or be read, counts for nothing.
    #[default]
    Decide,
    /// It is kept, unless the sampler keeps nothing of its like.
    Keep,
    /// It is left out.
    Drop,
}

// === impl HeadConfig ===

impl HeadConfig {
    /// Keeps what a sampler says, equalizing, with one key for all.
    pub fn new(sampler: impl Sampler + 'static) -> Self {
        Self {
            sampler: Arc::new(sampler),
            composition: Composition::Equalizing,
            key: Key::One,
            source: Source::Trace,
            undecidable: Undecidable::Decide,
            priority: Priority::default(),
            hash_seed: 0,
        }
    }
}
