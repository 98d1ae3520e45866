//! Prints how fast spans become committed rows.
//!
//! ```text
//! cargo run --release -p teleflow-store --example insert_rate -- [SECONDS] [MAX_MIB] [PAYLOAD_SPANS]
//! ```
//!
//! The payloads are traces of eight spans with random ids, about 400 bytes of protobuf a span,
//! made before the clock starts. Two of them wait while one is written. With a bound that fills up
//! in the given time, the rate includes eviction.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use teleflow_exporter::Exporter as _;
use teleflow_otlp::{Payload, Signal};
use teleflow_store::{Config, SqliteReader, SqliteStore};

const TRACE_SPANS: usize = 8;
const START: u64 = 1_750_000_000 << 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let seconds = arguments.next().transpose()?.unwrap_or(10);
    let max_mib = arguments.next().transpose()?.unwrap_or(1024);
    let payload_spans = arguments.next().transpose()?.unwrap_or(4096) as usize;

    let folder = tempfile::tempdir_in(".")?;
    let path = folder.path().join("insert_rate.db");
    let store = SqliteStore::open(Config {
        path: path.clone(),
        max_bytes: max_mib << 20,
        max_waiting: NonZeroUsize::new(2).ok_or("no room")?,
        ..Config::default()
    })?;

    // Ids and times are patched into copies of one payload, to leave the writer its core.
    let mut rng = Rng::with_seed(1);
    let template = request(&mut rng, payload_spans).encode_to_vec();
    println!("{} spans a payload, {} bytes a span", payload_spans, template.len() / payload_spans);
    let (cpu, start) = (writer_cpu(), Instant::now());
    let end = start + Duration::from_secs(seconds);
    let mut sent = 0_u64;
    let mut waiting = std::collections::VecDeque::new();
    let store = std::sync::Arc::new(store);
    let (mut last, mut largest) = ((start, 0), 0);
    while Instant::now() < end {
        let bytes = Bytes::from(renewed(&template, sent * 10_000, &mut rng));
        let payload = Payload::trusted(Signal::Traces, bytes, payload_spans as u64);
        let exporter = std::sync::Arc::clone(&store);
        waiting.push_back(tokio::spawn(async move { exporter.export(payload).await }));
        sent += payload_spans as u64;
        if waiting.len() == 3
            && let Some(first) = waiting.pop_front()
        {
            first.await??;
        }
        if last.0.elapsed() >= Duration::from_secs(2) {
            let rate = (sent - last.1) as f64 / last.0.elapsed().as_secs_f64();
            largest = largest.max(size_on_disk(&path));
            println!("{:>4} s: {rate:>8.0} spans/s", start.elapsed().as_secs());
            last = (Instant::now(), sent);
        }
    }
    for export in waiting {
        export.await??;
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), writer_cpu().zip(cpu));
    store.shutdown().await?;

    let stats = store.stats();
    let bytes = std::fs::metadata(&path)?.len();
    let reader = SqliteReader::open(&path)?;
    let rows = reader.span_count()?;
    let start = Instant::now();
    let slowest = reader.slowest_trace(true)?.ok_or("no root")?;
    println!("slowest trace found in {:.1?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(reader.trace(&slowest)?.len(), TRACE_SPANS);
    println!("its spans found in {:.1?}", start.elapsed());
    println!("{} bytes at most on disk, of {}", largest, max_mib << 20);
    println!("{sent} spans in {elapsed:.2} s, {} transactions", stats.transactions);
    println!(
        "{rows} in the file, {} evicted, {bytes} bytes, {} a span",
        stats.evicted.spans,
        bytes / rows
    );
    println!("insert_rate: {:.0} spans/s", sent as f64 / elapsed);
    if let Some((after, before)) = cpu {
        println!(
            "insert_rate_cpu: {:.0} spans per CPU second of the writer",
            sent as f64 / (after - before)
        );
    }
    assert_eq!(stats.stored.spans, sent);
    assert_eq!(rows + stats.evicted.spans, sent);
    Ok(())
}

/// What the three files of the database take.
fn size_on_disk(path: &Path) -> u64 {
    let size = |suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    ["", "-wal", "-shm"].map(size).iter().sum()
}

/// The CPU time in seconds of all threads but this one, where the system tells it as Linux does.
fn writer_cpu() -> Option<f64> {
    let seconds = |path| {
        let stat = std::fs::read_to_string(path).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks: [u64; 2] = [fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?];
        Some((ticks[0] + ticks[1]) as f64 / 100.0)
    };
    Some(seconds("/proc/self/stat")? - seconds("/proc/thread-self/stat")?)
}

/// Trace ids are found by a mark that the template leaves in them.
const MARK: [u8; 6] = *b"\xfftrace";

/// A copy with new trace ids, and with all times later by `delay` nanoseconds.
fn renewed(template: &[u8], delay: u64, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = template.to_vec();
    // Spans of a trace are in the payload one behind the other.
    let (mut spans, mut id) = (0, [0; 8]);
    // The upper half of each time is the same; it takes four seconds to change.
    let times = &START.to_le_bytes()[4..];
    for at in 4..bytes.len() - MARK.len() {
        if bytes[at..].starts_with(&MARK) {
            if spans % TRACE_SPANS == 0 {
                id = rng.u64(..).to_le_bytes();
            }
            bytes[at..at + 8].copy_from_slice(&id);
            spans += 1;
        } else if &bytes[at..at + 4] == times
            && let Ok(time) = <[u8; 8]>::try_from(&template[at - 4..at + 4])
        {
            let time = u64::from_le_bytes(time) + delay;
            bytes[at - 4..at + 4].copy_from_slice(&time.to_le_bytes());
        }
    }
    bytes
}

fn request(rng: &mut Rng, spans: usize) -> ExportTraceServiceRequest {
    let services = ["frontend", "cart", "checkout", "payment"];
    let resource_spans = services
        .iter()
        .map(|service| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", service),
                    text("service.version", "1.4.2"),
                    text("telemetry.sdk.language", "rust"),
                    text("host.name", "ip-10-0-3-17"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "shop".to_owned(),
                    version: "0.3.0".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: (0..spans / services.len()).map(|i| span(rng, i)).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

fn span(rng: &mut Rng, i: usize) -> Span {
    let start = START + i as u64 * 1_000;
    let mut trace_id = MARK.to_vec();
    trace_id.resize(16, 7);
    Span {
        trace_id,
        span_id: rng.u64(1..).to_le_bytes().to_vec(),
        parent_span_id: match i % TRACE_SPANS {
            0 => Vec::new(),
            _ => rng.u64(1..).to_le_bytes().to_vec(),
        },
        name: "POST /api/v1/checkout/{id}".to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + rng.u64(..200_000_000),
        attributes: vec![
            text("http.request.method", "POST"),
            text("http.route", "/api/v1/checkout/{id}"),
            text("url.path", "/api/v1/checkout/8f14e45fceea167a"),
            text("server.address", "checkout.internal"),
            number("http.response.status_code", 200),
            number("server.port", 8443),
            number("app.cart.items", rng.i64(1..20)),
            text("enduser.id", &format!("user-{}", rng.u32(..))),
        ],
        events: match i % 4 {
            0 => vec![Event {
                time_unix_nano: start + 10,
                name: "cache.miss".to_owned(),
                attributes: vec![text("cache.key", "cart:8f14e45fceea167a")],
                ..Event::default()
            }],
            _ => Vec::new(),
        },
        status: Some(Status { code: i32::from(i.is_multiple_of(50)) * 2, message: String::new() }),
        flags: 0x101,
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
