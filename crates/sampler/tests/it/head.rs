//! Head samplers, one by one and on payloads.

mod adaptive;
mod bias;
mod collector;
mod gateway;
mod marks;

mod rate_limit;
#[cfg(feature = "opentelemetry")]
mod sdk;
mod simple;
mod throughput;

use std::time::Instant;

use teleflow_sampler::head::{self, Candidate, Sampler};
use teleflow_sampler::{Composition, Decision};

/// A candidate of a new trace.
fn trace(rng: &mut fastrand::Rng) -> Candidate {
    Candidate::of_trace(rng.u128(1..).to_be_bytes())
}

/// A key as whoever makes one would hash it.
fn key(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn decide(sampler: &dyn Sampler, now: Instant, candidate: &Candidate) -> Decision {
    head::sample(sampler, Composition::Equalizing, now, candidate)
}
