//! Valid requests, made to cost many times their bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use teleflow::Signal;

use super::Memory;
use super::cases::gzip;
use super::client::{Client, post};
use crate::admin::get;
use crate::books::Books;
use crate::program::{Program, skipped};
use crate::shutdown::forwarding;
use crate::shutdown::sink::Sink;

/// About so many bytes has each of the larger ones.
const SIZE: usize = 24 * 1024 * 1024;

/// What a request may cost: the gateway holds it, its bookkeeping, and what is written of it.
const ALLOWED: u64 = 4 * SIZE as u64 + 32 * 1024 * 1024;

/// The items of the smaller ones.
const MANY: usize = 200_000;

const PROCESSORS: &str = "
    send_batch_size: 1000
    send_batch_max_size: 1000
  tail_sampling:
    decision_wait: 1s
    policies:
      - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
";

struct Crafted {
    what: &'static str,
    signal: Signal,
    request: Vec<u8>,
    items: u64,
    /// How many of them the sampler keeps.
    kept: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crafted_request_costs_no_more_than_a_few_times_its_bytes() {
    let sink = Sink::open().await;
    let config = forwarding(sink.address, PROCESSORS, "tail_sampling, batch");
    let program = Program::start(&config, &[]);
    let mut client = Client::http2(program.http()).await;
    let (mut accepted, mut delivered) = ([0; 3], [0; 3]);

    // The first makes the program as large as an ordinary request of this size does.
    for Crafted { what, signal, request, items, kept } in all() {
        let len = request.len();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        let before = Memory::of(program.id());
        let body = Bytes::from(gzip(&request));
        drop(request);
        let answer = client.send(post(signal.http_path(), &headers, body)).await.unwrap();
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        accepted[signal.index()] += items;
        delivered[signal.index()] += kept;
        until_nothing_is_held(&program).await;
        match (before, Memory::of(program.id())) {
            (Some(before), Some(after)) => {
                let cost = after.peak.saturating_sub(before.resident);
                println!("{what}: {len} bytes, {items} items, cost {cost}");
                assert!(cost <= ALLOWED, "{what}: {len} bytes cost {cost}: {before:?}, {after:?}");
            }
            _ => skipped("memory under crafted requests", "there is no /proc"),
        }
    }

    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert_eq!(row.accepted, accepted[signal.index()], "{row:?}");
        assert_eq!(row.delivered, delivered[signal.index()], "{row:?}");
        assert_eq!(row.delivered, sink.items(signal), "{row:?}");
        assert_eq!(row.delivered + row.sampled_out, row.accepted, "{row:?}");
    }
}

/// The lane works on after it was answered.
async fn until_nothing_is_held(program: &Program) {
    let held = async || {
        let answer = get(program, "/metrics").await;
        let metrics = String::from_utf8_lossy(&answer.body);
        let rows = metrics.lines().filter(|line| line.starts_with("teleflow_items_held{"));
        rows.map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let emptied = async {
        while held().await > 0 {
            // bounded wait: it works in another process.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), emptied).await.expect("all of it goes on");
}

/// Made one after the other, so that no two are held.
fn all() -> impl Iterator<Item = Crafted> {
    let makers: [fn() -> Crafted; 7] = [
        || {
            let request = field(0x0a, &[0x12, 0].repeat(SIZE / 2));
            Crafted::new("groups without a span", Signal::Traces, request, 0, 0)
        },
        || {
            // Groups in turn, so that no two neighbours are alike, with a span of no bytes each.
            let pair = [0x12, 4, 0x12, 0, 0x1a, 0, 0x12, 2, 0x12, 0];
            let pairs = SIZE / pair.len();
            let request = field(0x0a, &pair.repeat(pairs));
            Crafted::new("groups of one empty span", Signal::Traces, request, 2 * pairs, 0)
        },
        || {
            let request = field(0x0a, &field(0x12, &spans(SIZE / 22, false)));
            Crafted::new("traces of one span", Signal::Traces, request, SIZE / 22, 0)
        },
        || {
            let (what, spans) = ("kept traces below a large resource", spans(MANY, true));
            Crafted::new(what, Signal::Traces, below(900_000, &spans), MANY, MANY)
        },
        || {
            let (what, spans) = ("kept traces below a larger resource", spans(MANY, true));
            Crafted::new(what, Signal::Traces, below(4_000_000, &spans), MANY, MANY)
        },
        || {
            let request = below(2_000_000, &[0x12, 0].repeat(MANY));
            Crafted::new("empty records below a large resource", Signal::Logs, request, MANY, MANY)
        },
        || {
            let gauge = field(0x2a, &[0x0a, 0].repeat(MANY));
            let name = field(0x0a, &vec![b'n'; 2_000_000]);
            let request = field(0x0a, &field(0x12, &field(0x12, &[name, gauge].concat())));
            let what = "empty points of a metric with a long name";
            Crafted::new(what, Signal::Metrics, request, MANY, MANY)
        },
    ];
    makers.into_iter().map(|make| make())
}

impl Crafted {
    fn new(
        what: &'static str,
        signal: Signal,
        request: Vec<u8>,
        items: usize,
        kept: usize,
    ) -> Self {
        Self { what, signal, request, items: items as u64, kept: kept as u64 }
    }
}

/// Spans of a trace each, of the same ids never twice.
fn spans(count: usize, is_error: bool) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let first = NEXT.fetch_add(count as u64, Relaxed);
    (first..).take(count).flat_map(|id| span(id.into(), is_error)).collect()
}

fn field(key: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    prost::encode_length_delimiter(message.len(), &mut out).unwrap();
    out.extend_from_slice(message);
    out
}

/// A span of a trace of its own, with an error or without.
fn span(id: u128, is_error: bool) -> Vec<u8> {
    let status: &[u8] = if is_error { &[0x7a, 2, 0x18, 2] } else { &[] };
    let id = [&[0x0a, 16][..], &id.to_be_bytes()].concat();
    field(0x12, &[&id[..], status].concat())
}

/// A resource with one attribute, so long, and these items below it.
fn below(attribute: usize, items: &[u8]) -> Vec<u8> {
    let key_value = field(0x0a, &vec![b'x'; attribute]);
    let resource = field(0x0a, &field(0x0a, &key_value));
    field(0x0a, &[resource, field(0x12, items)].concat())
}
