//! One gateway sends to another through unix sockets.

#![cfg(unix)]

use crate::program::Program;
use crate::secured::{all_arrives, service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_socket_serves_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let of_both = format!("{{ transport: unix, endpoint: {path}/otlp.sock }}");
    let receiver = receiver(&of_both, &of_both);
    through(receiver, &format!("unix://{path}/otlp.sock"), &format!("unix://{path}/otlp.sock"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_through_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let receiver = receiver(
        &format!("{{ transport: unix, endpoint: {path}/grpc.sock }}"),
        &format!("{{ transport: unix, endpoint: {path}/http.sock }}"),
    );
    receiver.says(&format!("otlp/socket takes OTLP/gRPC on unix:{path}/grpc.sock\n"));
    receiver.says(&format!("otlp/socket takes OTLP/HTTP on unix:{path}/http.sock\n"));
    through(receiver, &format!("unix://{path}/grpc.sock"), &format!("unix://{path}/http.sock"))
        .await;
}

/// A gateway that takes OTLP by sockets as well.
fn receiver(grpc: &str, http: &str) -> Program {
    Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
  otlp/socket: {{ protocols: {{ grpc: {grpc}, http: {http} }} }}
exporters:
  debug:
{}",
            service("debug", "debug").replace("[otlp]", "[otlp, otlp/socket]")
        ),
        &[],
    )
}

/// Sends some of each signal to `receiver` by another gateway.
async fn through(receiver: Program, grpc: &str, http: &str) {
    let sender = Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp: {{ endpoint: '{grpc}' }}
  otlphttp: {{ endpoint: '{http}' }}
{}",
            service("otlp", "otlphttp")
        ),
        &[],
    );
    all_arrives(sender, receiver).await;
}
