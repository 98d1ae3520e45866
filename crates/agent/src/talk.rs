//! How the program talks to the person who started it.
//!
//! Whoever reads its output may leave first, as `head` does, or stop reading and stay, as a pager
//! does and a pipe that nobody reads. That is no reason to stop, to panic as the standard macros
//! do, or to wait for ever with a drain half done: a thread for each stream does the writing, and
//! who wants to say something waits for it only so long. What cannot be said is not said.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Says a line on the standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::talk::line($crate::talk::out(), format_args!($($words)*)) };
}

/// Says a line on the standard error.
macro_rules! complain {
    ($($words:tt)*) => { $crate::talk::line($crate::talk::err(), format_args!($($words)*)) };
}

/// How long one write may take. A reader that needs longer is taken for one that has stopped.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many writes may wait for the thread. Who writes waits for it, so this is a number of
/// threads.
const MAX_WAITING: usize = 64;

/// A stream that a thread of its own writes to.
///
/// A write waits until all of it is written, and fails with [`io::ErrorKind::TimedOut`] when that
/// takes longer than it has patience; then part of it may come out later. From then on writes fail
/// at once, and nothing of them is written, until the reader has taken what it was given.
pub(crate) struct Voice {
    writes: SyncSender<Job>,
    patience: Duration,
    /// Whether somebody lost patience since the last write that was finished.
    stuck: Arc<Mutex<bool>>,
}

struct Job {
    text: Vec<u8>,
    done: SyncSender<io::Result<()>>,
}

/// The standard output.
pub(crate) fn out() -> &'static Voice {
    static OUT: LazyLock<Voice> = LazyLock::new(|| Voice::new(io::stdout(), PATIENCE));
    &OUT
}

/// The standard error.
pub(crate) fn err() -> &'static Voice {
    static ERR: LazyLock<Voice> = LazyLock::new(|| Voice::new(io::stderr(), PATIENCE));
    &ERR
}

/// Says a line: for `say!` and `complain!`.
pub(crate) fn line(mut voice: &Voice, words: fmt::Arguments<'_>) {
    // In one piece, so that no other line comes between.
    _ = voice.write_all(format!("{words}\n").as_bytes());
}

// === impl Voice ===

impl Voice {
    fn new(stream: impl Write + Send + 'static, patience: Duration) -> Self {
        let (writes, jobs) = sync_channel(MAX_WAITING);
        let stuck = Arc::<Mutex<bool>>::default();
        let voice = Self { writes, patience, stuck: Arc::clone(&stuck) };
        // Without a thread every write fails, which is as good as a stream that is closed.
        _ = thread::Builder::new()
            .name("teleflow-talk".to_owned())
            .spawn(move || perform(stream, &jobs, &stuck));
        voice
    }
}

/// Writes what it is given until nobody can give more.
fn perform(mut stream: impl Write, jobs: &Receiver<Job>, stuck: &Mutex<bool>) {
    for job in jobs {
        let written = stream.write_all(&job.text).and_then(|()| stream.flush());
        // It moves again. Answered under the lock, so that who loses patience at this moment either
        // finds the answer or is heard before the next one.
        let mut stuck = lock(stuck);
        *stuck = false;
        // Whoever lost patience does not listen any more.
        _ = job.done.send(written);
    }
}

fn lock(stuck: &Mutex<bool>) -> MutexGuard<'_, bool> {
    stuck.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody reads the output")
}

impl Write for &Voice {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if *lock(&self.stuck) {
            return Err(timed_out());
        }
        let (done, answer) = sync_channel(1);
        match self.writes.try_send(Job { text: text.to_vec(), done }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(timed_out()),
            Err(TrySendError::Disconnected(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        let written = answer.recv_timeout(self.patience).or_else(|_| {
            let mut stuck = lock(&self.stuck);
            answer.try_recv().inspect_err(|_| *stuck = true)
        });
        written.unwrap_or_else(|_| Err(timed_out())).map(|()| text.len())
    }

    /// Every write is flushed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A stream whose reader takes a write for each that it is told of.
    struct Reader {
        takes: Receiver<()>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.takes.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken.send(text.to_vec()).unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn voice(patience: Duration) -> (Voice, SyncSender<()>, Receiver<Vec<u8>>) {
        let ((take, takes), (taken, text)) = (sync_channel(100), sync_channel(100));
        (Voice::new(Reader { takes, taken }, patience), take, text)
    }

    #[test]
    fn what_is_read_is_written_in_order_and_in_one_piece() {
        let (voice, take, text) = voice(Duration::from_secs(60));
        for number in 0..10 {
            take.send(()).unwrap();
            line(&voice, format_args!("line {number}"));
            assert_eq!(text.try_recv().unwrap(), format!("line {number}\n").as_bytes());
        }
        drop(take);
        let error = (&voice).write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "who leaves is noticed");
    }

    #[test]
    fn a_reader_that_stops_is_waited_for_once_and_heard_again_when_it_goes_on() {
        let (voice, take, text) = voice(Duration::from_millis(20));
        for _ in 0..3 * MAX_WAITING {
            let error = (&voice).write(b"unread").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        // Only the first waited and is still to come.
        for _ in 0..2 {
            take.send(()).unwrap();
        }
        assert_eq!(text.recv().unwrap(), b"unread");
        let patience = Instant::now() + Duration::from_secs(60);
        // bounded wait: the thread has to see that its write is finished.
        while (&voice).write(b"read").is_err() {
            assert!(Instant::now() < patience, "it goes on and is not heard");
            thread::yield_now();
        }
        assert_eq!(text.recv().unwrap(), b"read");
        assert!(text.try_recv().is_err(), "what was refused was not written");
    }
}
