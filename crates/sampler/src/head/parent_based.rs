//! What the parent was, its children are.

use std::time::Instant;

use super::{Candidate, Never, Parent, Sampler};
use crate::Intent;

/// Follows the parent: which sampler is asked depends on whether there is one, where it is, and
/// whether it was kept.
///
/// ```
/// use teleflow_sampler::head::{Always, ParentBased, Ratio};
///
/// // A tenth of what starts here, and what others started and keep. Health checks of a load balancer
/// // that keeps nothing are kept here all the same.
/// let mut sampler = ParentBased::new(Ratio::new(0.1)?);
/// sampler.remote_not_sampled = Box::new(Always);
/// # Ok::<(), teleflow_sampler::InvalidProbability>(())
/// ```
#[derive(Debug)]
pub struct ParentBased {
    /// Asked where there is no parent.
    pub root: Box<dyn Sampler>,
    /// Asked where a parent of another process was kept: [`ParentThreshold`].
    pub remote_sampled: Box<dyn Sampler>,
    /// Asked where a parent of another process was left out: [`Never`].
    pub remote_not_sampled: Box<dyn Sampler>,
    /// Asked where a parent of this process was kept: [`ParentThreshold`].
    pub local_sampled: Box<dyn Sampler>,
    /// Asked where a parent of this process was left out: [`Never`].
    pub local_not_sampled: Box<dyn Sampler>,
}

/// Keeps everything, with the threshold that it comes with. Where it comes with none, or with one
/// that its randomness contradicts, nobody knows how likely it was to be kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ParentThreshold;

// === impl ParentBased ===

impl ParentBased {
    /// Asks `root` about what has no parent. Children are kept if their parent was.
    pub fn new(root: impl Sampler + 'static) -> Self {
        Self {
            root: Box::new(root),
            remote_sampled: Box::new(ParentThreshold),
            remote_not_sampled: Box::new(Never),
            local_sampled: Box::new(ParentThreshold),
            local_not_sampled: Box::new(Never),
        }
    }

    fn slot(&self, parent: Parent) -> &dyn Sampler {
        match parent {
            Parent::None => &*self.root,
            Parent::Remote { is_sampled: true } => &*self.remote_sampled,
            Parent::Remote { is_sampled: false } => &*self.remote_not_sampled,
            Parent::Local { is_sampled: true } => &*self.local_sampled,
            Parent::Local { is_sampled: false } => &*self.local_not_sampled,
        }
    }
}

impl Sampler for ParentBased {
    fn intent(&self, now: Instant, candidate: &Candidate) -> Intent {
        self.slot(candidate.parent).intent(now, candidate)
    }

    fn hear(&self, now: Instant, candidate: &Candidate, is_kept: bool, is_own: bool) {
        self.slot(candidate.parent).hear(now, candidate, is_kept, is_own);
        if candidate.parent != Parent::None {
            // The root's sampler may aim at a share of all traces, whoever decided about them.
            self.root.hear(now, candidate, is_kept, false);
        }
    }
}

// === impl ParentThreshold ===

impl Sampler for ParentThreshold {
    fn intent(&self, _: Instant, candidate: &Candidate) -> Intent {
        match candidate.before {
            Some(before) if before.keeps(candidate.randomness) => Intent::Sample(before),
            _ => Intent::Keep,
        }
    }
}
