//! What will be needed soon is asked for together, so that memory is waited for once.
//!
//! Where much is held, nearly all that a trace needs is far from the processor: its places in the
//! tables, and its request. One after the other each is waited for; looked at in a row, they come at
//! the same time.

use std::hint::black_box;

use super::Table;
use crate::memory::Memory;
use crate::tail::slab::NIL;

/// So many are looked at in a row.
pub(in crate::tail) const AHEAD: usize = 16;

// === impl Table ===

impl Table {
    /// Looks at what is needed to decide about a trace and some that are due after it; returns how
    /// many those are.
    ///
    /// An allocator looks at both ends of what it frees.
    pub(in crate::tail) fn look_ahead(&self, trace: u32, memory: &Memory) -> usize {
        let (mut next, mut seen) = (trace, 0);
        while next != NIL && seen < AHEAD {
            let trace = self.traces.get(next);
            self.touch(trace.hash);
            memory.touch(trace.hash);
            if trace.first != NIL {
                let chunk = self.chunks.get(self.runs.get(trace.first).chunk);
                black_box((chunk.bytes.first().copied(), chunk.bytes.last().copied()));
            }
            (next, seen) = (trace.after, seen + 1);
        }
        seen
    }

    /// Looks at where a trace would be.
    #[inline]
    pub(in crate::tail) fn touch(&self, hash: u64) {
        black_box(self.by_id.find(hash, |&index| self.traces.get(index).hash == hash));
    }
}
