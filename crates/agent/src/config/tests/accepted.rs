//! Files accepted: which values they give, and which they leave at the default.

use std::time::Duration;

use super::super::*;
use super::{FULL, check, completed, count, endpoint, id, ids, no_env, parse, reference, tcp};

#[test]
fn what_a_receiver_does_not_say_is_as_in_the_collector_but_for_the_limits() {
    let (config, _) = parse(&completed("receivers: {otlp: {protocols: {grpc: , http: {}}}}"));
    let grpc = GrpcServer {
        endpoint: tcp("localhost", 4317),
        max_recv_msg_bytes: 64 * 1024 * 1024,
        max_concurrent_streams: None,
        tls: None,
        auth: None,
        keepalive: KeepAlive {
            max_connection_idle: Some(Duration::from_secs(300)),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(30),
            time: Duration::from_secs(60),
        },
    };
    let http = HttpServer {
        endpoint: tcp("localhost", 4318),
        max_request_body_bytes: 64 * 1024 * 1024,
        traces_url_path: "/v1/traces".to_owned(),
        metrics_url_path: "/v1/metrics".to_owned(),
        logs_url_path: "/v1/logs".to_owned(),
        tls: None,
        auth: None,
        cors: None,
        read_header_timeout: Duration::from_secs(30),
        read_timeout: Duration::from_secs(60),
    };
    let limits = Limits {
        max_in_flight_bytes: None,
        max_connections: count(10_000),
        max_connections_per_peer: None,
        max_requests: count(50_000),
        retry_after: Duration::from_secs(1),
        max_retry_after: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
    };
    let receiver = OtlpReceiver { grpc: Some(grpc), http: Some(http), limits };
    check(&config.receivers, "otlp", Receiver::Otlp(receiver));
}

#[test]
fn a_protocol_that_is_not_written_is_off() {
    let (config, _) = parse(&completed("receivers: {otlp: {protocols: {http: }}}"));
    let Receiver::Otlp(receiver) = &config.receivers[&id("otlp")];
    assert!(receiver.grpc.is_none() && receiver.http.is_some());
}

#[test]
fn a_receiver_says_everything() {
    let grpc = GrpcServer {
        endpoint: tcp("0.0.0.0", 14317),
        max_recv_msg_bytes: 16 * 1024 * 1024,
        max_concurrent_streams: Some(100),
        tls: Some(TlsServer {
            certificate: "/etc/tls/server.pem".into(),
            key: "/etc/tls/server.key".into(),
            client_ca: Some("/etc/tls/clients.pem".into()),
            min_version: TlsVersion::V1_3,
            reload_interval: Some(Duration::from_secs(3600)),
        }),
        auth: Some(reference("bearertokenauth")),
        keepalive: KeepAlive {
            max_connection_idle: Some(Duration::from_secs(3600)),
            max_connection_age: Some(Duration::from_secs(600)),
            max_connection_age_grace: Duration::from_secs(60),
            time: Duration::from_secs(120),
        },
    };
    let http = HttpServer {
        endpoint: tcp("::1", 14318),
        max_request_body_bytes: 16 * 1024 * 1024,
        traces_url_path: "/otlp/traces".to_owned(),
        metrics_url_path: "/otlp/metrics".to_owned(),
        logs_url_path: "/otlp/logs".to_owned(),
        tls: Some(TlsServer {
            certificate: "other.pem".into(),
            key: "other.key".into(),
            client_ca: None,
            min_version: TlsVersion::V1_2,
            reload_interval: None,
        }),
        auth: Some(reference("basicauth")),
        cors: Some(Cors {
            allowed_origins: vec![
                "https://*.example.com".to_owned(),
                "http://localhost".to_owned(),
            ],
            allowed_headers: vec!["x-tenant".to_owned()],
            max_age: Some(Duration::from_secs(7200)),
        }),
        read_header_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(10),
    };
    let limits = Limits {
        max_in_flight_bytes: Some(64 * 1024 * 1024),
        max_connections: count(1000),
        max_connections_per_peer: Some(count(100)),
        max_requests: count(5000),
        retry_after: Duration::from_secs(2),
        max_retry_after: Duration::from_secs(60),
        handshake_timeout: Duration::from_secs(3),
    };
    let receiver = OtlpReceiver { grpc: Some(grpc), http: Some(http), limits };
    check(&parse(FULL).0.receivers, "otlp", Receiver::Otlp(receiver));
}

#[test]
fn zero_is_the_default_of_a_receivers_limits() {
    let zeros = "receivers: {otlp: {protocols: {grpc: {max_recv_msg_size_mib: 0, max_concurrent_streams: 0}, http: {max_request_body_size: 0}}}}";
    let silent = "receivers: {otlp: {protocols: {grpc: , http: }}}";
    assert_eq!(parse(&completed(zeros)).0, parse(&completed(silent)).0);
}

#[test]
fn what_a_processor_does_not_say_is_as_in_the_collector() {
    let (config, _) = parse(&completed("processors: {batch: }"));
    let batch = Batch {
        send_batch_size: 8192,
        timeout: Duration::from_millis(200),
        send_batch_max_size: None,
    };
    check(&config.processors, "batch", Processor::Batch(batch));
}

#[test]
fn a_processor_says_everything() {
    let (config, _) = parse(FULL);
    let batch = Batch {
        send_batch_size: 1000,
        timeout: Duration::from_secs(1),
        send_batch_max_size: Some(count(2000)),
    };
    check(&config.processors, "batch", Processor::Batch(batch));
}

#[test]
fn a_share_is_proportional_with_four_digits_unless_it_says_otherwise() {
    let (config, _) =
        parse(&completed("processors: {probabilistic_sampler: {sampling_percentage: 10}}"));
    let mut sampler = ProbabilisticSampler {
        percentage: 10.0,
        mode: Mode::Proportional,
        hash_seed: 0,
        by_record: false,
        from_attribute: None,
        fail_closed: None,
        priority: None,
        precision: 4,
    };
    let component = Processor::ProbabilisticSampler(sampler);
    check(&config.processors, "probabilistic_sampler", component);
    let (config, _) = parse(FULL);
    sampler = ProbabilisticSampler {
        percentage: 12.5,
        mode: Mode::HashSeed,
        hash_seed: 22,
        by_record: true,
        from_attribute: Some("log.id".to_owned()),
        fail_closed: Some(false),
        priority: Some("prio".to_owned()),
        precision: 6,
    };
    let component = Processor::ProbabilisticSampler(sampler);
    check(&config.processors, "probabilistic_sampler", component);
}

#[test]
fn a_share_goes_by_a_hash_where_only_a_hash_has_what_is_written() {
    for (keys, expected, warned) in [
        ("", Mode::Proportional, false),
        ("fail_closed: true, sampling_priority: p", Mode::Proportional, false),
        ("hash_seed: 0", Mode::HashSeed, false),
        ("from_attribute: a", Mode::HashSeed, false),
        ("attribute_source: traceID", Mode::HashSeed, false),
        ("mode: hash_seed", Mode::HashSeed, false),
        ("mode: equalizing, hash_seed: 22", Mode::Equalizing, true),
    ] {
        let section = format!("probabilistic_sampler: {{sampling_percentage: 10, {keys}}}");
        let (config, warnings) = parse(&completed(&format!("processors: {{{section}}}")));
        let [Processor::ProbabilisticSampler(sampler)] =
            &config.processors.values().collect::<Vec<_>>()[..]
        else {
            panic!("one sampler")
        };
        assert_eq!(sampler.mode, expected, "{keys}");
        let is_told = |warning: &Warning| {
            let text = warning.to_string();
            text.contains("hash_seed has an effect with mode `hash_seed` only")
        };
        assert_eq!(warnings.iter().any(is_told), warned, "{keys}: {warnings:?}");
    }
}

#[test]
fn zero_is_no_bound_of_a_batch() {
    let (config, _) = parse(&completed(
        "processors: {batch: {send_batch_size: 0, timeout: 0, send_batch_max_size: 0}}",
    ));
    let batch = Batch { send_batch_size: 0, timeout: Duration::ZERO, send_batch_max_size: None };
    check(&config.processors, "batch", Processor::Batch(batch));
}

#[test]
fn a_secret_is_not_in_the_debug_output_of_a_config() {
    let shown = format!("{:?}", parse(FULL).0);
    assert!(shown.contains("(\"authorization\", [redacted])"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_service_says_what_runs() {
    let (config, warnings) = parse(FULL);
    assert_eq!(warnings, []);
    let Service { extensions, pipelines, log_level } = config.service;
    assert_eq!((extensions.len(), log_level), (config.extensions.len(), LogLevel::Warn));
    let pipeline = |receivers, processors, exporters| Pipeline {
        receivers: ids(receivers),
        processors: ids(processors),
        follows: None,
        exporters: ids(exporters),
    };
    let pipelines: Vec<_> = pipelines.into_iter().map(|(id, p)| (id.to_string(), p)).collect();
    let traces = pipeline(
        &["otlp"],
        &["probabilistic_sampler", "tail_sampling", "batch"],
        &["otlp", "sqlite"],
    );
    let all =
        pipeline(&["otlp"], &[], &["debug", "otlp_grpc/second", "loadbalancing", "otlp/socket"]);
    let metrics = pipeline(&["otlp", "otlp/socket"], &["batch"], &["otlphttp", "failover"]);
    let follows = Some(PipelineId { signal: Signal::Traces, name: None });
    let logs = pipeline(&["otlp"], &[], &["otlp_http/second", "otlphttp/socket"]);
    let logs = Pipeline { follows, ..logs };
    let adaptive = pipeline(&["otlp"], &["adaptive_tail_sampling", "batch"], &["debug"]);
    let policies = pipeline(&["otlp"], &["tail_sampling/policies"], &["debug"]);
    let expected = [
        ("traces", traces),
        ("traces/adaptive", adaptive),
        ("traces/all", all),
        ("traces/policies", policies),
        ("metrics", metrics),
        ("logs", logs),
    ];
    assert_eq!(pipelines, expected.map(|(name, pipeline)| (name.to_owned(), pipeline)));
}

#[test]
fn what_is_defined_and_does_not_run_is_warned_of_and_kept() {
    let (config, warnings) = parse(&completed(
        "exporters:\n  debug/2:\n  debug:\nprocessors:\n  batch:\nextensions:\n  admin:\n",
    ));
    let warnings: Vec<_> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:2:3: exporters.debug/2 is not used by any pipeline",
            "f:5:3: processors.batch is not used by any pipeline",
            "f:7:3: extensions.admin is not used by service.extensions",
        ]
    );
    let admin = Extension::Admin(Admin { endpoint: endpoint("127.0.0.1", 8888) });
    check(&config.extensions, "admin", admin);
    assert_eq!((config.exporters.len(), config.service.log_level), (2, LogLevel::Info));
}

#[test]
fn the_default_gateway_is_a_valid_file_that_spells_out_the_defaults() {
    let config = Config::default_gateway();
    let (parsed, warnings) = Config::parse("d", DEFAULT_GATEWAY, &no_env).unwrap();
    assert_eq!((&parsed, warnings.as_slice()), (&config, &[][..]));
    let admin = Extension::Admin(Admin { endpoint: endpoint("127.0.0.1", 8888) });
    check(&config.extensions, "admin", admin);
    let pipelines: Vec<_> = config.service.pipelines.keys().map(PipelineId::to_string).collect();
    assert_eq!(pipelines, ["traces", "metrics", "logs"]);
    let Processor::TailSampling(sampling) = &config.processors[&id("tail_sampling")] else {
        panic!()
    };
    assert_eq!(sampling.decision_wait, Duration::from_secs(30));
    assert_eq!(sampling.policies.len(), 3);
    let Exporter::Sqlite(store) = &config.exporters[&id("sqlite")] else { panic!() };
    assert_eq!((store.path.as_path(), store.max_bytes), (Path::new("./teleflow.db"), 1 << 30));
}

#[test]
fn a_variable_has_the_type_that_its_place_needs() {
    let text = completed(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '${env:HOST}:${env:PORT:-4317}', max_concurrent_streams: \"${env:STREAMS}\"}}}}\n\
         processors: {batch: {timeout: '${env:UNSET:-5s}', send_batch_size: '${env:EMPTY}'}}\n\
         exporters: {debug: , sqlite: {path: '${DIGITS}'}, otlp: {endpoint: 'http://c:1', headers: {a: '${env:DIGITS}', b: '$$x'}}}\n",
    );
    let env = |name: &str| {
        let value = match name {
            "HOST" => "collector",
            "STREAMS" => "7",
            "DIGITS" => "0042",
            "EMPTY" => "",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let (config, _) = Config::parse("f", &text, &env).unwrap();
    let Receiver::Otlp(OtlpReceiver { grpc: Some(grpc), .. }) = &config.receivers[&id("otlp")]
    else {
        panic!()
    };
    assert_eq!(grpc.endpoint.to_string(), "collector:4317");
    assert_eq!(grpc.max_concurrent_streams, Some(7));
    let batch =
        Batch { send_batch_size: 8192, timeout: Duration::from_secs(5), send_batch_max_size: None };
    check(&config.processors, "batch", Processor::Batch(batch));
    let Exporter::Sqlite(store) = &config.exporters[&id("sqlite")] else { panic!() };
    assert_eq!(store.path.as_path(), Path::new("0042"));
    let Exporter::OtlpGrpc(otlp) = &config.exporters[&id("otlp")] else { panic!() };
    let values: Vec<_> = otlp.headers.iter().map(|(_, secret)| secret.expose()).collect();
    assert_eq!(values, ["0042", "$x"]);
}

#[test]
fn what_a_variable_holds_is_never_shown() {
    let text = completed(
        "processors: {batch: {timeout: '${env:X}', send_batch_size: '${env:Y}'}}\n\
         exporters: {debug: {verbosity: '${env:X}'}, otlp: {endpoint: 'http://${env:X}'}, sqlite: {path: a, max_size: '${env:Y}'}}\n\
         service: {pipelines: {traces: {receivers: ['${env:X}'], exporters: [debug]}}}",
    );
    let env = |name: &str| Some(if name == "X" { "hunter 2" } else { "-31337" }.to_owned());
    let errors = Config::parse("f", &text, &env).unwrap_err().to_string();
    assert_eq!(errors.lines().count(), 6, "{errors}");
    assert!(!errors.contains("hunter") && !errors.contains("31337"), "{errors}");
}
