//! Log records to rows.

use rusqlite::{Connection, Error, Statement, params};
use teleflow_otlp::Signal;
use teleflow_otlp::json::write_value;
use teleflow_otlp::log::LogRecord;
use teleflow_otlp::value::AnyValue;

use super::{Around, clear, hex_or_null, indexes, integer, json};
use crate::bounded::Bounded;
use crate::budget::Cost;

const INSERT: &str = "\
INSERT INTO logs (
    id, time_unix_nano, observed_time_unix_nano, trace_id, span_id, flags, severity_number,
    severity_text, service_name, event_name, body, body_is_json, scope_name, scope_version,
    scope_attributes, attributes, resource
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

#[derive(Debug)]
pub(super) struct Logs<'db> {
    insert: Statement<'db>,
    trace_id: String,
    span_id: String,
    body: String,
    attributes: String,
}

// === impl Logs ===

impl<'db> Logs<'db> {
    pub(super) fn prepare(db: &'db Connection) -> Result<Self, Error> {
        Ok(Self {
            insert: db.prepare(INSERT)?,
            trace_id: String::new(),
            span_id: String::new(),
            body: String::new(),
            attributes: String::new(),
        })
    }

    /// Inserts a record and says how many were too large: 0 or 1.
    pub(super) fn insert(
        &mut self,
        db: &mut Bounded<'_>,
        around: Around<'_>,
        message: &[u8],
    ) -> Result<u64, Error> {
        let record = LogRecord::read(message);
        let trace_id = hex_or_null(&mut self.trace_id, record.trace_id);
        let span_id = hex_or_null(&mut self.span_id, record.span_id);
        json(&mut self.attributes, record.attributes());
        let (body, body_is_json) = match record.body() {
            AnyValue::Empty => (None, false),
            AnyValue::String(text) => (Some(text), false),
            value => {
                clear(&mut self.body);
                write_value(&mut self.body, value);
                (Some(&*self.body), true)
            }
        };
        let bytes = around.len()
            + 128
            + 2 * trace_id.map_or(0, str::len)
            + span_id.map_or(0, str::len)
            + record.severity_text.len()
            + record.event_name.len()
            + body.map_or(0, str::len)
            + self.attributes.len();
        let cost = Cost::row(bytes, indexes(record.trace_id));
        let Some(id) = db.admit(Signal::Logs, cost)? else { return Ok(1) };
        self.insert.execute(params![
            id,
            integer(record.time),
            integer(record.observed_time),
            trace_id,
            span_id,
            record.flags,
            record.severity_number,
            record.severity_text,
            around.service_name,
            record.event_name,
            body,
            body_is_json,
            around.scope.name,
            around.scope.version,
            around.scope_attributes,
            self.attributes,
            around.resource,
        ])?;
        Ok(0)
    }
}
