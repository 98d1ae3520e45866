//! `bench`: runs the benchmarks, checks what they report and compares it with an earlier run.

mod compare;
mod rows;
mod saved;

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result, anyhow, bail};
use xshell::Shell;

use self::rows::Row;
use self::saved::Saved;
use crate::flags;
use crate::workspace::{self, Workspace};

const PACKAGE: &str = "teleflow-benches";

/// How many percent worse is a failure, unless asked otherwise. Wall time on a shared machine
/// varies by about ten.
const THRESHOLD: f64 = 15.0;

pub fn run(
    sh: &Shell,
    workspace: &Workspace,
    flags: &flags::Bench,
    passed_on: &[OsString],
) -> Result<()> {
    let known = names(workspace)?;
    let chosen = choose(&known, flags.name.as_deref())?;
    let save = flags.save.as_deref().map(|name| Saved::new(workspace, name)).transpose()?;
    // A misspelt name must not cost a run.
    let against = flags.against.as_deref().map(|name| Saved::open(workspace, name)).transpose()?;

    let mut problems = Vec::new();
    let mut reported = Vec::new();
    for name in chosen {
        match bench(sh, workspace, name, passed_on) {
            Ok(rows) => reported.push((name, rows)),
            Err(error) => problems.push(format!("{name}: {error:#}")),
        }
    }
    if let Some(against) = against {
        against.warn_of_differences(sh);
        for (name, rows) in &reported {
            let worse =
                compare::against(&against, name, rows, flags.threshold.unwrap_or(THRESHOLD));
            problems.extend(worse?);
        }
    }
    // Compare first: both may be the same name.
    if let Some(save) = save {
        save.keep(sh, workspace, reported.iter().map(|(name, _)| *name))?;
    }
    if !problems.is_empty() {
        bail!("bench:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn names(workspace: &Workspace) -> Result<Vec<&str>> {
    let package = workspace.packages.iter().find(|package| package.name == PACKAGE);
    let package = package.with_context(|| format!("the workspace has no package {PACKAGE}"))?;
    let benches = package.targets.iter().filter(|target| target.kind == "bench");
    Ok(benches.map(|target| target.name.as_str()).collect())
}

fn choose<'a>(known: &[&'a str], name: Option<&str>) -> Result<Vec<&'a str>> {
    let Some(name) = name else {
        return Ok(known.to_vec());
    };
    match known.iter().find(|known| **known == name) {
        Some(name) => Ok(vec![name]),
        None => bail!("no benchmark `{name}`; there are: {}", known.join(", ")),
    }
}

/// Runs one benchmark and reads its report.
fn bench(
    sh: &Shell,
    workspace: &Workspace,
    name: &str,
    passed_on: &[OsString],
) -> Result<Vec<Row>> {
    let report = rows::path(workspace, name);
    // The figures of an earlier run must not pass for this one's.
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }
    let fixed = ["bench", "--locked", "--package", PACKAGE, "--bench", name, "--"];
    let cmd = workspace::cargo(sh, fixed).args(passed_on);
    workspace::announce(sh, &cmd);
    cmd.run().map_err(|_| anyhow!("`cargo bench --bench {name}` failed"))?;

    let rows = rows::read(&report)?;
    println!("{name}: {} rows in {}", rows.len(), report.display());
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let known = ["pool", "wire"];
        assert_eq!(choose(&known, None).unwrap(), known);
        assert_eq!(choose(&known, Some("wire")).unwrap(), ["wire"]);
        let error = choose(&known, Some("wired")).unwrap_err();
        assert_eq!(error.to_string(), "no benchmark `wired`; there are: pool, wire");
    }
}
