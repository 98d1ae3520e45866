//! Files accepted: which values they give, and which they leave at the default.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::*;
use super::{FULL, completed, no_env, parse};

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn ids(texts: &[&str]) -> Vec<Id> {
    texts.iter().map(|text| id(text)).collect()
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint { host: host.to_owned(), port }
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Checks one component of a file.
#[track_caller]
fn check<T: Debug + PartialEq>(components: &BTreeMap<Id, T>, name: &str, expected: T) {
    assert_eq!(components.get(&id(name)), Some(&expected));
}

/// The Collector's.
const DEFAULT_RETRY: Retry = Retry {
    initial_interval: Duration::from_secs(5),
    randomization_factor: 0.5,
    multiplier: 1.5,
    max_interval: Duration::from_secs(30),
    max_elapsed_time: Some(Duration::from_secs(300)),
};

fn default_queue() -> Queue {
    Queue {
        num_consumers: count(10),
        queue_size: count(1000),
        sizer: Sizer::Requests,
        on_full: OnFull::Refuse,
        wait_for_result: false,
        batch: None,
    }
}

#[test]
fn what_a_receiver_does_not_say_is_as_in_the_collector_but_for_the_limits() {
    let (config, _) = parse(&completed("receivers: {otlp: {protocols: {grpc: , http: {}}}}"));
    let grpc = GrpcServer {
        endpoint: endpoint("localhost", 4317),
        max_recv_msg_bytes: 64 * 1024 * 1024,
        max_concurrent_streams: None,
        tls: None,
        keepalive: KeepAlive {
            max_connection_idle: Some(Duration::from_secs(300)),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(30),
            time: Duration::from_secs(60),
        },
    };
    let http = HttpServer {
        endpoint: endpoint("localhost", 4318),
        max_request_body_bytes: 64 * 1024 * 1024,
        traces_url_path: "/v1/traces".to_owned(),
        metrics_url_path: "/v1/metrics".to_owned(),
        logs_url_path: "/v1/logs".to_owned(),
        tls: None,
        cors: None,
    };
    let receiver = OtlpReceiver { grpc: Some(grpc), http: Some(http) };
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
        endpoint: endpoint("0.0.0.0", 14317),
        max_recv_msg_bytes: 16 * 1024 * 1024,
        max_concurrent_streams: Some(100),
        tls: Some(TlsServer {
            certificate: "/etc/tls/server.pem".into(),
            key: "/etc/tls/server.key".into(),
            client_ca: Some("/etc/tls/clients.pem".into()),
            min_version: TlsVersion::V1_3,
            reload_interval: Some(Duration::from_secs(3600)),
        }),
        keepalive: KeepAlive {
            max_connection_idle: Some(Duration::from_secs(3600)),
            max_connection_age: Some(Duration::from_secs(600)),
            max_connection_age_grace: Duration::from_secs(60),
            time: Duration::from_secs(120),
        },
    };
    let http = HttpServer {
        endpoint: endpoint("::1", 14318),
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
        cors: Some(Cors {
            allowed_origins: vec![
                "https://*.example.com".to_owned(),
                "http://localhost".to_owned(),
            ],
            allowed_headers: vec!["x-tenant".to_owned()],
            max_age: Some(Duration::from_secs(7200)),
        }),
    };
    let receiver = OtlpReceiver { grpc: Some(grpc), http: Some(http) };
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
    let (config, _) = parse(&completed(
        "processors: {batch: , tail_sampling: {policies: [{name: a, type: always_sample}]}}",
    ));
    let batch = Batch {
        send_batch_size: 8192,
        timeout: Duration::from_millis(200),
        send_batch_max_size: None,
    };
    check(&config.processors, "batch", Processor::Batch(batch));
    let sampling = TailSampling {
        decision_wait: Duration::from_secs(30),
        num_traces: count(50_000),
        expected_new_traces_per_sec: 0,
        max_bytes: 256 * 1024 * 1024,
        decision_cache: DecisionCache { sampled_cache_size: 0, non_sampled_cache_size: 0 },
        policies: vec![Policy { name: "a".to_owned(), rule: Rule::AlwaysSample }],
    };
    check(&config.processors, "tail_sampling", Processor::TailSampling(sampling));
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
    let policy = |name: &str, rule| Policy { name: name.to_owned(), rule };
    let every_code = vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    let threshold = Duration::from_secs(1);
    let upper = Some(Duration::from_secs(5));
    let sampling = TailSampling {
        decision_wait: Duration::from_secs(90),
        num_traces: count(1000),
        expected_new_traces_per_sec: 10,
        max_bytes: 64 * 1024 * 1024,
        decision_cache: DecisionCache { sampled_cache_size: 1000, non_sampled_cache_size: 2000 },
        policies: vec![
            policy("errors", Rule::StatusCode(every_code)),
            policy("slow", Rule::Latency { threshold, upper }),
            policy("rest", Rule::Probabilistic { percentage: 12.5, hash_salt: "s".to_owned() }),
            policy("all", Rule::AlwaysSample),
        ],
    };
    check(&config.processors, "tail_sampling", Processor::TailSampling(sampling));
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
fn what_an_exporter_does_not_say_is_as_in_the_collector() {
    let (config, _) = parse(&completed(
        "exporters: {debug: , otlp: {endpoint: 'http://c:1'}, otlphttp: {endpoint: 'http://c'}, sqlite: {path: a}}",
    ));
    let debug = DebugExporter { verbosity: Verbosity::Basic };
    check(&config.exporters, "debug", Exporter::Debug(debug));
    let grpc = OtlpGrpcExporter {
        endpoint: endpoint("c", 1),
        tls: None,
        keepalive: None,
        compression: Compression::Gzip,
        headers: Vec::new(),
        timeout: Some(Duration::from_secs(5)),
        retry: Some(DEFAULT_RETRY),
        queue: Some(default_queue()),
    };
    check(&config.exporters, "otlp", Exporter::OtlpGrpc(grpc));
    let http = OtlpHttpExporter {
        traces_url: Some("http://c/v1/traces".to_owned()),
        metrics_url: Some("http://c/v1/metrics".to_owned()),
        logs_url: Some("http://c/v1/logs".to_owned()),
        tls: TlsClient::default(),
        proxy: None,
        encoding: Encoding::Protobuf,
        compression: Compression::Gzip,
        headers: Vec::new(),
        timeout: Some(Duration::from_secs(30)),
        retry: Some(DEFAULT_RETRY),
        queue: Some(default_queue()),
    };
    check(&config.exporters, "otlphttp", Exporter::OtlpHttp(http));
    let sqlite = SqliteExporter {
        path: "a".into(),
        max_bytes: 1024 * 1024 * 1024,
        queue: Some(Queue { num_consumers: count(1), ..default_queue() }),
    };
    check(&config.exporters, "sqlite", Exporter::Sqlite(sqlite));
}

#[test]
fn an_exporter_says_everything() {
    let (config, _) = parse(FULL);
    let debug = DebugExporter { verbosity: Verbosity::Detailed };
    check(&config.exporters, "debug", Exporter::Debug(debug));
    let secret = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
    let grpc = OtlpGrpcExporter {
        endpoint: endpoint("collector", 4317),
        tls: None,
        keepalive: None,
        compression: Compression::None,
        headers: vec![secret("authorization", "Bearer hunter2"), secret("x-empty", "")],
        timeout: Some(Duration::from_secs(10)),
        retry: Some(Retry {
            initial_interval: Duration::from_secs(1),
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: Duration::from_secs(10),
            max_elapsed_time: None,
        }),
        queue: Some(Queue {
            num_consumers: count(2),
            queue_size: count(50),
            on_full: OnFull::Wait,
            wait_for_result: true,
            ..default_queue()
        }),
    };
    check(&config.exporters, "otlp", Exporter::OtlpGrpc(grpc));
    let http = OtlpHttpExporter {
        traces_url: Some("http://elsewhere/t?tenant=a".to_owned()),
        metrics_url: Some("http://elsewhere/m".to_owned()),
        logs_url: Some("http://elsewhere/l/".to_owned()),
        tls: TlsClient::default(),
        proxy: None,
        encoding: Encoding::Json,
        compression: Compression::Gzip,
        headers: vec![secret("x-token", "hunter2")],
        timeout: None,
        retry: Some(DEFAULT_RETRY),
        queue: Some(default_queue()),
    };
    check(&config.exporters, "otlphttp", Exporter::OtlpHttp(http));
    let sqlite = SqliteExporter {
        path: "./other.db".into(),
        max_bytes: 2_000_000_000,
        queue: Some(Queue {
            num_consumers: count(1),
            queue_size: count(5),
            sizer: Sizer::Items,
            batch: Some(QueueBatch {
                flush_timeout: Duration::from_secs(1),
                min_size: 100,
                max_size: Some(count(200)),
                sizer: Sizer::Bytes,
            }),
            ..default_queue()
        }),
    };
    check(&config.exporters, "sqlite", Exporter::Sqlite(sqlite));
}

#[test]
fn a_batch_that_is_there_is_turned_on_and_counts_as_its_queue_does() {
    let batch_of = |queue: &str| {
        let file = format!(
            "exporters: {{debug: , otlp: {{endpoint: 'http://c:1', sending_queue: {queue}}}}}"
        );
        let (config, _) = parse(&completed(&file));
        config.exporters.values().find_map(|exporter| exporter.queue()?.batch)
    };
    let default = QueueBatch {
        flush_timeout: Duration::from_millis(200),
        min_size: 8192,
        max_size: None,
        sizer: Sizer::Items,
    };
    assert_eq!(batch_of("{}"), None);
    assert_eq!(batch_of("{batch: }"), Some(default));
    assert_eq!(batch_of("{batch: {}}"), Some(default));
    let in_bytes = QueueBatch { sizer: Sizer::Bytes, ..default };
    assert_eq!(batch_of("{sizer: bytes, batch: {}}"), Some(in_bytes));
    assert_eq!(batch_of("{sizer: requests, batch: {sizer: items}}"), Some(default));
}

#[test]
fn the_newer_names_of_the_otlp_exporters_mean_the_same() {
    let (config, _) = parse(FULL);
    let Exporter::OtlpGrpc(grpc) = &config.exporters[&id("otlp_grpc/second")] else { panic!() };
    assert_eq!(grpc.endpoint.to_string(), "[::1]:4317");
    assert_eq!((grpc.retry, grpc.queue), (None, None));
    assert_eq!(grpc.compression, Compression::Zstd);
    let Exporter::OtlpHttp(http) = &config.exporters[&id("otlp_http/second")] else { panic!() };
    assert_eq!(http.url(Signal::Logs), Some("https://collector:4318/base/v1/logs"));
}

#[test]
fn an_exporter_says_how_it_connects() {
    let (config, _) = parse(FULL);
    let Exporter::OtlpGrpc(grpc) = &config.exporters[&id("otlp_grpc/second")] else { panic!() };
    let secret = || Pem::Text(Secret::new("hunter2".to_owned()));
    let tls = TlsClient {
        ca: Some(Pem::File("/etc/tls/ca.pem".into())),
        identity: Some(Identity {
            certificate: Pem::File("/etc/tls/client.pem".into()),
            key: secret(),
        }),
        server_name: Some("collector.example.com".to_owned()),
        min_version: TlsVersion::V1_3,
        reload_interval: Some(Duration::from_secs(600)),
        insecure_skip_verify: false,
    };
    assert_eq!(grpc.tls, Some(tls));
    let (time, timeout) = (Duration::from_secs(60), Duration::from_secs(20));
    assert_eq!(grpc.keepalive, Some(Probes { time, timeout }));
    let Exporter::OtlpHttp(http) = &config.exporters[&id("otlp_http/second")] else { panic!() };
    let tls = TlsClient {
        ca: Some(secret()),
        identity: Some(Identity { certificate: secret(), key: Pem::File("client.key".into()) }),
        insecure_skip_verify: true,
        ..TlsClient::default()
    };
    assert_eq!((&http.tls, http.encoding), (&tls, Encoding::Protobuf));
    let proxy = Secret::new("http://me:hunter2@proxy:3128".to_owned());
    assert_eq!(http.proxy, Some(proxy));
}

#[test]
fn a_grpc_exporter_encrypts_unless_told_not_to() {
    for (settings, is_encrypted) in [
        ("endpoint: 'c:1'", true),
        ("endpoint: 'c:1', tls: {}", true),
        ("endpoint: 'c:1', tls: {insecure: false}", true),
        ("endpoint: 'c:1', tls: {insecure: true}", false),
        ("endpoint: 'http://c:1'", false),
        ("endpoint: 'https://c:1', tls: {insecure: true}", true),
    ] {
        let (config, _) =
            parse(&completed(&format!("exporters: {{debug: , otlp: {{{settings}}}}}")));
        let Exporter::OtlpGrpc(grpc) = &config.exporters[&id("otlp")] else { panic!() };
        assert_eq!(grpc.tls.is_some(), is_encrypted, "{settings}");
    }
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
    let admin = Extension::Admin(Admin { endpoint: endpoint("0.0.0.0", 9999) });
    check(&config.extensions, "admin", admin);
    let Service { extensions, pipelines, log_level } = config.service;
    assert_eq!((extensions, log_level), (ids(&["admin"]), LogLevel::Warn));
    let pipeline = |receivers, processors, exporters| Pipeline {
        receivers: ids(receivers),
        processors: ids(processors),
        exporters: ids(exporters),
    };
    let pipelines: Vec<_> = pipelines.into_iter().map(|(id, p)| (id.to_string(), p)).collect();
    let traces = pipeline(&["otlp"], &["tail_sampling", "batch"], &["otlp", "sqlite"]);
    let all = pipeline(&["otlp"], &[], &["debug", "otlp_grpc/second"]);
    let metrics = pipeline(&["otlp"], &["batch"], &["otlphttp"]);
    let logs = pipeline(&["otlp"], &[], &["otlp_http/second"]);
    let expected = [("traces", traces), ("traces/all", all), ("metrics", metrics), ("logs", logs)];
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
