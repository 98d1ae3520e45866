//! What is written to what is kept: how likely that was, and which policy did it.

use teleflow_otlp::span::Span;
use teleflow_otlp::{Scalar, Writer};

use crate::edit::{self, Edited};
use crate::engine::By;
use crate::rules::Rules;
use crate::{Composition, Decision, Intent, Randomness, Threshold, TraceState};

/// What is to be written to the spans of a trace.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// How likely the trace was to be kept, where that is known.
    pub(super) threshold: Option<Threshold>,
    /// What chance decided with.
    pub(super) randomness: Randomness,
    /// Whether that is to be told, where a span has no randomness of its own.
    pub(super) tells: bool,
    /// Of a span without a trace state: the field with it.
    field: Vec<u8>,
}

/// What the scopes of kept spans tell: which policy kept them.
///
/// Until the rules change, a number keeps its meaning.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<Told>);

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

/// Numbers of fields: a span's trace state, a scope group's scope, a scope's attributes.
const TRACE_STATE: u32 = 3;
const SCOPE: u32 = 1;
const SCOPE_ATTRIBUTES: u32 = 3;

/// What is told of traces that relief kept.
const RELIEF: &str = "stress_relief";

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
        Self { threshold, randomness, tells, field }
    }

    /// Whether nothing is written to a span without a trace state.
    pub(super) const fn is_empty(&self) -> bool {
        self.field.is_empty()
    }

    /// Appends a span's field as it has to be.
    pub(super) fn append(&self, message: &[u8], has_state: bool, out: &mut Edited) -> Marked {
        if has_state {
            return self.append_with_state(message, out);
        }
        let out = &mut out.fields;
        out.push(ITEM);
        let mut len = message.len() + self.field.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(message);
        out.extend_from_slice(&self.field);
        Marked::default()
    }

    /// A span may come with a trace state, and with a threshold of its own in it.
    fn append_with_state(&self, message: &[u8], out: &mut Edited) -> Marked {
        let state = TraceState::parse(Span::read(message).trace_state);
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
            let plain = Self { field: Vec::new(), ..self.clone() };
            plain.append(message, false, out);
        }
        let is_contradicted = before.is_some_and(|before| !before.keeps(randomness));
        Marked {
            without_room: u64::from(edit.lacks_room),
            inconsistent: u64::from(is_contradicted),
        }
    }
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

    /// The label of a policy.
    pub(super) fn of(&mut self, rules: &Rules, by: Option<By>) -> u16 {
        let told = match by {
            Some(By::RELIEF) => Some((RELIEF, None)),
            by => by.and_then(|by| rules.told(by)),
        };
        let Some((policy, part)) = told else { return Self::NONE };
        let is = |told: &Told| told.policy == policy && told.part.as_deref() == part;
        if let Some(index) = self.0.iter().position(is) {
            return index as u16 + 1;
        }
        // So many policies and parts nobody has.
        if self.0.len() + 1 >= usize::from(Self::LATE) {
            return Self::NONE;
        }
        self.0.push(Told { policy: policy.to_owned(), part: part.map(str::to_owned) });
        self.0.len() as u16
    }

    /// Appends a scope group's envelope with what is told in the scope's attributes; `false` where
    /// nothing is.
    pub(super) fn write(&self, label: u16, envelope: &[u8], out: &mut Vec<u8>) -> bool {
        if label == Self::NONE {
            return false;
        }
        let mut attributes = Vec::new();
        let mut writer = Writer::new(&mut attributes);
        let mut text = |key, value| writer.attribute(SCOPE_ATTRIBUTES, key, Scalar::Str(value));
        if let Some(told) =
            usize::from(label & !Self::LATE).checked_sub(1).and_then(|at| self.0.get(at))
        {
            text("tailsampling.policy", &told.policy);
            if let Some(part) = &told.part {
                text("tailsampling.composite_policy", part);
            }
        }
        if label & Self::LATE != 0 {
            let is_late = Scalar::Bool(true);
            writer.attribute(SCOPE_ATTRIBUTES, "tailsampling.cached_decision", is_late);
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
        scope.extend_from_slice(&attributes);
        Writer::new(out).bytes(SCOPE, &scope);
        true
    }
}
