//! A client that sends what it is told to, whatever it is.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

/// A client of one connection.
#[derive(Debug)]
pub(crate) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    /// A clone shares the connection.
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// Each a `google.protobuf.Any`.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) details: Vec<Vec<u8>>,
}

// === impl Client ===

impl Client {
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        let (sender, connection) = http1::handshake(connect(address).await).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(address: SocketAddr) -> Self {
        let executor = TokioExecutor::new();
        let (sender, connection) =
            http2::handshake(executor, connect(address).await).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// Fails where the connection does.
    pub(crate) async fn send(&mut self, request: Request<Bytes>) -> hyper::Result<Answer> {
        let request = request.map(Full::new);
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
    }

    /// Another user of the same connection, which HTTP/1 cannot have.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

/// Opens a connection that does not wait for more to send.
async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    TokioIo::new(stream)
}

// === impl Answer ===

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status of a gRPC call, wherever it stands; `None` where the answer has none.
    pub(crate) fn grpc_status(&self) -> Option<i32> {
        let status =
            self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"))?;
        status.to_str().ok()?.parse().ok()
    }

    /// The status in an error's body, whose encoding must be the one that it says.
    pub(crate) fn rpc_status(&self) -> Option<RpcStatus> {
        match self.header("content-type") {
            "application/x-protobuf" => RpcStatus::decode(&self.body[..]).ok(),
            "application/json" => {
                let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
                let details = value["details"].as_array().cloned().unwrap_or_default();
                Some(RpcStatus {
                    code: value["code"].as_i64()?.try_into().ok()?,
                    message: value["message"].as_str()?.to_owned(),
                    details: details.iter().map(|any| any.to_string().into_bytes()).collect(),
                })
            }
            _ => None,
        }
    }
}

/// A request as OTLP has them: to `path`, with `body`.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post(format!("http://localhost{path}")).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A gRPC message and what goes in front of it.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}
