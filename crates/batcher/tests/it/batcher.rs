//! One batcher, on generated payloads.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_batcher::{Batcher, Config, ConfigError, Trigger, WaitRange};
use teleflow_otlp::{Payload, Signal, validate};
use teleflow_testkit::telemetry::Telemetry;

fn payload(signal: Signal, telemetry: &mut Telemetry) -> Payload {
    Payload::parse(signal, Bytes::from(telemetry.request(signal, 10))).unwrap()
}

#[test]
fn b1_items_in_are_items_out_and_every_limit_holds() {
    for signal in Signal::ALL {
        for seed in 0..5 {
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
fn b1_a_batch_of_the_least_size_goes_at_once_and_whole() {
    let config = Config { min_items: 10, ..Config::default() };
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    batcher.offer(now, spans(9), &mut out);
    assert!(out.is_empty());
    batcher.offer(now, spans(9), &mut out);
    assert_eq!(sizes(&out), [18], "without a limit nothing is cut");
}

#[test]
fn b1_the_most_is_exact() {
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
fn b1_the_clock_starts_with_the_first_item_of_a_batch() {
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
fn b1_no_waiting_time_means_no_waiting() {
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
fn b1_limits_that_contradict_each_other_are_refused() {
    let config = Config { max_items: NonZeroU64::new(100), ..Config::default() };
    assert_eq!(
        Batcher::new(Signal::Logs, config).unwrap_err(),
        ConfigError::MaxBelowMin { min: 8192, max: 100 }
    );
    let config = Config { max_bytes: 0, ..Config::default() };
    assert_eq!(Batcher::new(Signal::Logs, config).unwrap_err(), ConfigError::NoBytes);
    let config = Config { min_bytes: NonZeroUsize::new(11), max_bytes: 10, ..Config::default() };
    assert_eq!(
        Batcher::new(Signal::Logs, config).unwrap_err(),
        ConfigError::MaxBytesBelowMin { min: 11, max: 10 }
    );
    let config = Config {
        min_requests: NonZeroU64::new(2),
        max_requests: NonZeroU64::new(1),
        ..Config::default()
    };
    assert_eq!(
        Batcher::new(Signal::Logs, config).unwrap_err(),
        ConfigError::MaxRequestsBelowMin { min: 2, max: 1 }
    );
    let (least, most) = (Duration::from_secs(2), Duration::from_secs(1));
    let config = Config { adaptive: Some(WaitRange { least, most }), ..Config::default() };
    assert_eq!(Batcher::new(Signal::Logs, config).unwrap_err(), ConfigError::Wait { least, most });
    // No least of items goes with any limit.
    let config = Config { max_items: NonZeroU64::new(1), ..Config::time_based(Duration::MAX) };
    assert!(Batcher::new(Signal::Logs, config).is_ok());
}

/// Offers one after the other and tells why batches went, and how many items each has.
#[track_caller]
fn check(config: Config, payloads: &[u8], expected: &[(Trigger, u64)], rest: u64) {
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (now, mut went) = (Instant::now(), Vec::new());
    for &n in payloads {
        let before = batcher.stats();
        let mut out = Vec::new();
        batcher.offer(now, spans(n), &mut out);
        let after = batcher.stats();
        let why = Trigger::ALL.map(|why| (why, after.batches_by(why) - before.batches_by(why)));
        let why = why.iter().flat_map(|&(why, n)| std::iter::repeat_n(why, n as usize));
        went.extend(why.zip(sizes(&out)));
    }
    assert_eq!(went, expected);
    assert_eq!(batcher.flush().map_or(0, |batch| batch.items()), rest);
    let stats = batcher.stats();
    assert_eq!(stats.flushed, u64::from(rest > 0));
    assert_eq!(stats.batches, Trigger::ALL.map(|why| stats.batches_by(why)).iter().sum::<u64>());
    assert_eq!(stats.items, payloads.iter().map(|&n| u64::from(n)).sum::<u64>());
}

#[test]
fn b1_each_unit_makes_a_batch_complete_and_all_hold_at_once() {
    let bytes = |n: u8| spans(n).bytes();
    let none = Config::time_based(Duration::MAX);
    check(none.clone(), &[9, 9, 9], &[], 27);
    let items = Config { min_items: 18, ..none };
    check(items, &[9, 9, 9], &[(Trigger::Items, 18)], 9);
    let least = Config { min_bytes: NonZeroUsize::new(2 * bytes(9)), ..none };
    check(least, &[9, 9, 9], &[(Trigger::Bytes, 18)], 9);
    let most = Config { max_bytes: 2 * bytes(9) + 1, ..none };
    check(most, &[9, 9, 9], &[(Trigger::Limit, 18)], 9);
    let requests = Config { min_requests: NonZeroU64::new(2), ..none };
    check(requests, &[1, 30, 1], &[(Trigger::Requests, 31)], 1);
    let requests = Config { max_requests: NonZeroU64::new(2), ..none };
    check(requests, &[1, 30, 1], &[(Trigger::Requests, 31)], 1);

    let all = Config {
        min_items: 20,
        max_items: NonZeroU64::new(25),
        min_bytes: NonZeroUsize::new(bytes(12)),
        min_requests: NonZeroU64::new(3),
        ..none
    };
    let expected = [(Trigger::Items, 24), (Trigger::Requests, 3), (Trigger::Bytes, 12)];
    check(all, &[24, 1, 1, 1, 12, 2], &expected, 2);
}

#[test]
fn b1_the_presets_do_what_they_are_called() {
    let bytes = NonZeroUsize::new(10_000).unwrap();
    check(Config::simple(), &[1, 2], &[(Trigger::Items, 1), (Trigger::Items, 2)], 0);
    let size = Config::size_based(3, bytes);
    let batcher = Batcher::new(Signal::Traces, size.clone()).unwrap();
    assert_eq!(batcher.wait(), Duration::MAX);
    check(size, &[1, 2, 1], &[(Trigger::Items, 3)], 1);
    let every = Duration::from_secs(3);
    for (config, expected) in
        [(Config::time_based(every), None), (Config::hybrid(3, every), Some(3))]
    {
        let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
        let (now, mut out) = (Instant::now(), Vec::new());
        batcher.offer(now, spans(3), &mut out);
        assert_eq!(sizes(&out).first().copied(), expected);
        batcher.offer(now, spans(1), &mut out);
        assert_eq!(batcher.next_deadline(), Some(now + every));
        assert!(batcher.poll(now + every).is_some());
    }
}

#[test]
fn b1_what_is_offered_late_takes_along_what_was_due() {
    let mut batcher = Batcher::new(Signal::Traces, Config::default()).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    batcher.offer(now, spans(1), &mut out);
    batcher.offer(now + Duration::from_secs(1), spans(1), &mut out);
    assert_eq!(sizes(&out), [2], "nobody polled in between");
    assert_eq!(batcher.stats().timed_out, 1);
}

#[test]
fn b5_merging_copies_no_telemetry() {
    let mut batcher = Batcher::new(Signal::Traces, Config::default()).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    let payloads = [spans(3), spans(4)];
    for payload in &payloads {
        batcher.offer(now, payload.clone(), &mut out);
    }
    let batch = batcher.flush().unwrap();
    let places = |payload: &Payload| payload.segments()[0].as_ptr();
    let merged: Vec<_> = batch.segments().iter().map(|segment| segment.as_ptr()).collect();
    assert_eq!(merged, [places(&payloads[0]), places(&payloads[1])]);
    assert_eq!(validate(Signal::Traces, &batch.to_bytes()), Ok(7));
}

#[test]
fn b1_a_payload_of_another_signal_panics_and_changes_nothing() {
    let mut batcher = Batcher::new(Signal::Logs, Config::default()).unwrap();
    let offer = || batcher.offer(Instant::now(), spans(1), &mut Vec::new());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(offer)).is_err());
    assert_eq!((batcher.items(), batcher.stats().items, batcher.next_deadline()), (0, 0, None));
}
