//! Rules of which the first that matches decides, through the tail sampler.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use teleflow_sampler::{Algorithm, DynamicSampler, Keys, MatchRule, Rules, Stats, Unit};

use super::*;

fn rule(name: &str, conditions: &[&str], sampler: DynamicSampler) -> MatchRule {
    let conditions = conditions.iter().map(|text| (*text).into()).collect();
    MatchRule { conditions, ..MatchRule::new(name, sampler) }
}

fn of_route(rng: &mut fastrand::Rng, name: &str, route: &str) -> Span {
    let value = Some(AnyValue { value: Some(Value::StringValue(route.into())) });
    let id = rng.u128(1..).to_be_bytes();
    Span {
        attributes: vec![KeyValue { key: "route".into(), value, ..KeyValue::default() }],
        ..span(id, name, StatusCode::Ok)
    }
}

/// Kept spans by name, and the books.
#[derive(Default)]
struct Books {
    kept: BTreeMap<String, u64>,
    accepted: u64,
    delivered: u64,
}

impl Books {
    #[track_caller]
    fn take(&mut self, sampler: &TailSampler, out: &mut Output) {
        for payload in out.kept.drain(..) {
            self.delivered += payload.items();
            let request = ExportTraceServiceRequest::decode(payload.to_bytes()).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|one| one.scope_spans);
            for span in scopes.flat_map(|scope| scope.spans) {
                *self.kept.entry(span.name).or_default() += 1;
            }
        }
        assert_eq!(self.accepted, self.delivered + out.sampled_out + sampler.held().spans);
    }
}

/// 200 traces a second for a minute: 1 in 100 is bad, 1 in 10 a check, the others are of three routes.
fn run(rules: Vec<MatchRule>) -> (Books, Stats) {
    let mut sampler = sampler(Config {
        rules: Rules::FirstMatch(rules),
        decision_wait: Duration::from_secs(1),
        ..Config::default()
    });
    let mut rng = fastrand::Rng::with_seed(4);
    let (start, mut out, mut books) = (Instant::now(), Output::default(), Books::default());
    for n in 0..1200u32 {
        let now = start + Duration::from_millis(50) * n;
        let spans = (0..10).map(|span| {
            let number = n * 10 + span;
            let name = match number % 100 {
                0 => "bad",
                1..=10 => "check",
                _ => "call",
            };
            let route = ["a", "a", "a", "a", "a", "a", "b", "b", "c"][number as usize % 9];
            of_route(&mut rng, name, route)
        });
        sampler.offer(now, request(spans.collect()), &mut out);
        books.accepted += 10;
        sampler.poll(now, &mut out);
        books.take(&sampler, &mut out);
    }
    while !sampler.drain(start + Duration::from_secs(60), &mut out) {
        books.take(&sampler, &mut out);
    }
    books.take(&sampler, &mut out);
    assert_eq!(sampler.held().spans, 0);
    (books, sampler.stats())
}

#[test]
fn each_rule_keeps_what_its_sampler_does_and_the_books_balance() {
    let throughput = DynamicSampler::AdaptiveThroughput {
        goal: 10.0,
        unit: Unit::Traces,
        keys: Keys::new(["span.route"]),
        initial: 0.1,
        algorithm: Algorithm::Ema { interval: Duration::from_secs(5), weight: 0.5 },
    };
    let (books, stats) = run(vec![
        rule("bad", &["span.name == \"bad\""], DynamicSampler::Always),
        rule("checks", &["span.name == \"check\""], DynamicSampler::Never),
        rule("rest", &[], throughput),
    ]);
    assert_eq!(books.kept["bad"], 120);
    assert_eq!(books.kept.get("check"), None);
    let calls = books.kept["call"];
    assert!((540..660).contains(&calls), "{calls} of 10 a second for a minute");
    let told: Vec<_> = stats
        .rules
        .iter()
        .map(|rule| (&*rule.name, rule.traces_seen, rule.traces_kept, rule.spans_kept))
        .collect();
    let expected =
        [("bad", 12_000, 120, 120), ("checks", 11_880, 0, 0), ("rest", 10_680, calls, calls)];
    assert_eq!(told, expected);
    for rule in &stats.rules {
        let seen = rule.sampled.spans + rule.not_sampled.spans;
        assert_eq!((seen, rule.sampled.spans), (rule.traces_seen, rule.spans_kept), "{rule:?}");
        assert_eq!((rule.sampled.bytes, rule.dropped.spans), (rule.bytes_kept, 0), "{rule:?}");
        assert!(rule.not_sampled.bytes > rule.not_sampled.spans, "{rule:?}");
    }
    let learned = stats.rules[2].sampler;
    assert_eq!(learned.keys, 3);
    assert!(learned.intervals >= 11 && learned.last_kept < 100, "{learned:?}");
    assert_eq!(stats.traces_kept, 120 + calls);
}

#[test]
fn what_no_rule_matches_is_left_out() {
    let (books, stats) = run(vec![rule("bad", &["span.name == \"bad\""], DynamicSampler::Always)]);
    assert_eq!(books.kept.into_iter().collect::<Vec<_>>(), [("bad".to_owned(), 120)]);
    assert_eq!(stats.rules[0].traces_seen, 12_000);
    assert_eq!(stats.unmatched, 12_000 - 120);
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let rules = Rules::FirstMatch(vec![rule("half", &[], DynamicSampler::Ratio(50.0))]);
    let error = TailSampler::new(Config { rules, ..Config::default() }).unwrap_err();
    assert_eq!(error.to_string(), "half: the share is 50: it has to be within 0 and 1");
}
