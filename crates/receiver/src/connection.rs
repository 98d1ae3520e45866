//! One connection: what it has sent, and how long it may be silent.
//!
//! hyper has a timer for the head of each HTTP/1.1 request, none for an HTTP/2 client that never
//! gets to its preface, and none for a connection without requests. Here one timer a connection
//! serves all three: it looks, now and then, at counters that cost next to nothing to keep.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Timeouts;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Counters that the socket and the requests of one connection keep.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Bytes that came in.
    read: AtomicU64,
    /// `read` when the last request ended: what came after that is the head of the next one.
    read_at_end: AtomicU64,
    /// Requests whose head was read.
    requests: AtomicU64,
    /// Requests that are not answered yet.
    active: AtomicU32,
    /// The whole HTTP/2 preface came in. Heads are frames then, which cannot be told from pings by
    /// counting.
    is_http2: AtomicBool,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Active(Arc<Activity>);

/// Decides, from what is seen at each tick, whether a connection may stay.
#[derive(Debug)]
pub(crate) struct Watch {
    header: Duration,
    idle: Option<Duration>,
    /// When a request was last seen, or the connection was opened.
    quiet_since: Instant,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    requests: u64,
    /// Where an unfinished head starts, if there is one.
    head: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// To be looked at again then.
    Stay(Instant),
    /// Nothing was asked for a long time: to be closed in agreement with the client.
    Idle,
    /// A head has been on its way for too long.
    Stalled,
}

// === impl Activity ===

impl Activity {
    /// Notes that the head of a request was read.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.requests.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
        Active(Arc::clone(self))
    }

    fn seen(&self) -> Seen {
        let (read, start) = (self.read.load(Relaxed), self.read_at_end.load(Relaxed));
        let requests = self.requests.load(Relaxed);
        // A new connection owes its first bytes, an old one only the rest of what it has begun.
        let waits = !self.is_http2.load(Relaxed)
            && self.active.load(Relaxed) == 0
            && (read > start || requests == 0);
        Seen { requests, head: waits.then_some(start) }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.read_at_end.store(self.0.read.load(Relaxed), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

// === impl Watch ===

impl Watch {
    /// Starts with a connection that was just opened, and says when to look at it first.
    pub(crate) fn new(timeouts: &Timeouts, now: Instant) -> (Self, Instant) {
        let Timeouts { header, idle, .. } = *timeouts;
        let seen = Seen { requests: 0, head: Some(0) };
        let watch = Self { header, idle, quiet_since: now, seen };
        let next = watch.next(now);
        (watch, next)
    }

    pub(crate) fn tick(&mut self, activity: &Activity, now: Instant) -> Verdict {
        let seen = activity.seen();
        let before = std::mem::replace(&mut self.seen, seen);
        if seen.requests != before.requests || activity.active.load(Relaxed) > 0 {
            self.quiet_since = now;
        } else if seen.head.is_some() && seen.head == before.head {
            return Verdict::Stalled;
        } else if self.idle.is_some_and(|idle| now - self.quiet_since >= idle) {
            return Verdict::Idle;
        }
        Verdict::Stay(self.next(now))
    }

    fn next(&self, now: Instant) -> Instant {
        let idle = self.idle.map(|idle| idle.saturating_sub(now - self.quiet_since));
        // A thousandth of a second keeps a timeout of zero from spinning.
        let wait = idle.map_or(self.header, |idle| idle.min(self.header));
        now + wait.max(Duration::from_millis(1))
    }
}

/// A socket that counts what it reads, and gives its stream back when HTTP is done with it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// There until the drop.
    stream: Option<TcpStream>,
    give_back: Option<oneshot::Sender<TcpStream>>,
    activity: Arc<Activity>,
    /// How much of the HTTP/2 preface has come in; `None` once that is decided.
    matched: Option<usize>,
}

// === impl Socket ===

impl Socket {
    /// Also returns where the stream comes out at the end.
    pub(crate) fn new(
        stream: TcpStream,
        activity: Arc<Activity>,
    ) -> (Self, oneshot::Receiver<TcpStream>) {
        let (give_back, left) = oneshot::channel();
        let give_back = Some(give_back);
        (Self { stream: Some(stream), give_back, activity, matched: Some(0) }, left)
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("only the drop takes it"))
    }

    #[cold]
    fn match_preface(&mut self, matched: usize, read: &[u8]) {
        let rest = &HTTP2_PREFACE[matched..];
        let common = rest.len().min(read.len());
        if rest[..common] != read[..common] {
            self.matched = None;
        } else if common == rest.len() {
            self.activity.is_http2.store(true, Relaxed);
            self.matched = None;
        } else {
            self.matched = Some(matched + common);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(this.stream().poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        this.activity.read.fetch_add(read.len() as u64, Relaxed);
        if let Some(matched) = this.matched {
            this.match_preface(matched, read);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(give_back)) = (self.stream.take(), self.give_back.take()) {
            // Whoever has stopped waiting for it lets it be closed.
            _ = give_back.send(stream);
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        // What tokio says of every TCP stream.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(now: Instant) -> (Watch, Arc<Activity>) {
        let timeouts = Timeouts { header: SECOND, idle: Some(3 * SECOND), ..Timeouts::default() };
        let (watch, first) = Watch::new(&timeouts, now);
        assert_eq!(first, now + SECOND);
        (watch, Arc::default())
    }

    #[test]
    fn a_client_that_sends_no_request_is_stalled_after_the_header_timeout() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.read.store(20, Relaxed);
        assert_eq!(watch.tick(&activity, now + SECOND), Verdict::Stalled);
    }

    #[test]
    fn a_second_head_has_at_least_the_header_timeout_and_at_most_twice_that() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        drop(activity.begin());
        activity.read.store(5, Relaxed);
        assert_eq!(watch.tick(&activity, now + SECOND), Verdict::Stay(now + 2 * SECOND));
        assert_eq!(watch.tick(&activity, now + 2 * SECOND), Verdict::Stalled);
    }

    #[test]
    fn a_connection_without_a_request_becomes_idle_and_one_with_a_request_does_not() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.is_http2.store(true, Relaxed);
        let active = activity.begin();
        for second in 1..10 {
            let at = now + second * SECOND;
            assert_eq!(watch.tick(&activity, at), Verdict::Stay(at + SECOND));
        }
        drop(active);
        let quiet = now + 9 * SECOND;
        assert_eq!(watch.tick(&activity, quiet + SECOND), Verdict::Stay(quiet + 2 * SECOND));
        assert_eq!(watch.tick(&activity, quiet + 2 * SECOND), Verdict::Stay(quiet + 3 * SECOND));
        assert_eq!(watch.tick(&activity, quiet + 3 * SECOND), Verdict::Idle);
    }

    #[tokio::test]
    async fn the_http2_preface_is_told_from_a_request_however_it_is_cut() {
        for (sent, is_http2) in
            [(HTTP2_PREFACE, true), (b"PRI * HTTP/1.1\r\n\r\n......", false), (b"PO", false)]
        {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut socket, _left) = Socket::new(stream, Arc::default());
            for piece in sent.chunks(7) {
                if let Some(matched) = socket.matched {
                    socket.match_preface(matched, piece);
                }
            }
            assert_eq!(socket.activity.is_http2.load(Relaxed), is_http2);
        }
    }
}
