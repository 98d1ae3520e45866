//! The OpenTelemetry Collector, for those who are compared with it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

/// The variable with the path of the program that the tests take.
const VARIABLE: &str = "TELEFLOW_OTELCOL";

/// The Collector for the tests; `None` where it does not build.
#[derive(Debug)]
pub struct Collector(Option<PathBuf>);

/// Builds the Collector that the benchmarks measure too.
pub fn build(sh: &Shell, workspace: &Workspace) -> Result<PathBuf> {
    let program = workspace.target.join("conformance").join("otelcol");
    let sources = workspace.root.join("benches").join("peers").join("otelcol");
    let _inside = sh.push_dir(sources);
    // Go builds what has changed, and nothing else.
    cmd!(sh, "go build -trimpath -ldflags=-s -o {program} .").env("CGO_ENABLED", "0").run()?;
    Ok(program)
}

/// Builds it, or says why not: the tests then skip.
pub fn prepare(sh: &Shell, workspace: &Workspace) -> Collector {
    match build(sh, workspace) {
        Ok(program) => Collector(Some(program)),
        Err(error) => {
            eprintln!("note: the tests against the Collector will be skipped: {error:#}");
            Collector(None)
        }
    }
}

// === impl Collector ===

impl Collector {
    /// Whether a test was skipped for want of it. That is no fault: who has no Go, or cannot get its
    /// modules, has no Collector.
    pub fn excuses(&self, skip: &str) -> bool {
        self.0.is_none() && skip.contains("no OpenTelemetry Collector")
    }

    /// Tells a command where it is.
    pub fn describe(&self, command: &mut Command) {
        if let Some(program) = &self.0 {
            command.env(VARIABLE, program);
        }
    }
}
