//! From opening to closing: who gets which answer, and what is in the file then.

use teleflow_exporter::{AnyExporter, Delivered, ExportError, Exporter as _};
use teleflow_otlp::{Payload, Signal};
use teleflow_store::{Config, SqliteReader, SqliteStore};
use teleflow_testkit::telemetry::Telemetry;

use crate::{Fixture, payload};

fn spans(seed: u64) -> Payload {
    let mut telemetry = Telemetry::new(seed);
    loop {
        let payload = payload(Signal::Traces, &telemetry.traces(8));
        if !payload.is_empty() {
            return payload;
        }
    }
}

#[tokio::test]
async fn payloads_given_at_once_are_all_stored() {
    let fixture = Fixture::new();
    let (a, b, c) = (spans(1), spans(2), spans(3));
    let items = a.items() + b.items() + c.items();
    let store = &fixture.store;
    let (a, b, c) = tokio::join!(store.export(a), store.export(b), store.export(c));
    assert!([a, b, c].iter().all(|answer| matches!(answer, Ok(all) if *all == Delivered::ALL)));
    assert_eq!(SqliteReader::open(&fixture.path).unwrap().span_count().unwrap(), items);
    assert_eq!(store.stats().stored.total(), items);
    assert!(store.stats().transactions <= 3);
}

#[tokio::test]
async fn what_is_delivered_is_seen_by_others_at_once() {
    let fixture = Fixture::new();
    let reader = SqliteReader::open(&fixture.path).unwrap();
    let mut items = 0;
    for seed in 0..20 {
        let payload = spans(seed);
        items += payload.items();
        assert!(fixture.store.export(payload).await.is_ok());
        assert_eq!(reader.span_count().unwrap(), items);
    }
}

#[tokio::test]
async fn a_payload_of_several_segments_is_stored_whole() {
    let fixture = Fixture::new();
    let mut merged = spans(1);
    merged.append(spans(2));
    let items = merged.items();
    assert!(fixture.store.export(merged).await.is_ok());
    assert_eq!(fixture.store.stats().stored.spans, items);
}

#[tokio::test]
async fn an_empty_payload_is_delivered() {
    let fixture = Fixture::new();
    for signal in Signal::ALL {
        let delivered = fixture.store.export(Payload::empty(signal)).await.unwrap();
        assert_eq!(delivered, Delivered::ALL);
    }
    assert_eq!(fixture.store.stats().transactions, 0);
}

#[tokio::test]
async fn after_shutdown_nothing_is_taken_and_the_file_stands_alone() {
    let fixture = Fixture::new();
    let payload = spans(1);
    assert!(fixture.store.export(payload.clone()).await.is_ok());
    assert!(fixture.store.flush().await.is_ok());
    assert!(fixture.store.shutdown().await.is_ok());
    assert!(matches!(fixture.store.export(payload.clone()).await, Err(ExportError::Closed)));
    assert!(matches!(fixture.store.flush().await, Err(ExportError::Closed)));
    assert!(fixture.store.shutdown().await.is_ok(), "a second time is no error");

    let copy = fixture.path.with_file_name("copy.db");
    std::fs::copy(&fixture.path, &copy).unwrap();
    assert_eq!(SqliteReader::open(copy).unwrap().span_count().unwrap(), payload.items());
    let mut log = fixture.path.clone().into_os_string();
    log.push("-wal");
    assert!(!std::path::Path::new(&log).exists());
}

#[tokio::test]
async fn shutdown_stores_what_waits() {
    let fixture = Fixture::new();
    let (a, b) = (spans(1), spans(2));
    let items = a.items() + b.items();
    let store = &fixture.store;
    // Polled in this order, so both payloads are in the queue before the request to close.
    let (a, b, closed) = tokio::join!(biased; store.export(a), store.export(b), store.shutdown());
    assert!(a.is_ok() && b.is_ok() && closed.is_ok());
    assert_eq!(SqliteReader::open(&fixture.path).unwrap().span_count().unwrap(), items);
}

#[tokio::test]
async fn what_was_stored_is_there_when_the_file_is_opened_again() {
    let fixture = Fixture::new();
    let payload = spans(1);
    assert!(fixture.store.export(payload.clone()).await.is_ok());
    let Fixture { store, path, _folder } = fixture;
    // Without shutdown: dropping closes too.
    drop(store);

    let store = SqliteStore::open(Config { path: path.clone(), ..Config::default() }).unwrap();
    assert_eq!(store.stats(), teleflow_store::StoreStats::default());
    assert!(AnyExporter::new(store).export(payload.clone()).await.is_ok());
    let reader = SqliteReader::open(path).unwrap();
    assert_eq!(reader.span_count().unwrap(), 2 * payload.items());
}

#[tokio::test]
async fn two_stores_may_write_one_file() {
    let fixture = Fixture::new();
    let config = Config { path: fixture.path.clone(), ..Config::default() };
    let second = SqliteStore::open(config).unwrap();
    let mut items = 0;
    for seed in 0..10 {
        for store in [&fixture.store, &second] {
            let payload = spans(seed);
            items += payload.items();
            assert!(store.export(payload).await.is_ok());
        }
    }
    let reader = SqliteReader::open(&fixture.path).unwrap();
    assert_eq!(reader.span_count().unwrap(), items);
}

#[tokio::test]
async fn a_locked_file_is_tried_again_and_stores_nothing_meanwhile() {
    let fixture = Fixture::small();
    let other = fixture.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = fixture.store.export(spans(1)).await;
    assert!(matches!(&answer, Err(error) if error.is_retryable()), "{answer:?}");
    other.execute_batch("ROLLBACK").unwrap();

    let payload = spans(1);
    assert!(fixture.store.export(payload.clone()).await.is_ok());
    assert_eq!(fixture.store.stats().stored.spans, payload.items());
    assert_eq!(fixture.number("SELECT count(*) FROM spans"), payload.items());
}

#[tokio::test]
async fn a_file_that_somebody_altered_is_not_tried_again() {
    let fixture = Fixture::new();
    fixture.sql().execute_batch("DROP TABLE spans").unwrap();
    let answer = fixture.store.export(spans(1)).await;
    assert!(matches!(&answer, Err(ExportError::Permanent(_))), "{answer:?}");
}
