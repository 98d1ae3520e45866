//! Parts payloads by trace, for many receivers at once.

use std::mem;
use std::sync::{Mutex, PoisonError};

use teleflow_otlp::Payload;
use teleflow_sampler::{Digest, InvalidShards, Router, RouterStats};

/// A router that nobody waits for.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Its memory serves again. Who finds it in use makes one like it.
    pub(super) desk: Mutex<Desk>,
    unused: Router,
    /// Whether payloads are read here, where they are at hand, for the samplers of the shards.
    reads: bool,
    /// What the others did.
    aside: Mutex<RouterStats>,
}

/// A router, and what each shard gets: nothing, between two payloads.
#[derive(Debug)]
pub(super) struct Desk {
    router: Router,
    digests: Vec<Digest>,
}

// === impl Routing ===

impl Routing {
    pub(super) fn new(shards: usize, seed: u64, reads: bool) -> Result<Self, InvalidShards> {
        let unused = Router::new(shards, seed)?;
        let desk = Mutex::new(Desk::new(unused.clone()));
        Ok(Self { desk, unused, reads, aside: Mutex::default() })
    }

    /// What each shard gets of a payload, in the order of the shards.
    pub(super) fn part(&self, payload: Payload) -> Vec<(usize, Digest)> {
        if let Ok(mut desk) = self.desk.try_lock() {
            return desk.part(payload, self.reads);
        }
        let mut desk = Desk::new(self.unused.clone());
        let parts = desk.part(payload, self.reads);
        add(&mut self.aside.lock().unwrap_or_else(PoisonError::into_inner), desk.router.stats());
        parts
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> RouterStats {
        let mut sum = *self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut sum, desk.router.stats());
        sum
    }
}

// === impl Desk ===

impl Desk {
    fn new(router: Router) -> Self {
        let digests = (0..router.shards()).map(|_| Digest::new()).collect();
        Self { router, digests }
    }

    fn part(&mut self, payload: Payload, reads: bool) -> Vec<(usize, Digest)> {
        if reads {
            self.router.digest(payload, &mut self.digests);
            let parts = self.digests.iter_mut().enumerate().filter(|(_, part)| !part.is_empty());
            return parts.map(|(shard, part)| (shard, mem::take(part))).collect();
        }
        let mut parts = Vec::new();
        self.router.route(payload, &mut parts);
        parts.into_iter().map(|(shard, part)| (shard, Digest::unread(part))).collect()
    }
}

const fn add(sum: &mut RouterStats, more: RouterStats) {
    let RouterStats { whole, parted, without_trace, torn } = more;
    sum.whole += whole;
    sum.parted += parted;
    sum.without_trace += without_trace;
    sum.torn += torn;
}
