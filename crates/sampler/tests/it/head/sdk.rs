//! As samplers of the official SDK.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler as Official, SamplingDecision, SdkTracerProvider, ShouldSample, SpanData, SpanExporter,
};
use teleflow_sampler::Threshold;
use teleflow_sampler::head::{
    Always, Candidate, ClassicRatio, Goal, Never, ParentBased, Ratio, SdkSampler, Throughput,
    ThroughputConfig,
};

use super::decide;

const FULL: u128 = u128::MAX;

fn parent(flags: u8, is_remote: bool, state: &[(&str, &str)]) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(FULL),
        SpanId::from(1),
        TraceFlags::new(flags),
        is_remote,
        TraceState::from_key_value(state.iter().copied()).unwrap(),
    ))
}

fn ask(sampler: &SdkSampler, parent: Option<&Context>, id: u128) -> (bool, String) {
    let id = TraceId::from(id);
    let result = sampler.should_sample(parent, id, "GET /", &SpanKind::Server, &[], &[]);
    assert_ne!(result.decision, SamplingDecision::RecordOnly);
    (result.decision == SamplingDecision::RecordAndSample, result.trace_state.header())
}

#[test]
fn s1_the_sdk_keeps_what_the_threshold_says_and_writes_it() {
    let half = SdkSampler::new(Ratio::new(0.5).unwrap());
    assert_eq!(ask(&half, None, FULL), (true, "ot=th:8".into()));
    assert_eq!(ask(&half, None, 1), (false, String::new()));
    let kept = |sampler: &SdkSampler, state: &[(&str, &str)]| {
        ask(sampler, Some(&parent(1, true, state)), FULL)
    };
    // A ratio decides for itself, whatever the parent was, and whatever its threshold.
    assert_eq!(kept(&half, &[("a", "b"), ("ot", "th:c")]), (true, "ot=th:8,a=b".into()));
    assert_eq!(kept(&half, &[("a", "b"), ("ot", "th:8")]), (true, "a=b,ot=th:8".into()));
    // Its own randomness counts, and stays.
    let state = [("ot", "rv:7fffffffffffff;th:0"), ("a", "b")];
    assert_eq!(kept(&half, &state), (false, "ot=rv:7fffffffffffff,a=b".into()));
    let all = SdkSampler::new(Always);
    assert_eq!(ask(&all, None, 1), (true, "ot=th:0".into()));
    assert_eq!(ask(&SdkSampler::new(Never), None, FULL), (false, String::new()));
}

#[test]
fn rule_72_children_have_the_threshold_of_their_parent_or_none() {
    let sampler = SdkSampler::new(ParentBased::new(Ratio::new(0.5).unwrap()));
    for is_remote in [false, true] {
        for (state, expected) in [
            (&[("ot", "th:c"), ("a", "b")][..], "ot=th:c,a=b"),
            (&[("a", "b")], "a=b"),
            // It cannot be true of a trace that was kept.
            (&[("ot", "rv:00000000000001;th:c")], "ot=rv:00000000000001"),
        ] {
            let context = parent(1, is_remote, state);
            assert_eq!(ask(&sampler, Some(&context), FULL), (true, expected.into()));
            let context = parent(0, is_remote, state);
            assert!(!ask(&sampler, Some(&context), FULL).0);
        }
    }
    // A parent without ids is none.
    assert_eq!(ask(&sampler, Some(&Context::new()), FULL), (true, "ot=th:8".into()));
}

#[test]
fn rule_75_the_sdk_warns_once_of_ids_that_nobody_said_are_random() {
    let sampler = SdkSampler::new(Ratio::new(0.5).unwrap());
    ask(&sampler, None, 1);
    ask(&sampler, Some(&parent(3, true, &[])), FULL);
    ask(&sampler, Some(&parent(1, true, &[("ot", "rv:00000000000001")])), FULL);
    assert_eq!(sampler.take_warning(), None);
    ask(&sampler, Some(&parent(1, true, &[])), FULL);
    let same = sampler.clone();
    assert!(same.take_warning().is_some());
    ask(&sampler, Some(&parent(1, true, &[])), FULL);
    assert_eq!(sampler.take_warning(), None);
    // Whoever follows the parent presumes nothing.
    let follows = SdkSampler::new(ParentBased::new(Ratio::new(0.5).unwrap()));
    ask(&follows, Some(&parent(1, true, &[("ot", "th:8")])), FULL);
    assert_eq!(follows.take_warning(), None);
}

#[test]
fn s1_the_classic_ratio_is_that_of_the_official_sdk() {
    let mut rng = fastrand::Rng::with_seed(1);
    let now = Instant::now();
    for share in [0.001, 0.1, 0.25, 0.5, 0.999, 1.0] {
        let ours = ClassicRatio::new(share).unwrap();
        let theirs = Official::TraceIdRatioBased(share);
        for _ in 0..5000 {
            let id = rng.u128(1..);
            let kept = decide(&ours, now, &Candidate::of_trace(id.to_be_bytes())).is_kept();
            let id = TraceId::from(id);
            let result = theirs.should_sample(None, id, "", &SpanKind::Internal, &[], &[]);
            assert_eq!(kept, result.decision == SamplingDecision::RecordAndSample, "{id}");
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[test]
fn traces_of_the_sdk_stay_whole_and_stand_for_all() {
    let collected = Collected::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(SdkSampler::new(ParentBased::new(Ratio::new(0.25).unwrap())))
        .with_simple_exporter(collected.clone())
        .build();
    let tracer = provider.tracer("test");
    let traces = 4000;
    for _ in 0..traces {
        let root = Context::new().with_span(tracer.start_with_context("root", &Context::new()));
        let child = Context::new().with_span(tracer.start_with_context("child", &root));
        tracer.start_with_context("grandchild", &child).end();
        child.span().end();
        root.span().end();
    }
    let spans = collected.0.lock().unwrap();
    assert_eq!(spans.len() % 3, 0, "traces are whole");
    let quarter = Threshold::from_probability(0.25).unwrap();
    for span in spans.iter() {
        assert_eq!(span.span_context.trace_state().header(), "ot=th:c");
    }
    let estimate = spans.len() as f64 * quarter.adjusted_count();
    // Each trace that is kept makes twelve; 4 sigma of as many as there are.
    let sigma = 12.0 * (f64::from(traces) * 0.25 * 0.75).sqrt();
    assert!((estimate - 3.0 * f64::from(traces)).abs() < 4.0 * sigma, "{estimate}");
}

#[test]
fn s3_span_names_are_told_apart() {
    let config = ThroughputConfig {
        goal: Goal::PerKey(1.0),
        // Longer than the test takes.
        window: Duration::from_secs(3600),
        ..ThroughputConfig::default()
    };
    let sampler = SdkSampler::new(Throughput::new(config, Instant::now()).unwrap());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut kept = |name: &str, count| {
        let kept = |_: &u32| {
            let id = TraceId::from(rng.u128(1..));
            let result = sampler.should_sample(None, id, name, &SpanKind::Server, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        (0..count).filter(kept).count()
    };
    assert!(kept("often", 50_000) < 12_000);
    assert_eq!(kept("rare", 50), 50);
}
