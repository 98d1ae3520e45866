//! CVE-2023-45142: whatever clients call themselves and their things, `/metrics` has the same series.

use std::collections::BTreeSet;

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request};
use prost::Message;
use teleflow::Signal;
use teleflow_testkit::telemetry::Telemetry;

use super::{Bystander, CONFIG, GRPC, JSON, PROTOBUF, telemetry};
use crate::admin::get;
use crate::malformed::client::{Client, frame, post};
use crate::program::Program;

const REQUESTS: u64 = 2_000;

/// What is in each request, beside what differs.
const SAMPLING: &str = "
  tail_sampling:
    decision_wait: 1s
    policies:
      - { name: all, type: always_sample }
";

#[tokio::test]
async fn random_services_methods_and_user_agents_make_no_series() {
    let config = CONFIG.replace("  batch:\n", &format!("  batch:\n{SAMPLING}")).replacen(
        "[batch]",
        "[tail_sampling, batch]",
        1,
    );
    let program = Program::start(&config, &[]);
    let mut clients = [Client::http2(program.grpc()).await, Client::http1(program.http()).await];
    let mut rng = Rng::with_seed(7);

    // Each kind of answer once, so that what is counted at its first is there.
    let mut statuses = BTreeSet::new();
    for number in 0..100 {
        statuses.insert(send(&mut clients, &mut rng, number).await);
    }
    Bystander::of(&program).await.is_served().await;
    let before = series(&program).await;
    for number in 100..REQUESTS {
        statuses.insert(send(&mut clients, &mut rng, number).await);
    }
    let after = series(&program).await;
    for status in [200, 400, 404, 405, 415] {
        assert!(statuses.contains(&status), "{status} is not among {statuses:?}");
    }
    assert!(before.len() > 50, "{before:?}");
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(program.terminate().status.success());
}

/// Sends one request with names that nobody else has. Returns the status of HTTP.
async fn send(clients: &mut [Client; 2], rng: &mut Rng, number: u64) -> u16 {
    let mut word = || std::iter::repeat_with(|| rng.alphanumeric()).take(12).collect::<String>();
    let (agent, host, extra) = (word(), word(), word());
    let signal = Signal::ALL[number as usize % 3];
    let body = named(signal, number, &word());
    let path = match number % 7 {
        0 => format!("/{}", word()),
        1 => format!("{}?{}", signal.http_path(), word()),
        _ => signal.http_path().to_owned(),
    };
    let mut request: Request<Bytes> = match number % 11 {
        0 => post(&path, &[("content-type", &format!("application/{}", word()))], body),
        1 => post(&path, &[PROTOBUF, ("content-encoding", &word())], body),
        2 => post(&path, &[JSON], body),
        3 => {
            let method = word().to_ascii_uppercase();
            let mut request = post(&path, &[PROTOBUF], body);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            request
        }
        4 => post(&format!("/{}/{}", word(), word()), &GRPC, frame(0, &body)),
        5..8 => post(signal.grpc_path(), &GRPC, frame(0, &body)),
        _ => post(&path, &[PROTOBUF], body),
    };
    let headers = request.headers_mut();
    headers.insert("user-agent", agent.parse().unwrap());
    headers.insert("host", host.parse().unwrap());
    headers.insert("baggage", format!("tenant={extra}").parse().unwrap());
    headers.insert("x-scope-orgid", extra.parse().unwrap());
    let is_grpc = request.headers().get("te").is_some();
    let client = &mut clients[usize::from(!is_grpc)];
    client.send(request).await.unwrap().status.as_u16()
}

/// A request whose resource, scope and items are named as nothing else.
fn named(signal: Signal, seed: u64, name: &str) -> Vec<u8> {
    let mut telemetry_of = Telemetry::new(seed);
    match signal {
        Signal::Traces => {
            let mut request = telemetry_of.traces(2);
            for resource in &mut request.resource_spans {
                resource.schema_url = name.to_owned();
                for scope in &mut resource.scope_spans {
                    scope.scope.get_or_insert_default().name = name.to_owned();
                    scope.spans.iter_mut().for_each(|span| span.name = name.to_owned());
                }
            }
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = telemetry_of.metrics(2);
            for resource in &mut request.resource_metrics {
                resource.schema_url = name.to_owned();
                for scope in &mut resource.scope_metrics {
                    scope.metrics.iter_mut().for_each(|metric| metric.name = name.to_owned());
                }
            }
            request.encode_to_vec()
        }
        Signal::Logs => telemetry(signal, seed),
    }
}

/// Names and labels of all series.
async fn series(program: &Program) -> BTreeSet<String> {
    let answer = get(program, "/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}
