//! What the parts of a running gateway count, as `/metrics` says it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use teleflow::Signal;

use crate::admin::{CONFIG, Metrics, get, send};
use crate::malformed::client::{Client, post};
use crate::program::Program;
use crate::shutdown::forwarding;
use crate::shutdown::sink::Sink;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until it is so.
async fn metrics(program: &Program, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
    let patience = Instant::now() + PATIENCE;
    loop {
        let metrics = Metrics::of(&get(program, "/metrics").await);
        if is_so(&metrics) {
            return metrics;
        }
        // bounded wait: what is counted happens in another process.
        assert!(Instant::now() < patience, "{metrics:?}");
    }
}

#[tokio::test]
async fn what_is_sent_is_counted_as_requests_bytes_connections_and_batches() {
    let sink = Sink::open().await;
    let program = Program::start(&forwarding(sink.address, "", "batch"), &[]);
    let items = send(&program, Signal::Logs, 1).await;
    let sent = |metrics: &Metrics| metrics.sum("otelcol_exporter_sent_log_records_total", &[]);
    let metrics = metrics(&program, |metrics| sent(metrics) == items).await;

    let otlp = [("exporter", "otlp")];
    let of = |what: &str| metrics.sum(&format!("teleflow_exporter_{what}_total"), &otlp);
    assert_eq!((of("requests"), of("attempts"), of("retries")), (1, 1, 0));
    // Nothing is compressed here, and nothing encoded anew.
    assert_eq!((of("wire_bytes"), of("compressed_requests")), (of("bytes"), 0));
    assert!(of("bytes") > items, "{}", of("bytes"));
    let connections = |event| {
        let labels = [("exporter", "otlp"), ("event", event)];
        metrics.sum("teleflow_exporter_connection_events_total", &labels)
    };
    assert_eq!(["connected", "failed", "lost", "closed"].map(connections), [1, 0, 0, 0]);

    let logs = [("pipeline", "logs"), ("processor", "batch")];
    assert_eq!(metrics.sum("teleflow_batch_items_total", &logs), items);
    assert_eq!(metrics.sum("teleflow_batch_held_items", &logs), 0);
    assert_eq!(metrics.sum("teleflow_batch_batches_total", &logs), 1);
    assert_eq!(metrics.sum("otelcol_processor_batch_timeout_trigger_send_total", &logs), 1);

    let received = [("transport", "grpc"), ("data_type", "logs")];
    assert!(metrics.sum("teleflow_receiver_bytes_total", &received) >= of("bytes"));
    let accepted = [("event", "accepted")];
    assert_eq!(metrics.sum("teleflow_receiver_connection_events_total", &accepted), 1);
    assert!(program.terminate().status.success());
}

#[tokio::test]
async fn a_destination_that_is_away_is_seen_in_what_failed() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Program::start(&forwarding(away, "", "batch"), &["--drain-timeout", "1ms"]);
    let items = send(&program, Signal::Logs, 1).await;
    let failed = [("exporter", "otlp"), ("event", "failed")];
    let failed =
        |metrics: &Metrics| metrics.sum("teleflow_exporter_connection_events_total", &failed) > 0;
    let metrics = metrics(&program, failed).await;
    let otlp = [("exporter", "otlp")];
    assert!(metrics.sum("teleflow_exporter_attempts_total", &otlp) > 0);
    assert_eq!(metrics.sum("teleflow_exporter_retries_given_up_total", &otlp), 0);
    // It waits for the next attempt, and is in the books.
    assert_eq!(metrics.sum("teleflow_exporter_queue_items", &otlp), items);
    assert_eq!(metrics.sum("teleflow_items_held", &[("pipeline", "logs")]), items);
    assert!(program.terminate().status.success());
}

#[tokio::test]
async fn what_clients_send_makes_no_new_series() {
    let program = Program::start(CONFIG, &[]);
    let before = Metrics::of(&get(&program, "/metrics").await).series();
    for seed in 1..50 {
        let name = format!("x-{seed}");
        let path = format!("/v1/{seed}?{name}");
        let headers = [(name.as_str(), "1"), ("user-agent", path.as_str())];
        let unrouted = Client::http1(program.http()).await.send(post(&path, &headers, "")).await;
        assert_eq!(unrouted.unwrap().status.as_u16(), 404);
        send(&program, Signal::Traces, seed).await;
    }
    let after = Metrics::of(&get(&program, "/metrics").await);
    assert_eq!(after.sum("teleflow_receiver_unrouted_requests_total", &[]), 49);
    assert_eq!(after.series(), before);
    assert!(program.terminate().status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_between_an_exporter_and_its_destinations_is_counted() {
    let sinks = [Sink::open().await, Sink::open().await];
    let program = Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp:
    endpoint: http://{sink}
    compression: none
    circuit_breaker:
    adaptive_concurrency: {{ max_concurrency_limit: 4 }}
    rate_limit: {{ unit: items, per_second: 1_000_000 }}
  loadbalancing:
    protocol: {{ otlp: {{ compression: none, tls: {{ insecure: true }} }} }}
    resolver: {{ static: {{ hostnames: ['{sink}', '{other}'] }} }}
  failover:
    destinations:
      - otlp: {{ compression: none, endpoint: 'http://{sink}' }}
      - otlp: {{ compression: none, endpoint: 'http://{other}' }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], exporters: [otlp, loadbalancing, failover] }}
",
            sink = sinks[0].address,
            other = sinks[1].address
        ),
        &[],
    );
    let mut items = 0;
    for seed in 1..20 {
        items += send(&program, Signal::Traces, seed).await;
    }
    let sent = |metrics: &Metrics| metrics.sum("otelcol_exporter_sent_spans_total", &[]);
    let metrics = metrics(&program, |metrics| sent(metrics) == 3 * items).await;

    let otlp = ("exporter", "otlp");
    let of = |name: &str, labels: &[_]| metrics.sum(&format!("teleflow_exporter_{name}"), labels);
    assert_eq!(of("circuit_breakers", &[otlp, ("state", "closed")]), 1);
    assert_eq!(of("circuit_breakers", &[otlp, ("state", "open")]), 0);
    let good = [otlp, ("outcome", "success")];
    assert_eq!(of("circuit_breaker_requests_total", &good), of("requests_total", &[otlp]));
    assert!((1..=4).contains(&of("concurrency_limit", &[otlp])));
    assert_eq!(of("rate_limit_waits_total", &[otlp]), 0);

    let balanced = [("exporter", "loadbalancing")];
    assert_eq!(metrics.sum("otelcol_loadbalancer_num_backends", &balanced), 2);
    assert_eq!(of("endpoint_items_total", &balanced), items);
    assert_eq!(of("endpoint_out", &balanced), 0);
    // Each endpoint has an exporter of its own, and they are added.
    assert_eq!(of("requests_total", &balanced), of("endpoint_requests_total", &balanced));

    let failover = |destination| [("exporter", "failover"), ("destination", destination)];
    let requests = of("requests_total", &[("exporter", "failover")]);
    assert_eq!(of("failover_requests_total", &failover("0")), requests);
    assert!(requests > 10, "{requests}");
    assert_eq!(of("failover_requests_total", &failover("1")), 0);
    for exporter in ["otlp", "loadbalancing", "failover"] {
        assert_eq!(of("failing_seconds", &[("exporter", exporter)]), 0);
    }
    assert!(program.terminate().status.success());
}
