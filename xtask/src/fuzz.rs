//! `fuzz`: random bytes, with a purpose, into every decoder that a socket or a file reaches.
//!
//! The targets are those of `fuzz/fuzz_targets`, run by cargo-fuzz with the address sanitizer. Each
//! begins with the files of `fuzz/corpus`, which are in the repository; what it finds to be new goes
//! under the target folder, and is where the next run begins.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::workspace::{self, Workspace};

/// Installed under the target folder where it is missing.
const CARGO_FUZZ: &str = "0.13.2";

/// How long each target runs where nobody says.
const SECONDS: u32 = 60;

/// No input may take longer, nor more memory than this; and only what is found is printed, and in the
/// end how much was tried.
const LIMITS: [&str; 4] =
    ["-timeout=10", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"];

pub fn run(
    sh: &Shell,
    workspace: &Workspace,
    only: Option<&str>,
    seconds: Option<u32>,
) -> Result<()> {
    let targets = targets(workspace)?;
    let chosen: Vec<_> =
        targets.iter().filter(|name| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; known: {}", targets.join(", "));
    }
    let cargo_fuzz = install(sh, workspace)?;
    let seconds = seconds.unwrap_or(SECONDS);
    let built = workspace.target.join("fuzz");
    let mut failed = Vec::new();
    for name in &chosen {
        let found = workspace.target.join("fuzz-corpus").join(name);
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        let mut corpus = vec![found];
        corpus.extend(Some(workspace.root.join("fuzz/corpus").join(name)).filter(|at| at.exists()));
        let time = format!("-max_total_time={seconds}");
        let cmd = cmd!(
            sh,
            "{cargo_fuzz} fuzz run --target-dir {built} {name} {corpus...} -- {time} {LIMITS...}"
        )
        .env("RUSTC_BOOTSTRAP", "1")
        // The address sanitizer's own checks of how the program allocates would find no bug.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env_remove("CARGO_TARGET_DIR");
        workspace::announce(sh, &cmd);
        if cmd.quiet().run().is_err() {
            failed.push(name.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("fuzz: {} failed; the input is under fuzz/artifacts", failed.join(", "));
    }
    let names: Vec<_> = chosen.iter().map(|name| name.as_str()).collect();
    println!("fuzz: {}, {seconds} s each, all good", names.join(", "));
    Ok(())
}

/// The names of the targets, in order.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let files =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The program, of the version that we know.
fn install(sh: &Shell, workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.target.join("tools");
    let program = root.join("bin/cargo-fuzz");
    let version = cmd!(sh, "{program} fuzz --version").quiet().ignore_stderr().read();
    if version.is_ok_and(|version| version.ends_with(CARGO_FUZZ)) {
        return Ok(program);
    }
    println!("installing cargo-fuzz {CARGO_FUZZ} under {}", root.display());
    let version = format!("={CARGO_FUZZ}");
    workspace::cargo(sh, ["install", "cargo-fuzz", "--locked", "--version", &version, "--root"])
        .arg(&root)
        .env("CARGO_TARGET_DIR", workspace.target.join("tools/build"))
        .run()
        .context("cannot install cargo-fuzz")?;
    Ok(program)
}
