//! Growable byte buffers.

use crate::pool::{Builder, Pool};

/// What a pool of [`buffers`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// How many are kept; 1000.
    pub capacity: usize,
    /// The capacity in bytes with which a buffer is made; 4 KiB. One that comes back with less is
    /// dropped, such as what `mem::take` leaves.
    pub size: usize,
    /// What a buffer that is kept may have grown to, in bytes; 64 KiB.
    pub max_size: usize,
    /// What happens to one that is larger.
    pub oversized: Oversized,
}

/// What happens to a buffer that grew past the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversized {
    /// Its memory is given back down to the usual size.
    Shrink,
    /// It is dropped; the next one is made when needed.
    Drop,
}

// === impl Buffers ===

impl Default for Buffers {
    fn default() -> Self {
        Self { capacity: 1000, size: 4096, max_size: 64 * 1024, oversized: Oversized::Shrink }
    }
}

/// Describes a pool of byte buffers, which come back empty.
///
/// ```
/// use teleflow_pool::{Buffers, buffers};
///
/// let pool = buffers(Buffers::default()).build();
/// pool.acquire().resize(1 << 20, 0);
/// assert_eq!(pool.acquire().capacity(), 4096, "what is oversized is not kept for ever");
/// ```
pub fn buffers(config: Buffers) -> Builder<Vec<u8>> {
    let Buffers { capacity, size, max_size, oversized } = config;
    let max_size = max_size.max(size);
    Pool::builder(move || Vec::with_capacity(size))
        .reset(move |buffer: &mut Vec<u8>| {
            buffer.clear();
            if max_size < buffer.capacity() && oversized == Oversized::Shrink {
                buffer.shrink_to(size);
            }
        })
        .keep_if(move |buffer| (size..=max_size).contains(&buffer.capacity()))
        .capacity(capacity)
        .name("buffers")
}
