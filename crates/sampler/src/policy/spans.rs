//! What policies look for in spans, all of a set together: a trace's spans are read once at most, and
//! only if a policy that needs it is asked.

use std::ops::ControlFlow;

use teleflow_otlp::tree;
use teleflow_otlp::value::AnyValue;

use crate::policy::conditions::{Found, Search};
use crate::policy::value::ValueTest;
use crate::{SpanView, Trace, wire};

/// What policies look for, each known by a number, and what was found in the trace at hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanTests {
    /// Sorted by name.
    keys: Vec<Key>,
    /// Which lengths the names have: bit 63 stands for all that are longer.
    lengths: u64,
    states: Vec<StateTest>,
    count: usize,
    /// One bit each, of what is true.
    truths: Vec<u64>,
    /// Whether `truths` is about the trace at hand.
    is_read: bool,
    /// Counts resources and spans, to tell the first attribute of a name from others.
    epoch: u64,
    searches: Vec<Search>,
    /// What the searches found in the trace at hand.
    found: Vec<Option<Found>>,
}

/// The name of an attribute, and what is asked of it.
#[derive(Clone, Debug)]
struct Key {
    name: Box<[u8]>,
    tests: Vec<(usize, ValueTest)>,
    /// The resource or span in which it was seen last.
    seen: u64,
}

/// An entry of W3C's trace state that is looked for.
#[derive(Clone, Debug)]
struct StateTest {
    number: usize,
    key: Box<str>,
    values: Box<[Box<str>]>,
}

/// An entry of a trace state has no more characters.
const MAX_STATE: usize = 256;

// === impl SpanTests ===

impl SpanTests {
    /// Looks for an attribute of a span or its resource.
    pub(crate) fn add_attribute(&mut self, name: &str, test: ValueTest) -> usize {
        let (number, name) = (self.next(), name.as_bytes());
        self.lengths |= length_bit(name);
        let at = self.keys.binary_search_by(|key| (*key.name).cmp(name)).unwrap_or_else(|at| {
            self.keys.insert(at, Key { name: name.into(), tests: Vec::new(), seen: 0 });
            at
        });
        self.keys[at].tests.push((number, test));
        number
    }

    /// Looks for an entry of the trace state. A value is ignored if it is empty or too long to be one.
    pub(crate) fn add_state(&mut self, key: &str, values: &[String]) -> usize {
        let number = self.next();
        let is_value = |value: &&String| !value.is_empty() && key.len() + value.len() < MAX_STATE;
        let values = values.iter().filter(is_value).map(|value| (**value).into()).collect();
        self.states.push(StateTest { number, key: key.into(), values });
        number
    }

    /// Looks for spans or events by conditions.
    pub(crate) fn add_search(&mut self, search: Search) -> usize {
        self.searches.push(search);
        self.found.push(None);
        self.searches.len() - 1
    }

    fn next(&mut self) -> usize {
        self.count += 1;
        self.truths.resize(self.count.div_ceil(64), 0);
        self.count - 1
    }

    /// Forgets what was found: another trace is at hand.
    pub(crate) fn clear(&mut self) {
        self.is_read = false;
        self.found.fill(None);
    }

    /// Whether the trace at hand has what was asked for.
    #[inline]
    pub(crate) fn is_true(&mut self, number: usize, trace: &Trace<'_>) -> bool {
        if !self.is_read {
            self.read(trace);
        }
        self.truths[number / 64] >> (number % 64) & 1 == 1
    }

    /// What a search finds in the trace at hand.
    pub(crate) fn found(&mut self, search: usize, trace: &Trace<'_>) -> Found {
        let Self { searches, found, .. } = self;
        *found[search].get_or_insert_with(|| searches[search].run(trace))
    }

    pub(crate) fn search(&self, number: usize) -> &Search {
        &self.searches[number]
    }

    /// Which attribute a number is about, if it is about one.
    pub(crate) fn attribute(&self, number: usize) -> Option<(&str, &ValueTest)> {
        self.keys.iter().find_map(|key| {
            let (_, test) = key.tests.iter().find(|(other, _)| *other == number)?;
            Some((std::str::from_utf8(&key.name).ok()?, test))
        })
    }

    /// Which entry of the trace state a number is about, and with which values.
    pub(crate) fn state(&self, number: usize) -> Option<(&str, &[Box<str>])> {
        let test = self.states.iter().find(|test| test.number == number)?;
        Some((&test.key, &test.values))
    }

    fn read(&mut self, trace: &Trace<'_>) {
        self.is_read = true;
        self.truths.fill(0);
        let mut open = self.count;
        let mut last: Option<*const [u8]> = None;
        let mut visit = |span: SpanView<'_>| {
            // Spans of one resource mostly come in a row. What is shown stays where it is for as
            // long as the trace is, so the same place is the same resource.
            if !self.keys.is_empty() && !last.is_some_and(|last| std::ptr::eq(last, span.resource))
            {
                last = Some(span.resource);
                self.epoch += 1;
                for resource in tree::headers(span.resource) {
                    for (number, content) in wire::contents(resource) {
                        if number == 1 {
                            open -= self.attribute_found(content, false);
                        }
                    }
                }
            }
            open -= self.read_span(span.message);
            if open == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // Which of the two ended it is the same.
        let _ = trace.spans.visit(&mut visit);
    }

    /// How many become true.
    fn read_span(&mut self, span: &[u8]) -> usize {
        const TRACE_STATE: u32 = 3;
        const ATTRIBUTE: u32 = 9;
        self.epoch += 1;
        let (mut found, mut state) = (0, &[][..]);
        for (number, content) in wire::contents(span) {
            match number {
                ATTRIBUTE => found += self.attribute_found(content, true),
                TRACE_STATE => state = content,
                _ => {}
            }
        }
        if !state.is_empty() && !self.states.is_empty() {
            let state = std::str::from_utf8(state).unwrap_or_default();
            for test in &self.states {
                let is_new = self.truths[test.number / 64] >> (test.number % 64) & 1 == 0;
                if is_new && test.matches(state) {
                    self.truths[test.number / 64] |= 1 << (test.number % 64);
                    found += 1;
                }
            }
        }
        found
    }

    /// How many become true. `pair` is a `KeyValue`.
    #[inline]
    fn attribute_found(&mut self, pair: &[u8], is_span: bool) -> usize {
        let (mut name, mut value) = (&[][..], &[][..]);
        for (number, content) in wire::contents(pair) {
            match number {
                1 => name = content,
                2 => value = content,
                _ => {}
            }
        }
        if self.lengths & length_bit(name) == 0 {
            return 0;
        }
        let Ok(at) = self.keys.binary_search_by(|key| (*key.name).cmp(name)) else { return 0 };
        let key = &mut self.keys[at];
        // Of attributes of one name the first counts.
        if std::mem::replace(&mut key.seen, self.epoch) == self.epoch {
            return 0;
        }
        let value = AnyValue::read(value);
        let mut found = 0;
        for (number, test) in &key.tests {
            let (word, bit) = (&mut self.truths[number / 64], 1 << (number % 64));
            if *word & bit == 0 && test.matches(&value, is_span) {
                *word |= bit;
                found += 1;
            }
        }
        found
    }
}

const fn length_bit(name: &[u8]) -> u64 {
    let len = name.len();
    1 << if len < 63 { len } else { 63 }
}

// === impl StateTest ===

impl StateTest {
    fn matches(&self, state: &str) -> bool {
        state_value(state, &self.key).is_some_and(|found| self.values.iter().any(|v| **v == *found))
    }
}

/// The value of the first entry of a key. Entries that are none are passed over.
pub(crate) fn state_value<'a>(state: &'a str, key: &str) -> Option<&'a str> {
    state.split(',').find_map(|entry| {
        let (name, value) = entry.trim_matches([' ', '\t']).split_once('=')?;
        let is_value = value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
        (name == key && is_value && !value.is_empty()).then_some(value)
    })
}
