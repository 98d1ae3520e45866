//! A thread that owns a spool, for callers on tokio: group commit, readers that wait, paced drain.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::{
    AppendError, Config, Disk, Folder, OpenError, Read, ReaderError, ReaderId, ReaderStats, Record,
    Report, Spool, Stats,
};

/// What an append costs beside its body, in bytes.
const OVERHEAD: usize = 128;

/// Commands of one group, at most.
const GROUP: usize = 1024;

/// How a shell takes appends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellConfig {
    /// Bytes of appends that wait for the thread, at most; further callers wait. A single one may
    /// be longer.
    pub queue_bytes: u32,
    /// How often the thread looks after age and intervals when nothing else happens.
    pub tick: Duration,
}

/// How fast a reader is given records, so that a backend that is back is not run over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// At most so many a second.
    pub records: Option<NonZeroU32>,
    /// Bodies of at most so many bytes a second.
    pub bytes: Option<NonZeroU32>,
}

/// Why a shell did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The append was not taken.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The name of a reader is no good.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// The disk failed.
    #[error("the spool: {0}")]
    Io(#[from] io::Error),
    /// The spool is closed.
    #[error("the spool is closed")]
    Closed,
}

/// A spool for callers on tokio. Clones are the same one; it ends with the last clone and reader.
#[derive(Clone, Debug)]
pub struct Shell {
    commands: mpsc::Sender<Command>,
    queue: Arc<Semaphore>,
    queue_bytes: u32,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// One reader of a shell.
#[derive(Debug)]
pub struct ShellReader {
    shell: Shell,
    id: ReaderId,
    /// An answer that is under way, kept so that nothing is lost when `next` is dropped.
    pending: Option<Answer<Record>>,
    pace: Pace,
    /// When the next record may be given.
    free_at: Option<Instant>,
}

type Answer<T> = oneshot::Receiver<Result<T, ShellError>>;
type Reply<T> = oneshot::Sender<Result<T, ShellError>>;

#[derive(Debug)]
enum Command {
    Append { kind: u8, items: u32, body: Bytes, reply: Reply<u64>, _permit: OwnedSemaphorePermit },
    Reader { name: String, reply: Reply<ReaderId> },
    Read { id: ReaderId, reply: Reply<Record> },
    Ack { id: ReaderId, sequence: u64, reply: Reply<bool> },
    Stats { reply: Reply<Stats> },
    ReaderStats { id: ReaderId, reply: Reply<Option<ReaderStats>> },
    Close { reply: Reply<()> },
}

// === impl ShellConfig ===

impl Default for ShellConfig {
    /// 16 MiB, and ten times a second.
    fn default() -> Self {
        Self { queue_bytes: 16 << 20, tick: Duration::from_millis(100) }
    }
}

// === impl Shell ===

impl Shell {
    /// Opens a spool and starts its thread. Blocks as long as it reads what is there.
    ///
    /// # Errors
    ///
    /// Those of [`Spool::open`], or no thread can be started.
    pub fn open(
        folder: impl AsRef<Path>,
        config: Config,
        shell: ShellConfig,
    ) -> Result<(Self, Report), OpenError> {
        let (spool, report) = Spool::<Folder>::open(folder, config)?;
        Ok((Self::start(spool, shell)?, report))
    }

    /// Starts the thread of a spool.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn start<D: Disk>(spool: Spool<D>, config: ShellConfig) -> io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let keeper =
            Keeper { spool, waiting: Vec::new(), committed: Vec::new(), saved: Vec::new() };
        let thread = std::thread::Builder::new()
            .name("teleflow-spool".to_owned())
            .spawn(move || keeper.run(&received, config.tick))?;
        let queue_bytes = config.queue_bytes.max(1);
        let queue = Arc::new(Semaphore::new(queue_bytes as usize));
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { commands, queue, queue_bytes, thread })
    }

    /// Appends a record, and returns once the commit of its group is through: with
    /// [`Sync::Always`](crate::Sync::Always) it is durable then.
    ///
    /// Waits while too much waits already. Dropped before it returned, the record may be in or not.
    ///
    /// # Errors
    ///
    /// There is no room, the body is too long, the disk fails, or the spool is closed.
    pub async fn append(&self, kind: u8, items: u32, body: Bytes) -> Result<u64, ShellError> {
        let cost = u32::try_from(body.len() + OVERHEAD).unwrap_or(u32::MAX).min(self.queue_bytes);
        let permit = self.queue.clone().acquire_many_owned(cost).await;
        let _permit = permit.map_err(|_| ShellError::Closed)?;
        self.ask(|reply| Command::Append { kind, items, body, reply, _permit }).await
    }

    /// Adds a reader, or takes over the one of that name, which is given again what it has not
    /// acknowledged. A name is for one at a time.
    ///
    /// Dropped before it returned, the reader may be there or not.
    ///
    /// # Errors
    ///
    /// The name is no good, there are too many, or the spool is closed.
    pub async fn reader(&self, name: &str, pace: Pace) -> Result<ShellReader, ShellError> {
        let name = name.to_owned();
        let id = self.ask(|reply| Command::Reader { name, reply }).await?;
        Ok(ShellReader { shell: self.clone(), id, pending: None, pace, free_at: None })
    }

    /// What was counted since the start. Dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// The spool is closed.
    pub async fn stats(&self) -> Result<Stats, ShellError> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    /// Makes everything durable and ends the thread; readers and later callers are told. Dropped
    /// before it returned, the spool closes all the same.
    ///
    /// # Errors
    ///
    /// The disk fails, or the spool is closed already.
    pub async fn close(&self) -> Result<(), ShellError> {
        let closed = self.ask(|reply| Command::Close { reply }).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has answered, and only lets go of its files.
            let _ = thread.join();
        }
        closed
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ShellError> {
        self.send(command)?.await.map_err(|_| ShellError::Closed)?
    }

    fn send<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<Answer<T>, ShellError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| ShellError::Closed)?;
        Ok(answer)
    }
}

// === impl ShellReader ===

impl ShellReader {
    /// The next record, once there is one, the window has room and the pace allows it.
    ///
    /// Dropped before it returned, nothing is lost: the next call has the record.
    ///
    /// # Errors
    ///
    /// The disk fails, which may be tried again, or the spool is closed.
    pub async fn next(&mut self) -> Result<Record, ShellError> {
        if let Some(free_at) = self.free_at {
            sleep_until(free_at).await;
        }
        if self.pending.is_none() {
            let id = self.id;
            self.pending = Some(self.shell.send(|reply| Command::Read { id, reply })?);
        }
        let Some(pending) = &mut self.pending else { return Err(ShellError::Closed) };
        let answer = pending.await;
        self.pending = None;
        let record = answer.map_err(|_| ShellError::Closed)??;
        self.free_at = self.pace.after(record.body.len()).map(|wait| {
            let now = Instant::now();
            self.free_at.map_or(now, |free_at| free_at.max(now)) + wait
        });
        Ok(record)
    }

    /// Takes note that a record is done with, in any order; returns once that is kept as the
    /// configuration says. False where it was acknowledged already or not given.
    ///
    /// Dropped before it returned, it may count or not.
    ///
    /// # Errors
    ///
    /// The disk fails: the record may come again after a restart. Or the spool is closed.
    pub async fn ack(&self, sequence: u64) -> Result<bool, ShellError> {
        let id = self.id;
        self.shell.ask(|reply| Command::Ack { id, sequence, reply }).await
    }

    /// What was counted for this reader. Dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// The spool is closed.
    pub async fn stats(&self) -> Result<ReaderStats, ShellError> {
        let id = self.id;
        let stats = self.shell.ask(|reply| Command::ReaderStats { id, reply }).await?;
        stats.ok_or(ShellError::Closed)
    }
}

// === impl Pace ===

impl Pace {
    fn after(self, bytes: usize) -> Option<Duration> {
        let seconds = |amount: f64, rate: NonZeroU32| amount / f64::from(rate.get());
        let records = self.records.map(|rate| seconds(1.0, rate));
        let bytes = self.bytes.map(|rate| seconds(bytes as f64, rate));
        let longer = records.into_iter().chain(bytes).reduce(f64::max)?;
        Some(Duration::from_secs_f64(longer))
    }
}

// === the thread ===

struct Keeper<D> {
    spool: Spool<D>,
    /// Readers for which there was nothing, one command each.
    waiting: Vec<(ReaderId, Reply<Record>)>,
    /// Appends that the next commit answers.
    committed: Vec<(u64, Reply<u64>, OwnedSemaphorePermit)>,
    /// Acknowledgements that the next save answers.
    saved: Vec<(bool, Reply<bool>)>,
}

impl<D: Disk> Keeper<D> {
    fn run(mut self, commands: &mpsc::Receiver<Command>, tick: Duration) {
        loop {
            let first = match commands.recv_timeout(tick) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody is left to be told.
                    let _ = self.spool.close(SystemTime::now());
                    return;
                }
            };
            let now = SystemTime::now();
            let rest = std::iter::from_fn(|| commands.try_recv().ok());
            let mut close = None;
            for command in first.into_iter().chain(rest).take(GROUP) {
                if let Command::Close { reply } = command {
                    close = Some(reply);
                    break;
                }
                if !self.take(now, command) {
                    break;
                }
            }
            self.settle(now);
            if let Some(reply) = close {
                let closed = self.spool.close(SystemTime::now());
                let _ = reply.send(closed.map_err(ShellError::from));
                return;
            }
        }
    }

    /// Whoever asked and went away needs no answer; all `send`s here may fail for that. False where
    /// the disk failed, and what comes next must not share the fate of this group.
    fn take(&mut self, now: SystemTime, command: Command) -> bool {
        match command {
            Command::Append { kind, items, body, reply, _permit } => {
                match self.spool.append(now, kind, items, &body) {
                    Ok(sequence) => self.committed.push((sequence, reply, _permit)),
                    Err(error) => {
                        let whole = !matches!(error, AppendError::Io(_));
                        let _ = reply.send(Err(error.into()));
                        return whole;
                    }
                }
            }
            Command::Reader { name, reply } => {
                let id = self.spool.reader(&name);
                if let Ok(id) = id {
                    self.waiting.retain(|(waiting, _)| *waiting != id);
                }
                let _ = reply.send(id.map_err(ShellError::from));
            }
            Command::Read { id, reply } => self.waiting.push((id, reply)),
            Command::Ack { id, sequence, reply } => {
                let known = self.spool.ack(id, sequence);
                self.saved.push((known, reply));
            }
            Command::Stats { reply } => _ = reply.send(Ok(self.spool.stats())),
            Command::ReaderStats { id, reply } => _ = reply.send(Ok(self.spool.reader_stats(id))),
            Command::Close { .. } => {}
        }
        true
    }

    fn settle(&mut self, now: SystemTime) {
        // A segment that could not be removed is tried again in the next turn.
        let _ = self.spool.expire(now);
        let committed = self.spool.commit(now);
        for (sequence, reply, _permit) in self.committed.drain(..) {
            let _ = reply.send(again(&committed).map(|()| sequence));
        }
        let saved = self.spool.save(now);
        for (known, reply) in self.saved.drain(..) {
            let _ = reply.send(again(&saved).map(|()| known));
        }
        for (id, reply) in std::mem::take(&mut self.waiting) {
            if reply.is_closed() {
                continue;
            }
            let answer = match self.spool.read(id) {
                Ok(Read::Record(record)) => Ok(record),
                Ok(Read::WindowFull | Read::Empty) => {
                    self.waiting.push((id, reply));
                    continue;
                }
                Err(error) => Err(error.into()),
            };
            if reply.send(answer).is_err() {
                // The one who asked went away: it comes again to whoever takes the name over.
                self.spool.rewind(id);
            }
        }
    }
}

/// The same answer for each of a group.
fn again(result: &io::Result<()>) -> Result<(), ShellError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
    }
}
