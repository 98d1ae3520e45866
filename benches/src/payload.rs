//! Trace requests that look fresh to a sampler and cost the generator a copy.
//!
//! A tail sampler must see new traces all the time, and each trace in more than one request.
//! Encoding that anew for each request would cost the generator more than the gateway spends on
//! it, so the requests are encoded once, as [`VARIANTS`] templates whose trace ids all have a known
//! place. Sending one is a copy and a few hundred stores of 16 bytes.
//!
//! A trace has two parts: its children come in one request, the rest of them and the root in the
//! sequence's next one. Half of each request is the first parts of new traces, the other half the
//! second parts of those that the request before began. One trace in twenty has a span with an
//! error and another one lasts longer than [`SLOW`]: those must be kept by a sampler with these
//! two policies, which the [`Sequence`] counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// How many templates there are, so that neighbours differ in more than their trace ids.
pub const VARIANTS: usize = 32;

/// Fewer are enough where each is large.
const LARGE_VARIANTS: usize = 4;

/// Spans from which on a request is large.
const LARGE: usize = 2048;

/// The bytes of one encoded span, its tag and length included.
pub const SPAN_BYTES: usize = 512;

/// What slow traces last longer than, and all others end well within.
pub const SLOW: Duration = Duration::from_secs(1);

/// The spans in one part of a trace; two parts make the trace.
const PART: usize = 5;

/// The bytes before a gRPC message: not compressed, and the length.
pub const PREFIX: usize = 5;

type TraceId = [u8; 16];

/// The templates of requests of one size.
#[derive(Debug)]
pub struct Payload {
    spans: usize,
    templates: Vec<Template>,
}

/// One lane's requests, in order: each continues the traces that the one before began.
#[derive(Debug)]
pub struct Sequence<'a> {
    payload: &'a Payload,
    next: usize,
    /// The traces begun in the last request, by slot.
    open: Vec<TraceId>,
    random: Rng,
}

/// A framed request and where its trace ids are.
#[derive(Debug)]
struct Template {
    body: Vec<u8>,
    /// The offsets of the trace ids of first and of second parts, with the slot of their trace.
    first: Vec<(usize, usize)>,
    second: Vec<(usize, usize)>,
    /// The spans of the traces that end here and that no sampler may drop.
    must_keep: u64,
}

/// What becomes of a trace; the same for a slot wherever it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ordinary,
    /// Its first part, or its second, has a span with status ERROR.
    Error {
        in_first_part: bool,
    },
    /// Its root lasts twice [`SLOW`].
    Slow,
}

// === impl Payload ===

impl Payload {
    /// Encodes the templates for requests of `spans` spans, an even number.
    ///
    /// # Panics
    ///
    /// An odd number has no half.
    pub fn new(spans: usize) -> Self {
        assert!(spans.is_multiple_of(2), "half of a request continues the one before");
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let variants = if spans < LARGE { VARIANTS } else { LARGE_VARIANTS };
        let template = |variant| {
            let before = (variant + variants - 1) % variants;
            Template::encode(variant, before, spans, started)
        };
        Self { spans, templates: (0..variants).map(template).collect() }
    }

    /// The spans in each request.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Starts the requests of one lane; lanes with other seeds send other traces.
    pub fn sequence(&self, seed: u64) -> Sequence<'_> {
        let mut random = Rng::with_seed(mix(seed));
        // The traces that nobody began: the first request's second parts stand alone.
        let open = (0..slots(self.spans)).map(|_| trace_id(&mut random)).collect();
        Sequence { payload: self, next: random.usize(..self.templates.len()), open, random }
    }
}

// === impl Sequence ===

impl Sequence<'_> {
    /// Replaces `body` by the next request, with its gRPC prefix, and returns how many spans of
    /// the traces that end in it must be kept.
    ///
    /// The first request of a sequence ends traces of which it has only the second part.
    pub fn write(&mut self, body: &mut Vec<u8>) -> u64 {
        let template = &self.payload.templates[self.next];
        self.next = (self.next + 1) % self.payload.templates.len();
        body.clear();
        body.extend_from_slice(&template.body);
        for &(offset, slot) in &template.second {
            body[offset..offset + 16].copy_from_slice(&self.open[slot]);
        }
        for id in &mut self.open {
            *id = trace_id(&mut self.random);
        }
        for &(offset, slot) in &template.first {
            body[offset..offset + 16].copy_from_slice(&self.open[slot]);
        }
        template.must_keep
    }
}

fn trace_id(random: &mut Rng) -> TraceId {
    random.u128(1..).to_le_bytes()
}

// === impl Template ===

impl Template {
    /// Template `variant`, which ends the traces that template `before` began.
    fn encode(variant: usize, before: usize, spans: usize, started: Duration) -> Self {
        let mut encoded = Vec::with_capacity(spans * SPAN_BYTES);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut must_keep = 0;
        for slot in 0..slots(spans) {
            let part = PART.min(spans / 2 - slot * PART);
            // The trace that the request before began in this slot, then a new one.
            let ending = Trace::new(before, slot, slots(spans), part);
            for index in part..2 * part {
                second.push((encoded.len() + TRACE_ID_IN_SPAN, slot));
                ending.encode_span(index, started, &mut encoded);
            }
            if ending.fate != Fate::Ordinary {
                must_keep += 2 * part as u64;
            }
            let beginning = Trace::new(variant, slot, slots(spans), part);
            for index in 0..part {
                first.push((encoded.len() + TRACE_ID_IN_SPAN, slot));
                beginning.encode_span(index, started, &mut encoded);
            }
        }
        let body = request(&encoded);
        // The spans are the end of the message, so all offsets move by the same distance.
        let distance = body.len() - encoded.len();
        for (offset, _) in first.iter_mut().chain(&mut second) {
            *offset += distance;
        }
        Self { body, first, second, must_keep }
    }
}

/// How many traces a request of so many spans continues, and how many it begins.
fn slots(spans: usize) -> usize {
    (spans / 2).div_ceil(PART)
}

// === one trace ===

/// Where a span's trace id stands: behind the span's tag and length, and its own.
const TRACE_ID_IN_SPAN: usize = 3 + 2;

/// What all spans of one trace share.
struct Trace {
    seed: u64,
    /// The spans in each of its two parts.
    part: usize,
    fate: Fate,
}

impl Trace {
    /// The trace that template `variant` begins in `slot`.
    fn new(variant: usize, slot: usize, slots: usize, part: usize) -> Self {
        let number = variant * slots + slot;
        let fate = match number % 20 {
            3 => Fate::Error { in_first_part: (number / 20).is_multiple_of(2) },
            13 => Fate::Slow,
            _ => Fate::Ordinary,
        };
        Self { seed: number as u64, part, fate }
    }

    /// Appends span `index`, tag and length included, as [`SPAN_BYTES`] bytes.
    ///
    /// The root is the last one, as programs export spans when they end.
    fn encode_span(&self, index: usize, started: Duration, out: &mut Vec<u8>) {
        const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
        const ROUTES: [&str; 4] =
            ["/orders/{order}", "/carts/{cart}/items", "/users/{user}", "/search"];
        let root = index + 1 == 2 * self.part;
        let failed = match self.fate {
            Fate::Error { in_first_part: true } => index == 0,
            Fate::Error { in_first_part: false } => index == self.part,
            _ => false,
        };
        let seed = mix(self.seed ^ ((index as u64) << 32));
        let mut pick = Rng::with_seed(seed);
        let route = ROUTES[pick.usize(..ROUTES.len())];
        let lasts = match self.fate {
            Fate::Slow if root => SLOW * 2,
            _ if root => Duration::from_millis(pick.u64(200..400)),
            _ => Duration::from_micros(pick.u64(1_000..80_000)),
        };
        let starts = match root {
            true => started,
            false => started + Duration::from_micros(pick.u64(100..100_000)),
        };
        let ends = starts + lasts;

        let mut span = Vec::with_capacity(SPAN_BYTES);
        bytes(&mut span, 1, &[0; 16]);
        bytes(&mut span, 2, &mix(seed).to_le_bytes());
        if !root {
            let root_seed = mix(self.seed ^ ((2 * self.part as u64 - 1) << 32));
            bytes(&mut span, 4, &mix(root_seed).to_le_bytes());
        }
        bytes(&mut span, 5, route.as_bytes());
        number(&mut span, 6, if root { 2 } else { 3 });
        fixed64(&mut span, 7, nanoseconds(starts));
        fixed64(&mut span, 8, nanoseconds(ends));
        string_attribute(&mut span, 9, "http.request.method", METHODS[pick.usize(..4)]);
        string_attribute(&mut span, 9, "http.route", route);
        string_attribute(&mut span, 9, "server.address", "checkout-api.shop.example.com");
        string_attribute(&mut span, 9, "network.peer.address", "10.20.30.40");
        let status = if failed { 503 } else { 200 };
        int_attribute(&mut span, 9, "http.response.status_code", status);
        int_attribute(&mut span, 9, "server.port", 8443);
        int_attribute(&mut span, 9, "http.response.body.size", pick.u64(..100_000));
        let events = [("cache.lookup", "cache.result", "miss"), ("retry", "retry.reason", "none")];
        for (offset, (name, key, value)) in events.into_iter().enumerate() {
            let mut event = Vec::new();
            let at = starts + Duration::from_micros(10 * (offset as u64 + 1));
            fixed64(&mut event, 1, nanoseconds(at));
            bytes(&mut event, 2, name.as_bytes());
            string_attribute(&mut event, 3, key, value);
            bytes(&mut span, 11, &event);
        }
        let mut code = Vec::new();
        number(&mut code, 3, if failed { 2 } else { 1 });
        bytes(&mut span, 15, &code);

        // The last attribute is as long as it takes to fill the span. It stays so short that its
        // lengths take one byte each, as an empty one's do.
        let missing = SPAN_BYTES - 3 - span.len();
        let mut empty = Vec::new();
        string_attribute(&mut empty, 9, "user_agent.original", "");
        string_attribute(&mut span, 9, "user_agent.original", &AGENT[..missing - empty.len()]);
        let start = out.len();
        bytes(out, 2, &span);
        assert_eq!(out.len() - start, SPAN_BYTES, "a span has one size");
    }
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                     Chrome/140.0.0.0 Safari/537.36";

/// Wraps encoded spans, with their tags, into a request with its gRPC prefix.
fn request(spans: &[u8]) -> Vec<u8> {
    let mut resource = Vec::new();
    string_attribute(&mut resource, 1, "service.name", "checkout");
    string_attribute(&mut resource, 1, "service.version", "1.42.0");
    string_attribute(&mut resource, 1, "service.instance.id", "checkout-7d9c5b8f6-x2x4q");
    string_attribute(&mut resource, 1, "host.name", "node-12.example.com");
    string_attribute(&mut resource, 1, "deployment.environment.name", "production");
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"http.server");
    bytes(&mut scope, 2, b"1.0.0");
    let mut scope_spans = Vec::new();
    bytes(&mut scope_spans, 1, &scope);
    scope_spans.extend_from_slice(spans);
    let mut resource_spans = Vec::new();
    bytes(&mut resource_spans, 1, &resource);
    bytes(&mut resource_spans, 2, &scope_spans);

    let mut body = vec![0; PREFIX];
    bytes(&mut body, 1, &resource_spans);
    let length = u32::try_from(body.len() - PREFIX).expect("a request is far below 4 GiB");
    body[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    body
}

// === protobuf ===

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn string_attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    let mut any = Vec::new();
    bytes(&mut any, 1, value.as_bytes());
    attribute(out, field, key, &any);
}

fn int_attribute(out: &mut Vec<u8>, field: u64, key: &str, value: u64) {
    let mut any = Vec::new();
    number(&mut any, 3, value);
    attribute(out, field, key, &any);
}

fn attribute(out: &mut Vec<u8>, field: u64, key: &str, any: &[u8]) {
    let mut pair = Vec::new();
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, any);
    bytes(out, field, &pair);
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Spreads neighbouring numbers (the finaliser of splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn requests(spans: usize, count: usize) -> (Vec<Vec<u8>>, Vec<u64>) {
        let payload = Payload::new(spans);
        let mut sequence = payload.sequence(7);
        let mut must_keep = Vec::new();
        let bodies = (0..count)
            .map(|_| {
                let mut body = Vec::new();
                must_keep.push(sequence.write(&mut body));
                body
            })
            .collect();
        (bodies, must_keep)
    }

    /// The trace ids of a request, found by its layout: 512 bytes a span, at the end.
    fn trace_ids(body: &[u8], spans: usize) -> Vec<TraceId> {
        let spans = &body[body.len() - spans * SPAN_BYTES..];
        spans
            .chunks(SPAN_BYTES)
            .map(|span| {
                assert_eq!(span[3..5], [0x0a, 16], "a span starts with its trace id");
                span[5..21].try_into().expect("sixteen bytes")
            })
            .collect()
    }

    #[test]
    fn each_trace_is_spread_over_two_requests_and_never_seen_again() {
        for spans in [100, 512] {
            let (bodies, _) = requests(spans, 70);
            let mut seen: HashMap<TraceId, Vec<usize>> = HashMap::new();
            for (index, body) in bodies.iter().enumerate() {
                for id in trace_ids(body, spans) {
                    seen.entry(id).or_default().push(index);
                }
            }
            for places in seen.values() {
                let (first, last) = (places[0], places[places.len() - 1]);
                if last > 0 && first < 69 {
                    assert_eq!(last, first + 1);
                    assert!(places.len() == 2 * PART || places.len() == 2, "{places:?}");
                }
            }
        }
    }

    #[test]
    fn a_tenth_of_the_traces_must_be_kept() {
        for spans in [100, 512] {
            let (_, must_keep) = requests(spans, VARIANTS);
            let share = must_keep.iter().sum::<u64>() as f64 / (VARIANTS * spans) as f64;
            assert!((0.09..0.11).contains(&share), "{share} of {spans}");
        }
    }

    #[test]
    fn a_request_has_no_more_than_its_spans_and_a_few_hundred_bytes() {
        let (bodies, _) = requests(512, 1);
        let overhead = bodies[0].len() - 512 * SPAN_BYTES;
        assert!((200..300).contains(&overhead), "{overhead}");
    }
}
