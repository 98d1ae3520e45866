//! The span that a condition is about, read as far as the condition asks.

use std::borrow::Cow;
use std::cell::OnceCell;

use teleflow_otlp::span::{Event, Span, TailFields};
use teleflow_otlp::tree;
use teleflow_otlp::value::{AnyValue, Attributes};

use super::error::Problem;
use super::expr::{Key, Path};
use super::path::{Field, Owner};
use super::value::Value;
use super::{convert, walk};
use crate::SpanView;

/// A span, and the event of it where the condition is about one.
pub(super) struct Record<'a> {
    view: SpanView<'a>,
    event: Option<Event<'a>>,
    /// What tail samplers mostly ask for, read once when it is asked for.
    tail: OnceCell<TailFields<'a>>,
    /// The rest, likewise.
    span: OnceCell<Span<'a>>,
}

// === impl Record ===

impl<'a> Record<'a> {
    pub(super) const fn new(view: SpanView<'a>, event: Option<Event<'a>>) -> Self {
        Self { view, event, tail: OnceCell::new(), span: OnceCell::new() }
    }

    fn tail(&self) -> &TailFields<'a> {
        self.tail.get_or_init(|| TailFields::read(self.view.message))
    }

    fn span(&self) -> &Span<'a> {
        self.span.get_or_init(|| self.view.span())
    }

    fn event(&self) -> Result<&Event<'a>, Problem> {
        self.event.as_ref().ok_or(Problem::NoEvent)
    }

    /// Whether the span has no parent.
    pub(super) fn is_root(&self) -> bool {
        self.tail().is_root
    }

    /// What the path leads to. What is absent is nil.
    pub(super) fn get(&self, path: &'a Path) -> Result<Value<'a>, Problem> {
        let (tail, span) = (|| self.tail(), || self.span());
        Ok(match path.field {
            Field::TraceId => Value::TraceId(id(tail().trace_id)),
            Field::TraceIdText => hex(id::<16>(tail().trace_id)),
            Field::SpanId => Value::SpanId(id(span().span_id)),
            Field::SpanIdText => hex(id::<8>(span().span_id)),
            Field::ParentSpanId => Value::SpanId(id(span().parent_span_id)),
            Field::ParentSpanIdText => hex(id::<8>(span().parent_span_id)),
            Field::TraceState => match path.keys.first() {
                Some(Key::Name(key)) => entry(span().trace_state, key),
                _ => Value::text(span().trace_state),
            },
            Field::Name => Value::text(walk::text(self.view.message, 5)),
            Field::Kind => Value::Int(self.kind().into()),
            Field::KindText => Value::text(self.kind_names().0),
            Field::KindConstant => Value::text(self.kind_names().1),
            // Beyond the year 2262 the Collector's numbers begin anew, too.
            Field::StartNanos => Value::Int(tail().start as i64),
            Field::EndNanos => Value::Int(tail().end as i64),
            Field::Start => Value::Time((tail().start as i64).into()),
            Field::End => Value::Time((tail().end as i64).into()),
            Field::StatusCode => Value::Int(tail().status.number().into()),
            Field::StatusMessage => Value::text(span().status_message),
            Field::Flags => Value::Int(tail().flags.into()),
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
                Value::text(walk::text(message, 3))
            }
            Field::Attributes(owner) => return self.attributes(owner, &path.keys),
            Field::Dropped(owner, number) => Value::Int(match owner {
                Owner::Resource => count(header(self.view.resource), number),
                Owner::Scope => count(header(self.view.scope), number),
                _ => count(self.view.message, number),
            }),
        })
    }

    fn kind(&self) -> i32 {
        walk::number(self.view.message, 6) as i32
    }

    /// A kind that nobody knows has none.
    fn kind_names(&self) -> (&'static str, &'static str) {
        let known = usize::try_from(self.kind()).ok().and_then(|kind| KINDS.get(kind));
        known.copied().unwrap_or_default()
    }

    fn attributes(&self, owner: Owner, keys: &'a [Key]) -> Result<Value<'a>, Problem> {
        let Some((first, rest)) = keys.split_first() else {
            return Ok(Value::Map(match owner {
                Owner::Span => self.span().attributes(),
                Owner::Event => self.event()?.attributes(),
                Owner::Resource => Attributes::of_resource(header(self.view.resource)),
                Owner::Scope => Attributes::of_scope(header(self.view.scope)),
            }));
        };
        let Key::Name(key) = first else { return Err(Problem::WantsTextKey) };
        let found = match owner {
            Owner::Span => walk::attribute(self.view.message, 9, key),
            Owner::Event => named(self.event()?.attributes(), key),
            Owner::Resource => tree::headers(self.view.resource)
                .find_map(|resource| walk::attribute(resource, 1, key)),
            Owner::Scope => {
                tree::headers(self.view.scope).find_map(|scope| walk::attribute(scope, 3, key))
            }
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

/// A resource or a scope; empty where there is none.
fn header(envelope: &[u8]) -> &[u8] {
    tree::headers(envelope).last().unwrap_or_default()
}

/// A number of 32 bits.
fn count(message: &[u8], number: u8) -> i64 {
    (walk::number(message, number) as u32).into()
}
