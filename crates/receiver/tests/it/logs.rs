//! What peers can cause to be written down: little, and nothing of what they send.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::io;
use std::sync::{Arc, Mutex};

use teleflow_receiver::auth::{AuthConfig, Scheme};
use tracing_subscriber::fmt::MakeWriter;

use crate::auth::{fake, guarded};
use crate::support::{Client, PROTOBUF, Server, padding, post};

/// Everything that was logged.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Those of this crate, of every level.
    fn all(&self) -> Vec<String> {
        let written = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = written.lines().filter(|line| line.contains("teleflow_receiver"));
        ours.map(str::to_owned).collect()
    }
}

/// Writes down what this thread logs, for as long as the guard lives.
fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_thousand_requests_that_cannot_be_verified_are_one_line_without_their_secret() {
    let (lines, _guard) = listen();
    let (_, auth) = fake(AuthConfig::new(Scheme::Bearer));
    let server = Server::start(guarded(auth)).await;
    let mut http = Client::http1(server.http).await;
    for token in ["broken", "wrong", "barred"] {
        for _ in 0..1000 {
            let value = format!("Bearer {token}");
            let headers = [PROTOBUF, ("authorization", value.as_str())];
            let answer = http.send(post("/v1/traces", &headers, &padding(9))).await;
            assert!(answer.status.as_u16() >= 400);
        }
    }
    let lines = lines.all();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("the directory is away"), "{lines:?}");
    assert!(!lines[0].contains("broken") && !lines[0].contains("Bearer"), "{lines:?}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_hundred_handshakes_that_fail_are_one_line_without_what_was_sent() {
    use tokio::io::AsyncReadExt as _;

    use crate::tls::{Authority, with_tls};
    use teleflow_testkit::raw::say;

    let (lines, _guard) = listen();
    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("a"))).await;
    for _ in 0..100 {
        let mut stream = say(server.http, b"\x1b[31mGET / HTTP/1.1 a secret\r\n\r\n").await;
        _ = stream.read_to_end(&mut Vec::new()).await;
    }
    server.until(|server| server.stats.snapshot().handshakes_failed == 100).await;
    let lines = lines.all();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(!lines[0].contains("secret") && !lines[0].contains('\x1b'), "{lines:?}");
}
