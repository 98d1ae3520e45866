//! Shared parts of the benchmarks: how to count, load, receive, watch and report.
//!
//! - [`alloc`] counts what a piece of code allocates.
//! - [`report`] puts our figures beside a rival's.
//! - [`measure`] times two ways of doing the same work.
//! - [`payload`] builds trace requests whose trace ids are fresh each time.
//! - [`encoding`] compresses them, and [`bodies`] deals them out.
//! - [`client`] sends one over gRPC or HTTP.
//! - [`schedule`] says when one is due.
//! - [`load`] sends many, as fast as they are answered or on that schedule.
//! - [`latency`] tells how long the slowest of the answers took.
//! - [`scan`] counts the spans in a request without decoding it.
//! - [`sink`] receives what a gateway exports.
//! - [`process`] runs a gateway on one core and reads what it costs.
//! - [`golang`] builds what is written in Go.
//! - [`peer`] names the gateways, builds them and writes their configuration.
//! - [`rig`] puts one of them between a generator and a sink.
//! - [`trial`] takes one of them through one case.
//! - [`suite`] takes all of them through it, one beside the other.
//! - [`spool`] fills and drains our queue on disk.
//! - [`books`] reads what ours says became of all spans.

pub mod alloc;
pub mod bodies;
pub mod books;
pub mod client;
pub mod encoding;
pub mod golang;
pub mod latency;
pub mod load;
pub mod measure;
pub mod payload;
pub mod peer;
pub mod process;
pub mod report;
pub mod rig;
pub mod scan;
pub mod schedule;
pub mod sink;
pub mod spool;
pub mod suite;
pub mod trial;
