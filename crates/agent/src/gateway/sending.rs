//! Makes the exporters that send over a network.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use teleflow::exporter::{
    self, AdaptiveConcurrency, AnyExporter, Balance, BalanceConfig, CircuitBreaker,
    ConnectionConfig, ConnectionEvent, ConnectionObserver, Exporter, Failover, GrpcExporter,
    HttpExporter, RateLimit, RateUnit, Retry, RetryBudget, RetryBudgetConfig, RetryConfig,
    SplitTooLarge,
};
use teleflow_concurrency::{BreakerConfig, FailureRate, Rate};
use tokio::time::Instant;

use super::auth::Authenticators;
use super::storing;
use crate::config::{self, Address, Pem, Reference};
use crate::watched::Watched;

/// Says in the log when there is no connection, and when there is one again.
#[derive(Debug)]
struct Connections {
    /// The exporter's name.
    exporter: String,
    /// Over what it connects.
    over: &'static str,
    /// Why there was none the last time; what is tried again and fails again is said once.
    failed: Mutex<Option<String>>,
}

/// Makes an exporter over gRPC, with its retries. Reads certificates, and connects to nothing.
pub(super) fn grpc(
    name: &str,
    otlp: &config::OtlpGrpcExporter,
    auth: &Authenticators<'_>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let endpoint = match &otlp.endpoint {
        Address::Tcp(endpoint) if otlp.tls.is_some() => format!("https://{endpoint}"),
        Address::Tcp(endpoint) => format!("http://{endpoint}"),
        Address::Unix(path) => format!("unix:{}", path.display()),
    };
    let made = GrpcExporter::new(exporter::GrpcConfig {
        timeout: otlp.timeout.unwrap_or(Duration::ZERO),
        headers: headers(&otlp.headers, otlp.auth.as_ref(), auth)?,
        compression: compression(otlp.compression),
        connection: ConnectionConfig {
            keep_alive: otlp.keepalive.map(|probes| exporter::KeepAlive {
                interval: probes.time,
                timeout: probes.timeout,
            }),
            ..connection(name, otlp.tls.as_ref())?
        },
        ..exporter::GrpcConfig::new(endpoint)
    })?;
    let retry = storing::patient(otlp.retry.as_ref(), otlp.queue.as_ref());
    wrapped(watched.over(made), &otlp.wrappers, retry.as_ref(), watched)
}

/// Makes an exporter over HTTP, with its retries. Reads certificates, and connects to nothing.
pub(super) fn http(
    name: &str,
    otlp: &config::OtlpHttpExporter,
    auth: &Authenticators<'_>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let socket = otlp.socket.as_ref().map(|path| format!("unix:{}", path.display()));
    let proxy = match &otlp.proxy {
        Some(url) => exporter::Proxy::Http { url: url.expose().to_owned(), except: String::new() },
        None => exporter::Proxy::Environment,
    };
    let urls = [&otlp.traces_url, &otlp.metrics_url, &otlp.logs_url];
    let is_encrypted = urls.into_iter().flatten().any(|url| url.starts_with("https:"));
    let tls = is_encrypted.then_some(&otlp.tls);
    let made = HttpExporter::new(exporter::HttpConfig {
        traces_endpoint: otlp.traces_url.clone(),
        metrics_endpoint: otlp.metrics_url.clone(),
        logs_endpoint: otlp.logs_url.clone(),
        timeout: otlp.timeout.unwrap_or(Duration::ZERO),
        headers: headers(&otlp.headers, otlp.auth.as_ref(), auth)?,
        encoding: match otlp.encoding {
            config::Encoding::Protobuf => exporter::Encoding::Protobuf,
            config::Encoding::Json => exporter::Encoding::Json,
        },
        compression: compression(otlp.compression),
        connection: ConnectionConfig {
            proxy,
            idle_timeout: otlp.idle_timeout.unwrap_or(Duration::ZERO),
            max_idle_per_host: otlp.max_idle_per_host.get(),
            ..connection(name, tls)?
        },
        ..exporter::HttpConfig::new(socket.unwrap_or_default())
    })?;
    let retry = storing::patient(otlp.retry.as_ref(), otlp.queue.as_ref());
    wrapped(watched.over(made), &otlp.wrappers, retry.as_ref(), watched)
}

fn connection(name: &str, tls: Option<&config::TlsClient>) -> anyhow::Result<ConnectionConfig> {
    let over = if tls.is_some() { "TLS" } else { "TCP" };
    let observer = Connections { exporter: name.to_owned(), over, failed: Mutex::default() };
    let mut connection =
        ConnectionConfig { observer: Some(Arc::new(observer)), ..ConnectionConfig::default() };
    if let Some(tls) = tls {
        let identity = tls.identity.as_ref().map(|identity| {
            anyhow::Ok(exporter::Identity {
                certificate: pem("cert_file", &identity.certificate)?,
                key: pem("key_file", &identity.key)?,
            })
        });
        connection.tls = exporter::TlsConfig {
            ca: tls.ca.as_ref().map(|ca| pem("ca_file", ca)).transpose()?,
            identity: identity.transpose()?,
            server_name: tls.server_name.clone(),
            min_version: match tls.min_version {
                config::TlsVersion::V1_2 => exporter::TlsVersion::V1_2,
                config::TlsVersion::V1_3 => exporter::TlsVersion::V1_3,
            },
            reload_interval: tls.reload_interval,
            insecure_skip_verify: tls.insecure_skip_verify,
        };
    }
    Ok(connection)
}

/// `key` is where the file stands in the config, if it is one.
fn pem(key: &str, pem: &Pem) -> anyhow::Result<exporter::Pem> {
    Ok(match pem {
        Pem::File(path) => {
            readable(key, path)?;
            exporter::Pem::File(path.clone())
        }
        Pem::Text(text) => exporter::Pem::Text(text.expose().to_owned()),
    })
}

/// Says which key names a file that is not there: what reads it knows only the path.
pub(super) fn readable(key: &str, path: &Path) -> anyhow::Result<()> {
    let opened = File::open(path);
    opened.with_context(|| format!("tls.{key}: cannot read {}", path.display()))?;
    Ok(())
}

/// What the file has, and what an extension gives.
fn headers(
    headers: &[(String, config::Secret)],
    reference: Option<&Reference>,
    auth: &Authenticators<'_>,
) -> anyhow::Result<Vec<(String, String)>> {
    let written = headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let given = reference.map(|reference| auth.client(reference)).transpose()?;
    Ok(written.chain(given).collect())
}

const fn compression(compression: config::Compression) -> exporter::Compression {
    match compression {
        config::Compression::Gzip => exporter::Compression::Gzip,
        config::Compression::Zstd => exporter::Compression::Zstd,
        config::Compression::None => exporter::Compression::None,
    }
}

/// Puts around an exporter what the file says, and what sends in pieces what is too large for the
/// server.
fn wrapped(
    exporter: impl Exporter,
    wrappers: &config::Wrappers,
    retry: Option<&config::Retry>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let mut exporter = AnyExporter::new(watched.pulse(exporter));
    // Next to the destination, so that nothing waits that will not be sent.
    if let Some(breaker) = &wrappers.breaker {
        exporter =
            AnyExporter::new(watched.over(CircuitBreaker::new(exporter, breaking(breaker))?));
    }
    if let Some(adaptive) = &wrappers.concurrency {
        let config = exporter::AdaptiveConcurrencyConfig {
            initial: adaptive.initial,
            max: adaptive.max,
            decrease: adaptive.decrease_ratio,
            weight: adaptive.ewma_alpha,
            deviations: adaptive.rtt_deviation_scale,
        };
        exporter = AnyExporter::new(watched.over(AdaptiveConcurrency::new(exporter, config)?));
    }
    // Outside of what measures round trips: a wait for the rate is none.
    if let Some(limit) = &wrappers.rate {
        let unit = match limit.unit {
            config::RateUnit::Requests => RateUnit::Requests,
            config::RateUnit::Items => RateUnit::Items,
            config::RateUnit::Bytes => RateUnit::Bytes,
        };
        let per = Duration::from_secs(1);
        let rate = Rate { count: limit.per_second, per, burst: limit.burst };
        exporter = AnyExporter::new(watched.over(RateLimit::new(exporter, unit, rate)?));
    }
    // Outside of the retries, so that each piece has its own.
    let retrying = retrying(exporter, retry, watched)?;
    Ok(AnyExporter::new(watched.over(SplitTooLarge::new(retrying))))
}

fn breaking(breaker: &config::CircuitBreaker) -> BreakerConfig {
    BreakerConfig {
        failures: breaker.failures.map(NonZeroU32::get),
        failure_rate: breaker
            .failure_ratio
            .map(|share| FailureRate { share, min_calls: breaker.min_requests }),
        window: breaker.window,
        open_for: breaker.open_for,
        probes: breaker.probes,
        successes: breaker.successes,
        ..BreakerConfig::default()
    }
}

/// Tries again, as the file says.
fn retrying(
    exporter: AnyExporter,
    retry: Option<&config::Retry>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let Some(retry) = retry else { return Ok(exporter) };
    let config = RetryConfig {
        enabled: true,
        initial_interval: retry.initial_interval,
        randomization_factor: retry.randomization_factor,
        multiplier: retry.multiplier,
        max_interval: retry.max_interval,
        max_elapsed_time: retry.max_elapsed_time.unwrap_or(Duration::ZERO),
    };
    let mut retrying = Retry::new(exporter, config)?;
    if let Some(config::RetryBudget { share, per_second, burst }) = retry.budget {
        let config = RetryBudgetConfig { share, per_second, burst };
        let budget = RetryBudget::new(config, Instant::now().into_std())?;
        retrying = retrying.with_budget(Arc::new(budget));
    }
    Ok(AnyExporter::new(watched.over(retrying)))
}

/// Makes an exporter that spreads traces over several servers.
pub(super) fn balance(
    name: &str,
    balance: &config::LoadBalancingExporter,
    auth: &Authenticators<'_>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let servers = balance.servers.iter().map(|otlp| {
        // Who shares servers knows them by the same names.
        anyhow::Ok((otlp.endpoint.to_string(), grpc(name, otlp, auth, watched)?))
    });
    let servers: Vec<_> = servers.collect::<Result<_, _>>()?;
    let balanced = AnyExporter::new(watched.over(Balance::new(servers, BalanceConfig::default())?));
    let retry = storing::patient(balance.retry.as_ref(), balance.queue.as_ref());
    retrying(balanced, retry.as_ref(), watched)
}

/// Makes an exporter that sends to the first destination that is there.
pub(super) fn failover(
    name: &str,
    failover: &config::FailoverExporter,
    auth: &Authenticators<'_>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let destinations = failover.destinations.iter().enumerate().map(|(index, destination)| {
        let made = match destination {
            config::Destination::Grpc(otlp) => grpc(name, otlp, auth, watched),
            config::Destination::Http(otlp) => http(name, otlp, auth, watched),
        };
        made.with_context(|| format!("destinations[{index}]"))
    });
    let destinations: Vec<_> = destinations.collect::<Result<_, _>>()?;
    let made =
        AnyExporter::new(watched.over(Failover::new(destinations, failover.retry_interval)?));
    let retry = storing::patient(failover.retry.as_ref(), failover.queue.as_ref());
    retrying(made, retry.as_ref(), watched)
}

// === impl Connections ===

impl ConnectionObserver for Connections {
    fn connection(&self, peer: &str, event: &ConnectionEvent) {
        // What panicked here has left a text or none.
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let exporter = &self.exporter;
        match event {
            ConnectionEvent::Failed { cause } if failed.as_ref() != Some(cause) => {
                tracing::warn!(exporter, peer, cause, "no connection over {}", self.over);
                *failed = Some(cause.clone());
            }
            ConnectionEvent::Connected if failed.take().is_some() => {
                tracing::info!(exporter, peer, "connected");
            }
            _ => {}
        }
    }
}
