//! What the scene looks like in the store.

use std::path::Path;

use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use prost::Message;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};

use super::{Sent, SentSpan};

/// The store of a program that has ended.
pub(super) struct Store(Connection);

// === impl Store ===

impl Store {
    pub(super) fn open(path: &Path) -> Self {
        Self(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap())
    }

    pub(super) fn count(&self, table: &str) -> u64 {
        self.one(&format!("SELECT count(*) FROM {table}"), &[], |row| row.get::<_, i64>(0)) as u64
    }

    pub(super) fn check_spans(&self, service: &str, sent: &Sent) {
        let parent = self.span(service, "parent", &sent.trace_id, &sent.parent);
        assert_eq!(parent["parent"], Value::Null);
        assert_eq!((&parent["kind"], &parent["status"]), (&json!(2), &json!([0, ""])));
        assert_eq!(
            parent["attributes"],
            json!({"text": "grüße", "int": 42, "float": 1.5, "bool": true, "list": ["a", "b"]})
        );
        assert_eq!((&parent["events"], &parent["links"]), (&json!([]), &json!([])));

        let child = self.span(service, "child", &sent.trace_id, &sent.child);
        assert_eq!(child["parent"], json!(sent.parent.id));
        assert_eq!((&child["kind"], &child["status"]), (&json!(3), &json!([2, "boom"])));
        assert_eq!(child["attributes"], json!({}));
        assert_eq!(
            child["events"],
            json!([{
                "time_unix_nano": sent.event,
                "name": "cache.miss",
                "attributes": {"key": "k1"},
            }])
        );
        assert_eq!(
            child["links"],
            json!([{
                "trace_id": "0102030405060708090a0b0c0d0e0f10",
                "span_id": "1112131415161718",
                "trace_state": "",
                "attributes": {"why": "retry"},
            }])
        );
    }

    /// Checks what all spans have in common, and gives the rest.
    fn span(&self, service: &str, name: &str, trace_id: &str, sent: &SentSpan) -> Value {
        let row = self.one(
            "SELECT trace_id, span_id, parent_span_id, kind, start_time_unix_nano,
                    end_time_unix_nano, status_code, status_message, attributes, resource, events,
                    links, scope_name, scope_version
             FROM spans WHERE service_name = ?1 AND name = ?2",
            &[service, name],
            |row| {
                Ok(json!({
                    "ids": [text(row, 0)?, text(row, 1)?],
                    "parent": row.get::<_, Option<String>>(2)?,
                    "kind": row.get::<_, i64>(3)?,
                    "times": [row.get::<_, i64>(4)?, row.get::<_, i64>(5)?],
                    "status": [json!(row.get::<_, i64>(6)?), json!(text(row, 7)?)],
                    "attributes": parsed(row, 8)?,
                    "resource": parsed(row, 9)?,
                    "events": parsed(row, 10)?,
                    "links": parsed(row, 11)?,
                    "scope": [text(row, 12)?, text(row, 13)?],
                }))
            },
        );
        assert_eq!(row["ids"], json!([trace_id, sent.id]));
        assert_eq!(row["times"], json!([sent.start, sent.end]));
        check_origin(&row, service);
        row
    }

    pub(super) fn check_log(&self, service: &str, sent: &Sent) {
        let row = self.one(
            "SELECT time_unix_nano, observed_time_unix_nano, trace_id, span_id, severity_number,
                    severity_text, body, body_is_json, attributes, resource, scope_name,
                    scope_version
             FROM logs WHERE service_name = ?1",
            &[service],
            |row| {
                Ok(json!({
                    "times": [row.get::<_, i64>(0)?, row.get::<_, i64>(1)?],
                    "ids": [text(row, 2)?, text(row, 3)?],
                    "severity": [json!(row.get::<_, i64>(4)?), json!(text(row, 5)?)],
                    "body": [json!(text(row, 6)?), json!(row.get::<_, bool>(7)?)],
                    "attributes": parsed(row, 8)?,
                    "resource": parsed(row, 9)?,
                    "scope": [text(row, 10)?, text(row, 11)?],
                }))
            },
        );
        assert_eq!(
            row["times"],
            json!([1_750_000_000_000_000_001_i64, 1_750_000_000_000_000_002_i64])
        );
        assert_eq!(row["ids"], json!([sent.trace_id, sent.child.id]));
        assert_eq!(row["severity"], json!([13, "WARN"]));
        assert_eq!(row["body"], json!(["disk is full", false]));
        assert_eq!(row["attributes"], json!({"disk": "sda"}));
        check_origin(&row, service);
    }

    pub(super) fn check_metrics(&self, service: &str) {
        // Kind, unit, temporality (2 is cumulative), monotonic, value, count, sum, min, max.
        for (name, expected, attributes) in [
            (
                "requests",
                json!(["sum", "1", 2, true, 7, null, null, null, null]),
                json!({"route": "/a"}),
            ),
            ("queue", json!(["sum", "", 2, false, -2, null, null, null, null]), json!({})),
            (
                "temperature",
                json!(["gauge", "Cel", 0, false, 21.5, null, null, null, null]),
                json!({}),
            ),
            ("latency", json!(["histogram", "ms", 2, false, null, 2, 20.0, 5.0, 15.0]), json!({})),
        ] {
            let row = self.one(
                "SELECT kind, unit, temporality, monotonic, value_int, value_double, count, sum,
                        min, max, attributes, resource, scope_name, scope_version,
                        start_time_unix_nano, time_unix_nano, description
                 FROM metric_points WHERE service_name = ?1 AND name = ?2",
                &[service, name],
                |row| {
                    let int = row.get::<_, Option<i64>>(4)?.map(|value| json!(value));
                    let double = row.get::<_, Option<f64>>(5)?.map(|value| json!(value));
                    Ok(json!({
                        "is": [
                            json!(text(row, 0)?),
                            json!(text(row, 1)?),
                            json!(row.get::<_, i64>(2)?),
                            json!(row.get::<_, bool>(3)?),
                            json!(int.or(double)),
                            json!(row.get::<_, Option<i64>>(6)?),
                            json!(row.get::<_, Option<f64>>(7)?),
                            json!(row.get::<_, Option<f64>>(8)?),
                            json!(row.get::<_, Option<f64>>(9)?),
                        ],
                        "attributes": parsed(row, 10)?,
                        "resource": parsed(row, 11)?,
                        "scope": [text(row, 12)?, text(row, 13)?],
                        "times": [row.get::<_, i64>(14)?, row.get::<_, i64>(15)?],
                        "description": text(row, 16)?,
                    }))
                },
            );
            assert_eq!(row["is"], expected, "{name}");
            assert_eq!(row["attributes"], attributes, "{name}");
            let time = |i: usize| row["times"][i].as_i64().unwrap();
            // What is summed up began to be; a gauge is of the moment.
            let earliest = if name == "temperature" { 0 } else { 1_700_000_000_000_000_000 };
            assert!((earliest..=time(1)).contains(&time(0)), "{name}: {row}");
            assert!(time(1) > 1_700_000_000_000_000_000, "{name}: {row}");
            let description = if name == "requests" { "Requests served" } else { "" };
            assert_eq!(row["description"], description);
            check_origin(&row, service);
        }
        let point = self.one(
            "SELECT point FROM metric_points WHERE service_name = ?1 AND name = 'latency'",
            &[service],
            |row| row.get::<_, Vec<u8>>(0),
        );
        let point = HistogramDataPoint::decode(&point[..]).unwrap();
        // The specification's default buckets: 5 is in the one up to 5, 15 in the one up to 25.
        assert_eq!(point.explicit_bounds[..5], [0.0, 5.0, 10.0, 25.0, 50.0]);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts[..5], [0, 1, 0, 1, 0]);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    }

    /// The one row that a query finds.
    fn one<T>(
        &self,
        query: &str,
        values: &[&str],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> T {
        let mut statement = self.0.prepare(query).unwrap();
        let rows = statement.query_map(rusqlite::params_from_iter(values), read).unwrap();
        let mut rows: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1, "{query} with {values:?}");
        rows.remove(0)
    }
}

fn check_origin(row: &Value, service: &str) {
    assert_eq!(row["scope"], json!(["interop.scope", "1.2.3"]));
    assert_eq!(row["resource"]["service.name"], json!(service));
    assert_eq!(row["resource"]["deployment.environment.name"], "test");
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    row.get(column)
}

fn parsed(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    Ok(serde_json::from_str(&text(row, column)?).unwrap())
}
