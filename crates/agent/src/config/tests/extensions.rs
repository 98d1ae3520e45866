//! Extensions, and what receivers and exporters need of them.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::*;
use super::{FULL, check, check_refused, completed, endpoint, id, parse, reference};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn tokens(header: &str, scheme: &str, tokens: &[&str]) -> Extension {
    Extension::Tokens(TokenAuth {
        header: header.to_owned(),
        scheme: scheme.to_owned(),
        tokens: Tokens::Written(tokens.iter().map(|token| secret(token)).collect()),
    })
}

#[test]
fn an_extension_says_everything() {
    let extensions = parse(FULL).0.extensions;
    let admin = Extension::Admin(Admin { endpoint: endpoint("0.0.0.0", 9999) });
    check(&extensions, "admin", admin);
    let bearer = tokens("x-token", "Token", &["hunter2", "hunter2-old"]);
    check(&extensions, "bearertokenauth", bearer);
    let file = TokenAuth {
        header: "authorization".to_owned(),
        scheme: "Bearer".to_owned(),
        tokens: Tokens::File("/etc/token".into()),
    };
    check(&extensions, "bearertokenauth/client", Extension::Tokens(file));
    let one = tokens("authorization", "Bearer", &["hunter2"]);
    check(&extensions, "bearertokenauth/one", one);
    check(&extensions, "apikeyauth", tokens("x-key", "", &["hunter2"]));
    check(&extensions, "apikeyauth/several", tokens("x-api-key", "", &["hunter2"]));
    let server = BasicAuth::Server {
        file: Some("/etc/htpasswd".into()),
        inline: Some(secret("ann:hunter2\n")),
    };
    check(&extensions, "basicauth", Extension::Basic(server));
    let client = BasicAuth::Client {
        user: Text::Written(secret("ann")),
        password: Text::Written(secret("hunter2")),
    };
    check(&extensions, "basicauth/client", Extension::Basic(client));
    let files = BasicAuth::Client {
        user: Text::File("/etc/user".into()),
        password: Text::File("/etc/password".into()),
    };
    check(&extensions, "basicauth/files", Extension::Basic(files));
    let names = vec!["client.example.com".to_owned(), "spiffe://example.com/x".to_owned()];
    let certificates = Extension::Certificates(CertificateAuth { names });
    check(&extensions, "certificateauth", certificates);
    let storage = FileStorage {
        directory: "/var/lib/teleflow".into(),
        create_directory: true,
        max_bytes: 10 << 30,
        segment_bytes: 64 << 20,
        max_age: Some(Duration::from_secs(72 * 3600)),
        on_full: StorageFull::DropOldest,
        sync: StorageSync::Never,
        drain: Drain {
            records_per_second: NonZeroU32::new(100),
            bytes_per_second: NonZeroU32::new(10 << 20),
        },
    };
    check(&extensions, "file_storage", Extension::Storage(storage));
    let held = TailStorage { directory: "held".into(), max_bytes: Some(500 << 20) };
    check(&extensions, "pebble_tail_storage", Extension::TailStorage(held));
}

#[test]
fn a_tail_storage_is_as_large_as_the_disk_unless_told_otherwise() {
    for keys in ["", ", max_storage_size_mib: 0", ", on_read_error: return_partial"] {
        let extensions = format!("extensions: {{pebble_tail_storage: {{directory: d{keys}}}}}");
        let config = parse(&completed(&extensions)).0;
        let storage = TailStorage { directory: "d".into(), max_bytes: None };
        check(&config.extensions, "pebble_tail_storage", Extension::TailStorage(storage));
    }
    check_refused(
        r"
            extensions:
              pebble_tail_storage: {max_storage_size_mib: -1, on_read_error: panic, size: 1}
              pebble_tail_storage/2: {directory: '', max_storage_size_mib: 17592186044416}",
        &[
            "2:3: missing key `directory` in extensions.pebble_tail_storage",
            "2:47: extensions.pebble_tail_storage.max_storage_size_mib must be a whole number from 0 to 17592186044415, got the number -1",
            "2:66: extensions.pebble_tail_storage.on_read_error must be one of: drop_trace, return_partial, got `panic`",
            "2:73: unknown key `size` in extensions.pebble_tail_storage; known: directory, max_storage_size_mib, on_read_error",
            "3:38: extensions.pebble_tail_storage/2.directory must not be empty",
            "3:64: extensions.pebble_tail_storage/2.max_storage_size_mib must be a whole number from 0 to 17592186044415, got the number 17592186044416",
        ],
    );
}

#[test]
fn a_sampler_names_a_storage_that_runs_and_can_hold_traces() {
    let policies = "policies: [{name: a, type: always_sample}]";
    check_refused(
        &format!(
            r"
            receivers: {{otlp: {{protocols: {{grpc: }}}}}}
            processors:
              tail_sampling: {{{policies}, tail_storage: admin}}
              tail_sampling/2: {{{policies}, tail_storage: pebble}}
              tail_sampling/3: {{{policies}, tail_storage: file_storage}}
            exporters:
              otlp: {{endpoint: c:1, sending_queue: {{storage: pebble_tail_storage}}}}
            extensions:
              admin:
              file_storage: {{directory: d}}
              pebble_tail_storage: {{directory: d}}
            service:
              extensions: [admin, pebble_tail_storage]
              pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [otlp]}}}}"
        ),
        &[
            "3:77: processors.tail_sampling.tail_storage is `admin`, which does not keep what samplers hold; write one that does: file_storage or pebble_tail_storage",
            "4:79: processors.tail_sampling/2.tail_storage is `pebble`, which extensions does not define; defined: file_storage, pebble_tail_storage",
            "5:79: processors.tail_sampling/3.tail_storage is `file_storage`, which does not run; write it in service.extensions as well",
            "7:50: exporters.otlp.sending_queue.storage is `pebble_tail_storage`, which does not keep queues; write one that does: file_storage",
        ],
    );
}

#[test]
fn a_storage_keeps_a_gibibyte_for_ever_and_safely_unless_told_otherwise() {
    let storage = |keys: &str| {
        let extensions = format!("extensions: {{file_storage: {{directory: d{keys}}}}}");
        match parse(&completed(&extensions)).0.extensions.remove(&id("file_storage")) {
            Some(Extension::Storage(storage)) => storage,
            other => panic!("{other:?}"),
        }
    };
    let default = FileStorage {
        directory: "d".into(),
        create_directory: false,
        max_bytes: 1 << 30,
        segment_bytes: 32 << 20,
        max_age: None,
        on_full: StorageFull::Refuse,
        sync: StorageSync::Always,
        drain: Drain::default(),
    };
    assert_eq!(storage(""), default);
    assert_eq!(storage(", max_age: 0, on_full: refuse, sync: always, drain: "), default);
    let small = FileStorage { max_bytes: 32 << 20, segment_bytes: 16 << 20, ..default };
    assert_eq!(storage(", max_bytes: 32MiB"), small);
    for (keys, sync) in [
        (", fsync: true", StorageSync::Always),
        (", fsync: false", StorageSync::Never),
        (", sync: never", StorageSync::Never),
        (", sync: 0", StorageSync::Always),
        (", sync: 200ms", StorageSync::Interval(Duration::from_millis(200))),
    ] {
        assert_eq!(storage(keys).sync, sync, "{keys}");
    }
}

#[test]
fn a_queue_with_a_storage_is_as_large_as_that_unless_it_says_so() {
    let config = parse(FULL).0;
    let queue = |name: &str| config.exporters[&id(name)].queue().unwrap();
    let stored = queue("loadbalancing");
    assert_eq!(stored.storage, Some(reference("file_storage/second")));
    assert_eq!(stored.queue_size, None);
    let bounded = queue("otlp/socket");
    assert_eq!(bounded.storage, Some(reference("file_storage")));
    assert_eq!(bounded.queue_size.map(|size| size.get()), Some(64_000_000));
}

#[test]
fn what_authenticates_has_something_to_do_it_with() {
    check_refused(
        r#"
            extensions:
              bearertokenauth: {}
              bearertokenauth/2: {token: hunter2, tokens: [hunter2], scheme: 'a b', header: 'x y'}
              bearertokenauth/3: {token: "hunter 2", filename: /f, hedder: x}
              bearertokenauth/4: {tokens: []}
              bearertokenauth/5: {tokens: [5, ''], header: content-type}
              apikeyauth: {keys: hunter2, scheme: x}
              basicauth:
              basicauth/2: {htpasswd: {}, client_auth: {username: ann}}
              basicauth/3: {client_auth: {password: hunter2, password_file: /f, aws_secrets_manager: {}}}
              basicauth/4: {client_auth: {username: 'hunter:2'}}
              basicauth/5: {htpasswd: {inline: [hunter2], file: ''}}"#,
        &[
            "2:3: missing key `token` in extensions.bearertokenauth",
            "3:39: extensions.bearertokenauth/2.tokens is written, and `token` as well; leave one of them out",
            "3:66: extensions.bearertokenauth/2.scheme must be one word, got `a b`",
            "3:81: extensions.bearertokenauth/2.header `x y` is not the name of a header",
            "4:42: extensions.bearertokenauth/3.filename is written, and `token` as well; leave one of them out",
            "4:56: unknown key `hedder` in extensions.bearertokenauth/3; did you mean `header`? known: filename, header, scheme, token, tokens",
            "5:31: extensions.bearertokenauth/4.tokens must have at least one token",
            "6:32: extensions.bearertokenauth/5.tokens[0] must be text, got a number",
            "6:35: extensions.bearertokenauth/5.tokens[1] must be one word of ASCII text",
            "6:48: extensions.bearertokenauth/5.header `content-type` is a header that the exporter sets itself",
            "7:22: extensions.apikeyauth.keys must be a list, got text",
            "7:31: unknown key `scheme` in extensions.apikeyauth; known: filename, header, key, keys",
            "8:12: extensions.basicauth must have at least one key, htpasswd for receivers or client_auth for exporters",
            "9:27: extensions.basicauth/2.htpasswd must have at least one key, file or inline",
            "9:31: extensions.basicauth/2.client_auth is written, and `htpasswd` as well; write two extensions: one for receivers and one for exporters",
            "10:17: missing key `username` in extensions.basicauth/3.client_auth",
            "10:50: extensions.basicauth/3.client_auth.password_file is written, and `password` as well; leave one of them out",
            "10:69: key `aws_secrets_manager` in extensions.basicauth/3.client_auth is not supported in this version",
            "11:17: extensions.basicauth/4.client_auth.username must have no `:`",
            "12:27: extensions.basicauth/5.htpasswd must have at least one key, file or inline",
            "12:36: extensions.basicauth/5.htpasswd.inline must be text, got a list",
            "12:53: extensions.basicauth/5.htpasswd.file must not be empty",
        ],
    );
}

#[test]
fn a_storage_has_a_place_and_bounds() {
    check_refused(
        r"
            extensions:
              file_storage:
              file_storage/2: {directory: '', max_bytes: 1MiB, max_age: 5, on_full: drop, sync: often, fsync: 1}
              file_storage/3: {directory: d, max_bytes: 64MiB, segment_bytes: 64MiB, sync: never, fsync: true}
              file_storage/4: {directory: d, drain: {records_per_second: 0, bytes_per_second: 5GiB, items: 5}}
              file_storage/5: {directory: d, timeout: 5, compaction: {on_start: 1, check_interval: 5, other: 1}, recreate: true}",
        &[
            "2:3: missing key `directory` in extensions.file_storage",
            "3:31: extensions.file_storage/2.directory must not be empty",
            "3:46: extensions.file_storage/2.max_bytes must be a number of bytes of at least 33554432, got `1MiB`",
            "3:61: extensions.file_storage/2.max_age must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "3:73: extensions.file_storage/2.on_full must be one of: drop_oldest, refuse, got `drop`",
            "3:85: extensions.file_storage/2.sync must be `always`, `never` or a duration such as `5s`, got `often`",
            "3:99: extensions.file_storage/2.fsync must be true or false, got the number 1",
            "4:67: extensions.file_storage/3.segment_bytes must be a number of bytes from 1048576 to 33554432, got `64MiB`",
            "4:87: extensions.file_storage/3.fsync is written, and `sync` as well; leave one of them out",
            "5:62: extensions.file_storage/4.drain.records_per_second must be a whole number from 1 to 4294967295, got the number 0",
            "5:83: extensions.file_storage/4.drain.bytes_per_second must be a number of bytes from 1 to 4294967295, got `5GiB`",
            "5:89: unknown key `items` in extensions.file_storage/4.drain; known: bytes_per_second, records_per_second",
            "6:43: extensions.file_storage/5.timeout must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "6:69: extensions.file_storage/5.compaction.on_start must be true or false, got the number 1",
            "6:88: extensions.file_storage/5.compaction.check_interval must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "6:91: unknown key `other` in extensions.file_storage/5.compaction; known: check_interval, cleanup_on_start, directory, max_transaction_size, on_rebound, on_start, rebound_needed_threshold_mib, rebound_trigger_threshold_mib",
            "6:102: key `recreate` in extensions.file_storage/5 is not supported in this version; damaged files are skipped without it",
        ],
    );
}

#[test]
fn what_a_component_needs_is_there_able_and_running() {
    check_refused(
        r"
            receivers:
              otlp:
                protocols:
                  grpc: {auth: {authenticator: bearertokenauht}}
                  http: {auth: {authenticator: basicauth/client}}
              otlp/2: {protocols: {grpc: {auth: {}}, http: {auth: {authenticator: apikeyauth, request_params: []}}}}
              otlp/3: {protocols: {grpc: {auth: {authenticator: a b}}}}
            exporters:
              debug:
              otlp: {endpoint: c:1, auth: {authenticator: basicauth/server}}
              otlp/2: {endpoint: c:1, auth: {authenticator: bearertokenauth}, headers: {Authorization: hunter2}}
              otlphttp: {endpoint: http://c, auth: bearertokenauth, sending_queue: {storage: admin}}
              otlphttp/2: {endpoint: http://c, sending_queue: {storage: file_storage, wait_for_result: true, sizer: bytes, queue_size: 5}}
              failover: {destinations: [{otlp: {endpoint: c:1, auth: {authenticator: oidc}}}, {otlp: {endpoint: c:1, auth: {authenticator: none}}}]}
            extensions:
              admin:
              apikeyauth: {key: hunter2}
              basicauth/client: {client_auth: {username: ann}}
              basicauth/server: {htpasswd: {inline: a}}
              bearertokenauth: {token: hunter2}
              file_storage: {directory: d}
              oidc:
            service:
              extensions: [admin, bearertokenauth, file_storage]
              pipelines: {traces: {receivers: [otlp], exporters: [debug]}}",
        &[
            "4:36: receivers.otlp.protocols.grpc.auth.authenticator is `bearertokenauht`, which extensions does not define; did you mean `bearertokenauth`? defined: apikeyauth, basicauth/server, bearertokenauth",
            "5:36: receivers.otlp.protocols.http.auth.authenticator is `basicauth/client`, which does not verify who sends; write one that does: bearertokenauth, apikeyauth, certificateauth, or basicauth with `htpasswd`",
            "6:31: missing key `authenticator` in receivers.otlp/2.protocols.grpc.auth",
            "6:71: receivers.otlp/2.protocols.http.auth.authenticator is `apikeyauth`, which does not run; write it in service.extensions as well",
            "6:83: key `request_params` in receivers.otlp/2.protocols.http.auth is not supported in this version",
            "7:53: receivers.otlp/3.protocols.grpc.auth.authenticator must be `type` or `type/name`, the type in letters, digits and `_`, got `a b`",
            "10:47: exporters.otlp.auth.authenticator is `basicauth/server`, which has no credentials to send with; write one that does: bearertokenauth, apikeyauth, or basicauth with `client_auth`",
            "11:49: exporters.otlp/2.auth.authenticator is `bearertokenauth`, which sends the header `authorization`; leave it out of `headers`",
            "12:40: exporters.otlphttp.auth must be a mapping, got `bearertokenauth`",
            "12:82: exporters.otlphttp.sending_queue.storage is `admin`, which does not keep queues; write one that does: file_storage",
            "13:124: exporters.otlphttp/2.sending_queue.queue_size must be a whole number from 33554432 to 4294967295, got the number 5",
            "14:128: exporters.failover.destinations[1].otlp.auth.authenticator is `none`, which extensions does not define; defined: apikeyauth, basicauth/client, bearertokenauth",
            "22:3: component `oidc` in extensions is not supported in this version",
        ],
    );
}

#[test]
fn a_name_in_a_certificate_is_asked_for_only_where_one_is_shown() {
    check_refused(
        r"
            receivers:
              otlp:
                protocols:
                  grpc:
                    auth: {authenticator: certificateauth}
                    tls: {cert_file: a, key_file: b}
                  http:
                    auth: {authenticator: certificateauth}
                    tls: {cert_file: a, key_file: b, client_ca_file: c}
            extensions:
              certificateauth: {names: [a]}
              certificateauth/2: {names: [], subjects: [a]}
              certificateauth/3:
            service:
              extensions: [certificateauth]
              pipelines: {traces: {receivers: [otlp], exporters: [debug]}}",
        &[
            "5:31: receivers.otlp.protocols.grpc.auth.authenticator is `certificateauth`, but clients show no certificate; write `client_ca_file` in `tls` of the protocol",
            "12:30: extensions.certificateauth/2.names must have at least one name",
            "12:34: unknown key `subjects` in extensions.certificateauth/2; known: names",
            "13:3: missing key `names` in extensions.certificateauth/3",
        ],
    );
}
