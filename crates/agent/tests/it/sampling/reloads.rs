//! Other rules under load: nothing is lost, and from the next trace on they decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use teleflow::Signal;

use super::traffic::{Kind, Sent, Shop, TRACES, Trace};
use super::{Arrived, ERRORS, PATIENCE, SLOW, config, end, metrics_when};
use crate::program::Program;
use crate::shutdown::sink::Sink;

const PROBES: &str =
    "{ name: probes, type: string_attribute, string_attribute: { key: probe, values: ['yes'] } }";

/// So many traces begin under each file.
const EACH: u32 = 2000;

/// Among so many traces each shard has a probe, by all odds.
const PROBED: u32 = 1000;

/// What is kept besides probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rules {
    Errors,
    Slow,
}

/// Traces that began when these rules were in force, and were decided before others were.
#[derive(Debug)]
struct Phase {
    rules: Rules,
    from: u32,
    to: u32,
}

// === impl Rules ===

impl Rules {
    const fn policy(self) -> &'static str {
        match self {
            Self::Errors => ERRORS,
            Self::Slow => SLOW,
        }
    }

    /// Whether they keep a trace; `None` where that depends on when it is decided.
    const fn keep(self, trace: Trace) -> Option<bool> {
        match (trace.kind(), self) {
            (Kind::Probe, _) | (Kind::Failed, Self::Errors) | (Kind::Slow, Self::Slow) => {
                Some(true)
            }
            (Kind::FailedLate, Self::Errors) => None,
            _ => Some(false),
        }
    }
}

struct Scene {
    program: Program,
    sink: Sink,
    arrived: Arc<Arrived>,
    shards: u16,
    wait: &'static str,
    reloads: u64,
}

// === impl Scene ===

impl Scene {
    async fn start(shards: u16, wait: &'static str) -> Self {
        let arrived = Arc::<Arrived>::default();
        let sink = Sink::open_to(&arrived).await;
        let file = file(&sink, shards, wait, Rules::Errors);
        let program = Program::start(&file, &["--drain-timeout", "60s"]);
        Self { program, sink, arrived, shards, wait, reloads: 0 }
    }

    fn file(&self, rules: Rules) -> String {
        file(&self.sink, self.shards, self.wait, rules)
    }

    /// Returns when the program has said that these rules are in force.
    async fn reload(&mut self, rules: Rules) {
        self.reloads += 1;
        self.program.reload(&self.file(rules));
        let name = "teleflow_config_reloads_total";
        metrics_when(&self.program, |metrics| {
            assert_eq!(metrics.sum("teleflow_config_keys_for_restart", &[]), 0);
            metrics.sum(name, &[("outcome", "success")]) == self.reloads
        })
        .await;
    }

    /// Returns when the program has said that the file is wrong.
    async fn reload_a_wrong_one(&self) {
        // Right but for one policy.
        let wrong = self.file(Rules::Slow).replace("threshold_ms: 1000", "threshold_ms: soon");
        self.program.reload(&wrong);
        let name = "teleflow_config_reloads_total";
        metrics_when(&self.program, |metrics| metrics.sum(name, &[("outcome", "failure")]) == 1)
            .await;
        self.program.says("teleflow.yaml was read again and is wrong: nothing changed");
        self.program.says("threshold_ms must be");
    }

    /// Lets traces begin, and returns when those of the phase were decided: traces are in the order
    /// in which they began, in each shard, and later ones have arrived.
    async fn phase(&self, rules: Rules, begun: &AtomicU32) -> Phase {
        let from = begun.load(SeqCst);
        let to = from + EACH;
        let probes: Vec<_> = (to + TRACES..to + TRACES + PROBED)
            .map(Trace)
            .filter(|trace| trace.kind() == Kind::Probe)
            .collect();
        let patience = Instant::now() + PATIENCE;
        for probe in probes {
            while !self.arrived.has(probe) {
                // bounded wait: traces get there through another process.
                assert!(Instant::now() < patience, "{probe:?} of {from} to {to}");
                tokio::task::yield_now().await;
            }
        }
        Phase { rules, from, to }
    }

    /// Ends it; the books say what senders were told, and the sink has what they say.
    #[track_caller]
    fn end(self, sent: &Sent) -> Arc<Arrived> {
        let left_out = end(self.program, &self.sink, sent.spans);
        assert_eq!(self.arrived.spans(), sent.spans - left_out);
        let traces = (0..sent.traces).map(Trace).filter(|&trace| !self.arrived.has(trace));
        let missing: u64 = traces.map(|trace| u64::from(trace.spans())).sum();
        assert_eq!(missing, left_out);
        self.arrived
    }
}

fn file(sink: &Sink, shards: u16, wait: &str, rules: Rules) -> String {
    let rules = rules.policy();
    let sampling =
        format!("decision_wait: {wait}, num_shards: {shards}, policies: [{rules}, {PROBES}]");
    config(sink.address, &sampling)
}

async fn rules_change_from_the_next_trace_on(shards: u16) {
    let mut scene = Scene::start(shards, "50ms").await;
    let shop = Shop::open(&scene.program, 40).await;
    let (begun, is_over) = (shop.begun(), Arc::<AtomicBool>::default());
    let load = tokio::spawn(shop.send_until(Arc::clone(&is_over)));

    let mut phases = vec![scene.phase(Rules::Errors, &begun).await];
    scene.reload(Rules::Slow).await;
    phases.push(scene.phase(Rules::Slow, &begun).await);
    scene.reload_a_wrong_one().await;
    phases.push(scene.phase(Rules::Slow, &begun).await);
    scene.reload(Rules::Errors).await;
    phases.push(scene.phase(Rules::Errors, &begun).await);
    scene.reload(Rules::Slow).await;
    phases.push(scene.phase(Rules::Slow, &begun).await);
    is_over.store(true, SeqCst);
    let sent = load.await.unwrap();
    let arrived = scene.end(&sent).complete();

    let mut checked = 0;
    for trace in (0..sent.traces).map(Trace) {
        let parts = arrived.get(&trace);
        if let Some(parts) = parts {
            assert!(parts.are_all_of(trace), "{trace:?} is kept in part: {parts:?}");
            let policy = match trace.kind() {
                Kind::Failed | Kind::FailedLate => "errors",
                Kind::Slow => "slow",
                Kind::Probe => "probes",
                Kind::Normal => "none",
            };
            assert!(parts.policies.iter().eq([policy]), "{trace:?} by {parts:?}");
        } else {
            assert_ne!(trace.kind(), Kind::Probe, "{trace:?}: every file keeps it");
        }
        let mut phase = phases.iter().filter(|phase| (phase.from..phase.to).contains(&trace.0));
        let Some(phase) = phase.next() else { continue };
        if let Some(keep) = phase.rules.keep(trace) {
            assert_eq!(parts.is_some(), keep, "{trace:?}, {:?}, in {phase:?}", trace.kind());
            checked += 1;
        }
    }
    assert!(checked > phases.len() as u32 * EACH * 9 / 10, "{checked} of {phases:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_rules_change_from_the_next_trace_on_and_nothing_is_lost() {
    rules_change_from_the_next_trace_on(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_rules_of_four_shards_change_from_the_next_trace_on() {
    rules_change_from_the_next_trace_on(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_that_are_held_are_decided_by_the_rules_that_are_in_force_then() {
    let mut scene = Scene::start(4, "10m").await;
    let shop = Shop::open(&scene.program, 40).await;
    let (begun, is_over) = (shop.begun(), Arc::<AtomicBool>::default());
    let load = tokio::spawn(shop.send_until(Arc::clone(&is_over)));
    let wait = async |traces| {
        let patience = Instant::now() + PATIENCE;
        while begun.load(SeqCst) < traces {
            // bounded wait: they are sent to another process.
            assert!(Instant::now() < patience, "not {traces} traces within {PATIENCE:?}");
            tokio::task::yield_now().await;
        }
    };
    wait(EACH).await;
    scene.reload(Rules::Slow).await;
    assert_eq!(scene.sink.items(Signal::Traces), 0, "nothing is decided yet");
    wait(begun.load(SeqCst) + EACH).await;
    is_over.store(true, SeqCst);
    let sent = load.await.unwrap();
    let arrived = scene.end(&sent).complete();
    for trace in (0..sent.traces).map(Trace) {
        let parts = arrived.get(&trace);
        assert_eq!(Some(parts.is_some()), Rules::Slow.keep(trace), "{trace:?}: {parts:?}");
        assert!(parts.is_none_or(|parts| parts.are_all_of(trace)), "{trace:?}: {parts:?}");
    }
}
