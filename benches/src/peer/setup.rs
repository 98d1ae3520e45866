//! How a gateway is told what to do: one text for all but for what concerns the gateway itself.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Gateway, Kind};
use crate::client::Protocol;
use crate::encoding::Encoding;

/// What a gateway does between receiver and exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batches.
    Pass,
    /// Samples whole traces, then batches.
    Tail,
}

/// What a gateway is told.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What it does.
    pub mode: Mode,
    /// How it compresses what it sends.
    pub encoding: Encoding,
    /// How much it may hold. `None` is as much as the other gateways, which have no such bounds.
    pub bounds: Option<Bounds>,
}

/// How much of our program's memory the telemetry may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The traces that are not decided yet.
    pub traces: u64,
    /// What waits to be sent.
    pub queue: u64,
}

/// Where a gateway listens and where it sends to.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Its OTLP/gRPC receiver.
    pub grpc: SocketAddr,
    /// Its OTLP/HTTP receiver.
    pub http: SocketAddr,
    /// The sink.
    pub sink: SocketAddr,
    /// Its admin endpoint, if it has one.
    pub admin: SocketAddr,
}

/// Traces are complete within the wait, and there is room for all that come meanwhile, and for
/// the decided ones, which the Collector keeps a record of. A tenth of the room, or a decision
/// cache, which empties it, makes no difference to its figures.
const TAIL_SAMPLING: &str = "  tail_sampling:
    decision_wait: 2s
    num_traces: 2000000
    policies:
      - name: errors
        type: status_code
        status_code: {status_codes: [ERROR]}
      - name: slow
        type: latency
        latency: {threshold_ms: 1000}
      - name: share
        type: probabilistic
        probabilistic: {sampling_percentage: 10}
";

// === impl Mode ===

impl Mode {
    /// In the names of cases and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Tail => "tail",
        }
    }
}

// === impl Setup ===

impl Setup {
    /// The most memory that telemetry may take in our program: what is being received, what waits
    /// for its lane, what is undecided, what waits to be sent, and what each of the `connections` may send before it is looked at.
    /// `None` where the traces and the queue are not bounded.
    pub fn bound(&self, protocol: Protocol, connections: usize) -> Option<u64> {
        let bounds = self.bounds?;
        let traces = if self.mode == Mode::Tail { bounds.traces } else { 0 };
        let ahead = match protocol {
            Protocol::Grpc => CONNECTION_WINDOW,
            Protocol::Http => HTTP1_BUFFER,
        };
        Some(IN_FLIGHT + IN_LANE + traces + bounds.queue + ahead * connections as u64)
    }
}

/// What our receiver holds at most of requests that are not handed on yet: its default.
const IN_FLIGHT: u64 = 256 << 20;

/// What waits at most in the lane of a signal for the sampler or the queue.
const IN_LANE: u64 = 64 << 20;

/// What our receiver lets a connection send before it reads on: HTTP/2's window, and the buffer of
/// HTTP/1.1.
const CONNECTION_WINDOW: u64 = 4 << 20;
const HTTP1_BUFFER: u64 = 64 << 10;

// === impl Addresses ===

impl Addresses {
    /// Where requests of a protocol go.
    pub const fn of(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Grpc => self.grpc,
            Protocol::Http => self.http,
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Whether it can do that at all.
    pub fn can(&self, setup: &Setup) -> bool {
        self.kind != Kind::Rotel || (setup.mode == Mode::Pass && setup.encoding != Encoding::Zstd)
    }

    /// Writes its configuration to `file` and returns how to start it.
    ///
    /// Go takes the number of its threads from the affinity that the process inherits, and no
    /// memory limit is set for its collector: GOMAXPROCS and GOMEMLIMIT are left alone.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn prepare(&self, setup: &Setup, at: &Addresses, file: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.env_remove("GOMAXPROCS").env_remove("GOMEMLIMIT").env_remove("GOGC");
        match self.kind {
            Kind::Teleflow => command.arg("run").arg("--config").arg(file),
            Kind::Collector => command.arg("--config").arg(file),
            Kind::Rotel => {
                let arguments = arguments(setup, at);
                fs::write(file, arguments.join("\n"))?;
                command.args(arguments);
                return Ok(command);
            }
        };
        fs::write(file, self.config(setup, at))?;
        Ok(command)
    }

    fn config(&self, setup: &Setup, at: &Addresses) -> String {
        let Addresses { grpc, http, sink, admin } = at;
        let compression = setup.encoding.name();
        // The Collector bounds traces by number alone; this is as little of a bound.
        let traces = setup.bounds.map_or(8 << 30, |bounds| bounds.traces);
        let (extensions, service, limit, limits) = match self.kind {
            Kind::Teleflow => (
                format!("extensions:\n  admin:\n    endpoint: {admin}\n\n"),
                "  extensions: [admin]\n  telemetry:\n",
                format!("    max_bytes: {traces}\n"),
                // The others have none.
                "    limits: {max_connections: 100000}\n",
            ),
            // Its own metrics would open a port and cost it time.
            _ => (String::new(), "  telemetry:\n    metrics: {level: none}\n", String::new(), ""),
        };
        let (sampling, processors) = match setup.mode {
            Mode::Pass => (String::new(), "[batch]"),
            Mode::Tail => (format!("{TAIL_SAMPLING}{limit}"), "[tail_sampling, batch]"),
        };
        let queue = match setup.bounds {
            Some(bounds) => format!("sizer: bytes\n      queue_size: {}", bounds.queue),
            None => "queue_size: 1000".to_owned(),
        };
        format!(
            "\
{extensions}receivers:
  otlp:
    protocols:
      grpc:
        endpoint: {grpc}
        max_recv_msg_size_mib: 64
      http:
        endpoint: {http}
{limits}
processors:
{sampling}  batch:
    send_batch_size: 8192
    timeout: 200ms

exporters:
  otlp:
    endpoint: {sink}
    compression: {compression}
    timeout: 30s
    tls: {{insecure: true}}
    sending_queue:
      enabled: true
      num_consumers: 10
      {queue}
      block_on_overflow: true

service:
{service}    logs: {{level: warn}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: {processors}
      exporters: [otlp]
"
        )
    }
}

/// Rotel's configuration, which batches by itself as the others are told to.
fn arguments(setup: &Setup, at: &Addresses) -> Vec<String> {
    let Addresses { grpc, http, sink, .. } = at;
    let compression = setup.encoding.name();
    [
        "start".to_owned(),
        format!("--otlp-grpc-endpoint={grpc}"),
        format!("--otlp-http-endpoint={http}"),
        "--otlp-grpc-max-recv-msg-size-mib=64".to_owned(),
        "--exporter=otlp".to_owned(),
        format!("--otlp-exporter-endpoint=http://{sink}"),
        format!("--otlp-exporter-compression={compression}"),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn config(kind: Kind, setup: Setup) -> String {
        let gateway = Gateway { kind, name: String::new(), program: PathBuf::new() };
        let address = SocketAddr::from(([127, 0, 0, 1], 4317));
        let at = Addresses { grpc: address, http: address, sink: address, admin: address };
        gateway.config(&setup, &at)
    }

    #[test]
    fn sampling_stands_among_the_processors() {
        for kind in [Kind::Teleflow, Kind::Collector] {
            let setup = Setup { mode: Mode::Tail, encoding: Encoding::None, bounds: None };
            let tail = config(kind, setup);
            assert!(tail.contains("\nprocessors:\n  tail_sampling:\n    decision_wait"), "{tail}");
            assert!(tail.contains("\n  batch:\n"), "{tail}");
            let setup = Setup { mode: Mode::Pass, ..setup };
            assert!(!config(kind, setup).contains("tail_sampling"));
        }
    }

    #[test]
    fn bounds_are_in_the_file_and_in_the_sum() {
        let bounds = Some(Bounds { traces: 1000, queue: 200 });
        let setup = Setup { mode: Mode::Tail, encoding: Encoding::Gzip, bounds };
        let text = config(Kind::Teleflow, setup);
        for line in ["    max_bytes: 1000\n", "      queue_size: 200\n", "compression: gzip"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let grpc = |setup: Setup| setup.bound(Protocol::Grpc, 2);
        assert_eq!(grpc(setup), Some(IN_FLIGHT + IN_LANE + 1200 + 2 * CONNECTION_WINDOW));
        let pass = Setup { mode: Mode::Pass, ..setup };
        assert_eq!(grpc(pass), Some(IN_FLIGHT + IN_LANE + 200 + 2 * CONNECTION_WINDOW));
        assert_eq!(
            pass.bound(Protocol::Http, 3),
            Some(IN_FLIGHT + IN_LANE + 200 + 3 * HTTP1_BUFFER)
        );
        assert_eq!(grpc(Setup { bounds: None, ..setup }), None);
    }
}
