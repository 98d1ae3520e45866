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
