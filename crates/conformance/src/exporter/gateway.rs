//! A gateway as the exporter: fed over HTTP, it sends to the suite's server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::case::{Items, MARKER, Run, Setup, count};
use super::{Gateway, Kind};
use crate::server::{Protocol, Server};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::http::Request;

/// How long it may take to start, and everything to come.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one more attempt is waited for that should not come: ten times the first back-off.
const GRACE: Duration = Duration::from_millis(200);

/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// A gateway that runs; killed on drop.
struct Running {
    child: Child,
    http: SocketAddr,
    _folder: TempDir,
}

// === impl Gateway ===

impl Gateway {
    pub(super) async fn run(&self, setup: &Setup) -> Result<Run, String> {
        self.try_run(setup).await.map_err(|error| format!("the gateway: {error}"))
    }

    async fn try_run(&self, setup: &Setup) -> io::Result<Run> {
        let mut listener = Some(listen(None).await?);
        let address = match &listener {
            Some(listener) => listener.local_addr()?,
            None => return Err(io::Error::other("no listener")),
        };
        if !setup.late.is_zero() {
            listener = None;
        }
        let silent = listen(None).await?;
        let mut running = self.start(setup, address, silent.local_addr()?).await?;

        let fed = feed(setup, running.http).await?;
        let refused = fed.is_empty();
        let listener = match listener {
            Some(listener) => listener,
            None => {
                sleep(setup.late).await;
                listen(Some(address)).await?
            }
        };
        let server = Server::start(listener, setup.protocol, setup.answers())?;
        let mut stopped = None;
        if setup.stop_early {
            // Something has to be on its way, or the stop has nothing to wait for.
            server.wait(PATIENCE, |attempts| !attempts.is_empty()).await;
            stopped = Some(running.stop().await);
        }
        let patience = if refused { Duration::ZERO } else { PATIENCE };
        server
            .wait(patience, |attempts| {
                let marker = setup.stop_early || 0 < count(attempts, MARKER);
                marker && setup.complete(attempts)
            })
            .await;
        sleep(GRACE).await;
        let attempts = server.attempts();
        let end = match stopped {
            Some(end) => end,
            None => running.stop().await,
        };
        drop(silent);
        Ok(Run { marker: 0 < count(&attempts, MARKER), attempts, end, fed, refused })
    }

    /// Whether it starts with an exporter for this protocol.
    pub(super) async fn speaks(&self, protocol: Protocol) -> bool {
        let nowhere = (Ipv4Addr::LOCALHOST, 9).into();
        match self.start(&Setup::new(protocol, Vec::new(), 0), nowhere, nowhere).await {
            Ok(mut running) => running.stop().await.is_some(),
            Err(_) => false,
        }
    }

    async fn start(
        &self,
        setup: &Setup,
        to: SocketAddr,
        silent: SocketAddr,
    ) -> io::Result<Running> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.yaml");
        // The Collector does not say which port it got.
        let port = match self.kind {
            Kind::Teleflow => 0,
            Kind::Collector => listen(None).await?.local_addr()?.port(),
        };
        std::fs::write(&file, self.config(setup, port, to, silent))?;
        let mut command = Command::new(&self.program);
        if self.kind == Kind::Teleflow {
            // Longer than a deadline, and short enough to wait for.
            command.args(["run", "--drain-timeout", "3s"]);
        }
        let mut child = command
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no stderr"))?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        let starting = async {
            let known = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            loop {
                if self.kind == Kind::Collector && TcpStream::connect(known).await.is_ok() {
                    return Ok(known);
                }
                match timeout(Duration::from_millis(50), lines.next_line()).await {
                    Ok(Ok(Some(line))) => {
                        if let Some(address) = announced(&line) {
                            return Ok(address);
                        }
                        said = line;
                    }
                    Ok(_) => return Err(io::Error::other(format!("it ended: {said}"))),
                    Err(_) => {}
                }
            }
        };
        let late = || io::Error::other("it does not start");
        let http = timeout(PATIENCE, starting).await.map_err(|_| late())??;
        // A full pipe would hold it up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Running { child, http, _folder: folder })
    }

    fn config(&self, setup: &Setup, port: u16, to: SocketAddr, silent: SocketAddr) -> String {
        let (kind, encoding) = match setup.protocol {
            Protocol::Grpc => ("otlp_grpc", ""),
            Protocol::HttpProtobuf => ("otlp_http", "\n    encoding: proto"),
            Protocol::HttpJson => ("otlp_http", "\n    encoding: json"),
        };
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let (timeout, backoff) = (millis(setup.timeout), millis(setup.backoff));
        let compression = if setup.gzip { "gzip" } else { "none" };
        let (consumers, multiplier) = (setup.consumers, setup.multiplier);
        let exporter = |name: &str, to: SocketAddr| {
            format!(
                "  {kind}{name}:
    endpoint: http://{to}{encoding}
    tls: {{ insecure: true }}
    compression: {compression}
    timeout: {timeout}
    retry_on_failure:
      initial_interval: {backoff}
      max_interval: 5s
      max_elapsed_time: 60s
      multiplier: {multiplier}
    sending_queue:
      num_consumers: {consumers}
"
            )
        };
        let mut exporters = exporter("", to);
        let mut names = kind.to_owned();
        if setup.second_hangs {
            exporters.push_str(&exporter("/silent", silent));
            names.push_str(&format!(", {kind}/silent"));
        }
        let telemetry = match self.kind {
            Kind::Teleflow => "",
            // Its own metrics would open a port.
            Kind::Collector => "  telemetry: { metrics: { level: none } }\n",
        };
        let pipelines: String = Signal::ALL
            .map(|signal| {
                format!("    {}: {{ receivers: [otlp], exporters: [{names}] }}\n", signal.name())
            })
            .concat();
        format!(
            "receivers:
  otlp:
    protocols:
      http: {{ endpoint: '127.0.0.1:{port}', max_request_body_size: 134217728 }}
exporters:
{exporters}service:
{telemetry}  pipelines:
{pipelines}"
        )
    }
}

async fn listen(at: Option<SocketAddr>) -> io::Result<TcpListener> {
    TcpListener::bind(at.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())).await
}

/// The address in a line that says where OTLP/HTTP is served.
fn announced(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("OTLP/HTTP on http://")?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Posts what is to be sent on, and the marker. Empty where the gateway takes nothing that large.
async fn feed(setup: &Setup, to: SocketAddr) -> io::Result<Vec<Vec<u8>>> {
    let (signal, tag) = (setup.signal, telemetry::tag);
    let mut bodies: Vec<Vec<u8>> = match setup.items {
        Items::Plain(count) => {
            (1..=count).map(|id| telemetry::request(signal, &tag(id))).collect()
        }
        Items::Rich => vec![telemetry::rich(signal, &tag(1))],
        Items::Large(bytes) => vec![telemetry::large(signal, &tag(1), bytes)],
        // Nothing; a resource without scopes; a resource with an empty scope.
        Items::Empty => vec![Vec::new(), vec![0x0a, 0], vec![0x0a, 2, 0x12, 0]],
    };
    bodies.push(telemetry::request(signal, &tag(MARKER)));
    for body in &bodies {
        let request = Request::post(signal.http_path(), "application/x-protobuf", body.clone());
        let answer = request.send(to).await?;
        if answer.status == 413 && matches!(setup.items, Items::Large(_)) {
            return Ok(Vec::new());
        }
        if answer.status != 200 {
            return Err(io::Error::other(format!("it answered with {}", answer.status)));
        }
    }
    Ok(bodies)
}

// === impl Running ===

impl Running {
    /// Asks it to end; how long that took, or `None` where it had to be killed.
    async fn stop(&mut self) -> Option<Duration> {
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
