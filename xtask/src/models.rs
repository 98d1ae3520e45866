//! `loom` and `shuttle`: the models of the concurrent parts.
//!
//! A model is a test target named after its checker, `tests/loom.rs` or `tests/shuttle.rs`; every
//! package that has one is run, with the unit tests of its library, where the models of what is
//! private are. Both replace the atomics, locks and threads of the crate by their
//! own, by a `--cfg`, and so build into a folder of their own.

use anyhow::{Result, bail};
use xshell::Shell;

use crate::workspace::{self, Package, Workspace};

/// A model checker and how it is asked.
#[derive(Debug)]
pub struct Checker {
    /// The name of the command, of the test target and of the folder under `target`.
    name: &'static str,
    cfg: &'static str,
    /// The variable with the effort, and its value in a short and in a full run.
    effort: (&'static str, &'static str, &'static str),
}

/// Tries every order of the threads that it has with so many preemptions.
pub const LOOM: Checker =
    Checker { name: "loom", cfg: "teleflow_loom", effort: ("LOOM_MAX_PREEMPTIONS", "2", "3") };

/// Tries so many random orders, for what is too large for loom.
pub const SHUTTLE: Checker = Checker {
    name: "shuttle",
    cfg: "teleflow_shuttle",
    effort: ("TELEFLOW_SHUTTLE_ITERATIONS", "100", "2000"),
};

pub fn run(sh: &Shell, workspace: &Workspace, checker: &Checker, short: bool) -> Result<()> {
    let packages = modelled(&workspace.packages, checker);
    if packages.is_empty() {
        bail!("no package has a test target named `{}`", checker.name);
    }
    let (variable, in_short, in_full) = checker.effort;
    let mut failed = Vec::new();
    for package in &packages {
        let name = checker.name;
        let fixed =
            ["test", "--release", "--locked", "--package", package, "--lib", "--test", name];
        let cmd = workspace::cargo(sh, fixed)
            .env("RUSTFLAGS", format!("--cfg {}", checker.cfg))
            .env("CARGO_TARGET_DIR", workspace.target.join(name))
            .env(variable, if short { in_short } else { in_full });
        workspace::announce(sh, &cmd);
        if cmd.run().is_err() {
            failed.push(*package);
        }
    }
    if !failed.is_empty() {
        bail!("{}: models failed in {}", checker.name, failed.join(", "));
    }
    println!("{}: {}, all good", checker.name, packages.join(", "));
    Ok(())
}

/// The packages with a test target that is named after the checker.
fn modelled<'a>(packages: &'a [Package], checker: &Checker) -> Vec<&'a str> {
    let has_models = |package: &&Package| {
        let mut targets = package.targets.iter();
        targets.any(|target| target.kind == "test" && target.name == checker.name)
    };
    packages.iter().filter(has_models).map(|package| package.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Target;

    #[test]
    fn packages_with_a_test_of_that_name_are_modelled() {
        let package = |name: &str, kind: &str, target: &str| Package {
            name: name.to_owned(),
            targets: vec![Target {
                name: target.to_owned(),
                kind: kind.to_owned(),
                source: Default::default(),
            }],
            ..Package::default()
        };
        let packages = [
            package("pool", "test", "loom"),
            package("cache", "test", "shuttle"),
            package("benches", "bench", "loom"),
        ];
        assert_eq!(modelled(&packages, &LOOM), ["pool"]);
        assert_eq!(modelled(&packages, &SHUTTLE), ["cache"]);
    }
}
