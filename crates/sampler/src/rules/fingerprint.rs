//! What tells traces apart: values of attributes and the number of spans, as one text.

use std::fmt::Write;
use std::ops::ControlFlow;

use teleflow_otlp::span::TailFields;
use teleflow_otlp::tree;
use teleflow_otlp::value::AnyValue;

use super::Keys;
use super::text::{Bounded, MAX_BYTES, beginning};
use crate::ottl::Condition;
use crate::{SpanView, Trace, wire};

/// Which attributes.
#[derive(Debug)]
pub(super) struct Fingerprint {
    selectors: Vec<Selector>,
    /// Whether the number of spans is a part of the key, the last.
    has_length: bool,
    /// Which parts of a span have to be read.
    reads_resource: bool,
    reads_scope: bool,
    reads_span: bool,
    asks_for_root: bool,
    /// What a root is, where that is not a span without a parent.
    root: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Selector {
    place: Place,
    name: String,
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Resource,
    Scope,
    Span,
    Root,
    Any,
}

/// What is read of a trace; kept for the next one, so that nothing has to be allocated.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The values of each attribute.
    values: Vec<Values>,
    value: Bounded,
    spare: Vec<String>,
    /// The resource and the scope of the span before: most spans share them.
    resource: Vec<u8>,
    scope: Vec<u8>,
    key: String,
    is_cut: bool,
}

/// Distinct values of an attribute, in their order.
#[derive(Debug, Default)]
struct Values {
    texts: Vec<String>,
    is_cut: bool,
}

/// The most attributes of a key.
const MAX_ATTRIBUTES: usize = 32;

/// The most values of an attribute in a key.
const MAX_VALUES: usize = 16;

/// The longest resource or scope that is remembered from one span to the next.
const MAX_SHARED: usize = 4096;

// === impl Fingerprint ===

impl Fingerprint {
    /// Reads the names of attributes, each with its scope before it.
    pub(super) fn new(keys: &Keys) -> Result<Self, String> {
        let Keys { attributes, root_condition, trace_length, max_keys: _ } = keys;
        if attributes.len() > MAX_ATTRIBUTES {
            let count = attributes.len();
            return Err(format!("a key of {count} attributes: {MAX_ATTRIBUTES} are the most"));
        }
        let selectors: Vec<_> =
            attributes.iter().map(|text| Selector::new(text)).collect::<Result<_, _>>()?;
        let reads = |places: &[Place]| selectors.iter().any(|one| places.contains(&one.place));
        Ok(Self {
            reads_resource: reads(&[Place::Resource, Place::Any]),
            reads_scope: reads(&[Place::Scope, Place::Any]),
            reads_span: reads(&[Place::Span, Place::Root, Place::Any]),
            asks_for_root: reads(&[Place::Root]),
            root: root_condition
                .as_deref()
                .map(Condition::span)
                .transpose()
                .map_err(|error| format!("the condition of root spans does not work: {error}"))?,
            selectors,
            has_length: *trace_length,
        })
    }

    /// The key of a trace, and whether something of it was cut.
    pub(super) fn of<'s>(&self, trace: &Trace<'_>, scratch: &'s mut Scratch) -> (&'s str, bool) {
        scratch.clear(self.selectors.len());
        if !self.selectors.is_empty() {
            let mut visit = |span: SpanView<'_>| {
                self.read(span, scratch);
                ControlFlow::Continue(())
            };
            // It goes to the end: what a later span has may come first.
            let _ = trace.spans.visit(&mut visit);
        }
        scratch.join();
        if self.has_length {
            let mark = if self.selectors.is_empty() { "" } else { "•" };
            // A text takes whatever is written.
            let _ = write!(scratch.key, "{mark}{}", trace.summary.spans);
        }
        (&scratch.key, scratch.is_cut)
    }

    fn read(&self, view: SpanView<'_>, scratch: &mut Scratch) {
        if self.reads_resource && scratch.resource != view.resource {
            Scratch::share(&mut scratch.resource, view.resource);
            for resource in tree::headers(view.resource) {
                let is = |place| matches!(place, Place::Resource | Place::Any);
                self.collect(resource, 1, is, scratch);
            }
        }
        if self.reads_scope && scratch.scope != view.scope {
            Scratch::share(&mut scratch.scope, view.scope);
            for scope in tree::headers(view.scope) {
                let is = |place| matches!(place, Place::Scope | Place::Any);
                self.collect(scope, 3, is, scratch);
            }
        }
        if self.reads_span {
            let is_root = self.asks_for_root && self.is_root(&view);
            let is = |place| match place {
                Place::Span | Place::Any => true,
                Place::Root => is_root,
                Place::Resource | Place::Scope => false,
            };
            self.collect(view.message, 9, is, scratch);
        }
    }

    fn is_root(&self, view: &SpanView<'_>) -> bool {
        match &self.root {
            Some(condition) => condition.eval(view, None).unwrap_or(false),
            None => TailFields::read(view.message).is_root,
        }
    }

    /// Looks at the attributes of a message, in the field of this number.
    fn collect(
        &self,
        message: &[u8],
        attributes: u32,
        is: impl Fn(Place) -> bool,
        scratch: &mut Scratch,
    ) {
        for (number, pair) in wire::contents(message) {
            if number != attributes {
                continue;
            }
            let (mut name, mut value) = (&[][..], &[][..]);
            for (number, content) in wire::contents(pair) {
                match number {
                    1 => name = content,
                    2 => value = content,
                    _ => {}
                }
            }
            for (index, selector) in self.selectors.iter().enumerate() {
                if selector.name.as_bytes() == name && is(selector.place) {
                    scratch.insert(index, &AnyValue::read(value));
                }
            }
        }
    }
}

// === impl Selector ===

impl Selector {
    /// Reads `scope.name` or, as in conditions, `scope.attributes["name"]`.
    fn new(text: &str) -> Result<Self, String> {
        let (place, rest) = text.split_once('.').unwrap_or((text, ""));
        let place = match place {
            "resource" => Place::Resource,
            "scope" => Place::Scope,
            "span" => Place::Span,
            "root" => Place::Root,
            "any" => Place::Any,
            _ => {
                return Err(format!(
                    "`{text}` in the key: attributes begin with `resource.`, `scope.`, `span.`, \
                     `root.` or `any.`"
                ));
            }
        };
        let quoted = rest.strip_prefix("attributes[\"").and_then(|rest| rest.strip_suffix("\"]"));
        let name = quoted.unwrap_or(rest);
        if name.is_empty() {
            return Err(format!("`{text}` in the key names no attribute"));
        }
        Ok(Self { place, name: name.to_owned() })
    }
}

// === impl Scratch ===

impl Scratch {
    /// The key that was made last.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn clear(&mut self, attributes: usize) {
        for values in &mut self.values {
            self.spare.append(&mut values.texts);
            values.is_cut = false;
        }
        self.values.resize_with(attributes, Values::default);
        self.resource.clear();
        self.scope.clear();
    }

    /// Remembers a resource or scope; not a long one, which is then read at each span.
    fn share(last: &mut Vec<u8>, now: &[u8]) {
        last.clear();
        if now.len() <= MAX_SHARED {
            last.extend_from_slice(now);
        }
    }

    /// Adds a value to those of an attribute. The first in their order stay, so that the key does not
    /// depend on the order of spans.
    fn insert(&mut self, index: usize, value: &AnyValue<'_>) {
        let values = &mut self.values[index];
        let place = |values: &Values, text: &str| {
            values.texts.binary_search_by(|other| other.as_str().cmp(text))
        };
        // Most texts are there already.
        if let AnyValue::String(text) = value
            && place(values, text).is_ok()
        {
            return;
        }
        self.value.set(value);
        values.is_cut |= self.value.is_cut();
        let Err(at) = place(values, self.value.text()) else { return };
        let mut text = if values.texts.len() == MAX_VALUES {
            values.is_cut = true;
            if at == MAX_VALUES {
                return;
            }
            values.texts.pop().unwrap_or_default()
        } else {
            self.spare.pop().unwrap_or_default()
        };
        std::mem::swap(&mut text, self.value.text());
        values.texts.insert(at, text);
    }

    /// Makes the key of all values.
    fn join(&mut self) {
        self.key.clear();
        self.is_cut = false;
        for (index, values) in self.values.iter().enumerate() {
            if index > 0 {
                self.key.push('•');
            }
            self.is_cut |= values.join(&mut self.key);
        }
    }
}

// === impl Values ===

impl Values {
    /// Writes them after a key, and tells whether that is not all.
    fn join(&self, key: &mut String) -> bool {
        if self.texts.is_empty() {
            key.push_str("<missing>");
            return false;
        }
        let (start, mut is_cut) = (key.len(), self.is_cut);
        for (index, text) in self.texts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            for part in [comma, text] {
                let fits = beginning(part, MAX_BYTES - (key.len() - start).min(MAX_BYTES));
                key.push_str(fits);
                is_cut |= fits.len() < part.len();
            }
        }
        if is_cut {
            key.push('…');
        }
        is_cut
    }
}
