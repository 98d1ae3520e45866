//! `kill -9`: what a sender was told is taken is on disk, and arrives after a later start.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use teleflow::exporter::{
    Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter, QueueConfig,
};
use teleflow::{LaneConfig, Payload, Pipeline, Signal, receiver};
use teleflow_testkit::sink::Sink;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::books::Books;
use crate::program::Program;

/// Kills on every run of the tests; `TELEFLOW_KILLS` asks for more.
const KILLS: u32 = 20;

/// How long the backend may hear nothing while something is missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// At most so many requests are answered before a kill.
const BEFORE_KILL: u32 = 60;

/// A gateway that takes requests when they are on disk, as durable as can be.
fn config(storage: &Path, backend: SocketAddr) -> String {
    format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp:
    endpoint: http://{backend}
    retry_on_failure: {{ initial_interval: 10ms, max_interval: 50ms }}
    sending_queue: {{ storage: file_storage, num_consumers: 3 }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
  file_storage: {{ directory: {}, sync: always }}
service:
  extensions: [admin, file_storage]
  pipelines:
    logs: {{ receivers: [otlp], exporters: [otlp] }}
",
        storage.display()
    )
}

/// Where everything has to arrive in the end.
struct Backend {
    pipeline: Pipeline,
    sink: Sink,
}

/// What all senders of all runs know.
#[derive(Debug, Default)]
struct Senders {
    next: AtomicU64,
    answered: Mutex<BTreeSet<u64>>,
}

// === impl Backend ===

impl Backend {
    async fn start(sink: Sink) -> Self {
        let config = receiver::Config {
            grpc: Some(receiver::GrpcConfig {
                endpoint: "127.0.0.1:0".into(),
                ..receiver::GrpcConfig::default()
            }),
            http: None,
            ..receiver::Config::default()
        };
        let lane = LaneConfig::new("logs", Signal::Logs).from("otlp").to("sink");
        let builder = Pipeline::builder().receiver("otlp", config).wait_for_result("otlp");
        let builder = builder.exporter("sink", sink.clone(), QueueConfig::default()).lane(lane);
        Self { pipeline: builder.start().await.unwrap(), sink }
    }

    fn address(&self) -> SocketAddr {
        self.pipeline.grpc_addr("otlp").unwrap()
    }

    /// How often each record has arrived.
    fn arrived(&self) -> BTreeMap<u64, u32> {
        let mut arrived = BTreeMap::new();
        for payload in self.sink.taken() {
            let request = ExportLogsServiceRequest::decode(payload.to_bytes()).unwrap();
            let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
            for record in scopes.flat_map(|scope| &scope.log_records) {
                let Some(Value::IntValue(id)) = record.body.as_ref().and_then(|b| b.value.clone())
                else {
                    panic!("a record that nobody sent: {record:?}")
                };
                *arrived.entry(id as u64).or_default() += 1;
            }
        }
        arrived
    }
}

// === impl Senders ===

impl Senders {
    /// Sends one record after the other until one is not taken.
    async fn send(&self, client: impl Exporter, answered: &Semaphore) {
        loop {
            let id = self.next.fetch_add(1, SeqCst);
            if client.export(record(id)).await.is_err() {
                return;
            }
            self.answered.lock().unwrap().insert(id);
            answered.add_permits(1);
        }
    }
}

fn record(id: u64) -> Payload {
    let value = Value::IntValue(id as i64);
    let record = LogRecord { body: Some(AnyValue { value: Some(value) }), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![resource] };
    Payload::parse(Signal::Logs, request.encode_to_vec().into()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "the figures are for who asks for many kills")]
async fn a_gateway_that_is_killed_at_random_loses_nothing_it_has_answered_for() {
    let kills = env::var("TELEFLOW_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let storage = tempfile::tempdir().unwrap();
    // The one of the first half answers nothing, the other takes what comes.
    let backends = [Backend::start(Sink::closed()).await, Backend::start(Sink::new()).await];
    let senders = Arc::new(Senders::default());
    let mut rng = fastrand::Rng::with_seed(7);
    for kill in 0..kills {
        let backend = &backends[usize::from(kill >= kills / 2)];
        let program = Program::start(&config(storage.path(), backend.address()), &[]);
        let answered = Arc::new(Semaphore::new(0));
        let mut clients = JoinSet::new();
        for grpc in [true, true, false, false] {
            let (senders, answered) = (Arc::clone(&senders), Arc::clone(&answered));
            let (grpc_at, http_at) = (program.grpc(), program.http());
            clients.spawn(async move {
                if grpc {
                    let config = GrpcConfig::new(format!("http://{grpc_at}"));
                    senders.send(GrpcExporter::new(config).unwrap(), &answered).await;
                } else {
                    let config = HttpConfig::new(format!("http://{http_at}"));
                    senders.send(HttpExporter::new(config).unwrap(), &answered).await;
                }
            });
        }
        // In the midst of what the clients are sending.
        let _ = answered.acquire_many(rng.u32(1..BEFORE_KILL)).await.unwrap();
        drop(program);
        clients.join_all().await;
    }

    let [_, backend] = &backends;
    let program = Program::start(&config(storage.path(), backend.address()), &[]);
    let answered = senders.answered.lock().unwrap().clone();
    let (mut items, mut deadline) = (0, Instant::now() + PATIENCE);
    // bounded wait: what piled up arrives from another process; as long as more comes, it goes on.
    let arrived = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = backend.sink.items(Signal::Logs);
        if now > items {
            (items, deadline) = (now, Instant::now() + PATIENCE);
            continue;
        }
        let arrived = backend.arrived();
        let missing = answered.iter().filter(|id| !arrived.contains_key(id)).count();
        if missing == 0 {
            break arrived;
        }
        assert!(Instant::now() < deadline, "{missing} of {} are missing", answered.len());
    };
    let sent = senders.next.load(SeqCst);
    assert!(arrived.keys().all(|id| *id < sent), "what nobody has sent");
    let ended = program.terminate();
    let books = Books::parse(&ended.stdout);
    let row = books.of("logs");
    assert_eq!((row.dropped, row.rejected, row.held), (0, 0, 0), "{row:?}");
    for backend in &backends {
        assert!(backend.pipeline.books().balance(), "{}", backend.pipeline.books());
    }
    let again: u32 = arrived.values().map(|times| times - 1).sum();
    let answered = answered.len();
    eprintln!("{kills} kills, {answered} of {sent} answered, none lost, {again} arrived again");
}
