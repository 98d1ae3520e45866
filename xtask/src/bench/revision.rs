//! Instructions here and in another revision: the check that noise cannot move.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use xshell::{Shell, cmd};

use super::counts::{self, Tree};
use super::rows::Row;
use crate::workspace::Workspace;

/// How many percent more instructions are a failure, unless asked otherwise. Most counts are exact;
/// those of the cache vary by about one.
const THRESHOLD: f64 = 2.0;

/// Growth that is none, in instructions of one call: another register, another alignment.
const FLOOR: f64 = 2.0;

/// A revision that git knows.
#[derive(Debug)]
pub struct Revision {
    name: String,
    commit: String,
}

/// A second work tree, which is removed when it is dropped.
struct Checkout<'a> {
    sh: &'a Shell,
    path: PathBuf,
}

// === impl Revision ===

impl Revision {
    /// `None` where git knows no such revision.
    pub fn find(sh: &Shell, name: &str) -> Option<Self> {
        let revision = format!("{name}^{{commit}}");
        let ask = cmd!(sh, "git rev-parse --verify --quiet --end-of-options {revision}");
        let commit = ask.quiet().ignore_stderr().read().ok()?;
        Some(Self { name: name.to_owned(), commit })
    }

    /// Counts there, prints both and returns what grew by over `threshold` percent.
    pub fn compare(
        &self,
        sh: &Shell,
        workspace: &Workspace,
        here: &[Row],
        threshold: Option<f64>,
    ) -> Result<Vec<String>> {
        let there = self.counts(sh, workspace).with_context(|| format!("at {}", self.name))?;
        let (table, grown) = compare(&there, here, threshold.unwrap_or(THRESHOLD));
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        println!("\n{} against {} ({commit})\n{table}", counts::NAME, self.name);
        Ok(grown)
    }

    /// The figures there; none where there is no such benchmark yet.
    fn counts(&self, sh: &Shell, workspace: &Workspace) -> Result<Vec<Row>> {
        let source = format!("{}:{}", self.commit, counts::SOURCE);
        if cmd!(sh, "git cat-file -e {source}").quiet().ignore_stderr().run().is_err() {
            println!("{} does not count instructions: all counts are new", self.name);
            return Ok(Vec::new());
        }
        let folder = workspace.target.join("bench").join("revision");
        let checkout = Checkout::new(sh, folder.join("tree"), &self.commit)?;
        let target = folder.join("target");
        let tree = Tree { root: &checkout.path, target: &target, name: "there" };
        counts::run(sh, workspace, &tree, &[])
    }
}

// === impl Checkout ===

impl<'a> Checkout<'a> {
    fn new(sh: &'a Shell, path: PathBuf, commit: &str) -> Result<Self> {
        // What a run that was killed left.
        remove(sh, &path);
        let checkout = Self { sh, path };
        let path = &checkout.path;
        cmd!(sh, "git worktree add --quiet --detach {path} {commit}")
            .quiet()
            .run()
            .map_err(|_| anyhow!("git cannot check it out to {}", path.display()))?;
        Ok(checkout)
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        remove(self.sh, &self.path);
    }
}

fn remove(sh: &Shell, path: &Path) {
    if path.exists() {
        // Git refuses what it does not take for a work tree; then it is a folder like any other.
        let removed = cmd!(sh, "git worktree remove --force {path}").quiet().ignore_stderr().run();
        if removed.is_err()
            && let Err(error) = fs::remove_dir_all(path)
        {
            eprintln!("cannot remove {}: {error}", path.display());
        }
    }
    // A folder that was deleted by hand is still in git's list.
    let _ = cmd!(sh, "git worktree prune").quiet().ignore_stderr().run();
}

// === the table ===

fn compare(there: &[Row], here: &[Row], threshold: f64) -> (String, Vec<String>) {
    let mut lines = vec![["metric", "unit", "base", "here", "change"].map(str::to_owned)];
    let mut grown = Vec::new();
    let figure = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.1}"));
    for row in here {
        let before = there.iter().find(|before| before.measures_what(row));
        let before = before.and_then(|row| row.ours);
        let change = match (before, row.ours) {
            (Some(old), Some(new)) => {
                let percent = if old == new { 0.0 } else { 100.0 * (new - old) / old };
                if percent > threshold && new - old > FLOOR {
                    grown.push(format!(
                        "{} takes {percent:.1} % more instructions: {old:.1} -> {new:.1}, at most \
                         {threshold} % is allowed",
                        row.metric
                    ));
                }
                format!("{percent:+.2} %")
            }
            _ => "new".to_owned(),
        };
        let unit = row.unit.clone();
        lines.push([row.metric.clone(), unit, figure(before), figure(row.ours), change]);
    }
    for old in there.iter().filter(|old| !here.iter().any(|row| row.measures_what(old))) {
        let (metric, unit) = (old.metric.clone(), old.unit.clone());
        lines.push([metric, unit, figure(old.ours), dash(), "no longer counted".to_owned()]);
    }
    (align(&lines), grown)
}

fn dash() -> String {
    "-".to_owned()
}

/// Names to the left, figures to the right.
fn align(lines: &[[String; 5]]) -> String {
    let [m, u, b, h, c]: [usize; 5] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    let mut table = String::new();
    for [metric, unit, base, here, change] in lines {
        let _ = writeln!(table, "{metric:m$}  {unit:u$}  {base:>b$}  {here:>h$}  {change:>c$}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, ours: f64) -> Row {
        Row {
            metric: metric.to_owned(),
            unit: "instructions/call".to_owned(),
            ours: Some(ours),
            rival: None,
            rival_value: None,
            ratio: None,
        }
    }

    #[track_caller]
    fn check(before: f64, now: f64, fails: bool) {
        let (_, grown) = compare(&[row("x", before)], &[row("x", now)], THRESHOLD);
        assert_eq!(!grown.is_empty(), fails, "{grown:?}");
    }

    #[test]
    fn growth_fails_from_two_percent_and_two_instructions_on() {
        check(1000.0, 1021.0, true);
        check(1000.0, 1019.0, false);
        check(1000.0, 500.0, false);
        // Ten percent, but one instruction.
        check(10.0, 11.0, false);
        check(10.0, 13.0, true);
        check(0.0, 3.0, true);
    }

    #[test]
    fn the_table_names_what_came_and_went() {
        let there = [row("same", 100.0), row("old", 5.0)];
        let (table, grown) = compare(&there, &[row("same", 103.0), row("fresh", 7.0)], THRESHOLD);
        let expected = "\
metric  unit                base   here             change
same    instructions/call  100.0  103.0            +3.00 %
fresh   instructions/call      -    7.0                new
old     instructions/call    5.0      -  no longer counted
";
        assert_eq!(table, expected);
        let expected = "same takes 3.0 % more instructions: 100.0 -> 103.0, at most 2 % is allowed";
        assert_eq!(grown, [expected]);
    }

    #[test]
    fn a_base_without_counts_fails_nothing() {
        let (table, grown) = compare(&[], &[row("x", 7.0)], THRESHOLD);
        assert!(table.contains("new"), "{table}");
        assert!(grown.is_empty());
    }
}
