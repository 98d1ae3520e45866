//! Writes each shard's spans, which were read, into bytes of its own.

use std::ops::Range;

use teleflow_otlp::Ack;

use crate::tail::digest::{Below, Digest, Sorted};
use crate::tail::run::Run;

/// What a shard gets.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    sorted: Sorted,
    /// Which resource and scope of the request come last in it.
    last: Option<u32>,
    items: u64,
    ack: Ack,
}

/// Whether the envelopes of a request may be repeated for each of so many shards: if they take as
/// many bytes as the request even then, at most.
pub(super) fn may_repeat(sorted: &Sorted, shards: usize, request: usize) -> bool {
    let envelopes = sorted.scopes.iter().map(|below| below.resource.len() + below.scope.len());
    envelopes.sum::<usize>().saturating_mul(shards) <= request
}

/// Parts spans among shards; `owners` has the shard of each run, in their order.
pub(super) fn part(
    request: &[u8],
    sorted: &Sorted,
    owners: &[u16],
    mut ack: Ack,
    out: &mut Vec<(usize, Digest)>,
) {
    let shards = owners.iter().max().map_or(0, |most| usize::from(*most) + 1);
    let mut parts: Vec<Part> = (0..shards).map(|_| Part::default()).collect();
    for (run, owner) in sorted.runs.iter().zip(owners) {
        let part = &mut parts[usize::from(*owner)];
        if part.bytes.capacity() == 0 {
            part.bytes.reserve_exact(room(sorted, owners, *owner));
        }
        let more = u64::from(run.place.spans);
        if !ack.is_none() {
            part.ack.append(part.items, ack.take(more), more);
        }
        part.items += more;
        part.add(request, sorted, run);
    }
    for (shard, part) in parts.into_iter().enumerate() {
        if part.items > 0 {
            let digest = Digest::new(part.bytes.into(), part.items, part.ack, part.sorted);
            out.push((shard, digest));
        }
    }
}

/// How many bytes a shard gets.
fn room(sorted: &Sorted, owners: &[u16], shard: u16) -> usize {
    let (mut bytes, mut last) = (0, None);
    for (run, owner) in sorted.runs.iter().zip(owners) {
        if *owner == shard {
            if last != Some(run.scope) {
                let below = &sorted.scopes[run.scope as usize];
                bytes += below.resource.len() + below.scope.len();
                last = Some(run.scope);
            }
            bytes += run.place.len.get() as usize;
        }
    }
    bytes
}

// === impl Part ===

impl Part {
    fn add(&mut self, request: &[u8], sorted: &Sorted, run: &Run) {
        if self.last != Some(run.scope) {
            let above = |scope: u32| &sorted.scopes[scope as usize];
            let below = above(run.scope);
            let known = self.last.filter(|last| above(*last).resource == below.resource);
            let resource = match (known, self.sorted.scopes.last()) {
                (Some(_), Some(last)) => last.resource.clone(),
                _ => self.put(&request[below.resource.clone()]),
            };
            let scope = self.put(&request[below.scope.clone()]);
            self.sorted.scopes.push(Below { resource, scope, is_first: known.is_none() });
            self.last = Some(run.scope);
        }
        let mut run = *run;
        let from = run.place.at as usize;
        let place = self.put(&request[from..from + run.place.len.get() as usize]);
        run.place.at = place.start as u32;
        run.scope = self.sorted.scopes.len() as u32 - 1;
        self.sorted.runs.push(run);
    }

    fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from..self.bytes.len()
    }
}
