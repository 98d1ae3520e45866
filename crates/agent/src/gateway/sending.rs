//! Makes the exporters that send over a network.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use teleflow::exporter::{
    self, AnyExporter, ConnectionConfig, ConnectionEvent, ConnectionObserver, Exporter,
    GrpcExporter, HttpExporter, Retry, RetryConfig, SplitTooLarge,
};

use crate::config::{self, Pem};
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
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let scheme = if otlp.tls.is_some() { "https" } else { "http" };
    let made = GrpcExporter::new(exporter::GrpcConfig {
        timeout: otlp.timeout.unwrap_or(Duration::ZERO),
        headers: headers(&otlp.headers),
        compression: compression(otlp.compression),
        connection: ConnectionConfig {
            keep_alive: otlp.keepalive.map(|probes| exporter::KeepAlive {
                interval: probes.time,
                timeout: probes.timeout,
            }),
            ..connection(name, otlp.tls.as_ref())?
        },
        ..exporter::GrpcConfig::new(format!("{scheme}://{}", otlp.endpoint))
    })?;
    retrying(watched.over(made), otlp.retry.as_ref(), watched)
}

/// Makes an exporter over HTTP, with its retries. Reads certificates, and connects to nothing.
pub(super) fn http(
    name: &str,
    otlp: &config::OtlpHttpExporter,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
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
        headers: headers(&otlp.headers),
        encoding: match otlp.encoding {
            config::Encoding::Protobuf => exporter::Encoding::Protobuf,
            config::Encoding::Json => exporter::Encoding::Json,
        },
        compression: compression(otlp.compression),
        connection: ConnectionConfig { proxy, ..connection(name, tls)? },
        ..exporter::HttpConfig::new("")
    })?;
    retrying(watched.over(made), otlp.retry.as_ref(), watched)
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

fn headers(headers: &[(String, config::Secret)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
}

const fn compression(compression: config::Compression) -> exporter::Compression {
    match compression {
        config::Compression::Gzip => exporter::Compression::Gzip,
        config::Compression::Zstd => exporter::Compression::Zstd,
        config::Compression::None => exporter::Compression::None,
    }
}

/// Tries again, as the file says, and sends in pieces what is too large for the server.
fn retrying(
    exporter: impl Exporter,
    retry: Option<&config::Retry>,
    watched: &mut Watched,
) -> anyhow::Result<AnyExporter> {
    let exporter = watched.pulse(exporter);
    let Some(retry) = retry else {
        return Ok(AnyExporter::new(watched.over(SplitTooLarge::new(exporter))));
    };
    let config = RetryConfig {
        enabled: true,
        initial_interval: retry.initial_interval,
        randomization_factor: retry.randomization_factor,
        multiplier: retry.multiplier,
        max_interval: retry.max_interval,
        max_elapsed_time: retry.max_elapsed_time.unwrap_or(Duration::ZERO),
    };
    // Outside of the retries, so that each piece has its own.
    let retrying = watched.over(Retry::new(exporter, config)?);
    Ok(AnyExporter::new(watched.over(SplitTooLarge::new(retrying))))
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
