//! Requests that say what cannot be: taken, kept as they are, and no part of the program falls over.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message;
use teleflow::Signal;
use teleflow::otlp::json;
use teleflow_testkit::mangle::nested_value;
use teleflow_testkit::telemetry::Telemetry;

use super::{Bystander, CONFIG, GRPC, JSON, MIB, PROTOBUF, Usage};
use crate::books::Books;
use crate::malformed::client::{Client, frame, post};
use crate::malformed::reference;
use crate::program::Program;
use crate::shutdown::sink::Sink;

const SEEDS: u64 = 60;

/// Every destination that reads what is in a request, each with its own account.
fn config(sink: std::net::SocketAddr) -> String {
    let mut pipelines = String::new();
    for signal in Signal::ALL.map(Signal::name) {
        let sampling = if signal == "traces" { "tail_sampling, " } else { "" };
        pipelines += &format!(
            "
    {signal}/shown: {{ receivers: [otlp], processors: [batch], exporters: [debug] }}
    {signal}/stored: {{ receivers: [otlp], processors: [{sampling}batch], exporters: [sqlite] }}
    {signal}/sent: {{ receivers: [otlp], processors: [{sampling}batch], exporters: [otlp] }}"
        );
    }
    format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
processors:
  batch: {{ send_batch_size: 10, send_batch_max_size: 20 }}
  tail_sampling:
    decision_wait: 1s
    policies:
      - {{ name: slow, type: latency, latency: {{ threshold_ms: 1000 }} }}
      - {{ name: errors, type: status_code, status_code: {{ status_codes: [ERROR, UNSET] }} }}
      - {{ name: some, type: probabilistic, probabilistic: {{ sampling_percentage: 50 }} }}
exporters:
  debug: {{ verbosity: detailed }}
  sqlite: {{ path: odd.db, sending_queue: {{ block_on_overflow: true }} }}
  otlp:
    endpoint: http://{sink}
    compression: none
    sending_queue: {{ block_on_overflow: true }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [admin]
  pipelines:{pipelines}
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_ids_counts_and_keys_that_cannot_be_are_taken_and_go_everywhere() {
    let sink = Sink::open().await;
    let program = Program::start(&config(sink.address), &["--drain-timeout", "60s"]);
    let mut grpc = Client::http2(program.grpc()).await;
    let mut http = Client::http1(program.http()).await;
    let mut accepted = [0; 3];
    for seed in 0..SEEDS {
        for signal in Signal::ALL {
            let request = odd(signal, seed);
            let items = reference::items(signal, &request).unwrap();
            let in_json = json::from_protobuf(signal, &request).unwrap();
            let call = post(signal.grpc_path(), &GRPC, frame(0, &request));
            let answer = grpc.send(call).await.unwrap();
            assert_eq!(answer.grpc_status(), Some(0), "{seed} {signal}: {answer:?}");
            accepted[signal.index()] += items;
            for (format, body) in [(PROTOBUF, request), (JSON, in_json.into_bytes())] {
                let answer = http.send(post(signal.http_path(), &[format], body)).await.unwrap();
                assert_eq!(answer.status, 200, "{seed} {signal} {format:?}: {answer:?}");
                accepted[signal.index()] += items;
            }
        }
    }
    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        assert!(accepted[signal.index()] > 100);
        let row = |of| books.of(&format!("{signal}/{of}")).clone();
        for row in [row("shown"), row("stored"), row("sent")] {
            assert_eq!(row.accepted, accepted[signal.index()], "{row:?}");
            assert_eq!(row.delivered + row.sampled_out, row.accepted, "{row:?}");
        }
        assert_eq!(row("shown").delivered, accepted[signal.index()]);
        assert_eq!(row("sent").delivered, sink.items(signal));
    }
}

/// RUSTSEC-2024-0437 and GHSA-5mmq-66qm-g3gm: in protobuf, in JSON, in groups and in what is skipped.
#[tokio::test]
async fn a_million_values_in_each_other_are_refused_and_the_program_stands() {
    let program = Program::start(CONFIG, &[]);
    let mut grpc = Client::http2(program.grpc()).await;
    let mut http = Client::http1(program.http()).await;
    const DEEP: usize = 1_000_000;
    let lists = nested_value(2 * DEEP);
    let groups = [vec![0x13; DEEP], vec![0x14; DEEP]].concat();
    let before = Usage::of(&program);
    for signal in Signal::ALL {
        for body in [&lists, &groups] {
            let call = post(signal.grpc_path(), &GRPC, frame(0, body));
            assert_eq!(grpc.send(call).await.unwrap().grpc_status(), Some(3), "{signal}");
            let request = post(signal.http_path(), &[PROTOBUF], body.clone());
            assert_eq!(http.send(request).await.unwrap().status, 400, "{signal}");
        }
    }
    let value = |open: &str, close: &str| {
        format!(
            "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{}{{}}{}}}]}}}}]}}",
            open.repeat(DEEP),
            close.repeat(DEEP)
        )
    };
    for text in [
        value("{\"arrayValue\":{\"values\":[", "]}}"),
        value("{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":", "}]}}"),
        format!("{{\"unknown\":{}", "[".repeat(DEEP)),
        format!("{{\"unknown\":{}", "{\"a\":".repeat(DEEP)),
    ] {
        let answer = http.send(post("/v1/traces", &[JSON], text)).await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.body.len() < 1000, "{}", answer.body.len());
    }
    // The largest of them has 50 MB as text.
    Usage::grew_by_no_more_than(160 * MIB, before, &program);
    Bystander::of(&program).await.is_served().await;
    assert!(program.terminate().status.success());
}

/// Valid telemetry, with values at the edges and over them.
fn odd(signal: Signal, seed: u64) -> Vec<u8> {
    let mut telemetry = Telemetry::new(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    match signal {
        Signal::Traces => {
            let mut request = telemetry.traces(4);
            for span in request
                .resource_spans
                .iter_mut()
                .flat_map(|resource| &mut resource.scope_spans)
                .flat_map(|scope| &mut scope.spans)
            {
                span.trace_id = id(&mut rng, 16);
                span.span_id = id(&mut rng, 8);
                span.parent_span_id = id(&mut rng, 8);
                span.start_time_unix_nano = number(&mut rng);
                span.end_time_unix_nano = number(&mut rng);
                span.kind = number(&mut rng) as i32;
                span.flags = number(&mut rng) as u32;
                span.dropped_attributes_count = u32::MAX;
                span.dropped_events_count = u32::MAX;
                repeat(&mut span.attributes);
                span.events.iter_mut().for_each(|event| event.time_unix_nano = number(&mut rng));
                for link in &mut span.links {
                    link.trace_id = id(&mut rng, 16);
                    link.span_id = id(&mut rng, 8);
                }
                span.status.get_or_insert_default().code = number(&mut rng) as i32;
            }
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = telemetry.metrics(4);
            for metric in request
                .resource_metrics
                .iter_mut()
                .flat_map(|resource| &mut resource.scope_metrics)
                .flat_map(|scope| &mut scope.metrics)
            {
                repeat(&mut metric.metadata);
                odd_points(&mut rng, metric.data.as_mut());
            }
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = telemetry.logs(4);
            for record in request
                .resource_logs
                .iter_mut()
                .flat_map(|resource| &mut resource.scope_logs)
                .flat_map(|scope| &mut scope.log_records)
            {
                record.time_unix_nano = number(&mut rng);
                record.observed_time_unix_nano = number(&mut rng);
                record.severity_number = number(&mut rng) as i32;
                record.flags = u32::MAX;
                record.dropped_attributes_count = u32::MAX;
                record.trace_id = id(&mut rng, 16);
                record.span_id = id(&mut rng, 8);
                repeat(&mut record.attributes);
            }
            request.encode_to_vec()
        }
    }
}

fn odd_points(rng: &mut fastrand::Rng, data: Option<&mut metric::Data>) {
    match data {
        Some(metric::Data::Gauge(metric_gauge)) => {
            for point in &mut metric_gauge.data_points {
                point.time_unix_nano = number(rng);
                point.start_time_unix_nano = number(rng);
                point.value = rng.bool().then(|| number_data_point::Value::AsDouble(double(rng)));
                repeat(&mut point.attributes);
            }
        }
        Some(metric::Data::Sum(sum)) => {
            sum.aggregation_temporality = number(rng) as i32;
            for point in &mut sum.data_points {
                point.time_unix_nano = number(rng);
                point.start_time_unix_nano = number(rng);
                point.value = Some(number_data_point::Value::AsInt(number(rng) as i64));
            }
        }
        Some(metric::Data::Histogram(histogram)) => {
            histogram.aggregation_temporality = number(rng) as i32;
            for point in &mut histogram.data_points {
                point.count = number(rng);
                point.sum = Some(double(rng));
                // As many as it likes, and of no order.
                point.bucket_counts = (0..rng.usize(..9)).map(|_| number(rng)).collect();
                point.explicit_bounds = (0..rng.usize(..9)).map(|_| double(rng)).collect();
                (point.min, point.max) = (Some(f64::INFINITY), Some(f64::NEG_INFINITY));
            }
        }
        Some(metric::Data::ExponentialHistogram(histogram)) => {
            for point in &mut histogram.data_points {
                point.count = number(rng);
                point.scale = number(rng) as i32;
                point.zero_count = number(rng);
                point.zero_threshold = double(rng);
                let positive = point.positive.get_or_insert_default();
                positive.offset = number(rng) as i32;
                positive.bucket_counts = (0..rng.usize(..9)).map(|_| number(rng)).collect();
            }
        }
        Some(metric::Data::Summary(summary)) => {
            for point in &mut summary.data_points {
                point.count = number(rng);
                point.sum = double(rng);
                for quantile in &mut point.quantile_values {
                    (quantile.quantile, quantile.value) = (double(rng), double(rng));
                }
            }
        }
        None => {}
    }
}

/// Zero, one, the largest, 2^63, 2^32, 2^31, and some around them.
fn number(rng: &mut fastrand::Rng) -> u64 {
    let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 32, 1 << 31, (1 << 31) - 1];
    rng.choice(edges).unwrap()
}

fn double(rng: &mut fastrand::Rng) -> f64 {
    let edges = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE];
    rng.choice(edges).unwrap()
}

/// Mostly of the right length, as JSON has no other; all zeroes at times, or empty.
fn id(rng: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    match rng.u8(..4) {
        0 => vec![0; len],
        1 => Vec::new(),
        2 => vec![0xff; len],
        _ => (0..len).map(|_| rng.u8(..)).collect(),
    }
}

/// Keys that are there twice with different values, and one that is empty.
fn repeat(attributes: &mut Vec<KeyValue>) {
    let value =
        |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let mut twice = attributes.clone();
    twice.iter_mut().for_each(|pair| pair.value = value("another"));
    attributes.append(&mut twice);
    attributes.push(KeyValue { key: String::new(), value: value("of no key"), ..<_>::default() });
    attributes.push(KeyValue { key: "of no value".to_owned(), ..<_>::default() });
}
