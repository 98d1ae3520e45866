//! Shared parts of the benchmarks: how to count, load, receive, watch and report.
//!
//! - [`alloc`] counts what a piece of code allocates.
//! - [`report`] puts our figures beside a rival's.
//! - [`measure`] times two ways of doing the same work.
//! - [`payload`] builds trace requests whose trace ids are fresh each time.
//! - [`load`] sends them, as fast as they are answered or at a given rate.
//! - [`scan`] counts the spans in a request without decoding it.
//! - [`sink`] receives what a gateway exports.
//! - [`process`] runs a gateway on one core and reads what it costs.
//! - [`peer`] names the gateways, builds them and writes their configuration.
//! - [`trial`] takes one of them through one case.

pub mod alloc;
pub mod load;
pub mod measure;
pub mod payload;
pub mod peer;
pub mod process;
pub mod report;
pub mod scan;
pub mod sink;
pub mod trial;
