//! Keeps OTLP traces, metrics and logs in a bounded SQLite file.
//!
//! [`SqliteStore`] is an [`Exporter`](teleflow_exporter::Exporter): what it calls delivered has been
//! committed. It keeps the three files of the database together under a byte bound: when they are
//! full, the oldest items go first, and are counted. [`SqliteReader`] reads such a file, also while
//! it is being written. The tables are plain SQL, described in `docs/store.md`, for any tool that
//! speaks SQLite.
//!
//! It does not retry, queue more than a few payloads, sample, or answer queries over a network.
//!
//! ```
//! use teleflow_exporter::{Delivered, Exporter};
//! use teleflow_otlp::{Payload, Signal};
//! use teleflow_store::{Config, SqliteReader, SqliteStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("teleflow.db");
//! let store = SqliteStore::open(Config { path: path.clone(), ..Config::default() })?;
//!
//! // ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "GET /" } } } }
//! let request = b"\x0a\x0b\x12\x09\x12\x07\x2a\x05GET /";
//! let delivered = store.export(Payload::parse(Signal::Traces, request[..].into())?).await?;
//! assert_eq!(delivered, Delivered::ALL);
//! store.shutdown().await?;
//!
//! assert_eq!(SqliteReader::open(path)?.span_count()?, 1);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod bounded;
mod budget;
mod error;
mod reader;
mod rows;
mod schema;
mod store;
mod writer;

pub use error::{OpenError, ReadError};
pub use reader::{SqliteReader, StoredSpan};
pub use schema::{APPLICATION_ID, SCHEMA_VERSION};
pub use store::{Config, MIN_MAX_BYTES, Rows, SqliteStore, StoreStats};
