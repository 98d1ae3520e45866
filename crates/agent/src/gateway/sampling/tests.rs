use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use teleflow::otlp::span::StatusCode;
use teleflow::sampler::{Output, Policies, Policy as Kept, Rule as Named, Rules};
use teleflow::{Payload, Signal};

use super::*;

/// Every key of a file.
const FULL: &str = include_str!("../../config/tests/full.yaml");

fn samplers(text: &str) -> Vec<sampler::Config> {
    let config = Config::parse("f", text, &|_| None).unwrap().0;
    config.processors.values().filter_map(sampler).collect()
}

#[test]
fn what_a_file_can_say_the_samplers_can_do() {
    let config = Config::parse("f", FULL, &|_| None).unwrap().0;
    assert_eq!(check("f", &config), Ok(()));
    assert_eq!(samplers(FULL).len(), 3);
}

#[test]
fn a_tail_sampler_is_as_the_file_says() {
    let [adaptive, tail, silent] = &samplers(FULL)[..] else { panic!() };
    let named = |name, policy| Named::new(name, policy);
    let statuses = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    let expected = sampler::Config {
        rules: Rules::Policies(Policies {
            policies: vec![
                named("errors", Kept::Status(statuses.into_iter().collect())),
                named(
                    "slow",
                    Kept::Latency {
                        over: Duration::from_secs(1),
                        up_to: Some(Duration::from_secs(5)),
                    },
                ),
                named("rest", Kept::percent(12.5, "s")),
                named("all", Kept::Always),
            ],
            first_match: true,
            inverted_votes: true,
        }),
        decision_wait: Duration::from_secs(90),
        decision_wait_after_root: Some(Duration::from_secs(5)),
        max_bytes: 64 << 20,
        max_traces: 1000,
        max_trace_spans: Some(5000),
        max_trace_bytes: Some(1 << 20),
        remembered: sampler::Remembered { kept: 1000, dropped: 2000 },
        writes_threshold: false,
        records_policy: true,
        drops_at_end: true,
        blocks_when_full: true,
        relief: Some(Relief {
            threshold: Threshold::from_probability(0.001).unwrap(),
            activation: 0,
            deactivation: 0,
            at_least: Duration::from_secs(60),
        }),
        counts: sampler::Counts::All,
        host: Some("gateway-1".to_owned()),
        dry_run: true,
        ..tail.clone()
    };
    assert_eq!(*tail, expected);
    let default = sampler::Config {
        rules: silent.rules.clone(),
        hash_seed: silent.hash_seed,
        remembered: sampler::Remembered { kept: 50_000, dropped: 50_000 },
        ..sampler::Config::default()
    };
    assert_eq!(*silent, default, "what a file does not say is what the sampler does by itself");
    assert_eq!(tail.hash_seed, adaptive.hash_seed, "and stays so when the file is read again");
}

#[test]
fn an_adaptive_sampler_waits_for_the_root_and_then_some() {
    let adaptive = &samplers(FULL)[0];
    assert_eq!(adaptive.decision_wait, Duration::from_secs(63));
    assert_eq!(adaptive.decision_wait_after_root, Some(Duration::from_secs(3)));
    assert_eq!(adaptive.max_trace_spans, Some(500));
    assert_eq!(adaptive.root_condition.as_deref(), Some("span.name == \"gate\""));
    assert_eq!(adaptive.eviction, Eviction::Ratio(0.2));
    let notes = Notes { decision: false, fingerprint: FingerprintNote::Hash };
    assert_eq!(adaptive.notes, notes);
    assert_eq!(adaptive.remembered, sampler::Remembered { kept: 5, dropped: 0 });
    assert_eq!((adaptive.counts, adaptive.dry_run), (sampler::Counts::Spans, false));
    let threshold = Threshold::from_probability(0.02).unwrap();
    assert_eq!(adaptive.relief, Some(Relief { threshold, ..Relief::default() }));
    assert!(adaptive.writes_threshold && !adaptive.records_policy);
    let Rules::FirstMatch(rules) = &adaptive.rules else { panic!("{adaptive:?}") };
    let kinds = rules.iter().map(|rule| format!("{:?}", rule.sampler));
    let kinds: Vec<_> =
        kinds.map(|kind| kind.split([' ', '(']).next().unwrap().to_owned()).collect();
    let expected = [
        "Always",
        "Never",
        "Ratio",
        "AdaptivePercentage",
        "AdaptiveThroughput",
        "PerKeyThroughput",
        "RateLimit",
    ];
    assert_eq!(kinds, expected);
    // Percentages have become shares.
    let shown = format!("{rules:?}");
    for part in [
        "Ratio(0.125)",
        "goal: 0.05, unit: Spans",
        // Of two gateways each has a half.
        "goal: 50.0, unit: Traces",
        "goal: 2.5, unit: Traces",
        "spans_per_second: 5, burst: 15",
        "root_condition: Some(\"span.name == \\\"gate\\\"\"), trace_length: true, max_keys: 7",
        "has_root: Some(false), min_spans: 2, max_spans: Some(9)",
        "initial: 0.2",
        "max_keys: 50",
        "SameSpan",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_path_leads_to_the_policy_that_it_names_though_names_have_slashes() {
    let text = "
receivers: { otlp: { protocols: { grpc: } } }
processors:
  tail_sampling:
    policies:
      - { name: a, type: always_sample }
      - name: a/b
        type: and
        and:
          and_sub_policy:
            - { name: c, type: always_sample }
            - name: c/d
              type: not
              not:
                not_sub_policy: { type: trace_flags }
exporters: { debug: }
service: { pipelines: { traces: { receivers: [otlp], processors: [tail_sampling], exporters: [debug] } } }
";
    let config = Config::parse("f", text, &|_| None).unwrap().0;
    let (id, processor) = config.processors.iter().next().unwrap();
    let line = |rule: &str| {
        let problem = "is odd".to_owned();
        let error = ConfigError::Rule { rule: rule.to_owned(), problem };
        let errors = ConfigErrors::found("f", [tell(id, processor, &error)]).unwrap().to_string();
        errors.split(':').nth(1).unwrap().parse::<u32>().unwrap()
    };
    for (path, at) in
        [("a", 6), ("a/b", 7), ("a/b/c", 11), ("a/b/c/d", 12), ("a/b/c/d/trace_flags", 15)]
    {
        assert_eq!(line(path), at, "{path}");
    }
    // What leads to nobody is at the outer one, or at the sampler.
    assert_eq!((line("a/b/x"), line("x")), (7, 5));
}

/// What the Collector's documentation shows, and some more.
const ADAPTIVE: &str = r#"
receivers: { otlp: { protocols: { grpc: } } }
processors:
  adaptive_tail_sampling:
    trace_timeout: 30s
    decision_delay: 2s
    num_traces: 1
    eviction: { policy: probabilistic, sampling_percentage: 100 }
    root_span_condition: 'IsRootSpan() or span.attributes["is_root"] == true'
    record_fingerprint: value
    rules:
      - { name: torn, has_root_span: false, span_count: { min_spans: 2 }, sampler: { type: drop } }
      - name: rest
        sampler:
          type: adaptive_throughput
          goal_throughput: 1000
          initial_sampling_percentage: 100
          fingerprint_attributes: ['root.attributes["route"]']
          use_trace_length: true
exporters: { debug: }
service: { pipelines: { traces: { receivers: [otlp], processors: [adaptive_tail_sampling], exporters: [debug] } } }
"#;

#[test]
fn an_adaptive_sampler_does_as_the_file_says() {
    let [config] = &samplers(ADAPTIVE)[..] else { panic!() };
    let mut sampler = TailSampler::new(config.clone()).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    // A root by its attribute; two spans of which none is one; and what makes them go early.
    let spans = |id: u8, parent: &[u8], count| {
        let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.into())) });
        let truth = Some(AnyValue { value: Some(Value::BoolValue(id == 1)) });
        let attributes = vec![
            KeyValue { key: "route".into(), value: text("/pay"), ..KeyValue::default() },
            KeyValue { key: "is_root".into(), value: truth, ..KeyValue::default() },
        ];
        let (trace_id, parent_span_id) = (vec![id; 16], parent.to_vec());
        let span = Span { trace_id, parent_span_id, attributes, ..Span::default() };
        let scope = ScopeSpans { spans: vec![span; count], ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
        Payload::parse(Signal::Traces, request.encode_to_vec().into()).unwrap()
    };
    sampler.offer(start, spans(1, &[7; 8], 1), &mut out);
    sampler.poll(start + Duration::from_secs(2), &mut out);
    sampler.offer(start, spans(2, &[7; 8], 2), &mut out);
    sampler.poll(start + Duration::from_secs(32), &mut out);
    assert_eq!(out.sampled_out, 2, "its root is not there");
    sampler.offer(start, spans(3, &[], 1), &mut out);
    sampler.offer(start, spans(4, &[], 1), &mut out);
    let told = out.kept.iter().flat_map(|payload| {
        let request = ExportTraceServiceRequest::decode(payload.to_bytes()).unwrap();
        let spans = request.resource_spans[0].scope_spans[0].spans.clone();
        spans.into_iter().map(|span| {
            let said = span.attributes[2..].iter().map(|pair| {
                let name = pair.key.strip_prefix("otelcol.processor.adaptive_tail_sampling.");
                let Some(Value::StringValue(said)) = &pair.value.as_ref().unwrap().value else {
                    panic!("{pair:?}")
                };
                format!("{}={said}", name.unwrap())
            });
            (span.trace_id[0], said.collect::<Vec<_>>().join(" "))
        })
    });
    let expected = [
        (1, "rule=rest trigger=root_span fingerprint=/pay•1".to_owned()),
        (3, "rule=_eviction trigger=eviction".to_owned()),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_condition_of_roots_that_does_not_work_is_an_error_of_its_processor() {
    let text = ADAPTIVE.replace("== true", "==");
    let config = Config::parse("f", &text, &|_| None).unwrap().0;
    let error = check("f", &config).unwrap_err().to_string();
    let expected = "f:5:5: processors.adaptive_tail_sampling: the condition of root spans does not \
                    work: `IsRootSpan() or span.attributes[\"is_root\"] ==`: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn what_is_decided_as_it_comes_asks_no_policy_that_needs_the_whole_trace() {
    let text = |policy: &str| {
        format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}
processors:
  tail_sampling:
    sampling_strategy: span-ingest
    policies:
      - {{ name: errors, type: status_code, status_code: {{ status_codes: [ERROR] }} }}
      - {policy}
exporters: {{ debug: }}
service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [tail_sampling], exporters: [debug] }} }} }}
"
        )
    };
    let checked = |policy: &str| {
        let config = Config::parse("f", &text(policy), &|_| None).unwrap().0;
        check("f", &config).map_err(|errors| errors.to_string())
    };
    let slow = "{ name: slow, type: latency, latency: { threshold_ms: 5 } }";
    assert_eq!(checked(slow), Ok(()));
    assert_eq!(samplers(&text(slow))[0].strategy, sampler::Strategy::SpanIngest);
    let within = "{ name: n, type: latency, latency: { threshold_ms: 5, upper_threshold_ms: 9 } }";
    let error = checked(within).unwrap_err();
    for part in ["f:8:", "the policy `n`", "about a part of a trace", "make the trace longer"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn a_share_by_a_hash_is_as_the_file_says() {
    let config = Config::parse("f", FULL, &|_| None).unwrap().0;
    let sampler = config.processors.values().find_map(|processor| match processor {
        Processor::ProbabilisticSampler(sampler) => Some(sampler),
        _ => None,
    });
    let head = probabilistic(sampler.unwrap()).unwrap();
    let attribute = Some("log.id".to_owned());
    let hash = HashSource { seed: 22, takes_trace_id: false, attribute };
    assert_eq!(head.source, Source::Hash(hash));
    assert_eq!(head.undecidable, Undecidable::Keep);
    let of_records = Some("prio".to_owned());
    assert_eq!(head.priority, Priority { of_spans: true, of_records, precision: 6 });
    assert_eq!(format!("{:?}", head.sampler), format!("{:?}", Ratio::of("e".parse().unwrap())));
    // As the Collector, 14 bits: less is nothing.
    let small = ProbabilisticSampler { percentage: 0.005, ..sampler.unwrap().clone() };
    assert_eq!(format!("{:?}", probabilistic(&small).unwrap().sampler), "Never");
}
