//! A gateway as the exporter: fed over HTTP, it sends to the suite's server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::Gateway;
use super::case::{Items, MARKER, Run, Setup, count};
use crate::process::Process;
use crate::server::{Protocol, Server};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::http::Request;

/// How long everything may take to come.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one more attempt is waited for that should not come: ten times the first back-off.
const GRACE: Duration = Duration::from_millis(200);

/// More than what an exporter must not send.
const MAX_REQUEST: usize = 128 << 20;

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
    ) -> io::Result<Process> {
        let (exporters, pipelines) = config(setup, to, silent);
        Process::start(self.kind, &self.program, MAX_REQUEST, &exporters, &pipelines).await
    }
}

/// The exporters and the pipelines of the file.
fn config(setup: &Setup, to: SocketAddr, silent: SocketAddr) -> (String, String) {
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
    let (mut exporters, mut names) = (exporter("", to), kind.to_owned());
    if setup.second_hangs {
        exporters.push_str(&exporter("/silent", silent));
        names.push_str(&format!(", {kind}/silent"));
    }
    let pipeline = |signal: Signal| {
        format!("    {}: {{ receivers: [otlp], exporters: [{names}] }}\n", signal.name())
    };
    (exporters, Signal::ALL.map(pipeline).concat())
}

async fn listen(at: Option<SocketAddr>) -> io::Result<TcpListener> {
    TcpListener::bind(at.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into())).await
}

/// Posts what is to be sent on, and the marker. Empty where the gateway takes nothing that large.
async fn feed(setup: &Setup, to: SocketAddr) -> io::Result<Vec<Vec<u8>>> {
    let (signal, tag) = (setup.signal, telemetry::tag);
    let mut bodies: Vec<Vec<u8>> = match setup.items {
        Items::Plain(count) => (1..=count).map(|id| telemetry::request(signal, &tag(id))).collect(),
        Items::Rich => vec![telemetry::rich(signal, &tag(1))],
        Items::Large(bytes) => vec![telemetry::large(signal, &tag(1), bytes)],
        // Nothing; a resource without scopes; a resource with an empty scope.
        Items::Empty => vec![Vec::new(), vec![0x0a, 0], vec![0x0a, 2, 0x12, 0]],
    };
    bodies.push(telemetry::request(signal, &tag(MARKER)));
    for body in &bodies {
        let request = Request::post(signal.http_path(), "application/x-protobuf", body.clone());
        let answer = request.send(to).await?;
        if 400 <= answer.status && matches!(setup.items, Items::Large(_)) {
            return Ok(Vec::new());
        }
        if answer.status != 200 {
            return Err(io::Error::other(format!("it answered with {}", answer.status)));
        }
    }
    Ok(bodies)
}
