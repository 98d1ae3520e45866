//! The exporters facing real servers on loopback, and the parts around them with scripted ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod adaptive;
mod balance;
mod console;
mod destinations;
#[cfg(all(
    feature = "grpc",
    feature = "http",
    feature = "gzip",
    feature = "zstd",
    feature = "json",
    feature = "tls"
))]
mod env;
mod limits;
mod queue;
mod retry;
mod script;
mod split;
mod stack;
#[cfg(all(
    feature = "grpc",
    feature = "http",
    feature = "gzip",
    feature = "zstd",
    feature = "json",
    feature = "tls"
))]
mod wire {
    mod both;
    mod connection;
    mod forms;
    mod grpc;
    mod hostile;
    mod http;
    mod proxy;
    mod server;
    mod tls;
}
