//! A receiver on real sockets, and clients that behave, and that do not.

mod access;
mod attacks;
mod auth;
mod grpc;
mod http;
mod lifecycle;
mod limits;
mod logs;
mod malformed;
mod slow;
mod support;
mod text;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "zstd")]
mod zstd;
