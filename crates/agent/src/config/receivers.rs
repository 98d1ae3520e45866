//! The `receivers` section.

mod cors;
mod keepalive;
mod limits;
mod tls;

use std::time::Duration;

use super::auth;
use super::components::{self, Components};
use super::endpoint::{self, Address, Endpoint};
use super::later;
use super::read::{At, Keys};
use super::reference::Reference;

pub(crate) use cors::Cors;
pub(crate) use keepalive::KeepAlive;
pub(crate) use limits::Limits;
pub(crate) use tls::TlsServer;

/// How telemetry comes in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Receiver {
    /// `otlp`
    Otlp(OtlpReceiver),
}

/// `receivers.otlp`: at least one protocol is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OtlpReceiver {
    /// `protocols.grpc`, if it is written.
    pub(crate) grpc: Option<GrpcServer>,
    /// `protocols.http`, if it is written.
    pub(crate) http: Option<HttpServer>,
    pub(crate) limits: Limits,
}

/// `protocols.grpc`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GrpcServer {
    /// `endpoint`, with `transport`. Default `localhost:4317`.
    pub(crate) endpoint: Address,
    /// The largest request, after inflation, in bytes; the file has MiB. Default 64 MiB, which is
    /// what OTLP 1.11 advises (the Collector: 4 MiB). At least 1 MiB.
    pub(crate) max_recv_msg_bytes: u64,
    /// How many requests a connection may have open at a time. Default `None`: not limited.
    pub(crate) max_concurrent_streams: Option<u32>,
    /// Default `None`: unencrypted.
    pub(crate) tls: Option<TlsServer>,
    /// `auth.authenticator`: what says who may send. Default `None`: all who can connect.
    pub(crate) auth: Option<Reference>,
    /// `keepalive.server_parameters`
    pub(crate) keepalive: KeepAlive,
}

/// `protocols.http`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HttpServer {
    /// `endpoint`, with `transport`. Default `localhost:4318`.
    pub(crate) endpoint: Address,
    /// The largest request, compressed and after inflation, in bytes. Default 64 MiB, which is
    /// what OTLP 1.11 advises (the Collector: 20 MiB). At least 1.
    pub(crate) max_request_body_bytes: u64,
    /// The path that takes traces. Default `/v1/traces`. The three paths differ.
    pub(crate) traces_url_path: String,
    /// The path that takes metrics. Default `/v1/metrics`.
    pub(crate) metrics_url_path: String,
    /// The path that takes logs. Default `/v1/logs`.
    pub(crate) logs_url_path: String,
    /// Default `None`: unencrypted.
    pub(crate) tls: Option<TlsServer>,
    /// `auth.authenticator`: what says who may send. Default `None`: all who can connect.
    pub(crate) auth: Option<Reference>,
    /// Default `None`: browsers let no other site send.
    pub(crate) cors: Option<Cors>,
    /// How long the head of a request may take. Default 30 s (the Collector: 1 minute). More than
    /// 0. This and the next one hold for all connections of the receiver.
    pub(crate) read_header_timeout: Duration,
    /// How long the body of a request may take. Default 60 s (the Collector: as long as it takes).
    /// More than 0.
    pub(crate) read_timeout: Duration,
}

const MIB: u64 = 1024 * 1024;
const DEFAULT_MAX_MIB: u64 = 64;
/// A request has to fit into one buffer with room to spare.
const MAX_MIB: u64 = 1024;

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Receiver> {
    components::read(section, &[("otlp", |at| Receiver::Otlp(read_otlp(at)))], later::RECEIVERS)
}

fn read_otlp(at: &At<'_>) -> OtlpReceiver {
    at.section(later::NONE, |keys| {
        let protocols = keys.require("protocols").map(|at| read_protocols(&at));
        let (grpc, http) = protocols.unwrap_or_default();
        let sizes = [
            grpc.as_ref().map(|grpc| grpc.max_recv_msg_bytes),
            http.as_ref().map(|http| http.max_request_body_bytes),
        ];
        let largest = sizes.into_iter().flatten().max().unwrap_or_default();
        OtlpReceiver { grpc, http, limits: limits::read(keys, largest) }
    })
}

fn read_protocols(at: &At<'_>) -> (Option<GrpcServer>, Option<HttpServer>) {
    at.section(later::NONE, |keys| {
        // Written without a value, a protocol is on with its defaults.
        let grpc = keys.find("grpc").map(|at| at.section(later::GRPC_SERVER, read_grpc));
        let http = keys.find("http").map(|at| at.section(later::HTTP_SERVER, read_http));
        if grpc.is_none() && http.is_none() {
            at.refuse_empty("protocol, grpc or http");
        }
        if let (Some(grpc), Some(http)) = (&grpc, &http)
            && share_endpoint(grpc, http)
            && grpc.tls != http.tls
        {
            let message = format!("{} has one endpoint and two different `tls`", at.path());
            let hint = "write the same `tls` for both, or give each its own endpoint";
            at.report.error_with_hint(at.name_at(), message, hint);
        }
        (grpc, http)
    })
}

/// Whether both protocols are served on one endpoint. Port 0 is another one each time.
fn share_endpoint(grpc: &GrpcServer, http: &HttpServer) -> bool {
    let is_any = matches!(&grpc.endpoint, Address::Tcp(endpoint) if endpoint.port == 0);
    grpc.endpoint == http.endpoint && !is_any
}

/// Reads a duration that is not 0.
fn positive(keys: &mut Keys<'_>, name: &'static str) -> Option<Duration> {
    let at = keys.value(name)?;
    let duration = at.duration();
    if duration == Some(Duration::ZERO) {
        at.refuse("be more than 0", None);
    }
    duration
}

fn read_grpc(keys: &mut Keys<'_>) -> GrpcServer {
    let mib = keys.value("max_recv_msg_size_mib").and_then(|at| at.whole(0..=MAX_MIB));
    // For the Collector, 0 is the default of each of these.
    let mib = mib.filter(|&mib| mib > 0).unwrap_or(DEFAULT_MAX_MIB);
    let streams = keys.value("max_concurrent_streams").and_then(|at| at.whole(0..=u32::MAX.into()));
    GrpcServer {
        endpoint: address(keys, "localhost", 4317),
        max_recv_msg_bytes: mib * MIB,
        max_concurrent_streams: streams
            .and_then(|streams| u32::try_from(streams).ok())
            .filter(|&streams| streams > 0),
        tls: tls::read(keys),
        auth: auth::read(keys),
        keepalive: keepalive::read(keys),
    }
}

fn read_http(keys: &mut Keys<'_>) -> HttpServer {
    let bytes = keys.value("max_request_body_size").and_then(|at| at.bytes(0..=MAX_MIB * MIB));
    let server = HttpServer {
        endpoint: address(keys, "localhost", 4318),
        max_request_body_bytes: bytes.filter(|&bytes| bytes > 0).unwrap_or(DEFAULT_MAX_MIB * MIB),
        traces_url_path: url_path(keys, "traces_url_path", "/v1/traces"),
        metrics_url_path: url_path(keys, "metrics_url_path", "/v1/metrics"),
        logs_url_path: url_path(keys, "logs_url_path", "/v1/logs"),
        tls: tls::read(keys),
        auth: auth::read(keys),
        cors: cors::read(keys),
        read_header_timeout: positive(keys, "read_header_timeout")
            .unwrap_or(Duration::from_secs(30)),
        read_timeout: positive(keys, "read_timeout").unwrap_or(Duration::from_secs(60)),
    };
    let HttpServer { traces_url_path, metrics_url_path, logs_url_path, .. } = &server;
    if traces_url_path == metrics_url_path
        || traces_url_path == logs_url_path
        || metrics_url_path == logs_url_path
    {
        let at = keys.at();
        at.report.error(at.value_at(), format!("{} has one path for two signals", at.path()));
    }
    server
}

/// Reads `transport`, and the `endpoint` that it means.
fn address(keys: &mut Keys<'_>, host: &str, port: u16) -> Address {
    const NAMES: [(&str, bool); 2] = [("tcp", false), ("unix", true)];
    let transport = keys.value("transport").and_then(|at| at.one_of(&NAMES, later::TRANSPORTS));
    if transport != Some(true) {
        return Address::Tcp(listen(keys, host, port));
    }
    let path = keys.require("endpoint").and_then(|at| {
        let refuse = |hint| at.refuse("be the path of a socket", Some(hint));
        let text = at.text_or(|_| refuse("write a path: `/run/otlp.sock`".to_owned()))?;
        endpoint::parse_socket(text).map_err(refuse).ok()
    });
    Address::Unix(path.unwrap_or_default())
}

/// Reads `endpoint`.
pub(super) fn listen(keys: &mut Keys<'_>, host: &str, port: u16) -> Endpoint {
    let default = Endpoint { host: host.to_owned(), port };
    let Some(at) = keys.value("endpoint") else { return default };
    let refuse = |hint| at.refuse("be an address to listen on", Some(hint));
    let text = at.text_or(|_| refuse(format!("write host:port: `{default}`")));
    text.and_then(|text| Endpoint::parse_listen(text).map_err(refuse).ok()).unwrap_or(default)
}

/// Reads a path; as for the Collector, the first `/` may be left out.
fn url_path(keys: &mut Keys<'_>, name: &'static str, default: &str) -> String {
    let Some((at, text)) = keys.value(name).and_then(|at| at.text().map(|text| (at, text))) else {
        return default.to_owned();
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '{' | '}');
    if text.trim_start_matches('/').is_empty() || !text.chars().all(is_plain) {
        at.refuse("be a path such as `/v1/traces`", None);
    }
    if text.starts_with('/') { text.to_owned() } else { format!("/{text}") }
}

// === impl OtlpReceiver ===

impl OtlpReceiver {
    /// Whether both protocols are there, on one endpoint; their `tls` is the same then.
    pub(crate) fn has_one_endpoint(&self) -> bool {
        match (&self.grpc, &self.http) {
            (Some(grpc), Some(http)) => share_endpoint(grpc, http),
            _ => false,
        }
    }

    /// What says who may send, by protocol, and the certificates there.
    pub(super) fn authenticators(&self) -> impl Iterator<Item = (&Reference, Option<&TlsServer>)> {
        let grpc = self.grpc.as_ref().map(|grpc| (grpc.auth.as_ref(), grpc.tls.as_ref()));
        let http = self.http.as_ref().map(|http| (http.auth.as_ref(), http.tls.as_ref()));
        grpc.into_iter().chain(http).filter_map(|(auth, tls)| Some((auth?, tls)))
    }
}
