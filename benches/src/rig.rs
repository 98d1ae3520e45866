//! A running gateway between a generator and a sink.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time;

use crate::books::Books;
use crate::peer::{Addresses, Gateway, Kind, Mode, Setup};
use crate::process::{Cores, Process};
use crate::report::target_directory;
use crate::sink::Sink;

/// How long a gateway may take to listen, to hand over what it holds, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often something is looked at that tells nobody when it happens.
const POLL: Duration = Duration::from_millis(20);

/// A gateway, its sink, and where they are.
#[derive(Debug)]
pub struct Rig {
    /// The gateway; it is killed when dropped.
    pub process: Process,
    /// Where it sends to.
    pub sink: Sink,
    /// Where it listens.
    pub at: Addresses,
    kind: Kind,
    mode: Mode,
}

// === impl Rig ===

impl Rig {
    /// Starts a gateway and waits until it listens.
    ///
    /// Its configuration and its output stay in `target/bench`, under `name`.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start(
        gateway: &Gateway,
        name: &str,
        setup: &Setup,
        sink: Sink,
        cores: Cores,
    ) -> io::Result<Self> {
        let directory = target_directory().join("bench");
        fs::create_dir_all(&directory)?;
        let stem = format!("gateway-{}-{}", gateway.word(), name.replace('/', "-"));
        let (file, log) =
            (directory.join(format!("{stem}.yaml")), directory.join(format!("{stem}.log")));
        let free = free_addresses(3)?;
        let at = Addresses { grpc: free[0], http: free[1], sink: sink.address(), admin: free[2] };
        let command = gateway.prepare(setup, &at, &file)?;
        let process = Process::spawn(command, cores.theirs, &log)?;
        let mut rig = Self { process, sink, at, kind: gateway.kind, mode: setup.mode };
        for address in [rig.at.grpc, rig.at.http] {
            let listening = rig.wait_for(address).await;
            listening.map_err(|error| rig.explain(&error))?;
        }
        Ok(rig)
    }

    async fn wait_for(&mut self, receiver: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // bounded wait: no gateway says when it listens
        while TcpStream::connect(receiver).await.is_err() {
            if let Some(status) = self.process.ended()? {
                return Err(io::Error::other(format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("not listening after {PATIENCE:?}")));
            }
            time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What our program's books say; `None` of others.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn books(&self) -> io::Result<Option<Books>> {
        match self.kind {
            Kind::Teleflow => Books::fetch(self.at.admin).await.map(Some),
            Kind::Collector | Kind::Rotel => Ok(None),
        }
    }

    /// Waits until it holds nothing, by its books, or where it has none until nothing has come for
    /// longer than it may hold a span.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn drain(&self, accepted: u64) -> io::Result<()> {
        let holds = match self.mode {
            Mode::Pass => Duration::from_millis(1500),
            // The wait for decisions, its tick of a second, the batch.
            Mode::Tail => Duration::from_millis(4500),
        };
        let deadline = Instant::now() + PATIENCE;
        let (mut seen, mut since) = (self.sink.spans(), Instant::now());
        // bounded wait: no gateway says when it has handed over everything
        while since.elapsed() < holds && Instant::now() < deadline {
            time::sleep(5 * POLL).await;
            let now = self.sink.spans();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            match self.books().await? {
                // What it holds ends its time; silence says nothing.
                Some(books) if books.held > 0 || books.accepted < accepted => {
                    since = Instant::now();
                }
                Some(_) => break,
                None if self.mode == Mode::Pass && seen == accepted => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Stops it, and says what is wrong with how it ends: it may hand over nothing more than it was
    /// waiting to.
    ///
    /// # Errors
    ///
    /// It does not stop.
    pub async fn stop(self) -> io::Result<Vec<String>> {
        let before = self.sink.spans();
        let status = self.process.stop(PATIENCE).await?;
        let mut problems = Vec::new();
        if !status.success() {
            problems.push(format!("ended with {status} after SIGTERM"));
        }
        let late = self.sink.spans() - before;
        if late > 0 {
            problems.push(format!("{late} spans came only at its end"));
        }
        Ok(problems)
    }

    /// The error, with what the gateway said last.
    pub fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::other(format!("{error}\nits last words:\n{}", self.process.last_words()))
    }
}

/// Loopback addresses that were free a moment ago, all different.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}
