//! Cutting a request does not make a huge one of it.

use std::num::NonZeroU64;
use std::time::Instant;

use teleflow_batcher::{Batcher, Config};
use teleflow_otlp::{Payload, Signal};

use crate::spans::{gauge, numbered, numbers};

const MIB: usize = 1 << 20;

fn cut(config: Config, payload: &Payload) -> (Vec<Payload>, u64) {
    let mut batcher = Batcher::new(payload.signal(), config).unwrap();
    let mut out = Vec::new();
    batcher.offer(Instant::now(), payload.clone(), &mut out);
    out.extend(batcher.flush());
    (out, batcher.stats().loosened)
}

fn all(batches: &[Payload]) -> Vec<u64> {
    batches.iter().flat_map(numbers).collect()
}

#[test]
fn b1_a_large_envelope_is_not_repeated_for_every_item() {
    // Without a guard this is 10 000 times 60 KB: 600 MB of 180 KB.
    let payload = numbered(0..10_000, 60_000);
    let config = Config { min_items: 1, max_items: NonZeroU64::new(1), ..Config::default() };
    let (batches, loosened) = cut(config.clone(), &payload);
    let bytes: usize = batches.iter().map(Payload::bytes).sum();
    assert!(bytes <= payload.bytes() + config.max_split_overhead + 60_100, "{bytes} bytes");
    assert!(bytes > MIB, "it was cut as far as it may");
    assert_eq!((all(&batches), loosened), ((0..10_000).collect(), 1));
}

#[test]
fn b1_a_piece_that_may_have_more_items_takes_along_no_others() {
    let config = Config { min_items: 6, max_items: NonZeroU64::new(6), ..Config::default() };
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (now, mut out) = (Instant::now(), Vec::new());
    batcher.offer(now, numbered(0..5, 0), &mut out);
    // Above 64 KiB of envelope, a piece may have as many items as weigh as much.
    batcher.offer(now, numbered(5..105, 100_000), &mut out);
    assert_eq!(out.iter().map(Payload::items).collect::<Vec<_>>(), [5, 100]);
    assert_eq!(all(&out), (0..105).collect::<Vec<_>>());
}

#[test]
fn b1_the_limit_is_exact_where_repeating_is_cheap() {
    let payload = numbered(0..10_000, 500);
    let config = Config { min_items: 1, max_items: NonZeroU64::new(7), ..Config::default() };
    let (batches, loosened) = cut(config, &payload);
    assert!(batches.iter().all(|batch| batch.items() <= 7));
    assert_eq!(batches.len(), 10_000usize.div_ceil(7));
    assert_eq!((all(&batches), loosened), ((0..10_000).collect(), 0));
}

#[test]
fn b1_no_payload_becomes_more_pieces_than_allowed() {
    let payload = numbered(0..20_000, 10);
    for (max_items, max_bytes) in [(Some(1), 4_000_000), (None, 1), (Some(1), 1), (Some(3), 40)] {
        for max_pieces in [0, 64, 100, 1000] {
            let max_items = max_items.and_then(NonZeroU64::new);
            let config =
                Config { min_items: 1, max_items, max_bytes, max_pieces, ..Config::default() };
            let (batches, loosened) = cut(config, &payload);
            assert!(batches.len() as u64 <= max_pieces.max(64), "{} pieces", batches.len());
            assert!(batches.len() > 1, "it was cut");
            assert_eq!((all(&batches), loosened), ((0..20_000).collect(), 1));
        }
    }
}

#[test]
fn b1_the_name_of_a_metric_counts_as_an_envelope() {
    let payload = gauge(50_000, 2_000);
    let config = Config { min_items: 1, max_items: NonZeroU64::new(1), ..Config::default() };
    let (batches, loosened) = cut(config.clone(), &payload);
    let bytes: usize = batches.iter().map(Payload::bytes).sum();
    assert!(bytes <= payload.bytes() + config.max_split_overhead + 50_100, "{bytes} bytes");
    assert_eq!(batches.iter().map(Payload::items).sum::<u64>(), 2_000);
    assert_eq!(loosened, 1);
}
