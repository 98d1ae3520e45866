//! What makes a trace worth keeping.

use std::time::Duration;

use teleflow_otlp::span::{StatusCode, TailFields};

/// A named policy. The first rule that keeps a trace is the one it was kept by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// For people and metrics.
    pub name: String,
    /// What it keeps.
    pub policy: Policy,
}

/// Which traces are kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// Every trace.
    Always,
    /// Traces with a span of one of these statuses.
    Status(StatusSet),
    /// Traces that took longer than `over` from the earliest start to the latest end, in whole
    /// milliseconds as the Collector counts them, and no longer than `up_to` where one is given.
    Latency {
        /// A trace of exactly this long is not kept.
        over: Duration,
        /// A trace of exactly this long is kept.
        up_to: Option<Duration>,
    },
    /// A share of all traces, chosen by trace id: the same traces wherever the same share is asked
    /// for, and with a larger share the same and more.
    Ratio(Ratio),
}

/// A share of all traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Traces whose randomness is at least this are kept, out of 2^56.
    threshold: u64,
    salt: String,
}

/// A set of span statuses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StatusSet(u8);

/// What a trace looks like as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TraceSummary {
    /// How many spans it has so far.
    pub spans: u64,
    /// The earliest start, in nanoseconds since 1970; 0 where no span has one.
    pub start: u64,
    /// The latest end, in nanoseconds since 1970.
    pub end: u64,
    /// Every status that one of its spans has.
    pub statuses: StatusSet,
    /// Whether its root span is here.
    pub has_root: bool,
}

/// Randomness has 56 bits: `rv` of the consistent probability sampling specification.
const RANDOMNESS: u64 = 1 << 56;

// === impl Rule ===

impl Rule {
    /// Names a policy.
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self { name: name.into(), policy }
    }
}

// === impl Policy ===

impl Policy {
    /// Keeps traces with a span that failed.
    pub fn errors() -> Self {
        Self::Status(StatusSet::from_iter([StatusCode::Error]))
    }

    /// Keeps traces that took longer than `over`.
    pub const fn slower_than(over: Duration) -> Self {
        Self::Latency { over, up_to: None }
    }

    /// Keeps `percent` of all traces; what is outside of 0 to 100 counts as the nearer of the two.
    ///
    /// With an empty salt, the randomness of a trace is the last seven bytes of its id: the rule of
    /// the specification, which every other consistent sampler follows too. With a salt it is a
    /// hash of both, so that samplers in a row choose independently.
    pub fn percent(percent: f64, salt: impl Into<String>) -> Self {
        let kept = (percent.clamp(0.0, 100.0) / 100.0 * RANDOMNESS as f64).round() as u64;
        Self::Ratio(Ratio { threshold: RANDOMNESS - kept, salt: salt.into() })
    }

    /// Whether a trace is kept.
    pub fn keeps(&self, trace_id: &[u8; 16], trace: &TraceSummary) -> bool {
        match self {
            Self::Always => true,
            Self::Status(statuses) => statuses.intersects(trace.statuses),
            Self::Latency { over, up_to } => {
                let millis = u128::from(trace.end.saturating_sub(trace.start) / 1_000_000);
                millis > over.as_millis() && up_to.is_none_or(|up_to| millis <= up_to.as_millis())
            }
            Self::Ratio(ratio) => ratio.randomness(trace_id) >= ratio.threshold,
        }
    }
}

// === impl Ratio ===

impl Ratio {
    fn randomness(&self, trace_id: &[u8; 16]) -> u64 {
        if self.salt.is_empty() {
            let low = u128::from_be_bytes(*trace_id) as u64;
            return low % RANDOMNESS;
        }
        // FNV-1a, then mixed: its high bits alone are poor for inputs that differ at the end.
        let hash = self.salt.bytes().chain(*trace_id).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (hash ^ (hash >> 32)) % RANDOMNESS
    }
}

// === impl StatusSet ===

impl StatusSet {
    /// Adds a status.
    pub const fn insert(&mut self, status: StatusCode) {
        self.0 |= 1 << status as u8;
    }

    /// Whether a status is in it.
    pub const fn contains(self, status: StatusCode) -> bool {
        self.0 & 1 << status as u8 != 0
    }

    /// Whether the two have a status in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<StatusCode> for StatusSet {
    fn from_iter<I: IntoIterator<Item = StatusCode>>(statuses: I) -> Self {
        let mut set = Self::default();
        statuses.into_iter().for_each(|status| set.insert(status));
        set
    }
}

// === impl TraceSummary ===

impl TraceSummary {
    /// Adds a span.
    pub fn add(&mut self, span: &TailFields<'_>) {
        self.spans += 1;
        // A time of zero is no time: it must not make a trace last since 1970.
        if span.start != 0 && (self.start == 0 || span.start < self.start) {
            self.start = span.start;
        }
        self.end = self.end.max(span.end);
        self.statuses.insert(span.status);
        self.has_root |= span.is_root;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(start_ms: u64, end_ms: u64, status: StatusCode) -> TraceSummary {
        let mut trace = TraceSummary::default();
        trace.add(&TailFields {
            start: start_ms * 1_000_000,
            end: end_ms * 1_000_000,
            status,
            ..TailFields::default()
        });
        trace
    }

    #[track_caller]
    fn keeps(policy: &Policy, trace: &TraceSummary) -> bool {
        policy.keeps(&[7; 16], trace)
    }

    #[test]
    fn latency_keeps_what_is_longer_and_not_longer_than_the_upper_bound() {
        let policy = Policy::Latency {
            over: Duration::from_millis(100),
            up_to: Some(Duration::from_millis(200)),
        };
        for (millis, kept) in [(99, false), (100, false), (101, true), (200, true), (201, false)] {
            let trace = trace(1000, 1000 + millis, StatusCode::Unset);
            assert_eq!(keeps(&policy, &trace), kept, "{millis} ms");
        }
    }

    #[test]
    fn a_trace_that_ends_before_it_starts_is_not_slow() {
        let slow = Policy::slower_than(Duration::from_millis(1));
        assert!(!keeps(&slow, &trace(5000, 10, StatusCode::Unset)));
        // No start at all, as from a broken sender: not a trace since 1970.
        let mut whole = trace(0, 10_000, StatusCode::Unset);
        whole.add(&TailFields {
            start: 9_999_500_000,
            end: 10_000_000_000,
            ..TailFields::default()
        });
        assert!(!keeps(&Policy::slower_than(Duration::from_secs(1)), &whole));
    }

    #[test]
    fn one_span_of_a_status_is_enough() {
        let mut mixed = trace(0, 1, StatusCode::Ok);
        assert!(!keeps(&Policy::errors(), &mixed));
        mixed.add(&TailFields { status: StatusCode::Error, ..TailFields::default() });
        mixed.add(&TailFields::default());
        assert!(keeps(&Policy::errors(), &mixed));
    }

    #[test]
    fn a_ratio_keeps_its_share_within_four_sigma_and_a_smaller_one_keeps_a_subset() {
        let trace = TraceSummary::default();
        let mut rng = fastrand::Rng::with_seed(3);
        for salt in ["", "salt"] {
            let (ten, thirty) = (Policy::percent(10.0, salt), Policy::percent(30.0, salt));
            let count = 100_000;
            let mut kept = 0;
            for _ in 0..count {
                let id = rng.u128(..).to_be_bytes();
                let few = ten.keeps(&id, &trace);
                kept += u32::from(few);
                assert!(!few || thirty.keeps(&id, &trace));
            }
            let expected = f64::from(count) * 0.1;
            let sigma = (expected * 0.9).sqrt();
            assert!((f64::from(kept) - expected).abs() < 4.0 * sigma, "{kept} of {count}");
        }
    }

    #[test]
    fn the_edges_of_a_ratio_are_all_and_nothing() {
        let trace = TraceSummary::default();
        for id in [[0; 16], [255; 16]] {
            assert!(Policy::percent(100.0, "").keeps(&id, &trace));
            assert!(!Policy::percent(0.0, "").keeps(&id, &trace));
            assert!(!Policy::percent(f64::NAN, "").keeps(&[0; 16], &trace));
        }
    }
}
