//! The benchmark that counts instructions: its tools, its run, its figures.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::PACKAGE;
use super::rows::Row;
use crate::workspace::{self, Workspace};

/// The benchmark's name.
pub const NAME: &str = "instructions";

/// Where its source is, from the root of the workspace.
pub const SOURCE: &str = "benches/benches/instructions.rs";

/// What runs the benchmark under valgrind; its version is that of the library in the lock file.
const RUNNER: &str = "gungraun-runner";

/// Which tree is counted, and where what belongs to it goes.
#[derive(Debug)]
pub struct Tree<'a> {
    /// The root of its workspace.
    pub root: &'a Path,
    /// Where it is built; no two trees may share it, as cargo would take one's crates for the
    /// other's.
    pub target: &'a Path,
    /// Names the folder for callgrind's output.
    pub name: &'a str,
}

/// Builds the benchmark of `tree`, runs it and reads its figures.
pub fn run(
    sh: &Shell,
    workspace: &Workspace,
    tree: &Tree<'_>,
    passed_on: &[OsString],
) -> Result<Vec<Row>> {
    require_valgrind(sh)?;
    let lock = tree.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("no {}", lock.display()))?;
    let version = locked(&lock).context("the lock file has no gungraun")?;
    let runner = install(sh, workspace, version)?;

    let output = workspace.target.join("bench").join("callgrind").join(tree.name);
    // It would compare with what it finds there.
    if output.exists() {
        fs::remove_dir_all(&output)?;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([runner].into_iter().chain(env::split_paths(&path)))?;
    let _there = sh.push_dir(tree.root);
    let fixed = ["bench", "--locked", "--package", PACKAGE, "--bench", NAME, "--"];
    let cmd = workspace::cargo(sh, fixed)
        .args(["--output-format=json", "--nosummary"])
        .args(passed_on)
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", tree.target)
        .env("GUNGRAUN_HOME", output);
    workspace::announce(sh, &cmd);
    let text = cmd.read().map_err(|_| anyhow!("`cargo bench --bench {NAME}` failed"))?;
    parse(&text).context("the benchmark's output has an unknown form")
}

/// A figure for people.
pub fn line(row: &Row) -> String {
    let count = row.ours.unwrap_or_default();
    format!("{:42} {count:>10.1} {}", row.metric, row.unit)
}

fn require_valgrind(sh: &Shell) -> Result<()> {
    if cmd!(sh, "valgrind --version").quiet().ignore_stderr().read().is_err() {
        bail!(
            "`valgrind` is not on this machine, and it is what counts the instructions: install \
             the package `valgrind` (Debian: `apt install valgrind`, Fedora: `dnf install valgrind`)"
        );
    }
    Ok(())
}

/// Installs the runner below `target/tools`, unless it is there; returns its folder.
fn install(sh: &Shell, workspace: &Workspace, version: &str) -> Result<PathBuf> {
    let root = workspace.target.join("tools").join(format!("{RUNNER}-{version}"));
    let bin = root.join("bin");
    if bin.join(RUNNER).exists() {
        return Ok(bin);
    }
    let version = format!("={version}");
    let cmd = workspace::cargo(sh, ["install", RUNNER, "--locked", "--version", &version])
        .arg("--root")
        .arg(root)
        .env("CARGO_TARGET_DIR", workspace.target.join("tools").join("build"));
    workspace::announce(sh, &cmd);
    cmd.run().map_err(|_| anyhow!("cannot install {RUNNER} {version}"))?;
    Ok(bin)
}

/// The version of gungraun in a lock file.
fn locked(lock: &str) -> Option<&str> {
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"gungraun\"");
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// A line of JSON for each case.
fn parse(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let rows = lines
        .enumerate()
        .map(|(index, line)| row(line).with_context(|| format!("case {}", index + 1)))
        .collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        bail!("it has no figures");
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let case: Value = serde_json::from_str(line)?;
    let text = |key: &str| case[key].as_str().with_context(|| format!("no `{key}`"));
    let (group, function, id) = (text("group")?, text("function_name")?, text("id")?);
    let (things, number) = id.rsplit_once('_').with_context(|| format!("`{id}` has no number"))?;
    let number: f64 = number.parse().with_context(|| format!("`{id}` ends in no number"))?;
    let count = &case["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    let count = count.as_f64().context("no count of instructions")?;
    Ok(Row {
        metric: format!("{NAME}/{}/{function}", group.trim_end_matches("_group")),
        unit: format!("instructions/{}", things.trim_end_matches('s')),
        ours: Some(count / number),
        rival: None,
        rival_value: None,
        ratio: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_becomes_a_row() {
        let text = r#"{"group":"pool_group","function_name":"get_return","id":"calls_1000","profiles":
            [{"data":{"total":{"metrics":{"Ir":{"values":{"new":139103}}}}}}]}"#;
        let rows = parse(&text.replace('\n', "")).unwrap();
        assert_eq!(rows[0].metric, "instructions/pool/get_return");
        assert_eq!(rows[0].unit, "instructions/call");
        assert_eq!(rows[0].ours, Some(139.103));
    }

    #[test]
    fn what_is_no_case_is_named() {
        let refuse = |text: &str, expected: &str| {
            assert_eq!(format!("{:#}", parse(text).unwrap_err()), expected);
        };
        refuse("", "it has no figures");
        refuse("{}", "case 1: no `group`");
        let case = r#"{"group":"a_group","function_name":"b","id":"calls"}"#;
        refuse(case, "case 1: `calls` has no number");
        let case = r#"{"group":"a_group","function_name":"b","id":"calls_1"}"#;
        refuse(case, "case 1: no count of instructions");
    }

    #[test]
    fn the_lock_file_names_the_version() {
        let lock = "[[package]]\nname = \"gungraun\"\nversion = \"0.20.0\"\nsource = \"x\"\n";
        assert_eq!(locked(lock), Some("0.20.0"));
        assert_eq!(locked("name = \"gungraun-macros\"\nversion = \"0.10.0\"\n"), None);
    }
}
