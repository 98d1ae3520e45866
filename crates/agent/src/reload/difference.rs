//! How a file differs from what runs.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{
    AdaptiveTailSampling, Config, Id, MatchRule, Policy, Processor, Recorded, TailSampling,
};

/// What runs.
#[derive(Debug)]
pub(super) struct Running {
    /// What it was started with.
    config: Config,
    /// The samplers that are at work, by their pipeline.
    samplers: BTreeMap<String, Processor>,
}

/// What a file says that does not run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// What can be applied at once.
    pub(super) samplers: Vec<Change>,
    /// The keys of everything else, in order.
    pub(super) of_restart: BTreeSet<String>,
}

/// What a sampler is to do from now on.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// The pipeline that it is in.
    pub(super) lane: String,
    /// All that it is to do.
    pub(super) sampler: Processor,
    /// What of that is new, for people.
    pub(super) what: Vec<String>,
}

// === impl Running ===

impl Running {
    pub(super) fn new(config: &Config) -> Self {
        let lanes = config.service.pipelines.iter();
        let samplers = lanes.filter_map(|(id, lane)| {
            Some((id.to_string(), sampler(config, &lane.processors)?.1.clone()))
        });
        Self { samplers: samplers.collect(), config: config.clone() }
    }

    /// Takes note of a change that was applied.
    pub(super) fn note(&mut self, change: Change) {
        self.samplers.insert(change.lane, change.sampler);
    }

    pub(super) fn difference(&self, new: &Config) -> Difference {
        let mut difference = Difference::default();
        self.compare_components(new, &mut difference.of_restart);
        self.compare_pipelines(new, &mut difference);
        difference
    }

    /// Those that run in neither are of no account.
    fn compare_components(&self, new: &Config, differ: &mut BTreeSet<String>) {
        fn compare<T: PartialEq>(
            section: &str,
            [old, new]: [&BTreeMap<Id, T>; 2],
            used: BTreeSet<&Id>,
            differ: &mut BTreeSet<String>,
        ) {
            let changed = used.into_iter().filter(|id| old.get(id) != new.get(id));
            differ.extend(changed.map(|id| format!("{section}.{id}")));
        }
        let old = &self.config;
        let lanes = || [old, new].into_iter().flat_map(|config| config.service.pipelines.values());
        let receivers = lanes().flat_map(|lane| &lane.receivers).collect();
        compare("receivers", [&old.receivers, &new.receivers], receivers, differ);
        let exporters = lanes().flat_map(|lane| &lane.exporters).collect();
        compare("exporters", [&old.exporters, &new.exporters], exporters, differ);
        let extensions = [old, new].into_iter().flat_map(|config| &config.service.extensions);
        let extensions = extensions.collect();
        compare("extensions", [&old.extensions, &new.extensions], extensions, differ);
        if old.service.extensions != new.service.extensions {
            differ.insert("service.extensions".to_owned());
        }
        if old.service.log_level != new.service.log_level {
            differ.insert("service.telemetry.logs.level".to_owned());
        }
    }

    fn compare_pipelines(&self, new: &Config, difference: &mut Difference) {
        let old = &self.config;
        let lanes = old.service.pipelines.keys().chain(new.service.pipelines.keys());
        for id in lanes.collect::<BTreeSet<_>>() {
            let of = |config: &Config| config.service.pipelines.get(id).cloned();
            let path = format!("service.pipelines.{id}");
            let (Some(before), Some(after)) = (of(old), of(new)) else {
                difference.of_restart.insert(path);
                continue;
            };
            if before.receivers != after.receivers {
                difference.of_restart.insert(format!("{path}.receivers"));
            }
            if before.exporters != after.exporters {
                difference.of_restart.insert(format!("{path}.exporters"));
            }
            if before.follows != after.follows {
                difference.of_restart.insert(format!("{path}.follows"));
            }
            let others = |config, ids| -> Vec<_> {
                let all = processors(config, ids);
                all.filter(|(_, processor)| !processor.is_tail_sampler()).collect()
            };
            let (were, are) = (others(old, &before.processors), others(new, &after.processors));
            let is_batch_same = were.iter().map(|(_, was)| was).eq(are.iter().map(|(_, is)| is));
            if !is_batch_same {
                let key = match (&were[..], &are[..]) {
                    ([(was, _)], [(is, _)]) if was == is => format!("processors.{is}"),
                    _ => format!("{path}.processors"),
                };
                difference.of_restart.insert(key);
            }
            let lane = id.to_string();
            match (self.samplers.get(&lane), sampler(new, &after.processors)) {
                (None, None) => {}
                (Some(was), Some((id, is))) => compare_samplers(lane, was, id, is, difference),
                (Some(_), None) | (None, Some(_)) => {
                    difference.of_restart.insert(format!("{path}.processors"));
                }
            }
        }
    }
}

fn processors<'a>(
    config: &'a Config,
    ids: &'a [Id],
) -> impl Iterator<Item = (&'a Id, &'a Processor)> {
    ids.iter().filter_map(|id| Some((id, config.processors.get(id)?)))
}

/// The sampler among these, of which there is at most one.
fn sampler<'a>(config: &'a Config, ids: &'a [Id]) -> Option<(&'a Id, &'a Processor)> {
    processors(config, ids).find(|(_, processor)| processor.is_tail_sampler())
}

fn compare_samplers(
    lane: String,
    was: &Processor,
    id: &Id,
    is: &Processor,
    difference: &mut Difference,
) {
    let mut sampler = is.clone();
    if let (Processor::TailSampling(was), Processor::TailSampling(is)) = (was, &mut sampler)
        && was.num_shards != is.num_shards
    {
        difference.of_restart.insert(format!("processors.{id}.num_shards"));
        is.num_shards = was.num_shards;
    }
    let key = format!("processors.{id}.decision_cache.shared");
    if let (Some(was), Some(is)) = (was.decision_cache(), sampler.decision_cache_mut())
        && was.shared != is.shared
    {
        difference.of_restart.insert(key);
        is.shared.clone_from(&was.shared);
    }
    if let (Processor::TailSampling(was), Processor::TailSampling(is)) = (was, &mut sampler)
        && was.tail_storage != is.tail_storage
    {
        difference.of_restart.insert(format!("processors.{id}.tail_storage"));
        is.tail_storage.clone_from(&was.tail_storage);
    }
    if *was == sampler {
        return;
    }
    let what = match (was, &sampler) {
        (Processor::TailSampling(was), Processor::TailSampling(is)) => of_tail(was, is),
        (Processor::AdaptiveTailSampling(was), Processor::AdaptiveTailSampling(is)) => {
            of_adaptive(was, is)
        }
        // Figures go by other names then.
        _ => {
            difference.of_restart.insert(format!("service.pipelines.{lane}.processors"));
            return;
        }
    };
    difference.samplers.push(Change { lane, sampler, what });
}

/// The keys that differ. Every field is named: a new one has to be.
macro_rules! differing {
    ($was:ident, $is:ident, { $($field:ident: $key:literal),* $(,)? }) => {{
        let mut keys: Vec<String> = Vec::new();
        $(if $was.$field != $is.$field { keys.push($key.to_owned()); })*
        keys
    }};
}

fn of_tail(was: &TailSampling, is: &TailSampling) -> Vec<String> {
    // Without `..`: whoever adds a field is to be told of this place.
    let TailSampling {
        strategy: _,
        decision_wait: _,
        decision_wait_after_root: _,
        num_traces: _,
        block_on_overflow: _,
        expected_new_traces_per_sec: _,
        max_bytes: _,
        max_trace_spans: _,
        max_trace_bytes: _,
        decision_cache: _,
        num_shards: _,
        tail_storage: _,
        sample_on_first_match: _,
        drop_pending_traces_on_shutdown: _,
        write_threshold: _,
        record_policy: _,
        inverted_votes: _,
        stress_relief: _,
        recorded: _,
        policies: _,
        place: _,
    } = is;
    let mut what = differing!(was, is, {
        decision_wait: "decision_wait",
        decision_wait_after_root: "decision_wait_after_root_received",
        num_traces: "num_traces",
        block_on_overflow: "block_on_overflow",
        expected_new_traces_per_sec: "expected_new_traces_per_sec",
        max_bytes: "max_bytes",
        max_trace_spans: "max_trace_spans",
        max_trace_bytes: "maximum_trace_size_bytes",
        decision_cache: "decision_cache",
        sample_on_first_match: "sample_on_first_match",
        drop_pending_traces_on_shutdown: "drop_pending_traces_on_shutdown",
        write_threshold: "write_threshold",
        record_policy: "record_policy",
        inverted_votes: "inverted_votes",
        stress_relief: "stress_relief",
    });
    what.extend(of_recorded(&was.recorded, &is.recorded));
    what.extend(named(&was.policies, &is.policies, "policies", |policy: &Policy| &policy.name));
    what
}

fn of_adaptive(was: &AdaptiveTailSampling, is: &AdaptiveTailSampling) -> Vec<String> {
    let AdaptiveTailSampling {
        trace_timeout: _,
        decision_delay: _,
        num_traces: _,
        max_bytes: _,
        span_limit: _,
        decision_cache: _,
        root_span_condition: _,
        cluster_size: _,
        eviction: _,
        records_decision: _,
        record_fingerprint: _,
        stress_relief: _,
        recorded: _,
        rules: _,
        place: _,
    } = is;
    let mut what = differing!(was, is, {
        trace_timeout: "trace_timeout",
        decision_delay: "decision_delay",
        num_traces: "num_traces",
        max_bytes: "max_bytes",
        span_limit: "span_limit",
        decision_cache: "decision_cache",
        root_span_condition: "root_span_condition",
        cluster_size: "cluster_size",
        eviction: "eviction",
        records_decision: "record_decision",
        record_fingerprint: "record_fingerprint",
        stress_relief: "stress_relief",
    });
    what.extend(of_recorded(&was.recorded, &is.recorded));
    what.extend(named(&was.rules, &is.rules, "rules", |rule: &MatchRule| &rule.name));
    what
}

fn of_recorded(was: &Recorded, is: &Recorded) -> Vec<String> {
    let Recorded { counts: _, host: _, dry_run: _ } = is;
    differing!(was, is, {
        counts: "record_counts",
        host: "record_host",
        dry_run: "dry_run",
    })
}

/// How a list of what has names differs.
fn named<T: PartialEq>(
    was: &[T],
    is: &[T],
    list: &str,
    name: impl Fn(&T) -> &String,
) -> Option<String> {
    if was == is {
        return None;
    }
    let find = |among: &[T], one: &T| among.iter().position(|other| name(other) == name(one));
    let mut said = Vec::new();
    for one in is {
        match find(was, one) {
            None => said.push(format!("{} is added", name(one))),
            Some(at) if was[at] != *one => said.push(format!("{} is changed", name(one))),
            Some(_) => {}
        }
    }
    let removed = was.iter().filter(|one| find(is, one).is_none());
    said.extend(removed.map(|one| format!("{} is removed", name(one))));
    let said = if said.is_empty() { "in another order".to_owned() } else { said.join(", ") };
    Some(format!("{list} ({said})"))
}
