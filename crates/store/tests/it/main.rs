//! The store from outside: what goes in is found by plain SQL, and the file keeps its bound.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod bound;
mod columns;
mod documented;
mod lifecycle;
mod opening;
mod requests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message;
use rusqlite::Connection;
use teleflow_exporter::{Delivered, ExportError, Exporter as _};
use teleflow_otlp::{Payload, Signal};
use teleflow_store::{Config, MIN_MAX_BYTES, SqliteStore};
use tempfile::TempDir;

/// A store in a folder of its own.
struct Fixture {
    store: SqliteStore,
    path: PathBuf,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// As small as a store can be, and quick to give up on a lock.
    fn small() -> Self {
        Self::with(|config| {
            config.max_bytes = MIN_MAX_BYTES;
            config.busy_timeout = Duration::from_millis(20);
        })
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("teleflow.db");
        let mut config = Config { path: path.clone(), ..Config::default() };
        change(&mut config);
        Self { store: SqliteStore::open(config).unwrap(), path, _folder: folder }
    }

    async fn export(
        &self,
        signal: Signal,
        request: &impl Message,
    ) -> Result<Delivered, ExportError> {
        self.store.export(payload(signal, request)).await
    }

    /// Another connection to the file.
    fn sql(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    /// One value, asked for by SQL.
    #[track_caller]
    fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        one(&self.sql(), sql)
    }

    /// A number that is not negative.
    #[track_caller]
    fn number(&self, sql: &str) -> u64 {
        self.one::<i64>(sql).try_into().unwrap()
    }
}

#[track_caller]
fn one<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, (), |row| row.get(0)).unwrap()
}

fn payload(signal: Signal, request: &impl Message) -> Payload {
    Payload::parse(signal, request.encode_to_vec().into()).unwrap()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// What the three files of a database take.
fn size_on_disk(path: &Path) -> u64 {
    ["", "-wal", "-shm"]
        .iter()
        .map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |file| file.len())
        })
        .sum()
}
