//! Writes each shard's items into a request of its own.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use teleflow_otlp::tree::{ResourceGroup, ScopeGroup};
use teleflow_otlp::{Ack, Assembler, Payload, Row, Signal};

/// The parts of a payload, and what of a request is not written yet. The memory serves again.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// By shard.
    done: Vec<Option<Payload>>,
    runs: Vec<Run>,
    /// How many bytes the items take.
    bytes: usize,
    groups: Vec<Group>,
    envelopes: Vec<u8>,
    /// What a shard has in a resource group, by shard; and which shards have anything there.
    shares: Vec<Share>,
    touched: Vec<u16>,
}

/// How many bytes may be repeated that are more than the items they are repeated for.
#[derive(Debug)]
pub(super) struct Limit {
    left: usize,
}

/// Items of one shard that stand in a row in their request, below one scope.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Where their fields are in the request, which is shorter than 4 GiB.
    at: u32,
    len: u32,
    items: u32,
    group: u32,
    shard: u16,
}

/// A scope group that has items.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Which resource group it is in.
    number: u32,
    resource: Envelope,
    scope: Envelope,
}

/// Where an envelope is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    from: u32,
    to: u32,
}

/// Of a resource group, as far as it concerns a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    items: usize,
    envelopes: usize,
    longest: usize,
    /// The latest group that it has items of, and one; 0 where it has none yet.
    group: u32,
    /// Who gets the items.
    shard: u16,
}

/// A request that is being filled.
#[derive(Debug, Default)]
struct Part<'a> {
    assembler: Assembler<'a>,
    /// The resource group and the group that are open.
    open: Option<(u32, u32)>,
    /// What is to be added next.
    run: Range<usize>,
    items: u64,
    ack: Ack,
}

/// Longer ones are only repeated for items that weigh as much.
const LARGE_ENVELOPE: usize = 64 * 1024;

/// How many times its bytes, and how many bytes more, a payload may become longer by what is
/// repeated.
const MOST_TIMES: usize = 8;
const MOST_MORE: usize = 1024 * 1024;

/// Keys and lengths of a group, at most.
const HEAD: usize = 12;

/// With so many runs a request is written up to there, if nothing speaks against it: its bookkeeping
/// takes about 2 MiB then.
const MANY_RUNS: usize = 16 * 1024;

/// With so many runs much has to speak against it: the bookkeeping takes up to 32 MiB.
const MOST_RUNS: usize = 8 * MANY_RUNS;

// === impl Limit ===

impl Limit {
    /// For a payload of so many bytes.
    pub(super) const fn new(bytes: usize) -> Self {
        Self { left: bytes.saturating_mul(MOST_TIMES).saturating_add(MOST_MORE) }
    }

    /// Whether the envelopes of a share may be repeated for it.
    const fn allows(&mut self, share: &Share) -> bool {
        (share.longest <= LARGE_ENVELOPE && self.take(share.envelopes))
            || share.envelopes <= share.items
    }

    /// Whether so many more may be repeated; they count, if so.
    const fn take(&mut self, bytes: usize) -> bool {
        let is_allowed = bytes <= self.left;
        if is_allowed {
            self.left -= bytes;
        }
        is_allowed
    }
}

// === impl Parts ===

impl Parts {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            done: vec![None; shards],
            runs: Vec::new(),
            bytes: 0,
            groups: Vec::new(),
            envelopes: Vec::new(),
            shares: vec![Share::default(); shards],
            touched: Vec::new(),
        }
    }

    /// Whether it is time to [`write`](Self::write) and [`go_on`](Self::go_on), in the midst of a
    /// group.
    ///
    /// Its envelopes are then written once more behind that, and so they have to be short: against
    /// the items that there are, and because what weighs as much as a large one is to be found out
    /// about the whole group. Only with very many runs that is not waited for, as long as the limit
    /// allows it.
    #[inline]
    pub(super) fn is_full(&self, limit: &mut Limit) -> bool {
        self.runs.len() >= MANY_RUNS && self.is_worth_writing(limit)
    }

    fn is_worth_writing(&self, limit: &mut Limit) -> bool {
        let open = self.groups.last().map_or(0, |group| group.resource.len() + group.scope.len());
        let open = open + 2 * HEAD;
        open <= self.bytes.min(LARGE_ENVELOPE) || (self.runs.len() >= MOST_RUNS && limit.take(open))
    }

    /// Adds a scope group, and its resource group unless that is known by then; returns its number.
    pub(super) fn add_group(
        &mut self,
        number: usize,
        known: &mut Option<Envelope>,
        resource: ResourceGroup<'_>,
        scope: ScopeGroup<'_>,
    ) -> u32 {
        let number = number as u32;
        let resource =
            *known.get_or_insert_with(|| self.add_envelope(|out| resource.envelope(out)));
        let scope = self.add_envelope(|out| scope.envelope(out));
        // Groups of one scope in a row are one group.
        let repeats = self.groups.last().is_some_and(|last| {
            last.number == number
                && self.envelopes[last.scope.range()] == self.envelopes[scope.range()]
        });
        if repeats {
            self.envelopes.truncate(scope.from as usize);
        } else {
            self.groups.push(Group { number, resource, scope });
        }
        self.groups.len() as u32 - 1
    }

    fn add_envelope(&mut self, read: impl FnOnce(&mut Vec<u8>)) -> Envelope {
        let from = self.envelopes.len() as u32;
        read(&mut self.envelopes);
        Envelope { from, to: self.envelopes.len() as u32 }
    }

    /// Adds an item of a group that was added.
    #[inline]
    pub(super) fn add_row(&mut self, group: u32, shard: u16, row: &Row<'_>) {
        let (at, len) = (row.at as u32, row.fields.len() as u32);
        self.bytes += row.fields.len();
        match self.runs.last_mut() {
            Some(run) if (run.shard, run.group, run.at + run.len) == (shard, group, at) => {
                run.len += len;
                run.items += row.spans;
            }
            _ => self.runs.push(Run { at, len, items: row.spans, group, shard }),
        }
    }

    /// Writes what was added of a request. Returns how many items went to another shard than theirs.
    pub(super) fn write(
        &mut self,
        signal: Signal,
        request: &[u8],
        ack: &mut Ack,
        limit: &mut Limit,
    ) -> u64 {
        let torn = self.hold_together(limit);
        let Self { done, runs, groups, envelopes, .. } = self;
        let mut parts: Vec<_> = done.iter().map(|_| Part::default()).collect();
        for run in &*runs {
            let part = &mut parts[usize::from(run.shard)];
            let group = groups[run.group as usize];
            let open = (group.number, run.group);
            let at = run.at as usize;
            if part.open != Some(open) || part.run.end != at {
                part.add_run(request);
                part.run = at..at;
            }
            if part.open != Some(open) {
                if part.open.is_none_or(|(number, _)| number != group.number) {
                    part.assembler.resource(&envelopes[group.resource.range()]);
                }
                part.assembler.scope(&envelopes[group.scope.range()]);
                part.open = Some(open);
            }
            part.run.end += run.len as usize;
            let items = u64::from(run.items);
            if !ack.is_none() {
                part.ack.append(part.items, ack.take(items), items);
            }
            part.items += items;
        }
        for (part, done) in parts.into_iter().zip(done) {
            if part.items > 0 {
                append(done, part.finish(signal, request));
            }
        }
        self.runs.clear();
        self.bytes = 0;
        torn
    }

    /// Forgets all groups but the last, which is now the first; returns where its resource is.
    ///
    /// To read it again would take time with each step: it is what stands between its items.
    pub(super) fn go_on(&mut self) -> Option<Envelope> {
        let last = self.groups.pop()?;
        let (resource, scope) = (last.resource.len() as u32, last.scope.len() as u32);
        // The resource was added first.
        self.envelopes.copy_within(last.resource.range(), 0);
        self.envelopes.copy_within(last.scope.range(), resource as usize);
        let (resource, scope) =
            (Envelope { from: 0, to: resource }, Envelope { from: resource, to: resource + scope });
        self.envelopes.truncate(scope.to as usize);
        self.groups.clear();
        self.groups.push(Group { resource, scope, ..last });
        Some(resource)
    }

    /// Forgets all groups: the request has ended.
    pub(super) fn end(&mut self) {
        self.groups.clear();
        self.envelopes.clear();
    }

    /// Adds a request that needs no parting.
    pub(super) fn add(&mut self, shard: u16, payload: Payload) {
        append(&mut self.done[usize::from(shard)], payload);
    }

    /// Hands out the parts.
    pub(super) fn finish(&mut self, out: &mut Vec<(usize, Payload)>) {
        let done = self.done.iter_mut().enumerate();
        out.extend(done.filter_map(|(shard, part)| Some((shard, part.take()?))));
        // What a flood made huge is given back.
        self.runs.shrink_to(MANY_RUNS);
        self.groups.shrink_to(MANY_RUNS);
        self.envelopes.shrink_to(LARGE_ENVELOPE);
    }

    /// Has items go with others of their resource group where that must not be repeated for them.
    /// Returns how many do.
    fn hold_together(&mut self, limit: &mut Limit) -> u64 {
        let Self { runs, groups, shares, touched, .. } = self;
        let number = |run: &Run| groups[run.group as usize].number;
        let same = |one: &Run, other: &Run| number(one) == number(other);
        let mut torn = 0;
        for runs in runs.chunk_by_mut(same) {
            for run in &*runs {
                let share = &mut shares[usize::from(run.shard)];
                let group = groups[run.group as usize];
                if share.group == 0 {
                    *share = Share::default();
                    share.add(group.resource);
                    touched.push(run.shard);
                }
                if share.group != run.group + 1 {
                    share.group = run.group + 1;
                    share.add(group.scope);
                }
                share.items += run.len as usize;
            }
            let weight = |shard: &u16| shares[usize::from(*shard)].items;
            let Some(most) = touched.iter().copied().max_by_key(weight) else { continue };
            let mut all_allowed = true;
            for shard in touched.drain(..) {
                let share = &mut shares[usize::from(shard)];
                let is_allowed = shard == most || limit.allows(share);
                share.shard = if is_allowed { shard } else { most };
                share.group = 0;
                all_allowed &= is_allowed;
            }
            if all_allowed {
                continue;
            }
            for run in runs {
                let shard = shares[usize::from(run.shard)].shard;
                if shard != run.shard {
                    torn += u64::from(run.items);
                    run.shard = shard;
                }
            }
        }
        torn
    }
}

/// Merges a payload into what a shard has by then.
fn append(done: &mut Option<Payload>, payload: Payload) {
    match done {
        Some(done) => done.append(payload),
        None => *done = Some(payload),
    }
}

// === impl Envelope ===

impl Envelope {
    const fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    const fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

// === impl Share ===

impl Share {
    fn add(&mut self, envelope: Envelope) {
        self.envelopes += envelope.len() + HEAD;
        self.longest = self.longest.max(envelope.len());
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    fn add_run(&mut self, request: &'a [u8]) {
        self.assembler.items(&request[mem::take(&mut self.run)]);
    }

    fn finish(mut self, signal: Signal, request: &'a [u8]) -> Payload {
        self.add_run(request);
        let mut bytes = Vec::new();
        self.assembler.finish(&mut bytes);
        Payload::trusted(signal, Bytes::from(bytes), self.items).with_ack(self.ack)
    }
}
