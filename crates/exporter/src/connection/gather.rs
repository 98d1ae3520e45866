//! Writes of HTTP/2, gathered.
//!
//! h2 writes every frame by itself, and no frame of data is larger than the server allows: 16 KiB,
//! nearly everywhere. A write costs several microseconds whatever its size: a batch of 4 MiB would
//! be 256 of them. Copied together until they are worth one, they cost a third of that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// How much is gathered at most; the frame that comes on top leaves in the same write. The server
/// begins to read when the first write is there.
const GATHERED: usize = 64 * 1024;

/// Buffers of a write, at most; h2 has two.
const AT_ONCE: usize = 8;

/// Less than this between two flushes is the end of what there is to say, and leaves at once.
const MORE_FOLLOWS: usize = 4 * 1024;

/// What was written and has not left yet.
#[derive(Debug, Default)]
pub(super) struct Gather {
    held: Vec<u8>,
    /// So much of it has left.
    sent: usize,
    /// Bytes written since the last flush.
    since_flush: usize,
}

// === impl Gather ===

impl Gather {
    /// Takes all of `bufs`; where they are too much to hold, sends what is held and as much of them
    /// as `io` takes in the same write.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        while self.held.len() + len > GATHERED {
            let held = self.held.len() - self.sent;
            let mut all = [IoSlice::new(&[]); AT_ONCE];
            let count = AT_ONCE.min(bufs.len() + 1);
            all[0] = IoSlice::new(&self.held[self.sent..]);
            all[1..count].copy_from_slice(&bufs[..count - 1]);
            let sent = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &all[..count]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if sent < held {
                self.sent += sent;
                continue;
            }
            self.held.clear();
            self.sent = 0;
            if sent > held {
                self.since_flush += sent - held;
                return Poll::Ready(Ok(sent - held));
            }
        }
        if self.held.capacity() == 0 {
            self.held.reserve_exact(GATHERED);
        }
        bufs.iter().for_each(|buf| self.held.extend_from_slice(buf));
        self.since_flush += len;
        Poll::Ready(Ok(len))
    }

    /// Sends what is held, unless more is about to be written.
    ///
    /// h2 flushes after each frame and once more when there are no more of them. That this comes, in
    /// the same poll, is seen to here too: by asking for another one.
    pub(super) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.since_flush) >= MORE_FOLLOWS {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    /// Sends what is held.
    pub(super) fn poll_send<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let sent = ready!(Pin::new(&mut *io).poll_write(cx, &self.held[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Takes `room` bytes, and then nothing until there is more of it.
    #[derive(Default)]
    struct Wire {
        writes: Vec<Vec<u8>>,
        room: usize,
        flushes: usize,
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let take = buf.len().min(self.room);
            if take == 0 {
                return Poll::Pending;
            }
            self.room -= take;
            self.writes.push(buf[..take].to_vec());
            Poll::Ready(Ok(take))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<_>>();
            self.poll_write(cx, &all)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn frame(number: u8, len: usize) -> Vec<u8> {
        vec![number; len]
    }

    #[test]
    fn frames_leave_together_and_the_last_flush_sends_the_rest() {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let (mut gather, mut wire) =
            (Gather::default(), Wire { room: usize::MAX, ..Wire::default() });
        let frames: Vec<_> = (0..10).map(|number| frame(number, 16 * 1024 + 9)).collect();
        for frame in &frames {
            let (head, rest) = frame.split_at(256);
            let bufs = [IoSlice::new(head), IoSlice::new(rest)];
            let Poll::Ready(Ok(taken)) = gather.poll_write(&mut wire, &mut cx, &bufs) else {
                panic!("there is room")
            };
            assert_eq!(taken, frame.len());
            assert!(gather.poll_flush(&mut wire, &mut cx).is_ready());
        }
        assert_eq!((wire.writes.len(), wire.flushes), (2, 0));
        // Whatever becomes of the flush that ought to follow, the task is polled again.
        assert_eq!(woken.0.load(Ordering::Relaxed), 10);
        assert!(gather.poll_flush(&mut wire, &mut cx).is_ready());
        assert_eq!((wire.writes.len(), wire.flushes), (3, 1));
        assert_eq!(wire.writes.concat(), frames.concat());
    }

    #[test]
    fn what_is_short_leaves_with_its_flush() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut gather, mut wire) =
            (Gather::default(), Wire { room: usize::MAX, ..Wire::default() });
        assert!(gather.poll_write(&mut wire, &mut cx, &[IoSlice::new(b"ping")]).is_ready());
        assert!(wire.writes.is_empty());
        assert!(gather.poll_flush(&mut wire, &mut cx).is_ready());
        assert_eq!((wire.writes, wire.flushes), (vec![b"ping".to_vec()], 1));
    }

    #[test]
    fn a_slow_wire_is_waited_for_and_loses_nothing() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut gather, mut wire) = (Gather::default(), Wire::default());
        let (first, second) = (frame(1, 40_000), frame(2, 40_000));
        let large = frame(3, GATHERED + 1);
        let mut write = |gather: &mut Gather, wire: &mut Wire, bytes: &[u8]| {
            gather.poll_write(wire, &mut cx, &[IoSlice::new(bytes)]).map(|taken| taken.unwrap())
        };
        assert_eq!(write(&mut gather, &mut wire, &first), Poll::Ready(first.len()));
        for room in [0, 1, 39_998] {
            wire.room = room;
            assert_eq!(write(&mut gather, &mut wire, &second), Poll::Pending);
            assert!(gather.held.len() <= GATHERED);
        }
        wire.room = 1;
        assert_eq!(write(&mut gather, &mut wire, &second), Poll::Ready(second.len()));
        // Too large to be held: taken as far as there is room, after what was held.
        wire.room = second.len() + 5;
        assert_eq!(write(&mut gather, &mut wire, &large), Poll::Ready(5));
        assert_eq!(wire.writes.concat(), [&first[..], &second, &large[..5]].concat());
    }
}
