//! Exporters accepted: which values they give, and which they leave at the default.

use std::time::Duration;

use super::super::*;
use super::{FULL, check, completed, count, id, parse, tcp};

/// The Collector's.
const DEFAULT_RETRY: Retry = Retry {
    initial_interval: Duration::from_secs(5),
    randomization_factor: 0.5,
    multiplier: 1.5,
    max_interval: Duration::from_secs(30),
    max_elapsed_time: Some(Duration::from_secs(300)),
    budget: None,
};

fn default_queue() -> Queue {
    Queue {
        num_consumers: count(10),
        queue_size: Some(count(1000)),
        sizer: Sizer::Requests,
        on_full: OnFull::Refuse,
        wait_for_result: false,
        storage: None,
        batch: None,
    }
}

#[test]
fn what_an_exporter_does_not_say_is_as_in_the_collector() {
    let (config, _) = parse(&completed(
        "exporters: {debug: , otlp: {endpoint: 'http://c:1'}, otlphttp: {endpoint: 'http://c'}, sqlite: {path: a}}",
    ));
    let debug = DebugExporter { verbosity: Verbosity::Basic };
    check(&config.exporters, "debug", Exporter::Debug(debug));
    let grpc = OtlpGrpcExporter {
        endpoint: tcp("c", 1),
        tls: None,
        auth: None,
        keepalive: None,
        compression: Compression::Gzip,
        headers: Vec::new(),
        timeout: Some(Duration::from_secs(5)),
        retry: Some(DEFAULT_RETRY),
        wrappers: Wrappers::default(),
        queue: Some(default_queue()),
    };
    check(&config.exporters, "otlp", Exporter::OtlpGrpc(grpc));
    let http = OtlpHttpExporter {
        traces_url: Some("http://c/v1/traces".to_owned()),
        metrics_url: Some("http://c/v1/metrics".to_owned()),
        logs_url: Some("http://c/v1/logs".to_owned()),
        socket: None,
        tls: TlsClient::default(),
        auth: None,
        proxy: None,
        idle_timeout: Some(Duration::from_secs(90)),
        max_idle_per_host: count(10),
        encoding: Encoding::Protobuf,
        compression: Compression::Gzip,
        headers: Vec::new(),
        timeout: Some(Duration::from_secs(30)),
        retry: Some(DEFAULT_RETRY),
        wrappers: Wrappers::default(),
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
        endpoint: tcp("collector", 4317),
        tls: None,
        auth: None,
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
            budget: None,
        }),
        wrappers: Wrappers::default(),
        queue: Some(Queue {
            num_consumers: count(2),
            queue_size: Some(count(50)),
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
        socket: None,
        tls: TlsClient::default(),
        auth: None,
        proxy: None,
        idle_timeout: None,
        max_idle_per_host: count(3),
        encoding: Encoding::Json,
        compression: Compression::Gzip,
        headers: vec![secret("x-token", "hunter2")],
        timeout: None,
        retry: Some(DEFAULT_RETRY),
        wrappers: Wrappers::default(),
        queue: Some(default_queue()),
    };
    check(&config.exporters, "otlphttp", Exporter::OtlpHttp(http));
    let sqlite = SqliteExporter {
        path: "./other.db".into(),
        max_bytes: 2_000_000_000,
        queue: Some(Queue {
            num_consumers: count(1),
            queue_size: Some(count(5)),
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
    assert!(grpc.retry.is_none() && grpc.queue.is_none());
    assert_eq!(grpc.compression, Compression::Zstd);
    let Exporter::OtlpHttp(http) = &config.exporters[&id("otlp_http/second")] else { panic!() };
    assert_eq!(http.logs_url.as_deref(), Some("https://collector:4318/base/v1/logs"));
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
