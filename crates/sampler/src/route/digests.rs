//! Writes each shard's spans, which were read, into bytes of its own.

use teleflow_otlp::Ack;

use crate::tail::chunk::{Piece, Scope};
use crate::tail::digest::{Digest, Request, Sorted};
use crate::tail::run::Packed;

/// What a shard gets.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    /// How many bytes it takes.
    room: usize,
    /// Which scope of the request comes last in it, and how that became one of its own.
    last: Option<u32>,
    scope: Scope,
    items: u64,
    runs: usize,
    scopes: u32,
    ack: Ack,
}

/// The parts of a request, by shard: empty between one and the next.
#[derive(Debug, Default)]
pub(super) struct Writing(Vec<Part>);

/// Whether the envelopes of a request may be repeated for each of so many shards: if they take as
/// many bytes as the request even then, at most.
pub(super) fn may_repeat(sorted: &Sorted, shards: usize, request: usize) -> bool {
    let envelopes = sorted.scopes.iter().map(|above| len(above.resource) + len(above.scope));
    envelopes.sum::<usize>().saturating_mul(shards) <= request
}

// === impl Writing ===

impl Writing {
    /// Parts spans among shards; `owners` has the shard of each run, in their order.
    pub(super) fn part(
        &mut self,
        request: &[u8],
        sorted: &Sorted,
        owners: &[u16],
        mut ack: Ack,
        out: &mut [Digest],
    ) {
        let parts = &mut self.0;
        parts.resize_with(out.len(), Part::default);
        for (run, owner) in sorted.runs.iter().zip(owners) {
            let part = &mut parts[usize::from(*owner)];
            let (resource, scope) = part.enter(&sorted.scopes, run.scope);
            let above = resource.map_or(0, len) + scope.map_or(0, len);
            part.room += above + run.place.len.get() as usize;
        }
        for part in parts.iter_mut() {
            part.bytes.reserve_exact(part.room);
            part.last = None;
        }
        for (run, owner) in sorted.runs.iter().zip(owners) {
            let owner = usize::from(*owner);
            let part = &mut parts[owner];
            let more = u64::from(run.place.spans);
            if !ack.is_none() {
                part.ack.append(part.items, ack.take(more), more);
            }
            part.items += more;
            part.add(request, &sorted.scopes, run, &mut out[owner].sorted);
        }
        for (part, out) in parts.iter_mut().zip(out) {
            let Part { bytes, items, runs, scopes, ack, .. } = std::mem::take(part);
            if items > 0 {
                let counts = (runs, scopes as usize);
                out.requests.push(Request::of_pieces(bytes.into(), items, ack, counts));
            }
        }
    }
}

// === impl Part ===

impl Part {
    /// Goes on below a scope of the request; tells which envelopes that needs: of the resource, and of
    /// the scope.
    fn enter(&mut self, scopes: &[Scope], scope: u32) -> (Option<Piece>, Option<Piece>) {
        let last = self.last.replace(scope);
        if last == Some(scope) {
            return (None, None);
        }
        let Scope { resource, scope } = scopes[scope as usize];
        let is_known = last.is_some_and(|last| scopes[last as usize].resource == resource);
        ((!is_known).then_some(resource), Some(scope))
    }

    fn add(&mut self, request: &[u8], scopes: &[Scope], run: &Packed, out: &mut Sorted) {
        let text = |(from, to): Piece| &request[from as usize..to as usize];
        let (resource, scope) = self.enter(scopes, run.scope);
        if let Some(resource) = resource {
            self.scope.resource = self.put(text(resource));
        }
        if let Some(scope) = scope {
            self.scope.scope = self.put(text(scope));
            self.scopes += 1;
            out.scopes.push(self.scope);
        }
        let mut run = *run;
        let from = run.place.at;
        (run.place.at, _) = self.put(text((from, from + run.place.len.get())));
        run.scope = self.scopes - 1;
        self.runs += 1;
        out.runs.push(run);
    }

    fn put(&mut self, bytes: &[u8]) -> Piece {
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        (from, self.bytes.len() as u32)
    }
}

const fn len((from, to): Piece) -> usize {
    (to - from) as usize
}

impl Clone for Writing {
    fn clone(&self) -> Self {
        Self::default()
    }
}
