//! What attackers have done to programs of this kind, done to the real one.
//!
//! `docs/attacks.md` lists each advisory with its test. Memory and processor time are those of the
//! program, as the operating system tells them; whoever behaves is served while an attack goes on.

mod bombs;
mod files;
mod floods;
mod labels;
mod odd;
mod overload;
mod secrets;

use prost::Message;
use teleflow::Signal;
use teleflow_testkit::telemetry::Telemetry;

use crate::malformed::client::{Client, post};
use crate::program::{Program, skipped};

/// Everything goes into a store.
const CONFIG: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 }, http: { endpoint: 127.0.0.1:0 } } }
processors:
  batch:
exporters:
  sqlite: { path: attacked.db, sending_queue: { block_on_overflow: true } }
extensions:
  admin: { endpoint: 127.0.0.1:0 }
service:
  extensions: [admin]
  pipelines:
    traces: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
    metrics: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
    logs: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
";

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

pub(crate) const MIB: u64 = 1024 * 1024;

/// What the program has taken so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The most that was resident since the last look, in bytes.
    peak: u64,
    /// What is resident now, in bytes.
    pub(crate) resident: u64,
    /// Processor time, in the system's ticks: only good for comparing.
    ticks: u64,
}

// === impl Usage ===

impl Usage {
    /// `None` where there is no `/proc`: the rest of the test is worth it there too.
    pub(crate) fn of(program: &Program) -> Option<Self> {
        let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", program.id())).ok();
        let (Some(status), Some(stat)) = (read("status"), read("stat")) else {
            skipped("memory and processor time under attacks", "there is no /proc");
            return None;
        };
        let bytes = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
        };
        // Behind the name, which is in brackets: the 14th and the 15th field are user and system.
        let (_, stat) = stat.rsplit_once(')').unwrap();
        // From here on the peak is counted anew; where that cannot be, it is that of the whole life.
        _ = std::fs::write(format!("/proc/{}/clear_refs", program.id()), "5");
        let ticks = stat.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap());
        Some(Self { peak: bytes("VmHWM:"), resident: bytes("VmRSS:"), ticks: ticks.sum() })
    }

    /// Fails if since `before`, which was the last look, the program has taken `allowed` bytes more
    /// than it had then. Returns how many it was, where that can be known.
    #[track_caller]
    pub(crate) fn grew_by_no_more_than(
        allowed: u64,
        before: Option<Self>,
        program: &Program,
    ) -> Option<u64> {
        let (Some(before), Some(after)) = (before, Self::of(program)) else { return None };
        let growth = after.peak.saturating_sub(before.resident);
        assert!(growth <= allowed, "{growth} bytes more: {before:?}, {after:?}");
        Some(growth)
    }
}

/// A request that is taken.
fn telemetry(signal: Signal, seed: u64) -> Vec<u8> {
    let mut telemetry = Telemetry::new(seed);
    match signal {
        Signal::Traces => telemetry.traces(10).encode_to_vec(),
        Signal::Metrics => telemetry.metrics(10).encode_to_vec(),
        Signal::Logs => telemetry.logs(10).encode_to_vec(),
    }
}

/// Somebody who behaves, over either protocol.
struct Bystander {
    grpc: Client,
    http: Client,
}

// === impl Bystander ===

impl Bystander {
    async fn of(program: &Program) -> Self {
        let (grpc, http) = (program.grpc(), program.http());
        Self { grpc: Client::http2(grpc).await, http: Client::http1(http).await }
    }

    /// Sends a request over each protocol, and fails if it is not taken.
    async fn is_served(&mut self) {
        // One record, and nothing in it: what is stored of it is not what is measured.
        let request = vec![0x0a, 4, 0x12, 2, 0x12, 0];
        let path = Signal::Logs.grpc_path();
        let framed = crate::malformed::client::frame(0, &request);
        let answer = self.grpc.send(post(path, &GRPC, framed)).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
        let answer = self.http.send(post("/v1/logs", &[PROTOBUF], request)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
