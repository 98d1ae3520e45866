//! OTLP/HTTP over HTTP/1.1.

use std::time::{Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Answer, Attempt, FLOOD, MAX_REQUEST, Shared};
use crate::signal::Signal;
use crate::wire::gunzip;
use crate::wire::http::{Kind, Message, header, media_type, read};

/// Serves one connection until its client or an answer ends it.
pub(super) async fn serve(stream: TcpStream, connection: usize, shared: Shared) {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    while let Ok(Some(message)) = read(&mut input, Kind::Request, MAX_REQUEST).await {
        let json = header(&message.headers, "content-type")
            .is_some_and(|value| media_type(value) == "application/json");
        let path = message.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (index, answer) = shared.note(attempt(message, connection));
        let signal = Signal::ALL.into_iter().find(|signal| path.ends_with(signal.http_path()));
        let reply = Reply { json, signal: signal.unwrap_or(Signal::Traces) };
        let goes_on = reply.give(answer, index, &mut input, &mut output, &shared).await;
        shared.log.change(index, |attempt| attempt.answered = Some(Instant::now()));
        if !goes_on {
            return;
        }
    }
}

fn attempt(message: Message, connection: usize) -> Attempt {
    let mut words = message.line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let sent = message.body.len();
    let body = match header(&message.headers, "content-encoding") {
        None | Some("identity") => Ok(message.body),
        Some("gzip") => gunzip(&message.body, MAX_REQUEST).map_err(|error| error.to_string()),
        Some(other) => Err(format!("content-encoding: {other}")),
    };
    let compressed = header(&message.headers, "content-encoding").is_some();
    Attempt {
        id: 0,
        at: Instant::now(),
        connection,
        method,
        path,
        headers: message.headers,
        sent,
        compressed,
        body,
        taken: 0,
        gone: None,
        answered: None,
    }
}

struct Reply {
    json: bool,
    signal: Signal,
}

// === impl Reply ===

impl Reply {
    /// Answers; whether the connection goes on.
    async fn give(
        &self,
        mut answer: Answer,
        index: usize,
        input: &mut BufReader<OwnedReadHalf>,
        output: &mut OwnedWriteHalf,
        shared: &Shared,
    ) -> bool {
        while let Answer::After(delay, then) = answer {
            tokio::time::sleep(delay).await;
            answer = *then;
        }
        let (status, headers, body) = match answer {
            Answer::Ok | Answer::After(..) => (200, Vec::new(), self.success()),
            Answer::Partial(rejected, message) => {
                (200, Vec::new(), self.partial(rejected, message))
            }
            Answer::Http(status, headers, body) => (status, headers, body),
            Answer::Status(..) => (500, Vec::new(), Vec::new()),
            Answer::RetryAfterDate(status, delay) => {
                // A date has whole seconds: the next one is at least as far.
                let when = SystemTime::now() + delay + std::time::Duration::from_secs(1);
                (status, vec![("retry-after", httpdate::fmt_http_date(when))], Vec::new())
            }
            Answer::Close => return false,
            Answer::Hang => {
                // Nothing more comes but the end.
                let mut rest = [0; 1];
                while input.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                shared.log.change(index, |attempt| attempt.gone = Some(Instant::now()));
                return false;
            }
            Answer::Flood => return self.flood(index, output, shared).await,
        };
        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            head.push_str(&format!("content-type: {}\r\n", self.content_type()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        output.write_all(&bytes).await.is_ok()
    }

    fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "application/x-protobuf" }
    }

    fn success(&self) -> Vec<u8> {
        if self.json { b"{}".to_vec() } else { Vec::new() }
    }

    fn partial(&self, rejected: i64, message: &str) -> Vec<u8> {
        if !self.json {
            return self.signal.partial_response(rejected, message);
        }
        let key = self.signal.rejected_key();
        let partial = serde_json::json!({ key: rejected.to_string(), "errorMessage": message });
        serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
    }

    /// A success with a field of [`FLOOD`] bytes that nobody knows.
    async fn flood(&self, index: usize, output: &mut OwnedWriteHalf, shared: &Shared) -> bool {
        let (before, fill, after) = if self.json {
            (b"{\"x\":\"".to_vec(), b'a', b"\"}".to_vec())
        } else {
            (unknown_field(FLOOD), 0, Vec::new())
        };
        let length = before.len() + FLOOD + after.len();
        let content_type = self.content_type();
        let mut head = format!(
            "HTTP/1.1 200 X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        head.extend(before);
        if output.write_all(&head).await.is_err() {
            return false;
        }
        let piece = vec![fill; 64 << 10];
        let mut taken = 0;
        while taken < FLOOD {
            if output.write_all(&piece).await.is_err() {
                return false;
            }
            taken += piece.len();
            shared.log.change(index, |attempt| attempt.taken = taken);
        }
        output.write_all(&after).await.is_ok()
    }
}

/// The key and the length of field 1000.
pub(super) fn unknown_field(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xc2, 0x3e];
    prost::encoding::encode_varint(length as u64, &mut bytes);
    bytes
}
