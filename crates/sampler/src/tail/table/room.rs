//! How the table comes by room: which traces weigh the most, and what can be moved together.

use super::{Table, TraceNode};
use crate::tail::slab::NIL;
use crate::tail::storage::Whereabouts;

// === impl Table ===

impl Table {
    /// Moves the bookkeeping together, and gives room to spare back.
    ///
    /// No span may be on its way out, and no request being read.
    pub(in crate::tail) fn close_up(&mut self) {
        let moved = |map: &[u32], index: &mut u32| {
            if *index != NIL {
                *index = map[*index as usize];
            }
        };
        let map = self.chunks.close_up();
        for node in self.runs.values_mut() {
            moved(&map, &mut node.chunk);
        }
        self.stored.waiting.iter_mut().for_each(|index| moved(&map, index));
        let map = self.runs.close_up();
        for node in self.runs.values_mut() {
            moved(&map, &mut node.next);
        }
        for trace in self.traces.values_mut() {
            moved(&map, &mut trace.first);
            moved(&map, &mut trace.last);
        }
        let map = self.traces.close_up();
        for trace in self.traces.values_mut() {
            moved(&map, &mut trace.before);
            moved(&map, &mut trace.after);
        }
        for list in self.due.iter_mut() {
            moved(&map, &mut list.oldest);
            moved(&map, &mut list.youngest);
        }
        self.by_id.iter_mut().for_each(|index| moved(&map, index));
        let traces = &self.traces;
        self.by_id.shrink_to_fit(|&index| traces.get(index).hash);
    }

    /// The traces that free the most: by what their spans take, and more the longer they have
    /// waited, up to five times as much at the end. The first are those to decide first.
    ///
    /// A part of all, at most: ask again for more.
    pub(in crate::tail) fn heaviest(&self, now: u64) -> Vec<u32> {
        let mut ranks: Vec<(f32, u32)> = Vec::with_capacity(self.traces.len());
        ranks.extend(self.traces.iter().map(|(index, trace)| {
            let wait = self.due.get(trace.list).wait.max(1) as f32;
            let left = trace.deadline.saturating_sub(now) as f32;
            let age = 1.0 - (left / wait).min(1.0);
            let size = trace.summary.bytes as f32 + size_of::<TraceNode>() as f32;
            (size * (1.0 + 4.0 * age), index)
        }));
        let part = (ranks.len() / 8).max(64).min(ranks.len());
        let by_rank = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0);
        if part < ranks.len() {
            ranks.select_nth_unstable_by(part, by_rank);
        }
        ranks.truncate(part);
        ranks.sort_unstable_by(by_rank);
        ranks.into_iter().map(|(_, index)| index).collect()
    }

    /// Copies spans out of requests of which less than half is needed, and lets the rest go. Copies
    /// at most about `most` bytes. Returns how many bytes that freed.
    ///
    /// No span may be on its way out.
    pub(in crate::tail) fn copy_out(&mut self, most: usize) -> usize {
        let before = self.chunk_bytes;
        // By chunk: where its new bytes are, or nowhere.
        let mut places = vec![NIL; self.chunks.end()];
        let mut moving: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut copied = 0;
        for (index, chunk) in self.chunks.iter() {
            if !chunk.is_open
                && chunk.whereabouts != Whereabouts::Stored
                && 2 * chunk.needed() < chunk.bytes.len()
                && copied < most
            {
                places[index as usize] = moving.len() as u32;
                copied += chunk.needed();
                moving.push((index, Vec::new()));
            }
        }
        if moving.is_empty() {
            return 0;
        }
        for (index, moved) in &mut moving {
            let chunk = self.chunks.get_mut(*index);
            self.chunk_bytes -= chunk.size();
            *moved = chunk.unsettle();
        }
        for node in self.runs.values_mut() {
            let place = places[node.chunk as usize];
            if place != NIL {
                let (index, moved) = &mut moving[place as usize];
                let fields = self.chunks.get(*index).fields(node.at, node.len.get());
                node.at = moved.len() as u32;
                moved.extend_from_slice(fields);
            }
        }
        for (index, moved) in moving {
            let chunk = self.chunks.get_mut(index);
            chunk.settle(moved);
            self.chunk_bytes += chunk.size();
        }
        before.saturating_sub(self.chunk_bytes)
    }
}
