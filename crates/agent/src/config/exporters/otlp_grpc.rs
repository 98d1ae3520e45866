//! `exporters.otlp`, or `otlp_grpc` by its newer name

use std::time::Duration;

use super::super::endpoint::Endpoint;
use super::super::later;
use super::super::read::At;
use super::super::secret::Secret;
use super::delivery::{self, Compression, Retry};
use super::queue::{self, Queue};
use super::{headers, tls};

/// Sends OTLP over gRPC, unencrypted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpGrpcExporter {
    /// Where to. Has to be written.
    pub(crate) endpoint: Endpoint,
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
        let insecure = tls::read(keys);
        let endpoint = keys.require("endpoint").and_then(|at| read_endpoint(&at, insecure));
        OtlpGrpcExporter {
            endpoint: endpoint.unwrap_or_else(|| Endpoint { host: String::new(), port: 0 }),
            compression: delivery::read_compression(keys),
            headers: headers::read(keys),
            timeout: delivery::read_timeout(keys, Duration::from_secs(5)),
            retry: delivery::read_retry(keys),
            queue: queue::read(keys),
        }
    })
}

fn read_endpoint(at: &At<'_>, insecure: bool) -> Option<Endpoint> {
    let refuse = |hint| at.refuse_endpoint("be `host:port` or `http://host:port`", hint);
    let text = at.text_or(|_| refuse("write the host: `localhost:4317`".to_owned()))?;
    let (scheme, endpoint) = Endpoint::parse_target(text).map_err(refuse).ok()?;
    tls::require_plaintext(at, scheme, insecure);
    Some(endpoint)
}
