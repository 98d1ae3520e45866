//! Stored spans as the requests that they could have come in.

use std::fmt::Write as _;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use teleflow_otlp::Signal;
use teleflow_otlp::json::{to_protobuf, write_string};

use super::SqliteReader;
use crate::ReadError;

/// The columns, and the events with them as one text.
const SPANS: &str = "\
SELECT trace_id, span_id, parent_span_id, start_time_unix_nano, end_time_unix_nano, kind,
    status_code, status_message, flags, name, trace_state, scope_name, scope_version,
    scope_attributes, attributes, resource, events
FROM spans WHERE trace_id = ?1 ORDER BY id";

const EVENTS: &str = "\
SELECT value ->> 'time_unix_nano', value ->> 'name', value -> 'attributes' FROM json_each(?1)";

const VALUES: &str = "SELECT key, type, value FROM json_each(?1)";

/// A value that nests deeper was written by somebody else, and is left as the text it is.
const MAX_DEPTH: usize = 32;

impl SqliteReader {
    /// The spans of a trace, each as an OTLP request in protobuf, in the order in which they came.
    /// Empty where there is none of that id, which is given in lower-case hexadecimal.
    ///
    /// They say what the store says: there are no links, no dropped counts and no schema URLs, bytes
    /// are the text that they are stored as, and a floating point number without a fraction is a
    /// whole number. All are in memory at once.
    ///
    /// # Errors
    ///
    /// What SQLite says; and if a row is not what a store writes.
    pub fn trace_requests(&self, trace_id: &str) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut statement = self.db.prepare_cached(SPANS)?;
        let mut rows = statement.query([trace_id])?;
        let mut requests = Vec::new();
        let mut json = String::new();
        while let Some(row) = rows.next()? {
            json.clear();
            write_request(&self.db, &mut json, row)?;
            // A field of protobuf takes at most so many times its text.
            let limit = json.len().saturating_mul(8);
            let (request, _) = to_protobuf(Signal::Traces, json.as_bytes(), limit)?;
            requests.push(request);
        }
        Ok(requests)
    }
}

fn write_request(db: &Connection, out: &mut String, row: &Row<'_>) -> Result<(), ReadError> {
    out.push_str("{\"resourceSpans\":[{\"resource\":{\"attributes\":");
    write_attributes(db, out, text(row, 15)?, 0)?;
    out.push_str("},\"scopeSpans\":[{\"scope\":{\"name\":");
    write_string(out, text(row, 11)?);
    out.push_str(",\"version\":");
    write_string(out, text(row, 12)?);
    out.push_str(",\"attributes\":");
    write_attributes(db, out, text(row, 13)?, 0)?;
    out.push_str("},\"spans\":[{\"traceId\":");
    write_string(out, text(row, 0)?);
    out.push_str(",\"spanId\":");
    write_string(out, text(row, 1)?);
    if row.get_ref(2)? != ValueRef::Null {
        out.push_str(",\"parentSpanId\":");
        write_string(out, text(row, 2)?);
    }
    for (key, column) in [("name", 9), ("traceState", 10)] {
        let _ = write!(out, ",\"{key}\":");
        write_string(out, text(row, column)?);
    }
    for (key, column) in [("startTimeUnixNano", 3), ("endTimeUnixNano", 4)] {
        let time: i64 = row.get(column)?;
        let _ = write!(out, ",\"{key}\":\"{}\"", time.max(0));
    }
    let [kind, status, flags] = [row.get::<_, i64>(5)?, row.get(6)?, row.get(8)?];
    let _ = write!(out, ",\"kind\":{kind},\"flags\":{flags},\"status\":{{\"code\":{status},");
    out.push_str("\"message\":");
    write_string(out, text(row, 7)?);
    out.push_str("},\"attributes\":");
    write_attributes(db, out, text(row, 14)?, 0)?;
    out.push_str(",\"events\":[");
    let mut statement = db.prepare_cached(EVENTS)?;
    let mut events = statement.query([text(row, 16)?])?;
    let mut is_first = true;
    while let Some(event) = events.next()? {
        let time: i64 = event.get(0)?;
        let comma = if std::mem::take(&mut is_first) { "" } else { "," };
        let _ = write!(out, "{comma}{{\"timeUnixNano\":\"{}\",\"name\":", time.max(0));
        write_string(out, text(event, 1)?);
        out.push_str(",\"attributes\":");
        write_attributes(db, out, text(event, 2)?, 0)?;
        out.push('}');
    }
    out.push_str("]}]}]}]}");
    Ok(())
}

/// Writes the entries of an object as attributes.
fn write_attributes(
    db: &Connection,
    out: &mut String,
    object: &str,
    depth: usize,
) -> Result<(), ReadError> {
    each(db, out, object, |out, row| {
        out.push_str("{\"key\":");
        write_string(out, text(row, 0)?);
        out.push_str(",\"value\":");
        write_value(db, out, row, depth)?;
        out.push('}');
        Ok(())
    })
}

/// Writes a value, of which the row has type and value, as an `AnyValue`.
fn write_value(
    db: &Connection,
    out: &mut String,
    row: &Row<'_>,
    depth: usize,
) -> Result<(), ReadError> {
    let kind = text(row, 1)?;
    match kind {
        "null" => out.push_str("{}"),
        "true" | "false" => _ = write!(out, "{{\"boolValue\":{kind}}}"),
        "integer" => {
            let value: i64 = row.get(2)?;
            let _ = write!(out, "{{\"intValue\":\"{value}\"}}");
        }
        "real" => {
            let value: f64 = row.get(2)?;
            let _ = write!(out, "{{\"doubleValue\":{value:e}}}");
        }
        "array" if depth < MAX_DEPTH => {
            out.push_str("{\"arrayValue\":{\"values\":");
            each(db, out, text(row, 2)?, |out, row| write_value(db, out, row, depth + 1))?;
            out.push_str("}}");
        }
        "object" if depth < MAX_DEPTH => {
            out.push_str("{\"kvlistValue\":{\"values\":");
            write_attributes(db, out, text(row, 2)?, depth + 1)?;
            out.push_str("}}");
        }
        _ => {
            out.push_str("{\"stringValue\":");
            write_string(out, text(row, 2)?);
            out.push('}');
        }
    }
    Ok(())
}

/// Writes an array of what `write` makes of each entry of a container.
fn each(
    db: &Connection,
    out: &mut String,
    container: &str,
    write: impl Fn(&mut String, &Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut statement = db.prepare_cached(VALUES)?;
    let mut rows = statement.query([container])?;
    let mut is_first = true;
    out.push('[');
    while let Some(row) = rows.next()? {
        if !std::mem::take(&mut is_first) {
            out.push(',');
        }
        write(out, row)?;
    }
    out.push(']');
    Ok(())
}

/// A column that is text.
fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, ReadError> {
    let value = row.get_ref(column)?;
    value.as_str().map_err(|error| rusqlite::Error::from(error).into())
}
