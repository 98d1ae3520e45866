//! Paths: the parts of a span, its resource, scope and events that a condition can name.

use super::Subject;
use super::error::did_you_mean;

/// A part of the telemetry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    TraceId,
    TraceIdText,
    SpanId,
    SpanIdText,
    ParentSpanId,
    ParentSpanIdText,
    TraceState,
    Name,
    Kind,
    KindText,
    KindConstant,
    StartNanos,
    EndNanos,
    Start,
    End,
    StatusCode,
    StatusMessage,
    Flags,
    Events,
    Links,
    ScopeName,
    ScopeVersion,
    EventName,
    EventNanos,
    EventTime,
    SchemaUrl(Owner),
    Attributes(Owner),
    /// A number in this field of the owner's message.
    Dropped(Owner, u8),
}

/// Who has attributes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    Span,
    Resource,
    Scope,
    Event,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) expected: &'static str,
    pub(super) hint: Option<String>,
}

type Table = [(&'static str, Field)];

const SPAN: &Table = &[
    ("attributes", Field::Attributes(Owner::Span)),
    ("dropped_attributes_count", Field::Dropped(Owner::Span, 10)),
    ("dropped_events_count", Field::Dropped(Owner::Span, 12)),
    ("dropped_links_count", Field::Dropped(Owner::Span, 14)),
    ("end_time", Field::End),
    ("end_time_unix_nano", Field::EndNanos),
    ("events", Field::Events),
    ("flags", Field::Flags),
    ("kind", Field::Kind),
    ("kind.deprecated_string", Field::KindConstant),
    ("kind.string", Field::KindText),
    ("links", Field::Links),
    ("name", Field::Name),
    ("parent_span_id", Field::ParentSpanId),
    ("parent_span_id.string", Field::ParentSpanIdText),
    ("span_id", Field::SpanId),
    ("span_id.string", Field::SpanIdText),
    ("start_time", Field::Start),
    ("start_time_unix_nano", Field::StartNanos),
    ("status.code", Field::StatusCode),
    ("status.message", Field::StatusMessage),
    ("trace_id", Field::TraceId),
    ("trace_id.string", Field::TraceIdText),
    ("trace_state", Field::TraceState),
];

const EVENT: &Table = &[
    ("attributes", Field::Attributes(Owner::Event)),
    ("name", Field::EventName),
    ("time", Field::EventTime),
    ("time_unix_nano", Field::EventNanos),
];

const RESOURCE: &Table = &[
    ("attributes", Field::Attributes(Owner::Resource)),
    ("dropped_attributes_count", Field::Dropped(Owner::Resource, 2)),
    ("schema_url", Field::SchemaUrl(Owner::Resource)),
];

const SCOPE: &Table = &[
    ("attributes", Field::Attributes(Owner::Scope)),
    ("dropped_attributes_count", Field::Dropped(Owner::Scope, 4)),
    ("name", Field::ScopeName),
    ("schema_url", Field::SchemaUrl(Owner::Scope)),
    ("version", Field::ScopeVersion),
];

/// What the Collector has beside them, and what to do about it.
const NOT_HERE: &[(&str, &str)] = &[
    ("status", "write `status.code` or `status.message`"),
    ("cache", "OTTL has `cache`; a condition that only reads has no use for it"),
    ("event_index", "OTTL has `event_index`, teleflow does not yet"),
    ("spanevent.event_index", "OTTL has `event_index`, teleflow does not yet"),
    ("spanevent.dropped_attributes_count", "OTTL has this path, teleflow does not yet"),
];

/// What a path names: its words, with dots between them.
pub(super) fn resolve(path: &str, subject: Subject) -> Result<Field, Unknown> {
    let (prefix, rest) = path.split_once('.').unwrap_or((path, ""));
    let (table, rest) = match prefix {
        "span" => (SPAN, rest),
        "resource" => (RESOURCE, rest),
        "scope" | "instrumentation_scope" => (SCOPE, rest),
        "spanevent" if subject == Subject::Event => (EVENT, rest),
        "spanevent" => {
            let hint = "write it as a condition about events: this one is about spans";
            return Err(Unknown { expected: "a path of a span", hint: Some(hint.to_owned()) });
        }
        "otelcol" => {
            let hint = "OTTL has `otelcol`, about the request; teleflow does not";
            return Err(Unknown { expected: "a path of a span", hint: Some(hint.to_owned()) });
        }
        _ if subject == Subject::Event => (EVENT, path),
        _ => (SPAN, path),
    };
    if let Some(field) = find(table, rest) {
        return Ok(field);
    }
    let unprefixed = path.strip_prefix("span.").unwrap_or(path);
    let known = NOT_HERE.iter().find(|(name, _)| *name == path || *name == unprefixed);
    let hint = match known {
        Some((_, hint)) => Some((*hint).to_owned()),
        None if subject == Subject::Event && find(SPAN, path).is_some() => {
            Some(format!("of the event's span it is `span.{path}`"))
        }
        None => guess(path, table, rest),
    };
    let expected = match (subject, rest) {
        (_, "") => "a path with a field, such as `resource.attributes[\"key\"]`",
        (Subject::Event, _) => "a path of an event, its span, resource or scope",
        (Subject::Span, _) => "a path of a span, its resource or scope",
    };
    Err(Unknown { expected, hint })
}

fn find(table: &Table, name: &str) -> Option<Field> {
    table.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
}

fn guess(path: &str, table: &Table, rest: &str) -> Option<String> {
    let names = table.iter().map(|(name, _)| *name);
    // An attribute written as a path, `attributes.http.status_code`.
    for prefix in ["attributes.", "span.attributes.", "resource.attributes.", "scope.attributes."] {
        if let Some(key) = path.strip_prefix(prefix) {
            let of = prefix.trim_end_matches('.');
            return Some(format!("did you mean `{of}[\"{key}\"]`?"));
        }
    }
    if rest.len() == path.len() {
        let prefixes = ["span", "resource", "scope", "instrumentation_scope"];
        return match path.split_once('.') {
            // The words of `status.code` are not prefixes.
            Some((prefix, field)) if find(table, path).is_none() => did_you_mean(prefix, prefixes)
                .filter(|_| find(SPAN, field).or_else(|| find(SCOPE, field)).is_some())
                .or_else(|| did_you_mean(path, names)),
            _ => did_you_mean(path, names),
        };
    }
    did_you_mean(rest, names)
}
