//! A receiver on real sockets, and clients that behave, and that do not.

mod attacks;
mod grpc;
mod http;
mod lifecycle;
mod limits;
mod malformed;
mod raw;
mod support;
#[cfg(feature = "zstd")]
mod zstd;
