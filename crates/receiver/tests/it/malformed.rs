//! Requests that were damaged on their way are judged as prost would, but for the length of ids.

use std::io::Read;

use flate2::read::{GzDecoder, MultiGzDecoder};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use teleflow_otlp::Signal;
use teleflow_testkit::ids;
use teleflow_testkit::mangle::mangle;

use crate::support::{
    Client, GZIP, PROTOBUF, Server, bomb, call, config, gzip, gzip_call, limit_requests, post,
    telemetry,
};

const LIMIT: usize = 256 * 1024;

fn is_valid(signal: Signal, request: &[u8]) -> bool {
    let is_decoded = match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(request).is_ok(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(request).is_ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(request).is_ok(),
    };
    is_decoded && ids::are_right(signal, request)
}

#[tokio::test]
async fn ten_thousand_damaged_requests_are_taken_exactly_when_prost_takes_them() {
    let mut config = config();
    limit_requests(&mut config, LIMIT);
    let server = Server::start(config).await;
    let mut grpc = Client::http2(server.grpc).await;
    let mut http = Client::http1(server.http).await;
    let mut rng = fastrand::Rng::with_seed(2);
    let seeds = Signal::ALL.map(|signal| [1, 2, 3, 4].map(|seed| telemetry(signal, seed)));
    let bomb = bomb(LIMIT);
    let (mut taken, mut seen) = (0, 0);

    for number in 0..10_000 {
        let signal = Signal::ALL[number % 3];
        let seed = rng.usize(..4);
        let (request, damage) = mangle(&mut rng, &seeds[number % 3][seed]);
        // Mostly plain; at times compressed, compressed and damaged once more, or a bomb.
        let (request, inflated, is_gzip) = match rng.u8(..16) {
            0..12 => (request.clone(), Some(request), false),
            12..14 => (gzip(&request), Some(request), true),
            14 => {
                let (compressed, _) = mangle(&mut rng, &gzip(&request));
                let inflated = if number % 2 == 0 {
                    inflate(GzDecoder::new(&compressed[..]))
                } else {
                    inflate(MultiGzDecoder::new(&compressed[..]))
                };
                (compressed, inflated, true)
            }
            _ if number % 5 == 0 => (bomb.clone(), Some(vec![0; LIMIT + 1]), true),
            _ => (request.clone(), Some(request), false),
        };
        let expected = match &inflated {
            Some(inflated) if inflated.len() > LIMIT => (8, 413),
            Some(inflated) if is_valid(signal, inflated) => (0, 200),
            _ => (3, 400),
        };
        let case = format!("request {number}: {damage:?}, gzip {is_gzip}, {request:02x?}");
        if number % 2 == 0 {
            let request = match is_gzip {
                true => gzip_call(signal, &request),
                false => call(signal, &request),
            };
            assert_eq!(grpc.send(request).await.grpc_status(), expected.0, "{case}");
        } else {
            let headers = if is_gzip { &[PROTOBUF, GZIP][..] } else { &[PROTOBUF] };
            let answer = http.send(post(signal.http_path(), headers, &request)).await;
            assert_eq!(answer.status.as_u16(), expected.1, "{case}");
            match expected.0 {
                0 => assert_eq!(answer.body, "", "{case}"),
                code => assert_eq!(answer.rpc_status(false).code, code, "{case}"),
            }
        }
        taken += u64::from(expected.0 == 0);
        seen += usize::from(expected.0 == 0 && inflated.is_some_and(|bytes| !bytes.is_empty()));
    }

    let stats = server.stats.snapshot();
    let sum = Signal::ALL.map(|signal| stats.of_signal(signal));
    assert_eq!(sum.iter().map(|requests| requests.accepted).sum::<u64>(), taken);
    assert_eq!(sum.iter().map(|requests| requests.invalid).sum::<u64>(), 10_000 - taken);
    assert!((1_000..9_000).contains(&taken), "{taken} tell little");
    assert_eq!(server.fake.requests(), seen);
    assert_eq!((stats.connections, stats.connections_open, stats.bytes_in_flight), (2, 2, 0));
    assert_eq!(server.stop().await.connections_cut, 0);
}

fn inflate(mut decoder: impl Read) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder.read_to_end(&mut inflated).ok().map(|_| inflated)
}
