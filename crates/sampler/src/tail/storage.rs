//! Where the bytes of requests are while spans of theirs are held, when that is not memory.
//!
//! The sampler itself does no I/O: who has a disk hands it a [`Storage`]. A request is put there when
//! it was read, whole, if any span of it waits: its spans stay slices of one [`Bytes`], wherever those
//! are. Where the storage has no room it stays in memory, as without, and within the same bound. So
//! nothing is lost on a storage that is full or fails.

use std::fmt;
use std::ptr;

use bytes::Bytes;
#[cfg(feature = "mapped")]
use teleflow_pool::mapped::{self, Arena, Writer};
use thiserror::Error;

use super::chunk::Chunk;
use super::stats::StorageStats;

/// Keeps the bytes of requests elsewhere than in memory: [`Config::storage`].
///
/// Shared by the samplers of a pipeline. Two are equal if they are the same one. With the feature
/// `mapped`, `teleflow_pool::mapped::Arena` is one.
///
/// [`Config::storage`]: crate::Config::storage
pub trait Storage: fmt::Debug + Send + Sync {
    /// What one sampler stores with. Nothing is stored yet: a sampler may be made to be thrown away.
    fn writer(&self) -> Box<dyn StorageWriter>;
}

/// Stores for one sampler.
pub trait StorageWriter: fmt::Debug + Send {
    /// Copies bytes, and returns where they are now: they stay there as long as the last slice of
    /// what is returned. May block for as long as that takes.
    ///
    /// # Errors
    ///
    /// [`StorageError`]: the bytes stay in memory, and the next ones are tried again.
    fn store(&mut self, bytes: &[u8]) -> Result<Bytes, StorageError>;

    /// How many bytes it takes for what it stored, with what nobody needs any more.
    fn used_bytes(&self) -> u64;
}

/// Why bytes were not stored.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no room, until what is stored goes.
    #[error("the storage has no room")]
    Full,
    /// What stores failed: a disk that is full, or broken.
    #[error("storing failed")]
    Failed,
}

impl PartialEq for dyn Storage {
    fn eq(&self, other: &Self) -> bool {
        ptr::addr_eq(self, other)
    }
}

/// What is in a storage of requests that are held.
#[derive(Debug, Default)]
pub(super) struct Stored {
    writer: Option<Box<dyn StorageWriter>>,
    /// Of the requests that are held.
    pub(super) bytes: u64,
    pub(super) stats: StorageStats,
}

/// What is smaller stays in memory: to know where it is would take as much.
const LEAST: usize = 256;

// === impl Stored ===

impl Stored {
    pub(super) fn new(storage: Option<&dyn Storage>) -> Self {
        Self { writer: storage.map(Storage::writer), ..Self::default() }
    }

    /// Stores from now on there.
    pub(super) fn change(&mut self, storage: Option<&dyn Storage>) {
        self.writer = storage.map(Storage::writer);
    }

    /// Whether there is a storage, or anything in one.
    pub(super) const fn is_used(&self) -> bool {
        self.writer.is_some() || self.bytes > 0
    }

    /// Puts a request's bytes into the storage; tells whether it did.
    pub(super) fn take(&mut self, bytes: &mut Bytes) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        if bytes.len() < LEAST {
            return false;
        }
        let stored = match writer.store(bytes) {
            Ok(stored) if stored.len() == bytes.len() => stored,
            Err(StorageError::Full) => {
                self.stats.full += 1;
                return false;
            }
            Ok(_) | Err(StorageError::Failed) => {
                self.stats.failed += 1;
                return false;
            }
        };
        *bytes = stored;
        let len = bytes.len() as u64;
        self.bytes += len;
        self.stats.requests += 1;
        self.stats.bytes += len;
        true
    }

    /// Counts a request that goes.
    pub(super) const fn forget(&mut self, chunk: &Chunk) {
        if chunk.is_stored {
            self.bytes -= chunk.bytes.len() as u64;
        }
    }

    /// What the storage takes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(self.bytes, |writer| writer.used_bytes().max(self.bytes))
    }
}

// === impl Storage for Arena ===

#[cfg(feature = "mapped")]
impl Storage for Arena {
    fn writer(&self) -> Box<dyn StorageWriter> {
        Box::new(self.writer())
    }
}

#[cfg(feature = "mapped")]
impl StorageWriter for Writer {
    fn store(&mut self, bytes: &[u8]) -> Result<Bytes, StorageError> {
        self.copy(bytes).map_err(|error| match error {
            mapped::Error::Full => StorageError::Full,
            _ => StorageError::Failed,
        })
    }

    fn used_bytes(&self) -> u64 {
        self.used_bytes()
    }
}
