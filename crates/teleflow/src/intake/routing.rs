//! Parts payloads by trace, for many receivers at once.

use std::sync::{Mutex, PoisonError};

use teleflow_otlp::Payload;
use teleflow_sampler::{Digest, InvalidShards, Router, RouterStats};

/// A router that nobody waits for.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Its memory serves again. Who finds it in use makes one like it.
    pub(super) router: Mutex<Router>,
    unused: Router,
    /// Whether payloads are read here, where they are at hand, for the samplers of the shards.
    reads: bool,
    /// What the others did.
    aside: Mutex<RouterStats>,
}

// === impl Routing ===

impl Routing {
    pub(super) fn new(shards: usize, seed: u64, reads: bool) -> Result<Self, InvalidShards> {
        let unused = Router::new(shards, seed)?;
        let router = Mutex::new(unused.clone());
        Ok(Self { router, unused, reads, aside: Mutex::default() })
    }

    /// What each shard gets of a payload, in the order of the shards.
    pub(super) fn part(&self, payload: Payload) -> Vec<(usize, Digest)> {
        if let Ok(mut router) = self.router.try_lock() {
            return self.part_by(&mut router, payload);
        }
        let mut router = self.unused.clone();
        let parts = self.part_by(&mut router, payload);
        add(&mut self.aside.lock().unwrap_or_else(PoisonError::into_inner), router.stats());
        parts
    }

    fn part_by(&self, router: &mut Router, payload: Payload) -> Vec<(usize, Digest)> {
        let mut digests = Vec::new();
        if self.reads {
            router.digest(payload, &mut digests);
            return digests;
        }
        let mut parts = Vec::new();
        router.route(payload, &mut parts);
        digests.extend(parts.into_iter().map(|(shard, part)| (shard, Digest::unread(part))));
        digests
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> RouterStats {
        let mut sum = *self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut sum, self.router.lock().unwrap_or_else(PoisonError::into_inner).stats());
        sum
    }
}

const fn add(sum: &mut RouterStats, more: RouterStats) {
    let RouterStats { whole, parted, without_trace, torn } = more;
    sum.whole += whole;
    sum.parted += parted;
    sum.without_trace += without_trace;
    sum.torn += torn;
}
