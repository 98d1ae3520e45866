//! Decides which traces are worth keeping.
//!
//! [Head samplers](head) decide at once, about a span or record by itself; what they keep says how
//! likely that was, by the specification's [thresholds](Threshold) in the [trace state](TraceState).
//!
//! [`TailSampler`] collects the spans of a trace until it has waited long enough, then asks its
//! [policies](Policy) about the whole trace. It is a library without I/O: it holds slices of the
//! requests that spans came in, takes `now` as an argument, and hands back what is kept. It spawns
//! nothing, reads no clock and can run in a gateway, in a service or in a test.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use teleflow_otlp::{Payload, Signal};
//! use teleflow_sampler::{Config, Output, Policy, Rule, TailSampler};
//!
//! let config = Config {
//!     decision_wait: Duration::from_secs(2),
//!     rules: vec![Rule::new("slow", Policy::slower_than(Duration::from_secs(1)))].into(),
//!     ..Config::default()
//! };
//! let mut sampler = TailSampler::new(config)?;
//! let mut out = Output::default();
//!
//! let now = Instant::now();
//! // ResourceSpans { ScopeSpans { Span { trace_id, start: 1 ns, end: 2^31 ns } } }
//! let request = b"\x0a\x28\x12\x26\x12\x24\x0a\x10abcdefghijklmnop\x39\x01\x00\x00\x00\x00\x00\x00\x00\x41\x00\x00\x00\x80\x00\x00\x00\x00";
//! sampler.offer(now, Payload::parse(Signal::Traces, request.as_slice().into())?, &mut out);
//! assert!(out.kept.is_empty(), "the trace may not be complete yet");
//!
//! sampler.poll(now + Duration::from_secs(2), &mut out);
//! assert_eq!(out.kept.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `mapped`: `teleflow_pool::mapped::Arena` is a [`Storage`] of the tail sampler: held spans are
//!   on disk.
//! - `opentelemetry`: head samplers for `opentelemetry_sdk`.

#![forbid(unsafe_code)]

mod compose;
mod edit;
mod engine;
pub mod head;
mod keyed;
mod memory;
pub mod ottl;
mod pattern;
mod policy;
mod randomness;
mod route;
mod rules;
mod secret;
mod shards;
mod tail;
mod threshold;
mod trace;
mod trace_state;
mod wire;

pub use compose::{Composition, Decision, Intent};
pub use engine::{Explained, Explanation, RuleStats, Volume, Vote, explain};
pub use memory::MemoryStats;
pub use policy::{Composite, Conditions, Custom, Decider, OnError, Part, Policy, Ratio, Rule};
pub use randomness::{InvalidRandomness, Randomness};
pub use route::{InvalidShards, MAX_SHARDS, Router, RouterStats};
pub use rules::{
    Algorithm, DynamicSampler, Keys, MatchRule, MatchScope, Policies, Rules, SamplerStats, Shape,
    Unit,
};
pub use tail::{
    Answer, Config, ConfigError, Counts, Digest, Eviction, FingerprintNote, Held, MIN_BYTES, Notes,
    Output, Proposal, Reason, Relief, ReliefStats, Remembered, Shared, Sharing, SharingStats,
    Stats, Storage, StorageError, StorageStats, StorageWriter, Strategy, TailSampler, Trigger,
    Waits,
};
pub use threshold::{InvalidProbability, InvalidThreshold, Threshold};
pub use trace::{Gathered, SpanView, Spans, StatusSet, Trace, TraceSummary};
pub use trace_state::{TooLong, TraceState};
