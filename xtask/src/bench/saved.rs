//! Figures that were kept under a name, and where they were taken.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use super::rows;
use crate::workspace::Workspace;

const META: &str = "meta.json";

/// A folder in `target/bench/saved`.
#[derive(Debug)]
pub struct Saved {
    name: String,
    directory: PathBuf,
}

// === impl Saved ===

impl Saved {
    /// Names a place for figures; nothing needs to be there.
    pub fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let is_plain = |char: char| char.is_alphanumeric() || "._-".contains(char);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            bail!("`{name}` cannot name figures: use letters, digits, `.`, `_` and `-`");
        }
        Ok(Self { name: name.to_owned(), directory: parent(workspace).join(name) })
    }

    /// Finds figures that were kept before.
    pub fn open(workspace: &Workspace, name: &str) -> Result<Self> {
        let saved = Self::new(workspace, name)?;
        if !saved.directory.is_dir() {
            let mut names: Vec<String> = fs::read_dir(parent(workspace))
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect();
            names.sort();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!("no figures were kept as `{name}`; there are: {names}");
        }
        Ok(saved)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The report that the benchmark `name` left at that time.
    pub fn report(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    /// Copies the reports of these benchmarks.
    ///
    /// Figures of another commit or machine are cleared first: a folder holds one state.
    pub fn keep<'a>(
        &self,
        sh: &Shell,
        workspace: &Workspace,
        benches: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        let meta = meta(sh)?;
        if self.meta().is_some_and(|before| before != meta) {
            fs::remove_dir_all(&self.directory)?;
        }
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create {}", self.directory.display()))?;
        for name in benches {
            fs::copy(rows::path(workspace, name), self.report(name))
                .with_context(|| format!("cannot keep the report of {name}"))?;
        }
        fs::write(self.directory.join(META), format!("{meta:#}\n"))?;
        println!("kept in {}", self.directory.display());
        Ok(())
    }

    /// Says where the two runs differ in more than the code.
    pub fn warn_of_differences(&self, sh: &Shell) {
        let (Some(before), Ok(now)) = (self.meta(), meta(sh)) else {
            println!("note: `{}` does not say where it was taken", self.name);
            return;
        };
        for key in ["cpu", "rustc"] {
            if before[key] != now[key] {
                println!("note: {key} was {} and is {}", before[key], now[key]);
            }
        }
    }

    fn meta(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(self.directory.join(META)).ok()?).ok()
    }
}

fn parent(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench").join("saved")
}

/// What a figure depends on beside the source.
fn meta(sh: &Shell) -> Result<Value> {
    let rustc = sh.var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let rustc = cmd!(sh, "{rustc} --version").quiet().read().context("cannot ask rustc")?;
    Ok(json!({ "commit": commit(sh)?, "cpu": cpu(), "rustc": rustc }))
}

fn commit(sh: &Shell) -> Result<String> {
    let commit = cmd!(sh, "git rev-parse HEAD").quiet().ignore_stderr().ignore_status().read();
    let changes = cmd!(sh, "git status --porcelain").quiet().read();
    let (commit, changes) = (commit.context("cannot ask git")?, changes.context("cannot ask git")?);
    Ok(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

fn cpu() -> String {
    let model = |text: String| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    fs::read_to_string(Path::new("/proc/cpuinfo"))
        .ok()
        .and_then(model)
        .unwrap_or_else(|| format!("unknown {}", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder() {
        let workspace = Workspace {
            root: PathBuf::new(),
            target: PathBuf::from("target"),
            packages: Vec::new(),
        };
        let saved = Saved::new(&workspace, "before-1.0").unwrap();
        assert_eq!(saved.report("wire"), Path::new("target/bench/saved/before-1.0/wire.json"));
        for name in ["", "..", "a/b", "a b", ".hidden"] {
            assert!(Saved::new(&workspace, name).is_err(), "{name}");
        }
    }
}
