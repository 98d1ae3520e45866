//! What is wrong with a sampler: policies, rules and what stands around them.

use super::check_refused;

#[test]
fn a_tail_sampler_has_positive_bounds_and_a_policy() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies: [{name: a, type: always_sample}]
                decision_wait: 0s
                num_traces: 0
                max_bytes: 0
                decision_cache: {sampled: 5}
                tail_storage: ''
                sampling_strategy: span-end
                num_shards: 257
                maximum_trace_size_bytes: -1
                sample_on_first_match: 1
                decision_wait_after_root_received: 5",
        &[
            "4:20: processors.tail_sampling.decision_wait must be more than 0, got `0s`",
            "5:17: processors.tail_sampling.num_traces must be a whole number from 1 to 4294967295, got the number 0",
            "6:16: processors.tail_sampling.max_bytes must be a number of bytes of at least 65536, got the number 0",
            "7:22: unknown key `sampled` in processors.tail_sampling.decision_cache; known: non_sampled_cache_size, sampled_cache_size, shared",
            "8:19: processors.tail_sampling.tail_storage must not be empty",
            "9:24: processors.tail_sampling.sampling_strategy must be one of: span-ingest, trace-complete, got `span-end`",
            "10:17: processors.tail_sampling.num_shards must be a whole number from 1 to 256, got the number 257",
            "11:31: processors.tail_sampling.maximum_trace_size_bytes must be a number of bytes, got the number -1; write a whole number of bytes, or one with a unit: `64MiB`",
            "12:28: processors.tail_sampling.sample_on_first_match must be true or false, got the number 1",
            "13:40: processors.tail_sampling.decision_wait_after_root_received must be a duration, got the number 5; write the unit: `5s`, `5ms`",
        ],
    );
    check_refused(
        r"
            processors:
              tail_sampling:",
        &["2:3: missing key `policies` in processors.tail_sampling"],
    );
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:",
        &["2:3: missing key `policies` in processors.tail_sampling"],
    );
    check_refused(
        r"
            processors:
              tail_sampling:
                policies: [{name: a, type: always_sample}]
                max_bytes: 1MiB
                num_shards: 17",
        &[
            "5:17: processors.tail_sampling.num_shards must be at most 16, with 1048576 bytes in max_bytes, got the number 17",
        ],
    );
    check_refused(
        r"
            processors:
              tail_sampling:
                policies: []",
        &["3:15: processors.tail_sampling.policies must have at least one policy"],
    );
    check_refused(
        r"
            processors:
              tail_sampling:
                policies: {}",
        &[
            "3:15: processors.tail_sampling.policies must be a list, got a mapping; write it as `[a, b]`",
        ],
    );
}

#[test]
fn stress_relief_begins_above_where_it_ends_and_what_is_recorded_is_known() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies: [{name: a, type: always_sample}]
                stress_relief:
                  mode: sometimes
                  activation_level: 101
                  deactivation_level: -1
                  sampling_rate: 0
                  minimum_activation_duration: 5
                  rate: 1
              tail_sampling/2:
                policies: [{name: a, type: always_sample}]
                stress_relief: {activation_level: 75}
              adaptive_tail_sampling:
                rules: [{name: a, sampler: {type: always_sample}}]
                stress_relief: {activation_level: 50, deactivation_level: 60}
              tail_sampling/3:
                policies: [{name: a, type: always_sample}]
                stress_relief: always
                record_counts: some
                record_host: ''
                dry_run: 1",
        &[
            "5:13: processors.tail_sampling.stress_relief.mode must be one of: never, monitor, always, got `sometimes`",
            "6:25: processors.tail_sampling.stress_relief.activation_level must be a whole number from 1 to 100, got the number 101",
            "7:27: processors.tail_sampling.stress_relief.deactivation_level must be a whole number from 0 to 100, got the number -1",
            "8:22: processors.tail_sampling.stress_relief.sampling_rate must be a whole number from 1 to 4294967295, got the number 0",
            "9:36: processors.tail_sampling.stress_relief.minimum_activation_duration must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "10:7: unknown key `rate` in processors.tail_sampling.stress_relief; known: activation_level, deactivation_level, minimum_activation_duration, mode, sampling_rate",
            "13:39: processors.tail_sampling/2.stress_relief.activation_level must be such that deactivation_level, 75, is less than activation_level, 75, got the number 75",
            "16:63: processors.adaptive_tail_sampling.stress_relief.deactivation_level must be such that deactivation_level, 60, is less than activation_level, 50, got the number 60",
            "19:20: processors.tail_sampling/3.stress_relief must be a mapping, got `always`",
            "20:20: processors.tail_sampling/3.record_counts must be one of: none, spans, all, got `some`",
            "21:18: processors.tail_sampling/3.record_host must not be empty",
            "22:14: processors.tail_sampling/3.dry_run must be true or false, got the number 1",
        ],
    );
}

#[test]
fn a_policy_has_a_name_of_its_own_and_a_type_that_we_know() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: always_sample}
                  - {name: a, type: always_sample}",
        &[
            "5:9: processors.tail_sampling.policies[1] has the name of processors.tail_sampling.policies[0]",
        ],
    );
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {type: always_sample}
                  - {name: b}
                  - {name: '', type: always}
                  - {name: c, type: and, and: {}}
                  - {name: d, type: extension, extension: {key: x}}
                  - {name: e, type: always_sample, always_sample: {a: 1}, and: {}}
                  - text",
        &[
            "4:9: missing key `name` in processors.tail_sampling.policies[0]",
            "5:9: missing key `type` in processors.tail_sampling.policies[1]",
            "6:16: processors.tail_sampling.policies[2].name must not be empty",
            "6:26: processors.tail_sampling.policies[2].type must be one of: always_sample, and, boolean_attribute, bytes_limiting, composite, drop, latency, not, numeric_attribute, ottl_condition, probabilistic, rate_limiting, span_count, status_code, string_attribute, trace_flags, trace_state, got `always`",
            "7:30: missing key `and_sub_policy` in processors.tail_sampling.policies[3].and",
            "8:25: processors.tail_sampling.policies[4].type must be one of: always_sample, and, boolean_attribute, bytes_limiting, composite, drop, latency, not, numeric_attribute, ottl_condition, probabilistic, rate_limiting, span_count, status_code, string_attribute, trace_flags, trace_state, got `extension`",
            "9:56: unknown key `a` in processors.tail_sampling.policies[5].always_sample; known: ",
            "9:63: processors.tail_sampling.policies[5].and has no effect on a policy of type `always_sample`",
            "10:9: processors.tail_sampling.policies[6] must be a mapping, got `text`",
        ],
    );
}

#[test]
fn a_latency_policy_has_thresholds_in_milliseconds() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: latency}
                  - {name: b, type: latency, latency: {threshold: 1s}}
                  - {name: c, type: latency, latency: {threshold_ms: 1s}}
                  - {name: d, type: latency, latency: {threshold_ms: 10, upper_threshold_ms: 10}}
                  - {name: e, type: latency, latency: {}, status_code: {status_codes: [OK]}}",
        &[
            "4:9: missing key `latency` in processors.tail_sampling.policies[0]",
            "5:44: unknown key `threshold` in processors.tail_sampling.policies[1].latency; did you mean `threshold_ms`? known: threshold_ms, upper_threshold_ms",
            "6:58: processors.tail_sampling.policies[2].latency.threshold_ms must be a whole number of at least 0, got `1s`",
            "7:82: processors.tail_sampling.policies[3].latency.upper_threshold_ms must be 0 or more than threshold_ms, got the number 10",
            "8:47: processors.tail_sampling.policies[4].status_code has no effect on a policy of type `latency`",
        ],
    );
}

#[test]
fn a_probabilistic_policy_has_a_percentage() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: probabilistic, probabilistic: {}}
                  - {name: b, type: probabilistic, probabilistic: {sampling_percentage: 101}}
                  - {name: c, type: probabilistic, probabilistic: {sampling_percentage: .nan}}
                  - {name: d, type: probabilistic, probabilistic: {sampling_percentage: 10%}}
                  - {name: e, type: probabilistic, probabilistic: {sampling_percentage: 1, hash_salt: 5}}
                  - {name: f, type: probabilistic, probabilistic: {sampling_percentage: -0.1}}",
        &[
            "4:40: missing key `sampling_percentage` in processors.tail_sampling.policies[0].probabilistic",
            "5:77: processors.tail_sampling.policies[1].probabilistic.sampling_percentage must be a number from 0 to 100, got the number 101",
            "6:77: processors.tail_sampling.policies[2].probabilistic.sampling_percentage must be a number from 0 to 100, got the number NaN",
            "7:77: processors.tail_sampling.policies[3].probabilistic.sampling_percentage must be a number from 0 to 100, got `10%`",
            r#"8:91: processors.tail_sampling.policies[4].probabilistic.hash_salt must be text, got the number 5; write "5" if text is meant"#,
            "9:77: processors.tail_sampling.policies[5].probabilistic.sampling_percentage must be a number from 0 to 100, got the number -0.1",
        ],
    );
}

#[test]
fn a_status_code_policy_has_codes() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: status_code, status_code: {}}
                  - {name: b, type: status_code, status_code: {status_codes: []}}
                  - {name: c, type: status_code, status_code: {status_codes: [error, FAILED, 2]}}
                  - {name: d, type: status_code, status_code: {status_codes: ERROR}}",
        &[
            "4:38: missing key `status_codes` in processors.tail_sampling.policies[0].status_code",
            "5:66: processors.tail_sampling.policies[1].status_code.status_codes must have at least one status code",
            "6:67: processors.tail_sampling.policies[2].status_code.status_codes[0] must be one of: ERROR, OK, UNSET, got `error`; did you mean `ERROR`?",
            "6:74: processors.tail_sampling.policies[2].status_code.status_codes[1] must be one of: ERROR, OK, UNSET, got `FAILED`",
            r#"6:82: processors.tail_sampling.policies[2].status_code.status_codes[2] must be text, got the number 2; write "2" if text is meant"#,
            "7:66: processors.tail_sampling.policies[3].status_code.status_codes must be a list, got `ERROR`; write it as `[a, b]`",
        ],
    );
}

#[test]
fn a_policy_that_looks_at_a_trace_says_what_for() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: string_attribute, string_attribute: {values: []}}
                  - {name: b, type: string_attribute, string_attribute: {key: '', values: [1], enabled_regex_matching: 5}}
                  - {name: c, type: numeric_attribute, numeric_attribute: {key: x, min_value: 1.5}}
                  - {name: d, type: numeric_attribute, numeric_attribute: {key: x, min_value: 5, max_value: 4}}
                  - {name: e, type: numeric_attribute, numeric_attribute: {key: x, invert_match: true}}
                  - {name: f, type: boolean_attribute, boolean_attribute: {value: yes}}
                  - {name: g, type: span_count, span_count: {min_spans: 3, max_spans: 2}}
                  - {name: h, type: span_count, span_count: {min_spans: -3}}
                  - {name: i, type: trace_state, trace_state: {key: x}}
                  - {name: j, type: trace_flags, trace_flags: {key: x}}
                  - {name: k, type: ottl_condition, ottl_condition: {error_mode: loud, span: []}}
                  - {name: l, type: ottl_condition, ottl_condition: {error_mode: silent}}
                  - {name: m, type: ottl_condition, ottl_condition: {span: 'true'}}",
        &[
            "4:43: missing key `key` in processors.tail_sampling.policies[0].string_attribute",
            "4:70: processors.tail_sampling.policies[0].string_attribute.values must have at least one value",
            "5:67: processors.tail_sampling.policies[1].string_attribute.key must not be empty",
            r#"5:80: processors.tail_sampling.policies[1].string_attribute.values[0] must be text, got the number 1; write "1" if text is meant"#,
            "5:108: processors.tail_sampling.policies[1].string_attribute.enabled_regex_matching must be true or false, got the number 5",
            "6:83: processors.tail_sampling.policies[2].numeric_attribute.min_value must be a whole number of 64 bits, got the number 1.5",
            "7:44: processors.tail_sampling.policies[3].numeric_attribute: no number is at least 5 and at most 4",
            "8:44: processors.tail_sampling.policies[4].numeric_attribute has no bound; `min_value` or `max_value` has to be other than 0",
            "9:44: missing key `key` in processors.tail_sampling.policies[5].boolean_attribute",
            "9:71: processors.tail_sampling.policies[5].boolean_attribute.value must be true or false, got `yes`",
            "10:75: processors.tail_sampling.policies[6].span_count.max_spans must be 0 or at least min_spans, got the number 2",
            "11:61: processors.tail_sampling.policies[7].span_count.min_spans must be a whole number from 0 to 2147483647, got the number -3",
            "12:38: missing key `values` in processors.tail_sampling.policies[8].trace_state",
            "13:52: unknown key `key` in processors.tail_sampling.policies[9].trace_flags; known: ",
            "14:57: processors.tail_sampling.policies[10].ottl_condition must have at least one condition in `span` or `spanevent`",
            "14:70: processors.tail_sampling.policies[10].ottl_condition.error_mode must be one of: ignore, propagate, silent, got `loud`",
            "15:57: processors.tail_sampling.policies[11].ottl_condition must have at least one condition in `span` or `spanevent`",
            "16:64: processors.tail_sampling.policies[12].ottl_condition.span must be a list, got `true`; write it as `[a, b]`",
        ],
    );
}

#[test]
fn a_limit_of_a_policy_is_a_rate() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: rate_limiting, rate_limiting: {}}
                  - {name: b, type: rate_limiting, rate_limiting: {spans_per_second: -1, burst_capacity: 1KiB}}
                  - {name: c, type: bytes_limiting, bytes_limiting: {burst_capacity: lots}}",
        &[
            "4:40: missing key `spans_per_second` in processors.tail_sampling.policies[0].rate_limiting",
            "5:74: processors.tail_sampling.policies[1].rate_limiting.spans_per_second must be a whole number from 0 to 9223372036854775807, got the number -1",
            "5:94: processors.tail_sampling.policies[1].rate_limiting.burst_capacity must be a whole number from 0 to 9223372036854775807, got `1KiB`",
            "6:41: missing key `bytes_per_second` in processors.tail_sampling.policies[2].bytes_limiting",
            "6:74: processors.tail_sampling.policies[2].bytes_limiting.burst_capacity must be a number of bytes, got `lots`; write a whole number of bytes, or one with a unit: `64MiB`",
        ],
    );
}

#[test]
fn a_policy_that_is_made_of_others_is_read_to_its_depth() {
    check_refused(
        r"
            processors:
              tail_sampling:
                policies:
                  - {name: a, type: and, and: {and_sub_policy: []}}
                  - {name: b, type: drop, drop: {drop_sub_policy: [{type: drop}]}}
                  - {name: c, type: not, not: {}}
                  - {name: d, type: not, not: {not_sub_policy: {type: not, not: {not_sub_policy: {type: latency}}}}}
                  - name: e
                    type: composite
                    composite:
                      policy_order: [one, tow]
                      composite_sub_policy: [{name: one, type: always_sample}, {name: two, type: latency, latency: {a: 1}}]
                      rate_allocation: [{policy: three, percent: 101}, {percent: 5}]",
        &[
            "4:52: processors.tail_sampling.policies[0].and.and_sub_policy must have at least one policy",
            "5:63: processors.tail_sampling.policies[1].drop.drop_sub_policy[0].type must be one of: always_sample, and, boolean_attribute, bytes_limiting, latency, not, numeric_attribute, ottl_condition, probabilistic, rate_limiting, span_count, status_code, string_attribute, trace_flags, trace_state, got `drop`",
            "6:30: missing key `not_sub_policy` in processors.tail_sampling.policies[2].not",
            "7:70: missing key `latency` in processors.tail_sampling.policies[3].not.not_sub_policy.not.not_sub_policy",
            "10:9: missing key `max_total_spans_per_second` in processors.tail_sampling.policies[4].composite",
            "11:31: processors.tail_sampling.policies[4].composite.policy_order[1] is `tow`, which composite_sub_policy does not define; did you mean `two`? defined: one, two",
            "12:105: unknown key `a` in processors.tail_sampling.policies[4].composite.composite_sub_policy[1].latency; known: threshold_ms, upper_threshold_ms",
            "13:38: processors.tail_sampling.policies[4].composite.rate_allocation[0].policy is `three`, which composite_sub_policy does not define; defined: one, two",
            "13:54: processors.tail_sampling.policies[4].composite.rate_allocation[0].percent must be a whole number from 0 to 100, got the number 101",
            "13:60: missing key `policy` in processors.tail_sampling.policies[4].composite.rate_allocation[1]",
        ],
    );
}

#[test]
fn an_adaptive_sampler_has_rules_each_with_a_name_and_a_sampler() {
    check_refused(
        r"
            processors:
              adaptive_tail_sampling:
                trace_timeout: 0
                decision_delay: 0s
                span_limit: lots
                root_span_condition: {}
                eviction: {policy: evaluate, sampling_percentage: 5}
                record_fingerprint: sha
                policies: []
                rules:
                  - {sampler: {type: always_sample}}
                  - {name: _a, sampler: {type: tail}}
                  - {name: b, match: all, has_root_span: 1, span_count: {min_spans: 2, max_spans: 1}, conditions: [x]}
                  - {name: b, match: any_span, sampler: {type: always_sample, max_keys: 1}}",
        &[
            "3:20: processors.adaptive_tail_sampling.trace_timeout must be more than 0, got the number 0",
            "4:21: processors.adaptive_tail_sampling.decision_delay must be more than 0, got `0s`",
            "5:17: processors.adaptive_tail_sampling.span_limit must be a whole number of at least 0, got `lots`",
            "6:26: processors.adaptive_tail_sampling.root_span_condition must be text, got a mapping",
            "7:34: processors.adaptive_tail_sampling.eviction.sampling_percentage is for the policy `probabilistic`",
            "8:25: processors.adaptive_tail_sampling.record_fingerprint must be one of: hash, none, value, got `sha`",
            "9:5: unknown key `policies` in processors.adaptive_tail_sampling; known: cluster_size, decision_cache, decision_delay, dry_run, eviction, max_bytes, num_traces, record_counts, record_decision, record_fingerprint, record_host, root_span_condition, rules, span_limit, stress_relief, trace_timeout",
            "11:9: missing key `name` in processors.adaptive_tail_sampling.rules[0]",
            "12:16: processors.adaptive_tail_sampling.rules[1].name must not begin with `_`, got `_a`",
            "12:36: processors.adaptive_tail_sampling.rules[1].sampler.type must be one of: adaptive_percentage, adaptive_throughput, always_sample, drop, per_key_throughput, probabilistic, rate_limiting, got `tail`",
            "13:9: missing key `sampler` in processors.adaptive_tail_sampling.rules[2]",
            "13:26: processors.adaptive_tail_sampling.rules[2].match must be one of: any_span, same_span, got `all`",
            "13:46: processors.adaptive_tail_sampling.rules[2].has_root_span must be true or false, got the number 1",
            "13:87: processors.adaptive_tail_sampling.rules[2].span_count.max_spans must be 0 or at least min_spans, got the number 1",
            "14:9: processors.adaptive_tail_sampling.rules[3] has the name of processors.adaptive_tail_sampling.rules[2]",
            "14:19: processors.adaptive_tail_sampling.rules[3].match has no effect without conditions",
            "14:67: unknown key `max_keys` in processors.adaptive_tail_sampling.rules[3].sampler; known: type",
        ],
    );
    check_refused(
        r"
            processors:
              adaptive_tail_sampling:
                eviction: {policy: probabilistic}
                rules: [{name: a, sampler: {type: always_sample}}]",
        &["3:5: missing key `sampling_percentage` in processors.adaptive_tail_sampling.eviction"],
    );
    check_refused(
        r"
            processors:
              adaptive_tail_sampling:
                eviction: {policy: probabilistic, sampling_percentage: 0}
                rules: [{name: a, sampler: {type: always_sample}}]",
        &[
            "3:60: processors.adaptive_tail_sampling.eviction.sampling_percentage must be more than 0, got the number 0",
        ],
    );
    check_refused(
        r"
            processors:
              adaptive_tail_sampling:
                rules: []",
        &["3:12: processors.adaptive_tail_sampling.rules must have at least one rule"],
    );
}

#[test]
fn a_sampler_of_a_rule_has_bounds() {
    check_refused(
        r"
            processors:
              adaptive_tail_sampling:
                rules:
                  - {name: a, conditions: [x], sampler: {type: probabilistic, sampling_percentage: 0}}
                  - {name: b, conditions: [x], sampler: {type: adaptive_percentage, algorithm: windowed, goal_percentage: 101, fingerprint_attributes: [], weight: 1, shared_counters: {}}}
                  - {name: c, conditions: [x], sampler: {type: adaptive_throughput, goal_throughput: 0, fingerprint_attributes: [service.name], max_keys: -1}}
                  - {name: d, conditions: [x], sampler: {type: adaptive_throughput, algorithm: windowed, goal_throughput: 1, update_frequency: 5s, lookback_frequency: 4s, weight: 0.5}}
                  - {name: e, conditions: [x], sampler: {}}
                  - {name: f, sampler: }",
        &[
            "4:88: processors.adaptive_tail_sampling.rules[0].sampler.sampling_percentage must be more than 0, got the number 0",
            "5:84: processors.adaptive_tail_sampling.rules[1].sampler.algorithm must be one of: ema, got `windowed`",
            "5:111: processors.adaptive_tail_sampling.rules[1].sampler.goal_percentage must be a number from 0 to 100, got the number 101",
            "5:140: processors.adaptive_tail_sampling.rules[1].sampler.fingerprint_attributes must have at least one attribute",
            "5:152: processors.adaptive_tail_sampling.rules[1].sampler.weight must be a number from 0 to 0.999, got the number 1",
            "5:155: key `shared_counters` in processors.adaptive_tail_sampling.rules[1].sampler is not supported in this version; `cluster_size` divides goals among gateways",
            "6:90: processors.adaptive_tail_sampling.rules[2].sampler.goal_throughput must be a whole number from 1 to 4294967295, got the number 0",
            "6:118: processors.adaptive_tail_sampling.rules[2].sampler.fingerprint_attributes[0] must be `scope.attributes[\"name\"]`, got `service.name`; known scopes: any, resource, root, scope, span",
            "6:143: processors.adaptive_tail_sampling.rules[2].sampler.max_keys must be a whole number from 0 to 4294967295, got the number -1",
            "7:36: missing key `fingerprint_attributes` in processors.adaptive_tail_sampling.rules[3].sampler",
            "7:156: processors.adaptive_tail_sampling.rules[3].sampler.lookback_frequency must not be less than update_frequency, got `4s`",
            "7:160: unknown key `weight` in processors.adaptive_tail_sampling.rules[3].sampler; known: algorithm, fingerprint_attributes, goal_throughput, goal_unit, initial_sampling_percentage, lookback_frequency, max_keys, type, update_frequency, use_trace_length",
            "8:36: missing key `type` in processors.adaptive_tail_sampling.rules[4].sampler",
            "9:9: missing key `sampler` in processors.adaptive_tail_sampling.rules[5]",
        ],
    );
}

#[test]
fn what_is_shared_needs_servers_and_lasts_longer_than_a_trace_waits() {
    let refused = |shared: &str, errors: &[&str]| {
        let text = format!(
            "processors: {{tail_sampling: {{policies: [{{name: a, type: always_sample}}], decision_cache: {{shared: {shared}}}}}}}"
        );
        check_refused(&text, errors);
    };
    refused(
        "{}",
        &["1:91: missing key `endpoint` in processors.tail_sampling.decision_cache.shared"],
    );
    refused(
        "{endpoint: 'hush@host:1', timeout: 0s}",
        &[
            "1:110: processors.tail_sampling.decision_cache.shared.endpoint must be an address such as `redis://host:6379`, or `rediss://` with TLS, got text",
            "1:134: processors.tail_sampling.decision_cache.shared.timeout must be more than 0, got `0s`",
        ],
    );
    refused(
        "{cluster: []}",
        &[
            "1:109: processors.tail_sampling.decision_cache.shared.cluster must have at least one server",
        ],
    );
    refused(
        "{endpoint: 'redis://a', cluster: ['redis://a']}",
        &[
            "1:123: processors.tail_sampling.decision_cache.shared.cluster is written, and `endpoint` as well; leave one of them out",
        ],
    );
    refused(
        "{endpoint: 'redis://a', ttl: 35s, tls: {key_file: k}}",
        &[
            "1:99: processors.tail_sampling.decision_cache.shared.ttl (35s) must be more than a trace waits (35s, with grace)",
            "1:133: missing key `cert_file` in processors.tail_sampling.decision_cache.shared.tls",
        ],
    );
}
