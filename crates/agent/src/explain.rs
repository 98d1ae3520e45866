//! `teleflow explain`: what a sampler makes of a trace, and why.

mod library;
mod requests;
mod show;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, bail};
use teleflow::sampler::Rules;
use teleflow::store::SqliteReader;

use self::requests::Request;
use crate::cli::{ExplainArgs, TraceId};
use crate::config::{Config, Exporter, Id, Pipeline};
use crate::{gateway, run};

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    say!("{}", explain(args)?);
    Ok(())
}

fn explain(args: &ExplainArgs) -> anyhow::Result<String> {
    let (config, file) = match &args.config {
        Some(path) => (run::load(path)?, path.display().to_string()),
        None => (Config::default_gateway(), "the built-in config".to_owned()),
    };
    let asked = choose(&config, args.pipeline.as_deref()).context(file.clone())?;
    let (requests, found_in) = if args.files.is_empty() {
        let stores = stores(&config, asked.pipeline);
        if stores.is_empty() {
            bail!("{file} has no sqlite exporter to find the trace in: name requests with --file");
        }
        find(&stores, args.trace, in_store)?
    } else {
        let files: Vec<_> = args.files.iter().map(|file| &**file).collect();
        find(&files, args.trace, requests::read)?
    };
    let spans: usize = requests.iter().map(|request| request.spans).sum();
    let bytes = requests.into_iter().map(|request| request.bytes).collect();
    let explanation = library::explain(&asked.rules, args.trace.0, bytes)?;
    let (trace, id, lane) = (args.trace, asked.id, &asked.lane);
    let plural = if spans == 1 { "" } else { "s" };
    let head = format!(
        "trace {trace} in {found_in}: {spans} span{plural}\nprocessors.{id} of pipeline {lane}:\n"
    );
    Ok(head + &show::explanation(&explanation))
}

/// A sampler that is asked.
struct Asked<'a> {
    lane: String,
    pipeline: &'a Pipeline,
    id: &'a Id,
    rules: Rules,
}

/// The sampler of a pipeline, or the only one there is.
fn choose<'a>(config: &'a Config, pipeline: Option<&str>) -> anyhow::Result<Asked<'a>> {
    let pipelines = config.service.pipelines.iter();
    let sampling = pipelines.filter_map(|(lane, pipeline)| {
        let mut ids = pipeline.processors.iter();
        let found = ids.find_map(|id| Some((id, gateway::sampler(config.processors.get(id)?)?)));
        let (id, sampler) = found?;
        Some(Asked { lane: lane.to_string(), pipeline, id, rules: sampler.rules })
    });
    let mut sampling: Vec<_> = sampling.collect();
    let names: Vec<_> = sampling.iter().map(|asked| asked.lane.clone()).collect();
    let names = names.join(", ");
    if sampling.is_empty() {
        bail!("no pipeline has a tail sampler");
    }
    if let Some(name) = pipeline {
        let at = sampling.iter().position(|asked| asked.lane == name);
        let at = at.with_context(|| {
            format!("there is no pipeline `{name}` with a tail sampler; these have one: {names}")
        })?;
        return Ok(sampling.swap_remove(at));
    }
    match sampling.pop() {
        Some(only) if sampling.is_empty() => Ok(only),
        _ => bail!("several pipelines have a tail sampler: name one with --pipeline: {names}"),
    }
}

/// The files that hold what pipelines have stored: first of all those of this one.
fn stores<'a>(config: &'a Config, pipeline: &Pipeline) -> Vec<&'a Path> {
    let mut stores: Vec<_> = config.exporters.iter().collect();
    stores.sort_by_key(|(id, _)| !pipeline.exporters.contains(id));
    let paths = stores.into_iter().filter_map(|(_, exporter)| match exporter {
        Exporter::Sqlite(sqlite) => Some(&*sqlite.path),
        _ => None,
    });
    paths.collect()
}

/// The requests with spans of a trace, and where they were found: stores have the whole trace each,
/// files may have a part.
fn find(
    places: &[&Path],
    trace: TraceId,
    read: fn(&Path, TraceId) -> anyhow::Result<Vec<Request>>,
) -> anyhow::Result<(Vec<Request>, String)> {
    let mut found = Vec::new();
    let mut found_in = Vec::new();
    for place in places {
        let requests = read(place, trace)?;
        if !requests.is_empty() {
            found_in.push(place.display().to_string());
            found.extend(requests);
        }
    }
    if found.is_empty() {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        bail!("there is no trace {trace} in {}", places.join(", "));
    }
    Ok((found, found_in.join(", ")))
}

fn in_store(path: &Path, trace: TraceId) -> anyhow::Result<Vec<Request>> {
    let store = SqliteReader::open(path)?;
    let requests = store.trace_requests(&trace.to_string());
    let requests = requests.with_context(|| path.display().to_string())?;
    Ok(requests.into_iter().map(|bytes| Request { bytes: bytes.into(), spans: 1 }).collect())
}
