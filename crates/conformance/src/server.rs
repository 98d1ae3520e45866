//! A server that answers as it is told, and remembers what came.

mod grpc;
mod http;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::status::Status;
use crate::telemetry::find_tag;

/// The most of a request that is read.
const MAX_REQUEST: usize = 256 << 20;

/// How many bytes an answer has that is far too large.
pub const FLOOD: usize = 64 << 20;

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Full success.
    Ok,
    /// Success with `partial_success`.
    Partial(i64, &'static str),
    /// A gRPC status, perhaps with details.
    Status(i32, Option<Status>),
    /// An HTTP status with a header and a body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// An HTTP status with `Retry-After`, as the date that is at least this far ahead.
    RetryAfterDate(u16, Duration),
    /// Nothing, until the client has gone.
    Hang,
    /// The connection is closed.
    Close,
    /// Success, of [`FLOOD`] bytes.
    Flood,
    /// An answer that takes its time.
    After(Duration, Box<Self>),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The number in its tag; 0 where it has none.
    pub id: u32,
    /// When it was there as a whole.
    pub at: Instant,
    /// Which connection brought it.
    pub connection: usize,
    /// `POST`.
    pub method: String,
    /// The path that it was sent to.
    pub path: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many bytes it had as sent.
    pub sent: usize,
    /// Whether it says of itself that it is compressed: gRPC's flag, or a content-encoding.
    pub compressed: bool,
    /// The message, inflated; or why there is none.
    pub body: Result<Vec<u8>, String>,
    /// How many bytes of a flood the client took.
    pub taken: usize,
    /// When the client left without an answer.
    pub gone: Option<Instant>,
    /// When it was answered.
    pub answered: Option<Instant>,
}

/// Which protocol is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    HttpJson,
}

/// Says what the `n`th attempt (from 0) of a request gets.
pub(crate) type Script = Arc<dyn Fn(u32, usize) -> Answer + Send + Sync>;

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    log: Arc<Log>,
    _tasks: JoinSet<()>,
}

/// What came so far.
#[derive(Debug, Default)]
struct Log {
    attempts: Mutex<Vec<Attempt>>,
    changed: Notify,
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    log: Arc<Log>,
    script: Script,
}

// === impl Server ===

impl Server {
    /// Serves on this listener.
    pub(crate) fn start(
        listener: TcpListener,
        protocol: Protocol,
        script: Script,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let log = Arc::new(Log::default());
        let shared = Shared { log: Arc::clone(&log), script };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                _ = stream.set_nodelay(true);
                let shared = shared.clone();
                match protocol {
                    Protocol::Grpc => connections.spawn(grpc::serve(stream, number, shared)),
                    _ => connections.spawn(http::serve(stream, number, shared)),
                };
            }
        });
        Ok(Self { address, log, _tasks: tasks })
    }

    /// Serves on a free port of this machine and answers everything alike.
    ///
    /// # Errors
    ///
    /// There is no port to be had.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it leaves nothing.
    pub async fn always(protocol: Protocol, answer: Answer) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::start(listener, protocol, Arc::new(move |_, _| answer.clone()))
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.log.lock().clone()
    }

    /// Waits until what came is as asked, or the time is over; whether it is.
    pub(crate) async fn wait(&self, patience: Duration, done: impl Fn(&[Attempt]) -> bool) -> bool {
        let waiting = async {
            loop {
                let changed = self.log.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if done(&self.log.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }
}

// === impl Protocol ===

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::HttpProtobuf, Self::HttpJson];

    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }
}

// === impl Attempt ===

impl Attempt {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::wire::http::header(&self.headers, name)
    }
}

// === impl Log ===

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.lock().get_mut(index) {
            change(attempt);
        }
        self.changed.notify_waiters();
    }
}

// === impl Shared ===

impl Shared {
    /// Notes a request, and says which number it has and what it gets.
    fn note(&self, mut attempt: Attempt) -> (usize, Answer) {
        attempt.id = attempt.body.as_deref().ok().and_then(find_tag).unwrap_or_default();
        let (id, mut attempts) = (attempt.id, self.log.lock());
        let nth = attempts.iter().filter(|earlier| earlier.id == id).count();
        attempts.push(attempt);
        let index = attempts.len() - 1;
        drop(attempts);
        self.log.changed.notify_waiters();
        (index, (self.script)(id, nth))
    }
}
