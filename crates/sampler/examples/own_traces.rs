//! Keeps a service's own slow and failed traces, and leaves out the rest: the tail sampler without a
//! gateway.
//!
//! The service makes OTLP spans, offers them and polls, all in one thread; time is what it says. Where
//! this program prints, a service hands the payload to its exporter.
//!
//! `cargo run -p teleflow-sampler --example own_traces`

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::{Payload, Scalar, Signal, Writer, span::Span, tree};
use teleflow_sampler::{Config, ConfigError, Output, Policy, Rule, TailSampler};

/// How many requests the service answers, one a millisecond.
const REQUESTS: u64 = 20_000;

fn main() -> Result<(), ConfigError> {
    run(REQUESTS).map(|_| ())
}

/// Answers so many requests, and returns how many spans were kept.
fn run(requests: u64) -> Result<u64, ConfigError> {
    let mut sampler = TailSampler::new(Config {
        rules: vec![
            Rule::new("failed", Policy::errors()),
            Rule::new("slow", Policy::slower_than(Duration::from_millis(250))),
        ]
        .into(),
        // A trace is whole when its root has ended: what comes later is late.
        decision_wait: Duration::from_secs(5),
        decision_wait_after_root: Some(Duration::from_millis(50)),
        max_bytes: 4 * 1024 * 1024,
        ..Config::default()
    })?;
    let (start, mut out) = (Instant::now(), Output::default());
    let (mut offered, mut kept) = (0, 0);
    for request in 0..requests {
        let now = start + Duration::from_millis(request);
        let payload = serve(request);
        offered += payload.items();
        sampler.offer(now, payload, &mut out);
        if sampler.next_deadline().is_some_and(|due| due <= now) {
            sampler.poll(now, &mut out);
        }
        kept += hand_on(&mut out);
    }
    let end = start + Duration::from_millis(requests);
    while !sampler.drain(end, &mut out) {
        kept += hand_on(&mut out);
    }
    kept += hand_on(&mut out);

    let (stats, held) = (sampler.stats(), sampler.held());
    println!("{offered} spans = {kept} kept + {} left out + {} held", out.sampled_out, held.spans);
    for rule in &stats.rules {
        println!("{}: {} traces", rule.name, rule.traces_kept);
    }
    assert_eq!(offered, kept + out.sampled_out + held.spans);
    Ok(kept)
}

/// Answers a request, and tells what that took: three spans, of which the first is the root.
fn serve(request: u64) -> Payload {
    // Every five hundredth waits for the database, and every eight hundredth fails there.
    let took = Duration::from_millis(if request % 500 == 7 { 400 } else { 20 });
    let has_failed = request % 800 == 11;
    let trace_id = u128::from(request + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let start = 1_700_000_000_000_000_000 + request * 1_000_000;

    let mut bytes = Vec::new();
    // ResourceSpans { Resource, ScopeSpans { Span.. } }
    Writer::new(&mut bytes).message(1, |group| {
        group.message(1, |resource| {
            resource.attribute(1, "service.name", Scalar::Str("checkout"));
        });
        group.message(2, |scope| {
            for (number, name) in (1u64..).zip(["POST /pay", "SELECT balance", "render"]) {
                scope.message(2, |span| {
                    span.bytes(1, &trace_id.to_be_bytes());
                    span.bytes(2, &number.to_be_bytes());
                    if number > 1 {
                        span.bytes(4, &1u64.to_be_bytes());
                    }
                    span.str(5, name);
                    span.fixed64(7, start);
                    span.fixed64(8, start + took.as_nanos() as u64 / number);
                    if has_failed && number == 2 {
                        span.message(15, |status| status.uint(3, 2));
                    }
                });
            }
        });
    });
    Payload::trusted(Signal::Traces, Bytes::from(bytes), 3)
}

/// Prints the roots of what was kept. Returns how many spans there were.
fn hand_on(out: &mut Output) -> u64 {
    let mut spans = 0;
    for payload in out.kept.drain(..) {
        spans += payload.items();
        let bytes = payload.to_bytes();
        for scope in tree::resources(&bytes).flat_map(|group| group.scopes()) {
            for span in scope.items().map(|item| Span::read(item.message)) {
                if span.parent_span_id.is_empty() {
                    let millis = (span.end - span.start) / 1_000_000;
                    println!("{}: {millis} ms, {}", span.name, span.trace_state);
                }
            }
        }
    }
    spans
}

#[test]
fn what_was_slow_or_failed_is_kept_whole_and_nothing_else() {
    // 40 were slow and 25 failed, each of three spans.
    assert_eq!(run(REQUESTS), Ok((40 + 25) * 3));
}
