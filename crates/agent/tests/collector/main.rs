//! The OpenTelemetry Collector and our program, with the same configuration, given the same traffic:
//! what each policy of `tail_sampling` keeps is the same.
//!
//! A file in `policies` has a group of policies, each in a `tail_sampling` of its own. A pipeline is
//! made for each of them, from the one receiver to a path of the sink that has its name. Both
//! programs read that file as it is; the Collector reads a second one, which switches its metrics
//! off. The traffic is made from a seed: some thousand traces in several requests each, and spans
//! that come when their trace is decided about.
//!
//! Where ours differs on purpose, [`DIFFERENCES`] says in which traces, and why.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[allow(dead_code, reason = "the other tests of the program read the rest")]
#[path = "../it/books.rs"]
mod books;
mod group;
mod program;
mod sink;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use teleflow_testkit::skips::skipped;

use self::books::Books;
use self::group::Group;
use self::program::{Kind, Program};
use self::sink::{Kept, Sink};
use self::traffic::{Facts, SpanKey, Traffic};

/// In which traces a policy of ours decides otherwise, on purpose.
struct Difference {
    /// The policy.
    name: &'static str,
    /// Whether a trace may be decided otherwise.
    may_differ: fn(&Facts) -> bool,
    /// For the reader, and for `docs/tail-sampling.md`.
    why: &'static str,
}

const DIFFERENCES: [Difference; 6] = [
    Difference {
        name: "latency-within",
        may_differ: |facts| facts.lasts.as_millis() > 900,
        why: "the Collector looks at the spans one by one and stops at the first that brings the \
              trace within the two bounds: one that lasts longer is kept if its first spans did not",
    },
    Difference {
        name: "number-that-is-odd",
        may_differ: |facts| facts.odd.contains("double"),
        why: NO_NUMBER,
    },
    Difference {
        name: "number-that-is-none",
        may_differ: |facts| facts.odd.iter().any(|kind| *kind != "int"),
        why: NO_NUMBER,
    },
    Difference { name: "number-that-is-a-fraction", may_differ: |_| true, why: NO_NUMBER },
    Difference {
        name: "false-that-is-odd",
        may_differ: |facts| facts.odd_flag,
        why: "to the Collector what is no truth value is false",
    },
    Difference {
        name: "drop-on-ingest",
        may_differ: |_| true,
        why: "with span-ingest and a policy that drops the Collector keeps nothing: what was not \
              dropped when its wait ends is left out, and ours asks about the whole trace then",
    },
];

const NO_NUMBER: &str = "to the Collector an attribute that is no whole number is 0";

/// Policies that keep everything, or nothing, as they should.
const ALL_OR_NOTHING: [&str; 8] = [
    "always",
    "percent-0",
    "percent-100",
    "drop-alone",
    "drop-on-ingest",
    "spans-within-limit",
    "spans-over-limit",
    "bytes-within-limit",
];

/// What begins the name of a policy that keeps by chance; its percentage follows.
const CHANCE: &str = "chance-";

/// The program that `cargo xtask test` builds where Go is.
const COLLECTOR: &str = "TELEFLOW_OTELCOL";

/// How long traces wait: longer where the machine is so busy that it was not enough.
const WAITS: [Duration; 3] =
    [Duration::from_secs(4), Duration::from_secs(12), Duration::from_secs(36)];

/// Whose turn it is: the tests run one after the other.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn statuses_durations_and_chance() {
    compare("statuses_durations_and_chance", include_str!("policies/plain.yaml"));
}

#[test]
fn attributes_trace_state_flags_and_numbers_of_spans() {
    let test = "attributes_trace_state_flags_and_numbers_of_spans";
    compare(test, include_str!("policies/attributes.yaml"));
}

#[test]
fn conditions() {
    compare("conditions", include_str!("policies/conditions.yaml"));
}

#[test]
fn compositions_and_what_takes_precedence() {
    compare("compositions_and_what_takes_precedence", include_str!("policies/compositions.yaml"));
}

#[test]
fn memory_of_decisions_shards_and_limits() {
    compare("memory_of_decisions_shards_and_limits", include_str!("policies/options.yaml"));
}

#[test]
fn decisions_as_spans_come() {
    compare("decisions_as_spans_come", include_str!("policies/ingest.yaml"));
}

fn compare(test: &str, policies: &str) {
    let Some(collector) = env::var_os(COLLECTOR).map(PathBuf::from) else {
        return skipped(
            test,
            "no OpenTelemetry Collector; `cargo xtask test` builds it where Go is",
        );
    };
    // One after the other, and with time to have a trace together before it is decided.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let group = Group::new(policies);
    let traffic = Traffic::new(0x5eed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let teleflow = PathBuf::from(env!("CARGO_BIN_EXE_teleflow"));
    let once = async |wait: Duration| {
        let (ours, theirs) = (Sink::open().await, Sink::open().await);
        let ((output, ours_in), (_, theirs_in)) = tokio::join!(
            run(Kind::Teleflow, &teleflow, &group, wait, &traffic, &ours),
            run(Kind::Collector, &collector, &group, wait, &traffic, &theirs),
        );
        // A trace that was decided before all its spans were sent proves nothing.
        let in_time = ours_in.max(theirs_in) + Duration::from_secs(1) < wait;
        in_time.then(|| (ours.kept(), theirs.kept(), Books::parse(&output)))
    };
    let compared = WAITS.iter().find_map(|wait| runtime.block_on(once(*wait)));
    let (ours, theirs, books) = compared.expect("the machine is too busy to tell anything");

    let mut problems = Vec::new();
    for name in group.names() {
        let none = Kept::new();
        let [ours, theirs] = [&ours, &theirs].map(|kept| kept.get(name).unwrap_or(&none));
        let row = books.of(&format!("traces/{name}"));
        assert_eq!((row.accepted, row.held), (traffic.spans.len() as u64, 0), "{name}");
        assert_eq!(row.delivered, ours.len() as u64, "{name}");
        assert_eq!(row.delivered + row.sampled_out, row.accepted, "{name}: {row:?}");
        problems.extend(check(name, ours, theirs, &traffic).err());
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Gives a program all the traffic and lets it end, which it does when it has decided and delivered.
/// Returns what it said, and how long it took the traffic.
async fn run(
    kind: Kind,
    program: &Path,
    group: &Group,
    wait: Duration,
    traffic: &Traffic,
    sink: &Sink,
) -> (String, Duration) {
    let program = Program::start(kind, program, group, wait, sink.address()).await;
    let begun = Instant::now();
    program.send(&traffic.requests).await;
    let took = begun.elapsed();
    sink.has(group::CLOCK, traffic.last).await;
    program.send(&traffic.late).await;
    (program.terminate().await, took)
}

/// Compares what a policy kept here and there.
fn check(name: &str, ours: &Kept, theirs: &Kept, traffic: &Traffic) -> Result<(), String> {
    if let Some(percent) = name.strip_prefix(CHANCE) {
        let percent: f64 = percent.replace('_', ".").parse().unwrap();
        return by_chance("teleflow", ours, traffic, percent)
            .and_then(|()| by_chance("the Collector", theirs, traffic, percent))
            .map_err(|problem| format!("{name}: {problem}"));
    }
    let is_some = !theirs.is_empty() && theirs.len() < traffic.spans.len();
    if !is_some && !ALL_OR_NOTHING.contains(&name) {
        let (kept, all) = (theirs.len(), traffic.spans.len());
        return Err(format!(
            "{name}: the Collector keeps {kept} of {all} spans: that tests nothing"
        ));
    }
    let difference = DIFFERENCES.iter().find(|difference| difference.name == name);
    let differ: BTreeSet<&SpanKey> = ours
        .symmetric_difference(theirs)
        .filter(|(trace, _)| {
            let facts = &traffic.traces[trace];
            !difference.is_some_and(|difference| (difference.may_differ)(facts))
        })
        .collect();
    if let Some(difference) = difference
        && ours == theirs
    {
        return Err(format!("{name}: there is no difference, though {}", difference.why));
    }
    if differ.is_empty() {
        return Ok(());
    }
    let mut lines = format!(
        "{name}: {} spans are kept by one alone; ours keeps {}, the Collector {}",
        differ.len(),
        ours.len(),
        theirs.len()
    );
    let traces: BTreeMap<_, _> = differ.iter().map(|key| (key.0, ours.contains(*key))).collect();
    for (trace, is_ours) in traces.iter().take(5) {
        let who = if *is_ours { "ours" } else { "the Collector" };
        lines += &format!("\n  kept by {who}: {:?}", traffic.traces[trace]);
    }
    Err(lines)
}

/// Checks the share that is kept, and that traces are whole.
fn by_chance(who: &str, kept: &Kept, traffic: &Traffic, percent: f64) -> Result<(), String> {
    let mut spans: BTreeMap<_, usize> = BTreeMap::new();
    for (trace, _) in kept {
        *spans.entry(*trace).or_default() += 1;
    }
    let torn =
        spans.iter().filter(|(trace, spans)| traffic.traces[*trace].spans != **spans).count();
    if torn > 0 {
        return Err(format!("{who} keeps parts of {torn} traces"));
    }
    let (all, share) = (traffic.traces.len() as f64, percent / 100.0);
    let sigma = (all * share * (1.0 - share)).sqrt();
    let off = (spans.len() as f64 - all * share).abs() / sigma;
    if off > 4.0 {
        let kept = spans.len();
        return Err(format!("{who} keeps {kept} of {all} traces, {off:.1} sigma off {percent} %"));
    }
    Ok(())
}
