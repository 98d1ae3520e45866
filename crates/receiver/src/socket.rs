//! What lies between the network and HTTP: a stream that counts what it reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::frames::Frames;
use crate::listen::Stream;
use crate::watch::Activity;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket that counts what it reads, and gives its stream back when HTTP is done with it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// There until the drop.
    stream: Option<Stream>,
    give_back: Option<oneshot::Sender<Stream>>,
    activity: Arc<Activity>,
    spoken: Spoken,
}

/// What a client speaks, as far as it has said.
#[derive(Debug)]
enum Spoken {
    /// So much of HTTP/2's preface has come in.
    Preface(usize),
    Http1,
    Http2(Frames),
}

// === impl Socket ===

impl Socket {
    /// Also returns where the stream comes out at the end.
    pub(crate) fn new(
        stream: Stream,
        activity: Arc<Activity>,
    ) -> (Self, oneshot::Receiver<Stream>) {
        let (give_back, left) = oneshot::channel();
        let give_back = Some(give_back);
        (Self { stream: Some(stream), give_back, activity, spoken: Spoken::Preface(0) }, left)
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(self.stream.as_mut().expect("only the drop takes it"))
    }

    /// Looks at what was read, and tells the counters.
    fn observe(&mut self, read: &[u8]) {
        match &mut self.spoken {
            Spoken::Preface(matched) => {
                let rest = &HTTP2_PREFACE[*matched..];
                let common = rest.len().min(read.len());
                if rest[..common] != read[..common] {
                    self.spoken = Spoken::Http1;
                } else if common == rest.len() {
                    self.activity.speaks_http2();
                    self.spoken = Spoken::Http2(Frames::default());
                    self.observe(&read[common..]);
                } else {
                    *matched += common;
                }
            }
            Spoken::Http1 => {}
            Spoken::Http2(frames) => {
                let ended = frames.read(read);
                self.activity.has_frames(ended, frames.is_inside());
            }
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
        this.activity.has_read(read.len());
        this.observe(read);
        if this.activity.is_abuse() {
            return Poll::Ready(Err(io::Error::other("the client sends what serves no request")));
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
        self.stream.as_ref().is_some_and(Stream::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_http2_preface_is_told_from_a_request_however_it_is_cut() {
        for (sent, is_http2) in
            [(HTTP2_PREFACE, true), (b"PRI * HTTP/1.1\r\n\r\n......", false), (b"PO", false)]
        {
            let (stream, _other) = tokio::net::UnixStream::pair().unwrap();
            #[cfg(feature = "tls")]
            let stream = Stream::Left(crate::listen::Raw::Right(stream));
            #[cfg(not(feature = "tls"))]
            let stream = Stream::Right(stream);
            let (mut socket, _left) = Socket::new(stream, Arc::default());
            for piece in sent.chunks(7) {
                socket.observe(piece);
            }
            assert_eq!(socket.activity.is_http2(), is_http2);
        }
    }
}
