//! A client of OTLP over gRPC or HTTP that leaves its core to others.
//!
//! It sends bodies that are framed beforehand, and knows of gRPC only the status: a gRPC library
//! would spend more on a request than a fast gateway does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};

use crate::encoding::Encoding;
use crate::payload::PREFIX;

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP over HTTP/1.1, in protobuf.
    Http,
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The gateway has taken it.
    Accepted,
    /// The gateway has not.
    Refused {
        /// Whether it says when to come again: `RetryInfo` or `Retry-After`.
        hinted: bool,
        /// The status.
        reason: String,
    },
    /// There was no answer.
    Failed(String),
}

/// A connection, or over gRPC a share of one.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    head: Request<()>,
}

#[derive(Debug)]
enum Sender {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

// === impl Protocol ===

impl Protocol {
    /// In the names of cases and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }

    /// What goes over the wire of a message that has its gRPC prefix.
    pub fn body(self, framed: &Bytes) -> Bytes {
        match self {
            Self::Grpc => framed.clone(),
            Self::Http => framed.slice(PREFIX..),
        }
    }
}

// === impl Client ===

impl Client {
    /// Connects, from the address `from` if that is given.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub async fn connect(
        to: SocketAddr,
        from: Option<Ipv4Addr>,
        protocol: Protocol,
        encoding: Encoding,
    ) -> io::Result<Self> {
        let stream = match from {
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(to).await?
            }
            None => TcpStream::connect(to).await?,
        };
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        // The end of a connection is seen by those that send, whose requests then fail.
        let sender = match protocol {
            Protocol::Grpc => {
                let handshake = http2::handshake(TokioExecutor::new(), stream);
                let (sender, connection) = handshake.await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Grpc(sender)
            }
            Protocol::Http => {
                let (sender, connection) =
                    http1::handshake(stream).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http(sender)
            }
        };
        Ok(Self { sender, head: head(to, protocol, encoding)? })
    }

    /// Another user of the same connection; HTTP/1.1 has one request at a time and so none.
    pub fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Grpc(sender) => {
                let sender = Sender::Grpc(sender.clone());
                Some(Self { sender, head: self.head.clone() })
            }
            Sender::Http(_) => None,
        }
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Grpc(sender) => sender.is_closed(),
            Sender::Http(sender) => sender.is_closed(),
        }
    }

    /// Sends a body, framed as the protocol wants it.
    pub async fn send(&mut self, body: Bytes) -> Answer {
        let request = self.head.clone().map(|()| Full::new(body));
        let answer = match &mut self.sender {
            Sender::Grpc(sender) => grpc(sender, request).await,
            Sender::Http(sender) => http(sender, request).await,
        };
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }
}

fn head(to: SocketAddr, protocol: Protocol, encoding: Encoding) -> io::Result<Request<()>> {
    let request = Request::builder().method(Method::POST);
    let request = match protocol {
        Protocol::Grpc => {
            let request = request
                .version(Version::HTTP_2)
                .uri(format!("http://{to}{GRPC_PATH}"))
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers");
            match encoding {
                Encoding::None => request,
                _ => request.header("grpc-encoding", encoding.name()),
            }
        }
        Protocol::Http => {
            let request = request
                .uri(HTTP_PATH)
                .header(header::HOST, to.to_string())
                .header(header::CONTENT_TYPE, "application/x-protobuf");
            match encoding {
                Encoding::None => request,
                _ => request.header(header::CONTENT_ENCODING, encoding.name()),
            }
        }
    };
    request.body(()).map_err(io::Error::other)
}

async fn grpc(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    // Where there is nothing but a status it stands in the headers.
    if let Some(answer) = grpc_status(&head.headers) {
        return Ok(answer);
    }
    let answer = trailers(body).await?.as_ref().and_then(grpc_status);
    let no_status = || Answer::Failed(format!("no gRPC status, HTTP status {}", head.status));
    Ok(answer.unwrap_or_else(no_status))
}

async fn http(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    // The connection is free for the next request when the body has been read.
    trailers(body).await?;
    Ok(match head.status {
        StatusCode::OK => Answer::Accepted,
        status => Answer::Refused {
            hinted: head.headers.contains_key(header::RETRY_AFTER),
            reason: format!("HTTP status {status}"),
        },
    })
}

async fn trailers(mut body: Incoming) -> Result<Option<HeaderMap>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(trailers) = frame?.into_trailers() {
            return Ok(Some(trailers));
        }
    }
    Ok(None)
}

/// What the gRPC status says, if it is among `headers`.
fn grpc_status(headers: &HeaderMap) -> Option<Answer> {
    let status = headers.get("grpc-status")?;
    if status == "0" {
        return Some(Answer::Accepted);
    }
    let details = headers.get("grpc-status-details-bin").map_or(&b""[..], |text| text.as_bytes());
    let message = headers.get("grpc-message");
    let reason = format!("gRPC status {status:?}, message {message:?}");
    Some(Answer::Refused { hinted: has_retry_info(details), reason })
}

/// Whether there is a `RetryInfo` among the details of a status, which are in base 64 with or
/// without padding. To know that, its name is enough.
fn has_retry_info(details: &[u8]) -> bool {
    const NAME: &[u8] = b"google.rpc.RetryInfo";
    let decoded = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details));
    decoded.is_ok_and(|decoded| decoded.windows(NAME.len()).any(|window| window == NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: &'static str, details: &[u8]) -> Option<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.parse().unwrap());
        let details = STANDARD_NO_PAD.encode(details);
        headers.insert("grpc-status-details-bin", details.parse().unwrap());
        grpc_status(&headers)
    }

    #[test]
    fn a_status_says_what_became_of_a_request() {
        assert_eq!(grpc_status(&HeaderMap::new()), None);
        assert_eq!(status("0", b""), Some(Answer::Accepted));
        let hinted = |answer| matches!(answer, Some(Answer::Refused { hinted: true, .. }));
        assert!(hinted(status("14", b"\x1a\x28type.googleapis.com/google.rpc.RetryInfo")));
        assert!(!hinted(status("14", b"type.googleapis.com/google.rpc.BadRequest")));
        assert!(!hinted(status("14", b"")));
        assert!(has_retry_info(STANDARD.encode(b"google.rpc.RetryInfo").as_bytes()));
    }
}
