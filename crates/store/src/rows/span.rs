//! Spans to rows.

use std::fmt::Write as _;

use rusqlite::{Connection, Error, Statement, params};
use teleflow_otlp::Signal;
use teleflow_otlp::json::write_attributes;
use teleflow_otlp::span::Span;

use super::{Around, array, hex, hex_or_null, indexes, integer, json, push_hex, text_entry};
use crate::bounded::Bounded;
use crate::budget::Cost;

const INSERT: &str = "\
INSERT INTO spans (
    id, trace_id, span_id, parent_span_id, start_time_unix_nano, end_time_unix_nano, kind,
    status_code, status_message, flags, service_name, name, trace_state, scope_name, scope_version,
    scope_attributes, attributes, resource, events, links
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20
)";

#[derive(Debug)]
pub(super) struct Spans<'db> {
    insert: Statement<'db>,
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    attributes: String,
    events: String,
    links: String,
}

// === impl Spans ===

impl<'db> Spans<'db> {
    pub(super) fn prepare(db: &'db Connection) -> Result<Self, Error> {
        Ok(Self {
            insert: db.prepare(INSERT)?,
            trace_id: String::new(),
            span_id: String::new(),
            parent_span_id: String::new(),
            attributes: String::new(),
            events: String::new(),
            links: String::new(),
        })
    }

    /// Inserts a span and says how many were too large: 0 or 1.
    pub(super) fn insert(
        &mut self,
        db: &mut Bounded<'_>,
        around: Around<'_>,
        message: &[u8],
    ) -> Result<u64, Error> {
        let span = Span::read(message);
        let trace_id = hex(&mut self.trace_id, span.trace_id);
        let span_id = hex(&mut self.span_id, span.span_id);
        let parent_span_id = hex_or_null(&mut self.parent_span_id, span.parent_span_id);
        json(&mut self.attributes, span.attributes());
        array(&mut self.events, span.events(), |out, event| {
            let _ = write!(out, "\"time_unix_nano\":{},", integer(event.time));
            text_entry(out, "name", event.name);
            out.push_str(",\"attributes\":");
            write_attributes(out, event.attributes());
        });
        array(&mut self.links, span.links(), |out, link| {
            out.push_str("\"trace_id\":\"");
            push_hex(out, link.trace_id);
            out.push_str("\",\"span_id\":\"");
            push_hex(out, link.span_id);
            out.push_str("\",");
            text_entry(out, "trace_state", link.trace_state);
            out.push_str(",\"attributes\":");
            write_attributes(out, link.attributes());
        });
        let bytes = around.len()
            + 128
            + 3 * trace_id.len()
            + span_id.len()
            + parent_span_id.map_or(0, str::len)
            + span.status_message.len()
            + span.name.len()
            + span.trace_state.len()
            + self.attributes.len()
            + self.events.len()
            + self.links.len();
        let cost = Cost::row(bytes, indexes(span.trace_id));
        let Some(id) = db.admit(Signal::Traces, cost)? else { return Ok(1) };
        self.insert.execute(params![
            id,
            trace_id,
            span_id,
            parent_span_id,
            integer(span.start),
            integer(span.end),
            span.kind,
            span.status.number(),
            span.status_message,
            span.flags,
            around.service_name,
            span.name,
            span.trace_state,
            around.scope.name,
            around.scope.version,
            around.scope_attributes,
            self.attributes,
            around.resource,
            self.events,
            self.links,
        ])?;
        Ok(0)
    }
}
