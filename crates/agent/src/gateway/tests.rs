//! What becomes of a file.

use std::time::Duration;

use super::receiving::receiver;
use super::*;

fn parse(text: &str) -> Config {
    Config::parse("test.yaml", text, &|_| None).unwrap().0
}

#[test]
fn every_component_of_a_file_becomes_a_part() {
    let config = parse(
        "
receivers:
  otlp: { protocols: { grpc: , http: { endpoint: 'localhost:14318' } } }
processors:
  tail_sampling:
    policies: [{ name: all, type: always_sample }]
  batch: { send_batch_size: 10, send_batch_max_size: 20, timeout: 1s }
exporters:
  debug:
  otlp: { endpoint: 'localhost:5317', tls: { insecure: true } }
  otlphttp: { endpoint: 'http://localhost:5318' }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [tail_sampling, batch], exporters: [otlp] }
    logs/x: { receivers: [otlp], processors: [batch], exporters: [debug, otlphttp], follows: traces }
",
    );
    let shown = format!("{:?}", parts(&config, &open).unwrap().builder);
    for part in [
        "logs/x",
        "follows: some(\"traces\")",
        "localhost:14318",
        "min_items: 10",
        "always",
        "otlphttp",
    ] {
        assert!(shown.to_lowercase().contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_receiver_keeps_connections_and_asks_for_certificates_as_the_file_says() {
    let config = parse(
            "
receivers:
  otlp:
    protocols:
      grpc:
        keepalive:
          server_parameters:
            { max_connection_idle: 0, max_connection_age: 1h, max_connection_age_grace: 2s, time: 3s }
        tls: { cert_file: Cargo.toml, key_file: Cargo.toml, client_ca_file: Cargo.toml }
      http: { cors: { allowed_origins: ['*'], max_age: 5 } }
exporters: { debug: }
service: { pipelines: { logs: { receivers: [otlp], exporters: [debug] } } }
",
        );
    let auth = Authenticators::of(&config);
    let receivers = config.receivers.values();
    let mut made = receivers.map(|config::Receiver::Otlp(otlp)| receiver(otlp, &auth));
    let made = made.next().unwrap().unwrap();
    let (idle, age) = (made.timeouts.idle, made.timeouts.max_age);
    assert_eq!((idle, age), (None, Some(Duration::from_secs(3600))));
    assert_eq!(made.timeouts.age_grace, Duration::from_secs(2));
    assert_eq!(made.timeouts.keep_alive, Some(Duration::from_secs(3)));
    let tls = made.grpc_access.tls.unwrap();
    assert_eq!(tls.client_ca.as_deref(), Some("Cargo.toml".as_ref()));
    assert!(made.http_access.tls.is_none());
    let cors = made.cors.unwrap();
    assert_eq!(
        (&cors.allowed_origins[..], cors.max_age.unwrap().as_secs()),
        (&["*".to_owned()][..], 5)
    );
}

#[test]
fn a_certificate_that_is_not_there_is_named_with_its_key_and_path() {
    let error = |receiver: &str, exporter: &str| {
        let config = parse(&format!(
            "
receivers: {{ otlp: {{ protocols: {{ http: {{ {receiver} }} }} }} }}
exporters: {{ otlp: {{ endpoint: 'c:1', tls: {{ {exporter} }} }} }}
service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlp] }} }} }}
"
        ));
        format!("{:#}", parts(&config, &open).unwrap_err())
    };
    for (receiver, exporter, said) in [
        ("", "ca_file: /no/ca.pem", "exporters.otlp: tls.ca_file: cannot read /no/ca.pem: "),
        (
            "",
            "cert_pem: hunter2, key_file: /no/key",
            "exporters.otlp: tls.key_file: cannot read /no/key: ",
        ),
        (
            "tls: { cert_file: Cargo.toml, key_file: /no/key }",
            "",
            "receivers.otlp: protocols.http: tls.key_file: cannot read /no/key: ",
        ),
        // There, but not what they should be: said without what is in them.
        ("", "cert_pem: hunter2, key_pem: hunter2", "exporters.otlp: TLS: "),
        ("", "ca_file: Cargo.toml", "exporters.otlp: TLS: the CA certificate Cargo.toml"),
    ] {
        let error = error(receiver, exporter);
        assert!(error.starts_with(said) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_least_that_a_file_may_give_the_sampler_is_what_that_works_with() {
    assert_eq!(config::MIN_MAX_BYTES, teleflow::sampler::MIN_BYTES as u64);
}

#[test]
fn what_goes_straight_to_disk_is_answered_when_it_is_there() {
    let waits = |processors: &str, exporters: &str| {
        let config = parse(&format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}
processors: {{ batch: }}
exporters:
  debug:
  otlp: {{ endpoint: 'http://c:1', sending_queue: {{ storage: file_storage }} }}
extensions: {{ file_storage: {{ directory: d }} }}
service:
  extensions: [file_storage]
  pipelines:
    traces: {{ receivers: [otlp], processors: [{processors}], exporters: [{exporters}] }}
    logs: {{ receivers: [otlp], exporters: [otlp] }}
"
        ));
        waits_for_result(&config, config.receivers.keys().next().unwrap())
    };
    assert!(waits("", "otlp"));
    assert!(!waits("batch", "otlp"), "the batch would hold the answer up");
    assert!(!waits("", "otlp, debug"), "one of them is not on disk");
}

#[test]
fn a_sending_queue_becomes_a_queue_and_a_batcher() {
    let of = |yaml: &str| {
        let config = parse(&format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }}, otlp/2: {{ protocols: {{ http: }} }} }}
exporters: {{ debug: , otlp: {{ endpoint: 'http://c:1', sending_queue: {yaml} }} }}
service:
  pipelines:
    traces: {{ receivers: [otlp], exporters: [debug, otlp] }}
    logs: {{ receivers: [otlp/2], exporters: [debug] }}
"
        ));
        let found = config.exporters.values().find_map(config::Exporter::queue).cloned().unwrap();
        let waiting = config.receivers.keys().map(|id| waits_for_result(&config, id));
        (queue(Some(&found)), found.batch.as_ref().map(merging), waiting.collect::<Vec<_>>())
    };
    let (requests, batch, waiting) = of("{ queue_size: 7, wait_for_result: true }");
    assert_eq!((requests.max_requests.get(), requests.max_items), (7, None));
    assert_eq!((batch, waiting), (None, vec![true, false]));

    let (items, batch, waiting) = of("{ queue_size: 7, sizer: items, batch: { max_size: 9000 } }");
    assert_eq!((items.max_requests, items.max_items), (NonZeroUsize::MAX, NonZeroU64::new(7)));
    let batch = batch.unwrap();
    assert_eq!((batch.min_items, batch.max_items), (8192, NonZeroU64::new(9000)));
    assert_eq!(waiting, [false, false]);

    let (bytes, batch, _) =
        of("{ queue_size: 7, sizer: bytes, batch: { min_size: 10, max_size: 20 } }");
    assert_eq!((bytes.max_bytes.get(), bytes.max_items), (7, None));
    let batch = batch.unwrap();
    let min_bytes = NonZeroUsize::new(10);
    assert_eq!((batch.min_items, batch.min_bytes, batch.max_bytes), (u64::MAX, min_bytes, 20));
}
