//! What the tests against other languages need.
//!
//! Nothing here fails a run: what is missing is printed and told to the tests, and they skip.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xshell::{Cmd, Shell, cmd};

use crate::workspace::Workspace;

/// The packages of the Python SDK, all of them pinned.
const REQUIREMENTS: &str = "crates/agent/tests/interop/requirements.txt";

/// The variable with the path of a Python that has the packages.
const PYTHON: &str = "TELEFLOW_PYTHON";

/// The variable that says why there is none.
const PYTHON_MISSING: &str = "TELEFLOW_PYTHON_MISSING";

/// A Python with the OpenTelemetry SDK.
#[derive(Debug)]
pub enum Python {
    Ready(PathBuf),
    Missing(String),
}

/// Creates an environment in `target/interop/python`, once for each content of the requirements.
pub fn prepare_python(sh: &Shell, workspace: &Workspace) -> Result<Python> {
    let requirements = workspace.root.join(REQUIREMENTS);
    let python = match fs::read_to_string(&requirements) {
        Ok(pins) => {
            let directory = workspace.target.join("interop");
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            // Two runs in one tree must not build the same environment at once.
            let lock = File::create(directory.join("python.lock"))?;
            lock.lock()?;
            environment(sh, &directory.join("python"), &requirements, &pins)?
        }
        Err(error) => Python::Missing(format!("{REQUIREMENTS}: {error}")),
    };
    if let Python::Missing(reason) = &python {
        eprintln!("note: the tests against the Python SDK will be skipped: {reason}");
    }
    Ok(python)
}

fn environment(sh: &Shell, place: &Path, requirements: &Path, pins: &str) -> Result<Python> {
    let python = if cfg!(windows) {
        place.join("Scripts").join("python.exe")
    } else {
        place.join("bin").join("python")
    };
    let stamp = place.join("requirements.stamp");
    // The interpreter is a link to the system's one, which may be gone by now.
    let works = || cmd!(sh, "{python} --version").quiet().ignore_stdout().ignore_stderr().run();
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) && works().is_ok() {
        return Ok(Python::Ready(python));
    }

    let version = match attempt(cmd!(sh, "python3 --version")) {
        Ok(version) => version,
        Err(reason) => return Ok(Python::Missing(format!("no working python3: {reason}"))),
    };
    // Debian splits both off into a package of their own.
    if let Err(reason) = attempt(cmd!(sh, "python3 -c 'import venv, ensurepip'")) {
        let reason = format!("{version} lacks its `venv` module (python3-venv): {reason}");
        return Ok(Python::Missing(reason));
    }

    println!("preparing {version} with the packages of {REQUIREMENTS}");
    if let Err(reason) = attempt(cmd!(sh, "python3 -m venv --clear {place}")) {
        return Ok(Python::Missing(format!("`python3 -m venv` failed: {reason}")));
    }
    // What has to be compiled first would take minutes and a compiler.
    let pip = cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check --no-input")
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(requirements);
    if let Err(reason) = attempt(pip) {
        return Ok(Python::Missing(format!("`pip install` failed: {reason}")));
    }
    fs::write(&stamp, pins).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Python::Ready(python))
}

/// Runs a program for its first line of output, or the last thing that it said when it failed.
fn attempt(cmd: Cmd<'_>) -> Result<String, String> {
    let output = cmd.quiet().ignore_status().output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(said.lines().next().unwrap_or_default().trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().chain(complaint.lines()).map(str::trim);
    let last = lines.rfind(|line| !line.is_empty());
    Err(last.map_or_else(|| output.status.to_string(), str::to_owned))
}

// === impl Python ===

impl Python {
    /// Tells the tests of `command` where Python is, or why there is none.
    pub fn describe(&self, command: &mut Command) {
        command.env_remove(PYTHON).env_remove(PYTHON_MISSING);
        match self {
            Self::Ready(path) => command.env(PYTHON, path),
            Self::Missing(reason) => command.env(PYTHON_MISSING, reason),
        };
    }
}
