//! Parts payloads by trace.

use std::hash::{DefaultHasher, Hasher};

use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Ack, Assembler, Payload, tree};

/// Parts the spans of a payload over shards, all of one trace to the same.
#[derive(Debug)]
pub(crate) struct Router {
    shards: usize,
    seed: u64,
}

/// What one shard gets of a segment.
#[derive(Default)]
struct Share<'a> {
    assembler: Assembler<'a>,
    items: u64,
    ack: Ack,
    in_resource: bool,
    in_scope: bool,
}

// === impl Router ===

impl Router {
    /// With a secret that senders do not know, so that they cannot choose trace ids that all fall to
    /// one shard.
    pub(crate) const fn new(shards: usize, seed: u64) -> Self {
        Self { shards, seed }
    }

    /// Adds to `out` what each shard gets; who waits is answered for each span once. A payload that
    /// belongs to one shard alone is not copied.
    pub(crate) fn route(&mut self, mut payload: Payload, out: &mut Vec<(usize, Payload)>) {
        if let Some(only) = self.only(&payload) {
            out.push((only, payload));
            return;
        }
        let (signal, mut ack) = (payload.signal(), payload.take_ack());
        for segment in payload.segments() {
            let mut shares: Vec<Share<'_>> = (0..self.shards).map(|_| Share::default()).collect();
            for resource in tree::resources(segment) {
                shares.iter_mut().for_each(|share| share.in_resource = false);
                for scope in resource.scopes() {
                    shares.iter_mut().for_each(|share| share.in_scope = false);
                    for item in scope.items() {
                        let share = &mut shares[self.shard(item.message)];
                        share.open(resource, scope);
                        share.assembler.items(item.field);
                        share.ack.append(share.items, ack.take(1), 1);
                        share.items += 1;
                    }
                }
            }
            for (shard, mut share) in shares.into_iter().enumerate() {
                if share.items > 0 {
                    let mut request = Vec::new();
                    share.assembler.finish(&mut request);
                    let part = Payload::trusted(signal, request.into(), share.items);
                    let part = part.with_ack(share.ack);
                    match out.iter_mut().find(|(known, _)| *known == shard) {
                        Some((_, before)) => before.append(part),
                        None => out.push((shard, part)),
                    }
                }
            }
        }
    }

    fn shard(&self, span: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(TailFields::read(span).trace_id);
        (hasher.finish() % self.shards as u64) as usize
    }

    /// The shard of all spans, where there is but one.
    fn only(&self, payload: &Payload) -> Option<usize> {
        let groups = payload.segments().iter().flat_map(|segment| tree::resources(segment));
        let scopes = groups.flat_map(|group| group.scopes());
        let mut shards =
            scopes.flat_map(|scope| scope.items()).map(|item| self.shard(item.message));
        let first = shards.next().unwrap_or(0);
        shards.all(|other| other == first).then_some(first)
    }
}

// === impl Share ===

impl<'a> Share<'a> {
    fn open(&mut self, resource: tree::ResourceGroup<'a>, scope: tree::ScopeGroup<'a>) {
        let mut envelope = Vec::new();
        if !std::mem::replace(&mut self.in_resource, true) {
            resource.envelope(&mut envelope);
            self.assembler.resource(std::mem::take(&mut envelope));
            self.in_scope = false;
        }
        if !std::mem::replace(&mut self.in_scope, true) {
            scope.envelope(&mut envelope);
            self.assembler.scope(envelope);
        }
    }
}
