use super::*;

const CONFIG: &str = "
receivers: { otlp: { protocols: { grpc: } } }
processors:
  batch: { timeout: 1s }
  tail_sampling:
    decision_wait: 10s
    policies:
      - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
      - { name: some, type: probabilistic, probabilistic: { sampling_percentage: 10 } }
  tail_sampling/unused:
    policies: [{ name: all, type: always_sample }]
exporters: { debug: , sqlite: { path: a.db } }
extensions: { admin: , file_storage: { directory: d } }
service:
  extensions: [admin, file_storage]
  pipelines:
    traces: { receivers: [otlp], processors: [tail_sampling, batch], exporters: [debug] }
    traces/2: { receivers: [otlp], processors: [tail_sampling], exporters: [debug] }
    logs: { receivers: [otlp], exporters: [debug] }
";

fn parse(text: &str) -> Config {
    Config::parse("f", text, &|_| None).unwrap().0
}

/// What changes where this is written in place of that: what of the samplers, and what takes a
/// restart.
#[track_caller]
fn difference(replaced: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let new = replaced.iter().fold(CONFIG.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let mut running = Running::new(&parse(CONFIG));
    let new = parse(&new);
    let found = running.difference(&new);
    let of_restart: Vec<_> = found.of_restart.iter().cloned().collect();
    let said = found.samplers.iter();
    let said = said.map(|change| format!("{}: {}", change.lane, change.what.join(", ")));
    let said = said.collect();
    // What is applied is no difference any more, and what is not still is.
    found.samplers.into_iter().for_each(|change| running.note(change));
    let again = running.difference(&new);
    assert_eq!(again.samplers, []);
    assert_eq!(again.of_restart.into_iter().collect::<Vec<_>>(), of_restart);
    (said, of_restart)
}

#[track_caller]
fn check(replaced: &[(&str, &str)], samplers: &[&str], of_restart: &[&str]) {
    let (said, restart) = difference(replaced);
    assert_eq!((&said[..], &restart[..]), (&owned(samplers)[..], &owned(of_restart)[..]));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_file_that_says_the_same_differs_in_nothing() {
    check(&[], &[], &[]);
    // What does not run, and how it is written, is of no account.
    check(
        &[("a.db", "b.db"), ("name: all", "name: every"), ("\nprocessors:", "\n\nprocessors:")],
        &[],
        &[],
    );
}

#[test]
fn what_samplers_do_can_change_while_they_run() {
    let both = |what: &str| [format!("traces: {what}"), format!("traces/2: {what}")];
    for (from, to, what) in [
        ("decision_wait: 10s", "decision_wait: 5s", "decision_wait"),
        ("decision_wait: 10s", "record_policy: true", "decision_wait, record_policy"),
        (
            "decision_wait: 10s",
            "decision_wait: 10s\n    dry_run: true\n    stress_relief: {}\n    record_host: h\n    record_counts: all",
            "stress_relief, record_counts, record_host, dry_run",
        ),
        ("percentage: 10", "percentage: 20", "policies (some is changed)"),
        ("name: some", "name: ten", "policies (ten is added, some is removed)"),
    ] {
        let both = both(what);
        check(&[(from, to)], &both.each_ref().map(|text| &**text), &[]);
    }
    let order = [("name: errors", "name: x"), ("name: some", "name: errors")];
    let said = "policies (x is added, errors is changed, some is removed)";
    check(&order, &both(said).each_ref().map(|text| &**text), &[]);
}

#[test]
fn a_pipeline_may_have_another_sampler() {
    check(
        &[("[tail_sampling], ", "[tail_sampling/unused], ")],
        &["traces/2: decision_wait, policies (all is added, errors is removed, some is removed)"],
        &[],
    );
}

#[test]
fn policies_in_another_order_are_no_longer_the_same() {
    let running = Running::new(&parse(CONFIG));
    let mut new = parse(CONFIG);
    for processor in new.processors.values_mut() {
        if let Processor::TailSampling(tail) = processor {
            tail.policies.reverse();
        }
    }
    let found = running.difference(&new);
    assert_eq!(found.samplers[0].what, ["policies (in another order)"]);
}

#[test]
fn everything_else_takes_a_restart_and_is_named() {
    for (from, to, named) in [
        ("{ grpc: }", "{ http: }", "receivers.otlp"),
        ("timeout: 1s", "timeout: 2s", "processors.batch"),
        ("debug: ,", "debug: { verbosity: normal },", "exporters.debug"),
        ("admin: ,", "admin: { endpoint: ':1' },", "extensions.admin"),
        ("[admin, file", "[file", "service.extensions"),
        ("logs: {", "logs: { follows: traces,", "service.pipelines.logs.follows"),
        ("logs: {", "logs/2: {", "service.pipelines.logs, service.pipelines.logs/2"),
        ("[tail_sampling, batch]", "[tail_sampling]", "service.pipelines.traces.processors"),
        ("[tail_sampling], ", "[], ", "service.pipelines.traces/2.processors"),
        (
            "logs: { receivers: [otlp], ",
            "logs: { receivers: [otlp], processors: [batch], ",
            "service.pipelines.logs.processors",
        ),
        (
            "service:",
            "service:\n  telemetry: { logs: { level: warn } }",
            "service.telemetry.logs.level",
        ),
        (
            "decision_wait: 10s",
            "decision_wait: 10s\n    num_shards: 2",
            "processors.tail_sampling.num_shards",
        ),
        (
            "decision_wait: 10s",
            "decision_wait: 10s\n    decision_cache: { shared: { endpoint: 'redis://a' } }",
            "processors.tail_sampling.decision_cache.shared",
        ),
        (
            "decision_wait: 10s",
            "decision_wait: 10s\n    tail_storage: file_storage",
            "processors.tail_sampling.tail_storage",
        ),
    ] {
        let (samplers, of_restart) = difference(&[(from, to)]);
        assert_eq!((samplers, of_restart.join(", ")), (Vec::new(), named.to_owned()), "{to}");
    }
    check(
        &[("exporters: [debug] }\n    traces/2", "exporters: [sqlite] }\n    traces/2")],
        &[],
        &["service.pipelines.traces.exporters"],
    );
}

#[test]
fn what_can_change_does_although_the_rest_takes_a_restart() {
    check(
        &[("decision_wait: 10s", "decision_wait: 5s\n    num_shards: 3"), ("1s", "2s")],
        &["traces: decision_wait", "traces/2: decision_wait"],
        &["processors.batch", "processors.tail_sampling.num_shards"],
    );
}

#[test]
fn what_is_shared_stays_though_the_cache_beside_it_changes() {
    check(
        &[(
            "decision_wait: 10s",
            "decision_wait: 10s\n    decision_cache: { sampled_cache_size: 9, shared: { endpoint: 'redis://a' } }",
        )],
        &["traces: decision_cache", "traces/2: decision_cache"],
        &["processors.tail_sampling.decision_cache.shared"],
    );
}
