//! What the tests against other languages need.
//!
//! Nothing here fails a run: what is missing is printed and told to the tests, and they skip.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xshell::{Cmd, Shell, cmd};

use crate::workspace::Workspace;

/// An official SDK in another language, and what a test needs to run it.
#[derive(Debug)]
pub struct Sdk {
    language: &'static str,
    /// The variable with the path that the test takes.
    variable: &'static str,
    /// Where that is; else why there is none.
    place: Result<PathBuf, String>,
}

/// The packages of the Python SDK, all of them pinned.
const REQUIREMENTS: &str = "crates/agent/tests/interop/requirements.txt";

/// The packages of the JavaScript SDK, and all of those that they need.
const PACKAGES: &str = "crates/agent/tests/interop/javascript/package.json";
const PACKAGES_LOCK: &str = "crates/agent/tests/interop/javascript/package-lock.json";

/// Installs what is missing under `target/interop`, once for each content of what is pinned.
pub fn prepare(sh: &Shell, workspace: &Workspace) -> Result<[Sdk; 2]> {
    let python = Sdk::prepare(
        workspace,
        ("Python", "TELEFLOW_PYTHON"),
        &[REQUIREMENTS],
        |place| place.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" }),
        // The interpreter is a link to the system's one, which may be gone by now.
        |python| attempt(cmd!(sh, "{python} --version")).is_ok(),
        |place| install_python(sh, place, &workspace.root.join(REQUIREMENTS)),
    )?;
    let javascript = Sdk::prepare(
        workspace,
        ("JavaScript", "TELEFLOW_JAVASCRIPT"),
        &[PACKAGES, PACKAGES_LOCK],
        Path::to_path_buf,
        |_| attempt(cmd!(sh, "node --version")).is_ok(),
        |place| install_javascript(sh, place, &workspace.root),
    )?;
    Ok([python, javascript])
}

fn install_python(sh: &Shell, place: &Path, requirements: &Path) -> Result<(), String> {
    let version = attempt(cmd!(sh, "python3 --version"))
        .map_err(|reason| format!("no working python3: {reason}"))?;
    // Debian splits both off into a package of their own.
    attempt(cmd!(sh, "python3 -c 'import venv, ensurepip'"))
        .map_err(|reason| format!("{version} lacks its `venv` module (python3-venv): {reason}"))?;
    println!("preparing {version} with the packages of {REQUIREMENTS}");
    attempt(cmd!(sh, "python3 -m venv --clear {place}"))
        .map_err(|reason| format!("`python3 -m venv` failed: {reason}"))?;
    let python = place.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    // What has to be compiled first would take minutes and a compiler.
    let pip = cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check --no-input")
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(requirements);
    attempt(pip).map_err(|reason| format!("`pip install` failed: {reason}"))?;
    Ok(())
}

fn install_javascript(sh: &Shell, place: &Path, root: &Path) -> Result<(), String> {
    let version = attempt(cmd!(sh, "node --version"))
        .map_err(|reason| format!("no working node (version 20 or later): {reason}"))?;
    attempt(cmd!(sh, "npm --version"))
        .map_err(|reason| format!("node {version} has no working npm: {reason}"))?;
    println!("preparing node {version} with the packages of {PACKAGES}");
    for pinned in [PACKAGES, PACKAGES_LOCK] {
        sh.copy_file(root.join(pinned), place).map_err(|error| error.to_string())?;
    }
    // No package may run a program of its own.
    let npm = cmd!(sh, "npm ci --prefix {place} --ignore-scripts --no-audit --no-fund --silent");
    attempt(npm).map_err(|reason| format!("`npm ci` failed: {reason}"))?;
    Ok(())
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

// === impl Sdk ===

impl Sdk {
    /// Installs into `target/interop`, unless what is pinned is there and works.
    fn prepare(
        workspace: &Workspace,
        (language, variable): (&'static str, &'static str),
        pinned: &[&str],
        entry: impl FnOnce(&Path) -> PathBuf,
        works: impl FnOnce(&Path) -> bool,
        install: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Self> {
        let mut pins = String::new();
        for file in pinned {
            let path = workspace.root.join(file);
            pins += &fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        let place = workspace.target.join("interop").join(language.to_lowercase());
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        // Two runs in one tree must not build the same environment at once.
        let lock = File::create(place.with_extension("lock"))?;
        lock.lock()?;
        let stamp = place.with_extension("stamp");
        let entry = entry(&place);
        let is_there = fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins);
        let mut found = Ok(entry.clone());
        if !(is_there && works(&entry)) {
            match install(&place) {
                Ok(()) => fs::write(&stamp, pins)
                    .with_context(|| format!("cannot write {}", stamp.display()))?,
                Err(reason) => {
                    eprintln!("note: tests against the {language} SDK are skipped: {reason}");
                    found = Err(reason);
                }
            }
        }
        Ok(Self { language, variable, place: found })
    }

    /// Where it is, or why there is none.
    pub fn place(&self) -> Result<&Path, &str> {
        self.place.as_deref().map_err(String::as_str)
    }

    /// Tells the tests of `command` where it is, or why there is none.
    pub fn describe(&self, command: &mut Command) {
        let missing = format!("{}_MISSING", self.variable);
        command.env_remove(self.variable).env_remove(&missing);
        match &self.place {
            Ok(path) => command.env(self.variable, path),
            Err(reason) => command.env(missing, format!("{}: {reason}", self.language)),
        };
    }
}
