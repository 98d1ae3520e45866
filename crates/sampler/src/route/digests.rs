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
    /// How many bytes it takes.
    room: usize,
    /// Which scope of the request comes last in it.
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
        let (resource, scope) = part.enter(sorted, run.scope);
        let above = resource.map_or(0, Range::len) + scope.map_or(0, Range::len);
        part.room += above + run.place.len.get() as usize;
    }
    for part in &mut parts {
        part.bytes.reserve_exact(part.room);
        part.last = None;
    }
    for (run, owner) in sorted.runs.iter().zip(owners) {
        let part = &mut parts[usize::from(*owner)];
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

// === impl Part ===

impl Part {
    /// Goes on below a scope of the request; tells which envelopes that needs: of the resource, and of
    /// the scope.
    fn enter<'a>(
        &mut self,
        sorted: &'a Sorted,
        scope: u32,
    ) -> (Option<&'a Range<usize>>, Option<&'a Range<usize>>) {
        let last = self.last.replace(scope);
        if last == Some(scope) {
            return (None, None);
        }
        let above = |scope: u32| &sorted.scopes[scope as usize];
        let Below { resource, scope, .. } = above(scope);
        let is_known = last.is_some_and(|last| above(last).resource == *resource);
        ((!is_known).then_some(resource), Some(scope))
    }

    fn add(&mut self, request: &[u8], sorted: &Sorted, run: &Run) {
        let (resource, scope) = self.enter(sorted, run.scope);
        if let Some(scope) = scope {
            let is_first = resource.is_some();
            let resource = match (resource, self.sorted.scopes.last()) {
                (None, Some(last)) => last.resource.clone(),
                (resource, _) => self.put(&request[resource.cloned().unwrap_or_default()]),
            };
            let scope = self.put(&request[scope.clone()]);
            self.sorted.scopes.push(Below { resource, scope, is_first });
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
