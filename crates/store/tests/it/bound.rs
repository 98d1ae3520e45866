//! The file keeps its bound, the oldest goes first, and the books balance.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use teleflow_exporter::{Delivered, ExportError, Exporter as _};
use teleflow_otlp::Signal;
use teleflow_store::{Config, MIN_MAX_BYTES, SqliteReader, SqliteStore};
use teleflow_testkit::telemetry::Telemetry;

use crate::{Fixture, payload, size_on_disk};

fn log(text: String) -> ExportLogsServiceRequest {
    let body = Some(AnyValue { value: Some(Value::StringValue(text)) });
    let log_records = vec![LogRecord { body, ..LogRecord::default() }];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

/// Everything that is in the file, by table.
fn counts(fixture: &Fixture) -> [u64; 3] {
    let reader = SqliteReader::open(&fixture.path).unwrap();
    [
        reader.span_count().unwrap(),
        reader.metric_point_count().unwrap(),
        reader.log_count().unwrap(),
    ]
}

#[tokio::test]
async fn ten_times_the_bound_leaves_the_newest_and_a_file_within_it() {
    let fixture = Fixture::small();
    let mut telemetry = Telemetry::new(1);
    let (mut bytes, mut items, mut largest) = (0, [0; 3], 0);
    while bytes < 10 * MIN_MAX_BYTES {
        let signal = Signal::ALL[telemetry.rng().usize(..3)];
        let payload = match signal {
            Signal::Traces => payload(signal, &telemetry.traces(60)),
            Signal::Metrics => payload(signal, &telemetry.metrics(60)),
            Signal::Logs => payload(signal, &telemetry.logs(60)),
        };
        bytes += payload.bytes() as u64;
        items[signal.index()] += payload.items();
        assert_eq!(fixture.store.export(payload).await.unwrap(), Delivered::ALL);
        largest = largest.max(size_on_disk(&fixture.path));
        assert!(largest <= MIN_MAX_BYTES, "{largest}");
    }

    let stats = fixture.store.stats();
    let [spans, metric_points, logs] = counts(&fixture);
    assert_eq!(stats.stored.spans, items[0]);
    assert_eq!(spans + stats.evicted.spans, items[0]);
    assert_eq!(metric_points + stats.evicted.metric_points, items[1]);
    assert_eq!(logs + stats.evicted.logs, items[2]);
    assert_eq!(stats.rejected, 0);

    // Ids are one sequence over all tables: what is left is its end, without a gap.
    let all: u64 = items.iter().sum();
    let left = spans + metric_points + logs;
    let ids = "SELECT min(id) FROM (SELECT id FROM spans UNION ALL SELECT id FROM metric_points
        UNION ALL SELECT id FROM logs)";
    assert_eq!(fixture.number(ids), all - left + 1);
    assert_eq!(fixture.number(&ids.replace("min", "max")), all);

    // The bound is used: at least two thirds of it hold items.
    let (pages, free) = ("PRAGMA page_count", "PRAGMA freelist_count");
    let used = (fixture.number(pages) - fixture.number(free)) * 4096;
    assert!(used > MIN_MAX_BYTES * 2 / 3, "{used}");
    assert_eq!(fixture.one::<String>("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn one_payload_larger_than_the_bound_is_stored_as_far_as_it_fits() {
    let fixture = Fixture::small();
    let mut telemetry = Telemetry::new(2);
    let mut merged = payload(Signal::Traces, &telemetry.traces(60));
    while merged.bytes() < 3 * MIN_MAX_BYTES as usize {
        merged.append(payload(Signal::Traces, &telemetry.traces(60)));
    }
    let items = merged.items();
    assert_eq!(fixture.store.export(merged).await.unwrap(), Delivered::ALL);
    assert!(size_on_disk(&fixture.path) <= MIN_MAX_BYTES);
    let stats = fixture.store.stats();
    assert_eq!(stats.stored.spans, items);
    assert_eq!(counts(&fixture)[0] + stats.evicted.spans, items);
    assert!(stats.evicted.spans > 0);
}

#[tokio::test]
async fn an_item_that_is_too_large_is_rejected_and_its_neighbours_are_not() {
    let fixture = Fixture::small();
    let mut request = log("x".repeat(1 << 20));
    let small = log("small".to_owned());
    request.resource_logs.extend(small.resource_logs);
    let delivered = fixture.export(Signal::Logs, &request).await.unwrap();
    assert_eq!(delivered.rejected, 1);
    assert_eq!(delivered.message.as_deref(), Some("log_records too large for the store"));
    assert_eq!(fixture.one::<String>("SELECT body FROM logs"), "small");
    assert_eq!(fixture.store.stats().rejected, 1);
    assert_eq!(fixture.store.stats().stored.logs, 1);
}

#[tokio::test]
async fn a_lower_bound_shortens_the_file_when_it_is_opened() {
    let fixture = Fixture::with(|config| config.max_bytes = 4 * MIN_MAX_BYTES);
    let mut telemetry = Telemetry::new(3);
    let mut items = 0;
    while size_on_disk(&fixture.path) < 2 * MIN_MAX_BYTES {
        let payload = payload(Signal::Logs, &telemetry.logs(60));
        items += payload.items();
        assert!(fixture.store.export(payload).await.is_ok());
        assert!(fixture.store.flush().await.is_ok());
    }
    assert!(fixture.store.shutdown().await.is_ok());

    let config =
        Config { path: fixture.path.clone(), max_bytes: MIN_MAX_BYTES, ..Config::default() };
    let store = SqliteStore::open(config).unwrap();
    let evicted = store.stats().evicted.logs;
    assert!(evicted > 0);
    assert!(store.flush().await.is_ok());
    assert!(size_on_disk(&fixture.path) <= MIN_MAX_BYTES);
    assert_eq!(counts(&fixture)[2] + evicted, items);
}

#[tokio::test]
async fn a_reader_that_does_not_move_on_holds_writing_up_and_not_the_bound_open() {
    let fixture = Fixture::small();
    let reader = fixture.sql();
    reader.execute_batch("BEGIN; SELECT count(*) FROM logs").unwrap();
    let mut telemetry = Telemetry::new(4);
    let mut items = 0;
    let refused = loop {
        let payload = payload(Signal::Logs, &telemetry.logs(60));
        let count = payload.items();
        match fixture.store.export(payload).await {
            Ok(_) => items += count,
            Err(error) => break error,
        }
        assert!(size_on_disk(&fixture.path) <= MIN_MAX_BYTES);
    };
    assert!(matches!(&refused, ExportError::Transient(message) if message.contains("a reader")));
    assert!(size_on_disk(&fixture.path) <= MIN_MAX_BYTES);

    reader.execute_batch("COMMIT").unwrap();
    let payload = payload(Signal::Logs, &telemetry.logs(60));
    let stored = fixture.store.stats().stored.logs;
    assert!(stored >= items, "what was refused may be there in part");
    assert!(fixture.store.export(payload.clone()).await.is_ok());
    assert_eq!(counts(&fixture)[2], stored + payload.items());
}
