//! Samplers that decide at once: about a span or record when it starts or comes by, and not when its
//! trace is complete.
//!
//! A [`Sampler`] says with which threshold it would keep what it is asked about: its [`Intent`]. A
//! [`Composition`] makes a decision of that, with the trace's [`Randomness`] and the threshold that
//! it comes with. So all of them are consistent (who keeps less keeps a part of what others keep), and
//! what is kept says how many it stands for.
//!
//! [`HeadSampler`] does this to payloads, [`sample`] to a single candidate.
//!
//! | sampler | keeps | threshold |
//! |---|---|---|
//! | [`Always`], [`Never`] | all, nothing | that of all |
//! | [`Ratio`] | a share of all traces | fixed |
//! | [`ClassicRatio`] | a share, by the test that was usual before | none: nobody else can follow it |
//! | [`ParentBased`] | what the parent was, and of roots what another sampler does | the parent's |
//! | [`Adaptive`] | so many that a share of all, those decided elsewhere included, is kept | follows |
//! | [`Throughput`] | so many a second, of each key or in all; rare keys always | follows |
//! | [`RateLimit`] | so many spans and bytes a second, and no more | none: nobody knows it |
//!
//! ```
//! use std::time::Instant;
//! use teleflow_sampler::head::{self, Candidate, Ratio};
//! use teleflow_sampler::{Composition, Decision, Randomness, Threshold};
//!
//! let tenth = Ratio::new(0.1)?;
//! let id = *b"0123456789\xe7bcdef";
//! let candidate = Candidate::of_trace(id);
//! let decision = head::sample(&tenth, Composition::Equalizing, Instant::now(), &candidate);
//! assert_eq!(decision, Decision::Drop, "{} is below e666", Randomness::from_trace_id(id));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::{Composition, Decision, Intent, Randomness, Threshold};

mod adaptive;
mod config;
mod gateway;
mod parent_based;
mod priority;
mod rate_limit;
#[cfg(feature = "opentelemetry")]
mod sdk;
mod simple;
mod source;
mod stats;
mod throughput;

pub use adaptive::{Adaptive, AdaptiveConfig, AdaptiveStats, Controller};
pub use config::{HeadConfig, Key, Undecidable};
pub use gateway::HeadSampler;
pub use parent_based::{ParentBased, ParentThreshold};
pub use priority::Priority;
pub use rate_limit::{RateLimit, RateLimitConfig, RateLimitStats};
#[cfg(feature = "opentelemetry")]
pub use sdk::SdkSampler;
pub use simple::{Always, ClassicRatio, Never, Ratio};
pub use source::{HashSource, Source};
pub use stats::{HeadStats, Warning};
pub use throughput::{Goal, Throughput, ThroughputConfig, ThroughputStats};

/// Says how much is to be kept.
///
/// Samplers are shared between threads. They read no clock: `now` comes in.
pub trait Sampler: Debug + Send + Sync {
    /// What is wanted for a candidate. It may depend on anything but the candidate's randomness.
    fn intent(&self, now: Instant, candidate: &Candidate) -> Intent;

    /// Hears what became of a candidate, for samplers that learn from it. `is_own` where the
    /// decision followed this sampler's intent, and not somebody else's.
    fn hear(&self, now: Instant, candidate: &Candidate, is_kept: bool, is_own: bool) {
        let _ = (now, candidate, is_kept, is_own);
    }
}

/// What a sampler is asked about: a span or a record, of which nothing but this is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its trace; zeros where it belongs to none.
    pub trace_id: [u8; 16],
    /// What chance decides with.
    pub randomness: Randomness,
    /// The threshold that it, or its parent, comes with.
    pub before: Option<Threshold>,
    /// Its parent.
    pub parent: Parent,
    /// Whether the trace comes to its service here: the one span that stands for the trace, where
    /// traces are counted. A record that belongs to no trace stands for itself.
    pub is_entry: bool,
    /// A hash of what the sampler is to tell apart, such as service and endpoint. Whoever makes it
    /// should key it with a secret, if the names come from strangers.
    pub key: u64,
    /// How much it takes, in bytes; 0 where that is not known yet.
    pub bytes: u64,
}

/// The parent of a span.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Parent {
    /// There is none: the span is a root.
    #[default]
    None,
    /// A span of the same process.
    Local {
        /// Whether it was kept.
        is_sampled: bool,
    },
    /// A span of another process.
    Remote {
        /// Whether it was kept.
        is_sampled: bool,
    },
}

/// Why a sampler cannot work as it was told to.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadConfigError {
    /// A share or a rate is no number within its range.
    #[error("{name} is {value}: it has to be above 0 and at most {most}")]
    Range {
        /// Which.
        name: &'static str,
        /// What it is.
        value: f64,
        /// The most it may be.
        most: f64,
    },
    /// The window is empty or longer than a day.
    #[error("the window has to be longer than 0 s and at most a day")]
    Window,
    /// There is no limit: `Always` keeps everything at less cost.
    #[error("a rate limit needs a limit of spans or of bytes")]
    NoLimit,
}

/// Decides about a candidate, and tells the sampler.
#[inline]
pub fn sample(
    sampler: &dyn Sampler,
    composition: Composition,
    now: Instant,
    candidate: &Candidate,
) -> Decision {
    decide(sampler, composition, now, candidate).1
}

/// Tells, too, whether chance had a say: where all is kept, nothing is, or the parent is followed, it is
/// of no account how random the randomness is.
#[inline]
fn decide(
    sampler: &dyn Sampler,
    composition: Composition,
    now: Instant,
    candidate: &Candidate,
) -> (bool, Decision) {
    let intent = sampler.intent(now, candidate);
    let decision = composition.decide(intent, candidate.before, candidate.randomness);
    sampler.hear(now, candidate, decision.is_kept(), true);
    let is_by_chance = matches!(
        intent,
        Intent::Sample(own) if own != Threshold::ALL && Some(own) != candidate.before
    );
    (is_by_chance, decision)
}

/// Checks a number of a configuration.
fn within(name: &'static str, value: f64, most: f64) -> Result<f64, HeadConfigError> {
    if value > 0.0 && value <= most {
        return Ok(value);
    }
    Err(HeadConfigError::Range { name, value, most })
}

/// Checks the length of a window: it fits into nanoseconds many times.
fn window_nanos(window: Duration) -> Result<u64, HeadConfigError> {
    if window.is_zero() || window > Duration::from_secs(86_400) {
        return Err(HeadConfigError::Window);
    }
    Ok(window.as_nanos() as u64)
}

// === impl Candidate ===

impl Candidate {
    /// The root of a trace of which nothing but the id is known.
    pub const fn of_trace(trace_id: [u8; 16]) -> Self {
        Self {
            trace_id,
            randomness: Randomness::from_trace_id(trace_id),
            before: None,
            parent: Parent::None,
            is_entry: true,
            key: 0,
            bytes: 0,
        }
    }
}
