//! Writes to spans and records how likely they were to be kept.

use teleflow_otlp::value::AnyValue;
use teleflow_otlp::{Scalar, Writer};

use crate::wire::{self, Open};
use crate::{Randomness, Threshold, TraceState};

/// The number of an item's field in its scope group.
const ITEM: u8 = 2;

/// A span's trace state.
const TRACE_STATE: u32 = 3;

/// A log record's attributes.
const ATTRIBUTES: u32 = 6;

/// What a record carries, as a span does in its trace state.
const THRESHOLD: &str = "sampling.threshold";
const RANDOMNESS: &str = "sampling.randomness";

/// What is to be written to what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) threshold: Option<Threshold>,
    /// Where it has none of its own that others would find.
    pub(crate) randomness: Option<Randomness>,
}

/// What an edit came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Edit {
    /// Whether the item was written anew; if not, it is as it has to be.
    pub(crate) is_written: bool,
    /// How many bytes its field takes then.
    pub(crate) len: u32,
    /// Whether there was no room for the mark. What would have been wrong without it is gone.
    pub(crate) lacks_room: bool,
}

/// What was written anew, field by field.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    /// The fields, end to end.
    pub(crate) fields: Vec<u8>,
}

// === impl Edited ===

impl Edited {
    /// Appends a span's field with another trace state, if that is a change.
    pub(crate) fn span(&mut self, span: &[u8], state: &TraceState<'_>, mark: Mark) -> Edit {
        let marked = match mark.randomness {
            Some(randomness) => state.with_randomness(mark.threshold, randomness),
            None => state.with_threshold(mark.threshold),
        };
        let lacks_room = marked.is_err();
        // A threshold that is not true any more must not stay.
        let text = marked.or_else(|_| state.with_threshold(None)).unwrap_or_default();
        let is_written = text != state.as_str();
        if !is_written {
            return Edit { is_written, len: 0, lacks_room };
        }
        let (start, open) = self.open();
        let mut is_placed = false;
        for field in wire::fields(span) {
            // In its place, or where it would be.
            if !is_placed && (field.number >= TRACE_STATE || field.number == 0) {
                Writer::new(&mut self.fields).str(TRACE_STATE, &text);
                is_placed = true;
            }
            if field.number != TRACE_STATE {
                self.fields.extend_from_slice(field.whole);
            }
        }
        if !is_placed {
            Writer::new(&mut self.fields).str(TRACE_STATE, &text);
        }
        Edit { is_written, len: self.close(start, open), lacks_room }
    }

    /// Appends a log record's field with other attributes of sampling, if that is a change.
    pub(crate) fn record(&mut self, record: &[u8], marks: &Marks<'_>, mark: Mark) -> Edit {
        let is_same = match mark.threshold {
            Some(threshold) => marks.threshold() == Some(threshold),
            None => marks.threshold.is_none(),
        };
        let randomness =
            mark.randomness.filter(|randomness| marks.randomness() != Some(*randomness));
        if is_same && randomness.is_none() {
            return Edit { is_written: false, len: 0, lacks_room: false };
        }
        let (start, open) = self.open();
        for field in wire::fields(record) {
            let key = if field.number == ATTRIBUTES { attribute_key(field.content) } else { "" };
            let goes = key == THRESHOLD || (key == RANDOMNESS && randomness.is_some());
            if !goes {
                self.fields.extend_from_slice(field.whole);
            }
        }
        let mut writer = Writer::new(&mut self.fields);
        if let Some(threshold) = mark.threshold {
            writer.attribute(ATTRIBUTES, THRESHOLD, Scalar::Str(&threshold.to_string()));
        }
        if let Some(randomness) = randomness {
            writer.attribute(ATTRIBUTES, RANDOMNESS, Scalar::Str(&randomness.to_string()));
        }
        Edit { is_written: true, len: self.close(start, open), lacks_room: false }
    }

    /// Gives memory beyond so many bytes back.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.fields.clear();
        self.fields.shrink_to(bytes);
    }

    fn open(&mut self) -> (usize, Open) {
        (self.fields.len(), Open::new(&mut self.fields, ITEM))
    }

    /// Ends a field, and returns how long it is: no item takes 4 GiB.
    fn close(&mut self, start: usize, open: Open) -> u32 {
        open.close(&mut self.fields);
        (self.fields.len() - start) as u32
    }
}

/// What a record says about its sampling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks<'a> {
    /// Present, be it what it may.
    threshold: Option<AnyValue<'a>>,
    randomness: Option<AnyValue<'a>>,
}

// === impl Marks ===

impl<'a> Marks<'a> {
    /// The first attribute of each name counts.
    pub(crate) fn read(attributes: impl Iterator<Item = (&'a str, AnyValue<'a>)>) -> Self {
        let mut marks = Self::default();
        for (key, value) in attributes {
            let place = match key {
                THRESHOLD => &mut marks.threshold,
                RANDOMNESS => &mut marks.randomness,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        marks
    }

    pub(crate) fn threshold(&self) -> Option<Threshold> {
        self.threshold.as_ref()?.as_str()?.parse().ok()
    }

    pub(crate) fn randomness(&self) -> Option<Randomness> {
        self.randomness.as_ref()?.as_str()?.parse().ok()
    }

    /// Whether what it says in words can be read.
    pub(crate) fn is_readable(&self) -> bool {
        let says = |mark: &Option<AnyValue<'_>>| {
            mark.as_ref().and_then(AnyValue::as_str).is_some_and(|text| !text.is_empty())
        };
        (self.threshold().is_some() || !says(&self.threshold))
            && (self.randomness().is_some() || !says(&self.randomness))
    }
}

/// Appends a message with more attributes, in place of those of the same names. These are fields as
/// the message has them, each with a name of its own.
pub(crate) fn put_attributes(message: &[u8], attributes: &[u8], out: &mut Vec<u8>) {
    for field in wire::fields(message) {
        let is_replaced = wire::fields(attributes).any(|new| {
            new.number == field.number && attribute_key(new.content) == attribute_key(field.content)
        });
        if !is_replaced {
            out.extend_from_slice(field.whole);
        }
    }
    out.extend_from_slice(attributes);
}

/// The key of a `KeyValue`.
fn attribute_key(pair: &[u8]) -> &str {
    let keys = wire::fields(pair).filter(|field| field.number == 1);
    keys.last().and_then(|key| std::str::from_utf8(key.content).ok()).unwrap_or_default()
}
