//! The batcher's promises, on generated payloads.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_batcher::{Batcher, Config, ConfigError};
use teleflow_otlp::{Payload, Signal, validate};
use teleflow_testkit::telemetry::Telemetry;

fn payload(signal: Signal, telemetry: &mut Telemetry) -> Payload {
    Payload::parse(signal, Bytes::from(telemetry.request(signal, 10))).unwrap()
}

#[test]
fn items_in_are_items_out_and_every_limit_holds() {
    for signal in Signal::ALL {
        for seed in 0..20 {
            let mut telemetry = Telemetry::new(seed);
            let min_items = telemetry.rng().u64(1..50);
            let max_items = NonZeroU64::new(min_items + telemetry.rng().u64(..30));
            let config = Config {
                min_items,
                max_items,
                max_bytes: telemetry.rng().usize(40_000..90_000),
                timeout: Duration::from_millis(telemetry.rng().u64(..50)),
                ..Config::default()
            };
            let max_bytes = config.max_bytes;
            let mut batcher = Batcher::new(signal, config).unwrap();
            let mut now = Instant::now();
            let (mut offered, mut out) = (0, Vec::new());
            let (mut seen, mut delivered) = (0, 0);
            for _ in 0..100 {
                let payload = payload(signal, &mut telemetry);
                offered += payload.items();
                batcher.offer(now, payload, &mut out);
                assert!(batcher.items() < min_items && batcher.bytes() <= max_bytes);
                now += Duration::from_millis(telemetry.rng().u64(..20));
                out.extend(batcher.poll(now));
                assert!(batcher.next_deadline().is_none_or(|deadline| deadline > now));
                for batch in out.drain(..) {
                    assert_eq!(validate(signal, &batch.to_bytes()), Ok(batch.items()));
                    assert!(Some(batch.items()) <= max_items.map(NonZeroU64::get));
                    assert!(batch.bytes() <= max_bytes || batch.items() == 1);
                    assert!(batch.items() > 0, "an empty request is never sent");
                    delivered += batch.items();
                    seen += 1;
                }
                assert_eq!(offered, delivered + batcher.items());
            }
            out.extend(batcher.close());
            delivered += out.iter().map(Payload::items).sum::<u64>();
            assert_eq!(offered, delivered);
            assert_eq!(batcher.close().map(|batch| batch.items()), None);
            let stats = batcher.stats();
            assert_eq!(stats.full + stats.timed_out, seen);
        }
    }
}

/// `n` spans, each the 2 bytes of an empty one.
fn spans(n: u8) -> Payload {
    let spans = [0x12, 0x00].repeat(n.into());
    let mut scope = vec![0x12, spans.len() as u8];
    scope.extend(spans);
    let mut request = vec![0x0a, scope.len() as u8];
    request.extend(scope);
    Payload::parse(Signal::Traces, request.into()).unwrap()
}

fn sizes(batches: &[Payload]) -> Vec<u64> {
    batches.iter().map(Payload::items).collect()
}

#[test]
fn a_batch_of_the_least_size_goes_at_once_and_whole() {
    let config = Config { min_items: 10, ..Config::default() };
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    batcher.offer(now, spans(9), &mut out);
    assert!(out.is_empty());
    batcher.offer(now, spans(9), &mut out);
    assert_eq!(sizes(&out), [18], "without a limit nothing is cut");
}

#[test]
fn the_most_is_exact() {
    let config = Config { min_items: 10, max_items: NonZeroU64::new(12), ..Config::default() };
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    batcher.offer(now, spans(9), &mut out);
    batcher.offer(now, spans(31), &mut out);
    assert_eq!(sizes(&out), [12, 12, 12]);
    assert_eq!(batcher.items(), 4);
    assert_eq!(batcher.stats().split, 1);
}

#[test]
fn the_clock_starts_with_the_first_item_of_a_batch() {
    let mut batcher = Batcher::new(Signal::Traces, Config::default()).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    assert_eq!(batcher.next_deadline(), None);
    batcher.offer(now, Payload::empty(Signal::Traces), &mut out);
    assert_eq!(batcher.next_deadline(), None, "nothing starts no clock");
    batcher.offer(now, spans(1), &mut out);
    batcher.offer(now + Duration::from_millis(150), spans(1), &mut out);
    let due = now + Duration::from_millis(200);
    assert_eq!(batcher.next_deadline(), Some(due));
    assert!(batcher.poll(due - Duration::from_nanos(1)).is_none());
    assert_eq!(batcher.poll(due).map(|batch| batch.items()), Some(2));
    assert_eq!(batcher.next_deadline(), None);
}

#[test]
fn no_waiting_time_means_no_waiting() {
    for config in [
        Config { timeout: Duration::ZERO, ..Config::default() },
        Config { min_items: 0, ..Config::default() },
    ] {
        let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
        let mut out = Vec::new();
        batcher.offer(Instant::now(), spans(1), &mut out);
        assert_eq!(sizes(&out), [1]);
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let config = Config { max_items: NonZeroU64::new(100), ..Config::default() };
    assert_eq!(
        Batcher::new(Signal::Logs, config).unwrap_err(),
        ConfigError::MaxBelowMin { min: 8192, max: 100 }
    );
    let config = Config { max_bytes: 0, ..Config::default() };
    assert_eq!(Batcher::new(Signal::Logs, config).unwrap_err(), ConfigError::NoBytes);
}
