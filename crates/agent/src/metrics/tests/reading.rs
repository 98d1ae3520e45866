//! A reading in which every figure is another.

use std::collections::BTreeMap;

use teleflow::exporter::{
    AdaptiveConcurrencyStats, EndpointStats, QueueConfig, QueueStats, RetryStats, SplitStats,
    WireStats,
};
use teleflow::store::Rows as StoreRows;
use teleflow::{Account, LaneStats, Signal, batcher, receiver, sampler};
use teleflow_concurrency::{BreakerState, BreakerStats};

use crate::metrics::*;

fn batcher_stats(first: u64) -> batcher::Stats {
    batcher::Stats {
        payloads: first,
        items: first + 1,
        full: first + 2,
        by_items: first + 3,
        by_bytes: first + 4,
        by_requests: first + 5,
        by_limit: first + 6,
        timed_out: first + 7,
        for_deadline: first + 8,
        for_pressure: first + 9,
        flushed: first + 10,
        closed: first + 11,
        split: first + 12,
        pieces: first + 13,
        loosened: first + 14,
        ..batcher::Stats::default()
    }
}

fn figures() -> Figures {
    let mut wire = WireStats::default();
    (wire.requests, wire.bytes, wire.wire_bytes) = (101, 102, 103);
    (wire.encoded, wire.compressed, wire.fallbacks) = (104, 105, 106);
    (wire.connections.connected, wire.connections.failed) = (107, 108);
    (wire.connections.lost, wire.connections.closed) = (109, 110);
    let endpoint = |name: &str, is_out, parts, items| EndpointStats {
        name: name.to_owned(),
        is_out,
        parts,
        items,
    };
    Figures {
        // Two of a kind are added.
        wires: vec![wire, WireStats::default()],
        retries: vec![RetryStats {
            attempts: 111,
            retries: 112,
            put_off: 113,
            gave_up: 114,
            given_back: 115,
        }],
        splits: vec![SplitStats { split: 116, pieces: 117, dropped_items: 118 }],
        breakers: vec![BreakerStats {
            state: BreakerState::HalfOpen,
            successes: 119,
            failures: 120,
            refused: 121,
            probes: 122,
            opened: 123,
            closed: 124,
        }],
        concurrency: vec![AdaptiveConcurrencyStats { limit: 125, in_flight: 126, overloads: 127 }],
        rate_waits: vec![100, 28],
        endpoints: vec![endpoint("a:1", false, 129, 130), endpoint("b:1", true, 131, 132)],
        failovers: vec![vec![133, 134]],
        failing: Some(Duration::from_millis(135_900)),
        queue: Some(QueueConfig::default()),
    }
}

pub(super) fn full() -> Reading {
    let mut snapshot = receiver::Snapshot::default();
    (snapshot.unrouted, snapshot.connections_open, snapshot.connections) = (201, 202, 203);
    (snapshot.connections_refused, snapshot.handshakes_failed) = (204, 205);
    (snapshot.connections_aged, snapshot.connections_abusive) = (206, 207);
    (snapshot.accept_errors, snapshot.bytes_in_flight) = (208, 209);
    let rule = |name: &str, traces_seen, traces_kept| sampler::RuleStats {
        name: name.to_owned(),
        traces_seen,
        traces_sampled: 312,
        traces_dropped: 7,
        errors: 5,
        traces_kept,
        spans_kept: 313,
        bytes_kept: 814,
        sampled: sampler::Volume { spans: 815, bytes: 816 },
        not_sampled: sampler::Volume { spans: 817, bytes: 818 },
        dropped: sampler::Volume { spans: 819, bytes: 820 },
        sampler: sampler::SamplerStats { keys: 320, ..sampler::SamplerStats::default() },
    };
    let mut waits = sampler::Waits::default();
    (waits.counts[2], waits.counts[11], waits.counts[17]) = (900, 30, 4);
    let sampler = sampler::Stats {
        traces: 946,
        traces_kept: 301,
        traces_sampled_out: 332,
        traces_dropped: 14,
        root_errors: 384,
        unmatched: 30,
        decisions: [303, 321, 322, 323, 304, 305, 306, 84, 825, 338],
        waited_millis: 324,
        waits,
        spans_kept: 325,
        spans_sampled_out: [1, 2, 3, 4, 5, 6, 7, 8, 0, 9],
        spans_estimated: 326.4,
        spans_unknown: 327,
        without_room: 328,
        inconsistent: 329,
        copied_out: 330,
        copied_out_bytes: 331,
        storage: sampler::StorageStats { requests: 361, bytes: 362, full: 363, failed: 364 },
        memory: sampler::MemoryStats {
            kept: 333,
            dropped: 334,
            capacity: sampler::Remembered::default(),
            false_positive_rate: 3.35e-7,
            forgotten_early: 336,
            bytes: 337,
        },
        sharing: sampler::SharingStats {
            waiting: 374,
            asked: 385,
            kept_by_others: 386,
            dropped_by_others: 387,
            alone: 388,
            untold: 389,
        },
        relief: sampler::ReliefStats {
            active: 1,
            level: 81,
            activations: 82,
            traces_kept: 83,
            traces_sampled_out: 85,
        },
        late_kept: 307,
        late_sampled_out: 308,
        without_trace: 309,
        below_large_envelope: 310,
        rules: vec![rule("errors", 611, 311), rule("slow", 250, 20), rule("_eviction", 40, 15)],
    };
    let queue = QueueStats {
        queued_requests: 401,
        queued_items: 402,
        queued_bytes: 403,
        in_flight_requests: 404,
        in_flight_items: 405,
        in_flight_bytes: 406,
    };
    let held = sampler::Held {
        spans: 312,
        traces: 313,
        bytes: 314,
        stored_bytes: 365,
        storage_bytes: 366,
    };
    let lane = LaneStats {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        head: Some(sampler::head::HeadStats {
            kept: 381,
            sampled_out: 382,
            adjusted_count: 383.4,
            ..sampler::head::HeadStats::default()
        }),
        sampler: Some((sampler, held)),
        exchange: Some(teleflow::ExchangeStats {
            answered: 391,
            unanswered: 392,
            without_room: 393,
            unreadable: 394,
            calls: 395,
            failures: 396,
            is_down: true,
        }),
        batcher: Some((batcher_stats(501), 516, 517)),
        batchers: vec![("otlp".to_owned(), batcher_stats(521), 536, 537)],
        queues: vec![("otlp".to_owned(), queue)],
    };
    let logs = LaneStats {
        name: "logs".to_owned(),
        signal: Signal::Logs,
        head: lane.head,
        sampler: None,
        exchange: None,
        batcher: None,
        batchers: Vec::new(),
        queues: Vec::new(),
    };
    let with_rules = LaneStats {
        name: "traces/rules".to_owned(),
        head: None,
        batcher: None,
        batchers: Vec::new(),
        queues: Vec::new(),
        ..lane.clone()
    };
    let account = |signal: Signal| Account {
        lane: signal.name().to_owned(),
        signal,
        destination: "otlp".to_owned(),
        accepted: 641,
        recovered: 41,
        delivered: 601,
        sampled_out: 2,
        rejected: 3,
        dropped: BTreeMap::from([("queue_full", 4), ("too_large", 5), ("retries_exhausted", 6)]),
        held: 20,
    };
    let rows = |spans| StoreRows { spans, metric_points: spans + 1, logs: spans + 2 };
    let mut store = StoreStats::default();
    (store.stored, store.evicted) = (rows(701), rows(704));
    Reading {
        stats: Stats {
            receivers: vec![("otlp".to_owned(), snapshot)],
            lanes: vec![lane, with_rules, logs],
        },
        books: Books { accounts: Signal::ALL.map(account).into(), refused: [0; 3] },
        exporters: vec![("otlp".to_owned(), figures())],
        stores: vec![("sqlite".to_owned(), store)],
        adaptive: BTreeSet::from(["traces/rules".to_owned()]),
        reloaded: Reloaded { succeeded: 707, failed: 708, of_restart: 709 },
        log: Offered { written: 801, left_out: 802, failed: 803 },
        uptime: Duration::from_millis(8500),
        usage: Some(Usage { rss: 804, peak_rss: 805, cpu_seconds: 0.5 }),
    }
}
