//! Pipelines refused: what is not there, and what does not fit.

use super::check_refused;

#[test]
fn a_service_has_a_pipeline() {
    check_refused("service:", &["1:1: missing key `service` at the top"]);
    check_refused("service: {}", &["1:1: missing key `pipelines` in service"]);
    check_refused(
        "service: {pipelines: {}}",
        &["1:22: service.pipelines must have at least one pipeline"],
    );
    check_refused(
        "service: {pipelines: []}",
        &["1:22: service.pipelines must be a mapping, got a list"],
    );
}

#[test]
fn a_pipeline_has_a_signal_a_receiver_and_an_exporter() {
    check_refused(
        r"
            service:
              pipelines:
                traces:
                metrics: {}
                logs: {receivers: [], exporters: []}
                spans: {receivers: [otlp], exporters: [debug]}
                profiles: {receivers: [otlp], exporters: [debug]}
                traces/: {receivers: [otlp], exporters: [debug]}",
        &[
            "3:5: missing key `receivers` in service.pipelines.traces",
            "3:5: missing key `exporters` in service.pipelines.traces",
            "4:5: missing key `receivers` in service.pipelines.metrics",
            "4:5: missing key `exporters` in service.pipelines.metrics",
            "5:23: service.pipelines.logs.receivers must have at least one receiver",
            "5:38: service.pipelines.logs.exporters must have at least one exporter",
            "6:5: unknown signal `spans` in service.pipelines; known: logs, metrics, traces",
            "7:5: signal `profiles` in service.pipelines is not supported in this version",
            "8:5: an id in service.pipelines must have a name without spaces after the `/`",
        ],
    );
}

#[test]
fn a_reference_names_what_is_defined_and_names_it_once() {
    check_refused(
        r"
            service:
              pipelines:
                traces: {receivers: [otpl, otlp, otlp], processors: [batch], exporters: [debug/2, [debug], 5], connectors: []}",
        &[
            "3:26: service.pipelines.traces.receivers[0] is `otpl`, which receivers does not define; did you mean `otlp`? defined: otlp",
            "3:38: service.pipelines.traces.receivers names `otlp` a second time",
            "3:58: service.pipelines.traces.processors[0] is `batch`, which processors does not define; processors defines nothing",
            "3:78: service.pipelines.traces.exporters[0] is `debug/2`, which exporters does not define; did you mean `debug`? defined: debug",
            "3:87: service.pipelines.traces.exporters[1] must be text, got a list",
            r#"3:96: service.pipelines.traces.exporters[2] must be text, got the number 5; write "5" if text is meant"#,
            "3:100: unknown key `connectors` in service.pipelines.traces; known: exporters, follows, processors, receivers",
        ],
    );
    check_refused(
        r"
            service:
              extensions: [admin]
              pipelines:
                traces: {receivers: otlp, exporters: [debug]}",
        &[
            "2:16: service.extensions[0] is `admin`, which extensions does not define; extensions defines nothing",
            "4:25: service.pipelines.traces.receivers must be a list, got `otlp`; write it as `[a, b]`",
        ],
    );
}

#[test]
fn a_component_that_was_refused_is_not_refused_again_where_it_is_used() {
    check_refused(
        r"
            exporters:
              kafka:
            processors:
              memory_limiter:
            service:
              pipelines: {traces: {receivers: [otlp], processors: [memory_limiter], exporters: [kafka]}}",
        &[
            "2:3: component `kafka` in exporters is not supported in this version",
            "4:3: component `memory_limiter` in processors is not supported in this version; memory is bounded without it: leave it out",
        ],
    );
}

#[test]
fn sampling_is_for_traces_and_comes_before_batching() {
    check_refused(
        r"
            processors:
              batch:
              batch/2:
              tail_sampling: &t {policies: [{name: a, type: always_sample}]}
              tail_sampling/2: *t
            service:
              pipelines:
                traces: {receivers: [otlp], processors: [batch, tail_sampling], exporters: [debug]}
                traces/2: {receivers: [otlp], processors: [tail_sampling, batch, batch], exporters: [debug]}
                traces/3: {receivers: [otlp], processors: [batch, batch/2], exporters: [debug]}
                traces/4: {receivers: [otlp], processors: [tail_sampling, tail_sampling/2], exporters: [debug]}
                metrics: {receivers: [otlp], processors: [tail_sampling, batch], exporters: [debug]}
                logs/a: {receivers: [otlp], processors: [tail_sampling/2], exporters: [debug]}",
        &[
            "8:53: service.pipelines.traces.processors has `batch` before `tail_sampling`, which has to come first: a batch that is sampled is no longer full",
            "9:70: service.pipelines.traces/2.processors names `batch` a second time",
            "10:55: service.pipelines.traces/3.processors has two processors that batch, `batch` and `batch/2`, one is enough",
            "11:63: service.pipelines.traces/4.processors has two processors that sample, `tail_sampling` and `tail_sampling/2`, write one with the policies of both",
            "12:47: service.pipelines.metrics.processors has `tail_sampling`, which works on traces and not on metrics",
            "13:46: service.pipelines.logs/a.processors has `tail_sampling/2`, which works on traces and not on logs",
        ],
    );
}

#[test]
fn an_http_exporter_knows_where_each_of_its_signals_goes() {
    check_refused(
        r"
            exporters:
              otlphttp: {traces_endpoint: 'http://c/x'}
            service:
              pipelines:
                traces: {receivers: [otlp], exporters: [otlphttp]}
                logs: {receivers: [otlp], exporters: [otlphttp]}",
        &[
            "6:43: service.pipelines.logs.exporters[0] is `otlphttp`, which does not know where logs go; write `endpoint` or `logs_endpoint` in exporters.otlphttp",
        ],
    );
}

#[test]
fn an_extension_runs_if_it_is_ours_and_defined() {
    check_refused(
        r"
            extensions:
              admin: {endpoint: '0.0.0.0', tls: }
              health_check:
            service:
              extensions: [admin, health_check, zpages]
              pipelines: {traces: {receivers: [otlp], exporters: [debug]}}",
        &[
            "2:21: extensions.admin.endpoint must be an address to listen on, got `0.0.0.0`; write the port: `localhost:4317`",
            "2:32: unknown key `tls` in extensions.admin; known: endpoint",
            "3:3: component `health_check` in extensions is not supported in this version; `admin` serves /health",
            "5:37: service.extensions[2] is `zpages`, which extensions does not define; defined: admin, health_check",
        ],
    );
}

#[test]
fn telemetry_is_a_log_level() {
    check_refused(
        r"
            service:
              pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
              telemetry:
                logs: {level: trace, encoding: json}
                metrics: {level: none}
                tracing:",
        &[
            "4:19: service.telemetry.logs.level must be one of: debug, error, info, warn, got `trace`",
            "4:26: key `encoding` in service.telemetry.logs is not supported in this version",
            "5:5: key `metrics` in service.telemetry is not supported in this version; `admin` serves /metrics",
            "6:5: unknown key `tracing` in service.telemetry; known: logs",
        ],
    );
}

#[test]
fn logs_follow_a_pipeline_that_samples_and_that_no_other_follows() {
    check_refused(
        r"
            processors: {batch: , tail_sampling: {policies: [{name: a, type: always_sample}]}}
            service:
              pipelines:
                traces: {receivers: [otlp], processors: [tail_sampling], exporters: [debug]}
                traces/2: {receivers: [otlp], processors: [batch], exporters: [debug], follows: traces}
                logs: {receivers: [otlp], exporters: [debug], follows: traces}
                logs/2: {receivers: [otlp], exporters: [debug], follows: traces}
                logs/3: {receivers: [otlp], exporters: [debug], follows: traces/2}
                logs/4: {receivers: [otlp], exporters: [debug], follows: trace}
                logs/5: {receivers: [otlp], exporters: [debug], follows: [traces]}",
        &[
            "5:76: service.pipelines.traces/2.follows has no effect on traces: only logs follow traces",
            "7:62: service.pipelines.logs/2.follows is `traces`, which `logs` follows already",
            "8:62: service.pipelines.logs/3.follows is `traces/2`, which has no tail sampler",
            "9:62: service.pipelines.logs/4.follows is `trace`, which service.pipelines does not define; did you mean `traces`? defined: traces, traces/2, logs, logs/2, logs/3, logs/4, logs/5",
            "10:62: service.pipelines.logs/5.follows must be text, got a list",
        ],
    );
}

#[test]
fn a_share_is_taken_first_and_once_and_not_of_metrics() {
    check_refused(
        r"
            processors:
              batch:
              probabilistic_sampler: &p {sampling_percentage: 10}
              probabilistic_sampler/2: *p
              probabilistic_sampler/3: {mode: half, sampling_precision: 15, hash_seed: -1, attribute_source: record, sampling_priority: 5}
            service:
              pipelines:
                traces: {receivers: [otlp], processors: [batch, probabilistic_sampler], exporters: [debug]}
                logs: {receivers: [otlp], processors: [probabilistic_sampler, probabilistic_sampler/2], exporters: [debug]}
                metrics: {receivers: [otlp], processors: [probabilistic_sampler], exporters: [debug]}",
        &[
            "5:3: missing key `sampling_percentage` in processors.probabilistic_sampler/3",
            "5:35: processors.probabilistic_sampler/3.mode must be one of: equalizing, hash_seed, proportional, got `half`",
            "5:61: processors.probabilistic_sampler/3.sampling_precision must be a whole number from 1 to 14, got the number 15",
            "5:76: processors.probabilistic_sampler/3.hash_seed must be a whole number from 0 to 4294967295, got the number -1",
            "5:98: processors.probabilistic_sampler/3.attribute_source must be `traceID` without a `from_attribute`, got `record`",
            "5:125: processors.probabilistic_sampler/3.sampling_priority must be text, got the number 5; write \"5\" if text is meant",
            "8:53: service.pipelines.traces.processors has `batch` before `probabilistic_sampler`, which has to come first: it decides about what comes",
            "9:67: service.pipelines.logs.processors has two processors of one kind, `probabilistic_sampler` and `probabilistic_sampler/2`, one is enough",
            "10:47: service.pipelines.metrics.processors has `probabilistic_sampler`, which works on traces and logs and not on metrics",
        ],
    );
}
