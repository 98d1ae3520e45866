//! A queue on disk in front of an exporter.
//!
//! A batch is answered for as soon as it is on disk: who waits for the result is told then that it
//! arrived. Consumers read the disk in order and export; a record is done with when its destination
//! took it or refused it for good. What could be sent again stays, however long that takes: only the
//! bounds of the disk end it. What is on disk at the end is there at the next start, and in the books
//! as held.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use teleflow_exporter::{
    AnyExporter, Delivered, ExportError, ExportTimes, Exporter as _, OnFull, QueueConfig,
    QueueStats, Refused, Retry, RetryConfig, Tally,
};
use teleflow_otlp::{Ack, Answer, Payload, Signal};
use teleflow_spool::{
    Acker, AppendError, NoRoom, Record, Shell, ShellError, ShellReader, Snapshot,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Storage, StorageError};
use crate::books::{Entries, QUEUE_FULL, SHUTDOWN, TOO_LARGE};

/// The one reader of each spool.
const READER: &str = "exporter";

/// The reason of what the disk could not take.
const STORAGE: &str = "storage_failed";

/// How long to wait before the disk is read again that could not be read.
const READ_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct PersistentQueue {
    shell: Shell,
    signal: Signal,
    no_room: NoRoom,
    exporter: Arc<Retry<AnyExporter>>,
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

/// What the consumers and who asks about them share.
#[derive(Debug)]
struct Shared {
    entries: Arc<Entries>,
    state: Mutex<State>,
    snapshots: watch::Receiver<Snapshot>,
}

#[derive(Debug, Default)]
struct State {
    times: ExportTimes,
    /// Being exported.
    requests: usize,
    items: u64,
    bytes: usize,
    /// Of what the spool lost: entered in the books.
    lost: Lost,
}

/// Items that the spool lost, by reason.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    full: u64,
    age: u64,
    damaged: u64,
}

/// A batch on its way to the disk; what it does not get told is lost.
struct Entering {
    entries: Arc<Entries>,
    items: u64,
    ack: Ack,
    is_over: bool,
}

/// One of those who export.
struct Consumer {
    reader: Arc<tokio::sync::Mutex<ShellReader>>,
    acker: Acker,
    exporter: Arc<Retry<AnyExporter>>,
    shared: Arc<Shared>,
    signal: Signal,
    folder: Arc<PathBuf>,
    stop: CancellationToken,
}

/// A record in a consumer's hands, as long as it is counted as being exported.
struct Flight<'a> {
    shared: &'a Shared,
    items: u64,
    bytes: usize,
    since: Instant,
}

// === impl PersistentQueue ===

impl PersistentQueue {
    /// Opens what is on disk, and begins to export it.
    pub(crate) async fn open(
        exporter: AnyExporter,
        (name, lane): (&str, &str),
        storage: &Storage,
        config: &QueueConfig,
        entries: Arc<Entries>,
    ) -> Result<Self, StorageError> {
        let (shell, report, folder) = storage.open(name, lane).await?;
        if !report.is_clean() {
            tracing::warn!(folder = %folder.display(), ?report, "a part of what was on disk is lost");
        }
        let failed = |error: ShellError| StorageError::Io {
            folder: folder.clone(),
            source: std::io::Error::other(error),
        };
        let reader = shell.reader(READER, storage.pace).await.map_err(failed)?;
        let snapshots = reader.snapshots();
        let found = snapshots.borrow().reader.held;
        if found.records > 0 {
            let folder = folder.display();
            tracing::info!(%folder, requests = found.records, items = found.items, "found on disk");
        }
        entries.recover(found.items);
        // Not by the clock is it given up, but by the bounds of the disk.
        let patience = RetryConfig { max_elapsed_time: Duration::ZERO, ..RetryConfig::default() };
        let exporter = Retry::new(exporter, patience);
        let exporter = Arc::new(exporter.map_err(|error| StorageError::Io {
            folder: folder.clone(),
            source: std::io::Error::other(error),
        })?);
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { entries, state, snapshots: snapshots.clone() });
        let signal = shared.entries.signal();
        let stop = CancellationToken::new();
        let acker = reader.acker();
        let reader = Arc::new(tokio::sync::Mutex::new(reader));
        let folder = Arc::new(folder);
        let mut tasks = JoinSet::new();
        for _ in 0..config.num_consumers.get() {
            let consumer = Consumer {
                reader: Arc::clone(&reader),
                acker: acker.clone(),
                exporter: Arc::clone(&exporter),
                shared: Arc::clone(&shared),
                signal,
                folder: Arc::clone(&folder),
                stop: stop.clone(),
            };
            tasks.spawn(consumer.run());
        }
        tasks.spawn(keep_books(Arc::clone(&shared), snapshots, stop.clone()));
        let no_room = match config.on_full {
            OnFull::Reject => NoRoom::Fail,
            OnFull::Wait => NoRoom::Wait,
        };
        let tasks = Mutex::new(tasks);
        Ok(Self { shell, signal, no_room, exporter, shared, tasks, stop })
    }

    /// Hands `batch` to the disk. Waits only while too much waits for it already; what becomes of
    /// the batch is entered in the books, and said to who waits for it, when it is known.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the batch, which was not taken then.
    pub(crate) async fn push(&self, mut batch: Payload) -> Result<(), Refused> {
        debug_assert_eq!(batch.signal(), self.signal, "a queue is for one signal");
        if batch.is_empty() {
            return Ok(());
        }
        let Ok(place) = self.shell.reserve(batch.bytes()).await else {
            return Err(Refused::Closed(batch));
        };
        // From here on nothing waits.
        let (items, ack) = (batch.items(), batch.take_ack());
        let entries = Arc::clone(&self.shared.entries);
        let entering = Entering { entries, items, ack, is_over: false };
        let count = u32::try_from(items).unwrap_or(u32::MAX);
        let told = move |appended| entering.end(appended);
        let (kind, body) = (self.signal.index() as u8, batch.to_bytes());
        // Closed: what was to be told is dropped, and says so itself.
        let _ = self.shell.submit(place, kind, count, body, self.no_room, told);
        Ok(())
    }

    /// Ends the exports, and leaves on disk what they did not deliver. What is being sent has until
    /// `deadline`; waits between attempts end at once.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.stop.cancel();
        self.exporter.interrupt();
        let ended = async { while self.next_end().await.is_some() {} };
        // Where they did not end in time, what they have is sent again after the next start.
        let _ = timeout_at(deadline, ended).await;
        self.lock_tasks().abort_all();
        while self.next_end().await.is_some() {}
        if let Err(error) = self.shell.close().await {
            tracing::error!(%error, "the queue on disk was not closed as it should be");
        }
        self.shared.enter_lost();
    }

    pub(crate) fn stats(&self) -> QueueStats {
        let snapshot = *self.shared.snapshots.borrow();
        let state = self.shared.lock();
        let held = snapshot.reader.held;
        let requests = usize::try_from(held.records).unwrap_or(usize::MAX);
        let bytes = usize::try_from(snapshot.spool.bytes).unwrap_or(usize::MAX);
        QueueStats {
            queued_requests: requests.saturating_sub(state.requests),
            queued_items: held.items.saturating_sub(state.items),
            queued_bytes: bytes.saturating_sub(state.bytes),
            in_flight_requests: state.requests,
            in_flight_items: state.items,
            in_flight_bytes: state.bytes,
        }
    }

    pub(crate) fn take_export_times(&self) -> impl Iterator<Item = Duration> + use<> {
        self.shared.lock().times.take()
    }

    /// Waits until one more task has ended; `None` when all have.
    async fn next_end(&self) -> Option<()> {
        std::future::poll_fn(|cx| self.lock_tasks().poll_join_next(cx)).await.map(drop)
    }

    fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code between the locks can leave a count half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters in the books what the spool has lost since this was last done.
    fn enter_lost(&self) {
        let reader = self.snapshots.borrow().reader;
        let now = Lost {
            full: reader.dropped_size.items,
            age: reader.dropped_age.items,
            damaged: reader.damaged.items,
        };
        let before = std::mem::replace(&mut self.lock().lost, now);
        for (reason, items) in [
            ("storage_full", now.full - before.full),
            ("storage_age", now.age - before.age),
            ("storage_damaged", now.damaged - before.damaged),
        ] {
            if items > 0 {
                self.entries.enter(&Tally { dropped: vec![(reason, items)], ..Tally::default() });
            }
        }
    }
}

/// Enters in the books what the spool loses, as it does.
async fn keep_books(
    shared: Arc<Shared>,
    mut snapshots: watch::Receiver<Snapshot>,
    stop: CancellationToken,
) {
    loop {
        shared.enter_lost();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}

// === impl Entering ===

impl Entering {
    fn end(mut self, appended: Result<u64, ShellError>) {
        self.is_over = true;
        let reason = match &appended {
            Ok(_) => {
                // From now on the disk answers for it.
                std::mem::take(&mut self.ack).settle(Answer::delivered(self.items));
                return;
            }
            Err(ShellError::Append(AppendError::Full { .. })) => QUEUE_FULL,
            Err(ShellError::Append(
                AppendError::TooLarge { .. } | AppendError::TooManyItems { .. },
            )) => TOO_LARGE,
            Err(ShellError::Closed) => SHUTDOWN,
            Err(error) => {
                tracing::error!(%error, items = self.items, "the disk does not take a batch");
                STORAGE
            }
        };
        self.lose(reason);
    }

    fn lose(&self, reason: &'static str) {
        let dropped = vec![(reason, self.items)];
        self.entries.enter(&Tally { dropped, ..Tally::default() });
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if !self.is_over {
            self.lose(SHUTDOWN);
        }
    }
}

// === impl Consumer ===

impl Consumer {
    async fn run(self) {
        loop {
            let record = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                record = self.next() => record,
            };
            match record {
                Ok(record) => self.deliver(record).await,
                Err(ShellError::Closed) => return,
                Err(error) => {
                    tracing::warn!(folder = %self.folder.display(), %error, "cannot read");
                    sleep(READ_PAUSE).await;
                }
            }
        }
    }

    async fn next(&self) -> Result<Record, ShellError> {
        self.reader.lock().await.next().await
    }

    /// Exports one record, until nothing more can be done for it or the end has come.
    async fn deliver(&self, record: Record) {
        let items = u64::from(record.items);
        let flight = Flight::begin(&self.shared, &record);
        // The checksum says that it is what this program wrote.
        let payload = Payload::trusted(self.signal, record.body, items);
        let result = self.export(payload).await;
        drop(flight);
        if !is_settled(&result) {
            // It stays on disk, for the next start.
            return;
        }
        let tally = Tally::of(items, result.as_ref());
        let shared = Arc::clone(&self.shared);
        let told = move |is_new| {
            // Otherwise the spool has dropped it meanwhile, and that is in the books.
            if is_new {
                shared.entries.enter(&tally);
            }
        };
        // Closed: it comes again after the next start.
        let _ = self.acker.done(record.sequence, told);
    }

    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        // Inside of the block, so that a panic before the first await is caught too.
        let export = AssertUnwindSafe(async { self.exporter.export(payload).await });
        export.catch_unwind().await.unwrap_or(Err(ExportError::Panicked))
    }
}

/// Whether nothing of it can be sent again.
fn is_settled(result: &Result<Delivered, ExportError>) -> bool {
    match result {
        Ok(_) => true,
        Err(ExportError::Closed) => false,
        Err(ExportError::Undelivered(part)) => {
            part.left.iter().all(|left| !left.error.is_retryable())
        }
        Err(error) => !error.is_retryable(),
    }
}

// === impl Flight ===

impl<'a> Flight<'a> {
    fn begin(shared: &'a Shared, record: &Record) -> Self {
        let (items, bytes) = (u64::from(record.items), record.body.len());
        let mut state = shared.lock();
        state.requests += 1;
        state.items += items;
        state.bytes += bytes;
        drop(state);
        Self { shared, items, bytes, since: Instant::now() }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.requests -= 1;
        state.items -= self.items;
        state.bytes -= self.bytes;
        state.times.add(self.since.elapsed());
    }
}
