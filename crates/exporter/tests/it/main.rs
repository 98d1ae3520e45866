//! The exporters facing real servers on loopback, and the parts around them with scripted ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod console;
#[cfg(all(
    feature = "grpc",
    feature = "http",
    feature = "gzip",
    feature = "zstd",
    feature = "json",
    feature = "tls"
))]
mod grpc;
#[cfg(all(
    feature = "grpc",
    feature = "http",
    feature = "gzip",
    feature = "zstd",
    feature = "json",
    feature = "tls"
))]
mod http;
mod queue;
mod retry;
mod script;
#[cfg(all(
    feature = "grpc",
    feature = "http",
    feature = "gzip",
    feature = "zstd",
    feature = "json",
    feature = "tls"
))]
mod server;
