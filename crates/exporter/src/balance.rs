//! Several endpoints that share the work, by trace.

mod cut;
mod ring;

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState, Call, Unfinished};
use teleflow_otlp::{Payload, Signal};

use self::cut::cut;
use self::ring::Ring;
use crate::circuit_breaker::settle;
use crate::{AnyExporter, ConfigError, Delivered, ExportError, Exporter, Outgoing, Undelivered};

/// How a [`Balance`] decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BalanceConfig {
    /// Part of what decides where a trace belongs: 0. All who share endpoints need the same; where
    /// trace ids come from strangers, one that they do not know keeps them from piling all traces
    /// onto one endpoint.
    pub seed: u64,
    /// So many failures within 10 s, and an endpoint is left out: 3.
    pub failures: NonZeroU16,
    /// How long it is left out before one payload tries it again: 10 s.
    pub out_for: Duration,
}

/// Spreads traces over several endpoints, all of a trace to the same one.
///
/// Payloads are cut by trace id, and each part goes to the endpoint that its traces belong to; the
/// parts are sent at the same time. As long as no endpoint fails, a trace is never torn, whoever
/// sends its spans, for all who have the same list of names decide alike. Log records go with their
/// trace. Metrics, and log records without a trace, go whole to one endpoint after the other.
///
/// An endpoint that fails several times is left out: its traces then belong to others, spread over
/// all of them, and no other trace moves. After a time one part tries whether it is back. While all
/// are out, the answer is [`ExportError::CircuitOpen`].
///
/// Goes inside of [`Retry`](crate::Retry), which sends again only the parts that failed, to the
/// endpoint that they belong to by then; and each endpoint may have a `Retry` of its own, to ride out
/// what is short.
///
/// ```
/// use teleflow_exporter::{AnyExporter, Balance, BalanceConfig, Console, Exporter};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoints = ["a:4317", "b:4317"]
///     .map(|name| (name.to_owned(), AnyExporter::new(Console::stdout())));
/// let exporter = Balance::new(endpoints, BalanceConfig::default())?;
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!(exporter.stats()[0].name, "a:4317");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Balance {
    endpoints: Box<[Endpoint]>,
    ring: Ring,
    /// Whose turn it is for what belongs to no trace.
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    exporter: AnyExporter,
    breaker: Breaker,
    parts: AtomicU64,
    items: AtomicU64,
}

/// What an endpoint of a [`Balance`] got so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointStats {
    /// Its name.
    pub name: String,
    /// Whether it is left out.
    pub is_out: bool,
    /// Parts of payloads that it was tried with.
    pub parts: u64,
    /// Items in them.
    pub items: u64,
}

// === impl BalanceConfig ===

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            failures: NonZeroU16::new(3).expect("it is not zero"),
            out_for: Duration::from_secs(10),
        }
    }
}

// === impl Balance ===

impl Balance {
    /// Over these, each with a name that all who share them know it by: its address.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrapper`] where there is no endpoint, or two have the same name.
    pub fn new(
        endpoints: impl IntoIterator<Item = (String, AnyExporter)>,
        config: BalanceConfig,
    ) -> Result<Self, ConfigError> {
        let breaker = BreakerConfig {
            failures: Some(config.failures.get().into()),
            failure_rate: None,
            open_for: config.out_for,
            unfinished: Unfinished::Ignore,
            ..BreakerConfig::default()
        };
        let endpoint = |(name, exporter)| {
            let breaker = Breaker::new(breaker.clone())?;
            let (parts, items) = (AtomicU64::new(0), AtomicU64::new(0));
            Ok(Endpoint { name, exporter, breaker, parts, items })
        };
        let endpoints: Box<[_]> =
            endpoints.into_iter().map(endpoint).collect::<Result<_, ConfigError>>()?;
        if endpoints.is_empty() {
            return Err(ConfigError::Wrapper("a balance has no endpoint"));
        }
        let mut names: Vec<_> = endpoints.iter().map(|endpoint| &endpoint.name).collect();
        names.sort();
        if names.windows(2).any(|two| two[0] == two[1]) {
            return Err(ConfigError::Wrapper("two endpoints of a balance have the same name"));
        }
        let ring = Ring::new(endpoints.iter().map(|endpoint| &*endpoint.name), config.seed);
        Ok(Self { endpoints, ring, turn: AtomicUsize::new(0) })
    }

    /// What each endpoint got so far, in the order in which they were given.
    pub fn stats(&self) -> Vec<EndpointStats> {
        let stats = |endpoint: &Endpoint| EndpointStats {
            name: endpoint.name.clone(),
            is_out: endpoint.breaker.state() != BreakerState::Closed,
            parts: endpoint.parts.load(Ordering::Relaxed),
            items: endpoint.items.load(Ordering::Relaxed),
        };
        self.endpoints.iter().map(stats).collect()
    }

    /// Leave to use each endpoint, or how long the first of them is still out.
    fn calls(&self, now: Instant) -> Result<Vec<Option<Call<'_>>>, Duration> {
        let checks = self.endpoints.iter().map(|endpoint| endpoint.breaker.check(now));
        let checks: Vec<_> = checks.collect();
        let mut soonest = Duration::MAX;
        for check in &checks {
            match check {
                Ok(_) => soonest = Duration::ZERO,
                Err(refused) => soonest = soonest.min(refused.retry_after),
            }
        }
        if checks.iter().any(Result::is_ok) {
            Ok(checks.into_iter().map(Result::ok).collect())
        } else {
            Err(soonest)
        }
    }

    /// Cuts a payload into one part for each endpoint.
    fn parts(&self, payload: Payload, calls: &[Option<Call<'_>>]) -> Vec<Payload> {
        let count = calls.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let after = |skipped| turn.wrapping_add(skipped) % count;
        let next = (0..count).map(after).find(|index| calls[*index].is_some()).unwrap_or(0);
        if payload.signal() == Signal::Metrics {
            let mut parts = vec![Payload::empty(Signal::Metrics); count];
            parts[next] = payload;
            return parts;
        }
        cut(payload, count, |trace| match trace {
            Some(trace) => self.ring.owner(trace, |index| calls[index].is_none()).unwrap_or(next),
            None => next,
        })
    }
}

impl Exporter for Balance {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which parts were delivered.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let calls = match self.calls(tokio::time::Instant::now().into_std()) {
            Ok(calls) => calls,
            Err(retry_after) => return Err(ExportError::CircuitOpen { retry_after }),
        };
        let items = outgoing.payload().items();
        let parts = self.parts(outgoing.payload().clone(), &calls);
        let mut sends = Vec::with_capacity(parts.len());
        for ((endpoint, call), part) in self.endpoints.iter().zip(calls).zip(parts) {
            let Some(call) = call.filter(|_| !part.is_empty()) else { continue };
            // What stayed in one piece keeps what was made of it.
            let outgoing =
                if part.items() == items { outgoing.clone() } else { Outgoing::new(part.clone()) };
            sends.push(endpoint.send(outgoing, part, call));
        }
        let mut answer = Undelivered::default();
        for (part, result) in join_all(sends).await {
            answer.add(part, result);
        }
        answer.into_result()
    }

    /// Flushes all of them; the answer is the first failure.
    async fn flush(&self) -> Result<(), ExportError> {
        let all = self.endpoints.iter().map(|endpoint| endpoint.exporter.flush());
        join_all(all).await.into_iter().collect()
    }

    fn interrupt(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.exporter.interrupt());
    }

    /// Shuts all of them down; the answer is the first failure.
    async fn shutdown(&self) -> Result<(), ExportError> {
        let all = self.endpoints.iter().map(|endpoint| endpoint.exporter.shutdown());
        join_all(all).await.into_iter().collect()
    }
}

// === impl Endpoint ===

impl Endpoint {
    async fn send(
        &self,
        outgoing: Outgoing,
        part: Payload,
        call: Call<'_>,
    ) -> (Payload, Result<Delivered, ExportError>) {
        self.parts.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(part.items(), Ordering::Relaxed);
        let result = self.exporter.send(outgoing).await;
        settle(call, &result);
        (part, result)
    }
}
