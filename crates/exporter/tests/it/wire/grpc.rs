use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use teleflow_exporter::{
    Delivered, ExportError, Exporter, GrpcConfig, GrpcExporter, Retry, RetryConfig,
};
use teleflow_otlp::{Code, ExportResponse, Payload, Signal, Status};

use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::script::spans;
use crate::wire::server::{
    self, Answer, Answers, Protocol, Server, grpc, grpc_error, grpc_headers, gzip, http,
};

async fn start(answer: impl Fn(usize) -> Option<Answer> + Clone + Send + Sync + 'static) -> Server {
    Server::start(Protocol::Http2, answer).await
}

fn ok() -> Status {
    Status::new(Code::Ok, "")
}

fn success() -> Option<Answer> {
    Some(grpc(false, b"", &ok()))
}

fn exporter(server: &Server, change: impl FnOnce(&mut GrpcConfig)) -> GrpcExporter {
    let mut config = GrpcConfig::new(format!("http://{}", server.addr));
    // The default is short for a busy machine.
    config.timeout = Duration::from_secs(60);
    change(&mut config);
    GrpcExporter::new(config).unwrap()
}

/// What the exporter makes of this answer.
async fn answered(
    answer: impl Fn() -> Answer + Clone + Send + Sync + 'static,
) -> Result<Delivered, ExportError> {
    let server = start(move |_| Some(answer())).await;
    exporter(&server, |_| ()).export(spans(3, "a")).await
}

/// The message that is inside a gRPC frame.
fn unframed(body: &[u8]) -> (bool, &[u8]) {
    let len = u32::from_be_bytes(body[1..5].try_into().unwrap());
    assert_eq!(body.len(), 5 + len as usize);
    (body[0] == 1, &body[5..])
}

#[tokio::test]
async fn a_request_arrives_as_the_protocol_wants_it() {
    let server = start(|_| success()).await;
    let exporter = exporter(&server, |config| {
        config.headers = vec![("X-Tenant".into(), "seven".into())];
    });
    let paths = Signal::ALL.map(Signal::grpc_path);
    for signal in Signal::ALL {
        let payload = Payload::trusted(signal, b"anything"[..].into(), 1);
        assert_eq!(exporter.export(payload).await.unwrap(), Delivered::ALL);
    }
    let received = server.received();
    assert_eq!(received.iter().map(|request| &request.path[..]).collect::<Vec<_>>(), paths);
    let Some(first) = received.first() else { panic!("nothing came") };
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-tenant", "seven"),
        ("grpc-timeout", "60000m"),
        ("grpc-accept-encoding", "gzip,zstd"),
    ] {
        assert_eq!(first.headers[name], value);
    }
    let agent = first.headers["user-agent"].to_str().unwrap();
    let ours = concat!("teleflow-exporter/", env!("CARGO_PKG_VERSION"));
    assert!(agent.starts_with(ours), "{agent}");
    assert_eq!(unframed(&first.body), (false, &b"anything"[..]));
}

#[tokio::test]
async fn each_code_is_retried_as_the_specification_says() {
    for number in 1..=16 {
        let code = Code::from_number(number);
        let status = Status::new(code, "so it is");
        // In headers alone, and in trailers behind a message.
        let expected = [1, 4, 10, 11, 14, 15].contains(&number);
        let in_headers = status.clone();
        let in_trailers = status.clone();
        for result in [
            answered(move || grpc_error(&in_headers)).await,
            answered(move || grpc(false, b"", &in_trailers)).await,
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.is_retryable(), expected, "{error}");
            assert!(matches!(&error, ExportError::Status(got) if *got == status), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_delay_in_the_details_is_read_and_makes_exhaustion_retryable() {
    for millis in [0, 1500, 2000] {
        let delay = Duration::from_millis(millis);
        let status = Status {
            code: Code::ResourceExhausted,
            message: "later".into(),
            retry_delay: Some(delay),
        };
        let error = answered(move || grpc_error(&status)).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.retry_after(), Some(delay));
    }
    let absurd = Status {
        code: Code::Unavailable,
        message: String::new(),
        retry_delay: Some(Duration::from_secs(u64::from(u32::MAX))),
    };
    let error = answered(move || grpc_error(&absurd)).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn details_that_cannot_be_read_are_passed_over() {
    let error = answered(|| {
        let mut answer = grpc_error(&Status::new(Code::Unavailable, ""));
        answer.headers_mut().insert("grpc-status-details-bin", "not base64!".parse().unwrap());
        answer
    })
    .await
    .unwrap_err();
    assert!(error.is_retryable() && error.retry_after().is_none(), "{error:?}");
}

#[tokio::test]
async fn retried_until_it_is_taken_and_not_for_the_part_that_was_rejected() {
    let server = start(|number| match number {
        0 => Some(grpc_error(&Status::new(Code::Unavailable, ""))),
        1 => Some(http(502, &[], "")),
        2 => Some(server::breaks_off()),
        _ => {
            let partial = ExportResponse { rejected: 1, message: String::new() };
            Some(grpc(false, &partial.encode(), &ok()))
        }
    })
    .await;
    let config = RetryConfig { max_interval: Duration::ZERO, ..RetryConfig::default() };
    let retry = Retry::new(exporter(&server, |_| ()), config).unwrap();
    let payload = spans(3, "a");
    assert_eq!(retry.export(payload.clone()).await.unwrap().rejected, 1);
    let received = server.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|request| unframed(&request.body).1 == payload.to_bytes()));
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_none_is_not_retried() {
    const MIB: usize = 1024 * 1024;
    let answers: &[(&str, Answers)] = &[
        ("5 MiB", || grpc(false, &vec![0; 5 * MIB], &ok())),
        ("a bomb", || grpc(true, &gzip(&vec![0; 6 * MIB]), &ok())),
        ("endless", server::endless),
        ("no message", || grpc(false, b"<html>", &ok())),
        ("no status", || http(200, &[("content-type", "application/grpc")], "\0\0\0\0\0")),
        ("cut short", || server::with_trailers("\0\0\0\0\x09abc", grpc_headers(&ok()))),
        ("unknown compression", || {
            let mut answer = grpc(true, b"", &ok());
            answer.headers_mut().insert("grpc-encoding", "br".parse().unwrap());
            answer
        }),
    ];
    for (name, answer) in answers {
        let error = answered(*answer).await.unwrap_err();
        assert!(matches!(error, ExportError::BadAnswer(_)), "{name}: {error:?}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_success_without_a_message_is_a_success() {
    assert_eq!(answered(|| grpc_error(&ok())).await.unwrap(), Delivered::ALL);
}

#[tokio::test]
async fn a_proxys_error_is_judged_as_http() {
    for (status, retryable) in [(404, false), (500, false), (502, true), (503, true)] {
        let error = answered(move || http(status, &[], "bad gateway")).await.unwrap_err();
        assert!(matches!(error, ExportError::Http { status: got, .. } if got == status));
        assert_eq!(error.is_retryable(), retryable);
    }
}

#[tokio::test]
async fn without_a_server_it_may_be_retried() {
    for addr in [server::nobody().await, server::hangs_up().await] {
        let exporter = GrpcExporter::new(GrpcConfig::new(addr.to_string())).unwrap();
        let error = exporter.export(spans(1, "a")).await.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_reached_again() {
    let addr = server::nobody().await;
    let exporter = GrpcExporter::new(GrpcConfig::new(addr.to_string())).unwrap();
    exporter.export(spans(1, "a")).await.unwrap_err();

    let listener = TcpListener::bind(addr).await.unwrap();
    let server = Server::on(listener, Protocol::Http2, |_| ready(success()));
    exporter.export(spans(1, "b")).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_may_be_retried() {
    let error = answered(server::breaks_off).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_answers_nothing_any_more_is_replaced() {
    // The first connection falls silent; the second answers.
    let server = start(|number| if number < 5 { None } else { success() }).await;
    let exporter = exporter(&server, |_| ());
    for _ in 0..5 {
        let (result, ()) = tokio::join!(exporter.export(spans(1, "a")), async {
            server.arrived(1).await;
            tokio::time::pause();
        });
        assert!(matches!(result, Err(ExportError::Timeout(_))), "{result:?}");
        tokio::time::resume();
    }
    exporter.export(spans(1, "b")).await.unwrap();
    let connections: Vec<_> = server.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    // Nobody is answered before all have arrived.
    let all = Arc::new(Barrier::new(20));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::on(listener, Protocol::Http2, move |_| {
        let all = all.clone();
        async move {
            all.wait().await;
            success()
        }
    });
    let exporter = exporter(&server, |_| ());
    let exports = (0..20).map(|_| exporter.export(spans(1, "a")));
    for result in futures_util::future::join_all(exports).await {
        result.unwrap();
    }
    assert!(server.received().iter().all(|request| request.connection == 0));
}
