//! `bench`: runs the benchmarks, checks what they report and compares it with an earlier run.

mod compare;
mod counts;
mod revision;
mod rows;
mod saved;

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result, anyhow, bail};
use xshell::Shell;

use self::counts::Tree;
use self::revision::Revision;
use self::rows::Row;
use self::saved::Saved;
use crate::flags;
use crate::workspace::{self, Workspace};

const PACKAGE: &str = "teleflow-benches";

/// Those that a larger one measures as well: they run where they are asked for.
const PARTS_OF_OTHERS: [&str; 2] = ["gateway", "spool"];

/// How many percent worse is a failure, unless asked otherwise. Wall time on a shared machine
/// varies by about ten.
const THRESHOLD: f64 = 15.0;

/// What a run is compared with.
#[derive(Debug)]
enum Base {
    /// Figures that were kept.
    Saved(Saved),
    /// Another revision, whose instructions are counted.
    Revision(Revision),
}

pub fn run(
    sh: &Shell,
    workspace: &Workspace,
    flags: &flags::Bench,
    passed_on: &[OsString],
) -> Result<()> {
    let known = names(workspace)?;
    // A misspelt name must not cost a run.
    let against =
        flags.against.as_deref().map(|name| Base::find(sh, workspace, name)).transpose()?;
    let chosen = match (&against, flags.name.as_deref()) {
        (Some(Base::Revision(_)), None) => vec![counts::NAME],
        (Some(Base::Revision(_)), Some(name)) if name != counts::NAME => {
            bail!("with a revision only `{}` is compared, not `{name}`", counts::NAME)
        }
        (_, name) => choose(&known, name)?,
    };
    let save = match flags.save.as_deref() {
        Some(name) if Revision::find(sh, name).is_some() => {
            bail!("`{name}` is a revision, and `--against {name}` means that: choose another name")
        }
        name => name.map(|name| Saved::new(workspace, name)).transpose()?,
    };

    let mut problems = Vec::new();
    let mut reported = Vec::new();
    for name in chosen {
        match bench(sh, workspace, name, passed_on) {
            Ok(rows) => reported.push((name, rows)),
            Err(error) => problems.push(format!("{name}: {error:#}")),
        }
    }
    match against {
        Some(Base::Saved(saved)) => {
            saved.warn_of_differences(sh);
            for (name, rows) in &reported {
                let threshold = flags.threshold.unwrap_or(THRESHOLD);
                problems.extend(compare::against(&saved, name, rows, threshold)?);
            }
        }
        Some(Base::Revision(revision)) => {
            for (_, rows) in &reported {
                problems.extend(revision.compare(sh, workspace, rows, flags.threshold)?);
            }
        }
        None => {}
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
        return Ok(known.iter().copied().filter(|name| !PARTS_OF_OTHERS.contains(name)).collect());
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
    if name == counts::NAME {
        let tree = Tree { root: &workspace.root, target: &workspace.target, name: "here" };
        let rows = counts::run(sh, workspace, &tree, passed_on)?;
        rows::write(&report, &rows)?;
        rows.iter().for_each(|row| println!("{}", counts::line(row)));
    } else {
        let fixed = ["bench", "--locked", "--package", PACKAGE, "--bench", name, "--"];
        let cmd = workspace::cargo(sh, fixed).args(passed_on);
        workspace::announce(sh, &cmd);
        cmd.run().map_err(|_| anyhow!("`cargo bench --bench {name}` failed"))?;
    }
    let rows = rows::read(&report)?;
    println!("{name}: {} rows in {}", rows.len(), report.display());
    Ok(rows)
}

// === impl Base ===

impl Base {
    fn find(sh: &Shell, workspace: &Workspace, name: &str) -> Result<Self> {
        match Revision::find(sh, name) {
            Some(revision) => Ok(Self::Revision(revision)),
            None => Saved::open(workspace, name)
                .map(Self::Saved)
                .with_context(|| format!("`{name}` is no revision of git")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let known = ["pool", "wire"];
        assert_eq!(choose(&known, None).unwrap(), known);
        assert_eq!(choose(&["delivery", "gateway"], None).unwrap(), ["delivery"]);
        assert_eq!(choose(&["delivery", "gateway"], Some("gateway")).unwrap(), ["gateway"]);
        assert_eq!(choose(&known, Some("wire")).unwrap(), ["wire"]);
        let error = choose(&known, Some("wired")).unwrap_err();
        assert_eq!(error.to_string(), "no benchmark `wired`; there are: pool, wire");
    }
}
