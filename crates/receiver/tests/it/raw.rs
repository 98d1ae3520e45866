//! HTTP by hand: for what no client would do.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The codes of the protocol that an attacker hears.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that has said the preface and an empty settings frame.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

/// Connects and says something.
pub(crate) async fn say(address: SocketAddr, what: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(what.as_ref()).await.unwrap();
    stream
}

/// A frame that came.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The head of a gRPC call, in HPACK without any compression.
pub(crate) fn call_head(path: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        literal(&mut head, name, value);
    }
    head
}

/// A header that is not to be remembered.
pub(crate) fn literal(head: &mut Vec<u8>, name: &str, value: &str) {
    head.push(0);
    for text in [name, value] {
        assert!(text.len() < 127);
        head.push(text.len() as u8);
        head.extend_from_slice(text.as_bytes());
    }
}

// === impl Raw ===

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let preface = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        Self { stream: say(address, preface).await }
    }

    /// Sends the same `times` over, or until the server hangs up; tells whether it did.
    pub(crate) async fn flood(&mut self, times: usize, what: impl Fn(usize) -> Vec<u8>) -> bool {
        let mut batch = Vec::new();
        for number in 0..times {
            batch.extend_from_slice(&what(number));
            if batch.len() > 60_000 {
                if self.send(&batch).await.is_err() {
                    return true;
                }
                batch.clear();
            }
        }
        self.send(&batch).await.is_err()
    }

    /// Writes while it reads: a server that waits for us to read is not let off.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        let mut waste = vec![0; 64 * 1024];
        let mut write = std::pin::pin!(writer.write_all(bytes));
        loop {
            tokio::select! {
                biased;
                written = &mut write => return written,
                read = reader.read(&mut waste) => {
                    if read? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads to the end and returns the code of the last GOAWAY, if there was one.
    pub(crate) async fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}
