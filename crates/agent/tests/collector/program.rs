//! Either program, told by the same file.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::group::{CLOCK_WAITS_MORE, COLLECTOR_ONLY, Group};

/// Whose program it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Teleflow,
    Collector,
}

/// How long a program may take for what it is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Killed on drop, if it still runs.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

/// Killed on drop: also by a test that fails before the program serves.
#[derive(Debug)]
struct Process(Child);

// === impl Program ===

impl Program {
    /// Starts it; returns when it serves.
    pub(crate) async fn start(
        kind: Kind,
        program: &Path,
        group: &Group,
        wait: Duration,
        sink: SocketAddr,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
        };
        file("both.yaml", group.config());
        let mut command = Command::new(program);
        match kind {
            Kind::Teleflow => command.args(["run", "--config", "both.yaml"]),
            Kind::Collector => {
                file("more.yaml", COLLECTOR_ONLY);
                command.args(["--config", "both.yaml", "--config", "more.yaml"])
            }
        };
        let output = fs::File::create(folder.path().join("output")).unwrap();
        // Free a moment ago: the Collector does not tell which port it has chosen.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let child = command
            .env_remove("RUST_LOG")
            .env("RECEIVE", address.to_string())
            .env("WAIT", format!("{}s", wait.as_secs()))
            .env("CLOCK", format!("{}s", (wait + CLOCK_WAITS_MORE).as_secs()))
            .env("SINK", format!("http://{sink}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn();
        let mut program = Self { process: Process(child.unwrap()), address, folder };
        let served = timeout(PATIENCE, async {
            while TcpStream::connect(address).await.is_err() {
                let ended = program.process.0.try_wait().unwrap();
                assert!(ended.is_none(), "{ended:?}: {}", program.output());
                // bounded wait: it starts in a process of its own.
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(served.await.is_ok(), "it does not serve: {}", program.output());
        program
    }

    /// Sends requests one after the other.
    pub(crate) async fn send(&self, requests: &[Bytes]) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for request in requests {
            let request = Request::post("/v1/traces")
                .header("host", self.address.to_string())
                .header("content-type", "application/x-protobuf")
                .body(Full::new(request.clone()))
                .unwrap();
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}: {}", self.output());
            answer.into_body().collect().await.unwrap();
        }
    }

    /// Sends SIGTERM, waits until it has ended and returns what it said.
    pub(crate) async fn terminate(mut self) -> String {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let ended = timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.process.0.try_wait().unwrap() {
                    return status;
                }
                // bounded wait: it ends when it has delivered everything.
                sleep(Duration::from_millis(20)).await;
            }
        });
        let status = ended.await;
        let output = self.output();
        assert!(status.as_ref().is_ok_and(|status| status.success()), "{status:?}: {output}");
        output
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where the test has passed.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
