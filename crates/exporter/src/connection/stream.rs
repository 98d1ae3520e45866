//! A connection's bytes, watched, so that its end can be told of.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::gather::Gather;
use super::{ConnectionEvent, Events};
use crate::wire;

/// What a connection runs over: TCP, a unix socket, a tunnel, TLS on top of one of them.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What hyper has to know of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    /// A proxy is handed requests over it.
    pub(super) proxied: bool,
    /// HTTP/2 is spoken: as TLS has agreed on, or with nobody asked.
    pub(super) http2: bool,
}

/// A connection that tells when it is over, and why.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    kind: Kind,
    /// For HTTP/2.
    gather: Option<Gather>,
    peer: Arc<str>,
    events: Arc<Events>,
    /// How the other side ended it, if it did.
    end: Option<String>,
    last_read: Instant,
    /// What has come since something was last written, in bytes, and the most that may.
    ///
    /// hyper bounds what an answer holds, but not what is nothing: provisional answers one after the
    /// other, or a chunk whose length begins with zeroes, would be read for as long as they come.
    read: u64,
    most_read: u64,
    /// So long without a byte and the connection was given up for a probe without an answer.
    silence: Option<Duration>,
}

/// The server has sent more than any answer takes.
#[derive(Debug, thiserror::Error)]
#[error("the server sends without end")]
pub(crate) struct Endless;

// === impl Stream ===

impl Stream {
    pub(super) fn new(
        io: Box<dyn Io>,
        kind: Kind,
        peer: Arc<str>,
        events: Arc<Events>,
        silence: Option<Duration>,
        most_read: u64,
    ) -> Self {
        events.tell(&peer, &ConnectionEvent::Connected);
        let gather = kind.http2.then(Gather::default);
        let last_read = Instant::now();
        Self { io, kind, gather, peer, events, end: None, last_read, read: 0, most_read, silence }
    }

    fn broke<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let (Err(error), None) = (&result, &self.end) {
            self.end = Some(wire::said(&error.to_string()));
        }
        result
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        if read > 0 {
            self.last_read = Instant::now();
            self.read += read as u64;
            if self.read > self.most_read {
                return Poll::Ready(self.broke(Err(io::Error::other(Endless))));
            }
        } else if result.is_ok() && room > 0 && self.end.is_none() {
            self.end = Some("the server closed it".to_owned());
        }
        Poll::Ready(self.broke(result))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = ready!(match &mut this.gather {
            Some(gather) => gather.poll_write(&mut this.io, cx, bufs),
            None => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        });
        this.read = 0;
        Poll::Ready(self.broke(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.gather.is_some() || self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = ready!(match &mut this.gather {
            Some(gather) => gather.poll_flush(&mut this.io, cx),
            None => Pin::new(&mut this.io).poll_flush(cx),
        });
        Poll::Ready(self.broke(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Closed here: whatever goes wrong with it is of no interest.
        if let Some(gather) = &mut this.gather {
            _ = ready!(gather.poll_send(&mut this.io, cx));
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.kind.proxied);
        if self.kind.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let silent = self.silence.is_some_and(|silence| self.last_read.elapsed() >= silence);
        let event = match self.end.take() {
            Some(cause) => ConnectionEvent::Lost { cause },
            None if silent => ConnectionEvent::Lost { cause: "no answer to a probe".to_owned() },
            None => ConnectionEvent::Closed,
        };
        self.events.tell(&self.peer, &event);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
