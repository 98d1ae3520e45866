//! What does it cost to hand a payload to the batcher, against the queues that others hand theirs
//! to; and what is batching for?

use std::hint::black_box;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks,
    SpanProcessor,
};
use teleflow_batcher::{Batch, Batcher, Config, OnFull, PartitionConfig, Partitioned};
use teleflow_benches::alloc::{self, Counting};
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_otlp::{Payload, Signal};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Payloads handed over in a row: the batch size of the OpenTelemetry SDK, and what its queue of
/// 2048 takes without loss.
const BURST: usize = 512;

/// How often each side is timed.
const SAMPLES: usize = 301;

fn main() -> io::Result<()> {
    let mut report = Report::new("batcher");
    offer(&mut report);
    partitions(&mut report);
    against_simple(&mut report);
    report.publish().map(drop)
}

/// Ways of handing over, each with what has to be there before and what is left to do after.
trait Way {
    /// What is handed over.
    type Item;
    fn prepare(&mut self) -> Vec<Self::Item>;
    /// Timed.
    fn hand_over(&mut self, items: &mut Vec<Self::Item>);
    /// Empties whatever took the items.
    fn clear(&mut self);
}

fn offer(report: &mut Report) {
    let mut ours = Ours::new();
    let mut locked = Locked(Arc::new(Mutex::new(Ours::new())));
    let (mut tokio, mut crossbeam, mut sdk) = (Tokio::new(), Crossbeam::new(), Sdk::new());
    let (mut tokio_batch, mut crossbeam_batch) =
        (Collected::new(Tokio::new()), Collected::new(Crossbeam::new()));
    let mut samples: [Vec<f64>; 7] = Default::default();
    // All take turns, so that whatever else the machine does slows all of them.
    for _ in 0..SAMPLES {
        samples[0].push(burst(&mut ours));
        samples[1].push(burst(&mut locked));
        samples[2].push(burst(&mut tokio));
        samples[3].push(burst(&mut crossbeam));
        samples[4].push(burst(&mut sdk));
        samples[5].push(burst(&mut tokio_batch));
        samples[6].push(burst(&mut crossbeam_batch));
    }
    let [ours_ns, locked_ns, tokio_ns, crossbeam_ns, sdk_ns, tokio_batch_ns, crossbeam_batch_ns] =
        samples.map(median);
    for (name, rival, theirs) in [
        ("sdk", "opentelemetry_sdk 0.33 BatchSpanProcessor::on_end", sdk_ns),
        ("tokio", "tokio mpsc try_send", tokio_ns),
        ("crossbeam", "crossbeam-channel try_send", crossbeam_ns),
        ("tokio_batch", "tokio mpsc, received into a Vec", tokio_batch_ns),
        ("crossbeam_batch", "crossbeam-channel, received into a Vec", crossbeam_batch_ns),
    ] {
        for (form, value) in [("offer", ours_ns), ("offer_locked", locked_ns)] {
            let rival = Some(Rival { name: rival, value: theirs });
            let metric = format!("batcher/{form}/{name}");
            report.row(metric, "ns/payload", Better::Lower, value, rival);
        }
    }
    let rival = Rival { name: "opentelemetry_sdk", value: allocations(&mut sdk) };
    let metric = "batcher/offer/allocations";
    report.row(metric, "allocations", Better::Lower, allocations(&mut ours), Some(rival));
    report.note(
        "bursts of 512 prebuilt items from one producer; `offer_locked` is behind a std Mutex that \
         nobody else holds, for what several producers share; merging is in our figures, while the \
         SDK's thread and, but for the rows `_batch`, a channel's receiver are not in the rivals'",
    );
}

fn burst(way: &mut impl Way) -> f64 {
    let mut items = way.prepare();
    let start = Instant::now();
    way.hand_over(&mut items);
    let took = start.elapsed();
    way.clear();
    took.as_nanos() as f64 / BURST as f64
}

fn allocations(way: &mut impl Way) -> f64 {
    let mut items = way.prepare();
    let ((), counted) = alloc::count(|| way.hand_over(&mut items));
    way.clear();
    counted.allocations as f64 / BURST as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// One span of 500 bytes, as received.
fn payload() -> Payload {
    static REQUEST: [u8; 506] = {
        // ResourceSpans { ScopeSpans { Span { name } } }, each with a length of two bytes.
        let mut request = [b'n'; 506];
        let head = [0x0a, 0xf7, 0x03, 0x12, 0xf4, 0x03, 0x12, 0xf1, 0x03, 0x2a, 0xee, 0x03];
        let mut at = 0;
        while at < head.len() {
            request[at] = head[at];
            at += 1;
        }
        request
    };
    Payload::trusted(Signal::Traces, Bytes::from_static(&REQUEST), 1)
}

fn payloads() -> Vec<Payload> {
    (0..BURST).map(|_| payload()).collect()
}

struct Ours {
    batcher: Batcher,
    out: Vec<Payload>,
}

impl Ours {
    fn new() -> Self {
        let config = Config::hybrid(BURST as u64, Duration::from_secs(5));
        Self {
            batcher: Batcher::new(Signal::Traces, config).expect("its limits make sense"),
            out: Vec::with_capacity(4),
        }
    }
}

impl Way for Ours {
    type Item = Payload;

    fn prepare(&mut self) -> Vec<Payload> {
        payloads()
    }

    fn hand_over(&mut self, items: &mut Vec<Payload>) {
        let now = Instant::now();
        for payload in items.drain(..) {
            self.batcher.offer(now, payload, &mut self.out);
        }
    }

    fn clear(&mut self) {
        assert_eq!((self.out.len(), self.batcher.items()), (1, 0), "one batch a burst");
        self.out.clear();
    }
}

struct Locked(Arc<Mutex<Ours>>);

impl Way for Locked {
    type Item = Payload;

    fn prepare(&mut self) -> Vec<Payload> {
        payloads()
    }

    fn hand_over(&mut self, items: &mut Vec<Payload>) {
        let now = Instant::now();
        for payload in items.drain(..) {
            let Ours { batcher, out } = &mut *self.0.lock().expect("nobody panics with it");
            batcher.offer(now, payload, out);
        }
    }

    fn clear(&mut self) {
        self.0.lock().expect("nobody panics with it").clear();
    }
}

struct Tokio(tokio::sync::mpsc::Sender<Payload>, tokio::sync::mpsc::Receiver<Payload>);

impl Tokio {
    fn new() -> Self {
        let (sender, receiver) = tokio::sync::mpsc::channel(2048);
        Self(sender, receiver)
    }
}

impl Way for Tokio {
    type Item = Payload;

    fn prepare(&mut self) -> Vec<Payload> {
        payloads()
    }

    fn hand_over(&mut self, items: &mut Vec<Payload>) {
        for payload in items.drain(..) {
            assert!(self.0.try_send(payload).is_ok(), "there is room");
        }
    }

    fn clear(&mut self) {
        while let Ok(payload) = self.1.try_recv() {
            black_box(payload);
        }
    }
}

struct Crossbeam(crossbeam_channel::Sender<Payload>, crossbeam_channel::Receiver<Payload>);

impl Crossbeam {
    fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(2048);
        Self(sender, receiver)
    }
}

impl Way for Crossbeam {
    type Item = Payload;

    fn prepare(&mut self) -> Vec<Payload> {
        payloads()
    }

    fn hand_over(&mut self, items: &mut Vec<Payload>) {
        for payload in items.drain(..) {
            assert!(self.0.try_send(payload).is_ok(), "there is room");
        }
    }

    fn clear(&mut self) {
        self.1.try_iter().for_each(|payload| drop(black_box(payload)));
    }
}

/// A channel, and the batch that its receiver makes.
struct Collected<C> {
    channel: C,
    batch: Vec<Payload>,
}

trait Channel: Way<Item = Payload> {
    fn receive(&mut self) -> Option<Payload>;
}

impl<C> Collected<C> {
    fn new(channel: C) -> Self {
        Self { channel, batch: Vec::new() }
    }
}

impl<C: Channel> Way for Collected<C> {
    type Item = Payload;

    fn prepare(&mut self) -> Vec<Payload> {
        self.channel.prepare()
    }

    fn hand_over(&mut self, items: &mut Vec<Payload>) {
        self.channel.hand_over(items);
        while let Some(payload) = self.channel.receive() {
            self.batch.push(payload);
        }
    }

    fn clear(&mut self) {
        assert_eq!(self.batch.len(), BURST);
        self.batch = Vec::new();
    }
}

impl Channel for Tokio {
    fn receive(&mut self) -> Option<Payload> {
        self.1.try_recv().ok()
    }
}

impl Channel for Crossbeam {
    fn receive(&mut self) -> Option<Payload> {
        self.1.try_recv().ok()
    }
}

/// The SDK's processor with its default queue, and an exporter that costs nothing.
struct Sdk(BatchSpanProcessor, SpanData);

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(black_box(batch));
        Ok(())
    }
}

impl Sdk {
    fn new() -> Self {
        // Only `force_flush` exports: it is outside of what is timed.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(2048)
            .with_max_export_batch_size(2048)
            .with_scheduled_delay(Duration::from_secs(3600))
            .build();
        let processor = BatchSpanProcessor::builder(Nowhere).with_batch_config(config).build();
        let (trace, span) = (TraceId::from(1), SpanId::from(1));
        let sampled = TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, sampled, false, TraceState::default());
        let span = SpanData {
            span_context: context,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: "GET /".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: Default::default(),
        };
        Self(processor, span)
    }
}

impl Way for Sdk {
    type Item = SpanData;

    fn prepare(&mut self) -> Vec<SpanData> {
        vec![self.1.clone(); BURST]
    }

    fn hand_over(&mut self, items: &mut Vec<SpanData>) {
        for span in items.drain(..) {
            self.0.on_end(span);
        }
    }

    fn clear(&mut self) {
        self.0.force_flush().expect("the exporter never fails");
    }
}

/// A thousand keys, all alive: what finding the right one costs.
fn partitions(report: &mut Report) {
    const KEYS: usize = 1000;
    const ROUNDS: usize = 16;
    let keys: Vec<Arc<[u8]>> =
        (0..KEYS).map(|n| Arc::from(format!("tenant-{n}").as_bytes())).collect();
    let each = Config::hybrid(ROUNDS as u64, Duration::from_secs(5));
    let config = PartitionConfig { on_full: OnFull::Evict, ..PartitionConfig::default() };
    let mut batchers: Partitioned<Arc<[u8]>> =
        Partitioned::new(Signal::Traces, each, config).expect("its limits make sense");
    let mut out: Vec<Batch<Arc<[u8]>>> = Vec::with_capacity(KEYS);
    let mut samples = Vec::new();
    for _ in 0..15 {
        let mut items: Vec<Payload> = (0..KEYS * ROUNDS).map(|_| payload()).collect();
        let start = Instant::now();
        for (index, payload) in items.drain(..).enumerate() {
            batchers.offer(start, &keys[index % KEYS], payload, None, &mut out);
        }
        samples.push(start.elapsed().as_nanos() as f64 / (KEYS * ROUNDS) as f64);
        assert_eq!(out.len(), KEYS, "one batch a key");
        out.clear();
    }
    report.row("batcher/partitioned", "ns/payload", Better::Lower, median(samples), None);
    report.note("`partitioned` has 1000 keys in turn; it has no rival here");
}

/// Items a second against a backend that takes 10 ms a call, on a simulated clock: the figures are
/// the same on every machine.
fn against_simple(report: &mut Report) {
    let rate = |config: Config| {
        let mut batcher = Batcher::new(Signal::Traces, config).expect("its limits make sense");
        let (start, mut out, items) = (Instant::now(), Vec::new(), 20 * BURST);
        let mut now = start;
        for _ in 0..items {
            batcher.offer(now, payload(), &mut out);
            now += Duration::from_millis(10) * u32::try_from(out.len()).unwrap_or(u32::MAX);
            out.clear();
        }
        assert_eq!(batcher.items(), 0, "the last batch is full");
        items as f64 / (now - start).as_secs_f64()
    };
    let ours = rate(Config::hybrid(BURST as u64, Duration::from_secs(5)));
    let rival = Rival { name: "each by itself", value: rate(Config::simple()) };
    report.row("batcher/against_simple", "items/s", Better::Higher, ours, Some(rival));
}
