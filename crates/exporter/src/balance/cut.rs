//! Cuts a payload by whom its items belong to.

use bytes::Bytes;
use teleflow_otlp::{Assembler, Payload, Signal, log, span, tree};

/// One payload for each of so many owners, empty where an owner has nothing. `owner` is asked for
/// each item, with its trace id; `None` where it has none. No item is lost, those of one owner keep
/// their order, and envelopes are repeated where they have items of several. A payload that belongs
/// to one owner alone is not copied.
///
/// Only for signals whose items have trace ids: spans and log records.
pub(super) fn cut(
    payload: Payload,
    owners: usize,
    owner: impl Fn(Option<&[u8]>) -> usize,
) -> Vec<Payload> {
    let signal = payload.signal();
    let owner = |message: &[u8]| {
        let id = match signal {
            Signal::Traces => span::TailFields::read(message).trace_id,
            _ => log::LogRecord::read(message).trace_id,
        };
        owner(Some(id).filter(|id| id.iter().any(|byte| *byte != 0)))
    };
    let mut pieces = vec![Payload::empty(signal); owners];
    if let Some(only) = only_owner(&payload, &owner) {
        pieces[only] = payload;
        return pieces;
    }
    for segment in payload.segments() {
        let mut shares: Vec<Share<'_>> = (0..owners).map(|_| Share::default()).collect();
        for resource in tree::resources(segment) {
            shares.iter_mut().for_each(|share| share.in_resource = false);
            for scope in resource.scopes() {
                shares.iter_mut().for_each(|share| share.in_scope = false);
                for item in scope.items() {
                    let share = &mut shares[owner(item.message)];
                    share.open(resource, scope);
                    share.assembler.items(item.field);
                    share.items += 1;
                }
            }
        }
        for (piece, mut share) in pieces.iter_mut().zip(shares) {
            if share.items > 0 {
                let mut request = Vec::new();
                share.assembler.finish(&mut request);
                piece.append(Payload::trusted(signal, Bytes::from(request), share.items));
            }
        }
    }
    pieces
}

/// What one owner gets of a segment.
#[derive(Default)]
struct Share<'a> {
    assembler: Assembler<'a>,
    items: u64,
    in_resource: bool,
    in_scope: bool,
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

/// The owner of all items, where there is but one.
fn only_owner(payload: &Payload, owner: &impl Fn(&[u8]) -> usize) -> Option<usize> {
    let items = payload.segments().iter().flat_map(|segment| tree::resources(segment));
    let mut owners = items
        .flat_map(tree::ResourceGroup::scopes)
        .flat_map(tree::ScopeGroup::items)
        .map(|item| owner(item.message));
    let first = owners.next().unwrap_or(0);
    owners.all(|other| other == first).then_some(first)
}
