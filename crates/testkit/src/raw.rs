//! HTTP by hand: for what no client would do.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]
#![allow(clippy::missing_panics_doc, reason = "they panic where the test has failed")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a client of HTTP/2 says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A kind of frame, as the others.
pub const DATA: u8 = 0;
/// A kind of frame.
pub const HEADERS: u8 = 1;
/// A kind of frame.
pub const RST_STREAM: u8 = 3;
/// A kind of frame.
pub const SETTINGS: u8 = 4;
/// A kind of frame.
pub const PING: u8 = 6;
/// A kind of frame.
pub const GOAWAY: u8 = 7;
/// A kind of frame.
pub const WINDOW_UPDATE: u8 = 8;
/// A kind of frame.
pub const CONTINUATION: u8 = 9;

/// A flag.
pub const END_STREAM: u8 = 1;
/// A flag.
pub const END_HEADERS: u8 = 4;

/// The code of the protocol that an attacker hears.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that has said the preface and an empty settings frame.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub stream: TcpStream,
}

/// Connects and says something.
pub async fn say(address: SocketAddr, what: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(what.as_ref()).await.unwrap();
    stream
}

/// A frame that came.
#[derive(Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it is of; 0 for the connection.
    pub stream: u32,
    /// What follows the nine bytes of its head.
    pub payload: Vec<u8>,
}

/// A frame, ready to be sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The head of a gRPC call, in HPACK without any compression.
pub fn call_head(path: &str) -> Vec<u8> {
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
pub fn literal(head: &mut Vec<u8>, name: &str, value: &str) {
    head.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "a length of one byte");
        head.push(text.len() as u8);
        head.extend_from_slice(text.as_bytes());
    }
}

// === impl Raw ===

impl Raw {
    /// Connects, and says what a client says first.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let preface = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        // Whoever is cut off already learns it when it sends on.
        let _ = stream.write_all(&preface).await;
        Self { stream }
    }

    /// Sends the same `times` over, or until the server hangs up; tells whether it did.
    pub async fn flood(&mut self, times: usize, what: impl Fn(usize) -> Vec<u8>) -> bool {
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
    ///
    /// # Errors
    ///
    /// The server has hung up.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
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
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads to the end and returns the code of the last GOAWAY, if there was one.
    pub async fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}
