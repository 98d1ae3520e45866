//! `follows`: log records that share the fate of their traces.

use std::collections::BTreeMap;

use super::super::super::read::{At, did_you_mean};
use super::super::{Defined, Pipeline, PipelineId, Signal};

/// Finds the pipelines that others follow, once all are read.
pub(super) fn resolve(
    pipelines: &mut BTreeMap<PipelineId, Pipeline>,
    following: &[(PipelineId, At<'_>)],
    defined: Defined<'_>,
) {
    let mut followed: BTreeMap<PipelineId, &PipelineId> = BTreeMap::new();
    for (id, at) in following {
        let Some(name) = at.text_that_is_not_empty() else { continue };
        let path = at.path();
        if id.signal != Signal::Logs {
            let message = format!("{path} has no effect on {}: only logs follow traces", id.signal);
            at.report.error(at.name_at(), message);
            continue;
        }
        let found = pipelines.iter().find(|(other, _)| other.to_string() == name);
        let Some((target, pipeline)) = found else {
            let message =
                format!("{path} is {}, which service.pipelines does not define", at.describe());
            let names: Vec<_> = pipelines.keys().map(PipelineId::to_string).collect();
            let known = format!("defined: {}", names.join(", "));
            let hint = did_you_mean(name, names.iter().map(String::as_str), known);
            at.report.error_with_hint(at.value_at(), message, hint);
            continue;
        };
        let samples = pipeline.processors.iter().any(|id| {
            let processor = defined.processors.get(id);
            let processor = processor.and_then(|defined| defined.component.as_ref());
            processor.is_some_and(|processor| processor.is_tail_sampler())
        });
        if !samples {
            let message = format!("{path} is `{target}`, which has no tail sampler");
            at.report.error(at.value_at(), message);
        } else if let Some(first) = followed.get(target) {
            let message = format!("{path} is `{target}`, which `{first}` follows already");
            at.report.error(at.value_at(), message);
        } else {
            let target = target.clone();
            followed.insert(target.clone(), id);
            if let Some(pipeline) = pipelines.get_mut(id) {
                pipeline.follows = Some(target);
            }
        }
    }
}
