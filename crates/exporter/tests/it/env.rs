//! Rules 60 to 67: the variables of the specification, row by row. `docs/conformance.md` has the
//! numbers.

use std::collections::HashMap;
use std::time::Duration;

use teleflow_exporter::{
    BatchEnv, Compression, EnvError, MAX_ENV_BYTES, OtlpConfig, OtlpEnv, OtlpProtocol,
};
use teleflow_otlp::Signal;

const GENERAL: &str = "OTEL_EXPORTER_OTLP_";

/// Reads these variables, whose names begin with [`GENERAL`], and no others.
fn read(signal: Signal, variables: &[(&str, &str)]) -> Result<OtlpEnv, EnvError> {
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|&(name, value)| (format!("{GENERAL}{name}"), value.to_owned()))
        .collect();
    OtlpEnv::read(signal, |name| variables.get(name).cloned())
}

#[track_caller]
fn good(variables: &[(&str, &str)]) -> OtlpEnv {
    let env = read(Signal::Traces, variables).unwrap();
    assert_eq!(env.warnings, [], "{variables:?}");
    env
}

/// What is warned of, without the beginning that all names have.
#[track_caller]
fn warned(env: &OtlpEnv) -> Vec<String> {
    let texts = env.warnings.iter().map(ToString::to_string);
    texts.map(|text| text.strip_prefix(GENERAL).unwrap().to_owned()).collect()
}

#[track_caller]
fn refused(variables: &[(&str, &str)]) -> String {
    read(Signal::Traces, variables).unwrap_err().to_string()
}

fn http(env: &OtlpEnv) -> teleflow_exporter::HttpConfig {
    match env.config() {
        OtlpConfig::Http(config) => config,
        other => panic!("{other:?}"),
    }
}

fn grpc(env: &OtlpEnv) -> teleflow_exporter::GrpcConfig {
    match env.config() {
        OtlpConfig::Grpc(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_60_endpoints_and_their_defaults() {
    for signal in Signal::ALL {
        let (path, upper) = (signal.http_path(), signal.name().to_uppercase());
        let own = format!("{upper}_ENDPOINT");
        let at = |variables: &[(&str, &str)]| {
            let env = read(signal, variables).unwrap();
            assert_eq!(env.warnings, []);
            env.endpoint
        };
        assert_eq!(at(&[]), format!("http://localhost:4318{path}"));
        assert_eq!(at(&[("PROTOCOL", "http/json")]), format!("http://localhost:4318{path}"));
        assert_eq!(at(&[("PROTOCOL", "grpc")]), "http://localhost:4317");
        assert_eq!(at(&[("ENDPOINT", "http://a:1")]), format!("http://a:1{path}"));
        assert_eq!(at(&[(&own, "http://b:2/own")]), "http://b:2/own");
        assert_eq!(at(&[("PROTOCOL", "grpc"), (&own, "http://b:2")]), "http://b:2");
        // An empty variable is none, and so is one of space.
        for empty in ["", "  \t"] {
            assert_eq!(at(&[("ENDPOINT", empty)]), format!("http://localhost:4318{path}"));
            let both = [(own.as_str(), empty), ("ENDPOINT", "http://a:1")];
            assert_eq!(at(&both), format!("http://a:1{path}"));
        }
        // What is of another signal is not of this one.
        for other in Signal::ALL.into_iter().filter(|&other| other != signal) {
            let other = format!("{}_ENDPOINT", other.name().to_uppercase());
            assert_eq!(at(&[(&other, "http://c:3")]), format!("http://localhost:4318{path}"));
        }
    }
}

#[test]
fn rule_60_an_endpoint_that_is_none_is_an_error_without_its_value() {
    for (endpoint, problem) in [
        ("localhost:4318", "is no URL"),
        ("/v1/traces", "is no URL"),
        ("://secret", "has a scheme other than http and https"),
        ("http://", "is no URL"),
        ("http://se cret", "is no URL"),
        ("http://secret\r\nx: 1", "is no URL"),
        ("ftp://secret", "has a scheme other than http and https"),
        ("http://user:secret@host", "holds a user name: credentials belong into a header"),
        ("http://host:secret/", "has a port that is none"),
        ("http://host:70000/", "has a port that is none"),
        ("http://[::1]:70000/", "has a port that is none"),
        ("unix:", "names no socket"),
    ] {
        assert_eq!(refused(&[("ENDPOINT", endpoint)]), format!("{GENERAL}ENDPOINT {problem}"));
        // The general one is no substitute for the signal's.
        let both = [("ENDPOINT", "http://good"), ("TRACES_ENDPOINT", endpoint)];
        assert_eq!(refused(&both), format!("{GENERAL}TRACES_ENDPOINT {problem}"));
        // And is not looked at where there is one.
        good(&[("ENDPOINT", endpoint), ("TRACES_ENDPOINT", "http://good")]);
    }
    for given in ["http://host/v1/traces", "http://host/?a=b"] {
        let problem = "ENDPOINT has a path, which gRPC does not";
        let variables = [("PROTOCOL", "grpc"), ("ENDPOINT", given)];
        assert_eq!(refused(&variables), format!("{GENERAL}{problem}"));
    }
    let long = format!("http://host/{}", "a".repeat(100_000));
    assert_eq!(
        refused(&[("ENDPOINT", &long)]),
        format!("{GENERAL}ENDPOINT is longer than 65536 bytes")
    );
}

#[test]
fn rule_61_the_base_gets_the_path_and_the_signals_url_is_as_it_is() {
    for (base, expected) in [
        ("http://h", "http://h/v1/traces"),
        ("http://h/", "http://h/v1/traces"),
        ("http://h//", "http://h/v1/traces"),
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h/base", "http://h/base/v1/traces"),
        ("http://h/base/", "http://h/base/v1/traces"),
        ("http://h/a/b//", "http://h/a/b/v1/traces"),
        ("http://h/v1/traces", "http://h/v1/traces/v1/traces"),
        ("http://h/base?key=1", "http://h/base/v1/traces?key=1"),
        ("http://h?key=/1", "http://h/v1/traces?key=/1"),
        ("http://h/base#part", "http://h/base/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        (" http://h ", "http://h/v1/traces"),
    ] {
        let env = good(&[("ENDPOINT", base)]);
        assert_eq!(env.endpoint, expected, "{base}");
        assert_eq!(http(&env).traces_endpoint.as_deref(), Some(expected));
    }
    for (own, expected) in [
        ("http://h", "http://h/"),
        ("http://h:1", "http://h:1/"),
        ("http://h/", "http://h/"),
        ("http://h//", "http://h//"),
        ("http://h/base", "http://h/base"),
        ("http://h/base/", "http://h/base/"),
        ("http://h/v1/traces", "http://h/v1/traces"),
        ("http://h?key=1", "http://h/?key=1"),
        ("http://h/base?key=/1", "http://h/base?key=/1"),
    ] {
        assert_eq!(good(&[("TRACES_ENDPOINT", own)]).endpoint, expected, "{own}");
    }
    // Each signal goes where it belongs, and nowhere else.
    for signal in Signal::ALL {
        let config = http(&read(signal, &[("ENDPOINT", "http://h")]).unwrap());
        let all = [config.traces_endpoint, config.metrics_endpoint, config.logs_endpoint];
        for other in Signal::ALL {
            let expected = (other == signal).then(|| format!("http://h{}", signal.http_path()));
            assert_eq!(all[other.index()], expected);
        }
        assert_eq!(config.endpoint, "");
    }
    assert_eq!(http(&good(&[("ENDPOINT", "unix:/run/otlp")])).endpoint, "unix:/run/otlp");
}

#[test]
fn rule_62_the_scheme_decides_on_tls_and_beats_insecure() {
    for (endpoint, insecure, expected) in [
        ("http://h:1", "", "http://h:1"),
        ("http://h:1", "false", "http://h:1"),
        ("http://h:1", "true", "http://h:1"),
        ("https://h:1", "", "https://h:1"),
        ("https://h:1", "true", "https://h:1"),
        ("HTTPS://h:1", "true", "https://h:1"),
        ("h:1", "", "https://h:1"),
        ("h:1", "false", "https://h:1"),
        ("h:1", "true", "http://h:1"),
        ("h:1", "True", "http://h:1"),
        ("h:1", "TRUE", "http://h:1"),
        ("unix:/run/otlp", "", "unix:/run/otlp"),
    ] {
        let variables = [("PROTOCOL", "grpc"), ("ENDPOINT", endpoint), ("INSECURE", insecure)];
        let env = good(&variables);
        assert_eq!(env.endpoint, expected, "{variables:?}");
        assert_eq!(grpc(&env).endpoint, expected);
    }
    // Nothing but `true` is true.
    for other in ["1", "yes", "on", "t", "truee", "\u{ff54}rue"] {
        let variables = [("PROTOCOL", "grpc"), ("ENDPOINT", "h:1"), ("INSECURE", other)];
        let env = read(Signal::Traces, &variables).unwrap();
        assert_eq!(env.endpoint, "https://h:1");
        let warning = "INSECURE is neither true nor false, and counts as false";
        assert_eq!(warned(&env), [warning]);
    }
    // Over HTTP it says nothing.
    let env = good(&[("ENDPOINT", "https://h:1"), ("INSECURE", "true")]);
    assert_eq!(env.endpoint, "https://h:1/v1/traces");
}

#[test]
fn rule_63_files_of_tls() {
    let env = good(&[("CERTIFICATE", "/ca.pem")]);
    assert_eq!(env.certificate.unwrap().to_str(), Some("/ca.pem"));
    let both = [("CLIENT_KEY", "/key.pem"), ("CLIENT_CERTIFICATE", "/cert.pem")];
    let client = good(&both).client.unwrap();
    assert_eq!(client.key.to_str(), Some("/key.pem"));
    assert_eq!(client.certificate.to_str(), Some("/cert.pem"));
    for (alone, warning) in [
        ("CLIENT_KEY", "CLIENT_KEY is left out: no …_CLIENT_CERTIFICATE is set"),
        ("CLIENT_CERTIFICATE", "CLIENT_CERTIFICATE is left out: no …_CLIENT_KEY is set"),
    ] {
        let env = read(Signal::Traces, &[(alone, "/file.pem")]).unwrap();
        assert_eq!((env.client.is_none(), warned(&env)), (true, vec![warning.to_owned()]));
    }
}

#[test]
fn rule_63_files_of_tls_come_to_the_exporter() {
    for protocol in ["grpc", "http/protobuf"] {
        let mut env = good(&[
            ("PROTOCOL", protocol),
            ("ENDPOINT", "https://h:1"),
            ("CERTIFICATE", "/nowhere/ca.pem"),
            ("CLIENT_KEY", "/nowhere/key.pem"),
            ("CLIENT_CERTIFICATE", "/nowhere/cert.pem"),
        ]);
        let error = env.config().exporter().unwrap_err().to_string();
        assert!(error.starts_with("TLS: ") && error.contains("/nowhere/"), "{error}");
        // Without TLS nothing of it is read.
        env.endpoint = "http://h:1".to_owned();
        env.config().exporter().unwrap();
    }
}

#[test]
fn rule_63_headers_in_the_form_of_baggage() {
    let long = format!("k={}", "v".repeat(60_000));
    for (given, expected) in [
        ("k=v", &[("k", "v")][..]),
        ("a=1,b=2", &[("a", "1"), ("b", "2")]),
        (" a = 1 , b = 2 ", &[("a", "1"), ("b", "2")]),
        ("a=1,,b=2,", &[("a", "1"), ("b", "2")]),
        ("Authorization=Basic%20QQ%3D%3D", &[("Authorization", "Basic QQ==")]),
        // What should have been encoded is taken where nothing else can be meant.
        ("Authorization=Basic QQ==", &[("Authorization", "Basic QQ==")]),
        ("k=a+b", &[("k", "a+b")]),
        ("k=%2c%2C%25%3b", &[("k", ",,%;")]),
        // Properties are not supported: they are part of the value.
        ("k=v;p=1", &[("k", "v;p=1")]),
        ("k=", &[("k", "")]),
        // Names are as they stand, and the last of a name counts.
        ("x%41=v", &[("x%41", "v")]),
        ("k=1,x=2,K=3", &[("x", "2"), ("K", "3")]),
        ("k=tab%09tab", &[("k", "tab\ttab")]),
        ("k=%C3%A4", &[("k", "\u{e4}")]),
    ] {
        let env = good(&[("HEADERS", given)]);
        let headers: Vec<_> = env.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(headers, expected, "{given}");
        for protocol in ["grpc", "http/protobuf"] {
            good(&[("HEADERS", given), ("PROTOCOL", protocol)]).config().exporter().unwrap();
        }
    }
    assert_eq!(good(&[("HEADERS", &long)]).headers[0].1.len(), 60_000);
}

#[test]
fn rule_63_hostile_headers_are_left_out_and_never_repeated() {
    for (entry, problem) in [
        ("secret", "is no name=value"),
        ("=secret", "is no name"),
        ("two words=secret", "is no name"),
        ("Authorization: Basic c2VjcmV0=", "is no name"),
        ("n\u{e4}me=secret", "is no name"),
        ("a\r\nb=secret", "is no name"),
        ("k=secret\r\nx-injected: 1", "has a value that cannot be sent"),
        ("k=secret%0d%0ax-injected:%201", "has a value that cannot be sent"),
        ("k=secret%0A", "has a value that cannot be sent"),
        ("k=secret%00", "has a value that cannot be sent"),
        ("k=secret%7F", "has a value that cannot be sent"),
        ("k=secret%FF", "is not UTF-8"),
        ("k=secret%", "has a `%` that begins no byte"),
        ("k=secret%4", "has a `%` that begins no byte"),
        ("k=secret%zz", "has a `%` that begins no byte"),
        ("k=secret%+1", "has a `%` that begins no byte"),
        ("k=100%secret", "has a `%` that begins no byte"),
        ("content-type=secret", "is set by the protocol"),
        ("Host=secret", "is set by the protocol"),
        ("transfer-encoding=secret", "is set by the protocol"),
        ("grpc-timeout=secret", "is set by the protocol"),
    ] {
        // The others stay.
        let env = read(Signal::Traces, &[("HEADERS", &format!("a=1,{entry},b=2"))]).unwrap();
        let names: Vec<_> = env.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "{entry}");
        assert_eq!(warned(&env), [format!("HEADERS has an entry, number 2, that {problem}")]);
        assert!(!format!("{env:?} {:?}", env.config()).contains("secret"), "{env:?}");
        env.config().exporter().unwrap();
    }
    let long = format!("k={}", "v".repeat(100_000));
    let env = read(Signal::Traces, &[("HEADERS", &long)]).unwrap();
    assert_eq!(env.headers, []);
    assert_eq!(warned(&env), ["HEADERS is longer than 65536 bytes"]);
    let many = "k=%zz,".repeat(MAX_ENV_BYTES / 6);
    assert_eq!(read(Signal::Traces, &[("HEADERS", &many)]).unwrap().headers, []);
}

#[test]
fn rule_63_compression_timeout_and_protocol() {
    for (given, expected) in [
        ("", Compression::None),
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        (" GZIP ", Compression::Gzip),
        ("zstd", Compression::Zstd),
    ] {
        assert_eq!(good(&[("COMPRESSION", given)]).compression, expected, "{given}");
    }
    for unknown in ["brotli", "gzip,none", "true", &"z".repeat(100_000)] {
        let env = read(Signal::Traces, &[("COMPRESSION", unknown)]).unwrap();
        assert_eq!((env.compression, env.warnings.len()), (Compression::None, 1), "{unknown}");
    }
    for (given, millis) in
        [("", 10_000), ("0", 0), ("1", 1), ("12000", 12_000), ("2147483647", 2_147_483_647)]
    {
        let env = good(&[("TIMEOUT", given)]);
        assert_eq!(env.timeout, Duration::from_millis(millis), "{given}");
        assert_eq!(http(&env).timeout, env.timeout);
    }
    for none in ["-1", "1.5", "10s", "1e3", "0x10", "soon", "99999999999999999999", "1 000"] {
        let env = read(Signal::Traces, &[("TIMEOUT", none)]).unwrap();
        assert_eq!(env.timeout, Duration::from_secs(10), "{none}");
        assert_eq!(warned(&env), ["TIMEOUT is no number of milliseconds up to 4294967295"]);
    }
    for (given, expected) in [
        ("", OtlpProtocol::HttpProtobuf),
        ("grpc", OtlpProtocol::Grpc),
        ("http/protobuf", OtlpProtocol::HttpProtobuf),
        ("http/json", OtlpProtocol::HttpJson),
        ("GRPC", OtlpProtocol::Grpc),
    ] {
        let env = good(&[("PROTOCOL", given)]);
        assert_eq!(env.protocol, expected);
        env.config().exporter().unwrap();
    }
    for unknown in ["http", "grpc/json", "http/protobuf;", "\u{0}"] {
        let env = read(Signal::Traces, &[("PROTOCOL", unknown)]).unwrap();
        assert_eq!((env.protocol, env.warnings.len()), (OtlpProtocol::HttpProtobuf, 1));
    }
}

#[test]
fn rule_64_a_signals_variable_beats_the_general_one() {
    for signal in Signal::ALL {
        let upper = signal.name().to_uppercase();
        let own = |name: &str| format!("{upper}_{name}");
        let names = [
            "ENDPOINT",
            "INSECURE",
            "CERTIFICATE",
            "CLIENT_KEY",
            "CLIENT_CERTIFICATE",
            "HEADERS",
            "COMPRESSION",
            "TIMEOUT",
            "PROTOCOL",
        ];
        let general = [
            "http://general",
            "true",
            "general",
            "general",
            "general",
            "a=general,b=general",
            "none",
            "1",
            "http/protobuf",
        ];
        let special = ["own:1", "false", "own", "own", "own", "a=own", "gzip", "2", "grpc"];
        let owned: Vec<String> = names.iter().map(|name| own(name)).collect();
        let mut variables: Vec<(&str, &str)> = names.into_iter().zip(general).collect();
        variables.extend(owned.iter().map(String::as_str).zip(special));
        let env = read(signal, &variables).unwrap();
        assert_eq!(env.warnings, []);
        assert_eq!((env.protocol, env.endpoint.as_str()), (OtlpProtocol::Grpc, "https://own:1"));
        // The whole list, not the entries one by one.
        assert_eq!(env.headers, [("a".to_owned(), "own".to_owned())]);
        assert_eq!(env.compression, Compression::Gzip);
        assert_eq!(env.timeout, Duration::from_millis(2));
        let client = env.client.unwrap();
        for file in [env.certificate.unwrap(), client.key, client.certificate] {
            assert_eq!(file.to_str(), Some("own"));
        }
        // Where the signal's cannot be used, the general one is.
        let general = [
            (own("TIMEOUT"), "soon"),
            (own("COMPRESSION"), "brotli"),
            (own("PROTOCOL"), "carrier pigeon"),
            ("TIMEOUT".to_owned(), "3"),
            ("COMPRESSION".to_owned(), "gzip"),
            ("PROTOCOL".to_owned(), "grpc"),
        ];
        let general: Vec<_> = general.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let env = read(signal, &general).unwrap();
        assert_eq!(env.timeout, Duration::from_millis(3));
        assert_eq!((env.compression, env.protocol), (Compression::Gzip, OtlpProtocol::Grpc));
        assert_eq!(env.warnings.len(), 3);
        assert!(env.warnings.iter().all(|warning| warning.variable.contains(&upper)));
        // But what is neither true nor false is false.
        let endpoint = ("ENDPOINT", "h:1");
        let insecure = own("INSECURE");
        let flags = [("PROTOCOL", "grpc"), endpoint, ("INSECURE", "true"), (&insecure, "yes")];
        assert_eq!(read(signal, &flags).unwrap().endpoint, "https://h:1");
    }
}

#[test]
fn rule_65_the_largest_request_and_response_are_options() {
    let sizes = |env: &OtlpEnv| match env.config() {
        OtlpConfig::Grpc(config) => (config.max_request_bytes, config.max_response_bytes),
        OtlpConfig::Http(config) => (config.max_request_bytes, config.max_response_bytes),
        other => panic!("{other:?}"),
    };
    for protocol in ["grpc", "http/protobuf"] {
        assert_eq!(sizes(&good(&[("PROTOCOL", protocol)])), (67_108_864, 4_194_304));
        // No variable has a say in it.
        let others = [
            ("PROTOCOL", protocol),
            ("MAX_REQUEST_SIZE", "1"),
            ("MAX_RESPONSE_SIZE", "1"),
            ("TRACES_MAX_REQUEST_SIZE", "1"),
        ];
        assert_eq!(sizes(&good(&others)), (67_108_864, 4_194_304));
    }
}

#[test]
fn rule_64_each_variable_is_asked_for_once_and_nothing_else_is() {
    let asked = std::cell::RefCell::new(Vec::new());
    let env = OtlpEnv::read(Signal::Metrics, |name| {
        asked.borrow_mut().push(name.to_owned());
        None
    });
    env.unwrap();
    let mut asked = asked.into_inner();
    asked.sort();
    let mut expected: Vec<String> = ["", "METRICS_"]
        .iter()
        .flat_map(|signal| {
            [
                "CERTIFICATE",
                "CLIENT_CERTIFICATE",
                "CLIENT_KEY",
                "COMPRESSION",
                "ENDPOINT",
                "HEADERS",
                "INSECURE",
                "PROTOCOL",
                "TIMEOUT",
            ]
            .map(|name| format!("{GENERAL}{signal}{name}"))
        })
        .collect();
    expected.sort();
    assert_eq!(asked, expected);
}

#[test]
fn rule_67_the_batch_processors() {
    type Read = fn(&HashMap<String, String>) -> BatchEnv;
    let spans: Read = |variables| BatchEnv::spans(|name| variables.get(name).cloned());
    let logs: Read = |variables| BatchEnv::logs(|name| variables.get(name).cloned());
    for (prefix, read, delay) in [("OTEL_BSP_", spans, 5000), ("OTEL_BLRP_", logs, 1000)] {
        let read = |variables: &[(&str, &str)]| {
            let named = variables.iter().map(|(k, v)| (format!("{prefix}{k}"), (*v).to_owned()));
            read(&named.collect())
        };
        let numbers = |env: &BatchEnv| {
            let millis = |duration: Duration| duration.as_millis();
            let items = (env.max_queue_size.get(), env.max_export_batch_size.get());
            (millis(env.schedule_delay), millis(env.export_timeout), items.0, items.1)
        };
        for (variables, expected) in [
            (&[][..], (delay, 30_000, 2048, 512)),
            (&[("SCHEDULE_DELAY", "7")], (7, 30_000, 2048, 512)),
            (&[("SCHEDULE_DELAY", "0")], (0, 30_000, 2048, 512)),
            (&[("EXPORT_TIMEOUT", "0")], (delay, 0, 2048, 512)),
            (&[("MAX_QUEUE_SIZE", "10000")], (delay, 30_000, 10_000, 512)),
            (&[("MAX_QUEUE_SIZE", "512")], (delay, 30_000, 512, 512)),
            (&[("MAX_EXPORT_BATCH_SIZE", "2048")], (delay, 30_000, 2048, 2048)),
            (&[("MAX_QUEUE_SIZE", "1"), ("MAX_EXPORT_BATCH_SIZE", "1")], (delay, 30_000, 1, 1)),
            // A smaller queue makes for smaller batches.
            (&[("MAX_QUEUE_SIZE", "100")], (delay, 30_000, 100, 100)),
            (&[("MAX_QUEUE_SIZE", ""), ("SCHEDULE_DELAY", " ")], (delay, 30_000, 2048, 512)),
        ] {
            let env = read(variables);
            assert_eq!((numbers(&env), &env.warnings[..]), (expected, &[][..]), "{variables:?}");
            assert_eq!(env.queue().max_items, Some(env.max_queue_size));
        }
        for (name, values) in [
            ("SCHEDULE_DELAY", &["-1", "5s", "1.5", "99999999999"][..]),
            ("EXPORT_TIMEOUT", &["-1", "never", "\u{221e}"]),
            ("MAX_QUEUE_SIZE", &["0", "-5", "many", "18446744073709551616"]),
            ("MAX_EXPORT_BATCH_SIZE", &["0", "-5", "2049", "99999"]),
        ] {
            for value in values {
                let env = read(&[(name, value)]);
                assert_eq!(numbers(&env), (delay, 30_000, 2048, 512), "{name} {value}");
                assert_eq!(env.warnings.len(), 1);
                assert_eq!(env.warnings[0].variable, format!("{prefix}{name}"));
            }
        }
        let env = read(&[("MAX_QUEUE_SIZE", "100"), ("MAX_EXPORT_BATCH_SIZE", "101")]);
        assert_eq!(numbers(&env), (delay, 30_000, 100, 100));
        let warning = "MAX_EXPORT_BATCH_SIZE is more than the queue holds, 100";
        assert_eq!(env.warnings[0].to_string(), format!("{prefix}{warning}"));
    }
}
