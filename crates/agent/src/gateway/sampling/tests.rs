use std::time::Duration;

use teleflow::otlp::span::StatusCode;
use teleflow::sampler::{Policies, Policy as Kept, Rule as Named, Rules};

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
    assert_eq!(adaptive.remembered, sampler::Remembered { kept: 5, dropped: 0 });
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
    for part in ["Ratio(0.125)", "goal: 0.05", "initial: 0.2", "max_keys: 50", "SameSpan"] {
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
