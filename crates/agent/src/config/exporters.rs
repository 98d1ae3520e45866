//! The `exporters` section.

mod debug;
mod delivery;
mod failover;
mod headers;
mod keepalive;
mod loadbalancing;
mod otlp_grpc;
mod otlp_http;
mod queue;
mod sqlite;
mod tls;
mod wrappers;

use std::collections::BTreeMap;

use super::components::{self, Components};
use super::later;
use super::read::At;
use super::reference::Reference;
use super::secret::Secret;
use super::service::Signal;

pub(crate) use debug::{DebugExporter, Verbosity};
pub(crate) use delivery::{Compression, Retry};
pub(crate) use failover::{Destination, FailoverExporter};
pub(super) use headers::name_problem as header_problem;
#[cfg(test)]
pub(crate) use keepalive::KeepAlive as Probes;
pub(crate) use loadbalancing::LoadBalancingExporter;
pub(crate) use otlp_grpc::OtlpGrpcExporter;
pub(crate) use otlp_http::{Encoding, OtlpHttpExporter};
pub(crate) use queue::{OnFull, Queue, QueueBatch, Sizer};
pub(crate) use sqlite::SqliteExporter;
#[cfg(test)]
pub(crate) use tls::Identity;
pub(crate) use tls::{Pem, TlsClient};
#[cfg(test)]
pub(crate) use wrappers::{AdaptiveConcurrency, RateLimit};
pub(crate) use wrappers::{CircuitBreaker, RateUnit, RetryBudget, Wrappers};

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Exporter {
    /// `debug`
    Debug(DebugExporter),
    /// `failover`
    Failover(FailoverExporter),
    /// `loadbalancing`
    LoadBalancing(LoadBalancingExporter),
    /// `otlp` or `otlp_grpc`
    OtlpGrpc(OtlpGrpcExporter),
    /// `otlphttp` or `otlp_http`
    OtlpHttp(OtlpHttpExporter),
    /// `sqlite`
    Sqlite(SqliteExporter),
}

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Exporter> {
    let kinds: &components::Kinds<Exporter> = &[
        ("debug", |at| Exporter::Debug(debug::read(at))),
        ("failover", |at| Exporter::Failover(failover::read(at))),
        ("loadbalancing", |at| Exporter::LoadBalancing(loadbalancing::read(at))),
        ("otlp", |at| Exporter::OtlpGrpc(otlp_grpc::read(at))),
        ("otlp_grpc", |at| Exporter::OtlpGrpc(otlp_grpc::read(at))),
        ("otlp_http", |at| Exporter::OtlpHttp(otlp_http::read(at))),
        ("otlphttp", |at| Exporter::OtlpHttp(otlp_http::read(at))),
        ("sqlite", |at| Exporter::Sqlite(sqlite::read(at))),
    ];
    let exporters = components::read(section, kinds, later::EXPORTERS);
    refuse_shared_files(section, &exporters);
    exporters
}

/// A store has one writer, which also keeps it below its size.
fn refuse_shared_files(section: &At<'_>, exporters: &Components<Exporter>) {
    let mut files = BTreeMap::new();
    for (id, defined) in exporters {
        let Some(Exporter::Sqlite(SqliteExporter { path, .. })) = &defined.component else {
            continue;
        };
        if let Some(other) = files.insert(path, id) {
            let message = format!("{}.{id} writes to the file of {other}", section.path());
            section.report.error_with_hint(defined.at, message, "give each its own path");
        }
    }
}

// === impl Exporter ===

impl Exporter {
    /// What waits for it; `None` if it has no queue, or none that can be described.
    pub(crate) const fn queue(&self) -> Option<&Queue> {
        match self {
            Self::Debug(_) => None,
            Self::Failover(failover) => failover.queue.as_ref(),
            Self::LoadBalancing(balance) => balance.queue.as_ref(),
            Self::OtlpGrpc(otlp) => otlp.queue.as_ref(),
            Self::OtlpHttp(otlp) => otlp.queue.as_ref(),
            Self::Sqlite(sqlite) => sqlite.queue.as_ref(),
        }
    }

    /// Whether it knows where items of `signal` go.
    pub(super) fn sends(&self, signal: Signal) -> bool {
        match self {
            Self::OtlpHttp(otlp) => otlp.sends(signal),
            Self::Failover(failover) => failover.destinations.iter().all(|to| match to {
                Destination::Http(otlp) => otlp.sends(signal),
                Destination::Grpc(_) => true,
            }),
            Self::Debug(_) | Self::LoadBalancing(_) | Self::OtlpGrpc(_) | Self::Sqlite(_) => true,
        }
    }

    /// What gives the credentials of each request, with the headers that the file has for it.
    pub(super) fn credentials(&self) -> Vec<(&Reference, &Headers)> {
        fn grpc(otlp: &OtlpGrpcExporter) -> Option<(&Reference, &Headers)> {
            otlp.auth.as_ref().map(|auth| (auth, &otlp.headers))
        }
        fn http(otlp: &OtlpHttpExporter) -> Option<(&Reference, &Headers)> {
            otlp.auth.as_ref().map(|auth| (auth, &otlp.headers))
        }
        match self {
            Self::Debug(_) | Self::Sqlite(_) => Vec::new(),
            // The servers have it from one place.
            Self::LoadBalancing(balance) => {
                balance.servers.first().and_then(grpc).into_iter().collect()
            }
            Self::OtlpGrpc(otlp) => grpc(otlp).into_iter().collect(),
            Self::OtlpHttp(otlp) => http(otlp).into_iter().collect(),
            Self::Failover(failover) => {
                let destinations = failover.destinations.iter();
                let of = destinations.filter_map(|destination| match destination {
                    Destination::Grpc(otlp) => grpc(otlp),
                    Destination::Http(otlp) => http(otlp),
                });
                of.collect()
            }
        }
    }
}

/// Names in lower case, with their values.
type Headers = Vec<(String, Secret)>;
