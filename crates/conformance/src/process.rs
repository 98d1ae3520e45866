//! A gateway that runs: ours, or the Collector.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::signal::Signal;

/// Whose gateway it is: they are started differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `teleflow run --config FILE`.
    Teleflow,
    /// `otelcol --config FILE`.
    Collector,
}

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// A gateway that runs in a folder of its own; killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it takes OTLP/gRPC.
    pub grpc: SocketAddr,
    /// Where it takes OTLP/HTTP.
    pub http: SocketAddr,
    _folder: TempDir,
}

// === impl Process ===

impl Process {
    /// Starts a gateway that takes requests of at most so many bytes, and keeps nothing.
    ///
    /// # Errors
    ///
    /// The program does not start, or does not serve within 15 s; the error has what it said last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the program.
    pub async fn receiver(
        kind: Kind,
        program: &Path,
        max_request_bytes: usize,
    ) -> io::Result<Self> {
        let exporters = match kind {
            Kind::Teleflow => "  debug:\n",
            // What it takes goes nowhere: that is no concern of its receiver.
            Kind::Collector => {
                "  otlp_grpc:\n    endpoint: 127.0.0.1:9\n    tls: { insecure: true }\n"
            }
        };
        let name = exporters.trim_start().split(':').next().unwrap_or_default();
        let pipelines = format!(
            "    traces: {{ receivers: [otlp], exporters: [{name}] }}
    metrics: {{ receivers: [otlp], exporters: [{name}] }}
    logs: {{ receivers: [otlp], exporters: [{name}] }}
"
        );
        Self::start(kind, program, max_request_bytes, exporters, &pipelines).await
    }

    /// Starts a gateway that sends to this address over gRPC, with these settings of its queue: a
    /// mapping in YAML.
    ///
    /// # Errors
    ///
    /// As [`receiver`](Self::receiver).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the program.
    pub async fn sending(
        kind: Kind,
        program: &Path,
        to: SocketAddr,
        queue: &str,
    ) -> io::Result<Self> {
        let exporters = format!(
            "  otlp_grpc:
    endpoint: http://{to}
    tls: {{ insecure: true }}
    sending_queue: {queue}
"
        );
        let pipelines = Signal::ALL.map(|signal| {
            format!("    {}: {{ receivers: [otlp], exporters: [otlp_grpc] }}\n", signal.name())
        });
        Self::start(kind, program, 1 << 20, &exporters, &pipelines.concat()).await
    }

    /// Starts a gateway with these exporters and pipelines.
    pub(crate) async fn start(
        kind: Kind,
        program: &Path,
        max_request_bytes: usize,
        exporters: &str,
        pipelines: &str,
    ) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.yaml");
        // The Collector does not say which ports it got.
        let (grpc, http) = match kind {
            Kind::Teleflow => (local(0), local(0)),
            Kind::Collector => (free().await?, free().await?),
        };
        let telemetry = match kind {
            Kind::Teleflow => "",
            // Its own metrics would open a port.
            Kind::Collector => "  telemetry: { metrics: { level: none } }\n",
        };
        let megabytes = max_request_bytes.div_ceil(1 << 20);
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '{grpc}', max_recv_msg_size_mib: {megabytes} }}
      http: {{ endpoint: '{http}', max_request_body_size: {max_request_bytes} }}
exporters:
{exporters}service:
{telemetry}  pipelines:
{pipelines}"
        );
        std::fs::write(&file, config)?;
        let mut command = Command::new(program);
        if kind == Kind::Teleflow {
            // Longer than a deadline, and short enough to wait for.
            command.args(["run", "--drain-timeout", "3s"]);
        }
        let mut child = command
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        let starting = async {
            let (mut grpc, mut http, mut said) = (grpc, http, String::new());
            loop {
                if kind == Kind::Collector {
                    let both = (TcpStream::connect(grpc).await, TcpStream::connect(http).await);
                    if let (Ok(_), Ok(_)) = both {
                        return Ok((grpc, http));
                    }
                }
                match timeout(Duration::from_millis(50), lines.next_line()).await {
                    Ok(Ok(Some(line))) => {
                        grpc = announced(&line, "OTLP/gRPC on ").unwrap_or(grpc);
                        http = announced(&line, "OTLP/HTTP on http://").unwrap_or(http);
                        if kind == Kind::Teleflow && grpc.port() != 0 && http.port() != 0 {
                            return Ok((grpc, http));
                        }
                        said = line;
                    }
                    Ok(_) => return Err(io::Error::other(format!("it ended: {said}"))),
                    Err(_) => {}
                }
            }
        };
        let late = || io::Error::other("it does not start");
        let (grpc, http) = timeout(PATIENCE, starting).await.map_err(|_| late())??;
        // A full pipe would hold it up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, grpc, http, _folder: folder })
    }

    /// Asks it to end; how long that took, or `None` where it had to be killed, after 30 s.
    ///
    /// # Cancel safety
    ///
    /// It has been asked then, and may be asked again.
    pub async fn stop(&mut self) -> Option<Duration> {
        let since = Instant::now();
        let pid = self.child.id()?.to_string();
        _ = Command::new("kill").args(["-TERM", &pid]).status().await;
        match timeout(STOP, self.child.wait()).await {
            Ok(Ok(_)) => Some(since.elapsed()),
            _ => {
                _ = self.child.kill().await;
                None
            }
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn free() -> io::Result<SocketAddr> {
    TcpListener::bind(local(0)).await?.local_addr()
}

/// The address in a line that says where something is served.
fn announced(line: &str, before: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(before)?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
