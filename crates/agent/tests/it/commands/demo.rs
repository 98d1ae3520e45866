//! `teleflow demo`: what it says, and whose files it leaves alone.

use std::fs;

use rusqlite::Connection;
use teleflow::Signal;

use super::running::{Running, Stream, address};
use super::{folder_with, taken_port, teleflow, text};
use crate::admin::send_to;
use crate::books::Books;

const ANY_PORTS: [&str; 6] =
    ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// A gateway as a user has one, with a store of the name that it has by default.
const GATEWAY: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 } } }
exporters:
  sqlite: { path: teleflow.db }
service:
  pipelines:
    traces: { receivers: [otlp], exporters: [sqlite] }
";

#[test]
fn the_demo_names_a_taken_port_and_the_flag_to_choose_another_and_keeps_the_store() {
    let (_taken, address) = taken_port();
    let address = address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let earlier = [&["demo", "--for", "1s"][..], &ANY_PORTS].concat();
    assert!(teleflow(folder.path(), &earlier).status.success());
    let path = folder.path().join("teleflow-demo.db");
    let store = fs::read(&path).unwrap();
    for flag in ["--grpc", "--http", "--admin"] {
        let mut args = earlier.clone();
        let at = args.iter().position(|arg| *arg == flag).unwrap() + 1;
        args[at] = &address;
        let output = teleflow(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.contains(&format!("on {address}")), "{error}");
        assert!(error.contains("a port is taken") && error.contains(flag), "{error}");
        assert!(fs::read(&path).unwrap() == store, "the store of the earlier demo was changed");
    }
    // With all its ports it does replace it.
    assert!(teleflow(folder.path(), &earlier).status.success());
    assert!(fs::read(&path).unwrap() != store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_never_deletes_what_a_gateway_or_another_program_stored() {
    let folder = folder_with(GATEWAY);
    let run = ["run", "--config", "teleflow.yaml"];
    let mut gateway = Running::start(folder.path(), &run, Stream::Stderr);
    let grpc = address(&gateway.says("OTLP/gRPC on "), "OTLP/gRPC on ");
    let spans = send_to(grpc, Signal::Traces, 1).await;
    let (status, said) = gateway.terminated();
    assert!(status.success(), "{said}");
    let count = || -> i64 {
        let store = Connection::open(folder.path().join("teleflow.db")).unwrap();
        store.query_row("SELECT count(*) FROM spans", (), |row| row.get(0)).unwrap()
    };
    assert_eq!(count() as u64, spans);

    let theirs = folder.path().join("theirs.db");
    Connection::open(&theirs).unwrap().execute("CREATE TABLE theirs (x)", ()).unwrap();
    let before = fs::read(&theirs).unwrap();

    for store in ["teleflow.db", "theirs.db"] {
        let args = [&["demo", "--for", "1s", "--store", store][..], &ANY_PORTS].concat();
        let output = teleflow(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        for says in [store, "no demo has left its mark", "name another file with --store"] {
            assert!(error.contains(says), "{says} in {error}");
        }
    }
    assert_eq!(count() as u64, spans);
    assert!(fs::read(&theirs).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_says_what_others_sent_and_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let args = [&["demo"][..], &ANY_PORTS].concat();
    let mut demo = Running::start(folder.path(), &args, Stream::Stdout);
    let grpc = address(&demo.says("gateway: "), "OTLP/gRPC on ");
    let spans = send_to(grpc, Signal::Traces, 1).await;
    let (status, said) = demo.terminated();
    assert!(status.success(), "{said}");
    assert!(said.contains(&format!("  others sent {spans} spans\n")), "{said}");
    generated(&said, "log_records");
    Books::parse(&said);
}

#[test]
fn the_demo_blames_the_ports_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, value, says) in [
        ("--grpc", "192.0.2.1:4317", "cannot listen for OTLP/gRPC on 192.0.2.1:4317"),
        ("--store", "nowhere/x.db", "nowhere/x.db"),
    ] {
        let mut args = [&["demo", "--store", "x.db"][..], &ANY_PORTS].concat();
        let at = args.iter().position(|arg| *arg == flag).unwrap() + 1;
        args[at] = value;
        let output = teleflow(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("choose others") && !error.contains("14317"), "{error}");
    }
}

#[test]
fn the_demo_ends_by_itself_and_its_counts_agree_with_the_books_and_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let output = teleflow(folder.path(), &[&["demo", "--for", "2s"][..], &ANY_PORTS].concat());
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    assert!(!shown.contains("requests failed"), "{shown}");

    let store = Connection::open(folder.path().join("teleflow-demo.db")).unwrap();
    let books = Books::parse(&shown);
    for (lane, items, table) in [
        ("traces", "spans", "spans"),
        ("metrics", "metric_points", "metric_points"),
        ("logs", "log_records", "logs"),
    ] {
        let row = books.of(lane);
        assert!(row.delivered > 0, "{row:?}");
        assert_eq!((row.rejected, row.dropped, row.held), (0, 0, 0), "{row:?}");
        let generated = generated(&shown, items);
        assert_eq!(generated, row.accepted, "{row:?}");
        let query = format!("SELECT count(*) FROM {table}");
        let stored: i64 = store.query_row(&query, [], |row| row.get(0)).unwrap();
        assert_eq!(stored as u64, row.delivered, "{row:?}");
    }
    assert!(books.of("traces").sampled_out > 0, "{shown}");
    assert!(shown.contains("the slowest kept trace"), "{shown}");
}

/// What the demo's generator says that it sent: `spans   generated   accepted  equal`.
fn generated(shown: &str, items: &str) -> u64 {
    let counts = shown.lines().find_map(|line| {
        let rest = line.strip_prefix(items)?.strip_suffix("equal")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    counts.unwrap_or_else(|| panic!("no line of equal {items} in {shown}"))
}
