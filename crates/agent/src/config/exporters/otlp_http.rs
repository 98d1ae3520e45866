//! `exporters.otlphttp`, or `otlp_http` by its newer name

use std::time::Duration;

use super::super::endpoint;
use super::super::later;
use super::super::read::{At, Keys};
use super::super::secret::Secret;
use super::super::service::Signal;
use super::delivery::{self, Compression, Retry};
use super::queue::{self, Queue};
use super::{headers, tls};

/// Sends OTLP over HTTP as protobuf, unencrypted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpHttpExporter {
    /// Where traces go: `traces_endpoint`, or `endpoint` and `/v1/traces`. There if a pipeline
    /// needs it, as are the next two.
    pub(crate) traces_url: Option<String>,
    /// Where metrics go.
    pub(crate) metrics_url: Option<String>,
    /// Where logs go.
    pub(crate) logs_url: Option<String>,
    /// Default gzip.
    pub(crate) compression: Compression,
    /// Headers of each request; names in lower case. Default none.
    pub(crate) headers: Vec<(String, Secret)>,
    /// How long a request may take. Default 30 s. `None` (0 in the file): as long as it takes.
    pub(crate) timeout: Option<Duration>,
    /// Default on.
    pub(crate) retry: Option<Retry>,
    /// Default on.
    pub(crate) queue: Option<Queue>,
}

// === impl OtlpHttpExporter ===

impl OtlpHttpExporter {
    /// Where items of `signal` go.
    pub(crate) fn url(&self, signal: Signal) -> Option<&str> {
        match signal {
            Signal::Traces => self.traces_url.as_deref(),
            Signal::Metrics => self.metrics_url.as_deref(),
            Signal::Logs => self.logs_url.as_deref(),
        }
    }
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> OtlpHttpExporter {
    at.section(later::HTTP_CLIENT, |keys| {
        let insecure = tls::read(keys);
        let base = keys.value("endpoint").map(|at| base_url(&at, insecure));
        let mut url = |name, path| match keys.value(name) {
            // A refused one is there all the same.
            Some(at) => Some(read_url(&at, insecure).unwrap_or_default()),
            None => base.as_ref().map(|base| format!("{base}{path}")),
        };
        let exporter = OtlpHttpExporter {
            traces_url: url("traces_endpoint", "/v1/traces"),
            metrics_url: url("metrics_endpoint", "/v1/metrics"),
            logs_url: url("logs_endpoint", "/v1/logs"),
            compression: delivery::read_compression(keys),
            headers: headers::read(keys),
            timeout: delivery::read_timeout(keys, Duration::from_secs(30)),
            retry: delivery::read_retry(keys),
            queue: queue::read(keys),
        };
        read_encoding(keys);
        if [Signal::Traces, Signal::Metrics, Signal::Logs]
            .iter()
            .all(|s| exporter.url(*s).is_none())
        {
            at.missing("endpoint");
        }
        exporter
    })
}

/// Reads `encoding`, which has one value so far.
fn read_encoding(keys: &mut Keys<'_>) {
    if let Some(at) = keys.value("encoding") {
        at.one_of(&[("proto", ())], later::ENCODINGS);
    }
}

/// Reads `endpoint`, to which the paths are appended: no slash at its end, no query.
fn base_url(at: &At<'_>, insecure: bool) -> String {
    let url = read_url(at, insecure).unwrap_or_default();
    if url.contains('?') {
        let hint = "write a query in `traces_endpoint`, `metrics_endpoint`, `logs_endpoint`";
        at.refuse_endpoint("be a URL without a query", hint.to_owned());
    }
    url.trim_end_matches('/').to_owned()
}

/// Reads a URL that is used as it is.
fn read_url(at: &At<'_>, insecure: bool) -> Option<String> {
    let refuse = |hint| at.refuse_endpoint("be a URL such as `http://localhost:4318`", hint);
    let text = at.text_or(|_| refuse("write the host: `http://localhost:4318`".to_owned()))?;
    let scheme = endpoint::check_url(text).map_err(refuse).ok()?;
    tls::require_plaintext(at, scheme, insecure);
    Some(text.to_owned())
}
