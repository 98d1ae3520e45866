//! 100 000 spans, 2 000 alive at any time, with a pool and without.
//!
//! [`Plain`] owns a `String` for each name, key and value, as a span is usually written; [`Strings`]
//! does so too and keeps them, for a pool; [`Texts`] has its texts one behind the other. `spans_100k`
//! is what a tracer gains that goes from the first without a pool to the last with one. How much of
//! that is the pool and how much the layout show the rows in which both sides have the same layout.

use std::collections::VecDeque;
use std::hint::black_box;

use teleflow_benches::alloc;
use teleflow_benches::measure::side_by_side;
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_pool::{List, Pairs, Recycle, SpanRoom, Stats};

const SPANS: usize = 100_000;
const ALIVE: usize = 2000;

const ATTRIBUTES: [(&str, &str); 8] = [
    ("http.request.method", "GET"),
    ("url.path", "/api/v1/customers/42/orders"),
    ("http.response.status_code", "200"),
    ("server.address", "orders.internal.example"),
    ("network.protocol.version", "1.1"),
    ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
    ("db.statement", "SELECT * FROM orders WHERE customer = ?"),
    ("thread.name", "worker-7"),
];

const EVENTS: [&str; 2] = ["connection acquired", "rows fetched"];

const ROOM: SpanRoom = SpanRoom { attributes: 16, events: 8 };

/// A span that is made and written.
trait Made {
    fn made(number: u64) -> Self;
}

/// One that can be written again.
trait Span: 'static {
    fn new(room: SpanRoom) -> Self;

    /// Writes the example into an empty one.
    fn fill(&mut self, number: u64);
}

/// Its texts lie one behind the other.
struct Texts {
    name: String,
    ids: [u64; 3],
    attributes: Pairs,
    event_times: Vec<u64>,
    event_names: Pairs,
}

/// It owns a `String` for each text; lists keep the strings that were in them before.
struct Strings {
    name: String,
    ids: [u64; 3],
    attributes: List<Attribute>,
    events: List<Event>,
}

/// The same as one writes it without a pool.
struct Plain {
    name: String,
    ids: [u64; 3],
    attributes: Vec<Attribute>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Attribute {
    key: String,
    value: String,
}

#[derive(Default)]
struct Event {
    time: u64,
    name: String,
}

pub(crate) fn run(report: &mut Report) {
    let stats = pooled::<Texts>();
    println!("spans: {} created, hit rate {:.1} %", stats.created, 100.0 * stats.hit_rate());
    let no_pool = "no pool, a String each";
    rows(report, "spans_100k", pooled::<Texts>, plain::<Plain>, no_pool);
    rows(report, "spans_100k_texts", pooled::<Texts>, plain::<Texts>, "no pool, the same span");
    rows(report, "spans_100k_strings", pooled::<Strings>, plain::<Plain>, no_pool);
    report.row("pool/spans_100k/created", "spans", Better::Lower, stats.created as f64, None);
    report.row("pool/spans_100k/hit_rate", "share", Better::Higher, stats.hit_rate(), None);
    report.note(
        "spans_100k: without a pool a span owns a String for each name, key and value, the pooled \
         one has them in one text each for attributes and events; _texts and _strings have the \
         same span on both sides",
    );
}

fn rows(report: &mut Report, name: &str, ours: fn() -> Stats, theirs: fn(), rival: &str) {
    let each = |value: f64| value / SPANS as f64;
    let row = |report: &mut Report, part: &str, unit, ours: f64, theirs: f64| {
        let rival = Rival { name: rival, value: each(theirs) };
        let metric = format!("pool/{name}/{part}");
        report.row(metric, unit, Better::Lower, each(ours), Some(rival));
    };
    let (_, counted) = alloc::count(ours);
    let (_, of_theirs) = alloc::count(theirs);
    let (counted, of_theirs) = (counted.allocations as f64, of_theirs.allocations as f64);
    row(report, "allocations", "allocations/span", counted, of_theirs);
    let (ours, theirs) = side_by_side(|| _ = black_box(ours()), theirs);
    row(report, "time", "ns/span", ours, theirs);
}

/// From a cold pool of 10 000.
fn pooled<S: Span + Recycle>() -> Stats {
    let pool = teleflow_pool::spans(S::new).build();
    let mut alive = VecDeque::with_capacity(ALIVE);
    for number in 0..SPANS as u64 {
        if alive.len() == ALIVE {
            alive.pop_front();
        }
        let mut span = pool.acquire();
        span.fill(number);
        black_box(&mut *span);
        alive.push_back(span);
    }
    drop(alive);
    pool.stats()
}

fn plain<S: Made>() {
    let mut alive = VecDeque::with_capacity(ALIVE);
    for number in 0..SPANS as u64 {
        if alive.len() == ALIVE {
            alive.pop_front();
        }
        let mut span = S::made(number);
        black_box(&mut span);
        alive.push_back(span);
    }
}

// === impl Texts ===

impl Span for Texts {
    fn new(room: SpanRoom) -> Self {
        Self {
            name: String::new(),
            ids: [0; 3],
            attributes: Pairs::with_capacity(room.attributes),
            event_times: Vec::with_capacity(room.events),
            event_names: Pairs::with_capacity(room.events),
        }
    }

    fn fill(&mut self, number: u64) {
        self.name.push_str("GET /orders");
        self.ids = [number, number, number];
        for (key, value) in ATTRIBUTES {
            self.attributes.push(key, value);
        }
        for name in EVENTS {
            self.event_times.push(number);
            self.event_names.push(name, "");
        }
    }
}

impl Made for Texts {
    fn made(number: u64) -> Self {
        let mut span = Self::new(ROOM);
        span.fill(number);
        span
    }
}

impl Recycle for Texts {
    fn recycle(&mut self) {
        self.name.clear();
        self.attributes.recycle();
        self.event_times.clear();
        self.event_names.recycle();
    }
}

// === impl Plain ===

impl Made for Plain {
    fn made(number: u64) -> Self {
        let mut span = Self {
            name: String::new(),
            ids: [0; 3],
            attributes: Vec::with_capacity(ROOM.attributes),
            events: Vec::with_capacity(ROOM.events),
        };
        span.name = "GET /orders".to_owned();
        span.ids = [number, number, number];
        for (key, value) in ATTRIBUTES {
            let (key, value) = (key.to_owned(), value.to_owned());
            span.attributes.push(Attribute { key, value });
        }
        for name in EVENTS {
            span.events.push(Event { time: number, name: name.to_owned() });
        }
        span
    }
}

// === impl Strings ===

impl Span for Strings {
    fn new(room: SpanRoom) -> Self {
        Self {
            name: String::new(),
            ids: [0; 3],
            attributes: List::with_capacity(room.attributes),
            events: List::with_capacity(room.events),
        }
    }

    fn fill(&mut self, number: u64) {
        self.name.push_str("GET /orders");
        self.ids = [number, number, number];
        for (key, value) in ATTRIBUTES {
            let attribute = self.attributes.push();
            attribute.key.push_str(key);
            attribute.value.push_str(value);
        }
        for name in EVENTS {
            let event = self.events.push();
            event.time = number;
            event.name.push_str(name);
        }
    }
}

impl Recycle for Strings {
    fn recycle(&mut self) {
        self.name.clear();
        self.attributes.recycle();
        self.events.recycle();
    }
}

impl Recycle for Attribute {
    fn recycle(&mut self) {
        self.key.clear();
        self.value.clear();
    }
}

impl Recycle for Event {
    fn recycle(&mut self) {
        self.name.clear();
    }
}
