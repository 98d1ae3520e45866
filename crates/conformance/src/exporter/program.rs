//! A program as the exporter: it is told by variables what to send.

use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Program;
use super::case::{Items, Run, Setup};
use crate::server::{Attempt, Server};

/// How long it may run.
const PATIENCE: Duration = Duration::from_secs(90);

// === impl Program ===

impl Program {
    pub(super) async fn run(&self, setup: &Setup) -> Result<Run, String> {
        self.try_run(setup).await.map_err(|error| format!("the program: {error}"))
    }

    async fn try_run(&self, setup: &Setup) -> io::Result<Run> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mut listener, mut server) = (Some(listener), None);
        if setup.late.is_zero() {
            server = listener
                .take()
                .map(|listener| Server::start(listener, setup.protocol, setup.answers()));
        }
        drop(listener);

        let Some((program, arguments)) = self.command.split_first() else {
            return Err(io::Error::other("no command"));
        };
        let (items, bytes) = match setup.items {
            Items::Plain(count) => (count, 0),
            Items::Rich => (1, 0),
            Items::Large(bytes) => (1, bytes),
            Items::Empty => (0, 0),
        };
        let endpoint = format!("http://{address}");
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_ascii_uppercase();
            if text.starts_with("OTEL_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("CONFORMANCE_ITEMS", items.to_string())
            .env("CONFORMANCE_BYTES", bytes.to_string())
            .env("CONFORMANCE_SIGNAL", setup.signal.name())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", setup.protocol.name())
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", setup.timeout.as_millis().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if setup.gzip {
            command.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        }
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        for (name, value) in &setup.variables {
            command.env(name, value.replace("{}", &endpoint));
        }
        let since = Instant::now();
        let child = command.spawn()?;
        if server.is_none() {
            sleep(setup.late).await;
            let listener = TcpListener::bind(address).await?;
            server = Some(Server::start(listener, setup.protocol, setup.answers()));
        }
        let ended = timeout(PATIENCE, child.wait_with_output()).await;
        let attempts = match server {
            Some(server) => {
                let server = server?;
                // The end of a connection is seen a little after its client's.
                let over = |attempts: &[Attempt]| {
                    attempts.iter().all(|attempt| attempt.answered.is_some())
                };
                server.wait(Duration::from_secs(1), over).await;
                server.attempts()
            }
            None => Vec::new(),
        };
        let end = match ended {
            Ok(output) => {
                let output = output?;
                // It may well say by its status that not all was taken; one that did not even start
                // says why.
                if attempts.is_empty() && setup.attempts != 0 {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let last = said.lines().rfind(|line| !line.trim().is_empty());
                    let last: String = last.unwrap_or_default().chars().take(200).collect();
                    return Err(io::Error::other(format!(
                        "nothing came; {}: {last}",
                        output.status
                    )));
                }
                Some(since.elapsed())
            }
            Err(_) => None,
        };
        Ok(Run { attempts, marker: end.is_some(), end, fed: Vec::new(), refused: false })
    }
}
