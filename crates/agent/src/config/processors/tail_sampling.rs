//! `processors.tail_sampling`

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::policy::{self, Policy};

/// Holds traces until they are likely complete, then keeps or drops each as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TailSampling {
    /// How long a trace is held after its first span. Default 30 s. More than 0.
    pub(crate) decision_wait: Duration,
    /// How many traces are held. Default 50 000. At least 1.
    pub(crate) num_traces: NonZeroUsize,
    /// A hint about the load, for those who know it. Default 0: no hint.
    pub(crate) expected_new_traces_per_sec: u64,
    /// How many bytes of spans are held, which the Collector cannot bound. Default 256 MiB. At
    /// least 1.
    pub(crate) max_bytes: u64,
    /// Which decisions are remembered for late spans.
    pub(crate) decision_cache: DecisionCache,
    /// A trace that any of them wants is kept. At least one, names differ.
    pub(crate) policies: Vec<Policy>,
}

/// `decision_cache`: how many trace ids are remembered. Default 0 each: none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct DecisionCache {
    /// Those of kept traces.
    pub(crate) sampled_cache_size: usize,
    /// Those of dropped traces.
    pub(crate) non_sampled_cache_size: usize,
}

const DEFAULT_DECISION_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_NUM_TRACES: NonZeroUsize = NonZeroUsize::new(50_000).expect("is not zero");
/// The least that the sampler works with.
pub(crate) const MIN_MAX_BYTES: u64 = 64 * 1024;
const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> TailSampling {
    at.section(later::TAIL_SAMPLING, |keys| TailSampling {
        decision_wait: decision_wait(keys),
        num_traces: keys
            .value("num_traces")
            .and_then(|at| at.count(1))
            .and_then(NonZeroUsize::new)
            .unwrap_or(DEFAULT_NUM_TRACES),
        expected_new_traces_per_sec: keys
            .value("expected_new_traces_per_sec")
            .and_then(|at| at.whole(0..=u64::MAX))
            .unwrap_or(0),
        max_bytes: keys
            .value("max_bytes")
            .and_then(|at| at.bytes(MIN_MAX_BYTES..=u64::MAX))
            .unwrap_or(DEFAULT_MAX_BYTES),
        decision_cache: keys.value("decision_cache").map(|at| cache(&at)).unwrap_or_default(),
        policies: policies(keys),
    })
}

fn decision_wait(keys: &mut Keys<'_>) -> Duration {
    let Some(at) = keys.value("decision_wait") else { return DEFAULT_DECISION_WAIT };
    let wait = at.duration();
    if wait.is_some_and(|wait| wait.is_zero()) {
        at.refuse("be more than 0", None);
    }
    wait.unwrap_or(DEFAULT_DECISION_WAIT)
}

fn cache(at: &At<'_>) -> DecisionCache {
    at.section(later::NONE, |keys| {
        let mut size = |name| keys.value(name).and_then(|at| at.count(0)).unwrap_or(0);
        DecisionCache {
            sampled_cache_size: size("sampled_cache_size"),
            non_sampled_cache_size: size("non_sampled_cache_size"),
        }
    })
}

fn policies(keys: &mut Keys<'_>) -> Vec<Policy> {
    let Some(at) = keys.require("policies") else { return Vec::new() };
    let items = at.items();
    if items.is_empty() && at.is_list() {
        at.refuse_empty("policy");
    }
    let mut paths: BTreeMap<String, &str> = BTreeMap::new();
    let mut policies = Vec::with_capacity(items.len());
    for item in &items {
        let policy = policy::read(item);
        let other = paths.insert(policy.name.clone(), item.path());
        if let Some(other) = other.filter(|_| !policy.name.is_empty()) {
            item.report.error(item.value_at(), format!("{} has the name of {other}", item.path()));
        }
        policies.push(policy);
    }
    policies
}
