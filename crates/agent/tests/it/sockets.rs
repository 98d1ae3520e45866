//! One gateway sends to another through unix sockets.

#![cfg(unix)]

use teleflow::Signal;

use crate::books::Books;
use crate::program::Program;
use crate::secured::{send_all, service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_through_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let receiver = Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
  otlp/socket:
    protocols:
      grpc: {{ transport: unix, endpoint: {path}/grpc.sock }}
      http: {{ transport: unix, endpoint: {path}/http.sock }}
exporters:
  debug:
{}",
            service("debug", "debug").replace("[otlp]", "[otlp, otlp/socket]")
        ),
        &[],
    );
    receiver.says(&format!("otlp/socket takes OTLP/gRPC on unix:{path}/grpc.sock\n"));
    receiver.says(&format!("otlp/socket takes OTLP/HTTP on unix:{path}/http.sock\n"));
    let sender = Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp: {{ endpoint: 'unix://{path}/grpc.sock' }}
  otlphttp: {{ endpoint: 'unix://{path}/http.sock' }}
{}",
            service("otlp", "otlphttp")
        ),
        &[],
    );
    let sent = send_all(&sender).await;
    let (sender, receiver) = (sender.terminate(), receiver.terminate());
    let (from, to) = (Books::parse(&sender.stdout), Books::parse(&receiver.stdout));
    for signal in Signal::ALL {
        let (from, to) = (from.of(signal.name()), to.of(signal.name()));
        let items = sent[signal.index()];
        assert_eq!((from.accepted, from.delivered), (items, items), "{from:?}");
        assert_eq!((to.accepted, to.delivered), (items, items), "{to:?}");
    }
}
