//! The database as its writer sees it: rows go in by transactions, and the oldest go when it is
//! full.
//!
//! Row ids are one sequence for all tables, so that "the oldest" is one question. Space that
//! evicted rows leave is used again; the file is made shorter only where it is over its bound, as
//! it is when the bound was lowered between two runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, Error, ErrorCode, ffi};
use teleflow_otlp::Signal;

use crate::budget::{Budget, Cost, PAGE};
use crate::schema::pragma;
use crate::store::{Rows, StoreStats};

/// The tables, in the order of [`Signal::index`].
const TABLES: [&str; 3] = ["spans", "metric_points", "logs"];

/// A connection whose files stay within a [`Budget`].
#[derive(Debug)]
pub(crate) struct Bounded<'db> {
    db: &'db Connection,
    path: PathBuf,
    log_path: PathBuf,
    budget: Budget,
    counters: Arc<Counters>,
    /// The rows of the open transaction, by [`Signal::index`].
    rows: [u64; 3],
    /// What they may write.
    cost: Cost,
    next_id: i64,
    /// How many transactions were committed.
    commits: u64,
    /// The estimates were too low once: evict before the next transaction, however it looks.
    overrun: bool,
}

/// What the writer did, for others to read.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stored: [AtomicU64; 3],
    evicted: [AtomicU64; 3],
    rejected: AtomicU64,
    transactions: AtomicU64,
}

// === impl Bounded ===

impl<'db> Bounded<'db> {
    pub(crate) fn new(
        db: &'db Connection,
        path: &Path,
        budget: Budget,
        counters: Arc<Counters>,
    ) -> Self {
        let mut log_path = path.to_owned().into_os_string();
        log_path.push("-wal");
        Self {
            db,
            path: path.to_owned(),
            log_path: log_path.into(),
            budget,
            counters,
            rows: [0; 3],
            cost: Cost::default(),
            next_id: 1,
            commits: 0,
            overrun: false,
        }
    }

    /// Makes room for a row, in the open transaction or a new one, and gives its id. `None` where
    /// the row is too large for any.
    pub(crate) fn admit(&mut self, signal: Signal, cost: Cost) -> Result<Option<i64>, Error> {
        if cost.total() > self.budget.transaction {
            return Ok(None);
        }
        if !self.has_room_for(cost) {
            self.commit()?;
        }
        if self.db.is_autocommit() {
            self.begin()?;
        }
        self.cost = self.cost.and(cost);
        self.rows[signal.index()] += 1;
        let id = self.next_id;
        self.next_id += 1;
        Ok(Some(id))
    }

    /// Whether rows of this cost would still go into the open transaction.
    pub(crate) const fn has_room_for(&self, cost: Cost) -> bool {
        self.cost.and(cost).total() <= self.budget.transaction
    }

    /// How many transactions were committed so far.
    pub(crate) const fn commits(&self) -> u64 {
        self.commits
    }

    /// Counts items that were too large, once that is their payload's final answer.
    pub(crate) fn count_rejected(&self, items: u64) {
        self.counters.rejected.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Commits the open transaction, if there is one.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        if self.db.is_autocommit() {
            return Ok(());
        }
        self.db.execute_batch("COMMIT")?;
        self.commits += 1;
        self.cost = Cost::default();
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        add(&self.counters.stored, std::mem::take(&mut self.rows));
        Ok(())
    }

    /// Undoes the open transaction, if there is one.
    pub(crate) fn roll_back(&mut self, because: &Error) {
        self.cost = Cost::default();
        self.rows = [0; 3];
        self.overrun |= because.sqlite_error_code() == Some(ErrorCode::DiskFull);
        if !self.db.is_autocommit() {
            // After some errors SQLite has done it already; there is nothing more to try.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Evicts until a transaction fits, and makes the file shorter if it is over its bound.
    pub(crate) fn make_room(&mut self) -> Result<(), Error> {
        loop {
            let pages = pragma(self.db, "page_count")? as u64;
            let free = pragma(self.db, "freelist_count")? as u64;
            if (pages - free) * PAGE > self.budget.full || self.overrun {
                self.make_log_room()?;
                if self.evict()? > 0 {
                    self.overrun = false;
                    continue;
                }
            }
            if pages * PAGE <= self.budget.database || free == 0 {
                return Ok(());
            }
            self.make_log_room()?;
            let excess = pages - self.budget.database / PAGE;
            self.vacuum(excess.min(self.budget.pages_per_vacuum()))?;
            if pragma(self.db, "page_count")? as u64 >= pages {
                // Somebody rebuilt the file so that it cannot shrink; its space is used again.
                return Ok(());
            }
        }
    }

    /// Copies what the write-ahead log holds into the database, as far as no reader is in the way.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        self.run_checkpoint("PASSIVE").map(drop)
    }

    /// The same, and empties the log.
    pub(crate) fn empty_log(&self) -> Result<(), Error> {
        self.run_checkpoint("TRUNCATE").map(drop)
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.make_room()?;
        self.make_log_room()?;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        // Asked for each time: another process may write too.
        let newest: Option<i64> = self.ids("max")?;
        self.next_id = newest.map_or(1, |id| id + 1);
        Ok(())
    }

    /// Deletes the oldest rows, as many as one transaction may, and says how many that were.
    fn evict(&mut self) -> Result<u64, Error> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let deleted = self.delete_oldest().and_then(|deleted| {
            self.db.execute_batch("COMMIT")?;
            Ok(deleted)
        });
        match &deleted {
            Ok(rows) => add(&self.counters.evicted, *rows),
            Err(error) => self.roll_back(error),
        }
        Ok(deleted?.iter().sum())
    }

    fn delete_oldest(&self) -> Result<[u64; 3], Error> {
        let mut deleted = [0; 3];
        let Some(oldest) = self.ids("min")? else { return Ok(deleted) };
        let end = oldest + self.budget.rows_per_eviction() as i64;
        for (table, deleted) in TABLES.iter().zip(&mut deleted) {
            let sql = format!("DELETE FROM {table} WHERE id < ?1");
            *deleted = self.db.prepare_cached(&sql)?.execute([end])? as u64;
        }
        Ok(deleted)
    }

    /// The least or greatest id of all tables.
    fn ids(&self, which: &str) -> Result<Option<i64>, Error> {
        let [a, b, c] = TABLES.map(|table| format!("SELECT {which}(id) AS id FROM {table}"));
        let sql = format!("SELECT {which}(id) FROM ({a} UNION ALL {b} UNION ALL {c})");
        self.db.prepare_cached(&sql)?.query_row((), |row| row.get(0))
    }

    /// Gives up to `pages` free pages back to the file system.
    fn vacuum(&self, pages: u64) -> Result<(), Error> {
        let mut statement = self.db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut steps = statement.query(())?;
        // Each step frees a page.
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// Makes sure that the write-ahead log can take a transaction.
    fn make_log_room(&self) -> Result<(), Error> {
        let bytes = fs::metadata(&self.log_path).map_or(0, |file| file.len());
        if bytes <= self.budget.log_before_transaction() {
            return Ok(());
        }
        let Checkpoint { busy, frames } = self.run_checkpoint("TRUNCATE")?;
        if !busy || frames <= self.budget.frames_before_transaction() {
            return Ok(());
        }
        let message = "a reader keeps the write-ahead log from being emptied";
        Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), Some(message.to_owned())))
    }

    fn run_checkpoint(&self, mode: &str) -> Result<Checkpoint, Error> {
        self.db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| {
            let frames: i64 = row.get(1)?;
            Ok(Checkpoint { busy: row.get(0)?, frames: u64::try_from(frames).unwrap_or(0) })
        })
    }
}

/// What a checkpoint came to.
struct Checkpoint {
    /// It could not finish.
    busy: bool,
    /// How many frames the log holds.
    frames: u64,
}

// === impl Counters ===

impl Counters {
    pub(crate) fn read(&self) -> StoreStats {
        StoreStats {
            stored: rows(&self.stored),
            evicted: rows(&self.evicted),
            rejected: self.rejected.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
        }
    }
}

fn add(to: &[AtomicU64; 3], rows: [u64; 3]) {
    to.iter().zip(rows).for_each(|(to, rows)| {
        to.fetch_add(rows, Ordering::Relaxed);
    });
}

fn rows(from: &[AtomicU64; 3]) -> Rows {
    let [spans, metric_points, logs] = from.each_ref().map(|rows| rows.load(Ordering::Relaxed));
    Rows { spans, metric_points, logs }
}
