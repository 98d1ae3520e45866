//! Reading a store.

mod requests;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use teleflow_otlp::span::StatusCode;

use crate::{OpenError, ReadError, SCHEMA_VERSION, schema};

/// Reads a store, also while it is being written.
///
/// Its methods block and each sees the file as it is at that moment. Anything that they do not
/// answer is a query away: see `docs/store.md`.
#[derive(Debug)]
pub struct SqliteReader {
    db: Connection,
}

/// What a waterfall needs of a span.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StoredSpan {
    /// In lower-case hexadecimal.
    pub span_id: String,
    /// In lower-case hexadecimal; `None` for a root.
    pub parent_span_id: Option<String>,
    /// Of its resource; empty where it has none.
    pub service_name: String,
    /// The operation.
    pub name: String,
    /// `SpanKind` as the protocol numbers it.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Its status.
    pub status: StatusCode,
    /// What the application says about the status.
    pub status_message: String,
}

// === impl SqliteReader ===

impl SqliteReader {
    /// Opens a store for reading.
    ///
    /// # Errors
    ///
    /// If there is no file, or it is not a store of this version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let path = &std::path::absolute(path).map_err(|error| OpenError::from_io(path, error))?;
        let sqlite = |error| OpenError::from_sqlite(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)
            .map_err(|_| OpenError::NotReadable { path: path.clone() })?;
        db.busy_timeout(Duration::from_secs(5)).map_err(sqlite)?;
        match schema::recognise(&db, path)? {
            schema::Found::Version(SCHEMA_VERSION) => Ok(Self { db }),
            schema::Found::Version(found) => {
                Err(OpenError::Older { path: path.clone(), found, supported: SCHEMA_VERSION })
            }
            schema::Found::Nothing => {
                Err(OpenError::Foreign { path: path.clone(), application_id: 0, version: 0 })
            }
        }
    }

    /// How many spans it holds.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn span_count(&self) -> Result<u64, ReadError> {
        self.count("SELECT count(*) FROM spans")
    }

    /// How many log records it holds.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn log_count(&self) -> Result<u64, ReadError> {
        self.count("SELECT count(*) FROM logs")
    }

    /// How many metric data points it holds.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn metric_point_count(&self) -> Result<u64, ReadError> {
        self.count("SELECT count(*) FROM metric_points")
    }

    /// The id of the trace that took longest, in lower-case hexadecimal.
    ///
    /// With `require_root` that is the trace of the longest root span, found by an index. Else it
    /// is the trace with the most time from its first start to its last end, for which every span
    /// is read. Spans that end before they start count as the shortest.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn slowest_trace(&self, require_root: bool) -> Result<Option<String>, ReadError> {
        let sql = if require_root {
            "SELECT trace_id FROM spans WHERE parent_span_id IS NULL
             ORDER BY duration_nano DESC LIMIT 1"
        } else {
            "SELECT trace_id FROM spans GROUP BY trace_id
             ORDER BY max(end_time_unix_nano) - min(start_time_unix_nano) DESC LIMIT 1"
        };
        Ok(self.db.query_row(sql, (), |row| row.get(0)).optional()?)
    }

    /// The spans of a trace, by when they started. Empty where there is none of that id, which is
    /// given in lower-case hexadecimal.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn trace(&self, trace_id: &str) -> Result<Vec<StoredSpan>, ReadError> {
        let mut statement = self.db.prepare_cached(
            "SELECT span_id, parent_span_id, service_name, name, kind, start_time_unix_nano,
                 end_time_unix_nano, status_code, status_message
             FROM spans WHERE trace_id = ?1 ORDER BY start_time_unix_nano, id",
        )?;
        let spans = statement.query_map([trace_id], |row| {
            Ok(StoredSpan {
                span_id: row.get(0)?,
                parent_span_id: row.get(1)?,
                service_name: row.get(2)?,
                name: row.get(3)?,
                kind: row.get(4)?,
                start: nanos(row.get(5)?),
                end: nanos(row.get(6)?),
                status: StatusCode::from_number(row.get(7)?),
                status_message: row.get(8)?,
            })
        })?;
        Ok(spans.collect::<Result<_, _>>()?)
    }

    fn count(&self, sql: &str) -> Result<u64, ReadError> {
        let rows: i64 = self.db.query_row(sql, (), |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }
}

/// The store writes no negative times.
fn nanos(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
