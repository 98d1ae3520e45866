//! The `exporters` section.

mod debug;
mod delivery;
mod headers;
mod keepalive;
mod otlp_grpc;
mod otlp_http;
mod queue;
mod sqlite;
mod tls;

use std::collections::BTreeMap;

use super::components::{self, Components};
use super::later;
use super::read::At;

pub(crate) use debug::{DebugExporter, Verbosity};
pub(crate) use delivery::{Compression, Retry};
#[cfg(test)]
pub(crate) use keepalive::KeepAlive as Probes;
pub(crate) use otlp_grpc::OtlpGrpcExporter;
pub(crate) use otlp_http::{Encoding, OtlpHttpExporter};
pub(crate) use queue::{OnFull, Queue, QueueBatch, Sizer};
pub(crate) use sqlite::SqliteExporter;
#[cfg(test)]
pub(crate) use tls::Identity;
pub(crate) use tls::{Pem, TlsClient};

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Exporter {
    /// `debug`
    Debug(DebugExporter),
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
            Self::OtlpGrpc(otlp) => otlp.queue.as_ref(),
            Self::OtlpHttp(otlp) => otlp.queue.as_ref(),
            Self::Sqlite(sqlite) => sqlite.queue.as_ref(),
        }
    }
}
