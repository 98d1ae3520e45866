//! Exporters refused: where to, how protected, how persistent.

use super::check_refused;

#[test]
fn a_grpc_exporter_does_not_pretend_to_encrypt() {
    check_refused(
        r"
            exporters:
              debug:
              otlp: {endpoint: 'collector:4317', tls: {insecure: true, cert_file: x, insekure: true}}
              otlp/2: {endpoint: 'http://collector:4317', tls: {ca_pem: hunter2}}
              otlp/3: {endpoint: 'collector:4317', tls: {ca_file: a, ca_pem: hunter2, key_pem: [hunter2], tpm: {}}}
              otlp/4: {endpoint: collector, tls: {insecure: yes}}
              otlp/5: {endpoint: 'c:1', tls: {min_version: '1.1', server_name_override: 'a b', cert_file: '', key_file: a}}
              otlp/6: {endpoint: 'c:1', keepalive: {time: 0, timeout: 5}}
              otlp/7: {endpoint: 'c:1', keepalive: {permit_without_stream: false}}
              otlp_grpc: {endpoint: 4317}",
        &[
            "3:20: exporters.otlp.endpoint is unencrypted, but `tls.cert_file` is written; leave out `insecure: true` to encrypt, or the other keys of `tls`",
            "3:38: missing key `key_file` in exporters.otlp.tls",
            "3:74: unknown key `insekure` in exporters.otlp.tls; did you mean `insecure`? known: ca_file, ca_pem, cert_file, cert_pem, insecure, insecure_skip_verify, key_file, key_pem, min_version, reload_interval, server_name_override",
            "4:22: exporters.otlp/2.endpoint is unencrypted, but `tls.ca_pem` is written; write `https://` to encrypt",
            "5:40: missing key `cert_file` in exporters.otlp/3.tls",
            "5:58: exporters.otlp/3.tls.ca_pem is written, and `ca_file` as well; leave one of them out",
            "5:84: exporters.otlp/3.tls.key_pem must be text, got a list",
            "5:95: key `tpm` in exporters.otlp/3.tls is not supported in this version",
            "6:22: exporters.otlp/4.endpoint must be `host:port`, `https://host:port`, `http://host:port` or `unix:///path`, got `collector`; write the port: `localhost:4317`",
            "6:49: exporters.otlp/4.tls.insecure must be true or false, got `yes`",
            "7:48: exporters.otlp/5.tls.min_version `1.1` is not supported in this version; known: 1.2, 1.3",
            "7:77: exporters.otlp/5.tls.server_name_override must be the name or the address of a server, got `a b`",
            "7:95: exporters.otlp/5.tls.cert_file must not be empty",
            "8:29: missing key `permit_without_stream` in exporters.otlp/6.keepalive",
            "8:47: exporters.otlp/6.keepalive.time must be more than 0, got the number 0",
            "8:59: exporters.otlp/6.keepalive.timeout must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "9:64: exporters.otlp/7.keepalive.permit_without_stream must be true, got false; probes are sent on idle connections, too",
            "10:25: exporters.otlp_grpc.endpoint must be `host:port`, `https://host:port`, `http://host:port` or `unix:///path`, got the number 4317; write the host: `localhost:4317`",
        ],
    );
}

#[test]
fn an_http_exporter_has_urls() {
    check_refused(
        r"
            exporters:
              debug:
              otlphttp: {endpoint: collector:4318}
              otlphttp/2: {endpoint: 'http://collector', tls: {key_file: a, cert_file: b}, proxy_url: 'ftp://me:hunter2@proxy'}
              otlphttp/3: {endpoint: 'http://collector?x'}
              otlphttp/4: {traces_endpoint: 'http://collector/a?x', encoding: proto, cookies: {}}
              otlphttp/5: {endpoint: 'http://collector', encoding: xml, compression: snappy}
              otlphttp/6: {endpoint: 'http://collector', compression: gzipp}
              otlphttp/7: {endpoint: 'http://collector/?x'}
              otlp_http: {logs_endpoint: 5}",
        &[
            "3:24: exporters.otlphttp.endpoint must be a URL such as `http://localhost:4318`, got `collector:4318`; write the scheme: `http://`",
            "4:26: exporters.otlphttp/2.endpoint is unencrypted, but `tls.cert_file` is written; write `https://` to encrypt",
            "4:91: exporters.otlphttp/2.proxy_url must be the URL of a proxy such as `http://localhost:3128`, got text",
            "5:26: exporters.otlphttp/3.endpoint must be a URL such as `http://localhost:4318`, got `http://collector?x`; write the path after the host, special characters as %XX",
            "6:74: key `cookies` in exporters.otlphttp/4 is not supported in this version",
            "7:56: exporters.otlphttp/5.encoding must be one of: json, proto, got `xml`",
            "7:74: exporters.otlphttp/5.compression `snappy` is not supported in this version; known: gzip, none, zstd",
            "8:59: exporters.otlphttp/6.compression must be one of: gzip, none, zstd, got `gzipp`; did you mean `gzip`?",
            "9:26: exporters.otlphttp/7.endpoint must be a URL without a query, got `http://collector/?x`; write a query in `traces_endpoint`, `metrics_endpoint`, `logs_endpoint`",
            "10:30: exporters.otlp_http.logs_endpoint must be a URL such as `http://localhost:4318`, got the number 5; write the host: `http://localhost:4318`",
        ],
    );
}

#[test]
fn credentials_in_an_endpoint_are_refused_and_not_repeated() {
    check_refused(
        r"
            exporters:
              debug:
              otlp: {endpoint: 'http://me:hunter2@collector:4317'}
              otlphttp: {endpoint: 'http://me:hunter2@collector'}",
        &[
            "3:20: exporters.otlp.endpoint must be `host:port`, `https://host:port`, `http://host:port` or `unix:///path`, got text; write credentials as `headers`",
            "4:24: exporters.otlphttp.endpoint must be a URL such as `http://localhost:4318`, got text; write credentials as `headers`",
        ],
    );
}

#[test]
fn a_retry_waits_longer_each_time_and_ends_after_its_parts() {
    check_refused(
        r"
            exporters:
              debug:
              otlp:
                endpoint: http://c:1
                retry_on_failure:
                  enabled: maybe
                  initial_interval: 0s
                  randomization_factor: 1.5
                  multiplier: 0.5
                  max_interval: 1
                  max_retries: 5",
        &[
            "6:16: exporters.otlp.retry_on_failure.enabled must be true or false, got `maybe`",
            "7:25: exporters.otlp.retry_on_failure.initial_interval must be more than 0, got `0s`",
            "8:29: exporters.otlp.retry_on_failure.randomization_factor must be a number from 0 to 1, got the number 1.5",
            "9:19: exporters.otlp.retry_on_failure.multiplier must be a number of at least 1, got the number 0.5",
            "10:21: exporters.otlp.retry_on_failure.max_interval must be a duration, got the number 1; write the unit: `1s`, `1ms`",
            "11:7: unknown key `max_retries` in exporters.otlp.retry_on_failure; known: budget, enabled, initial_interval, max_elapsed_time, max_interval, multiplier, randomization_factor",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              otlp:
                endpoint: http://c:1
                retry_on_failure:
                  max_elapsed_time: 10s
              otlp/2:
                endpoint: http://c:1
                retry_on_failure:
                  initial_interval: 10m
              otlp/3:
                endpoint: http://c:1
                retry_on_failure: {max_elapsed_time: 1s, enabled: false}",
        &[
            "6:25: max_elapsed_time (10s) is less than max_interval (30s) in exporters.otlp.retry_on_failure; 0 is no limit",
            "10:7: max_elapsed_time (300s) is less than initial_interval (600s) in exporters.otlp/2.retry_on_failure; 0 is no limit",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              otlp: {endpoint: http://c:1, retry_on_failure: true, timeout: 5}",
        &[
            "3:50: exporters.otlp.retry_on_failure must be a mapping, got true",
            "3:65: exporters.otlp.timeout must be a duration, got the number 5; write the unit: `5s`, `5ms`",
        ],
    );
}

#[test]
fn a_queue_holds_and_sends_at_least_one_request() {
    check_refused(
        r"
            exporters:
              debug:
              otlp:
                endpoint: http://c:1
                sending_queue:
                  num_consumers: 0
                  queue_size: 0
                  sizer: requests
                  storage: file_storage
                  batch: {}
                  block_on_overflow: 1
              otlp/2:
                endpoint: http://c:1
                sending_queue: {sizer: request, batch: {flush_timeout: 0, max_size: 5, sizer: requests}}",
        &[
            "6:22: exporters.otlp.sending_queue.num_consumers must be a whole number from 1 to 4294967295, got the number 0",
            "7:19: exporters.otlp.sending_queue.queue_size must be a whole number from 1 to 4294967295, got the number 0",
            "9:16: exporters.otlp.sending_queue.storage is `file_storage`, which extensions does not define; define one: file_storage",
            "10:7: exporters.otlp.sending_queue.batch cannot be counted in requests, as the queue is; write `sizer: items` or `sizer: bytes` in the batch",
            "11:26: exporters.otlp.sending_queue.block_on_overflow must be true or false, got the number 1",
            "14:28: exporters.otlp/2.sending_queue.sizer must be one of: bytes, items, requests, got `request`; did you mean `requests`?",
            "14:60: exporters.otlp/2.sending_queue.batch.flush_timeout must be more than 0, got the number 0; min_size: 0 sends at once",
            "14:73: exporters.otlp/2.sending_queue.batch.max_size must be 0 or at least min_size (8192), got the number 5",
            "14:83: exporters.otlp/2.sending_queue.batch.sizer must be one of: bytes, items, got `requests`",
        ],
    );
}

#[test]
fn a_header_is_one_of_its_name_and_its_value_is_never_repeated() {
    check_refused(
        r#"
            exporters:
              debug:
              otlp:
                endpoint: http://c:1
                headers:
                  Authorization: 12345
                  'x y': a
                  Content-Type: a
                  x-bin: a
                  x-a: "two\nlines"
                  x-b: 1
                  X-B: 2
                  x-c: [a]
                  grpc-x: a"#,
        &[
            "6:22: exporters.otlp.headers.Authorization must be text, got a number",
            "7:7: exporters.otlp.headers.x y is not the name of a header",
            "8:7: exporters.otlp.headers.Content-Type is a header that the exporter sets itself",
            "9:7: exporters.otlp.headers.x-bin is a binary header, which is not supported in this version",
            "10:12: exporters.otlp.headers.x-a must be one line of ASCII text",
            "11:12: exporters.otlp.headers.x-b must be text, got a number",
            "12:7: exporters.otlp.headers.X-B is a second header of that name; upper and lower case are the same",
            "13:12: exporters.otlp.headers.x-c must be text, got a list",
            "14:7: exporters.otlp.headers.grpc-x is a header that the exporter sets itself",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              otlp:
                endpoint: http://c:1
                headers:
                  - {name: a, value: hunter2, secret: b}
                  - {name: A, value: hunter2}
                  - {name: b}
                  - {value: hunter2}
                  - hunter2",
        &[
            "6:35: unknown key `secret` in exporters.otlp.headers[0]; known: name, value",
            "7:9: exporters.otlp.headers[1] is a second header of that name; upper and lower case are the same",
            "8:9: missing key `value` in exporters.otlp.headers[2]",
            "9:9: missing key `name` in exporters.otlp.headers[3]",
            "10:9: exporters.otlp.headers[4] must be a mapping of `name` and `value`, got text",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              otlp: {endpoint: http://c:1, headers: hunter2}",
        &["3:41: exporters.otlp.headers must be a mapping of names to values, got text"],
    );
}

#[test]
fn a_store_has_a_file_of_its_own_and_one_writer() {
    check_refused(
        r"
            exporters:
              debug:
              sqlite:
                path: ''
                max_size: 1000
                sending_queue: {num_consumers: 4, queue_size: 5}
                retry_on_failure: {}
                max_age: 5d",
        &[
            "4:11: exporters.sqlite.path must not be empty",
            "5:15: exporters.sqlite.max_size must be a number of bytes of at least 1048576, got the number 1000",
            "6:21: exporters.sqlite.sending_queue.num_consumers cannot be chosen; a store has one writer",
            "7:5: key `retry_on_failure` in exporters.sqlite is not supported in this version; a store that is busy is tried again in any case",
            "8:5: unknown key `max_age` in exporters.sqlite; known: max_size, path, sending_queue",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db}
              sqlite/2: {path: a.db}",
        &["4:3: exporters.sqlite/2 writes to the file of sqlite; give each its own path"],
    );
}
