//! A small shop that is never closed: the services, requests and faults of the demo.
//!
//! Pure: chance and time are arguments. A trace ends "now" and reaches as far into the past as it
//! took, so that slow ones need no waiting.

use fastrand::Rng;

/// What the demo's services are called. Even ones send over gRPC, odd ones over HTTP.
pub(crate) const SERVICES: [&str; 7] =
    ["storefront", "catalog", "cart", "checkout", "payment", "inventory", "mailer"];

const STOREFRONT: usize = 0;
const CATALOG: usize = 1;
const CART: usize = 2;
const CHECKOUT: usize = 3;
const PAYMENT: usize = 4;
const INVENTORY: usize = 5;
const MAILER: usize = 6;

/// `SpanKind`, as the protocol numbers it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// A finished span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: usize,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) error: Option<&'static str>,
    pub(crate) attributes: Vec<(&'static str, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Str(&'static str),
    Int(i64),
}

/// One step of a request: what it does itself, and whom it calls in between.
struct Step {
    service: usize,
    name: &'static str,
    kind: Kind,
    /// Its own work, in microseconds, at least and at most.
    work: (u64, u64),
    attributes: Vec<(&'static str, Value)>,
    error: Option<&'static str>,
    calls: Vec<Self>,
}

impl Step {
    fn new(service: usize, kind: Kind, name: &'static str, work: (u64, u64)) -> Self {
        Self { service, name, kind, work, attributes: Vec::new(), error: None, calls: Vec::new() }
    }

    fn with(mut self, key: &'static str, value: Value) -> Self {
        self.attributes.push((key, value));
        self
    }

    fn call(mut self, step: Self) -> Self {
        self.calls.push(step);
        self
    }

    fn failed(mut self, message: Option<&'static str>) -> Self {
        self.error = message;
        self
    }
}

/// One request to the shop, as the trace that it leaves behind; the root is the first span.
pub(crate) fn trace(rng: &mut Rng, now: u64) -> Vec<Span> {
    let request = match rng.u8(..10) {
        0..6 => browse(rng),
        6..8 => add_to_cart(rng),
        _ => check_out(rng),
    };
    let mut spans = Vec::new();
    let end = run(&request, None, rng.u128(1..).to_be_bytes(), 0, rng, &mut spans);
    let started = now.saturating_sub(end);
    for span in &mut spans {
        span.start += started;
        span.end += started;
    }
    spans
}

/// Runs a step from `start` on and returns when it ended, in nanoseconds.
fn run(
    step: &Step,
    parent: Option<[u8; 8]>,
    trace_id: [u8; 16],
    start: u64,
    rng: &mut Rng,
    spans: &mut Vec<Span>,
) -> u64 {
    let at = spans.len();
    let span_id = rng.u64(1..).to_be_bytes();
    spans.push(Span {
        service: step.service,
        trace_id,
        span_id,
        parent,
        name: step.name,
        kind: step.kind,
        start,
        end: start,
        error: step.error,
        attributes: step.attributes.clone(),
    });
    let (least, most) = step.work;
    // A few steps take much longer than most, as they do in life.
    let tail = if rng.u8(..20) == 0 { 4 } else { 1 };
    let work = rng.u64(least * 1000..=most * 1000) * tail;
    let mut now = start + work / 2;
    for call in &step.calls {
        now = run(call, Some(span_id), trace_id, now, rng, spans) + rng.u64(5_000..50_000);
    }
    let end = now + work / 2;
    spans[at].end = end;
    end
}

fn server(
    service: usize,
    name: &'static str,
    method: &'static str,
    route: &'static str,
    status: i64,
) -> Step {
    Step::new(service, Kind::Server, name, (200, 2_500))
        .with("http.request.method", Value::Str(method))
        .with("http.route", Value::Str(route))
        .with("url.scheme", Value::Str("https"))
        .with("http.response.status_code", Value::Int(status))
        .with("network.protocol.version", Value::Str("2"))
}

fn query(
    service: usize,
    name: &'static str,
    system: &'static str,
    text: &'static str,
    work: (u64, u64),
) -> Step {
    Step::new(service, Kind::Client, name, work)
        .with("db.system.name", Value::Str(system))
        .with("db.query.text", Value::Str(text))
        .with("server.address", Value::Str("db.internal"))
        .with("server.port", Value::Int(5432))
}

fn browse(rng: &mut Rng) -> Step {
    let missing = rng.u8(..100) == 0;
    let mut catalog = server(CATALOG, "GET /products/{id}", "GET", "/products/{id}", 200)
        .call(query(CATALOG, "GET product", "redis", "GET product:?", (80, 400)));
    if rng.u8(..4) == 0 {
        catalog = catalog.call(query(
            CATALOG,
            "SELECT products",
            "postgresql",
            "SELECT * FROM products WHERE id = $1",
            (800, 9_000),
        ));
    }
    catalog = catalog.failed(missing.then_some("product is not in the index"));
    server(STOREFRONT, "GET /product", "GET", "/product", if missing { 500 } else { 200 })
        .failed(missing.then_some("upstream failed"))
        .call(Step::new(STOREFRONT, Kind::Internal, "render", (500, 4_000)))
        .call(catalog)
}

fn add_to_cart(rng: &mut Rng) -> Step {
    let quantity = rng.i64(1..5);
    server(STOREFRONT, "POST /cart", "POST", "/cart", 200).call(
        server(CART, "PUT /carts/{user}", "PUT", "/carts/{user}", 200)
            .with("cart.quantity", Value::Int(quantity))
            .call(query(CART, "SET cart", "redis", "SET cart:?", (90, 600))),
    )
}

fn check_out(rng: &mut Rng) -> Step {
    let declined = rng.u8(..100) < 6;
    let locked = rng.u8(..100) < 5;
    let lock_wait = if locked { (1_100_000, 2_600_000) } else { (1_000, 12_000) };
    let inventory =
        server(INVENTORY, "POST /reservations", "POST", "/reservations", 201).call(query(
            INVENTORY,
            "UPDATE stock",
            "postgresql",
            "UPDATE stock SET reserved = reserved + $1 WHERE sku = $2",
            lock_wait,
        ));
    let payment =
        server(PAYMENT, "POST /charges", "POST", "/charges", if declined { 402 } else { 200 })
            .with("payment.provider", Value::Str("examplepay"))
            .failed(declined.then_some("card declined by the issuer"))
            .call(
                Step::new(PAYMENT, Kind::Client, "POST api.examplepay.test", (30_000, 180_000))
                    .with("server.address", Value::Str("api.examplepay.test"))
                    .with(
                        "http.response.status_code",
                        Value::Int(if declined { 402 } else { 200 }),
                    ),
            );
    let mut checkout =
        server(CHECKOUT, "POST /orders", "POST", "/orders", if declined { 502 } else { 201 })
            .call(query(
                CHECKOUT,
                "INSERT orders",
                "postgresql",
                "INSERT INTO orders VALUES ($1, $2)",
                (900, 5_000),
            ))
            .call(inventory)
            .call(payment)
            .failed(declined.then_some("payment failed"));
    if !declined {
        checkout = checkout.call(
            Step::new(CHECKOUT, Kind::Producer, "publish order.placed", (200, 900))
                .with("messaging.system", Value::Str("kafka"))
                .call(Step::new(MAILER, Kind::Consumer, "process order.placed", (2_000, 25_000))),
        );
    }
    server(STOREFRONT, "POST /checkout", "POST", "/checkout", if declined { 502 } else { 200 })
        .failed(declined.then_some("checkout failed"))
        .call(checkout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_whole_nested_and_of_every_kind() {
        let mut rng = Rng::with_seed(1);
        let now = 1_750_000_000_000_000_000;
        let (mut errors, mut slow) = (0, 0);
        for _ in 0..2000 {
            let spans = trace(&mut rng, now);
            let root = &spans[0];
            assert!(root.parent.is_none() && root.end == now);
            errors += u32::from(spans.iter().any(|span| span.error.is_some()));
            slow += u32::from(root.end - root.start > 1_000_000_000);
            for span in &spans[1..] {
                let parent = spans.iter().find(|other| Some(other.span_id) == span.parent);
                let parent = parent.expect("every parent is in the trace");
                assert!(parent.start <= span.start && span.end <= parent.end);
                assert_eq!(span.trace_id, root.trace_id);
            }
        }
        assert!(errors > 10 && slow > 5, "{errors} errors and {slow} slow traces");
    }
}
