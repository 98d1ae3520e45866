//! A thread that owns a spool, for callers on tokio: group commit, readers that wait, paced drain.

mod keeper;

use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::keeper::Keeper;
use crate::{
    AppendError, Config, Disk, Folder, OpenError, ReaderError, ReaderId, ReaderStats, Record,
    Report, Spool, Stats,
};

/// What an append costs beside its body, in bytes.
const OVERHEAD: usize = 128;

/// How a shell takes appends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellConfig {
    /// Bytes of appends that wait for the thread, at most; further callers wait. A single one may
    /// be longer.
    pub queue_bytes: u32,
    /// How often the thread looks after age and intervals when nothing else happens, and keeps the
    /// progress of readers that nobody waits for.
    pub tick: Duration,
    /// Records that some reader has not passed, at most. An append beyond it finds no room, whatever
    /// the spool does when its bytes are used up.
    pub max_records: Option<NonZeroU64>,
    /// The same of items. A record with more is never taken.
    pub max_items: Option<NonZeroU64>,
}

/// What becomes of an append for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoRoom {
    /// It fails.
    #[default]
    Fail,
    /// It waits, and those after it wait behind it, until there is room.
    Wait,
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

/// A place in the line of appends, taken with [`Shell::reserve`]. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "the place is given back at once"]
pub struct Place(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What a spool and one of its readers have counted, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the reader.
    pub reader: ReaderStats,
    /// Of the spool.
    pub spool: Stats,
}

/// Says of a reader what is done with. Clones are of the same reader.
#[derive(Clone, Debug)]
pub struct Acker {
    shell: Shell,
    id: ReaderId,
}

/// One reader of a shell.
#[derive(Debug)]
pub struct ShellReader {
    acker: Acker,
    snapshots: watch::Receiver<Snapshot>,
    /// An answer that is under way, kept so that nothing is lost when `next` is dropped.
    pending: Option<Answer<Record>>,
    pace: Pace,
    /// When the next record may be given.
    free_at: Option<Instant>,
}

type Answer<T> = oneshot::Receiver<Result<T, ShellError>>;
type Reply<T> = oneshot::Sender<Result<T, ShellError>>;

enum Command {
    Append(Append),
    Reader { name: String, reply: Reply<(ReaderId, watch::Receiver<Snapshot>)> },
    Read { id: ReaderId, reply: Reply<Record> },
    Ack { id: ReaderId, sequence: u64, reply: Reply<bool> },
    Done { id: ReaderId, sequence: u64, told: Box<dyn FnOnce(bool) + Send> },
    Stats { reply: Reply<Stats> },
    Close { reply: Reply<()> },
}

struct Append {
    kind: u8,
    items: u32,
    body: Bytes,
    no_room: NoRoom,
    told: Box<dyn FnOnce(Result<u64, ShellError>) + Send>,
    /// Held as long as the append is in memory.
    place: Place,
}

// === impl ShellConfig ===

impl Default for ShellConfig {
    /// 16 MiB, ten times a second, and no limit of records or items.
    fn default() -> Self {
        Self {
            queue_bytes: 16 << 20,
            tick: Duration::from_millis(100),
            max_records: None,
            max_items: None,
        }
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
        let keeper = Keeper::new(spool, config);
        let thread = std::thread::Builder::new()
            .name("teleflow-spool".to_owned())
            .spawn(move || keeper.run(&received))?;
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
        let place = self.reserve(body.len()).await?;
        let (reply, answer) = oneshot::channel();
        // Whoever went away needs no answer.
        let told = move |appended| _ = reply.send(appended);
        self.submit(place, kind, items, body, NoRoom::Fail, told)?;
        answer.await.map_err(|_| ShellError::Closed)?
    }

    /// Waits for a place in the line of appends for a body of so many bytes. Dropped before it
    /// returned, no place is taken.
    ///
    /// # Errors
    ///
    /// The spool is closed.
    pub async fn reserve(&self, bytes: usize) -> Result<Place, ShellError> {
        let cost = u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX).min(self.queue_bytes);
        let permit = self.queue.clone().acquire_many_owned(cost).await;
        Ok(Place(permit.map_err(|_| ShellError::Closed)?))
    }

    /// Appends a record and does not wait: `told` is called with what [`append`](Self::append) would
    /// return, on the thread of the spool. It should be short, and must not panic. Records go in
    /// in the order of the calls.
    ///
    /// # Errors
    ///
    /// The spool is closed; `told` is dropped then, here or later, and not called.
    pub fn submit(
        &self,
        place: Place,
        kind: u8,
        items: u32,
        body: Bytes,
        no_room: NoRoom,
        told: impl FnOnce(Result<u64, ShellError>) + Send + 'static,
    ) -> Result<(), ShellError> {
        let told = Box::new(told);
        let append = Append { kind, items, body, no_room, told, place };
        self.commands.send(Command::Append(append)).map_err(|_| ShellError::Closed)
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
        let (id, snapshots) = self.ask(|reply| Command::Reader { name, reply }).await?;
        let acker = Acker { shell: self.clone(), id };
        Ok(ShellReader { acker, snapshots, pending: None, pace, free_at: None })
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
            let Acker { shell, id } = &self.acker;
            self.pending = Some(shell.send(|reply| Command::Read { id: *id, reply })?);
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

    /// Says what is done with, also while a record is waited for.
    pub fn acker(&self) -> Acker {
        self.acker.clone()
    }

    /// What is counted for this reader, kept up to date by the thread. Who waits for a change is
    /// told when something was lost; the rest changes without a word.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// [`Acker::ack`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn ack(&self, sequence: u64) -> Result<bool, ShellError> {
        self.acker.ack(sequence).await
    }
}

// === impl Acker ===

impl Acker {
    /// Takes note that a record is done with, in any order; returns once that is kept as the
    /// configuration says. False where it was acknowledged already, not given, or dropped meanwhile.
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

    /// Takes note that a record is done with, and does not wait: `told` is called with what
    /// [`ack`](Self::ack) would return, on the thread of the spool, before that is kept. It is kept
    /// within a [`tick`](ShellConfig::tick), so that a crash gives again what was done with in that
    /// time. `told` should be short, and must not panic.
    ///
    /// # Errors
    ///
    /// The spool is closed; `told` is dropped then, here or later, and not called.
    pub fn done(
        &self,
        sequence: u64,
        told: impl FnOnce(bool) + Send + 'static,
    ) -> Result<(), ShellError> {
        let done = Command::Done { id: self.id, sequence, told: Box::new(told) };
        self.shell.commands.send(done).map_err(|_| ShellError::Closed)
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
