//! HTTP/2 by hand: for what no client would do.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_HEADERS: u8 = 4;

/// A connection that has said the preface and an empty settings frame.
pub(super) struct Raw {
    stream: TcpStream,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header that is not to be remembered.
pub(super) fn literal(head: &mut Vec<u8>, name: &str, value: &str) {
    head.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "a length of one byte");
        head.push(text.len() as u8);
        head.extend_from_slice(text.as_bytes());
    }
}

/// The head of a gRPC call, without any compression.
pub(super) fn call_head() -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", teleflow::Signal::Traces.grpc_path()),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        literal(&mut head, name, value);
    }
    head
}

// === impl Raw ===

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let preface = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        // Whoever is cut off already learns it when it sends on.
        _ = stream.write_all(&preface).await;
        Self { stream }
    }

    /// Writes while it reads: a server that waits for us to read is not let off. Fails when the
    /// server has hung up.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
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
}
