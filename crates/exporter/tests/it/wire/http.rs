use std::time::{Duration, SystemTime};

use teleflow_exporter::{Delivered, ExportError, Exporter, HttpConfig, HttpExporter};
use teleflow_otlp::{ExportResponse, Payload, Signal};

use crate::script::spans;
use crate::wire::server::{self, Answer, Answers, Protocol, Server, gzip, http, http_reply};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn start(answer: impl Fn(usize) -> Option<Answer> + Clone + Send + Sync + 'static) -> Server {
    Server::start(Protocol::Http1, answer).await
}

fn success() -> Option<Answer> {
    Some(http_reply(&ExportResponse::default()))
}

fn exporter(server: &Server, change: impl FnOnce(&mut HttpConfig)) -> HttpExporter {
    let mut config = HttpConfig::new(format!("http://{}", server.addr));
    change(&mut config);
    HttpExporter::new(config).unwrap()
}

/// What the exporter makes of this answer.
async fn answered(
    answer: impl Fn() -> Answer + Clone + Send + Sync + 'static,
) -> Result<Delivered, ExportError> {
    let server = start(move |_| Some(answer())).await;
    exporter(&server, |_| ()).export(spans(3, "a")).await
}

#[tokio::test]
async fn a_request_arrives_as_the_protocol_wants_it() {
    let server = start(|_| success()).await;
    let logs = format!("http://{}/in?for=logs", server.addr);
    let exporter = exporter(&server, |config| {
        config.endpoint += "/otlp/";
        config.logs_endpoint = Some(logs);
        config.headers = vec![("X-Tenant".into(), "seven".into())];
    });
    for signal in Signal::ALL {
        let payload = Payload::trusted(signal, b"anything"[..].into(), 1);
        assert_eq!(exporter.export(payload).await.unwrap(), Delivered::ALL);
    }
    let received = server.received();
    let paths: Vec<_> = received.iter().map(|request| &request.path[..]).collect();
    assert_eq!(paths, ["/otlp/v1/traces", "/otlp/v1/metrics", "/in?for=logs"]);
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("content-length", "8"),
        ("accept-encoding", "gzip,zstd"),
        ("x-tenant", "seven"),
        ("user-agent", concat!("teleflow-exporter/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(received[0].headers[name], value);
    }
    assert_eq!(received[0].body, "anything");
    // One connection is kept for all.
    assert!(received.iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn each_status_is_retried_as_the_specification_says() {
    for status in [
        300, 302, 307, 400, 401, 403, 404, 405, 408, 413, 415, 429, 500, 501, 502, 503, 504, 505,
        599,
    ] {
        let location = [("location", "http://127.0.0.1:1/elsewhere")];
        let error = answered(move || http(status, &location, "a server's own words")).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, ExportError::Http { status: got, .. } if got == status),
            "{error:?}"
        );
        assert_eq!(error.is_retryable(), [429, 502, 503, 504].contains(&status), "{status}");
        assert!(!format!("{error} {error:?}").contains("words"));
    }
}

#[tokio::test]
async fn retry_after_is_read_from_every_retryable_answer() {
    for status in [429, 502, 503, 504] {
        for (value, expected) in [("17", Some(17)), ("soon", None)] {
            let error =
                answered(move || http(status, &[("retry-after", value)], "")).await.unwrap_err();
            assert_eq!(error.retry_after(), expected.map(Duration::from_secs));
        }
    }
    let date = |at: SystemTime| {
        let value = httpdate::fmt_http_date(at);
        answered(move || http(503, &[("retry-after", &value)], ""))
    };
    let future = SystemTime::now() + Duration::from_secs(600);
    let delay = date(future).await.unwrap_err().retry_after().unwrap().as_secs();
    // The date has whole seconds, and some time went by.
    assert!((500..=600).contains(&delay), "{delay}");
    let past = SystemTime::now() - Duration::from_secs(600);
    assert_eq!(date(past).await.unwrap_err().retry_after(), Some(Duration::ZERO));
}

#[tokio::test]
async fn any_success_counts_and_what_is_no_protobuf_is_not_read() {
    for (status, content_type, body) in [
        (200, "application/x-protobuf; charset=utf-8", ""),
        (204, "application/x-protobuf", ""),
        (202, "application/json", "{}"),
        (200, "text/html", "<html>"),
    ] {
        let headers = [("content-type", content_type)];
        assert_eq!(answered(move || http(status, &headers, body)).await.unwrap(), Delivered::ALL);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_none_is_not_retried() {
    const MIB: usize = 1024 * 1024;
    const GZIP: (&str, &str) = ("content-encoding", "gzip");
    let answers: &[(&str, Answers)] = &[
        ("5 MiB", || http(200, &[PROTOBUF], vec![0; 5 * MIB])),
        ("a bomb", || http(200, &[PROTOBUF, GZIP], gzip(&vec![0; 6 * MIB]))),
        ("endless", server::endless),
        ("no reply", || http(200, &[PROTOBUF], "<html>")),
        ("no gzip", || http(200, &[PROTOBUF, GZIP], "no gzip")),
        ("unknown compression", || http(200, &[PROTOBUF, ("content-encoding", "br")], "")),
    ];
    for (name, answer) in answers {
        let error = answered(*answer).await.unwrap_err();
        assert!(matches!(error, ExportError::BadAnswer(_)), "{name}: {error:?}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn without_a_server_or_its_answer_it_may_be_retried() {
    for addr in [server::nobody().await, server::hangs_up().await] {
        // What stands in a path or query may be a token.
        let config = HttpConfig::new(format!("http://{addr}/secret?key=secret"));
        let error = HttpExporter::new(config).unwrap().export(spans(1, "a")).await.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
    let error = answered(server::breaks_off).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_signal_without_an_endpoint_is_refused_for_good() {
    let mut config = HttpConfig::new("");
    config.traces_endpoint = Some("http://127.0.0.1:1".into());
    let exporter = HttpExporter::new(config).unwrap();
    let logs = Payload::trusted(Signal::Logs, b"anything"[..].into(), 1);
    let error = exporter.export(logs).await.unwrap_err();
    assert!(matches!(error, ExportError::Permanent(_)), "{error:?}");
}
