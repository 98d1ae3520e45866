//! `exporters.otlp`, or `otlp_grpc` by its newer name

use std::time::Duration;

use super::super::auth;
use super::super::endpoint::{Address, Endpoint, Scheme};
use super::super::later;
use super::super::read::{At, Keys};
use super::super::reference::Reference;
use super::super::secret::Secret;
use super::delivery::{self, Compression, Retry};
use super::headers;
use super::keepalive::{self, KeepAlive};
use super::queue::{self, Queue};
use super::tls::{self, TlsClient, Written};
use super::wrappers::{self, Wrappers};

/// Sends OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpGrpcExporter {
    /// Where to. Has to be written.
    pub(crate) endpoint: Address,
    /// Default on. `None`: unencrypted.
    pub(crate) tls: Option<TlsClient>,
    /// `auth.authenticator`: what gives the credentials to send with. Default none.
    pub(crate) auth: Option<Reference>,
    /// Default `None`: no probes.
    pub(crate) keepalive: Option<KeepAlive>,
    /// Default gzip.
    pub(crate) compression: Compression,
    /// Metadata of each call; names in lower case. Default none.
    pub(crate) headers: Vec<(String, Secret)>,
    /// How long a call may take. Default 5 s. `None` (0 in the file): as long as it takes.
    pub(crate) timeout: Option<Duration>,
    /// Default on.
    pub(crate) retry: Option<Retry>,
    /// Default none.
    pub(crate) wrappers: Wrappers,
    /// Default on.
    pub(crate) queue: Option<Queue>,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> OtlpGrpcExporter {
    at.section(later::GRPC_CLIENT, |keys| {
        let mut otlp = read_sender(keys, Some(Retry::default()), |keys, written| {
            keys.require("endpoint").and_then(|at| read_endpoint(&at, written))
        });
        otlp.queue = queue::read(keys, queue::consumers_for(&otlp.wrappers));
        otlp
    })
}

/// Reads the section of one of several destinations of an exporter, which has the queue. Without
/// retries of its own if it does not say so.
pub(super) fn read_inside(at: &At<'_>) -> OtlpGrpcExporter {
    at.section(later::GRPC_CLIENT, |keys| {
        queue::refuse(keys);
        read_sender(keys, None, |keys, written| {
            keys.require("endpoint").and_then(|at| read_endpoint(&at, written))
        })
    })
}

/// Reads what destinations have in common that stand elsewhere, at `hosts`.
pub(super) fn read_protocol(at: &At<'_>, hosts: &[At<'_>]) -> OtlpGrpcExporter {
    at.section(later::GRPC_CLIENT, |keys| {
        queue::refuse(keys);
        if let Some(at) = keys.value("endpoint") {
            let message = format!("{} has no place here", at.path());
            let hint = "write it in `resolver.static.hostnames`";
            at.report.error_with_hint(at.name_at(), message, hint);
        }
        read_sender(keys, None, |_, written| {
            // What holds for one holds for all.
            hosts.first().map(|host| (written.is_for(host, Scheme::None), nowhere()))
        })
    })
}

/// Reads everything but the queue.
fn read_sender<'a>(
    keys: &mut Keys<'a>,
    retry: Option<Retry>,
    endpoint: impl FnOnce(&mut Keys<'a>, &Written) -> Option<(bool, Address)>,
) -> OtlpGrpcExporter {
    let written = tls::read(keys);
    let (is_encrypted, endpoint) = endpoint(keys, &written).unwrap_or_else(|| (false, nowhere()));
    OtlpGrpcExporter {
        endpoint,
        tls: is_encrypted.then_some(written.tls),
        auth: auth::read(keys),
        keepalive: keepalive::read(keys),
        compression: delivery::read_compression(keys),
        headers: headers::read(keys),
        timeout: delivery::read_timeout(keys, Duration::from_secs(5)),
        retry: delivery::read_retry(keys, retry),
        wrappers: wrappers::read(keys),
        queue: None,
    }
}

/// In place of what was refused, or stands elsewhere.
const fn nowhere() -> Address {
    Address::Tcp(Endpoint { host: String::new(), port: 0 })
}

fn read_endpoint(at: &At<'_>, written: &Written) -> Option<(bool, Address)> {
    let refuse = |hint| {
        at.refuse_endpoint(
            "be `host:port`, `https://host:port`, `http://host:port` or `unix:///path`",
            hint,
        )
    };
    let text = at.text_or(|_| refuse("write the host: `localhost:4317`".to_owned()))?;
    let (scheme, endpoint) = Address::parse_target(text).map_err(refuse).ok()?;
    Some((written.is_for(at, scheme), endpoint))
}
