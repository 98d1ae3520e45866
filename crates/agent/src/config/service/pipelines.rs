//! `service.pipelines`: references resolved, and orders refused that we do not do.

mod follows;

use std::collections::BTreeMap;

use super::super::id::Id;
use super::super::later;
use super::super::node::Key;
use super::super::processors::Processor;
use super::super::read::{At, Keys, unknown};
use super::{Defined, Pipeline, PipelineId, Signal, ids, references};

const SIGNALS: [(&str, Signal); 3] =
    [("logs", Signal::Logs), ("metrics", Signal::Metrics), ("traces", Signal::Traces)];

/// Reads the section.
pub(super) fn read(at: &At<'_>, defined: Defined<'_>) -> BTreeMap<PipelineId, Pipeline> {
    let entries = at.entries();
    if entries.is_empty() && at.is_map() {
        at.refuse_empty("pipeline");
    }
    let mut pipelines = BTreeMap::new();
    let mut following = Vec::new();
    for (key, at) in entries {
        if let Some(id) = read_id(key, &at) {
            let (pipeline, follows) = read_pipeline(&at, id.signal, defined);
            following.extend(follows.map(|follows| (id.clone(), follows)));
            pipelines.insert(id, pipeline);
        }
    }
    follows::resolve(&mut pipelines, &following, defined);
    pipelines
}

fn read_id(key: &Key, at: &At<'_>) -> Option<PipelineId> {
    let id = match Id::parse(&key.name) {
        Ok(id) => id,
        Err(must) => {
            at.report.error(key.at, format!("an id in service.pipelines must {must}"));
            return None;
        }
    };
    match SIGNALS.iter().find(|(name, _)| *name == id.kind) {
        Some(&(_, signal)) => Some(PipelineId { signal, name: id.name }),
        None => {
            let kind = Key { name: id.kind, at: key.at };
            let known = SIGNALS.map(|(name, _)| name);
            unknown(at.report, &kind, "signal", "in service.pipelines", &known, later::SIGNALS);
            None
        }
    }
}

/// Reads a pipeline, and where it says which one it follows.
fn read_pipeline<'a>(
    at: &At<'a>,
    signal: Signal,
    defined: Defined<'_>,
) -> (Pipeline, Option<At<'a>>) {
    at.section(later::NONE, |keys| {
        let receivers = needed(keys, "receivers", "receiver")
            .map(|at| references(&at, "receivers", defined.receivers))
            .unwrap_or_default();
        let processors = keys
            .value("processors")
            .map(|at| references(&at, "processors", defined.processors))
            .unwrap_or_default();
        check_processors(&processors, signal, defined);
        let exporters = needed(keys, "exporters", "exporter")
            .map(|at| references(&at, "exporters", defined.exporters))
            .unwrap_or_default();
        check_urls(&exporters, signal, defined);
        let pipeline = Pipeline {
            receivers: ids(receivers),
            processors: ids(processors),
            follows: None,
            exporters: ids(exporters),
        };
        (pipeline, keys.value("follows"))
    })
}

/// A list that has to be there and to name something.
fn needed<'a>(keys: &mut Keys<'a>, name: &'static str, what: &str) -> Option<At<'a>> {
    let at = keys.require(name)?;
    if at.is_list() && at.items().is_empty() {
        at.refuse_empty(what);
    }
    Some(at)
}

/// Sampling works on traces, and decides about spans before they are merged into batches.
fn check_processors(processors: &[(Id, At<'_>)], signal: Signal, defined: Defined<'_>) {
    let (mut batch, mut sampling): (Option<&Id>, Option<&Id>) = (None, None);
    let mut head: Option<&Id> = None;
    for (id, at) in processors {
        let component = defined.processors.get(id).and_then(|defined| defined.component.as_ref());
        let path = at.path();
        let list = path.rsplit_once('[').map_or(path, |(list, _)| list);
        let problem = match component {
            None => continue,
            Some(Processor::Batch(_)) => batch.replace(id).map(|first| {
                format!("{list} has two processors that batch, `{first}` and `{id}`, one is enough")
            }),
            Some(Processor::ProbabilisticSampler(_)) if signal == Signal::Metrics => Some(format!(
                "{list} has `{id}`, which works on traces and logs and not on {signal}"
            )),
            Some(Processor::ProbabilisticSampler(_)) => {
                match (head.replace(id), sampling.or(batch)) {
                    (Some(first), _) => Some(format!(
                        "{list} has two processors of one kind, `{first}` and `{id}`, one is enough"
                    )),
                    (None, Some(other)) => Some(format!(
                        "{list} has `{other}` before `{id}`, which has to come first: it decides about what comes"
                    )),
                    (None, None) => None,
                }
            }
            Some(_) if signal != Signal::Traces => {
                Some(format!("{list} has `{id}`, which works on traces and not on {signal}"))
            }
            Some(_) => match (sampling.replace(id), batch) {
                (Some(first), _) => Some(format!(
                    "{list} has two processors that sample, `{first}` and `{id}`, write one with the policies of both"
                )),
                (None, Some(batch)) => Some(format!(
                    "{list} has `{batch}` before `{id}`, which has to come first: a batch that is sampled is no longer full"
                )),
                (None, None) => None,
            },
        };
        if let Some(problem) = problem {
            at.report.error(at.value_at(), problem);
        }
    }
}

/// An OTLP/HTTP exporter may have a URL for some signals only.
fn check_urls(exporters: &[(Id, At<'_>)], signal: Signal, defined: Defined<'_>) {
    for (id, at) in exporters {
        let component = defined.exporters.get(id).and_then(|defined| defined.component.as_ref());
        if component.is_some_and(|exporter| !exporter.sends(signal)) {
            let message = format!("{} is `{id}`, which does not know where {signal} go", at.path());
            let hint = format!("write `endpoint` or `{signal}_endpoint` in exporters.{id}");
            at.report.error_with_hint(at.value_at(), message, hint);
        }
    }
}
