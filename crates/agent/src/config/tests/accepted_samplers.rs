//! Tail samplers: what they say, and what they are where they are silent.

use std::time::Duration;

use super::super::*;
use super::{FULL, check, completed, count, parse, reference};

fn policy(name: &str, rule: Rule) -> Policy {
    Policy { name: name.to_owned(), rule, place: Place::default() }
}

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// The policies of a sampler that says nothing else.
#[track_caller]
fn policies(list: &str) -> (Vec<Policy>, Vec<String>) {
    let text = completed(&format!("processors: {{tail_sampling: {{policies: {list}}}}}"));
    let (config, warnings) = parse(&text);
    let Some(Processor::TailSampling(tail)) = config.processors.into_values().next() else {
        panic!("{text}")
    };
    // That the processor is not used is not of interest here.
    let of_policies = warnings.iter().map(Warning::to_string);
    (tail.policies, of_policies.filter(|warning| !warning.contains("not used")).collect())
}

#[test]
fn what_a_tail_sampler_does_not_say_is_as_in_the_collector() {
    let (config, _) = parse(&completed(
        "processors: {tail_sampling: {policies: [{name: a, type: always_sample}]}}",
    ));
    let sampling = TailSampling {
        strategy: Strategy::TraceComplete,
        decision_wait: second(30),
        decision_wait_after_root: None,
        num_traces: count(50_000),
        block_on_overflow: false,
        expected_new_traces_per_sec: 0,
        max_bytes: 256 * 1024 * 1024,
        tail_storage: None,
        max_trace_spans: None,
        max_trace_bytes: None,
        decision_cache: DecisionCache::default(),
        num_shards: 1,
        sample_on_first_match: false,
        drop_pending_traces_on_shutdown: false,
        write_threshold: true,
        record_policy: false,
        inverted_votes: false,
        stress_relief: None,
        recorded: Recorded::default(),
        policies: vec![policy("a", Rule::AlwaysSample)],
        place: Place::default(),
    };
    check(&config.processors, "tail_sampling", Processor::TailSampling(sampling));
}

#[test]
fn a_tail_sampler_says_everything() {
    let (config, _) = parse(FULL);
    let every_code = vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    let (threshold, upper) = (second(1), Some(second(5)));
    let sampling = TailSampling {
        strategy: Strategy::TraceComplete,
        decision_wait: second(90),
        decision_wait_after_root: Some(second(5)),
        num_traces: count(1000),
        block_on_overflow: true,
        expected_new_traces_per_sec: 10,
        max_bytes: 64 * 1024 * 1024,
        tail_storage: Some(reference("pebble_tail_storage")),
        max_trace_spans: Some(5000),
        max_trace_bytes: Some(1024 * 1024),
        decision_cache: DecisionCache {
            sampled_cache_size: 1000,
            non_sampled_cache_size: 2000,
            shared: Some(Shared {
                servers: Servers::One(Secret::new(
                    "rediss://user:hush@redis.example:6380/2".into(),
                )),
                prefix: "mine:".to_owned(),
                ttl: second(600),
                timeout: Duration::from_millis(200),
                grace: second(3),
                ca_file: Some("redis-ca.pem".into()),
                identity: Some(("redis.pem".into(), "redis.key".into())),
                place: Place::default(),
            }),
        },
        num_shards: 4,
        sample_on_first_match: true,
        drop_pending_traces_on_shutdown: true,
        write_threshold: false,
        record_policy: true,
        inverted_votes: true,
        stress_relief: Some(StressRelief {
            is_always: true,
            activation_level: 95,
            deactivation_level: 60,
            sampling_rate: 1000,
            at_least: second(60),
        }),
        recorded: Recorded {
            counts: Counts::All,
            host: Some("gateway-1".to_owned()),
            dry_run: true,
        },
        policies: vec![
            policy("errors", Rule::StatusCode(every_code)),
            policy("slow", Rule::Latency { threshold, upper }),
            policy("rest", Rule::Probabilistic { percentage: 12.5, hash_salt: "s".to_owned() }),
            policy("all", Rule::AlwaysSample),
        ],
        place: Place::default(),
    };
    check(&config.processors, "tail_sampling", Processor::TailSampling(sampling));
}

#[test]
fn stress_relief_is_off_unless_it_is_asked_for() {
    let of = |relief: &str| {
        let policies = "policies: [{name: a, type: always_sample}]";
        let text = format!("processors: {{tail_sampling: {{{relief} {policies}}}}}");
        let config = parse(&completed(&text)).0;
        let Some(Processor::TailSampling(tail)) = config.processors.into_values().next() else {
            panic!("{text}")
        };
        tail.stress_relief
    };
    assert_eq!(of(""), None);
    assert_eq!(of("stress_relief:,"), None);
    assert_eq!(
        of("stress_relief: {mode: never, activation_level: 5, deactivation_level: 1},"),
        None
    );
    let on = of("stress_relief: {mode: monitor},").unwrap();
    assert_eq!(of("stress_relief: {},"), Some(on));
    assert_eq!((on.activation_level, on.deactivation_level, on.sampling_rate), (90, 75, 100));
    assert_eq!(of("stress_relief: {mode: always},"), Some(StressRelief { is_always: true, ..on }));
}

#[test]
fn zero_lifts_a_limit_of_a_tail_sampler() {
    let with = |keys: &str| {
        let keys = format!("{keys} policies: [{{name: a, type: always_sample}}]");
        parse(&completed(&format!("processors: {{tail_sampling: {{{keys}}}}}"))).0
    };
    let zeros =
        "decision_wait_after_root_received: 0, maximum_trace_size_bytes: 0, max_trace_spans: 0,";
    assert_eq!(with(zeros), with(""));
}

#[test]
fn there_is_every_policy_of_the_collector() {
    let (config, _) = parse(FULL);
    let Processor::TailSampling(tail) = &config.processors[&super::id("tail_sampling/policies")]
    else {
        panic!("{config:?}")
    };
    let key = || "k".to_owned();
    let first = policy("first", Rule::StatusCode(vec![StatusCode::Error]));
    let all = policy("all", Rule::AlwaysSample);
    let part = |policy, spans_per_second| Part { policy, spans_per_second };
    let health = Rule::StringAttribute {
        key: "url.path".to_owned(),
        values: texts(&["/health"]),
        is_regex: false,
        is_inverted: false,
    };
    let expected = [
        policy(
            "text",
            Rule::StringAttribute {
                key: key(),
                values: texts(&["a", "b.*"]),
                is_regex: true,
                is_inverted: true,
            },
        ),
        policy(
            "number",
            Rule::NumericAttribute { key: key(), min: Some(-5), max: Some(7), is_inverted: true },
        ),
        policy("truth", Rule::BooleanAttribute { key: key(), value: true, is_inverted: true }),
        policy("count", Rule::SpanCount { min: 2, max: Some(9) }),
        policy("state", Rule::TraceState { key: key(), values: texts(&["a"]) }),
        policy("flags", Rule::TraceFlags),
        policy("spans", Rule::RateLimiting(Rate { per_second: 10, burst: 30 })),
        policy("bytes", Rule::BytesLimiting(Rate { per_second: 1024, burst: 3072 })),
        policy(
            "conditions",
            Rule::OttlCondition {
                error_mode: ErrorMode::Ignore,
                spans: texts(&["span.attributes[\"a\"] == 1", "span.kind == SPAN_KIND_SERVER"]),
                events: texts(&["spanevent.name == \"exception\""]),
            },
        ),
        policy(
            "both",
            Rule::And(vec![
                policy("slow", Rule::Latency { threshold: Duration::from_millis(5), upper: None }),
                policy("no health checks", Rule::Not(Box::new(policy("string_attribute", health)))),
            ]),
        ),
        policy("other", Rule::Not(Box::new(policy("flagged", Rule::TraceFlags)))),
        policy(
            "noise",
            Rule::Drop(vec![policy("probe", Rule::SpanCount { min: 1, max: Some(1) })]),
        ),
        policy(
            "shared",
            Rule::Composite(Composite {
                max_spans_per_second: 1000,
                parts: vec![
                    part(first, 500),
                    // A third: what is not listed, and what is with 0.
                    part(policy("second", Rule::And(vec![all])), 333),
                    part(policy("third", Rule::AlwaysSample), 333),
                ],
            }),
        ),
    ];
    for (policy, expected) in tail.policies.iter().zip(&expected) {
        assert_eq!(policy, expected);
    }
    assert_eq!(tail.policies.len(), expected.len());
}

#[test]
fn what_a_policy_does_not_say_is_as_in_the_collector() {
    let (policies, warnings) = policies(
        "[{name: s, type: string_attribute, string_attribute: {key: k, values: [v]}}, \
          {name: b, type: boolean_attribute, boolean_attribute: {key: k}}, \
          {name: c, type: span_count, span_count: {max_spans: 0}}, \
          {name: r, type: rate_limiting, rate_limiting: {spans_per_second: 7}}, \
          {name: y, type: bytes_limiting, bytes_limiting: {bytes_per_second: 7, burst_capacity: 0}}, \
          {name: o, type: ottl_condition, ottl_condition: {span: ['true']}}, \
          {name: f, type: trace_flags, trace_flags: {}}]",
    );
    let (key, values) = ("k".to_owned(), texts(&["v"]));
    let rules: Vec<_> = policies.into_iter().map(|policy| policy.rule).collect();
    let expected = [
        Rule::StringAttribute { key: key.clone(), values, is_regex: false, is_inverted: false },
        Rule::BooleanAttribute { key, value: false, is_inverted: false },
        Rule::SpanCount { min: 0, max: None },
        Rule::RateLimiting(Rate { per_second: 7, burst: 14 }),
        Rule::BytesLimiting(Rate { per_second: 7, burst: 14 }),
        Rule::OttlCondition {
            error_mode: ErrorMode::Silent,
            spans: texts(&["true"]),
            events: Vec::new(),
        },
        Rule::TraceFlags,
    ];
    assert_eq!(rules, expected);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_zero_that_is_no_bound_is_warned_of() {
    let (read, warnings) = policies(
        "[{name: n, type: numeric_attribute, numeric_attribute: {key: k, min_value: 0, max_value: 9}}]",
    );
    let expected =
        Rule::NumericAttribute { key: "k".to_owned(), min: None, max: Some(9), is_inverted: false };
    assert_eq!(read[0].rule, expected);
    let path = "processors.tail_sampling.policies[0].numeric_attribute.min_value";
    let said = format!(
        "{path} is 0, which is no bound, as in the Collector; an `ottl_condition` can have one of 0"
    );
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("f:1:") && warning.ends_with(&said), "{warning}");
}

#[test]
fn an_order_that_does_nothing_is_warned_of() {
    let (_, warnings) = policies(
        "[{name: c, type: composite, composite: {max_total_spans_per_second: 5, policy_order: [b, a], \
          composite_sub_policy: [{name: a, type: always_sample}, {name: b, type: always_sample}]}}]",
    );
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("policy_order has no effect"), "{warnings:?}");
}

fn rule(name: &str, conditions: &[&str], sampler: RuleSampler) -> MatchRule {
    MatchRule {
        name: name.to_owned(),
        has_root_span: None,
        span_count: (0, None),
        is_same_span: false,
        conditions: texts(conditions),
        sampler,
        place: Place::default(),
    }
}

fn keyed(attributes: &[&str], max_keys: usize) -> Keyed {
    Keyed { attributes: texts(attributes), uses_trace_length: false, max_keys }
}

#[test]
fn what_an_adaptive_sampler_does_not_say_is_as_in_the_collector() {
    let (config, warnings) = parse(&completed(
        "processors: {adaptive_tail_sampling: {rules: [\
           {name: a, sampler: {type: adaptive_percentage, goal_percentage: 5, fingerprint_attributes: [span.a]}}, \
           {name: b, sampler: {type: adaptive_throughput, goal_throughput: 5, fingerprint_attributes: [span.a]}}, \
           {name: c, sampler: {type: adaptive_throughput, algorithm: windowed, goal_throughput: 5, fingerprint_attributes: [span.a]}}, \
           {name: d, sampler: {type: per_key_throughput, goal_throughput: 5, fingerprint_attributes: [span.a], max_keys: 0}}]}}",
    ));
    let warnings: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert!(warnings[1].ends_with("no rule after it is reached"), "{warnings:?}");
    let keyed = || keyed(&["span.a"], 500);
    let throughput = |algorithm| RuleSampler::AdaptiveThroughput {
        goal: 5,
        unit: Unit::Spans,
        keyed: keyed(),
        initial: 10.0,
        algorithm,
    };
    let (interval, weight) = (second(15), 0.5);
    let sampling = AdaptiveTailSampling {
        trace_timeout: second(30),
        decision_delay: second(2),
        num_traces: count(50_000),
        max_bytes: 256 * 1024 * 1024,
        span_limit: Some(10_000),
        decision_cache: DecisionCache {
            sampled_cache_size: 10_000,
            non_sampled_cache_size: 10_000,
            shared: None,
        },
        root_span_condition: None,
        cluster_size: count(1),
        eviction: None,
        records_decision: true,
        record_fingerprint: RecordFingerprint::None,
        stress_relief: None,
        recorded: Recorded::default(),
        rules: vec![
            rule(
                "a",
                &[],
                RuleSampler::AdaptivePercentage {
                    goal: 5.0,
                    unit: Unit::Spans,
                    keyed: keyed(),
                    interval,
                    weight,
                },
            ),
            rule("b", &[], throughput(Algorithm::Ema { interval, weight })),
            rule(
                "c",
                &[],
                throughput(Algorithm::Windowed { update: second(1), lookback: second(30) }),
            ),
            rule(
                "d",
                &[],
                RuleSampler::PerKeyThroughput {
                    goal: 5,
                    unit: Unit::Spans,
                    keyed: Keyed { max_keys: 100_000, ..keyed() },
                    interval: second(10),
                },
            ),
        ],
        place: Place::default(),
    };
    let sampling = Processor::AdaptiveTailSampling(sampling);
    check(&config.processors, "adaptive_tail_sampling", sampling);
}

#[test]
fn an_adaptive_sampler_says_everything() {
    let (config, _) = parse(FULL);
    let errors = [
        "span.status.code == STATUS_CODE_ERROR",
        "resource.attributes[\"service.name\"] == \"pay\"",
    ];
    let sampling = AdaptiveTailSampling {
        trace_timeout: second(60),
        decision_delay: second(3),
        num_traces: count(1000),
        max_bytes: 64 * 1024 * 1024,
        span_limit: Some(500),
        decision_cache: DecisionCache {
            sampled_cache_size: 5,
            non_sampled_cache_size: 0,
            shared: Some(Shared {
                servers: Servers::Cluster(
                    ["redis://a:7000", "redis://b:7001"].map(|at| Secret::new(at.into())).into(),
                ),
                prefix: "teleflow:".to_owned(),
                ttl: second(300),
                timeout: Duration::from_millis(500),
                grace: second(5),
                ca_file: None,
                identity: None,
                place: Place::default(),
            }),
        },
        root_span_condition: Some("span.name == \"gate\"".to_owned()),
        cluster_size: count(2),
        eviction: Some(20.0),
        records_decision: false,
        record_fingerprint: RecordFingerprint::Hash,
        stress_relief: Some(StressRelief {
            is_always: false,
            activation_level: 90,
            deactivation_level: 75,
            sampling_rate: 50,
            at_least: second(10),
        }),
        recorded: Recorded { counts: Counts::Spans, ..Recorded::default() },
        rules: vec![
            MatchRule { is_same_span: true, ..rule("errors", &errors, RuleSampler::Always) },
            MatchRule {
                has_root_span: Some(false),
                span_count: (2, Some(9)),
                ..rule("health", &["span.name == \"health\""], RuleSampler::Drop)
            },
            rule("share", &["span.kind == 1"], RuleSampler::Probabilistic { percentage: 12.5 }),
            rule(
                "percentage",
                &["span.kind == 2"],
                RuleSampler::AdaptivePercentage {
                    goal: 5.0,
                    unit: Unit::Spans,
                    keyed: keyed(&["resource.service.name", "span.http.route"], 50),
                    interval: second(20),
                    weight: 0.25,
                },
            ),
            rule(
                "throughput",
                &["span.kind == 3"],
                RuleSampler::AdaptiveThroughput {
                    goal: 100,
                    unit: Unit::Traces,
                    keyed: keyed(&["root.http.route"], 500),
                    initial: 20.0,
                    algorithm: Algorithm::Windowed { update: second(2), lookback: second(10) },
                },
            ),
            rule(
                "each",
                &["span.kind == 4"],
                RuleSampler::PerKeyThroughput {
                    goal: 5,
                    unit: Unit::Traces,
                    keyed: Keyed { uses_trace_length: true, ..keyed(&["any.a"], 7) },
                    interval: second(5),
                },
            ),
            rule("rest", &[], RuleSampler::RateLimiting(Rate { per_second: 10, burst: 15 })),
        ],
        place: Place::default(),
    };
    let sampling = Processor::AdaptiveTailSampling(sampling);
    check(&config.processors, "adaptive_tail_sampling", sampling);
}

#[test]
fn the_file_says_the_same_wherever_a_policy_is_written() {
    let at = |indent: &str| {
        let text = format!(
            "processors:\n  tail_sampling:\n    policies:{indent}[{{name: a, type: always_sample}}]"
        );
        parse(&completed(&text)).0
    };
    assert_eq!(at(" "), at("\n      "));
}
