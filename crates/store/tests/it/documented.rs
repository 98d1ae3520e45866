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
    let documented: String =
        blocks().filter(|block| block.starts_with("CREATE")).collect::<Vec<_>>().join("\n");
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
