//! `tidy`: the conventions that no compiler knows.
//!
//! - [`crates`]: what a crate may depend on among ours, and what it must have.
//! - [`fences`]: which packages may use HTTP, serde, SQL and the like.
//! - [`text`]: what no file of the tree may contain.
//! - [`documents`]: links that lead somewhere, an architecture that names every crate.
//! - [`code`]: a source file without its comments and strings, for the rules about code.

mod code;
pub mod crates;
mod documents;
mod fences;
#[cfg(test)]
pub mod samples;
mod text;

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use self::crates::Member;
use crate::graph;
use crate::workspace::Workspace;

/// A place where a convention is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// From the root of the workspace, with `/`.
    pub file: String,
    /// From 1; 1 also where the whole file is meant.
    pub line: usize,
    pub message: String,
}

/// A file that can be read as text.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

pub fn run(sh: &Shell, workspace: &Workspace) -> Result<()> {
    let files = files(sh, workspace)?;
    let mut findings = Vec::new();

    let members = workspace
        .packages
        .iter()
        .map(|package| Member::read(package, workspace))
        .collect::<Result<Vec<_>>>()?;
    findings.extend(crates::check(&members));

    for file in &files {
        findings.extend(text::check(&file.path, &file.text));
        if file.path.ends_with(".md") {
            let exists = |path: &str| workspace.root.join(path).exists();
            findings.extend(documents::check_links(&file.path, &file.text, exists));
        }
    }

    match fs::read_to_string(workspace.root.join(graph::DOCUMENT)) {
        Ok(text) => findings.extend(documents::check_architecture(&text, &workspace.packages)),
        Err(error) => {
            findings.push(Finding::new(graph::DOCUMENT, 1, format!("cannot be read: {error}")))
        }
    }

    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} places break a convention", findings.len());
    }
    println!("tidy: {} packages and {} files, all good", members.len(), files.len());
    Ok(())
}

/// Reads what git tracks and what it would track; what is no text is left out.
fn files(sh: &Shell, workspace: &Workspace) -> Result<Vec<File>> {
    let list = cmd!(sh, "git ls-files -z --cached --others --exclude-standard --deduplicate")
        .quiet()
        .read()
        .context("tidy asks git which files to look at")?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let place = workspace.root.join(path);
        // A file that is deleted but not yet staged is listed; a link's target is listed itself.
        let is_file = place.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        // `CARGO_TARGET_DIR` may name a folder of the tree that git does not know to ignore.
        if !is_file || place.starts_with(&workspace.target) {
            continue;
        }
        let bytes = fs::read(&place).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

// === impl Finding ===

impl Finding {
    fn new(file: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
