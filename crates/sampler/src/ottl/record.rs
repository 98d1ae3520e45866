//! The span that a condition is about, read as far as the condition asks.

use std::borrow::Cow;
use std::cell::OnceCell;

use teleflow_otlp::span::{Event, Span};
use teleflow_otlp::tree;
use teleflow_otlp::value::{AnyValue, Attributes};

use super::convert;
use super::error::Problem;
use super::expr::{Key, Path};
use super::path::{Field, Owner};
use super::value::Value;
use crate::{SpanView, wire};

/// A span, and the event of it where the condition is about one.
pub(super) struct Record<'a> {
    view: SpanView<'a>,
    event: Option<Event<'a>>,
    /// Read once, when something of it is asked for.
    span: OnceCell<Span<'a>>,
}

// === impl Record ===

impl<'a> Record<'a> {
    pub(super) const fn new(view: SpanView<'a>, event: Option<Event<'a>>) -> Self {
        Self { view, event, span: OnceCell::new() }
    }

    fn span(&self) -> &Span<'a> {
        self.span.get_or_init(|| self.view.span())
    }

    fn event(&self) -> Result<&Event<'a>, Problem> {
        self.event.as_ref().ok_or(Problem::NoEvent)
    }

    /// Whether the span has no parent.
    pub(super) fn is_root(&self) -> bool {
        self.span().parent_span_id.iter().all(|byte| *byte == 0)
    }

    /// What the path leads to. What is absent is nil.
    pub(super) fn get(&self, path: &'a Path) -> Result<Value<'a>, Problem> {
        let span = || self.span();
        Ok(match path.field {
            Field::TraceId => Value::TraceId(id(span().trace_id)),
            Field::TraceIdText => hex(id::<16>(span().trace_id)),
            Field::SpanId => Value::SpanId(id(span().span_id)),
            Field::SpanIdText => hex(id::<8>(span().span_id)),
            Field::ParentSpanId => Value::SpanId(id(span().parent_span_id)),
            Field::ParentSpanIdText => hex(id::<8>(span().parent_span_id)),
            Field::TraceState => match path.keys.first() {
                Some(Key::Name(key)) => entry(span().trace_state, key),
                _ => Value::text(span().trace_state),
            },
            Field::Name => Value::text(span().name),
            Field::Kind => Value::Int(span().kind.into()),
            Field::KindText => Value::text(KINDS.get(self.kind()).map_or("", |kind| kind.0)),
            Field::KindConstant => Value::text(KINDS.get(self.kind()).map_or("", |kind| kind.1)),
            // Beyond the year 2262 the Collector's numbers begin anew, too.
            Field::StartNanos => Value::Int(span().start as i64),
            Field::EndNanos => Value::Int(span().end as i64),
            Field::Start => Value::Time((span().start as i64).into()),
            Field::End => Value::Time((span().end as i64).into()),
            Field::StatusCode => Value::Int(span().status.number().into()),
            Field::StatusMessage => Value::text(span().status_message),
            Field::Flags => Value::Int(span().flags.into()),
            Field::Events => Value::Items(span().events().count() as i64),
            Field::Links => Value::Items(span().links().count() as i64),
            Field::ScopeName => Value::text(self.view.scope().name),
            Field::ScopeVersion => Value::text(self.view.scope().version),
            Field::EventName => Value::text(self.event()?.name),
            Field::EventNanos => Value::Int(self.event()?.time as i64),
            Field::EventTime => Value::Time((self.event()?.time as i64).into()),
            Field::SchemaUrl(owner) => {
                let message = match owner {
                    Owner::Resource => self.view.resource,
                    _ => self.view.scope,
                };
                Value::text(schema_url(message))
            }
            Field::Attributes(owner) => return self.attributes(owner, &path.keys),
            Field::Dropped(owner, number) => Value::Int(match owner {
                Owner::Resource => last_number(tree::headers(self.view.resource), number),
                Owner::Scope => last_number(tree::headers(self.view.scope), number),
                _ => last_number(Some(self.view.message).into_iter(), number),
            }),
        })
    }

    /// A kind that nobody knows is past all that have names.
    fn kind(&self) -> usize {
        usize::try_from(self.span().kind).unwrap_or(usize::MAX)
    }

    fn attributes(&self, owner: Owner, keys: &'a [Key]) -> Result<Value<'a>, Problem> {
        let Some((first, rest)) = keys.split_first() else {
            return Ok(Value::Map(match owner {
                Owner::Span => self.span().attributes(),
                Owner::Event => self.event()?.attributes(),
                Owner::Resource => {
                    Attributes::of_resource(tree::headers(self.view.resource).last().unwrap_or(&[]))
                }
                Owner::Scope => {
                    Attributes::of_scope(tree::headers(self.view.scope).last().unwrap_or(&[]))
                }
            }));
        };
        let Key::Name(key) = first else { return Err(Problem::WantsTextKey) };
        let found = match owner {
            Owner::Span => named(self.span().attributes(), key),
            Owner::Event => named(self.event()?.attributes(), key),
            Owner::Resource => self.view.resource_attribute(key),
            Owner::Scope => self.view.scope_attribute(key),
        };
        let Some(mut value) = found else { return Ok(Value::Nil) };
        for key in rest {
            value = match (value, key) {
                (AnyValue::Map(map), Key::Name(key)) => match named(map, key) {
                    Some(value) => value,
                    None => return Ok(Value::Nil),
                },
                (AnyValue::Map(_), Key::Place(_)) => return Err(Problem::WantsTextKey),
                (AnyValue::Array(mut list), Key::Place(place)) => {
                    let place = usize::try_from(*place).unwrap_or(usize::MAX);
                    list.nth(place).ok_or(Problem::OutOfBounds)?
                }
                (AnyValue::Array(_), Key::Name(_)) => return Err(Problem::WantsNumberKey),
                (other, _) => return Err(Problem::NotIndexable(Value::from(other).kind())),
            };
        }
        Ok(value.into())
    }
}

/// Names of the kinds of spans: those of today and those of old.
const KINDS: [(&str, &str); 6] = [
    ("Unspecified", "SPAN_KIND_UNSPECIFIED"),
    ("Internal", "SPAN_KIND_INTERNAL"),
    ("Server", "SPAN_KIND_SERVER"),
    ("Client", "SPAN_KIND_CLIENT"),
    ("Producer", "SPAN_KIND_PRODUCER"),
    ("Consumer", "SPAN_KIND_CONSUMER"),
];

fn named<'a>(mut attributes: Attributes<'a>, key: &str) -> Option<AnyValue<'a>> {
    attributes.find_map(|(name, value)| (name == key).then_some(value))
}

/// An id of another length than the protocol's is none.
fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// An id in digits. As in the Collector one of zeros is written out, too.
fn hex<'a, const N: usize>(id: [u8; N]) -> Value<'a> {
    Value::Text(Cow::Owned(convert::hex(&id)))
}

/// The value of an entry of a trace state; empty where there is none.
fn entry<'a>(state: &'a str, key: &str) -> Value<'a> {
    let value = state
        .split(',')
        .filter_map(|entry| entry.trim_matches([' ', '\t']).split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value));
    Value::text(value.unwrap_or_default())
}

/// Field 3 of a group of spans.
fn schema_url(envelope: &[u8]) -> &str {
    wire::fields(envelope)
        .filter(|field| field.number == 3)
        .last()
        .and_then(|field| std::str::from_utf8(field.content).ok())
        .unwrap_or_default()
}

/// A number of 32 bits in a field of any of the messages; 0 where there is none.
fn last_number<'a>(messages: impl Iterator<Item = &'a [u8]>, number: u32) -> i64 {
    let field = messages.flat_map(wire::fields).filter(|field| field.number == number).last();
    field.and_then(|field| varint(field.whole)).map_or(0, |value| (value as u32).into())
}

/// The value of a field that is a varint.
fn varint(field: &[u8]) -> Option<u64> {
    // The key's type is in the lowest bits of its first byte.
    if field.first()? & 7 != 0 {
        return None;
    }
    let key = field.iter().position(|byte| *byte < 0x80)?;
    let mut value = 0;
    for (index, byte) in field.get(key + 1..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
    }
    Some(value)
}
