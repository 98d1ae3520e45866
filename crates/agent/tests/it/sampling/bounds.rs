//! Ten times as much as fits: memory stays within the limits, every decision is counted, and what is
//! kept is whole.
//!
//! In short 8 MiB are held and 80 MiB are sent, as fast as they are taken. `TELEFLOW_BOUND_SECS=60`
//! is the long form: traffic of so many seconds with a bound of 64 MiB, where a trace waits half as
//! long, and ten times the bound is sent while it does.

use std::env;
use std::sync::Arc;

use super::traffic::{Kind, Sent, Shop, Trace};
use super::{Arrived, ERRORS, SLOW, config, end, metrics_when};
use crate::admin::Metrics;
use crate::attacks::{MIB, Usage};
use crate::program::Program;
use crate::shutdown::sink::Sink;

/// How many times the bound is sent while a trace waits.
const TIMES: u64 = 10;

/// How many payloads may wait for a pipeline.
const WAITING: u64 = 1024;

/// What the file allows besides: requests on their way in, what waits to be sent, an open batch.
const LIMITS: u64 = 4 * MIB + 4 * MIB + 4 * MIB;

/// About what a round of traffic takes in memory.
const ROUND: u64 = 128 * 1024;

struct Scale {
    bound: u64,
    wait: String,
    bytes: u64,
    /// In bytes a second.
    rate: Option<u64>,
}

fn scale() -> Scale {
    let Ok(secs) = env::var("TELEFLOW_BOUND_SECS") else {
        // Nothing has waited long enough before the end, however slow the machine is.
        let bound = 8 * MIB;
        return Scale { bound, wait: "10m".to_owned(), bytes: TIMES * bound, rate: None };
    };
    let secs: u64 = secs.parse().expect("TELEFLOW_BOUND_SECS is a number");
    let (bound, wait) = (64 * MIB, (secs / 2).max(1));
    let rate = TIMES * bound / wait;
    Scale { bound, wait: format!("{wait}s"), bytes: rate * secs, rate: Some(rate) }
}

/// A gateway that was sent all it was to be, and has looked at it.
struct Scene {
    program: Program,
    sink: Sink,
    arrived: Arc<Arrived>,
    sent: Sent,
    metrics: Metrics,
    before: Option<Usage>,
}

// === impl Scene ===

impl Scene {
    async fn play(scale: &Scale, sampling: &str, late: u32) -> Self {
        let arrived = Arc::<Arrived>::default();
        let sink = Sink::open_to(&arrived).await;
        let Scale { bound, wait, .. } = scale;
        let sampling = format!(
            "decision_wait: {wait}, max_bytes: {bound}, {sampling}, policies: [{ERRORS}, {SLOW}, \
             {{ name: some, type: probabilistic, probabilistic: {{ sampling_percentage: 5 }} }}]"
        );
        let program = Program::start(&config(sink.address, &sampling), &[]);
        let before = Usage::of(&program);
        let shop = Shop::open(&program, late).await;
        let sent = shop.send(scale.bytes, scale.rate).await;
        // What was taken may still wait for its pipeline.
        let metrics = metrics_when(&program, |metrics| {
            of(metrics, "spans_total") + of(metrics, "held_spans") == sent.spans
        })
        .await;
        Self { program, sink, arrived, sent, metrics, before }
    }

    /// Decisions and books add up. Returns how many traces came as new ones.
    #[track_caller]
    fn adds_up(&self) -> u64 {
        let collector = |what: &str, labels: &[_]| {
            self.metrics.sum(&format!("otelcol_processor_tail_sampling_{what}"), labels)
        };
        let traces = collector("new_trace_id_received_total", &[]);
        let decided = of(&self.metrics, "decisions_total");
        let held = collector("sampling_traces_on_memory", &[]);
        assert_eq!(decided + held, traces, "each trace is decided once, or still held");
        assert_eq!(collector("global_count_traces_sampled_total", &[]), decided);
        let kept = collector("global_count_traces_sampled_total", &[("sampled", "true")]);
        let relieved = [("sampled", "true")];
        let relieved = self.metrics.sum("teleflow_tail_sampling_relief_traces_total", &relieved);
        let by_policies = of(&self.metrics, "kept_traces_total");
        assert_eq!(by_policies + relieved, kept, "each by one policy, or by relief");
        traces
    }

    /// Ends it; returns how many spans were left out.
    #[track_caller]
    fn end(self) -> (u64, Sent, Arc<Arrived>) {
        let left_out = end(self.program, &self.sink, self.sent.spans);
        (left_out, self.sent, self.arrived)
    }
}

/// The sum of one of our figures.
fn of(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum(&format!("teleflow_tail_sampling_{what}"), &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_what_fits_stays_within_the_bound_and_what_is_kept_is_whole() {
    let scale = scale();
    // What comes late comes when memory has been filled twice since.
    let late = (2 * scale.bound / ROUND) as u32;
    let scene = Scene::play(&scale, "num_traces: 100_000", late).await;

    let remembered = of(&scene.metrics, "remembered_bytes");
    let held = of(&scene.metrics, "held_bytes");
    assert!(held <= scale.bound + remembered, "{held} with {remembered} of decisions");
    let limits = scale.bound + remembered + LIMITS + WAITING * scene.sent.largest;
    let growth = Usage::grew_by_no_more_than(limits + limits / 4, scene.before, &scene.program);
    report(&scale, &scene.sent, growth, limits);

    let traces = scene.adds_up();
    // A decision that is forgotten too early makes a new trace of what comes after it.
    assert_eq!(traces, u64::from(scene.sent.traces), "no decision was forgotten");
    let early =
        scene.metrics.sum("teleflow_tail_sampling_decisions_total", &[("trigger", "bytes")]);
    assert!(early >= traces * 8 / 10, "{early} of {traces} for want of memory");
    let followed = |sampled| {
        let name = "otelcol_processor_tail_sampling_early_releases_from_cache_decision_total";
        scene.metrics.sum(name, &[("sampled", sampled)])
    };
    assert!(followed("true") > 0 && followed("false") > 0, "spans come late");
    let out_early = of(&scene.metrics, "sampled_out_spans_total");

    let (sampled_out, sent, arrived) = scene.end();
    let arrived = arrived.complete();
    let (mut out, mut unseen, mut kept_of_normal, mut normal) = (0, 0, 0, 0);
    for trace in (0..sent.traces).map(Trace) {
        let is_normal = matches!(trace.kind(), Kind::Normal | Kind::Probe);
        normal += u64::from(is_normal);
        let Some(parts) = arrived.get(&trace) else {
            out += u64::from(trace.spans());
            match trace.kind() {
                Kind::Failed | Kind::Slow => panic!("{trace:?} is not kept: {:?}", trace.kind()),
                // It was decided before its last span came, which says that it has failed.
                Kind::FailedLate => unseen += u64::from(trace.spans()),
                Kind::Normal | Kind::Probe => {}
            }
            continue;
        };
        assert!(parts.are_all_of(trace), "{trace:?} is kept in part: {parts:?}");
        assert_eq!(parts.policies.len(), 1, "{trace:?} by more than one: {parts:?}");
        let fits = match trace.kind() {
            Kind::Failed => ["errors"].as_slice(),
            Kind::FailedLate => &["errors", "some"],
            Kind::Slow => &["slow"],
            Kind::Normal | Kind::Probe => &["some"],
        };
        assert!(parts.policies.iter().all(|policy| fits.contains(&policy.as_str())), "{parts:?}");
        kept_of_normal += u64::from(is_normal);
    }
    assert_eq!(out, sampled_out, "what is not there is in the books");
    assert!(unseen <= out_early, "{unseen} of {out_early}: those are among the early decisions");
    let (share, of_all) = (kept_of_normal as f64, normal as f64);
    let sigma = (of_all * 0.05 * 0.95).sqrt();
    assert!((share - of_all * 0.05).abs() < 5.0 * sigma, "{share} of {of_all} are not 5 %");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_in_pieces_was_forgotten_and_that_is_counted() {
    // Of each kind of decision 200 to 400 are remembered; 1500 traces later the last spans come.
    let scale = Scale { bound: 8 * MIB, wait: "10m".to_owned(), bytes: 16 * MIB, rate: None };
    let scene = Scene::play(&scale, "num_traces: 200", 64).await;
    let traces = scene.adds_up();
    let by_number = [("trigger", "count")];
    assert!(scene.metrics.sum("teleflow_tail_sampling_decisions_total", &by_number) > 0);

    let (sampled_out, sent, arrived) = scene.end();
    let arrived = arrived.complete();
    let forgotten = traces - u64::from(sent.traces);
    let late = (0..sent.traces).filter(|&number| Trace(number).is_late()).count() as u64;
    assert!((1..=late).contains(&forgotten), "{forgotten} of {late}");
    let (mut delivered, mut in_pieces) = (0, 0);
    for (trace, parts) in &arrived {
        delivered += u64::from(parts.spans());
        if !parts.are_all_of(*trace) {
            assert!(trace.is_late(), "{trace:?}: {parts:?}");
            in_pieces += 1;
        }
    }
    assert!((1..=forgotten).contains(&in_pieces), "{in_pieces} of {forgotten}");
    assert_eq!(delivered + sampled_out, sent.spans);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_relief_what_does_not_fit_is_decided_when_it_begins() {
    let scale = Scale { bound: 8 * MIB, wait: "10m".to_owned(), bytes: 40 * MIB, rate: None };
    let late = (2 * scale.bound / ROUND) as u32;
    let sampling = "num_traces: 100_000, stress_relief: { sampling_rate: 10 }";
    let scene = Scene::play(&scale, sampling, late).await;
    scene.program.says("stress relief begins");
    let traces = scene.adds_up();
    assert_eq!(traces, u64::from(scene.sent.traces), "no decision was forgotten");
    let by = |trigger| {
        scene.metrics.sum("teleflow_tail_sampling_decisions_total", &[("trigger", trigger)])
    };
    let relieved = by("relief");
    assert!(relieved >= traces * 6 / 10, "{relieved} of {traces}");
    // Those that are held still get spans.
    assert!(by("bytes") <= traces / 10, "{} of {traces}", by("bytes"));
    assert_eq!(of(&scene.metrics, "relief_active"), 1);
    let estimate = of(&scene.metrics, "estimated_spans_total") as f64;
    let decided = (scene.sent.spans - of(&scene.metrics, "held_spans")) as f64;

    let (sampled_out, sent, arrived) = scene.end();
    let arrived = arrived.complete();
    let (mut delivered, mut kept) = (0, 0);
    for (trace, parts) in &arrived {
        delivered += u64::from(parts.spans());
        assert!(parts.are_all_of(*trace), "{trace:?} is kept in part: {parts:?}");
        assert_eq!(parts.policies.len(), 1, "{trace:?} by more than one: {parts:?}");
        kept += u64::from(parts.policies.contains("stress_relief"));
    }
    assert_eq!(delivered + sampled_out, sent.spans, "what is not there is in the books");
    let (share, of_all) = (kept as f64, relieved as f64);
    let sigma = (of_all * 0.1 * 0.9).sqrt();
    assert!((share - of_all * 0.1).abs() < 5.0 * sigma, "{share} of {of_all} are not a tenth");
    // Traces of at most twelve spans, each of which stands for ten.
    let sigma = 12.0 * 10.0 * sigma;
    assert!((estimate - decided).abs() < 5.0 * sigma, "{decided} were estimated as {estimate}");
}

#[allow(clippy::print_stderr, reason = "figures for who runs the long form")]
fn report(scale: &Scale, sent: &Sent, growth: Option<u64>, limits: u64) {
    let Sent { traces, spans, bytes, .. } = sent;
    let [bound, sent, limits] = [scale.bound, *bytes, limits].map(|bytes| bytes / MIB);
    let growth = growth.map(|bytes| bytes / MIB);
    eprintln!("{traces} traces, {spans} spans, {sent} MiB; bound {bound} MiB, limits {limits} MiB");
    eprintln!("resident memory grew by {growth:?} MiB");
}
