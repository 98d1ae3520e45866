//! One request on its way from the socket to the consumer.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::HeaderMap;
use teleflow_concurrency::Permit;
use teleflow_otlp::{ExportResponse, Payload, Signal};
use tokio::time::Instant;

use crate::auth::{Denial, IDENTITY, Identity, Peer};
use crate::overload::spread;
use crate::rejection::{Cause, Rejection};
use crate::serve::Core;
use crate::stats::RequestCounters;
use crate::watch::Activity;
use crate::{Consumer, RefusedReason, Transport};

/// Holds what a request has drawn from the budget, and sees to it that it is counted once,
/// however it ends.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    core: &'a Core,
    activity: &'a Activity,
    transport: Transport,
    signal: Signal,
    /// There were as many requests as there may be.
    is_one_too_many: bool,
    permit: Option<Permit>,
    /// What is drawn on the client's word and has not come yet.
    promised: u64,
    received: u64,
    ended: bool,
}

// === impl InFlight ===

impl<'a> InFlight<'a> {
    pub(crate) fn new(
        core: &'a Core,
        activity: &'a Activity,
        transport: Transport,
        signal: Signal,
    ) -> Self {
        let before = core.requests.fetch_add(1, Relaxed);
        Self {
            core,
            activity,
            transport,
            signal,
            is_one_too_many: before >= core.limits.max_requests,
            permit: None,
            promised: 0,
            received: 0,
            ended: false,
        }
    }

    pub(crate) fn core(&self) -> &'a Core {
        self.core
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    /// The most bytes that the request may have.
    pub(crate) fn limit(&self) -> usize {
        self.core.max_request_bytes(self.transport)
    }

    /// Says who sends this, where anybody has to; before anything of the body is read. Nobody is
    /// asked where there are too many requests.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Option<Identity>, Rejection> {
        if self.is_one_too_many {
            return Err(self.refuse(0));
        }
        let Some(auth) = self.core.auth(self.transport) else { return Ok(None) };
        match auth.identify(headers, peer).await {
            Ok(identity) => Ok(Some(identity)),
            Err(Denial::Missing) => Err(Rejection::unauthenticated("credentials are missing")),
            Err(Denial::Wrong) => Err(Rejection::unauthenticated("the credentials are wrong")),
            Err(Denial::Forbidden) => {
                Err(Rejection::forbidden("these credentials do not allow this"))
            }
            Err(Denial::Unverified(error)) => {
                if let Some(suppressed) = self.core.lines.unverified.pass(Instant::now()) {
                    tracing::warn!(error, suppressed, "cannot verify credentials");
                }
                Err(Rejection::unverified(self.core.come_back(0)))
            }
        }
    }

    /// Draws what the client says it will send, before any of it is read, and returns how much of
    /// it was drawn.
    ///
    /// A word costs nothing, so that all promises together take at most half of the budget. Beyond
    /// that, room is only looked for now and drawn as the bytes come: who promises much and sends
    /// nothing keeps nobody out.
    pub(crate) fn promise(&mut self, bytes: usize) -> Result<usize, Rejection> {
        let more = bytes as u64;
        let promises = &self.core.promised;
        let before = promises.fetch_add(more, Relaxed);
        if before.saturating_add(more) <= self.core.max_promised {
            self.promised += more;
            return self.draw(more).map(|()| bytes);
        }
        promises.fetch_sub(more, Relaxed);
        let stats = self.core.budget.stats();
        if more > stats.available { Err(self.refuse(more)) } else { Ok(0) }
    }

    /// Accounts for bytes that have come: those that were promised are drawn already.
    pub(crate) fn arrive(&mut self, bytes: usize) -> Result<(), Rejection> {
        self.activity.has_body(bytes);
        let bytes = bytes as u64;
        self.received += bytes;
        let promised = self.promised.min(bytes);
        self.keep_promise(promised);
        self.draw(bytes - promised)
    }

    /// Draws `bytes` from the budget.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Rejection> {
        self.draw(bytes as u64)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.keep_promise(self.promised);
        if let Some(permit) = &mut self.permit {
            permit.shrink_to(bytes as u64);
        }
    }

    /// The same for a request that takes no more than it did.
    pub(crate) fn refuse(&self, bytes: u64) -> Rejection {
        Rejection::over_budget(self.core.come_back(bytes))
    }

    /// Counts how the request ended: with so many items taken, or not.
    pub(crate) fn end(&mut self, outcome: &Result<Taken, Rejection>) {
        self.ended = true;
        match outcome {
            Ok(taken) => self.counters().accept(taken.items),
            Err(rejection) => self.counters().reject(rejection.cause, rejection.items),
        }
    }

    fn draw(&mut self, bytes: u64) -> Result<(), Rejection> {
        if bytes == 0 {
            return Ok(());
        }
        let Ok(more) = self.core.budget.try_take(bytes) else { return Err(self.refuse(bytes)) };
        match &mut self.permit {
            Some(permit) => permit.merge(more).expect("both are of the one budget"),
            None => self.permit = Some(more),
        }
        Ok(())
    }

    fn keep_promise(&mut self, bytes: u64) {
        if bytes > 0 {
            self.promised -= bytes;
            self.core.promised.fetch_sub(bytes, Relaxed);
        }
    }

    fn counters(&self) -> &RequestCounters {
        self.core.counters.of(self.transport, self.signal)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.core.requests.fetch_sub(1, Relaxed);
        self.keep_promise(self.promised);
        self.counters().bytes.fetch_add(self.received, Relaxed);
        if !self.ended {
            self.counters().reject(Cause::Incomplete, 0);
        }
    }
}

/// A payload that the consumer took.
#[derive(Debug)]
pub(crate) struct Taken {
    /// How many items it had.
    items: u64,
    /// What the client is told.
    pub(crate) response: ExportResponse,
}

/// Hands the payload over and returns what the client is told.
pub(crate) async fn deliver<C: Consumer>(
    consumer: &C,
    core: &Core,
    identity: Option<Identity>,
    payload: Payload,
) -> Result<Taken, Rejection> {
    let (items, bytes) = (payload.items(), payload.bytes());
    if bytes == 0 {
        return Ok(Taken { items, response: ExportResponse::default() });
    }
    let consumed = consumer.consume(payload);
    let consumed = match identity {
        Some(identity) => IDENTITY.scope(identity, consumed).await,
        None => consumed.await,
    };
    let response = consumed.map_err(|mut refused| {
        refused.retry_after = match refused.retry_after {
            Some(wait) => Some(spread(wait, fastrand::u32(..))),
            None if refused.reason == RefusedReason::ShuttingDown => None,
            None => core.come_back(bytes as u64),
        };
        Rejection { items, ..Rejection::refused(refused) }
    })?;
    Ok(Taken { items, response })
}

// === impl Core ===

impl Core {
    /// What a client is told to wait that wants `bytes` and finds no room.
    fn come_back(&self, bytes: u64) -> Option<Duration> {
        let stats = self.budget.stats();
        self.overload.wait(Instant::now(), bytes, stats.returned, stats.whole)
    }
}
