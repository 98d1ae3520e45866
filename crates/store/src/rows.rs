//! From OTLP on the wire to rows.

mod log;
mod point;
mod span;

use rusqlite::{Connection, Error};
use teleflow_otlp::json::{write_attributes, write_string};
use teleflow_otlp::tree::{self, Scope};
use teleflow_otlp::value::Attributes;
use teleflow_otlp::{Payload, Signal};

use crate::bounded::Bounded;
use crate::budget::Indexes;

/// Texts longer than this are not kept as scratch space: one monster must not stay in memory.
const MAX_SCRATCH: usize = 1 << 20;

/// The insert statements of all tables, prepared once, and space to build their texts in.
#[derive(Debug)]
pub(crate) struct Tables<'db> {
    spans: span::Spans<'db>,
    logs: log::Logs<'db>,
    points: point::Points<'db>,
    resource: String,
    service_name: String,
    scope_attributes: String,
}

/// What an item gets from its resource and scope.
#[derive(Clone, Copy, Debug)]
struct Around<'a> {
    service_name: &'a str,
    resource: &'a str,
    scope: Scope<'a>,
    scope_attributes: &'a str,
}

// === impl Tables ===

impl<'db> Tables<'db> {
    pub(crate) fn prepare(db: &'db Connection) -> Result<Self, Error> {
        Ok(Self {
            spans: span::Spans::prepare(db)?,
            logs: log::Logs::prepare(db)?,
            points: point::Points::prepare(db)?,
            resource: String::new(),
            service_name: String::new(),
            scope_attributes: String::new(),
        })
    }

    /// Inserts every item of `payload` and says how many were too large for that.
    pub(crate) fn insert(&mut self, db: &mut Bounded<'_>, payload: &Payload) -> Result<u64, Error> {
        let mut rejected = 0;
        let groups = payload.segments().iter().flat_map(|segment| tree::resources(segment));
        let (mut joined_resource, mut joined_scope) = (Vec::new(), Vec::new());
        for group in groups {
            let resource = join(&mut joined_resource, group.resource());
            json(&mut self.resource, Attributes::of_resource(resource));
            let mut names =
                Attributes::of_resource(resource).filter(|pair| pair.0 == "service.name");
            self.service_name.clear();
            self.service_name.push_str(names.find_map(|pair| pair.1.as_str()).unwrap_or_default());
            for group in group.scopes() {
                let scope = join(&mut joined_scope, group.scope());
                json(&mut self.scope_attributes, Attributes::of_scope(scope));
                let around = Around {
                    service_name: &self.service_name,
                    resource: &self.resource,
                    scope: Scope::read(scope),
                    scope_attributes: &self.scope_attributes,
                };
                for item in group.items() {
                    rejected += match payload.signal() {
                        Signal::Traces => self.spans.insert(db, around, item.message)?,
                        Signal::Metrics => self.points.insert(db, around, item.message)?,
                        Signal::Logs => self.logs.insert(db, around, item.message)?,
                    };
                }
            }
        }
        Ok(rejected)
    }
}

// === impl Around ===

impl Around<'_> {
    /// What it adds to a row, in bytes.
    const fn len(&self) -> usize {
        self.service_name.len()
            + self.resource.len()
            + self.scope.name.len()
            + self.scope.version.len()
            + self.scope_attributes.len()
    }
}

/// A message that may come in parts, as one: protobuf merges by concatenation.
fn join<'a>(joined: &'a mut Vec<u8>, mut parts: impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    let first = parts.next().unwrap_or_default();
    let Some(second) = parts.next() else { return first };
    joined.clear();
    joined.extend_from_slice(first);
    joined.extend_from_slice(second);
    parts.for_each(|part| joined.extend_from_slice(part));
    joined
}

/// Empties scratch space.
fn clear(out: &mut String) {
    out.clear();
    out.shrink_to(MAX_SCRATCH);
}

/// Attributes as a JSON object, in place of what `out` held.
fn json(out: &mut String, attributes: Attributes<'_>) {
    clear(out);
    write_attributes(out, attributes);
}

/// Appends a JSON array with one object an item.
fn array<T>(out: &mut String, items: impl Iterator<Item = T>, object: impl Fn(&mut String, T)) {
    clear(out);
    out.push('[');
    for (i, item) in items.enumerate() {
        out.push_str(if i > 0 { ",{" } else { "{" });
        object(out, item);
        out.push('}');
    }
    out.push(']');
}

/// Appends `"name":"text"`.
fn text_entry(out: &mut String, name: &str, text: &str) {
    write_string(out, name);
    out.push(':');
    write_string(out, text);
}

/// An id in lower-case hexadecimal, in place of what `out` held.
fn hex<'a>(out: &'a mut String, id: &[u8]) -> &'a str {
    clear(out);
    push_hex(out, id);
    out
}

/// The same, for an id that may be absent: nothing, or nothing but zeros.
fn hex_or_null<'a>(out: &'a mut String, id: &[u8]) -> Option<&'a str> {
    id.iter().any(|byte| *byte != 0).then(|| hex(out, id))
}

fn push_hex(out: &mut String, id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in id {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The indexes of spans and logs: by trace and by time, both by stretches of ids.
const fn indexes(trace_id: &[u8]) -> Indexes {
    // An id that breaks the protocol by its length makes long entries.
    if trace_id.len() <= 16 { Indexes::Clustered(2) } else { Indexes::Scattered(2) }
}

/// SQLite's integers have a sign: what is too large becomes the largest.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
