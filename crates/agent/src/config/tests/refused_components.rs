//! Components refused by their own rules.

use super::check_refused;

#[test]
fn a_receiver_needs_a_protocol() {
    check_refused(
        r"
            receivers:
              otlp:",
        &["2:3: missing key `protocols` in receivers.otlp"],
    );
    check_refused(
        r"
            receivers:
              otlp:
                protocols:",
        &["2:3: missing key `protocols` in receivers.otlp"],
    );
    check_refused(
        r"
            receivers:
              otlp:
                protocols: {thrift: }",
        &[
            "3:16: receivers.otlp.protocols must have at least one protocol, grpc or http",
            "3:17: unknown key `thrift` in receivers.otlp.protocols; known: grpc, http",
        ],
    );
    check_refused(
        r"
            receivers:
              otlp: {protocols: {grpc: }, tls: }",
        &["2:31: unknown key `tls` in receivers.otlp; known: limits, protocols"],
    );
}

#[test]
fn a_grpc_server_has_an_address_and_limits() {
    check_refused(
        r"
            receivers:
              otlp:
                protocols:
                  grpc:
                    endpoint: 4317
                    max_recv_msg_size_mib: 1025
                    max_concurrent_streams: lots
                    keepalive: {enforcement_policy: {}, server_parameters: {time: 0, timeout: 1s, max_connection_idle: 5}}
                    tls: {key_file: '', cert_pem: hunter2, min_version: 1.2}
                    transport: udp",
        &[
            "5:19: receivers.otlp.protocols.grpc.endpoint must be an address to listen on, got the number 4317; write host:port: `localhost:4317`",
            "6:32: receivers.otlp.protocols.grpc.max_recv_msg_size_mib must be a whole number from 0 to 1024, got the number 1025",
            "7:33: receivers.otlp.protocols.grpc.max_concurrent_streams must be a whole number from 0 to 4294967295, got `lots`",
            "8:21: key `enforcement_policy` in receivers.otlp.protocols.grpc.keepalive is not supported in this version",
            "8:71: receivers.otlp.protocols.grpc.keepalive.server_parameters.time must be more than 0, got the number 0",
            "8:74: key `timeout` in receivers.otlp.protocols.grpc.keepalive.server_parameters is not supported in this version; a silent client has 20 s to answer",
            "8:108: receivers.otlp.protocols.grpc.keepalive.server_parameters.max_connection_idle must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "9:9: missing key `cert_file` in receivers.otlp.protocols.grpc.tls",
            "9:25: receivers.otlp.protocols.grpc.tls.key_file must not be empty",
            "9:29: key `cert_pem` in receivers.otlp.protocols.grpc.tls is not supported in this version; write `cert_file`",
            "9:61: receivers.otlp.protocols.grpc.tls.min_version must be text, got the number 1.2; write \"1.2\" if text is meant",
            "10:20: receivers.otlp.protocols.grpc.transport must be one of: tcp, unix, got `udp`",
        ],
    );
    check_refused(
        "receivers: {otlp: {protocols: {grpc: {endpoint: localhost}}}}",
        &[
            "1:49: receivers.otlp.protocols.grpc.endpoint must be an address to listen on, got `localhost`; write the port: `localhost:4317`",
        ],
    );
    check_refused(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '::1:4317'}}}}",
        &[
            "1:49: receivers.otlp.protocols.grpc.endpoint must be an address to listen on, got `::1:4317`; write an IPv6 address in brackets: `[::1]:4317`",
        ],
    );
    check_refused(
        "receivers: {otlp: {protocols: {grpc: on}}}",
        &["1:38: receivers.otlp.protocols.grpc must be a mapping, got `on`"],
    );
}

#[test]
fn an_http_server_has_an_address_a_limit_and_three_paths() {
    check_refused(
        r"
            receivers:
              otlp:
                protocols:
                  http:
                    endpoint: http://localhost:4318
                    max_request_body_size: 2GiB
                    cors: {allowed_origins: ['https://*.*'], allowed_headers: [5], max_age: 5s, exposed_headers: []}
                    tls: {cert_file: a, key_file: b, min_version: '1.1'}
                    traces_url_path: ''
                    logs_url_path: /v1/metrics
                    metrics_path: /x",
        &[
            "5:9: receivers.otlp.protocols.http has one path for two signals",
            "5:19: receivers.otlp.protocols.http.endpoint must be an address to listen on, got `http://localhost:4318`; write host:port, without a scheme",
            "6:32: receivers.otlp.protocols.http.max_request_body_size must be a number of bytes from 0 to 1073741824, got `2GiB`",
            "7:34: receivers.otlp.protocols.http.cors.allowed_origins[0] must have at most one `*`, got `https://*.*`",
            "7:68: receivers.otlp.protocols.http.cors.allowed_headers[0] must be text, got the number 5; write \"5\" if text is meant",
            "7:81: receivers.otlp.protocols.http.cors.max_age must be a whole number from 0 to 4294967295, got `5s`",
            "7:85: key `exposed_headers` in receivers.otlp.protocols.http.cors is not supported in this version",
            "8:55: receivers.otlp.protocols.http.tls.min_version `1.1` is not supported in this version; known: 1.2, 1.3",
            "9:26: receivers.otlp.protocols.http.traces_url_path must be a path such as `/v1/traces`, got empty text",
            "11:9: unknown key `metrics_path` in receivers.otlp.protocols.http; known: auth, cors, endpoint, logs_url_path, max_request_body_size, metrics_url_path, read_header_timeout, read_timeout, tls, traces_url_path, transport",
        ],
    );
}

#[test]
fn a_batch_has_a_maximum_that_is_not_less_than_its_size() {
    check_refused(
        r"
            processors:
              batch:
                send_batch_max_size: 100",
        &[
            "3:26: processors.batch.send_batch_max_size must be 0 or at least send_batch_size (8192), got the number 100",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: 10
                send_batch_max_size: 9",
        &[
            "4:26: processors.batch.send_batch_max_size must be 0 or at least send_batch_size (10), got the number 9",
        ],
    );
}

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
                sample_on_first_match: true",
        &[
            "4:20: processors.tail_sampling.decision_wait must be more than 0, got `0s`",
            "5:17: processors.tail_sampling.num_traces must be a whole number from 1 to 4294967295, got the number 0",
            "6:16: processors.tail_sampling.max_bytes must be a number of bytes of at least 65536, got the number 0",
            "7:22: unknown key `sampled` in processors.tail_sampling.decision_cache; known: non_sampled_cache_size, sampled_cache_size",
            "8:5: key `sample_on_first_match` in processors.tail_sampling is not supported in this version",
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
                  - {name: d, type: numeric_attribute, numeric_attribute: {key: x}}
                  - {name: e, type: always_sample, always_sample: {a: 1}, and: {}}
                  - text",
        &[
            "4:9: missing key `name` in processors.tail_sampling.policies[0]",
            "5:9: missing key `type` in processors.tail_sampling.policies[1]",
            "6:16: processors.tail_sampling.policies[2].name must not be empty",
            "6:26: processors.tail_sampling.policies[2].type must be one of: always_sample, latency, probabilistic, status_code, got `always`",
            "7:25: processors.tail_sampling.policies[3].type `and` is not supported in this version; known: always_sample, latency, probabilistic, status_code",
            "8:25: processors.tail_sampling.policies[4].type `numeric_attribute` is not supported in this version; known: always_sample, latency, probabilistic, status_code",
            "9:56: unknown key `a` in processors.tail_sampling.policies[5].always_sample; known: ",
            "9:63: key `and` in processors.tail_sampling.policies[5] is not supported in this version",
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
fn an_exporter_says_where_to() {
    check_refused(
        r"
            exporters:
              debug:
              otlp:
              otlphttp:
              sqlite:",
        &[
            "3:3: missing key `endpoint` in exporters.otlp",
            "4:3: missing key `endpoint` in exporters.otlphttp",
            "5:3: missing key `path` in exporters.sqlite",
        ],
    );
    check_refused(
        r"
            exporters:
              debug: {verbosity: loud, sampling_initial: 5}",
        &[
            "2:22: exporters.debug.verbosity must be one of: basic, detailed, normal, got `loud`",
            "2:28: key `sampling_initial` in exporters.debug is not supported in this version",
        ],
    );
}
