//! Files refused by their words: names, types, units.

use super::{check_refused, errors};

#[test]
fn an_unknown_key_is_named_with_its_place_and_what_is_known() {
    check_refused(
        "recievers: {}",
        &[
            "1:1: unknown key `recievers` at the top; did you mean `receivers`? known: exporters, extensions, processors, receivers, service",
        ],
    );
    check_refused(
        r"
            connectors: {}
            extra: 1",
        &[
            "1:1: key `connectors` at the top is not supported in this version",
            "2:1: unknown key `extra` at the top; known: exporters, extensions, processors, receivers, service",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeoutt: 5s",
        &[
            "3:5: unknown key `timeoutt` in processors.batch; did you mean `timeout`? known: send_batch_max_size, send_batch_size, timeout",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                unrelated: 5s
                metadata_keys: [a]",
        &[
            "3:5: unknown key `unrelated` in processors.batch; known: send_batch_max_size, send_batch_size, timeout",
            "4:5: key `metadata_keys` in processors.batch is not supported in this version; what receives does not carry metadata",
        ],
    );
    check_refused(
        "processors: {batch: {1: a, true: b}}",
        &[
            "1:22: unknown key `1` in processors.batch; known: send_batch_max_size, send_batch_size, timeout",
            "1:28: unknown key `true` in processors.batch; known: send_batch_max_size, send_batch_size, timeout",
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    check_refused("processors: [batch]", &["1:13: processors must be a mapping, got a list"]);
    check_refused("processors: 5", &["1:13: processors must be a mapping, got the number 5"]);
    check_refused(
        r"
            processors:
              batch: on",
        &["2:10: processors.batch must be a mapping, got `on`"],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: [5s]
                send_batch_size: {a: b}",
        &[
            "3:14: processors.batch.timeout must be a duration, got a list; write a number and a unit: `5s`",
            "4:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got a mapping",
        ],
    );
}

#[test]
fn a_duration_needs_a_unit_and_is_not_negative() {
    check_refused(
        r"
            processors:
              batch:
                timeout: 5",
        &[
            "3:14: processors.batch.timeout must be a duration, got the number 5; write the unit: `5s`, `5ms`",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: -5s",
        &[
            "3:14: processors.batch.timeout must be a duration, got `-5s`; a duration cannot be negative",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: -5",
        &[
            "3:14: processors.batch.timeout must be a duration, got the number -5; a duration cannot be negative",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: 5d",
        &[
            "3:14: processors.batch.timeout must be a duration, got `5d`; known units: ns, us, ms, s, m, h",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: 1.5",
        &[
            "3:14: processors.batch.timeout must be a duration, got the number 1.5; write a number and a unit: `5s`",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: true",
        &[
            "3:14: processors.batch.timeout must be a duration, got true; write a number and a unit: `5s`",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                timeout: ''",
        &[
            "3:14: processors.batch.timeout must be a duration, got empty text; write a number and a unit: `5s`",
        ],
    );
}

#[test]
fn a_count_is_a_whole_number_in_its_range() {
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: -1",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got the number -1",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: 4294967296",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got the number 4294967296",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: 99999999999999999999999999999999999999999",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got the number 100000000000000000000000000000000000000000",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: many",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got `many`",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: 1.5",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got the number 1.5",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: '5'",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got `5`; write it without quotes",
        ],
    );
    check_refused(
        r"
            processors:
              batch:
                send_batch_size: 010",
        &[
            "3:22: processors.batch.send_batch_size must be a whole number from 0 to 4294967295, got `010`",
        ],
    );
}

#[test]
fn a_size_in_bytes_has_a_unit_that_we_know() {
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: 1gb}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes, got `1gb`; known units: B, KiB, MiB, GiB, TiB, KB, MB, GB",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: 1000}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes of at least 1048576, got the number 1000",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: -1}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes, got the number -1; write a whole number of bytes, or one with a unit: `64MiB`",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: 1.5GiB}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes, got `1.5GiB`; known units: B, KiB, MiB, GiB, TiB, KB, MB, GB",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: 99999999TiB}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes, got `99999999TiB`; the size is beyond all bounds",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              sqlite: {path: a.db, max_size: true}",
        &[
            "3:34: exporters.sqlite.max_size must be a number of bytes, got true; write a whole number of bytes, or one with a unit: `64MiB`",
        ],
    );
}

#[test]
fn a_component_that_is_not_ours_is_refused_with_those_that_are() {
    check_refused(
        r"
            processors:
              batchh:
              memory_limiter:
              batch/:
              ba-tch:
              batch/a b:
              ~: a",
        &[
            "2:3: unknown component `batchh` in processors; did you mean `batch`? known: adaptive_tail_sampling, batch, probabilistic_sampler, tail_sampling",
            "3:3: component `memory_limiter` in processors is not supported in this version; memory is bounded without it: leave it out",
            "4:3: an id in processors must have a name without spaces after the `/`",
            "5:3: an id in processors must be `type` or `type/name`, the type in letters, digits and `_`",
            "6:3: an id in processors must have a name without spaces after the `/`",
            "7:3: an id in processors must be `type` or `type/name`, the type in letters, digits and `_`",
        ],
    );
    check_refused(
        r"
            receivers:
              otlp: {protocols: {grpc: }}
              jaeger:
              zipkinn:",
        &[
            "3:3: component `jaeger` in receivers is not supported in this version; Jaeger's clients and agents can send OTLP",
            "4:3: unknown component `zipkinn` in receivers; known: otlp",
        ],
    );
    check_refused(
        r"
            exporters:
              debug:
              loging:
              logging:
              kafka/x:",
        &[
            "3:3: unknown component `loging` in exporters; known: debug, failover, loadbalancing, otlp, otlp_grpc, otlp_http, otlphttp, sqlite",
            "4:3: component `logging` in exporters is not supported in this version; its new name is debug",
            "5:3: component `kafka` in exporters is not supported in this version",
        ],
    );
    check_refused(
        r"
            extensions:
              admin:
              adminn:
              health_check:",
        &[
            "3:3: unknown component `adminn` in extensions; did you mean `admin`? known: admin, apikeyauth, basicauth, bearertokenauth, certificateauth, file_storage, pebble_tail_storage",
            "4:3: component `health_check` in extensions is not supported in this version; `admin` serves /health",
        ],
    );
}

#[test]
fn a_file_is_a_mapping_with_the_sections_that_it_needs() {
    assert_eq!(errors("- a\n"), ["1:1: the file must be a mapping, got a list"]);
    assert_eq!(errors("text"), ["1:1: the file must be a mapping, got `text`"]);
    let missing = [
        "1:1: missing key `receivers` at the top",
        "1:1: missing key `exporters` at the top",
        "1:1: missing key `service` at the top",
    ];
    assert_eq!(errors("# nothing\n"), missing);
    assert_eq!(errors("receivers:\nexporters:\nservice:\n"), missing);
}
