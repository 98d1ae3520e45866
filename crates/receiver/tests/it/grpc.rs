//! OTLP/gRPC: what is taken, and each way not to be.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes};
use http::StatusCode;
use prost::Message;
use teleflow_otlp::Signal;
use teleflow_receiver::{Refused, RefusedReason, Transport};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;

use crate::support::{
    Client, ProtoDuration, RetryInfo, RpcStatus, Server, bomb, call, config, frame, gzip,
    gzip_call, limit_requests, padding, raw_call, request, telemetry,
};

#[tokio::test]
async fn a_client_of_tonic_gets_through_with_every_signal_and_with_gzip() {
    let server = Server::start(config()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let (plain, gzip) = (Grpc::new(channel.clone()), Grpc::new(channel));
    let gzip = gzip
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let mut sent = 0;
    for mut client in [plain, gzip] {
        for signal in Signal::ALL {
            let message = Bytes::from(telemetry(signal, 11));
            client.ready().await.unwrap();
            let path = http::uri::PathAndQuery::from_static(signal.grpc_path());
            let request = tonic::Request::new(message.clone());
            let reply = client.unary(request, path, Raw).await.unwrap();
            assert!(reply.into_inner().is_empty());
            sent += 1;
            let seen = server.fake.seen.lock().unwrap();
            assert_eq!(seen.len(), sent);
            assert_eq!(seen[sent - 1].signal(), signal);
            assert_eq!(seen[sent - 1].to_bytes(), message);
        }
    }
    let requests = server.stats.snapshot().of(Transport::Grpc, Signal::Traces);
    assert_eq!((requests.accepted, requests.incomplete), (2, 0));
}

#[tokio::test]
async fn a_refusal_is_unavailable_with_retry_info() {
    let server = Server::start(config()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let mut client = Grpc::new(endpoint.connect().await.unwrap());
    let reasons =
        [RefusedReason::Overloaded, RefusedReason::Unavailable, RefusedReason::ShuttingDown];
    let waits = [Some(Duration::from_millis(1250)), None, None];
    for (reason, retry_after) in reasons.into_iter().zip(waits) {
        *server.fake.refuses.lock().unwrap() = Some(Refused {
            reason,
            retry_after,
            message: "90 % of the memory, and more, is taken".into(),
        });
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(Signal::Logs.grpc_path());
        let request = tonic::Request::new(Bytes::from(telemetry(Signal::Logs, 11)));
        let status = client.unary(request, path, Raw).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "90 % of the memory, and more, is taken");
        match (reason, retry_after) {
            (RefusedReason::ShuttingDown, _) => assert!(status.details().is_empty()),
            (_, told) => {
                let details = RpcStatus::decode(status.details()).unwrap();
                assert_eq!((details.code, &details.message[..]), (14, status.message()));
                assert_eq!(details.details.len(), 1);
                assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
                let info = RetryInfo::decode(&details.details[0].value[..]).unwrap();
                let ProtoDuration { seconds, nanos } = info.retry_delay.unwrap();
                let delay = Duration::new(seconds as u64, nanos as u32);
                // What the consumer says, or the shortest wait; and up to a half more.
                let least = told.unwrap_or(Duration::from_secs(1));
                assert!((least..=least.mul_f64(1.5)).contains(&delay), "{delay:?}");
            }
        }
    }
    assert_eq!(server.stats.snapshot().of(Transport::Grpc, Signal::Logs).refused, 3);
}

#[tokio::test]
async fn every_error_has_the_code_that_the_protocol_wants() {
    let mut config = config();
    limit_requests(&mut config, 1000);
    let server = Server::start(config).await;
    let path = Signal::Traces.grpc_path();
    let gzip_header = ("grpc-encoding", "gzip");
    let valid = telemetry(Signal::Traces, 1);
    let two = [frame(0, &[]), frame(0, &[])].concat();
    let mut lying = frame(0, b"abc");
    lying[4] = 4;

    // RESOURCE_EXHAUSTED 8, INVALID_ARGUMENT 3, UNIMPLEMENTED 12, INTERNAL 13.
    let cases = [
        ("empty", call(Signal::Traces, b""), 0, ""),
        ("large enough", call(Signal::Traces, &padding(1000)), 0, ""),
        ("inflated large enough", gzip_call(Signal::Traces, &gzip(&padding(1000))), 0, ""),
        ("flagged plain", raw_call(path, &[gzip_header], &frame(0, &padding(9))), 0, ""),
        ("too large", call(Signal::Traces, &padding(1001)), 8, "1000 bytes"),
        ("far too large", call(Signal::Traces, &padding(100_000)), 8, "1000 bytes"),
        ("bomb", gzip_call(Signal::Traces, &bomb(1000)), 8, "1000 bytes"),
        ("compressed too large", gzip_call(Signal::Traces, &padding(1001)), 8, "1000 bytes"),
        ("truncated", call(Signal::Traces, b"\x0a\x7f"), 3, "at byte 0"),
        ("of another signal", call(Signal::Metrics, b"\x0d\0\0\0\0"), 3, "wire%20type"),
        ("no gzip", gzip_call(Signal::Traces, b"not gzip"), 3, "gzip"),
        ("half a gzip", gzip_call(Signal::Traces, &gzip(&valid)[..40]), 3, "gzip"),
        ("snappy", raw_call(path, &[("grpc-encoding", "snappy")], &frame(1, b"")), 12, "gzip"),
        ("half a prefix", raw_call(path, &[], b"\0\0"), 13, "prefix"),
        ("no method", raw_call("/grpc.health.v1.Health/Check", &[], &frame(0, b"")), 12, "method"),
        ("root", raw_call("/", &[], b""), 12, "method"),
        ("no message", raw_call(path, &[], b""), 13, "message"),
        ("two messages", raw_call(path, &[], &two), 13, "message"),
        ("half a message", raw_call(path, &[], &lying), 13, "middle"),
        ("gzip unsaid", raw_call(path, &[], &frame(1, &gzip(b""))), 13, "grpc-encoding"),
        ("flag of 2", raw_call(path, &[], &frame(2, b"")), 13, "flag"),
    ];
    let mut client = Client::http2(server.grpc).await;
    for (case, request, code, says) in cases {
        let answer = client.send(request).await;
        assert_eq!(answer.grpc_status(), code, "{case}: {answer:?}");
        // RetryInfo would make the client send it all again; what is bad is told as BadRequest.
        assert_eq!(answer.headers.contains_key("grpc-status-details-bin"), code == 3, "{case}");
        if code == 3 {
            let details = answer.header("grpc-status-details-bin");
            let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap();
            assert_eq!(teleflow_otlp::Status::decode(&details).retry_delay, None, "{case}");
            let kind = b"google.rpc.BadRequest";
            assert!(details.windows(kind.len()).any(|part| part == kind), "{case}");
        }
        let message = answer.header("grpc-message").replace("%20", " ");
        assert!(message.contains(&says.replace("%20", " ")), "{case}: {message}");
        if case == "snappy" {
            let names =
                if cfg!(feature = "zstd") { "gzip, zstd, identity" } else { "gzip, identity" };
            assert_eq!(answer.header("grpc-accept-encoding"), names);
        }
        if code == 0 {
            assert_eq!(&answer.body[..], [0; 5], "{case}");
        }
    }
    let stats = server.stats.snapshot();
    assert_eq!((stats.unrouted, stats.bytes_in_flight), (2, 0));
    assert_eq!(stats.of(Transport::Grpc, Signal::Traces).accepted, 4);
    assert_eq!(server.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn a_bomb_of_64_mib_is_too_large_under_the_default_limits() {
    let server = Server::start(config()).await;
    let mut client = Client::http2(server.grpc).await;
    let bomb = bomb(64 * 1024 * 1024);
    assert!(bomb.len() < 1024 * 1024);
    let answer = client.send(gzip_call(Signal::Traces, &bomb)).await;
    assert_eq!(answer.grpc_status(), 8);
    assert!(!answer.headers.contains_key("grpc-status-details-bin"));

    // The length alone is enough: what is announced need not be sent.
    let announced = [0, 0x04, 0, 0, 1];
    let answer = client.send(raw_call(Signal::Traces.grpc_path(), &[], &announced)).await;
    assert_eq!(answer.grpc_status(), 8);
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let server = Server::start(config()).await;
    let mut client = Client::http2(server.grpc).await;
    let uri = format!("http://localhost{}", Signal::Traces.grpc_path());
    for content_type in ["application/json", "application/grpc-web", "application/grpc+json"] {
        let answer =
            client.send(request("POST", &uri, &[("content-type", content_type)], b"")).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
        let headers = [("content-type", content_type)];
        let answer = client.send(request("POST", &uri, &headers, &frame(0, b""))).await;
        assert_eq!(answer.grpc_status(), 0, "{content_type}");
    }
    let get = request("GET", &uri, &[("content-type", "application/grpc")], b"");
    assert_eq!(client.send(get).await.grpc_status(), 12);
}

#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
