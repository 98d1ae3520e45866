//! A stream that a thread of its own writes to.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A stream that a thread of its own writes to, in the order in which it was given.
///
/// What is *said* ([`Write`]) is waited for until all of it is written, and fails with
/// [`io::ErrorKind::TimedOut`] when that takes longer than there is patience; then part of it may
/// come out later. From then on writes fail at once, and nothing of them is written, until the
/// reader has taken what it was given.
///
/// What is *offered* ([`offer`](Self::offer)) is never waited for. Where there is no room for it, it
/// is left out and counted, and the stream says how many were, in the place where they are missing.
pub(crate) struct Voice {
    shared: Arc<Shared>,
    limits: Limits,
}

/// How much a voice waits and keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long what is said may take.
    pub(crate) patience: Duration,
    /// How much that is said may wait for the thread. Who says it waits for it, so this is a number
    /// of threads.
    pub(crate) max_said: usize,
    /// How many lines that were offered are kept, the one being written included.
    pub(crate) max_lines: usize,
    /// How many bytes are in these.
    pub(crate) max_bytes: usize,
}

/// What became of the lines that were offered, so far. What is still kept is in none of these.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Offered {
    /// Written in full.
    pub(crate) written: u64,
    /// There was no room for them.
    pub(crate) left_out: u64,
    /// The stream did not take them: a disk is full, a reader has left.
    pub(crate) failed: u64,
}

struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    /// How many of these are said.
    said: usize,
    /// Lines that were offered, and wait or are being written.
    lines: usize,
    /// Bytes in these.
    bytes: usize,
    offered: Offered,
    /// Whether somebody lost patience since the last write that was finished.
    stuck: bool,
    /// Nothing more is written: there is no thread, or nobody who could give it something.
    is_over: bool,
}

enum Piece {
    Said {
        text: Vec<u8>,
        done: SyncSender<io::Result<()>>,
    },
    Line(Vec<u8>),
    /// So many lines are missing here. Two of them never follow each other.
    Gap(u64),
}

/// The thread's side of the stream.
struct Pen<W> {
    stream: W,
    /// Lines that are missing, which the stream has not been told.
    missing: u64,
    /// The last write broke off in the middle of a line.
    is_torn: bool,
}

// === impl Voice ===

impl Voice {
    pub(crate) fn new(stream: impl Write + Send + 'static, limits: Limits) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), more: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("teleflow-talk".to_owned())
            .spawn(move || perform(stream, &theirs));
        // Without a thread every write fails, which is as good as a stream that is closed.
        shared.lock().is_over = thread.is_err();
        Self { shared, limits }
    }

    /// Gives it a line, and does not wait: where there is no room, the line is left out and counted.
    pub(crate) fn offer(&self, line: Vec<u8>) {
        let mut state = self.shared.lock();
        let has_room = state.lines < self.limits.max_lines
            && line.len() <= self.limits.max_bytes - state.bytes
            && !state.is_over;
        if has_room {
            state.lines += 1;
            state.bytes += line.len();
            state.waiting.push_back(Piece::Line(line));
        } else {
            state.offered.left_out += 1;
            if let Some(Piece::Gap(missing)) = state.waiting.back_mut() {
                *missing += 1;
            } else if !state.is_over {
                state.waiting.push_back(Piece::Gap(1));
            }
        }
        drop(state);
        self.shared.more.notify_one();
    }

    /// What became of the lines that were offered.
    pub(crate) fn offered(&self) -> Offered {
        self.shared.lock().offered
    }

    /// Waits until everything is written that was given before, as long as for one more line.
    pub(crate) fn finish(mut self: &Self) {
        // What is not written by then is not said.
        _ = self.write(b"");
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody reads the output")
}

impl Write for &Voice {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let (done, answer) = sync_channel(1);
        let mut state = self.shared.lock();
        if state.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.stuck || state.said == self.limits.max_said {
            return Err(timed_out());
        }
        state.said += 1;
        state.waiting.push_back(Piece::Said { text: text.to_vec(), done });
        drop(state);
        self.shared.more.notify_one();
        let written = answer.recv_timeout(self.limits.patience).or_else(|_| {
            let mut state = self.shared.lock();
            answer.try_recv().inspect_err(|_| state.stuck = true)
        });
        written.unwrap_or_else(|_| Err(timed_out())).map(|()| text.len())
    }

    /// Every write is flushed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.more.notify_one();
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice").field("offered", &self.offered()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write; `None` when there will be nothing more.
    fn next(&self) -> Option<Piece> {
        let waits = |state: &mut State| state.waiting.is_empty() && !state.is_over;
        let state = self.more.wait_while(self.lock(), waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let piece = state.waiting.pop_front()?;
        state.said -= usize::from(matches!(piece, Piece::Said { .. }));
        Some(piece)
    }
}

/// Writes what it is given until nobody can give more.
fn perform(stream: impl Write, shared: &Shared) {
    let mut pen = Pen { stream, missing: 0, is_torn: false };
    while let Some(piece) = shared.next() {
        if let Piece::Gap(missing) = piece {
            pen.missing += missing;
        }
        pen.tell_missing();
        let (text, done) = match &piece {
            Piece::Said { text, done } => (text, Some(done)),
            Piece::Line(line) => (line, None),
            Piece::Gap(_) => continue,
        };
        let written = pen.write(text);
        let mut state = shared.lock();
        // It moves again. Answered under the lock, so that who loses patience at this moment either
        // finds the answer or is heard before the next one.
        state.stuck = false;
        match done {
            // Whoever lost patience does not listen any more.
            Some(done) => _ = done.send(written),
            None => {
                state.lines -= 1;
                state.bytes -= text.len();
                if written.is_ok() {
                    state.offered.written += 1;
                } else {
                    state.offered.failed += 1;
                    pen.missing += 1;
                }
            }
        }
    }
}

// === impl Pen ===

impl<W: Write> Pen<W> {
    /// Says how many lines are missing, if any are. They are told again where that fails.
    fn tell_missing(&mut self) {
        let lines = match self.missing {
            0 => return,
            1 => "1 line of the log was".to_owned(),
            missing => format!("{missing} lines of the log were"),
        };
        if self.write(format!("teleflow: {lines} left out\n").as_bytes()).is_ok() {
            self.missing = 0;
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.stream.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = text;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.is_torn = !rest.is_empty();
        }
        self.stream.flush()
    }
}
