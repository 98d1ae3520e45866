//! What waits for a backend that is away is there after a restart.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use teleflow::Signal;

use crate::books::Books;
use crate::program::Program;
use crate::secured::{send_all, service};
use crate::shutdown::sink::Sink;

fn config(folder: &Path, backend: SocketAddr) -> String {
    format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp:
    endpoint: http://{backend}
    compression: none
    retry_on_failure: {{ initial_interval: 100ms }}
    sending_queue: {{ storage: file_storage, sizer: items, queue_size: 1_000_000 }}
{}",
        service("otlp", "otlp").replace("[admin]", "[admin, file_storage]").replace(
            "extensions:\n  admin",
            &format!(
                "extensions:\n  file_storage: {{ directory: {}, create_directory: true }}\n  admin",
                folder.display()
            )
        )
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_backend_did_not_get_a_live_one_gets_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let queues = folder.path().join("queues");
    // A port that nobody listens on.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Program::start(&config(&queues, nobody), &[]);
    let sent = send_all(&program).await;
    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        let items = sent[signal.index()];
        assert!(items > 0);
        assert_eq!((row.accepted, row.held, row.dropped), (items, items, 0), "{row:?}");
    }

    let sink = Sink::open().await;
    let program = Program::start(&config(&queues, sink.address), &[]);
    // bounded wait: another process reads the disk and sends.
    let patience = Instant::now() + Duration::from_secs(60);
    while Signal::ALL.map(|signal| sink.items(signal)) != sent {
        assert!(Instant::now() < patience, "{sent:?} were sent");
        tokio::task::yield_now().await;
    }
    let ended = program.terminate();
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        let items = sent[signal.index()];
        assert_eq!((row.accepted, row.delivered, row.held), (items, items, 0), "{row:?}");
    }

    // What was delivered is not sent again.
    let ended = Program::start(&config(&queues, sink.address), &[]).terminate();
    let books = Books::parse(&ended.stdout);
    assert_eq!(Signal::ALL.map(|signal| books.of(signal.name()).accepted), [0; 3]);
    assert_eq!(Signal::ALL.map(|signal| sink.items(signal)), sent);
}

#[test]
fn a_directory_that_is_not_there_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = "127.0.0.1:1".parse().unwrap();
    let config = config(Path::new("/no/where"), nobody).replace("create_directory: true", "");
    let config = config.replace(", }", " }");
    std::fs::write(folder.path().join("teleflow.yaml"), config).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_teleflow"))
        .args(["run", "--config", "teleflow.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let expected = "exporters.otlp: extensions.file_storage.directory: there is no folder /no/where; \
                    `create_directory: true` makes it";
    assert!(said.contains(expected), "{said}");
}
