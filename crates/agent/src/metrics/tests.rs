use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};

use teleflow::exporter::QueueConfig;

use self::reading::full;
use super::*;

mod reading;

/// Units that the table may name.
const UNITS: [&str; 21] = [
    "percent",
    "samplers",
    "spans",
    "data points",
    "log records",
    "items",
    "requests",
    "bytes",
    "batches",
    "traces",
    "connections",
    "endpoints",
    "circuit breakers",
    "times",
    "keys",
    "milliseconds",
    "decisions",
    "rows",
    "lines",
    "seconds",
    // Of a queue: as its sizer says.
    "requests, items or bytes",
];

/// A scrape of one of each.
#[derive(Debug)]
struct Fixed(Reading);

impl Collector for Fixed {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Families(encoder))
    }
}

fn text(reading: Reading) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Fixed(reading)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// Of each metric in a text: its labels and what is said of it.
fn families(text: &str) -> BTreeMap<String, (BTreeSet<String>, String)> {
    let mut found = BTreeMap::<_, (BTreeSet<String>, String)>::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').unwrap().1;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let entry = found.entry(name.to_owned()).or_default();
        let labels = labels.split("\",").filter_map(|label| label.split_once('='));
        entry.0.extend(labels.map(|(key, _)| key.to_owned()));
        help.clone_into(&mut entry.1);
    }
    found
}

#[test]
fn every_metric_is_in_the_table_of_the_docs_and_the_other_way_round() {
    let docs = include_str!("../../../../docs/metrics.md");
    let mut documented = BTreeMap::new();
    for line in docs.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, unit, labels, meaning] = cells[..] else { panic!("four cells: {line}") };
        assert!(UNITS.contains(&unit), "{unit} in {line}");
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        let row = (labels, meaning.trim_end_matches('.').to_owned());
        let twice = documented.insert(name.trim_matches('`').to_owned(), row);
        assert!(twice.is_none(), "{line}");
    }
    let exposed = families(&text(full()));
    assert!(exposed.len() > 80, "{}", exposed.len());
    let lacking = exposed.iter().filter(|(name, row)| documented.get(*name) != Some(row));
    let lacking = lacking.map(|(name, (labels, help))| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | UNIT | {} | {help}. |", labels.join(", "))
    });
    let lacking: Vec<_> = lacking.collect();
    assert!(lacking.is_empty(), "docs/metrics.md lacks:\n{}", lacking.join("\n"));
    let gone: Vec<_> = documented.keys().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md has what is not there: {gone:?}");
}

#[test]
fn each_figure_is_under_its_own_name() {
    let text = text(full());
    let otlp = "exporter=\"otlp\"";
    let of_lane = "processor=\"batch\",pipeline=\"traces\"";
    let batched = "exporter=\"otlp\",pipeline=\"traces\"";
    let tail = "otelcol_processor_tail_sampling";
    let adaptive = "otelcol_processor_adaptive_tail_sampling";
    let shared = "teleflow_tail_sampling_shared";
    let (traces, rules) = ("pipeline=\"traces\"", "pipeline=\"traces/rules\"");
    let errors = "pipeline=\"traces\",policy=\"errors\"";
    let yes = "sampled=\"true\",decision=\"sampled\"";
    let no = "sampled=\"false\",decision=\"not_sampled\"";
    let dropped = "sampled=\"false\",decision=\"dropped\"";
    for sample in [
        format!("teleflow_exporter_requests_total{{{otlp}}} 101"),
        format!("teleflow_exporter_bytes_total{{{otlp}}} 102"),
        format!("teleflow_exporter_wire_bytes_total{{{otlp}}} 103"),
        format!("teleflow_exporter_encoded_requests_total{{{otlp}}} 104"),
        format!("teleflow_exporter_compressed_requests_total{{{otlp}}} 105"),
        format!("teleflow_exporter_compression_fallbacks_total{{{otlp}}} 106"),
        format!("teleflow_exporter_connection_events_total{{{otlp},event=\"connected\"}} 107"),
        format!("teleflow_exporter_connection_events_total{{{otlp},event=\"failed\"}} 108"),
        format!("teleflow_exporter_connection_events_total{{{otlp},event=\"lost\"}} 109"),
        format!("teleflow_exporter_connection_events_total{{{otlp},event=\"closed\"}} 110"),
        format!("teleflow_exporter_attempts_total{{{otlp}}} 111"),
        format!("teleflow_exporter_retries_total{{{otlp}}} 112"),
        format!("teleflow_exporter_retries_put_off_total{{{otlp}}} 113"),
        format!("teleflow_exporter_retries_given_up_total{{{otlp}}} 114"),
        format!("teleflow_exporter_retries_given_back_total{{{otlp}}} 115"),
        format!("teleflow_exporter_split_requests_total{{{otlp}}} 116"),
        format!("teleflow_exporter_split_pieces_total{{{otlp}}} 117"),
        format!("teleflow_exporter_split_dropped_items_total{{{otlp}}} 118"),
        format!("teleflow_exporter_circuit_breakers{{{otlp},state=\"closed\"}} 0"),
        format!("teleflow_exporter_circuit_breakers{{{otlp},state=\"open\"}} 0"),
        format!("teleflow_exporter_circuit_breakers{{{otlp},state=\"half_open\"}} 1"),
        format!(
            "teleflow_exporter_circuit_breaker_requests_total{{{otlp},outcome=\"success\"}} 119"
        ),
        format!(
            "teleflow_exporter_circuit_breaker_requests_total{{{otlp},outcome=\"failure\"}} 120"
        ),
        format!(
            "teleflow_exporter_circuit_breaker_requests_total{{{otlp},outcome=\"refused\"}} 121"
        ),
        format!("teleflow_exporter_circuit_breaker_requests_total{{{otlp},outcome=\"probe\"}} 122"),
        format!("teleflow_exporter_circuit_breaker_changes_total{{{otlp},to=\"open\"}} 123"),
        format!("teleflow_exporter_circuit_breaker_changes_total{{{otlp},to=\"closed\"}} 124"),
        format!("teleflow_exporter_concurrency_limit{{{otlp}}} 125"),
        format!("teleflow_exporter_concurrency_in_flight{{{otlp}}} 126"),
        format!("teleflow_exporter_concurrency_overloads_total{{{otlp}}} 127"),
        format!("teleflow_exporter_rate_limit_waits_total{{{otlp}}} 128"),
        format!("otelcol_loadbalancer_num_backends{{{otlp}}} 1"),
        format!("teleflow_exporter_endpoint_requests_total{{{otlp},endpoint=\"a:1\"}} 129"),
        format!("teleflow_exporter_endpoint_items_total{{{otlp},endpoint=\"b:1\"}} 132"),
        format!("teleflow_exporter_endpoint_out{{{otlp},endpoint=\"a:1\"}} 0"),
        format!("teleflow_exporter_endpoint_out{{{otlp},endpoint=\"b:1\"}} 1"),
        format!("teleflow_exporter_failover_requests_total{{{otlp},destination=\"1\"}} 134"),
        format!("teleflow_exporter_failing_seconds{{{otlp}}} 135"),
        format!("otelcol_exporter_queue_size{{{batched},data_type=\"traces\"}} 805"),
        format!("otelcol_exporter_queue_capacity{{{batched},data_type=\"traces\"}} 1000"),
        format!("teleflow_exporter_queue_requests{{{batched},data_type=\"traces\"}} 401"),
        "teleflow_receiver_unrouted_requests_total{receiver=\"otlp\"} 201".to_owned(),
        "teleflow_receiver_connections{receiver=\"otlp\"} 202".to_owned(),
        "teleflow_receiver_connection_events_total{receiver=\"otlp\",event=\"refused\"} 204"
            .to_owned(),
        "teleflow_receiver_connection_events_total{receiver=\"otlp\",event=\"abusive\"} 207"
            .to_owned(),
        "teleflow_tail_sampling_spans_without_trace_total{pipeline=\"traces\"} 309".to_owned(),
        "teleflow_tail_sampling_held_bytes{pipeline=\"traces\"} 314".to_owned(),
        format!("{tail}_global_count_traces_sampled_total{{{traces},{yes}}} 301"),
        format!("{tail}_global_count_traces_sampled_total{{{traces},{no}}} 318"),
        format!("{tail}_global_count_traces_sampled_total{{{traces},{dropped}}} 14"),
        format!("{tail}_count_traces_sampled_total{{{errors},{yes}}} 312"),
        format!("{tail}_count_traces_sampled_total{{{errors},{no}}} 287"),
        format!("{tail}_count_traces_sampled_total{{{errors},{dropped}}} 7"),
        format!("{tail}_sampling_policy_execution_count_total{{{errors}}} 611"),
        format!("{tail}_early_releases_from_cache_decision_total{{{traces},sampled=\"true\"}} 307"),
        format!("{tail}_early_releases_from_cache_decision_total{{{traces},sampled=\"false\"}} 308"),
        format!("{tail}_new_trace_id_received_total{{{traces}}} 946"),
        format!("{tail}_sampling_policy_evaluation_error_total{{{traces}}} 15"),
        format!("{tail}_sampling_traces_on_memory{{{traces}}} 313"),
        format!("{adaptive}_traces_sampled_total{{{rules},rule=\"errors\"}} 311"),
        // Of 611, 250 went on to the next rule.
        format!("{adaptive}_traces_dropped_total{{{rules},rule=\"errors\"}} 50"),
        // And of 250, 30 were matched by none.
        format!("{adaptive}_traces_dropped_total{{{rules},rule=\"slow\"}} 200"),
        format!("{adaptive}_traces_dropped_total{{{rules},rule=\"_unmatched\"}} 30"),
        format!("{adaptive}_traces_dropped_total{{{rules},rule=\"_eviction\"}} 25"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"trace_timeout\"}} 303"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"eviction\"}} 609"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"shutdown\"}} 306"),
        format!("{adaptive}_traces_evicted_total{{{rules}}} 609"),
        format!("{adaptive}_ottl_eval_errors_total{{{rules},rule=\"slow\"}} 5"),
        format!("{adaptive}_ottl_eval_errors_total{{{rules},rule=\"_root_span_condition\"}} 384"),
        format!("{adaptive}_traces_active{{{rules}}} 313"),
        format!("teleflow_tail_sampling_decisions_total{{{rules},trigger=\"count\"}} 305"),
        format!("teleflow_tail_sampling_decisions_total{{{traces},trigger=\"ingest\"}} 825"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"root_span\"}} 321"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"span_limit\"}} 645"),
        format!("{adaptive}_sampler_keyspace_size{{{rules},rule=\"slow\"}} 320"),
        format!("{tail}_traces_dropped_too_large_total{{{traces}}} 323"),
        format!("teleflow_tail_sampling_sampled_out_spans_total{{{traces},trigger=\"drain\"}} 7"),
        format!("teleflow_tail_sampling_spans_total{{{traces},sampled=\"true\"}} 325"),
        format!("teleflow_tail_sampling_spans_total{{{traces},sampled=\"false\"}} 353"),
        format!("teleflow_tail_sampling_estimated_spans_total{{{traces}}} 326"),
        format!("teleflow_tail_sampling_unknown_spans_total{{{traces}}} 327"),
        format!("teleflow_tail_sampling_waited_milliseconds_total{{{traces}}} 324"),
        format!("teleflow_tail_sampling_spans_without_threshold_total{{{traces}}} 328"),
        format!("teleflow_tail_sampling_inconsistent_spans_total{{{traces}}} 329"),
        format!("teleflow_head_sampling_estimated_items_total{{{traces}}} 383"),
        format!("teleflow_tail_sampling_copied_out_total{{{traces}}} 330"),
        format!("teleflow_tail_sampling_copied_out_bytes_total{{{traces}}} 331"),
        format!("teleflow_tail_sampling_stored_requests_total{{{traces}}} 361"),
        format!("teleflow_tail_sampling_stored_requests_bytes_total{{{traces}}} 362"),
        format!("teleflow_tail_sampling_not_stored_requests_total{{{traces},reason=\"full\"}} 363"),
        format!(
            "teleflow_tail_sampling_not_stored_requests_total{{{traces},reason=\"failed\"}} 364"
        ),
        format!("teleflow_tail_sampling_stored_bytes{{{traces}}} 365"),
        format!("teleflow_tail_sampling_storage_bytes{{{traces}}} 366"),
        format!("teleflow_tail_sampling_forgotten_early_total{{{traces}}} 336"),
        format!("teleflow_tail_sampling_remembered_bytes{{{traces}}} 337"),
        format!("teleflow_tail_sampling_false_positives{{{traces}}} 335"),
        format!("teleflow_tail_sampling_remembered_traces{{{traces},sampled=\"true\"}} 333"),
        format!("teleflow_tail_sampling_remembered_traces{{{traces},sampled=\"false\"}} 334"),
        format!("teleflow_tail_sampling_relief_active{{{traces}}} 1"),
        format!("teleflow_tail_sampling_relief_level{{{traces}}} 81"),
        format!("teleflow_tail_sampling_relief_activations_total{{{traces}}} 82"),
        format!("teleflow_tail_sampling_relief_traces_total{{{traces},sampled=\"true\"}} 83"),
        format!("teleflow_tail_sampling_relief_traces_total{{{traces},sampled=\"false\"}} 85"),
        format!("{adaptive}_decision_triggers_total{{{rules},trigger=\"relief\"}} 84"),
        format!("teleflow_tail_sampling_kept_traces_total{{{errors}}} 311"),
        format!("teleflow_tail_sampling_kept_spans_total{{{errors}}} 313"),
        format!("teleflow_tail_sampling_decisions_total{{{traces},trigger=\"learned\"}} 338"),
        format!("teleflow_tail_sampling_shared_waiting_traces{{{traces}}} 374"),
        format!("teleflow_tail_sampling_shared_asked_traces_total{{{traces}}} 385"),
        format!("{shared}_traces_total{{{traces},outcome=\"dropped_by_others\"}} 387"),
        format!("{shared}_traces_total{{{traces},outcome=\"alone\"}} 388"),
        format!("{shared}_proposals_total{{{traces},outcome=\"unanswered\"}} 392"),
        format!("{shared}_proposals_total{{{traces},outcome=\"unreadable\"}} 394"),
        // Of a histogram each bucket counts those before it, too.
        format!("{tail}_sampling_trace_removal_age_bucket{{le=\"0.1\",{traces}}} 0"),
        format!("{tail}_sampling_trace_removal_age_bucket{{le=\"0.5\",{traces}}} 900"),
        format!("teleflow_tail_sampling_wait_seconds_bucket{{le=\"20.1\",{traces}}} 900"),
        format!("teleflow_tail_sampling_wait_seconds_bucket{{le=\"30.1\",{traces}}} 930"),
        format!("teleflow_tail_sampling_wait_seconds_bucket{{le=\"+Inf\",{traces}}} 934"),
        format!("teleflow_tail_sampling_wait_seconds_count{{{traces}}} 934"),
        format!("teleflow_tail_sampling_wait_seconds_sum{{{traces}}} 0.324"),
        format!("teleflow_tail_sampling_kept_bytes_total{{{errors}}} 814"),
        format!(
            "{tail}_count_spans_sampled_total{{{errors},sampled=\"true\",decision=\"sampled\"}} 815"
        ),
        format!(
            "{tail}_count_bytes_sampled_total{{{errors},sampled=\"true\",decision=\"sampled\"}} 816"
        ),
        format!(
            "{tail}_count_spans_sampled_total{{{errors},sampled=\"false\",decision=\"not_sampled\"}} 817"
        ),
        format!(
            "{tail}_count_bytes_sampled_total{{{errors},sampled=\"false\",decision=\"dropped\"}} 820"
        ),
        "teleflow_config_reloads_total{outcome=\"success\"} 707".to_owned(),
        "teleflow_config_reloads_total{outcome=\"failure\"} 708".to_owned(),
        "teleflow_config_keys_for_restart{} 709".to_owned(),
        format!("otelcol_exporter_sent_spans_total{{{batched}}} 601"),
        format!("otelcol_exporter_send_failed_spans_total{{{batched}}} 9"),
        format!("otelcol_exporter_enqueue_failed_spans_total{{{batched}}} 9"),
        format!("teleflow_exporter_queue_items{{{batched},data_type=\"traces\"}} 807"),
        format!("otelcol_processor_batch_batch_size_trigger_send_total{{{of_lane}}} 503"),
        format!("otelcol_processor_batch_timeout_trigger_send_total{{{of_lane}}} 508"),
        format!("teleflow_batch_requests_total{{{of_lane}}} 501"),
        format!("teleflow_batch_batches_total{{{of_lane},trigger=\"pressure\"}} 510"),
        format!("teleflow_batch_held_items{{{of_lane}}} 516"),
        format!("teleflow_exporter_batch_items_total{{{batched}}} 522"),
        format!("teleflow_exporter_batch_batches_total{{{batched},trigger=\"age\"}} 528"),
        format!("teleflow_exporter_batch_split_pieces_total{{{batched}}} 534"),
        format!("teleflow_exporter_batch_held_bytes{{{batched}}} 537"),
        "teleflow_items_recovered_total{pipeline=\"logs\",destination=\"otlp\",data_type=\"logs\"} 41"
            .to_owned(),
        "teleflow_log_lines_total{outcome=\"left_out\"} 802".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
    }
}

#[test]
fn what_there_is_none_of_is_not_written() {
    let mut reading = full();
    reading.exporters = vec![("debug".to_owned(), Figures::default())];
    reading.stats.lanes.clear();
    let text = text(reading);
    for name in ["teleflow_exporter_requests", "circuit", "endpoint", "batch", "tail_sampling"] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
}

#[test]
fn a_queue_is_measured_by_what_bounds_it() {
    let max = NonZeroUsize::MAX;
    for (config, size, capacity) in [
        (
            QueueConfig {
                max_items: NonZeroU64::new(7),
                max_requests: max,
                ..QueueConfig::default()
            },
            807,
            7,
        ),
        (QueueConfig { max_requests: max, ..QueueConfig::default() }, 809, 256 << 20),
    ] {
        let mut reading = full();
        reading.exporters[0].1.queue = Some(config);
        let text = text(reading);
        let labels = "{exporter=\"otlp\",pipeline=\"traces\",data_type=\"traces\"}";
        assert!(text.contains(&format!("otelcol_exporter_queue_size{labels} {size}\n")), "{text}");
        assert!(text.contains(&format!("_queue_capacity{labels} {capacity}\n")), "{text}");
    }
}
