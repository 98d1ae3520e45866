//! `exporters.otlp`, or `otlp_grpc` by its newer name

use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::later;
use super::super::read::At;
use super::super::secret::Secret;
use super::delivery::{self, Compression, Retry};
use super::headers;
use super::keepalive::{self, KeepAlive};
use super::queue::{self, Queue};
use super::tls::{self, TlsClient, Written};

/// Sends OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpGrpcExporter {
    /// Where to. Has to be written.
    pub(crate) endpoint: Endpoint,
    /// Default on. `None`: unencrypted.
    pub(crate) tls: Option<TlsClient>,
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
    /// Default on.
    pub(crate) queue: Option<Queue>,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> OtlpGrpcExporter {
    at.section(later::GRPC_CLIENT, |keys| {
        let written = tls::read(keys);
        let endpoint = keys.require("endpoint").and_then(|at| read_endpoint(&at, &written));
        let (is_encrypted, endpoint) =
            endpoint.unwrap_or_else(|| (false, Endpoint { host: String::new(), port: 0 }));
        OtlpGrpcExporter {
            endpoint,
            tls: is_encrypted.then_some(written.tls),
            keepalive: keepalive::read(keys),
            compression: delivery::read_compression(keys),
            headers: headers::read(keys),
            timeout: delivery::read_timeout(keys, Duration::from_secs(5)),
            retry: delivery::read_retry(keys),
            queue: queue::read(keys),
        }
    })
}

fn read_endpoint(at: &At<'_>, written: &Written) -> Option<(bool, Endpoint)> {
    let refuse = |hint| {
        at.refuse_endpoint("be `host:port`, `https://host:port` or `http://host:port`", hint)
    };
    let text = at.text_or(|_| refuse("write the host: `localhost:4317`".to_owned()))?;
    let (scheme, endpoint) = Endpoint::parse_target(text).map_err(refuse).ok()?;
    Some((written.is_for(at, scheme), endpoint))
}
