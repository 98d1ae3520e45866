//! Head sampling of payloads that come by.

use std::time::Instant;

use bytes::Bytes;
use teleflow_otlp::log::LogRecord;
use teleflow_otlp::span::Span;
use teleflow_otlp::value::{AnyValue, Attributes};
use teleflow_otlp::{Ack, Answer, Payload, Signal, tree};

use super::source::bytes_of;
use super::{
    Candidate, HeadConfig, HeadStats, Key, Parent, Priority, Source, Undecidable, Warning, decide,
    priority,
};
use crate::edit::{Edit, Edited, Mark, Marks};
use crate::secret::{Keyed, Purpose};
use crate::wire::Open;
use crate::{Decision, Intent, Output, Randomness, Threshold, TraceState};

/// Decides about each span and log record of a payload when it comes by, and writes to what is kept
/// how likely it was to be: `th` in a span's trace state, `sampling.threshold` in a record's
/// attributes. Metrics pass by.
///
/// A payload of which everything is kept as it is passes on without a copy. What never was sampled
/// before and is not sampled here is left as it is, too, and gets no threshold.
///
/// A span without a usable trace id, and a record without a trace, has the randomness of a hash of its
/// content, and that is written to it, so that samplers after this one decide alike.
///
/// ```
/// use std::time::Instant;
/// use teleflow_otlp::{Payload, Signal};
/// use teleflow_sampler::Output;
/// use teleflow_sampler::head::{HeadConfig, HeadSampler, Ratio};
///
/// let mut sampler = HeadSampler::new(HeadConfig::new(Ratio::new(0.5)?));
/// // ResourceSpans { ScopeSpans { Span { trace_id }, Span { trace_id } } }
/// let request = b"\x0a\x2a\x12\x28\x12\x12\x0a\x10abcdefghiAklmnop\x12\x12\x0a\x10abcdefghi\xe1klmnop";
/// let payload = Payload::parse(Signal::Traces, request.as_slice().into())?;
/// let mut out = Output::default();
/// sampler.sample(Instant::now(), payload, &mut out);
/// assert_eq!((out.kept[0].items(), out.sampled_out), (1, 1));
/// let kept = out.kept[0].to_bytes();
/// assert!(kept.windows(7).any(|part| part == b"ot=th:8"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeadSampler {
    config: HeadConfig,
    keyed: Keyed,
    stats: HeadStats,
    has_warned: bool,
    /// What was decided about a segment's items, in their order; the memory serves again.
    verdicts: Vec<Verdict>,
    edited: Edited,
    /// How much may be written anew.
    room: usize,
}

/// What becomes of items in a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// So many are left out.
    Drop(u32),
    /// So many are kept as they are.
    Same(u32),
    /// One is kept as it was written anew, in so many bytes.
    Edited(u32),
}

/// What is written to items may make a segment twice as long, and this much longer: a flood of
/// records without content must not become one of many times its size.
const ROOM: usize = 64 * 1024;

/// W3C trace flags: the trace id is random.
const RANDOM: u32 = 0x2;

/// Span flags: whether the parent is of another process is known; it is.
const HAS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Kinds of spans that take up what another process began.
const SERVER: i32 = 2;
const CONSUMER: i32 = 5;

// === impl HeadSampler ===

impl HeadSampler {
    /// Creates a sampler that has decided about nothing.
    pub fn new(config: HeadConfig) -> Self {
        Self {
            keyed: Keyed::new(config.hash_seed, Purpose::Head),
            config,
            stats: HeadStats::default(),
            has_warned: false,
            verdicts: Vec::new(),
            edited: Edited::default(),
            room: 0,
        }
    }

    /// Decides about a payload's items. Who waits for those that are left out is answered at once, and
    /// else waits for the payload that goes on.
    pub fn sample(&mut self, now: Instant, mut payload: Payload, out: &mut Output) {
        let signal = payload.signal();
        if signal == Signal::Metrics {
            out.kept.push(payload);
            return;
        }
        let mut ack = payload.take_ack();
        let mut kept = Payload::empty(signal);
        for segment in payload.into_segments() {
            self.decide_all(now, signal, &segment);
            let ack = self.answer(&mut ack, out);
            let items = self.verdicts.iter().map(|verdict| verdict.kept()).sum();
            let is_same = self.verdicts.iter().all(|run| matches!(run, Verdict::Same(_)));
            let segment = if is_same { segment } else { self.assemble(&segment) };
            kept.append(Payload::trusted(signal, segment, items).with_ack(ack));
        }
        if !kept.is_empty() {
            out.kept.push(kept);
        }
        // The memory serves again, unless a flood made it huge.
        self.verdicts.shrink_to(16 * 1024);
        self.edited.shrink_to(1024 * 1024);
    }

    /// What it did so far.
    pub const fn stats(&self) -> HeadStats {
        self.stats
    }

    /// A warning, once, after there was a reason for it.
    pub fn take_warning(&mut self) -> Option<Warning> {
        if self.has_warned || self.stats.presumed_random == 0 {
            return None;
        }
        self.has_warned = true;
        Some(Warning)
    }

    /// Fills `verdicts` and `edited`.
    fn decide_all(&mut self, now: Instant, signal: Signal, segment: &[u8]) {
        self.verdicts.clear();
        self.edited.fields.clear();
        self.room = segment.len() + ROOM;
        for group in tree::resources(segment) {
            // Read where there is an item below it, and only if it is asked for.
            let mut service = None;
            for item in group.scopes().flat_map(|scope| scope.items()) {
                let service = match self.config.key {
                    Key::One => "",
                    _ => service.get_or_insert_with(|| service_name(group.resource())),
                };
                let verdict = match signal {
                    Signal::Logs => self.record(now, service, item.message),
                    _ => self.span(now, service, item.message),
                };
                self.note(verdict);
            }
        }
    }

    fn span(&mut self, now: Instant, service: &str, message: &[u8]) -> Verdict {
        let span = Span::read(message);
        let state = TraceState::parse(span.trace_state);
        let is_root = span.parent_span_id.iter().all(|byte| *byte == 0);
        let is_remote = span.flags & IS_REMOTE != 0;
        let is_entry = is_root
            || match span.flags & HAS_REMOTE {
                0 => [SERVER, CONSUMER].contains(&span.kind),
                _ => is_remote,
            };
        // What was exported was sampled.
        let parent = match (is_root, is_remote) {
            (true, _) => Parent::None,
            (false, true) => Parent::Remote { is_sampled: true },
            (false, false) => Parent::Local { is_sampled: true },
        };
        let said = Said {
            randomness: state.randomness(),
            before: state.threshold(),
            is_unreadable: !state.is_readable(),
            priority: match self.config.priority.of_spans && priority::may_have_one(message) {
                true => first(span.attributes(), priority::OF_SPAN)
                    .and_then(|value| Priority::of_span(&value)),
                false => None,
            },
        };
        let source = match &self.config.source {
            Source::Hash(hash) if said.is_fresh() => {
                usable(span.trace_id).map(|id| hash.randomness(&id))
            }
            _ => None,
        };
        let (trace_id, chance) = self.chance(&said, source, span.trace_id, span.flags, message);
        let candidate = Candidate {
            trace_id,
            randomness: chance.randomness,
            before: said.before,
            parent,
            is_entry,
            key: self.key(service, span.name),
            bytes: message.len() as u64,
        };
        match self.decide(now, &candidate, &chance, &said) {
            None => Verdict::Drop(1),
            Some(mark) => {
                let edit = self.edited.span(message, &state, mark);
                self.kept(edit)
            }
        }
    }

    fn record(&mut self, now: Instant, service: &str, message: &[u8]) -> Verdict {
        let record = LogRecord::read(message);
        let marks = Marks::read(record.attributes());
        let asked = &self.config.priority;
        let said = Said {
            randomness: marks.randomness(),
            before: marks.threshold(),
            is_unreadable: !marks.is_readable(),
            priority: asked.of_records.as_deref().and_then(|key| {
                first(record.attributes(), key).and_then(|value| asked.of_record(&value))
            }),
        };
        let source = match &self.config.source {
            Source::Hash(hash) if said.is_fresh() => {
                let id = usable(record.trace_id).filter(|_| hash.takes_trace_id);
                let of_id = id.map(|id| hash.randomness(&id));
                of_id.or_else(|| {
                    let value = first(record.attributes(), hash.attribute.as_deref()?)?;
                    Some(hash.randomness(&bytes_of(value)?))
                })
            }
            _ => None,
        };
        let (trace_id, chance) = self.chance(&said, source, record.trace_id, record.flags, message);
        let candidate = Candidate {
            trace_id,
            randomness: chance.randomness,
            before: said.before,
            parent: Parent::None,
            is_entry: true,
            key: self.key(service, record.event_name),
            bytes: message.len() as u64,
        };
        match self.decide(now, &candidate, &chance, &said) {
            None => Verdict::Drop(1),
            Some(mark) => {
                let edit = self.edited.record(message, &marks, mark);
                self.kept(edit)
            }
        }
    }

    /// What decides about an item, and its trace id: zeros where it has none that can be used.
    /// `source` is a hash that is to decide.
    fn chance(
        &mut self,
        said: &Said,
        source: Option<Randomness>,
        trace_id: &[u8],
        flags: u32,
        message: &[u8],
    ) -> ([u8; 16], Chance) {
        let id = usable(trace_id);
        self.stats.without_trace += u64::from(id.is_none());
        let told = |randomness| Chance {
            randomness,
            is_made: false,
            is_presumed: false,
            is_of_content: false,
        };
        let is_hashed = matches!(self.config.source, Source::Hash(_)) && said.is_fresh();
        let chance = match (said.randomness, source, id) {
            (Some(randomness), ..) => told(randomness),
            (None, Some(randomness), _) => Chance { is_made: true, ..told(randomness) },
            (None, None, Some(id)) if !is_hashed => {
                Chance { is_presumed: flags & RANDOM == 0, ..told(Randomness::from_trace_id(id)) }
            }
            (None, None, _) => Chance {
                is_made: true,
                is_of_content: true,
                ..told(Randomness::from_hash(self.keyed.bytes(message)))
            },
        };
        (id.unwrap_or_default(), chance)
    }

    fn key(&self, service: &str, name: &str) -> u64 {
        match self.config.key {
            Key::One => 0,
            Key::Service => self.keyed.bytes(service.as_bytes()),
            Key::ServiceAndName => self.keyed.texts(service, name),
        }
    }

    /// What is to be written to an item, or nothing where it is left out.
    fn decide(
        &mut self,
        now: Instant,
        candidate: &Candidate,
        chance: &Chance,
        said: &Said,
    ) -> Option<Mark> {
        let HeadConfig { sampler, composition, undecidable, .. } = &self.config;
        let before = candidate.before;
        let is_contradicted = before.is_some_and(|before| !before.keeps(candidate.randomness));
        let is_hashing = matches!(self.config.source, Source::Hash(_));
        let is_odd = chance.is_of_content
            || is_contradicted
            || said.is_unreadable
            || (is_hashing && !said.is_fresh());
        let settled = said.priority.or_else(|| match undecidable {
            Undecidable::Keep if is_odd => match sampler.intent(now, candidate) {
                Intent::Drop => Some(Intent::Drop),
                _ => Some(Intent::Sample(Threshold::ALL)),
            },
            Undecidable::Drop if is_odd => Some(Intent::Drop),
            _ => None,
        });
        let (is_by_chance, decision) = match settled {
            Some(intent) => {
                let decision = composition.decide(intent, before, candidate.randomness);
                sampler.hear(now, candidate, decision.is_kept(), false);
                (false, decision)
            }
            None => decide(&**sampler, *composition, now, candidate),
        };
        self.stats.inconsistent += u64::from(is_contradicted);
        self.stats.presumed_random += u64::from(chance.is_presumed && is_by_chance);
        let Decision::Keep(threshold) = decision else {
            self.stats.sampled_out += 1;
            return None;
        };
        self.stats.kept += 1;
        self.stats.unknown += u64::from(threshold.is_none());
        self.stats.adjusted_count += decision.adjusted_count();
        // What was never sampled needs no word of it.
        let mut threshold =
            threshold.filter(|threshold| before.is_some() || *threshold != Threshold::ALL);
        if threshold.is_some() && self.edited.fields.len() >= self.room {
            self.stats.without_room += 1;
            threshold = None;
        }
        let is_told = chance.is_made && threshold.is_some();
        Some(Mark { threshold, randomness: is_told.then_some(candidate.randomness) })
    }

    fn kept(&mut self, edit: Edit) -> Verdict {
        self.stats.without_room += u64::from(edit.lacks_room);
        if edit.is_written { Verdict::Edited(edit.len) } else { Verdict::Same(1) }
    }

    /// Adds a verdict about the next item.
    fn note(&mut self, verdict: Verdict) {
        match (self.verdicts.last_mut(), verdict) {
            (Some(Verdict::Drop(run)), Verdict::Drop(more))
            | (Some(Verdict::Same(run)), Verdict::Same(more)) => *run += more,
            _ => self.verdicts.push(verdict),
        }
    }

    /// Answers for what is left out of a segment, and returns who waits for the rest.
    fn answer(&self, ack: &mut Ack, out: &mut Output) -> Ack {
        let mut kept = Ack::none();
        let mut items = 0;
        for verdict in &self.verdicts {
            if let Verdict::Drop(run) = *verdict {
                let run = u64::from(run);
                out.sampled_out += run;
                ack.take(run).settle(Answer::sampled_out(run));
            } else {
                kept.append(items, ack.take(verdict.kept()), verdict.kept());
                items += verdict.kept();
            }
        }
        kept
    }

    /// The segment with what was kept, as it was decided.
    fn assemble(&self, segment: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let mut edited = &self.edited.fields[..];
        let mut verdicts = self.verdicts.iter().flat_map(|verdict| {
            let (Verdict::Drop(run) | Verdict::Same(run)) = *verdict else {
                return std::iter::repeat_n(*verdict, 1);
            };
            std::iter::repeat_n(*verdict, run as usize)
        });
        for group in tree::resources(segment) {
            let mut open_group = None;
            for scope in group.scopes() {
                let mut open_scope = None;
                for (item, verdict) in scope.items().zip(&mut verdicts) {
                    let field = match verdict {
                        Verdict::Drop(_) => continue,
                        Verdict::Same(_) => item.field,
                        Verdict::Edited(len) => {
                            let (field, rest) = edited.split_at(len as usize);
                            edited = rest;
                            field
                        }
                    };
                    open_group.get_or_insert_with(|| {
                        let open = Open::new(&mut out, 1);
                        group.envelope(&mut out);
                        open
                    });
                    open_scope.get_or_insert_with(|| {
                        let open = Open::new(&mut out, 2);
                        scope.envelope(&mut out);
                        open
                    });
                    out.extend_from_slice(field);
                }
                open_scope.into_iter().for_each(|open: Open| open.close(&mut out));
            }
            open_group.into_iter().for_each(|open: Open| open.close(&mut out));
        }
        out.into()
    }
}

// === impl Verdict ===

impl Verdict {
    /// How many items are kept.
    fn kept(self) -> u64 {
        match self {
            Self::Drop(_) => 0,
            Self::Same(run) => u64::from(run),
            Self::Edited(_) => 1,
        }
    }
}

/// What decides about an item.
#[derive(Clone, Copy, Debug)]
struct Chance {
    randomness: Randomness,
    /// Whether nobody could know it but from what is written to the item.
    is_made: bool,
    /// Whether it is of a trace id that nobody said is random.
    is_presumed: bool,
    /// Whether it is of the item's content, for want of anything else.
    is_of_content: bool,
}

/// What an item says about its sampling.
#[derive(Clone, Copy, Debug)]
struct Said {
    randomness: Option<Randomness>,
    before: Option<Threshold>,
    /// Whether it says something that cannot be read.
    is_unreadable: bool,
    /// How likely it wants to be kept.
    priority: Option<Intent>,
}

// === impl Said ===

impl Said {
    /// Whether nobody before has decided about it by chance.
    const fn is_fresh(&self) -> bool {
        self.randomness.is_none() && self.before.is_none()
    }
}

/// A trace id, if it can be used.
fn usable(trace_id: &[u8]) -> Option<[u8; 16]> {
    <[u8; 16]>::try_from(trace_id).ok().filter(|id| *id != [0; 16])
}

/// The first attribute of this name.
fn first<'a>(mut attributes: Attributes<'a>, key: &str) -> Option<AnyValue<'a>> {
    attributes.find_map(|(name, value)| (name == key).then_some(value))
}

fn service_name<'a>(resource: impl Iterator<Item = &'a [u8]>) -> &'a str {
    let mut attributes = resource.flat_map(Attributes::of_resource);
    let name = attributes.find(|(key, _)| *key == "service.name");
    name.and_then(|(_, value)| value.as_str()).unwrap_or_default()
}
