//! The tail sampler at work in the real program: traffic as shops have it, of numbered traces each
//! of which comes in several requests, and a sink that knows which of their spans it has.

mod arrived;
mod bounds;
mod dry;
mod on_disk;
mod reloads;
mod traffic;

pub(crate) use self::arrived::Arrived;

use std::time::{Duration, Instant};

use teleflow::Signal;

use crate::admin::{Metrics, get};
use crate::books::Books;
use crate::program::Program;
use crate::shutdown::sink::Sink;

/// How long something may take that happens in another process.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of a gateway that samples and sends to `sink`.
///
/// It has room for so little on the way in and on the way out that what is held for decisions is
/// most of what there is.
fn config(sink: std::net::SocketAddr, sampling: &str) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:0, max_recv_msg_size_mib: 1 }}
      http: {{ endpoint: 127.0.0.1:0, max_request_body_size: 1MiB }}
    limits: {{ max_in_flight_bytes: 4MiB }}
processors:
  batch:
  tail_sampling: {{ record_policy: true, {sampling} }}
exporters:
  otlp:
    endpoint: http://{sink}
    compression: none
    timeout: 0
    sending_queue: {{ block_on_overflow: true, sizer: bytes, queue_size: 4_194_304 }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], processors: [tail_sampling, batch], exporters: [otlp] }}
"
    )
}

const ERRORS: &str = "{ name: errors, type: status_code, status_code: { status_codes: [ERROR] } }";
const SLOW: &str = "{ name: slow, type: latency, latency: { threshold_ms: 1000 } }";

/// Ends a gateway that was sent so many spans: its books balance, and `sink` has what they say. Returns
/// how many were left out.
#[track_caller]
fn end(program: Program, sink: &Sink, spans: u64) -> u64 {
    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    let row = books.of("traces");
    assert_eq!(row.accepted, spans, "{row:?}");
    assert_eq!(row.delivered, sink.items(Signal::Traces), "{row:?}");
    assert_eq!((row.rejected, row.dropped, row.held), (0, 0, 0), "{row:?}");
    assert_eq!(row.accepted, row.delivered + row.sampled_out, "{row:?}");
    row.sampled_out
}

/// Asks for metrics until they are as they should be.
pub(crate) async fn metrics_when(program: &Program, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
    let patience = Instant::now() + PATIENCE;
    loop {
        let metrics = Metrics::of(&get(program, "/metrics").await);
        if is_so(&metrics) {
            return metrics;
        }
        // bounded wait: what is counted happens in another process.
        assert!(Instant::now() < patience, "not within {PATIENCE:?}: {metrics:#?}");
        tokio::task::yield_now().await;
    }
}
