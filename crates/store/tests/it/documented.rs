//! What `docs/store.md` says is what there is.

use teleflow_exporter::Exporter as _;
use teleflow_store::{Config, SCHEMA_VERSION};

use crate::{Fixture, columns};

const DOCUMENT: &str = include_str!("../../../../docs/store.md");

/// The fenced blocks of SQL.
fn blocks() -> impl Iterator<Item = &'static str> {
    DOCUMENT.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap())
}

#[test]
fn the_documented_schema_is_the_one_that_is_made() {
    let statements = include_str!("../../src/schema/v1.sql");
    let documented: String = blocks()
        .filter(|block| block.starts_with("CREATE") || block.starts_with("ANALYZE"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(documented, statements);
    assert!(DOCUMENT.contains(&format!("Its version is {SCHEMA_VERSION}")));
}

#[test]
fn the_documented_defaults_are_the_ones_in_force() {
    let Config { path, max_bytes, max_waiting, busy_timeout } = Config::default();
    for default in [
        format!("`{}`", path.display()),
        format!("{} GiB", max_bytes >> 30),
        format!("{max_waiting} payloads"),
        format!("{} s", busy_timeout.as_secs()),
    ] {
        assert!(DOCUMENT.contains(&default), "{default}");
    }
}

#[tokio::test]
async fn every_documented_query_finds_something() {
    let fixture = Fixture::new();
    for payload in columns::shop() {
        assert!(fixture.store.export(payload).await.is_ok());
    }
    let db = fixture.sql();
    let mut queries = 0;
    for query in blocks().filter(|block| block.starts_with("SELECT")) {
        let mut statement = db.prepare(query).unwrap_or_else(|error| panic!("{error}: {query}"));
        let mut rows = statement.query(()).unwrap();
        assert!(rows.next().unwrap().is_some(), "nothing found: {query}");
        queries += 1;
    }
    assert!(queries >= 6);
}

#[tokio::test]
async fn look_ups_by_trace_time_and_name_use_their_indexes() {
    let fixture = Fixture::new();
    let db = fixture.sql();
    for (query, index) in [
        ("* FROM spans WHERE trace_id = 'x' ORDER BY start_time_unix_nano", "spans_by_trace"),
        ("* FROM spans WHERE trace_id IN ('x', 'y')", "spans_by_trace"),
        ("* FROM spans WHERE start_time_unix_nano BETWEEN 1 AND 2", "spans_by_start"),
        ("trace_id FROM spans WHERE parent_span_id IS NULL ORDER BY duration_nano", "spans_roots"),
        ("* FROM logs WHERE trace_id = 'x'", "logs_by_trace"),
        ("* FROM logs WHERE time_unix_nano BETWEEN 1 AND 2", "logs_by_time"),
        ("* FROM metric_points WHERE name = 'x' AND time_unix_nano > 1", "metric_points_by_name"),
    ] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT {query}");
        let plan: String = db.query_row(&sql, (), |row| row.get("detail")).unwrap();
        assert!(plan.contains(&format!("INDEX {index}")), "{query}: {plan}");
    }
}
