//! Valid requests, made to cost many times their bytes.

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

fn all() -> impl Iterator<Item = Crafted> {
    let traces = |what, (request, items, kept): (Vec<u8>, usize, usize)| Crafted {
        what,
        signal: Signal::Traces,
        request,
        items: items as u64,
        kept: kept as u64,
    };
    let makers: [fn() -> (Vec<u8>, usize, usize); 5] = [
        // Two bytes each, and nothing in them.
        || (field(0x0a, &[0x12, 0].repeat(SIZE / 2)), 0, 0),
        // Groups in turn, so that no two neighbours are alike, with a span of no bytes each.
        || {
            let pair = [0x12, 4, 0x12, 0, 0x1a, 0, 0x12, 2, 0x12, 0];
            (field(0x0a, &pair.repeat(SIZE / pair.len())), SIZE / pair.len() * 2, 0)
        },
        || {
            let spans: Vec<u8> = (1..=SIZE as u128 / 22).flat_map(|id| span(id, false)).collect();
            (field(0x0a, &field(0x12, &spans)), SIZE / 22, 0)
        },
        || {
            let spans: Vec<u8> = (1..=200_000).flat_map(|id| span(id << 64, true)).collect();
            (below(900_000, &spans), 200_000, 200_000)
        },
        || {
            let spans: Vec<u8> = (1..=200_000).flat_map(|id| span(id << 96, true)).collect();
            (below(4_000_000, &spans), 200_000, 200_000)
        },
    ];
    let what = [
        "groups without a span",
        "groups of one empty span",
        "traces of one span",
        "kept traces below a large resource",
        "kept traces below a larger resource",
    ];
    let others: [fn() -> Crafted; 2] = [
        || Crafted {
            what: "records of no bytes below a large resource",
            signal: Signal::Logs,
            request: below(2_000_000, &[0x12, 0].repeat(500_000)),
            items: 500_000,
            kept: 500_000,
        },
        || {
            let gauge = field(0x2a, &[0x0a, 0].repeat(500_000));
            let metric = field(0x12, &[field(0x0a, &vec![b'n'; 2_000_000]), gauge].concat());
            Crafted {
                what: "points of no bytes in a metric with a long name",
                signal: Signal::Metrics,
                request: field(0x0a, &field(0x12, &metric)),
                items: 500_000,
                kept: 500_000,
            }
        },
    ];
    what.into_iter()
        .zip(makers)
        .map(move |(what, make)| traces(what, make()))
        .chain(others.into_iter().map(|make| make()))
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
