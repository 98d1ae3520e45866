//! gRPC as HTTP/2 frames.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use base64::{Engine as _, alphabet};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{MAX_ANSWER, PATIENCE, gunzip};
use crate::status::Status;

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// The message, without gRPC's prefix and as it goes out: already compressed.
    pub message: Vec<u8>,
    /// `grpc-encoding`; the prefix says that it is compressed.
    pub encoding: Option<&'static str>,
    /// The most bytes of the answer that are read; 16 MiB.
    pub max_answer: usize,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `grpc-status`.
    pub code: i32,
    /// `grpc-message`, as it came.
    pub message: String,
    /// From `grpc-status-details-bin`.
    pub details: Option<Status>,
    /// The bytes of the answer's body, prefix included.
    pub received: usize,
    /// The first message, inflated.
    pub body: Vec<u8>,
}

// === impl Call ===

impl Call {
    /// A plain call.
    pub fn new(path: &str, message: Vec<u8>) -> Self {
        Self { path: path.to_owned(), message, encoding: None, max_answer: MAX_ANSWER }
    }

    /// Makes it on a connection of its own.
    ///
    /// # Errors
    ///
    /// There is no connection, no answer in time, or what came is not gRPC.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn send(&self, to: SocketAddr) -> io::Result<Reply> {
        timeout(PATIENCE, self.exchange(to))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s"))?
    }

    async fn exchange(&self, to: SocketAddr) -> io::Result<Reply> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        // Ends with the connection, which ends when the client is dropped.
        let driver = tokio::spawn(connection);
        let result = async {
            let mut client = client.ready().await.map_err(io::Error::other)?;
            let mut request = http::Request::builder()
                .method(Method::POST)
                .uri(format!("http://{to}{}", self.path))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-accept-encoding", "identity,gzip")
                .header("user-agent", concat!("otlp-conformance/", env!("CARGO_PKG_VERSION")));
            if let Some(encoding) = self.encoding {
                request = request.header("grpc-encoding", encoding);
            }
            let request = request.body(()).map_err(io::Error::other)?;
            let (response, body) = client.send_request(request, false).map_err(io::Error::other)?;
            let framed = frame(&self.message, self.encoding.is_some());
            let writing = write(body, framed.freeze());
            let reading = read_reply(response, self.max_answer);
            tokio::pin!(writing, reading);
            let mut written = false;
            loop {
                tokio::select! {
                    biased;
                    reply = &mut reading => break reply,
                    // A server may answer and reset what it does not want to read.
                    _ = &mut writing, if !written => written = true,
                }
            }
        }
        .await;
        driver.abort();
        result
    }
}

/// Puts gRPC's prefix before a message.
pub(crate) fn frame(message: &[u8], compressed: bool) -> BytesMut {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(u8::from(compressed));
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed
}

/// Writes as the window allows, and ends the stream.
async fn write(mut stream: SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    send(&mut stream, &mut data).await?;
    stream.send_data(Bytes::new(), true)
}

/// Writes as the window allows; `data` is what is left, also after an error.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    data: &mut Bytes,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len().min(1 << 20));
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(Ok(room)) => {
                let room = room.min(data.len());
                stream.send_data(data.split_to(room), false)?;
            }
            Some(Err(error)) => return Err(error),
            None => return Err(h2::Reason::CANCEL.into()),
        }
    }
    Ok(())
}

async fn read_reply(response: h2::client::ResponseFuture, limit: usize) -> io::Result<Reply> {
    let response = response.await.map_err(io::Error::other)?;
    if response.status() != 200 {
        return Err(io::Error::other(format!("HTTP status {}", response.status())));
    }
    let (head, mut body) = response.into_parts();
    let (bytes, trailers) = read(&mut body, limit).await?;
    // An answer without a message may have all in its head.
    let trailers = trailers.unwrap_or_else(|| head.headers.clone());
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other("no grpc-status"))?;
    let details = text("grpc-status-details-bin")
        .and_then(unbase64)
        .and_then(|bytes| Status::decode(bytes.as_slice()).ok());
    let encoding = head.headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    Ok(Reply {
        code,
        message: text("grpc-message").unwrap_or_default().to_owned(),
        details,
        received: bytes.len(),
        body: if bytes.is_empty() { Vec::new() } else { unframe(&bytes, encoding, limit)? },
    })
}

/// Reads a body to its end, and its trailers.
pub(crate) async fn read(
    body: &mut RecvStream,
    limit: usize,
) -> io::Result<(Vec<u8>, Option<HeaderMap>)> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
        if limit.saturating_sub(bytes.len()) < data.len() {
            return Err(io::Error::other(format!("a body over {limit} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await.map_err(io::Error::other)?))
}

/// The first message of a body, inflated.
pub(crate) fn unframe(bytes: &[u8], encoding: Option<&str>, limit: usize) -> io::Result<Vec<u8>> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<5>() else {
        return Err(io::Error::other("a message without its prefix"));
    };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    let message = rest.get(..length).ok_or_else(|| io::Error::other("a message cut short"))?;
    match (compressed, encoding) {
        (0, _) => Ok(message.to_vec()),
        (1, Some("gzip")) => gunzip(message, limit),
        (1, _) => Err(io::Error::other("a compressed message without grpc-encoding: gzip")),
        _ => Err(io::Error::other("a prefix that is not gRPC's")),
    }
}

/// Writes base64 with its padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Reads base64 with or without its padding, as headers may have it.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    const ANY: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ANY.decode(text).ok()
}
