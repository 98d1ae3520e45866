//! The store as an exporter.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use teleflow_exporter::{Delivered, ExportError, Exporter};
use teleflow_otlp::Payload;
use tokio::sync::{mpsc, oneshot};

use crate::OpenError;
use crate::bounded::{Bounded, Counters};
use crate::budget::{Budget, PAGE};
use crate::schema::{self, set_pragma};
use crate::writer::{self, Answer, Job};

/// The least that [`Config::max_bytes`] may be: 4 MiB.
pub const MIN_MAX_BYTES: u64 = 4 << 20;

/// Where a store is and how large it may become. `docs/store.md` explains the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database file: `teleflow.db`. Beside it SQLite keeps two more, `-wal` and `-shm`. It is
    /// made where there is none; its folder is not.
    pub path: PathBuf,
    /// What the three files may take together: 1 GiB, and at least [`MIN_MAX_BYTES`].
    ///
    /// When they are full, the oldest items go. About four fifths hold items and indexes, and the
    /// rest is headroom. Set it by the disk.
    pub max_bytes: u64,
    /// How many payloads may wait for the writer: 16. More wait in [`Exporter::export`].
    ///
    /// All that wait are written in one transaction where they fit, so more can be faster, and
    /// costs the memory of so many payloads.
    pub max_waiting: NonZeroUsize,
    /// How long to wait for a lock that another process holds on the file: 5 s. Then opening fails,
    /// and an export fails in a way that may be retried.
    pub busy_timeout: Duration,
}

/// Keeps what it is given in a bounded SQLite file.
///
/// One thread writes. A payload is delivered when the transaction that holds it has been committed:
/// it survives the end of the process from then on, and a power failure after the next
/// [`flush`](Exporter::flush), or when SQLite's log has been copied into the file, which happens
/// every few thousand pages. A payload that does not fit one transaction is stored in several, and
/// where one of these fails and the payload is sent again, some items may be there twice.
///
/// An item whose row takes more than a 32nd of the bound, or 32 MiB, is rejected.
///
/// Dropping a store does what [`shutdown`](Exporter::shutdown) does, and blocks for as long.
pub struct SqliteStore {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    counters: Arc<Counters>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What a store did since it was opened.
///
/// What was accepted is `stored` and `rejected` together; what is in the file is what was in it at
/// the start, and `stored`, without `evicted`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreStats {
    /// Items committed.
    pub stored: Rows,
    /// Items deleted to make room.
    pub evicted: Rows,
    /// Items that were too large.
    pub rejected: u64,
    /// Transactions that stored items.
    pub transactions: u64,
}

/// A number of rows for each table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rows {
    /// In `spans`.
    pub spans: u64,
    /// In `metric_points`.
    pub metric_points: u64,
    /// In `logs`.
    pub logs: u64,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("teleflow.db"),
            max_bytes: 1 << 30,
            max_waiting: NonZeroUsize::new(16).expect("16 is not zero"),
            busy_timeout: Duration::from_secs(5),
        }
    }
}

// === impl Rows ===

impl Rows {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.spans + self.metric_points + self.logs
    }
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the file, or makes it, and starts the thread that writes.
    ///
    /// Blocks: for milliseconds, or for as long as it takes to evict what is over the bound.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, is no store, or one that this version does not know; or if
    /// the bound is too small. A file that is not teleflow's is not changed.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let Config { path, max_bytes, max_waiting, busy_timeout } = config;
        let budget = Budget::new(max_bytes)?;
        // Also keeps SQLite from seeing anything but a path in names like `:memory:`.
        let path = std::path::absolute(&path).map_err(|error| OpenError::from_io(&path, error))?;
        let counters = Arc::new(Counters::default());
        let db = connect(&path, &budget, busy_timeout)?;
        let sqlite = |error| OpenError::from_sqlite(&path, error);
        Bounded::new(&db, &path, budget, Arc::clone(&counters)).make_room().map_err(sqlite)?;
        // The last line of defence, and the reason for a full disk where the estimates fail.
        set_pragma(&db, "max_page_count", budget.database / PAGE).map_err(sqlite)?;

        let (jobs, receiver) = mpsc::channel(max_waiting.get());
        let writer = {
            let (its_path, counters) = (path.clone(), Arc::clone(&counters));
            thread::Builder::new()
                .name("teleflow-store".to_owned())
                .spawn(move || writer::run(db, its_path, budget, counters, receiver))
                .map_err(|error| OpenError::from_io(&path, error))?
        };
        Ok(Self { path, jobs, counters, writer: Mutex::new(Some(writer)) })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it did since it was opened.
    pub fn stats(&self) -> StoreStats {
        self.counters.read()
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, ExportError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| ExportError::Closed)?;
        // The writer answers every job that it takes, unless it panics.
        answered.await.unwrap_or(Err(ExportError::Panicked))
    }

    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic was reported to whoever waited for an answer.
            let _ = writer.join();
        }
    }
}

impl Exporter for SqliteStore {
    /// Stores `payload`; resolves when it is committed.
    ///
    /// # Errors
    ///
    /// Retryable where the disk is full, the file is locked by another process, or the system
    /// refuses to write; permanent where the file is damaged. [`ExportError::Closed`] after
    /// `shutdown`, [`ExportError::Panicked`] for what waited when the writer panicked, and
    /// `Closed` from then on.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it resolves leaves it open whether the payload was stored.
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.ask(|answer| Job::Store(payload, answer)).await
    }

    /// Copies what was committed into the database file and has the system write it to the disk,
    /// as far as no reader that looks at an older state is in the way.
    async fn flush(&self) -> Result<(), ExportError> {
        self.ask(Job::Flush).await
    }

    /// Stores what was given before, empties the log, closes the file and ends the thread. Waits
    /// up to [`Config::busy_timeout`] for readers, for only without them can the log be emptied.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it resolves closes the store all the same.
    async fn shutdown(&self) -> Result<(), ExportError> {
        let result = self.ask(Job::Close).await;
        // Closing is the last thing that the thread does before it answers.
        self.join();
        match result {
            // Shut down before, or by someone else at the same time: it is what was asked for.
            Err(ExportError::Closed) => Ok(()),
            result => result,
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The writer ends when no sender is left.
        (self.jobs, _) = mpsc::channel(1);
        self.join();
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens or makes a database of the newest schema.
fn connect(path: &Path, budget: &Budget, busy_timeout: Duration) -> Result<Connection, OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        return Err(OpenError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
    }
    let sqlite = |error| OpenError::from_sqlite(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    db.busy_timeout(busy_timeout).map_err(sqlite)?;
    let found = schema::recognise(&db, path)?;
    if db.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::NotWritable { path: path.to_owned() });
    }
    if found == schema::Found::Nothing {
        // Both are fixed once there is a table.
        set_pragma(&db, "page_size", PAGE).map_err(sqlite)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(sqlite)?;
    }
    db.pragma_update(None, "cache_size", -(budget.cache_kib() as i64)).map_err(sqlite)?;
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(sqlite)?;
    if mode != "wal" {
        // A file system without shared memory, most often a network one.
        return Err(OpenError::NoLog { path: path.to_owned() });
    }
    db.pragma_update(None, "synchronous", "NORMAL").map_err(sqlite)?;
    set_pragma(&db, "wal_autocheckpoint", budget.checkpoint_pages()).map_err(sqlite)?;
    set_pragma(&db, "journal_size_limit", budget.log_before_transaction()).map_err(sqlite)?;
    schema::migrate(&db, path)?;
    Ok(db)
}

#[cfg(test)]
mod tests {
    use teleflow_otlp::Signal;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_writer_ends_the_store_and_not_its_caller() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(Config { path, ..Config::default() }).unwrap();
        store.jobs.send(Job::Panic).await.unwrap();
        let (first, _) = (store.export(Payload::empty(Signal::Logs)).await, store.join());
        assert!(matches!(first, Err(ExportError::Closed | ExportError::Panicked)));
        let second = store.export(Payload::empty(Signal::Logs)).await;
        assert!(matches!(second, Err(ExportError::Closed)));
        assert!(store.shutdown().await.is_ok());
    }
}
