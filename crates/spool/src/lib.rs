//! A queue on disk for opaque bytes: bounded, read by several, kept over kill -9.
//!
//! [`Spool`] is the core: it reads no clock and starts no thread. What was appended counts once
//! [`Spool::commit`] said so. Readers have names and their own progress; what a reader did not
//! acknowledge is read again after a restart.
//!
//! ```
//! use std::time::SystemTime;
//! use teleflow_spool::{Config, Read, Spool};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let now = SystemTime::now();
//! let (mut spool, report) = Spool::open(folder, Config::default())?;
//! assert!(report.is_clean());
//!
//! let backend = spool.reader("backend")?;
//! let sequence = spool.append(now, 0, 12, b"a body with twelve items")?;
//! spool.commit(now)?;
//!
//! let Read::Record(record) = spool.read(backend)? else { unreachable!("one was committed") };
//! assert_eq!((record.sequence, record.items), (sequence, 12));
//! spool.ack(backend, record.sequence);
//! spool.save(now)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `async`: `Shell`, a thread that owns a spool, for callers on tokio.

#![forbid(unsafe_code)]

mod config;
mod disk;
mod error;
mod open;
mod reader;
mod segment;
#[cfg(feature = "async")]
mod shell;
mod spool;
mod stats;

pub use config::{Config, ConfigError, OnFull, Sync};
pub use disk::{Disk, Folder};
pub use error::{AppendError, OpenError, ReaderError};
pub use open::{Damage, Report};
pub use reader::{Read, ReaderId};
pub use segment::Record;
#[cfg(feature = "async")]
pub use shell::{
    Acker, NoRoom, Pace, Place, Shell, ShellConfig, ShellError, ShellReader, Snapshot,
};
pub use spool::Spool;
pub use stats::{Count, ReaderStats, Stats};
