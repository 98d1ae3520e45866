//! Files refused before any section is read: syntax, duplicates, references.

use super::check_refused;

#[test]
fn a_key_that_is_there_twice_is_refused_each_time() {
    check_refused(
        r"
            processors:
              batch:
              batch:
              batch: {timeout: 1s, timeout: 2s}",
        &[
            "3:3: duplicate key `batch`; it is already at 2:3",
            "4:3: duplicate key `batch`; it is already at 2:3",
            "4:24: duplicate key `timeout`; it is already at 4:11",
        ],
    );
    check_refused(
        r"
            receivers: {otlp: {protocols: {grpc: }}}
            receivers: {}",
        &["2:1: duplicate key `receivers`; it is already at 1:1"],
    );
}

#[test]
fn what_is_not_yaml_is_refused_where_it_ceases_to_be() {
    check_refused(
        "processors:\n\tbatch:",
        &["2:2: tabs disallowed within this context (block indentation)"],
    );
    check_refused("processors: 'a", &["2:1: invalid indentation in multiline quoted scalar"]);
    check_refused(
        r"
            processors:
             batch:
              timeout: 5s
               send: 1",
        &["4:8: mapping values are not allowed in this context"],
    );
    check_refused("processors: {batch: *b}", &["1:21: while parsing node, found unknown anchor"]);
    check_refused(
        r"
            %YAML 9.9
            ---
            processors:",
        &["1:1: unsupported YAML major version"],
    );
}

#[test]
fn yaml_that_a_config_file_has_no_use_for_is_refused() {
    check_refused(
        "processors: &p {batch: *p}",
        &["1:24: the alias refers to the value that it is part of"],
    );
    check_refused(
        r"
            processors: {batch: }
            ---
            a: 1",
        &["2:1: a second document starts here, a file holds one"],
    );
    check_refused("processors: {[a]: b}", &["1:14: a key must be text, not a mapping or a list"]);
    check_refused(
        "processors: {{a: b}: c}",
        &["1:14: a key must be text, not a mapping or a list"],
    );
    check_refused("processors: !mine {}", &["1:19: tag `!mine` does not fit its value"]);
    check_refused(
        r"
            processors:
              batch: {timeout: !mine 5s}",
        &["2:26: unknown tag `!mine`"],
    );
    check_refused(
        r"
            processors:
              batch: {send_batch_size: !!int five}",
        &["2:34: `five` is not of the type `!!int`"],
    );
    check_refused(
        r"
            processors:
              <<: 5
              batch:
                <<: [{timeout: 1s}, 5]",
        &[
            "2:7: `<<` must be a mapping or a list of mappings, got the number 5",
            "4:25: `<<` must be a mapping or a list of mappings, got the number 5",
        ],
    );
    check_refused("processors: !!seq {}", &["1:19: tag `!!seq` does not fit its value"]);
}

#[test]
fn a_reference_that_cannot_be_expanded_is_refused() {
    check_refused(
        r"
            processors:
              batch:
                timeout: ${env:NOT_SET}
                send_batch_size: ${file:x}
                send_batch_max_size: a${env:}b",
        &[
            "3:14: the environment variable `NOT_SET` is not set; set it, or give a default: `${env:NOT_SET:-default}`",
            "4:22: references of the scheme `file` are not supported; known: env",
            "5:26: `` is not the name of an environment variable; letters, digits and `_`, the first not a digit",
        ],
    );
}
