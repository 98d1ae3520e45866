//! `ci`: what a commit needs, the cheap steps first.
//!
//! A step that fails does not stop the next one, so that one run names every problem.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use xshell::Shell;

use crate::fuzz;
use crate::models;
use crate::sanitize;
use crate::test;
use crate::tidy;
use crate::workspace::{self, Workspace};

/// For each target; they begin where the corpora end, so even a moment finds what comes back.
const FUZZ_SECONDS: u32 = 5;

pub fn run(sh: &Shell, workspace: &Workspace) -> Result<ExitCode> {
    let cargo = |arguments: &str| {
        let cmd = workspace::cargo(sh, arguments.split(' ')).env("RUSTDOCFLAGS", "-D warnings");
        workspace::announce(sh, &cmd);
        cmd.run().map_err(|_| anyhow!("`cargo {arguments}` failed"))
    };

    let mut steps = Steps::default();
    steps.take("format", || {
        // The fuzz targets are a workspace of their own.
        cargo("fmt --all -- --check")?;
        cargo("fmt --manifest-path fuzz/Cargo.toml -- --check")
    });
    steps.take("tidy", || tidy::run(sh, workspace));
    steps.take("clippy", || {
        cargo("clippy --workspace --all-targets --all-features --locked -- -D warnings")
    });
    // Only libraries: the program and the facade have the same name, and so the same page.
    steps.take("docs", || cargo("doc --workspace --lib --no-deps --all-features --locked"));
    let outcome = steps.take("test", || test::every_test(sh, workspace, None, &[]));

    steps.take("loom", || models::run(sh, workspace, &models::LOOM, true));
    steps.take("shuttle", || models::run(sh, workspace, &models::SHUTTLE, true));
    steps.take("sanitize", || sanitize::run(sh, workspace, true));
    steps.take("fuzz", || fuzz::run(sh, workspace, None, Some(FUZZ_SECONDS)));

    println!("seconds");
    for (name, time) in &steps.times {
        println!("{:>7.1}  {name}", time.as_secs_f64());
    }
    let mut outcome = outcome.unwrap_or_default();
    outcome.add_problems(steps.problems);
    outcome.print_problems();
    println!("{}", outcome.closing_line());
    Ok(outcome.code())
}

#[derive(Default)]
struct Steps {
    times: Vec<(&'static str, Duration)>,
    problems: Vec<String>,
}

// === impl Steps ===

impl Steps {
    /// Runs a step; `None` when it failed.
    fn take<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        let time = start.elapsed();
        println!("== {name}: {:.1} s\n", time.as_secs_f64());
        self.times.push((name, time));
        result.map_err(|error| self.problems.push(format!("{name}: {error:#}"))).ok()
    }
}
