//! `exporters.otlphttp`, or `otlp_http` by its newer name

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::super::auth;
use super::super::endpoint::{self, Scheme};
use super::super::later;
use super::super::read::{At, Keys};
use super::super::reference::Reference;
use super::super::secret::Secret;
use super::super::service::Signal;
use super::delivery::{self, Compression, Retry};
use super::headers;
use super::queue::{self, Queue};
use super::tls::{self, TlsClient, Written};
use super::wrappers::{self, Wrappers};

/// Sends OTLP over HTTP as protobuf or JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtlpHttpExporter {
    /// Where traces go: `traces_endpoint`, or `endpoint` and `/v1/traces`. There if a pipeline
    /// needs it, as are the next two.
    pub(crate) traces_url: Option<String>,
    /// Where metrics go.
    pub(crate) metrics_url: Option<String>,
    /// Where logs go.
    pub(crate) logs_url: Option<String>,
    /// The file of a unix socket, on which all signals go to the usual paths: then there is no URL.
    pub(crate) socket: Option<PathBuf>,
    /// For URLs with `https://`.
    pub(crate) tls: TlsClient,
    /// `auth.authenticator`: what gives the credentials to send with. Default none.
    pub(crate) auth: Option<Reference>,
    /// `proxy_url`: a proxy on the way, which may hold a password. Default `None`: as the environment
    /// says.
    pub(crate) proxy: Option<Secret>,
    /// `idle_conn_timeout`: how long a connection is kept without a request. Default 90 s. `None` (0
    /// in the file): for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// `max_idle_conns_per_host`: how many of them to each host. Default 10 (0 in the file; the
    /// Collector: 2).
    pub(crate) max_idle_per_host: NonZeroUsize,
    /// Default protobuf.
    pub(crate) encoding: Encoding,
    /// Default gzip.
    pub(crate) compression: Compression,
    /// Headers of each request; names in lower case. Default none.
    pub(crate) headers: Vec<(String, Secret)>,
    /// How long a request may take. Default 30 s. `None` (0 in the file): as long as it takes.
    pub(crate) timeout: Option<Duration>,
    /// Default on.
    pub(crate) retry: Option<Retry>,
    /// Default none.
    pub(crate) wrappers: Wrappers,
    /// Default on.
    pub(crate) queue: Option<Queue>,
}

/// `encoding`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Encoding {
    /// `proto`
    #[default]
    Protobuf,
    /// `json`
    Json,
}

const DEFAULT_IDLE: NonZeroUsize = NonZeroUsize::new(10).expect("is not zero");

// === impl OtlpHttpExporter ===

impl OtlpHttpExporter {
    /// Whether it knows where items of `signal` go.
    pub(crate) fn sends(&self, signal: Signal) -> bool {
        let url = match signal {
            Signal::Traces => &self.traces_url,
            Signal::Metrics => &self.metrics_url,
            Signal::Logs => &self.logs_url,
        };
        url.is_some() || self.socket.is_some()
    }
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> OtlpHttpExporter {
    at.section(later::HTTP_CLIENT, |keys| {
        let mut otlp = read_sender(keys, Some(Retry::default()));
        otlp.queue = queue::read(keys, queue::consumers_for(&otlp.wrappers));
        otlp
    })
}

/// Reads the section of one of several destinations of an exporter, which has the queue. Without
/// retries of its own if it does not say so.
pub(super) fn read_inside(at: &At<'_>) -> OtlpHttpExporter {
    at.section(later::HTTP_CLIENT, |keys| {
        queue::refuse(keys);
        read_sender(keys, None)
    })
}

/// Reads everything but the queue.
fn read_sender(keys: &mut Keys<'_>, retry: Option<Retry>) -> OtlpHttpExporter {
    let written = tls::read(keys);
    let base = keys.value("endpoint").map(|at| read_base(&at, &written));
    let (socket, base) = match base {
        Some(Base::Socket(path)) => (Some(path), None),
        Some(Base::Url(url)) => (None, Some(url)),
        None => (None, None),
    };
    let mut url = |name, path| match keys.value(name) {
        Some(at) if socket.is_some() => {
            let message = format!("{} is written, and `endpoint` is a socket", at.path());
            at.report.error_with_hint(at.name_at(), message, "leave it out");
            None
        }
        // A refused one is there all the same.
        Some(at) => Some(read_url(&at, &written).unwrap_or_default()),
        None => base.as_ref().map(|base| format!("{base}{path}")),
    };
    let exporter = OtlpHttpExporter {
        traces_url: url("traces_endpoint", "/v1/traces"),
        metrics_url: url("metrics_endpoint", "/v1/metrics"),
        logs_url: url("logs_endpoint", "/v1/logs"),
        socket,
        auth: auth::read(keys),
        proxy: keys.value("proxy_url").and_then(|at| read_proxy(&at)),
        idle_timeout: delivery::read_limit(keys, "idle_conn_timeout", Duration::from_secs(90)),
        max_idle_per_host: keys
            .value("max_idle_conns_per_host")
            .and_then(|at| at.count(0))
            .and_then(NonZeroUsize::new)
            .unwrap_or(DEFAULT_IDLE),
        encoding: read_encoding(keys),
        compression: delivery::read_compression(keys),
        headers: headers::read(keys),
        timeout: delivery::read_timeout(keys, Duration::from_secs(30)),
        retry: delivery::read_retry(keys, retry),
        wrappers: wrappers::read(keys),
        queue: None,
        tls: written.tls,
    };
    let signals = [Signal::Traces, Signal::Metrics, Signal::Logs];
    if !signals.into_iter().any(|signal| exporter.sends(signal)) {
        keys.at().missing("endpoint");
    }
    exporter
}

fn read_encoding(keys: &mut Keys<'_>) -> Encoding {
    const NAMES: [(&str, Encoding); 2] = [("json", Encoding::Json), ("proto", Encoding::Protobuf)];
    keys.value("encoding").and_then(|at| at.one_of(&NAMES, later::NONE)).unwrap_or_default()
}

/// Reads `proxy_url`, which is never repeated. Empty text is none, as for the Collector.
fn read_proxy(at: &At<'_>) -> Option<Secret> {
    let text = at.secret_text().filter(|text| !text.is_empty())?;
    let rest = text.strip_prefix("http://");
    let host = rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
    if host.is_none_or(|host| endpoint::check_url(&format!("http://{host}")).is_err()) {
        at.refuse_secret("be the URL of a proxy such as `http://localhost:3128`");
        return None;
    }
    Some(Secret::new(text.to_owned()))
}

/// `endpoint`
enum Base {
    Url(String),
    Socket(PathBuf),
}

fn read_base(at: &At<'_>, written: &Written) -> Base {
    let text = at.text_or(|_| ()).unwrap_or_default();
    let Some(path) = text.strip_prefix("unix:") else { return Base::Url(base_url(at, written)) };
    written.is_for(at, Scheme::Unix);
    let path = endpoint::parse_socket(path);
    Base::Socket(path.unwrap_or_else(|hint| {
        at.refuse("be a URL, or `unix:` and the path of a socket", Some(hint));
        PathBuf::new()
    }))
}

/// Reads a URL to which the paths are appended: no slash at its end, no query.
fn base_url(at: &At<'_>, written: &Written) -> String {
    let url = read_url(at, written).unwrap_or_default();
    if url.contains('?') {
        let hint = "write a query in `traces_endpoint`, `metrics_endpoint`, `logs_endpoint`";
        at.refuse_endpoint("be a URL without a query", hint.to_owned());
    }
    url.trim_end_matches('/').to_owned()
}

/// Reads a URL that is used as it is.
fn read_url(at: &At<'_>, written: &Written) -> Option<String> {
    let refuse = |hint| at.refuse_endpoint("be a URL such as `http://localhost:4318`", hint);
    let text = at.text_or(|_| refuse("write the host: `http://localhost:4318`".to_owned()))?;
    let scheme = endpoint::check_url(text).map_err(refuse).ok()?;
    written.is_for(at, scheme);
    Some(text.to_owned())
}
