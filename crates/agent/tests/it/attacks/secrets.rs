//! CVE-2026-81870 and RUSTSEC-2025-0055: what is secret is nowhere to be read, and what a peer sends
//! is never more than text.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use prost::Message;
use rcgen::KeyPair;
use teleflow::Signal;
use teleflow_testkit::telemetry::Telemetry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{CONFIG, PROTOBUF};
use crate::admin::{get, send};
use crate::malformed::client::{Client, post};
use crate::program::Program;

/// In every value that is secret.
const SECRET: &str = "hunter2";

/// A server that repeats what it was sent, secrets included, and refuses it. Keeps what it heard.
async fn echo() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 65_536];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let said = String::from_utf8_lossy(&head[..read]).replace(['\r', '\n'], " ");
            hears.lock().unwrap().push_str(&said);
            let answer = format!(
                "HTTP/1.1 400 {SECRET}\r\nx-said: {SECRET}\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{said}",
                said.len()
            );
            // The gateway may have left.
            _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, heard)
}

#[tokio::test]
async fn secrets_are_in_no_log_no_metric_and_no_page_at_any_level() {
    let ((server, to_server), (proxy, to_proxy)) = (echo().await, echo().await);
    let config = format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp:
    endpoint: http://{server}
    headers: {{ authorization: Bearer {SECRET}, x-api-key: \"${{env:API_KEY}}\" }}
    retry_on_failure: {{ enabled: false }}
  otlphttp:
    traces_endpoint: http://{server}/v1/traces?key={SECRET}
    logs_endpoint: http://{server}/{SECRET}/v1/logs
    headers: [ {{ name: x-token, value: {SECRET} }} ]
    retry_on_failure: {{ enabled: false }}
  otlphttp/proxied:
    endpoint: http://collector.test
    proxy_url: http://me:{SECRET}@{proxy}
    headers: {{ authorization: Basic {SECRET} }}
    retry_on_failure: {{ enabled: false }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  telemetry: {{ logs: {{ level: debug }} }}
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], exporters: [otlphttp] }}
    metrics: {{ receivers: [otlp], exporters: [otlp] }}
    logs: {{ receivers: [otlp], exporters: [otlphttp] }}
    logs/proxied: {{ receivers: [otlp], exporters: [otlphttp/proxied] }}
"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
    command.env("RUST_LOG", "trace").env("API_KEY", SECRET);
    let program = Program::start_by(command, &config, &[]);
    for signal in Signal::ALL {
        send(&program, signal, 1).await;
        // And what clients send along.
        let headers = [PROTOBUF, ("authorization", "Bearer hunter2"), ("cookie", SECRET)];
        let client = &mut Client::http1(program.http()).await;
        client.send(post(signal.http_path(), &headers, "\x0a\x7fhunter2")).await.unwrap();
    }
    let mut pages = String::new();
    for path in [
        "/health",
        "/metrics",
        "/config",
        "/debug",
        "/debug/config",
        "/debug/vars",
        "/debug/pprof/",
        "/debug/tracez",
        "/debug/servicez",
        "/debug/pipelinez",
        "/status",
        "/env",
    ] {
        let answer = get(&program, path).await;
        pages.push_str(&format!("{path}: {answer:?}\n"));
    }
    let ended = program.terminate();
    assert!(ended.stderr.contains("TRACE"), "it says all that it can: {ended:?}");
    // They were used.
    for heard in [to_server, to_proxy] {
        let heard = heard.lock().unwrap();
        assert!(heard.contains(SECRET), "{heard}");
    }
    for (what, text) in [("pages", &pages), ("output", &ended.stdout), ("log", &ended.stderr)] {
        let line = text.lines().find(|line| line.contains(SECRET));
        assert_eq!(line, None, "in {what}");
    }
}

#[test]
fn a_config_file_that_is_wrong_is_refused_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let line = key.lines().nth(1).unwrap().to_owned();
    let key: String = key.lines().map(|line| format!("        {line}\n")).collect();
    for (number, exporter) in [
        // A header with a line break, twice the same name, a name that is none.
        format!("otlp:\n    endpoint: http://a:1\n    headers: {{ x: \"{SECRET}\\r\\ny: z\" }}"),
        format!("otlp:\n    endpoint: http://a:1\n    headers: {{ x: {SECRET}, X: {SECRET} }}"),
        format!("otlp:\n    endpoint: http://a:1\n    headers: {{ \"a b\": {SECRET} }}"),
        format!("otlp:\n    endpoint: http://a:1\n    headers: {{ x: [{SECRET}] }}"),
        // Credentials in addresses that cannot be used.
        format!("otlp:\n    endpoint: ftp://me:{SECRET}@a:1"),
        format!("otlp:\n    endpoint: http://me:{SECRET}@a:1:2"),
        format!("otlphttp:\n    endpoint: http://me:{SECRET}@a b"),
        format!("otlphttp:\n    endpoint: http://a\n    proxy_url: socks5://me:{SECRET}@a:1"),
        format!("otlphttp:\n    endpoint: http://a\n    proxy_url: http://me:{SECRET}@:x"),
        // A key that is none, and one next to what is not encrypted.
        format!("otlp:\n    endpoint: https://a:1\n    tls: {{ key_pem: {SECRET}, cert_pem: x }}"),
        format!("otlp:\n    endpoint: http://a:1\n    tls:\n      key_pem: |\n{key}"),
    ]
    .into_iter()
    .enumerate()
    {
        let config = format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  {exporter}
service:
  pipelines:
    traces: {{ receivers: [otlp], exporters: [{}] }}
",
            exporter.split(':').next().unwrap()
        );
        let path = folder.path().join(format!("{number}.yaml"));
        fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
        command.args(["run", "--config"]).arg(path).env("RUST_LOG", "debug");
        let output = command.output().unwrap();
        let said = format!("{output:?}");
        assert!(!output.status.success(), "{exporter}: {said}");
        assert!(output.stderr.len() > 30, "{exporter}: {said}");
        assert!(!said.contains(SECRET) && !said.contains(&line), "{exporter}: {said}");
    }
}

/// Clears the screen, sets the title, and goes up a line; in both ways to begin.
const ESCAPES: &str = "\x1b[2J\x1b]0;owned\x07\u{9b}1A\r\n2026-01-01 INFO forged\u{202e}\0";

#[tokio::test]
async fn escapes_that_are_sent_reach_neither_the_log_nor_the_output() {
    let config = CONFIG
        .replace(
            "  sqlite: { path: attacked.db,",
            "  debug: { verbosity: detailed }\n  sqlite: { path: attacked.db,",
        )
        .replace("exporters: [sqlite]", "exporters: [debug, sqlite]");
    let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
    command.env("RUST_LOG", "debug,h2=info").env("NO_COLOR", "1");
    let program = Program::start_by(command, &config, &[]);
    let mut client = Client::http1(program.http()).await;
    for signal in Signal::ALL {
        let answer = client.send(post(signal.http_path(), &[PROTOBUF], hostile(signal))).await;
        assert_eq!(answer.unwrap().status, 200, "{signal}");
        // In what is refused, too: JSON whose keys are repeated in the error, and the error itself.
        let json = format!("{{\"resourceSpans\":[{{\"{}\":", ESCAPES.escape_default());
        let headers = [("content-type", "application/json")];
        let answer = client.send(post(signal.http_path(), &headers, json)).await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(!answer.body.contains(&0x1b), "{answer:?}");
    }
    // By hand, as no client would send it.
    let mut stream = tokio::net::TcpStream::connect(program.http()).await.unwrap();
    let head = "POST /\x1b[2J HTTP/1.1\r\nhost: \x1b[2J\r\nuser-agent: \x1b[2J\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.contains(&0x1b));

    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("forged"), "the text itself is shown");
    for (what, text) in [("output", &ended.stdout), ("log", &ended.stderr)] {
        let is_bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        let line = text.lines().find(|line| line.contains(is_bad));
        assert_eq!(line, None, "in {what}");
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01 INFO forged")), "{text}");
    }
}

/// Escapes wherever there is a name.
fn hostile(signal: Signal) -> Vec<u8> {
    let mut telemetry = Telemetry::new(3);
    let name = || ESCAPES.to_owned();
    match signal {
        Signal::Traces => {
            let mut request = telemetry.traces(3);
            for resource in &mut request.resource_spans {
                resource.schema_url = name();
                for attribute in &mut resource.resource.get_or_insert_default().attributes {
                    attribute.key = name();
                }
                for scope in &mut resource.scope_spans {
                    scope.scope.get_or_insert_default().name = name();
                    for span in &mut scope.spans {
                        (span.name, span.trace_state) = (name(), name());
                        span.status.get_or_insert_default().message = name();
                    }
                }
            }
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = telemetry.metrics(3);
            for resource in &mut request.resource_metrics {
                for scope in &mut resource.scope_metrics {
                    for metric in &mut scope.metrics {
                        (metric.name, metric.unit) = (name(), name());
                        metric.description = name();
                    }
                }
            }
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = telemetry.logs(3);
            for resource in &mut request.resource_logs {
                for scope in &mut resource.scope_logs {
                    for record in &mut scope.log_records {
                        (record.severity_text, record.event_name) = (name(), name());
                    }
                }
            }
            request.encode_to_vec()
        }
    }
}
