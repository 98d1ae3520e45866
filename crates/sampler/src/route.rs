//! Which shard a trace belongs to.
//!
//! Several [tail samplers](crate::TailSampler) side by side are one, as long as all spans of a trace
//! come to the same. [`Router`] sees to that: it parts payloads by a keyed hash of the trace id.

use std::mem;

use smallvec::SmallVec;
use teleflow_otlp::tree::{self, ScopeGroup};
use teleflow_otlp::{Ack, Payload, Row, Signal, log, span};
use thiserror::Error;

use self::digests::Writing;
use self::parts::{Limit, Parts};
use crate::secret::{Keyed, Purpose};
use crate::tail::digest::{Digest, Sorted};
use crate::tail::run::Packed;

mod digests;
mod parts;

/// Parts payloads among shards, so that each trace is in one.
///
/// Every router of the same seed and number of shards makes the same choice.
///
/// What is written for a shard has a copy of the resource and scope of each of its items. Where many
/// shards have few items in a resource group, long ones must not be repeated for each: a small
/// request would become a huge one. So a shard's items in a resource group only get its resource and
/// their scopes if
///
/// - none of these takes more than 64 KiB, and the payload does not become longer by more than 8
///   times its bytes and 1 MiB because of what is repeated,
/// - or they take at most as many bytes as the items.
///
/// Else the items go with most of their group, to another shard than their trace's, which decides
/// about them by what it has. So a payload becomes no longer than 11 times its bytes and 1 MiB,
/// whatever is in it; and where nothing is larger than 64 KiB and resources do not take many times
/// the bytes of their spans, no trace is torn apart.
///
/// While a request is parted, its bookkeeping takes about 2 MiB, and below a resource or scope of more
/// than 64 KiB up to 32 MiB, unless that is most of the request: then up to 160 bytes an item. A router
/// that reads ahead keeps up to half a MiB of it for the next.
///
/// ```
/// use teleflow_otlp::{Payload, Signal};
/// use teleflow_sampler::Router;
///
/// let mut router = Router::new(4, 0x5eed)?;
/// // ResourceSpans { ScopeSpans { Span { trace_id } } }
/// let request = b"\x0a\x16\x12\x14\x12\x12\x0a\x10abcdefghijklmnop";
/// let mut parts = Vec::new();
/// router.route(Payload::parse(Signal::Traces, request.as_slice().into())?, &mut parts);
/// let [(shard, part)] = &parts[..] else { panic!("one span cannot be in two shards") };
/// assert_eq!(*shard, router.shard_of(*b"abcdefghijklmnop"));
/// assert_eq!(part.items(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Router {
    shards: usize,
    keyed: Keyed,
    parts: Parts,
    /// What was read of a request, and its parts. The memory serves again.
    sorted: Sorted,
    writing: Writing,
    stats: RouterStats,
}

/// There are no shards, or more than a router serves.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{0} shards: there may be 1 to {MAX_SHARDS}")]
pub struct InvalidShards(pub usize);

/// What a router did so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RouterStats {
    /// Requests that went on as they came.
    pub whole: u64,
    /// Requests that were parted.
    pub parted: u64,
    /// Spans and log records without a usable trace id.
    pub without_trace: u64,
    /// Spans and log records that went to another shard than their trace's, below a resource too
    /// large to be repeated.
    pub torn: u64,
}

/// The spans of a scope. One that begins with a trace id goes by that, whatever ids follow: the rest of
/// it needs no look. Spans of several ids are against the protocol; who sends them may find their
/// traces torn.
#[inline]
fn rows_of_spans(scope: ScopeGroup<'_>) -> impl Iterator<Item = Row<'_>> {
    scope.rows().map(|row| match row.trace_id {
        Some(_) => row,
        None => Row { trace_id: usable(span::trace_id(tree::message(row.fields))), ..row },
    })
}

/// The log records of a scope, one by one.
fn rows_of_logs(scope: ScopeGroup<'_>) -> impl Iterator<Item = Row<'_>> {
    scope.items().map(|item| {
        let trace_id = usable(log::trace_id(item.message));
        Row { trace_id, fields: item.field, at: item.at, spans: 1 }
    })
}

/// An id of the right length that is not zeros.
fn usable(id: &[u8]) -> Option<[u8; 16]> {
    id.try_into().ok().filter(|id| *id != [0; 16])
}

/// What was found out last. Spans of a trace often come in a row.
#[derive(Debug, Default)]
struct Last {
    id: [u8; 16],
    shard: u16,
    without_trace: u64,
}

/// The most shards of a [`Router`].
pub const MAX_SHARDS: usize = 256;

// === impl Router ===

impl Router {
    /// A router for so many shards.
    ///
    /// The seed is a secret that senders do not know, so that they cannot choose trace ids that all
    /// go to one shard. It may be that of [`Config::hash_seed`](crate::Config::hash_seed): what it
    /// is used for here has nothing to do with what it is used for there.
    ///
    /// # Errors
    ///
    /// If `shards` is not within 1 and [`MAX_SHARDS`].
    pub fn new(shards: usize, seed: u64) -> Result<Self, InvalidShards> {
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(InvalidShards(shards));
        }
        Ok(Self {
            shards,
            keyed: Keyed::new(seed, Purpose::Route),
            parts: Parts::new(shards),
            sorted: Sorted::default(),
            writing: Writing::default(),
            stats: RouterStats::default(),
        })
    }

    /// Adds the parts of a payload to `out`, each with the number of its shard: at most one part a
    /// shard, in their order.
    ///
    /// Items keep their order within a part. A request whose items all belong to one shard goes on as
    /// it is, without a copy; else each shard's items are copied into a request of its own, so that
    /// no shard holds memory for another. Of a request that is parted, groups without items and
    /// unknown fields outside of all groups are left out. Items without a usable trace id are spread
    /// by their content. Metrics, and payloads without any item, go to the first shard; and so does
    /// everything where there is no other, unseen.
    ///
    /// Who waits for the payload waits for its parts.
    ///
    /// # Panics
    ///
    /// If a request that is to be parted takes 4 GiB or more.
    pub fn route(&mut self, mut payload: Payload, out: &mut Vec<(usize, Payload)>) {
        if self.shards == 1 || payload.signal() == Signal::Metrics || payload.is_empty() {
            out.push((0, payload));
            return;
        }
        let signal = payload.signal();
        let mut limit = Limit::new(payload.bytes());
        let mut ack = payload.take_ack();
        for request in payload.into_segments() {
            let whole = match signal {
                Signal::Logs => self.only_shard(&request, rows_of_logs),
                _ => self.only_shard(&request, rows_of_spans),
            };
            match (whole, signal) {
                (Some((shard, items)), _) if items > 0 => {
                    self.stats.whole += 1;
                    let whole = Payload::trusted(signal, request, items);
                    self.parts.add(shard, whole.with_ack(ack.take(items)));
                }
                (Some(_), _) => {}
                (None, Signal::Logs) => {
                    self.part(signal, &request, rows_of_logs, &mut ack, &mut limit);
                }
                (None, _) => self.part(signal, &request, rows_of_spans, &mut ack, &mut limit),
            }
        }
        self.parts.finish(out);
    }

    /// As [`route`](Self::route), and reads the parts at once, where that is [worth it](Digest).
    /// Each goes into the digest of its shard, by number.
    ///
    /// Where a payload is read before its shards are known, no span of it is looked at twice.
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route), and if there is not one digest for each shard.
    pub fn digest(&mut self, payload: Payload, out: &mut [Digest]) {
        assert_eq!(out.len(), self.shards, "each shard has its own digest");
        if let [out] = out {
            return out.add(payload);
        }
        let mut sorted = mem::take(&mut self.sorted);
        let left = match sorted.read(&payload) {
            true => self.part_read(payload, &sorted, out),
            false => Some(payload),
        };
        sorted.clear();
        self.sorted = sorted;
        if let Some(payload) = left {
            let mut parts = Vec::new();
            self.route(payload, &mut parts);
            parts.into_iter().for_each(|(shard, part)| out[shard].add(part));
        }
    }

    /// How many shards there are.
    pub const fn shards(&self) -> usize {
        self.shards
    }

    /// The shard of a trace.
    #[inline]
    pub fn shard_of(&self, id: [u8; 16]) -> usize {
        self.scale(self.keyed.id(&id)).into()
    }

    /// What was done so far.
    pub const fn stats(&self) -> RouterStats {
        self.stats
    }

    /// Parts a payload that was read; gives it back where its envelopes are too long to be repeated.
    fn part_read(
        &mut self,
        mut payload: Payload,
        sorted: &Sorted,
        out: &mut [Digest],
    ) -> Option<Payload> {
        let [request] = payload.segments() else { return Some(payload) };
        let runs = sorted.runs.iter();
        let owners: SmallVec<[u16; 16]> = runs.map(|run| self.shard_of_run(run, request)).collect();
        let first = owners.first().copied().unwrap_or(0);
        let is_whole = owners.iter().all(|owner| *owner == first);
        if !is_whole && !digests::may_repeat(sorted, self.shards, request.len()) {
            return Some(payload);
        }
        let without_trace = sorted.runs.iter().filter(|run| run.id().is_none());
        self.stats.without_trace += without_trace.count() as u64;
        if is_whole {
            self.stats.whole += 1;
            out[usize::from(first)].add_read(payload, sorted);
        } else {
            self.stats.parted += 1;
            let ack = payload.take_ack();
            let request = payload.into_segment().unwrap_or_default();
            self.writing.part(&request, sorted, &owners, ack, out);
        }
        None
    }

    /// Parts a request among several shards.
    fn part<'a, R: Iterator<Item = Row<'a>>>(
        &mut self,
        signal: Signal,
        request: &'a [u8],
        rows: impl Fn(ScopeGroup<'a>) -> R,
        ack: &mut Ack,
        limit: &mut Limit,
    ) {
        assert!(u32::try_from(request.len()).is_ok(), "a request of 4 GiB has to be cut first");
        self.stats.parted += 1;
        let mut last = Last::default();
        for (number, resource) in tree::resources(request).enumerate() {
            let mut known = None;
            for scope in resource.scopes() {
                let mut group = None;
                for row in rows(scope) {
                    if self.parts.is_full(limit) {
                        self.stats.torn += self.parts.write(signal, request, ack, limit);
                        let resource = self.parts.go_on();
                        // Where they are known by now, they are those of the last group.
                        (known, group) = (known.and(resource), group.map(|_| 0));
                    }
                    let shard = self.shard_of_row(&row, &mut last);
                    let group = *group.get_or_insert_with(|| {
                        self.parts.add_group(number, &mut known, resource, scope)
                    });
                    self.parts.add_row(group, shard, &row);
                }
            }
        }
        self.stats.torn += self.parts.write(signal, request, ack, limit);
        self.parts.end();
        self.stats.without_trace += last.without_trace;
    }

    /// The shard of all items, if it is one, and their number.
    fn only_shard<'a, R: Iterator<Item = Row<'a>>>(
        &mut self,
        request: &'a [u8],
        rows: impl Fn(ScopeGroup<'a>) -> R,
    ) -> Option<(u16, u64)> {
        let (mut only, mut count, mut last) = (None, 0, Last::default());
        for resource in tree::resources(request) {
            for scope in resource.scopes() {
                for row in rows(scope) {
                    let shard = self.shard_of_row(&row, &mut last);
                    count += u64::from(row.spans);
                    if *only.get_or_insert(shard) != shard {
                        return None;
                    }
                }
            }
        }
        self.stats.without_trace += last.without_trace;
        Some((only.unwrap_or(0), count))
    }

    #[inline]
    fn shard_of_run(&self, run: &Packed, request: &[u8]) -> u16 {
        match run.id() {
            Some(id) => self.scale(self.keyed.id(&id)),
            None => {
                let fields = &request[run.place.at as usize..][..run.place.len.get() as usize];
                self.scale(self.keyed.bytes(tree::message(fields)))
            }
        }
    }

    #[inline]
    fn shard_of_row(&self, row: &Row<'_>, last: &mut Last) -> u16 {
        match row.trace_id {
            Some(id) if id == last.id => return last.shard,
            Some(id) => {
                (last.id, last.shard) = (id, self.scale(self.keyed.id(&id)));
                return last.shard;
            }
            None => {}
        }
        last.without_trace += u64::from(row.spans);
        self.scale(self.keyed.bytes(tree::message(row.fields)))
    }

    /// From a hash to the number of a shard, by its highest bits.
    #[inline]
    fn scale(&self, hash: u64) -> u16 {
        // Below 256, as the number of shards.
        (((hash >> 32) * self.shards as u64) >> 32) as u16
    }
}
