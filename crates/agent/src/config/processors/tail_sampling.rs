//! `processors.tail_sampling`

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::reference::Reference;
use super::super::report::Place;
use super::policy::{self, Policy};
use super::recorded::{self, Recorded};
use super::shared::{self, Shared};
use super::stress_relief::{self, StressRelief};

/// Holds traces until they are likely complete, then keeps or drops each as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TailSampling {
    /// `sampling_strategy`: when a trace is decided. Default `trace-complete`.
    pub(crate) strategy: Strategy,
    /// How long a trace is held after its first span. Default 30 s. More than 0.
    pub(crate) decision_wait: Duration,
    /// `decision_wait_after_root_received`: how long it is held at most once its root span is there.
    /// Default `None` (0 in the file): as long as without.
    pub(crate) decision_wait_after_root: Option<Duration>,
    /// How many traces are held. Default 50 000. At least 1.
    pub(crate) num_traces: NonZeroUsize,
    /// Holds up who sends, in place of deciding about the oldest traces early, when there are so
    /// many. Default false.
    pub(crate) block_on_overflow: bool,
    /// A hint about the load, for those who know it. Default 0: no hint.
    pub(crate) expected_new_traces_per_sec: u64,
    /// How many bytes of spans are held, which the Collector cannot bound. Default 256 MiB. At
    /// least 64 KiB.
    pub(crate) max_bytes: u64,
    /// The extension that keeps held spans in files. Default: they are in memory.
    pub(crate) tail_storage: Option<Reference>,
    /// A trace of so many spans is decided at once. Default `None` (0 in the file). The Collector
    /// has no such key.
    pub(crate) max_trace_spans: Option<u64>,
    /// `maximum_trace_size_bytes`: a larger trace is dropped. Default `None` (0 in the file).
    pub(crate) max_trace_bytes: Option<u64>,
    /// Which decisions are remembered for late spans.
    pub(crate) decision_cache: DecisionCache,
    /// How many loops share the work, by trace id. Default 1, at most 256.
    pub(crate) num_shards: u16,
    /// No further policy is asked once one keeps the trace. Default false.
    pub(crate) sample_on_first_match: bool,
    /// What is undecided at the end is dropped, in place of being decided about. Default false.
    pub(crate) drop_pending_traces_on_shutdown: bool,
    /// What is kept says how likely that was, by `ot=th` in its trace state. Default true; a
    /// feature gate of the Collector.
    pub(crate) write_threshold: bool,
    /// What is kept says which policy kept it, by attributes of its scopes. Default false; a feature
    /// gate of the Collector.
    pub(crate) record_policy: bool,
    /// Policies that are inverted vote as they did before 0.161. Default false; a feature gate of
    /// the Collector.
    pub(crate) inverted_votes: bool,
    /// What is done under pressure. Default `None`: nothing but that. The Collector has no such key.
    pub(crate) stress_relief: Option<StressRelief>,
    /// What else is written to what is kept.
    pub(crate) recorded: Recorded,
    /// A trace that any of them wants is kept. At least one, names differ.
    pub(crate) policies: Vec<Policy>,
    /// Where it is written.
    pub(crate) place: Place,
}

/// When a trace is decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Strategy {
    /// `trace-complete`: when it is likely complete.
    #[default]
    TraceComplete,
    /// `span-ingest`: as soon as a policy keeps or drops what came of it.
    SpanIngest,
}

const STRATEGIES: [(&str, Strategy); 2] =
    [("span-ingest", Strategy::SpanIngest), ("trace-complete", Strategy::TraceComplete)];

/// `decision_cache`: how many trace ids are remembered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct DecisionCache {
    /// Those of kept traces.
    pub(crate) sampled_cache_size: usize,
    /// Those of dropped traces.
    pub(crate) non_sampled_cache_size: usize,
    /// Decisions are made together with other gateways. Default `None`.
    pub(crate) shared: Option<Shared>,
}

/// As in the Collector.
const MAX_SHARDS: u64 = 256;
const DEFAULT_DECISION_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_NUM_TRACES: NonZeroUsize = NonZeroUsize::new(50_000).expect("is not zero");
/// The least that the sampler works with.
pub(crate) const MIN_MAX_BYTES: u64 = 64 * 1024;
const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> TailSampling {
    at.section(later::NONE, |keys| {
        let strategy = keys.value("sampling_strategy");
        let strategy = strategy.and_then(|at| at.one_of(&STRATEGIES, later::NONE));
        let max_bytes = max_bytes(keys);
        let sampling = TailSampling {
            strategy: strategy.unwrap_or_default(),
            decision_wait: more_than_zero(keys, "decision_wait", DEFAULT_DECISION_WAIT),
            decision_wait_after_root: keys
                .value("decision_wait_after_root_received")
                .and_then(|at| at.duration())
                .filter(|wait| !wait.is_zero()),
            num_traces: num_traces(keys),
            block_on_overflow: keys.truth("block_on_overflow"),
            expected_new_traces_per_sec: keys
                .value("expected_new_traces_per_sec")
                .and_then(|at| at.whole(0..=u64::MAX))
                .unwrap_or(0),
            max_bytes,
            tail_storage: keys.value("tail_storage").and_then(|at| Reference::read(&at)),
            max_trace_spans: limit(keys, "max_trace_spans", |at| at.whole(0..=u64::MAX)),
            max_trace_bytes: limit(keys, "maximum_trace_size_bytes", |at| at.bytes(0..=u64::MAX)),
            decision_cache: decision_cache(keys, 0),
            num_shards: num_shards(keys, max_bytes),
            sample_on_first_match: keys.truth("sample_on_first_match"),
            drop_pending_traces_on_shutdown: keys.truth("drop_pending_traces_on_shutdown"),
            write_threshold: keys
                .value("write_threshold")
                .and_then(|at| at.truth())
                .unwrap_or(true),
            record_policy: keys.truth("record_policy"),
            inverted_votes: keys.truth("inverted_votes"),
            stress_relief: stress_relief::read(keys),
            recorded: recorded::read(keys),
            policies: policies(keys),
            place: at.place(),
        };
        shared::check(at, sampling.decision_cache.shared.as_ref(), sampling.decision_wait);
        sampling
    })
}

/// A wait that has to be one.
pub(super) fn more_than_zero(
    keys: &mut Keys<'_>,
    name: &'static str,
    default: Duration,
) -> Duration {
    let Some(at) = keys.value(name) else { return default };
    let wait = at.duration();
    if wait.is_some_and(|wait| wait.is_zero()) {
        at.refuse("be more than 0", None);
    }
    wait.unwrap_or(default)
}

pub(super) fn num_traces(keys: &mut Keys<'_>) -> NonZeroUsize {
    let traces = keys.value("num_traces").and_then(|at| at.count(1));
    traces.and_then(NonZeroUsize::new).unwrap_or(DEFAULT_NUM_TRACES)
}

pub(super) fn max_bytes(keys: &mut Keys<'_>) -> u64 {
    let bytes = keys.value("max_bytes").and_then(|at| at.bytes(MIN_MAX_BYTES..=u64::MAX));
    bytes.unwrap_or(DEFAULT_MAX_BYTES)
}

/// Each shard has its part of the bytes, which has to be enough to work with.
fn num_shards(keys: &mut Keys<'_>, max_bytes: u64) -> u16 {
    let Some(at) = keys.value("num_shards") else { return 1 };
    let shards = at.whole(1..=MAX_SHARDS).unwrap_or(1);
    if shards > 1 && max_bytes / shards < MIN_MAX_BYTES {
        let most = max_bytes / MIN_MAX_BYTES;
        at.refuse(&format!("be at most {most}, with {max_bytes} bytes in max_bytes"), None);
    }
    shards as u16
}

/// A limit, which 0 lifts.
fn limit(
    keys: &mut Keys<'_>,
    name: &'static str,
    read: impl FnOnce(&At<'_>) -> Option<u64>,
) -> Option<u64> {
    keys.value(name).and_then(|at| read(&at)).filter(|&limit| limit != 0)
}

pub(super) fn decision_cache(keys: &mut Keys<'_>, default: usize) -> DecisionCache {
    let read = |keys: &mut Keys<'_>| {
        let mut size = |name| keys.value(name).and_then(|at| at.count(0)).unwrap_or(default);
        DecisionCache {
            sampled_cache_size: size("sampled_cache_size"),
            non_sampled_cache_size: size("non_sampled_cache_size"),
            shared: keys.value("shared").map(|at| shared::read(&at)),
        }
    };
    match keys.value("decision_cache") {
        Some(at) => at.section(later::NONE, read),
        None => read(&mut keys.nothing()),
    }
}

fn policies(keys: &mut Keys<'_>) -> Vec<Policy> {
    let Some(at) = keys.require("policies") else { return Vec::new() };
    named(&at, "policy", policy::read, |policy| &policy.name)
}

/// Reads a list of what has a name, no two the same.
pub(super) fn named<T>(
    at: &At<'_>,
    what: &str,
    read: impl Fn(&At<'_>) -> T,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    let items = at.items();
    if items.is_empty() && at.is_list() {
        at.refuse_empty(what);
    }
    let mut paths: BTreeMap<String, &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(items.len());
    for item in &items {
        let one = read(item);
        let other = paths.insert(name(&one).clone(), item.path());
        if let Some(other) = other.filter(|_| !name(&one).is_empty()) {
            item.report.error(item.value_at(), format!("{} has the name of {other}", item.path()));
        }
        all.push(one);
    }
    all
}
