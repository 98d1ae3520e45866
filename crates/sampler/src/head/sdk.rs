//! Samplers for `opentelemetry_sdk`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState as SdkState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use super::{Candidate, Parent, Sampler, Warning, decide};
use crate::secret::{Keyed, Purpose};
use crate::{Composition, Decision, Randomness, Threshold, TraceState};

/// Any [`Sampler`] as one of `opentelemetry_sdk`.
///
/// What it keeps has its threshold in the trace state, so that whoever samples after it goes on from
/// there. What a sampler tells apart are the names of spans. Clones are one sampler. The clock is read
/// here.
///
/// A span that has a parent is decided by its own: to follow the parent, use
/// [`ParentBased`](super::ParentBased).
///
/// ```
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use teleflow_sampler::head::{ParentBased, Ratio, SdkSampler};
///
/// let sampler = SdkSampler::new(ParentBased::new(Ratio::new(0.1)?));
/// let provider = SdkTracerProvider::builder().with_sampler(sampler.clone()).build();
/// # drop(provider);
/// // Now and then, in a place that can tell somebody:
/// if let Some(warning) = sampler.take_warning() {
///     eprintln!("{warning}");
/// }
/// # Ok::<(), teleflow_sampler::InvalidProbability>(())
/// ```
#[derive(Clone, Debug)]
pub struct SdkSampler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sampler: Box<dyn Sampler>,
    keyed: Keyed,
    warning: AtomicU8,
}

/// Whether there is a reason for a warning, and whether it was taken.
const NONE: u8 = 0;
const DUE: u8 = 1;
const TAKEN: u8 = 2;

/// W3C trace flags: the trace id is random.
const RANDOM: u8 = 0x2;

/// OpenTelemetry's entry in a trace state.
const OT: &str = "ot";

// === impl SdkSampler ===

impl SdkSampler {
    /// Wraps a sampler.
    pub fn new(sampler: impl Sampler + 'static) -> Self {
        Self(Arc::new(Inner {
            sampler: Box::new(sampler),
            // Names may come from strangers, and no other program has to agree about keys.
            keyed: Keyed::new(RandomState::new().hash_one(0), Purpose::Head),
            warning: AtomicU8::new(NONE),
        }))
    }

    /// A warning, once, after there was a reason for it: a span with a parent was decided by a trace
    /// id that nobody said is random. For a root the ids are those of this program.
    pub fn take_warning(&self) -> Option<Warning> {
        let swap =
            self.0.warning.compare_exchange(DUE, TAKEN, Ordering::Relaxed, Ordering::Relaxed);
        swap.is_ok().then_some(Warning)
    }
}

impl ShouldSample for SdkSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let inner = &*self.0;
        let span = parent_context.map(|context| context.span());
        let parent = span.as_ref().map(|span| span.span_context());
        let parent = parent.filter(|parent| parent.is_valid());
        let state = parent.map(|parent| parent.trace_state());
        let ot = state.and_then(|state| state.get(OT)).map(|ot| format!("ot={ot}"));
        let read = TraceState::parse(ot.as_deref().unwrap_or_default());

        let trace_id = trace_id.to_bytes();
        let of_id = Randomness::from_trace_id(trace_id);
        let candidate = Candidate {
            trace_id,
            randomness: read.randomness().unwrap_or(of_id),
            before: read.threshold(),
            parent: match parent {
                None => Parent::None,
                Some(parent) if parent.is_remote() => {
                    Parent::Remote { is_sampled: parent.is_sampled() }
                }
                Some(parent) => Parent::Local { is_sampled: parent.is_sampled() },
            },
            is_entry: parent.is_none_or(|parent| parent.is_remote()),
            key: inner.keyed.bytes(name.as_bytes()),
            bytes: 0,
        };
        let (is_by_chance, decision) =
            decide(&*inner.sampler, Composition::Independent, Instant::now(), &candidate);
        let is_presumed = read.randomness().is_none()
            && parent.is_some_and(|parent| parent.trace_flags().to_u8() & RANDOM == 0);
        if is_by_chance && is_presumed {
            // Where one is due or was taken it stays so.
            let _ = inner.warning.compare_exchange(NONE, DUE, Ordering::Relaxed, Ordering::Relaxed);
        }
        let (decision, threshold) = match decision {
            Decision::Drop => (SamplingDecision::Drop, None),
            Decision::Keep(threshold) => (SamplingDecision::RecordAndSample, threshold),
        };
        let trace_state = write(state, &read, threshold);
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

/// The parent's trace state with another threshold.
fn write(
    state: Option<&SdkState>,
    read: &TraceState<'_>,
    threshold: Option<Threshold>,
) -> SdkState {
    let state = || state.cloned().unwrap_or_default();
    // Where there is no room, none stays that is not true.
    let written = read.with_threshold(threshold).or_else(|_| read.with_threshold(None));
    let written = written.unwrap_or_default();
    if written == read.as_str() {
        return state();
    }
    // Both keys are allowed and the value has no character that is not: there is no error.
    let changed = match written.strip_prefix("ot=") {
        Some(value) => state().insert(OT, value),
        None => state().delete(OT),
    };
    changed.unwrap_or_else(|_| state())
}
