//! Exporters of several destinations, and what is between an exporter and its destination.

use std::net::TcpListener;

use teleflow::Signal;

use crate::books::Books;
use crate::program::Program;
use crate::secured::{all_arrives, send_all, service};

/// A gateway that counts what it gets.
fn receiver() -> Program {
    Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  debug:
{}",
            service("debug", "debug")
        ),
        &[],
    )
}

/// A gateway with one exporter of this configuration.
fn sender(exporter: &str, config: &str) -> Program {
    Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  {exporter}:
    {config}
{}",
            service(exporter, exporter)
        ),
        &[],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_spread_over_servers_and_everything_arrives_once() {
    let receivers = [receiver(), receiver()];
    let config = format!(
        "{{ protocol: {{ otlp: {{ tls: {{ insecure: true }} }} }}, resolver: {{ static: {{ hostnames: ['{}', '{}'] }} }} }}",
        receivers[0].grpc(),
        receivers[1].grpc()
    );
    let sender = sender("loadbalancing", &config);
    let sent = send_all(&sender).await;
    let from = Books::parse(&sender.terminate().stdout);
    let to = receivers.map(|receiver| Books::parse(&receiver.terminate().stdout));
    for signal in Signal::ALL {
        let items = sent[signal.index()];
        let from = from.of(signal.name());
        assert_eq!((from.accepted, from.delivered), (items, items), "{from:?}");
        let to = to.each_ref().map(|books| books.of(signal.name()).accepted);
        assert_eq!(to.iter().sum::<u64>(), items, "{to:?}");
        assert!(to.iter().all(|&items| items > 0), "{signal:?} {to:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_first_destination_is_away_the_second_gets_everything() {
    let receiver = receiver();
    // A port that nobody listens on.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "destinations: [{{ otlp: {{ endpoint: 'http://{nobody}' }} }}, {{ otlphttp: {{ endpoint: 'http://{}' }} }}]",
        receiver.http()
    );
    all_arrives(sender("failover", &config), receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_a_limit_and_a_rate_let_everything_through_in_the_end() {
    let receiver = receiver();
    let config = format!(
        "{{ endpoint: 'http://{}', circuit_breaker: , adaptive_concurrency: {{ max_concurrency_limit: 4 }}, \
         rate_limit: {{ unit: items, per_second: 1_000_000 }}, retry_on_failure: {{ budget: {{}} }} }}",
        receiver.grpc()
    );
    all_arrives(sender("otlp", &config), receiver).await;
}
