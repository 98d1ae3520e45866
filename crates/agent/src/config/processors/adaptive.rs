//! `processors.adaptive_tail_sampling`

mod sampler;

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::report::Place;
use super::policy::{Rule, span_count};
use super::recorded::{self, Recorded};
use super::shared;
use super::stress_relief::{self, StressRelief};
use super::tail_sampling::{self, DecisionCache};

pub(crate) use sampler::{Algorithm, Keyed, RuleSampler, Unit};

/// Holds traces until they are likely complete, then lets the first rule that matches decide about
/// each as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdaptiveTailSampling {
    /// How long a trace is held without its root span, from the first one on. Default 30 s. More
    /// than 0.
    pub(crate) trace_timeout: Duration,
    /// How long it is held after that, or after its root span. Default 2 s. More than 0.
    pub(crate) decision_delay: Duration,
    /// How many traces are held. Default 50 000. At least 1.
    pub(crate) num_traces: NonZeroUsize,
    /// How many bytes of spans are held, which the Collector cannot bound. Default 256 MiB. At
    /// least 64 KiB.
    pub(crate) max_bytes: u64,
    /// A trace of so many spans is decided at once. Default 10 000. `None` is 0 in the file.
    pub(crate) span_limit: Option<u64>,
    /// `root_span_condition`: which spans are roots, about spans and in OTTL. `None` is the default,
    /// `IsRootSpan()`: those without a parent.
    pub(crate) root_span_condition: Option<String>,
    /// Which decisions are remembered for late spans. Default 10 000 each.
    pub(crate) decision_cache: DecisionCache,
    /// Among how many such gateways the traces are spread: whatever rules allow a second is what all
    /// of them together may keep, and each has its part. Default 1. A key of Refinery's, which finds
    /// it out.
    pub(crate) cluster_size: NonZeroUsize,
    /// `eviction`: of traces that have to go early, the share that is kept in place of asking the
    /// rules, over 0, at most 100. Default `None`: the rules decide.
    pub(crate) eviction: Option<f64>,
    /// What is done under pressure. Default `None`: nothing but that. The Collector has no such key.
    pub(crate) stress_relief: Option<StressRelief>,
    /// What else is written to what is kept.
    pub(crate) recorded: Recorded,
    /// `record_decision`: kept spans say which rule kept them and when it was asked, by attributes.
    /// Default true; the Collector always does.
    pub(crate) records_decision: bool,
    /// What kept spans say of the kind of their trace.
    pub(crate) record_fingerprint: RecordFingerprint,
    /// The first that matches decides. At least one, names differ.
    pub(crate) rules: Vec<MatchRule>,
    /// Where it is written.
    pub(crate) place: Place,
}

/// `record_fingerprint`: how kept spans name the kind of their trace.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum RecordFingerprint {
    /// `none`, the default: not at all.
    #[default]
    None,
    /// `value`: as it is.
    Value,
    /// `hash`: by a hash of it.
    Hash,
}

/// Says what is kept of some traces.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MatchRule {
    /// What metrics and logs call it.
    pub(crate) name: String,
    /// `has_root_span`: whether the trace has to have a span without a parent, or none. Default: it
    /// does not matter. A key of Refinery's.
    pub(crate) has_root_span: Option<bool>,
    /// `span_count`: how many spans the trace has to have, at least and at most. Default: any number.
    pub(crate) span_count: (u64, Option<u64>),
    /// `match: same_span`: one span has to meet all conditions. Default: each has to be met by any.
    pub(crate) is_same_span: bool,
    /// All of them have to be met. Default none: it matches every such trace.
    pub(crate) conditions: Vec<String>,
    /// What is kept of the traces that match. Has to be written.
    pub(crate) sampler: RuleSampler,
    /// Where it is written.
    pub(crate) place: Place,
}

const FINGERPRINTS: [(&str, RecordFingerprint); 3] = [
    ("hash", RecordFingerprint::Hash),
    ("none", RecordFingerprint::None),
    ("value", RecordFingerprint::Value),
];
const DEFAULT_TRACE_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_DECISION_DELAY: Duration = Duration::from_secs(2);
const DEFAULT_SPAN_LIMIT: u64 = 10_000;
const DEFAULT_CACHE_SIZE: usize = 10_000;

impl MatchRule {
    fn matches_all(&self) -> bool {
        let is_any = self.has_root_span.is_none() && self.span_count == (0, None);
        is_any && self.conditions.is_empty()
    }
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> AdaptiveTailSampling {
    use tail_sampling::{decision_cache, max_bytes, more_than_zero, num_traces};
    at.section(later::NONE, |keys| {
        let fingerprint = keys.value("record_fingerprint");
        let fingerprint = fingerprint.and_then(|at| at.one_of(&FINGERPRINTS, later::NONE));
        let limit = keys.value("span_limit").and_then(|at| at.whole(0..=u64::MAX));
        let sampling = AdaptiveTailSampling {
            trace_timeout: more_than_zero(keys, "trace_timeout", DEFAULT_TRACE_TIMEOUT),
            decision_delay: more_than_zero(keys, "decision_delay", DEFAULT_DECISION_DELAY),
            num_traces: num_traces(keys),
            max_bytes: max_bytes(keys),
            root_span_condition: root_condition(keys),
            span_limit: Some(limit.unwrap_or(DEFAULT_SPAN_LIMIT)).filter(|&limit| limit != 0),
            decision_cache: decision_cache(keys, DEFAULT_CACHE_SIZE),
            cluster_size: keys
                .value("cluster_size")
                .and_then(|at| at.count(1))
                .and_then(NonZeroUsize::new)
                .unwrap_or(NonZeroUsize::MIN),
            eviction: eviction(keys),
            records_decision: keys
                .value("record_decision")
                .and_then(|at| at.truth())
                .unwrap_or(true),
            record_fingerprint: fingerprint.unwrap_or_default(),
            stress_relief: stress_relief::read(keys),
            recorded: recorded::read(keys),
            rules: rules(keys),
            place: at.place(),
        };
        let wait = sampling.trace_timeout.saturating_add(sampling.decision_delay);
        shared::check(at, sampling.decision_cache.shared.as_ref(), wait);
        sampling
    })
}

/// What it means is for the sampler to say.
fn root_condition(keys: &mut Keys<'_>) -> Option<String> {
    let at = keys.value("root_span_condition")?;
    // In the Collector an empty text is none.
    let condition = at.text()?.trim();
    let is_default = condition.is_empty() || condition == "IsRootSpan()";
    (!is_default).then(|| condition.to_owned())
}

fn eviction(keys: &mut Keys<'_>) -> Option<f64> {
    const POLICIES: [(&str, bool); 2] = [("evaluate", false), ("probabilistic", true)];
    keys.value("eviction")?.section(later::NONE, |keys| {
        let policy = keys.value("policy").and_then(|at| at.one_of(&POLICIES, later::NONE));
        if policy.unwrap_or(false) {
            return keys.require("sampling_percentage").and_then(|at| sampler::percentage(&at));
        }
        // The Collector takes 0 for nothing said.
        if let Some(at) = keys.value("sampling_percentage")
            && at.number(0.0..=100.0).is_some_and(|percentage| percentage > 0.0)
        {
            let message = format!("{} is for the policy `probabilistic`", at.path());
            at.report.error(at.name_at(), message);
        }
        None
    })
}

fn rules(keys: &mut Keys<'_>) -> Vec<MatchRule> {
    let Some(at) = keys.require("rules") else { return Vec::new() };
    let rules = tail_sampling::named(&at, "rule", read_rule, |rule| &rule.name);
    let all = rules.iter().position(MatchRule::matches_all);
    if let Some(rule) = all.filter(|&rule| rule + 1 < rules.len()).map(|rule| &rules[rule]) {
        let (name, path) = (&rule.name, at.path());
        let message = format!(
            "{path}: `{name}` has no conditions and matches every trace; no rule after it is reached"
        );
        at.report.warn(rule.place.0, message);
    }
    rules
}

fn read_rule(at: &At<'_>) -> MatchRule {
    const SCOPES: [(&str, bool); 2] = [("any_span", false), ("same_span", true)];
    at.section(later::NONE, |keys| {
        let name = keys.require("name").and_then(|at| {
            let name = at.text_that_is_not_empty()?;
            if name.starts_with('_') {
                at.refuse("not begin with `_`", None);
            }
            Some(name.to_owned())
        });
        let conditions = keys.value("conditions").map(|at| at.texts()).unwrap_or_default();
        let scope = keys.value("match");
        let is_same_span = scope.as_ref().and_then(|at| at.one_of(&SCOPES, later::NONE));
        if let Some(scope) = scope.filter(|_| conditions.is_empty() && !keys.has("conditions")) {
            let message = format!("{} has no effect without conditions", scope.path());
            scope.report.error(scope.name_at(), message);
        }
        let sampler = keys.require("sampler").map(|at| sampler::read(&at));
        let count = keys.value("span_count").map(|at| at.section(later::NONE, span_count));
        let count = match count {
            Some(Rule::SpanCount { min, max }) => (min, max),
            _ => (0, None),
        };
        MatchRule {
            name: name.unwrap_or_default(),
            has_root_span: keys.value("has_root_span").and_then(|at| at.truth()),
            span_count: count,
            is_same_span: is_same_span.unwrap_or(false),
            conditions,
            sampler: sampler.unwrap_or(RuleSampler::Always),
            place: at.place(),
        }
    })
}
