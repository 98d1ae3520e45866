//! Decisions that several pipelines make together: the way from their samplers to the store that
//! they share, and back.
//!
//! One task for each lane carries what its samplers [propose](Proposal) to the store, many at a time
//! in one round trip, and their answers back. The samplers' tasks never wait for it: what finds no
//! room on its way is answered at once, as if nobody had. So is everything while the store does not
//! answer; it is tried again after a while that grows from 100 ms to 5 s.

mod desk;
mod task;
mod value;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use teleflow_cache::{Claim, SecondLevelError, Settle};

pub(crate) use self::desk::Desk;
pub use self::desk::ExchangeStats;
pub(crate) use self::task::Exchange;

/// How a lane's sampler decides together with those of other gateways, to which other spans of the
/// same traces come.
///
/// Lanes of the same name decide together where they share a store: their rules should be the same.
#[derive(Clone)]
pub struct SharedDecisions {
    store: Arc<dyn Store>,
    /// How long a trace that has waited long enough waits for what others know of it:
    /// [`Sharing::grace`](teleflow_sampler::Sharing::grace). Default 5 s.
    pub grace: Duration,
    /// How long decisions are there. Spans that come later to a gateway that has not seen their
    /// trace begin it anew. It should be longer than the wait and the grace. Default 5 min.
    pub ttl: Duration,
    /// How long the store may take to answer, connecting included. After that samplers decide alone.
    /// Default 500 ms.
    pub timeout: Duration,
}

/// A [`Settle`] of any type.
trait Store: Send + Sync {
    fn settle<'a>(
        &'a self,
        claims: &'a [Claim],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, SecondLevelError>>;
}

// === impl SharedDecisions ===

impl SharedDecisions {
    /// Decides together with all who use the same store, such as
    /// [`Redis`](https://docs.rs/teleflow-cache).
    pub fn new(store: impl Settle + 'static) -> Self {
        Self {
            store: Arc::new(store),
            grace: Duration::from_secs(5),
            ttl: Duration::from_secs(5 * 60),
            timeout: Duration::from_millis(500),
        }
    }

    /// How the sampler is to work with it.
    pub(crate) fn sharing(&self) -> teleflow_sampler::Sharing {
        // Every proposal is answered: this is only for what is on its way for very long.
        let patience = self.timeout.saturating_mul(4).saturating_add(Duration::from_secs(1));
        teleflow_sampler::Sharing { grace: self.grace, patience }
    }
}

impl fmt::Debug for SharedDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDecisions")
            .field("grace", &self.grace)
            .field("ttl", &self.ttl)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

// === impl Store ===

impl<S: Settle> Store for S {
    fn settle<'a>(
        &'a self,
        claims: &'a [Claim],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, SecondLevelError>> {
        Box::pin(self.settle_many(claims, ttl))
    }
}
