//! What is refused, and that refusing changes nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use teleflow_store::{
    APPLICATION_ID, Config, MIN_MAX_BYTES, OpenError, SCHEMA_VERSION, SqliteReader, SqliteStore,
};

use crate::Fixture;

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    let busy_timeout = Duration::from_millis(20);
    SqliteStore::open(Config { path: path.to_owned(), busy_timeout, ..Config::default() })
}

/// Opens what is not a store both ways, checks that it was not touched, and gives the error.
#[track_caller]
fn refused(path: &Path) -> OpenError {
    let before = fs::read(path).unwrap();
    let error = open(path).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(SqliteReader::open(path).unwrap_err().to_string(), error.to_string());
    assert!(before == fs::read(path).unwrap());
    let neighbours = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(neighbours, 1, "no other file was made");
    error
}

#[test]
fn a_text_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not a database, but long enough to be read as the header of one".repeat(20))
        .unwrap();
    assert!(matches!(refused(&path), OpenError::NotADatabase { .. }));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    let error = refused(&path);
    assert!(matches!(error, OpenError::Foreign { application_id: 0, version: 0, .. }));
}

#[test]
fn a_newer_schema_is_refused_by_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    db.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(db);
    let error = refused(&path);
    assert!(
        matches!(error, OpenError::Newer { found: 2, supported: 1, .. }),
        "{error}: adapt this test to the new version"
    );
    assert!(error.to_string().ends_with("has version 2, and this program knows versions up to 1"));
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = open(&missing.join("x.db")).unwrap_err();
    assert!(matches!(&error, OpenError::NoFolder { folder, .. } if *folder == missing));
    assert!(error.to_string().contains("there is no folder"));
}

#[test]
fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
}

#[test]
fn a_reader_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let error = SqliteReader::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::NotReadable { .. }));
    assert!(!path.exists());
}

#[test]
fn a_locked_file_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(matches!(open(&path), Err(OpenError::Locked { .. })));
    other.execute_batch("ROLLBACK").unwrap();
    assert!(open(&path).is_ok());
}

#[test]
fn a_bound_that_is_too_small_is_refused() {
    let config = Config { max_bytes: MIN_MAX_BYTES - 1, ..Config::default() };
    let error = SqliteStore::open(config).unwrap_err();
    let message = "a store of 4194303 bytes is too small: the least is 4194304";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_new_file_says_what_it_is() {
    let fixture = Fixture::new();
    let pragma = |name: &str| fixture.one::<i64>(&format!("PRAGMA {name}"));
    assert_eq!(pragma("application_id"), i64::from(APPLICATION_ID));
    assert_eq!(pragma("user_version"), i64::from(SCHEMA_VERSION));
    assert_eq!(pragma("auto_vacuum"), 2, "incremental");
    assert_eq!(fixture.one::<String>("PRAGMA journal_mode"), "wal");
    assert_eq!(fixture.one::<String>("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn names_that_sqlite_gives_a_meaning_are_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["file:x?mode=memory", "a b#c%20.db", ":memory:"] {
        let path = folder.path().join(name);
        let store = open(&path).unwrap();
        assert_eq!(store.path(), path);
        drop(store);
        assert!(path.is_file(), "{name}");
    }
}
