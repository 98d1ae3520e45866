//! What is written to what is kept: how likely that was, which policy did it, and where.

use teleflow_otlp::span::Span;
use teleflow_otlp::{Scalar, Writer};

use crate::edit::{self, Edited};
use crate::engine::By;
use crate::rules::Rules;
use crate::{Composition, Config, Decision, Intent, Randomness, Threshold, TraceState};

/// What is to be written to spans.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    /// To their trace states.
    odds: Option<Odds>,
    /// To their attributes, as fields.
    attributes: Vec<u8>,
}

/// How likely a trace was to be kept.
#[derive(Clone, Debug)]
struct Odds {
    /// How likely the trace was to be kept, where that is known.
    threshold: Option<Threshold>,
    /// What chance decided with.
    randomness: Randomness,
    /// Whether that is to be told, where a span has no randomness of its own.
    tells: bool,
    /// Of a span without a trace state: the field with it.
    field: Vec<u8>,
}

/// What the scopes of kept spans tell: which policy kept them, and where.
///
/// Until the rules change, a number keeps its meaning.
#[derive(Debug, Default)]
pub(super) struct Labels {
    told: Vec<Told>,
    /// Who tells it.
    host: Option<String>,
    /// Whether it is told what would have been kept.
    is_dry: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Told {
    policy: String,
    part: Option<String>,
}

/// What became of a span's mark.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Marked {
    /// How many spans lacked room for it, and how many came with a threshold that cannot be.
    pub(super) without_room: u64,
    pub(super) inconsistent: u64,
}

/// Numbers of fields: a span's trace state and attributes, a scope group's scope, a scope's
/// attributes.
const TRACE_STATE: u32 = 3;
pub(super) const SPAN_ATTRIBUTES: u32 = 9;
const SCOPE: u32 = 1;
const SCOPE_ATTRIBUTES: u32 = 3;

/// What is told of traces that relief kept.
pub(super) const RELIEF: &str = "stress_relief";

/// An item's key: field 2, with a length.
const ITEM: u8 = 0x12;

// === impl Mark ===

impl Mark {
    pub(super) fn new(threshold: Option<Threshold>, randomness: Randomness, tells: bool) -> Self {
        let state = TraceState::parse("");
        let text = match (threshold, tells) {
            (Some(_), true) => state.with_randomness(threshold, randomness),
            _ => state.with_threshold(threshold),
        };
        let mut field = Vec::new();
        // An empty state has room for both.
        if let Ok(text) = text
            && !text.is_empty()
        {
            Writer::new(&mut field).str(TRACE_STATE, &text);
        }
        let odds = Some(Odds { threshold, randomness, tells, field });
        Self { odds, attributes: Vec::new() }
    }

    /// The same, and these attributes too.
    pub(super) fn with_attributes(mut self, attributes: &[u8]) -> Self {
        self.attributes.extend_from_slice(attributes);
        self
    }

    /// Whether nothing is written to a span without a trace state.
    pub(super) fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.odds.as_ref().is_none_or(|odds| odds.field.is_empty())
    }

    /// Appends a span's field as it has to be.
    pub(super) fn append(&self, message: &[u8], has_state: bool, out: &mut Edited) -> Marked {
        if self.attributes.is_empty() {
            return self.append_odds(message, has_state, out);
        }
        let mut more = Vec::with_capacity(message.len() + self.attributes.len());
        edit::put_attributes(message, &self.attributes, &mut more);
        self.append_odds(&more, has_state, out)
    }

    fn append_odds(&self, message: &[u8], has_state: bool, out: &mut Edited) -> Marked {
        match &self.odds {
            Some(odds) if has_state => return odds.append(message, out),
            Some(odds) => append(message, &odds.field, out),
            None => append(message, &[], out),
        }
        Marked::default()
    }
}

// === impl Odds ===

impl Odds {
    /// A span may come with a trace state, and with a threshold of its own in it.
    fn append(&self, message: &[u8], out: &mut Edited) -> Marked {
        let text = Span::read(message).trace_state;
        if text.is_empty() {
            append(message, &self.field, out);
            return Marked::default();
        }
        let state = TraceState::parse(text);
        let randomness = state.randomness().unwrap_or(self.randomness);
        let before = state.threshold();
        let intent = self.threshold.map_or(Intent::Keep, Intent::Sample);
        let threshold = match Composition::Equalizing.decide(intent, before, randomness) {
            Decision::Keep(threshold) => threshold,
            // It says that chance decided otherwise than it did: whatever it says is not so.
            Decision::Drop => None,
        };
        let tells = self.tells && threshold.is_some() && state.randomness().is_none();
        let mark = edit::Mark { threshold, randomness: tells.then_some(self.randomness) };
        let start = out.fields.len();
        let edit = out.span(message, &state, mark);
        if !edit.is_written {
            out.fields.truncate(start);
            append(message, &[], out);
        }
        let is_contradicted = before.is_some_and(|before| !before.keeps(randomness));
        Marked {
            without_room: u64::from(edit.lacks_room),
            inconsistent: u64::from(is_contradicted),
        }
    }
}

/// Appends an item's field, with one more of its own.
fn append(message: &[u8], field: &[u8], out: &mut Edited) {
    let out = &mut out.fields;
    out.push(ITEM);
    let mut len = message.len() + field.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(message);
    out.extend_from_slice(field);
}

// === impl Marked ===

impl Marked {
    pub(super) fn add(&mut self, other: Self) {
        self.without_room += other.without_room;
        self.inconsistent += other.inconsistent;
    }
}

// === impl Labels ===

impl Labels {
    /// Nothing is told.
    pub(super) const NONE: u16 = 0;

    /// Set where the decision was made before the span came.
    pub(super) const LATE: u16 = 1 << 15;

    /// Set where, in a dry run, it would have been left out.
    pub(super) const LEFT_OUT: u16 = 1 << 14;

    pub(super) fn new(config: &Config) -> Self {
        Self { told: Vec::new(), host: config.host.clone(), is_dry: config.dry_run }
    }

    /// The label of a policy.
    pub(super) fn of(&mut self, rules: &Rules, by: Option<By>) -> u16 {
        let told = match by {
            Some(By::RELIEF) => Some((RELIEF, None)),
            by => by.and_then(|by| rules.told(by)),
        };
        let Some((policy, part)) = told else { return Self::NONE };
        let is = |told: &Told| told.policy == policy && told.part.as_deref() == part;
        if let Some(index) = self.told.iter().position(is) {
            return index as u16 + 1;
        }
        // So many policies and parts nobody has.
        if self.told.len() + 1 >= usize::from(Self::LEFT_OUT) {
            return Self::NONE;
        }
        self.told.push(Told { policy: policy.to_owned(), part: part.map(str::to_owned) });
        self.told.len() as u16
    }

    /// Appends a scope group's envelope with what is told in the scope's attributes; `false` where
    /// nothing is.
    pub(super) fn write(&self, label: u16, envelope: &[u8], out: &mut Vec<u8>) -> bool {
        if label == Self::NONE && self.host.is_none() && !self.is_dry {
            return false;
        }
        let mut attributes = Vec::new();
        let mut writer = Writer::new(&mut attributes);
        let mut text = |key, value| writer.attribute(SCOPE_ATTRIBUTES, key, Scalar::Str(value));
        if let Some(told) = usize::from(label & !(Self::LATE | Self::LEFT_OUT))
            .checked_sub(1)
            .and_then(|at| self.told.get(at))
        {
            text("tailsampling.policy", &told.policy);
            if let Some(part) = &told.part {
                text("tailsampling.composite_policy", part);
            }
        }
        if let Some(host) = &self.host {
            text("tailsampling.host", host);
        }
        let mut truth = |key, is_so| {
            writer.attribute(SCOPE_ATTRIBUTES, key, Scalar::Bool(is_so));
        };
        if label & Self::LATE != 0 {
            truth("tailsampling.cached_decision", true);
        }
        if self.is_dry {
            truth("tailsampling.dry_run.kept", label & Self::LEFT_OUT == 0);
        }
        let mut scope = Vec::new();
        for field in crate::wire::fields(envelope) {
            if field.number == SCOPE {
                // Repeated, they count as merged: so they may be put together.
                scope.extend_from_slice(field.content);
            } else {
                out.extend_from_slice(field.whole);
            }
        }
        let mut told = Vec::with_capacity(scope.len() + attributes.len());
        edit::put_attributes(&scope, &attributes, &mut told);
        Writer::new(out).bytes(SCOPE, &told);
        true
    }
}
