//! The `service` section: which of the defined components run, and how they are joined.

mod extensions;
mod pipelines;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::components::Components;
use super::exporters::Exporter;
use super::extensions::Extension;
use super::id::Id;
use super::later;
use super::processors::Processor;
use super::read::{At, Keys, did_you_mean};
use super::receivers::Receiver;

/// What runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Service {
    /// Which extensions run, in the order of the file. Default none.
    pub(crate) extensions: Vec<Id>,
    /// Which pipelines run. At least one.
    pub(crate) pipelines: BTreeMap<PipelineId, Pipeline>,
    /// `telemetry.logs.level`: what the program says about itself. Default `info`.
    pub(crate) log_level: LogLevel,
}

/// A pipeline's id: its signal, and what tells several of a signal apart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct PipelineId {
    pub(crate) signal: Signal,
    pub(crate) name: Option<String>,
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// A way through the gateway. Every id is defined in its section, and is there once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pipeline {
    /// What feeds it. At least one.
    pub(crate) receivers: Vec<Id>,
    /// What the data passes, in this order: at most one that samples, then at most one `batch`.
    pub(crate) processors: Vec<Id>,
    /// The pipeline whose samplers decide about its log records, by their trace. Default none. It
    /// samples, and no other one follows it. The Collector has no such key.
    pub(crate) follows: Option<PipelineId>,
    /// What gets the result, each of them all of it. At least one.
    pub(crate) exporters: Vec<Id>,
}

/// How much the program says about itself.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// What the other sections define.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defined<'a> {
    pub(super) receivers: &'a Components<Receiver>,
    pub(super) processors: &'a Components<Processor>,
    pub(super) exporters: &'a Components<Exporter>,
    pub(super) extensions: &'a Components<Extension>,
}

/// Reads the section, and warns of what is defined and does not run.
pub(super) fn read(at: &At<'_>, defined: Defined<'_>) -> Service {
    let service = at.section(later::NONE, |keys| Service {
        extensions: keys
            .value("extensions")
            .map(|at| ids(references(&at, "extensions", defined.extensions)))
            .unwrap_or_default(),
        pipelines: keys
            .require("pipelines")
            .map(|at| pipelines::read(&at, defined))
            .unwrap_or_default(),
        log_level: read_log_level(keys),
    });
    extensions::check(at, &service.extensions, defined);
    warn_of_unused(at, &service, defined);
    service
}

fn read_log_level(keys: &mut Keys<'_>) -> LogLevel {
    const LEVELS: [(&str, LogLevel); 4] = [
        ("debug", LogLevel::Debug),
        ("error", LogLevel::Error),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
    ];
    let level = keys.value("telemetry").and_then(|telemetry| {
        telemetry.section(later::TELEMETRY, |keys| {
            let logs = keys.value("logs")?;
            logs.section(later::TELEMETRY_LOGS, |keys| {
                keys.value("level")?.one_of(&LEVELS, later::NONE)
            })
        })
    });
    level.unwrap_or_default()
}

/// Reads a list of ids, each of which is defined in `section` and is in the list once.
fn references<'a, T>(at: &At<'a>, section: &str, defined: &Components<T>) -> Vec<(Id, At<'a>)> {
    let mut references: Vec<(Id, At<'a>)> = Vec::new();
    for item in at.items() {
        let Some(text) = item.text_that_is_not_empty() else { continue };
        let Some(id) = Id::parse(text).ok().filter(|id| defined.contains_key(id)) else {
            let (path, shown) = (item.path(), item.describe());
            let message = format!("{path} is {shown}, which {section} does not define");
            let names: Vec<_> = defined.keys().map(Id::to_string).collect();
            let known = match names.len() {
                0 => format!("{section} defines nothing"),
                _ => format!("defined: {}", names.join(", ")),
            };
            let hint = did_you_mean(text, names.iter().map(String::as_str), known);
            item.report.error_with_hint(item.value_at(), message, hint);
            continue;
        };
        if references.iter().any(|(other, _)| *other == id) {
            item.report.error(item.value_at(), format!("{} names `{id}` a second time", at.path()));
            continue;
        }
        references.push((id, item));
    }
    references
}

fn ids(references: Vec<(Id, At<'_>)>) -> Vec<Id> {
    references.into_iter().map(|(id, _)| id).collect()
}

fn warn_of_unused(at: &At<'_>, service: &Service, defined: Defined<'_>) {
    fn warn<'s, T>(
        at: &At<'_>,
        section: &str,
        defined: &Components<T>,
        used: impl Iterator<Item = &'s Id>,
        by: &str,
    ) {
        let used: BTreeSet<_> = used.collect();
        for (id, defined) in defined.iter().filter(|(id, _)| !used.contains(id)) {
            at.report.warn(defined.at, format!("{section}.{id} is not used by {by}"));
        }
    }
    let pipelines = || service.pipelines.values();
    let receivers = pipelines().flat_map(|pipeline| &pipeline.receivers);
    let processors = pipelines().flat_map(|pipeline| &pipeline.processors);
    let exporters = pipelines().flat_map(|pipeline| &pipeline.exporters);
    warn(at, "receivers", defined.receivers, receivers, "any pipeline");
    warn(at, "processors", defined.processors, processors, "any pipeline");
    warn(at, "exporters", defined.exporters, exporters, "any pipeline");
    warn(at, "extensions", defined.extensions, service.extensions.iter(), "service.extensions");
}

// === impl Signal, PipelineId ===

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        })
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.signal)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}
