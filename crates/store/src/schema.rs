//! What is in the file, and which version of it: recognising, creating and migrating.

use std::path::Path;

use rusqlite::{Connection, Error};

use crate::OpenError;

/// Marks a file as teleflow's: SQLite's `application_id`, "tlfl" in ASCII.
pub const APPLICATION_ID: i32 = 0x746c_666c;

/// The schema that this version writes: SQLite's `user_version`.
pub const SCHEMA_VERSION: i32 = STEPS.len() as i32;

/// Step `n` leads from version `n` to `n + 1`; the first makes the tables of a new file. A step
/// that was released never changes.
const STEPS: [&str; 1] = [V1];

pub(crate) const V1: &str = include_str!("schema/v1.sql");

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// A new file, or one that holds nothing.
    Nothing,
    /// A store with the schema of this version, which is not above [`SCHEMA_VERSION`].
    Version(i32),
}

/// Tells whose file it is. Changes nothing in it.
pub(crate) fn recognise(db: &Connection, path: &Path) -> Result<Found, OpenError> {
    let read = || -> Result<(i64, i64, i64), Error> {
        Ok((
            pragma(db, "application_id")?,
            pragma(db, "user_version")?,
            db.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?,
        ))
    };
    let (application_id, version, objects) =
        read().map_err(|error| OpenError::from_sqlite(path, error))?;
    // Both are 32 bits wide in the file.
    let (application_id, version) = (application_id as i32, version as i32);
    match (application_id, version, objects) {
        (APPLICATION_ID, 1..=SCHEMA_VERSION, _) => Ok(Found::Version(version)),
        (APPLICATION_ID, 1.., _) => Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            supported: SCHEMA_VERSION,
        }),
        (0, 0, 0) => Ok(Found::Nothing),
        _ => Err(OpenError::Foreign { path: path.to_owned(), application_id, version }),
    }
}

/// Brings the file to [`SCHEMA_VERSION`], in one transaction.
pub(crate) fn migrate(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::from_sqlite(path, error);
    db.execute_batch("BEGIN IMMEDIATE").map_err(sqlite)?;
    // Looked at again under the lock: another process may have been faster.
    let from = match recognise(db, path)? {
        Found::Nothing => 0,
        Found::Version(version) => version,
    };
    for step in &STEPS[from as usize..] {
        db.execute_batch(step).map_err(sqlite)?;
    }
    db.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    db.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(sqlite)?;
    db.execute_batch("COMMIT").map_err(sqlite)
}

/// Reads a pragma that is a number.
pub(crate) fn pragma(db: &Connection, name: &str) -> Result<i64, Error> {
    db.pragma_query_value(None, name, |row| row.get(0))
}

/// Sets a pragma that is a number.
pub(crate) fn set_pragma(db: &Connection, name: &str, number: u64) -> Result<(), Error> {
    db.pragma_update(None, name, i64::try_from(number).unwrap_or(i64::MAX))
}
