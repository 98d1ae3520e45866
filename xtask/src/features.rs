//! `features`: every crate builds with none, with each and with all.

use anyhow::{Result, bail};
use xshell::Shell;

use crate::workspace::{self, Package, Workspace};

pub fn run(sh: &Shell, workspace: &Workspace) -> Result<()> {
    let mut checked = 0;
    let mut failed = Vec::new();
    for package in workspace.crates() {
        for choice in choices(package) {
            let fixed = ["check", "--quiet", "--locked", "--package", &package.name];
            let cmd = workspace::cargo(sh, fixed).args(&choice);
            workspace::announce(sh, &cmd);
            checked += 1;
            if cmd.run().is_err() {
                failed.push(format!("{} {}", package.name, choice.join(" ")));
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} of {checked} builds failed: {}", failed.len(), failed.join(", "));
    }
    println!("features: {checked} builds, all good");
    Ok(())
}

/// The arguments of each build that is worth its time.
fn choices(package: &Package) -> Vec<Vec<&str>> {
    let features: Vec<&str> = package
        .features
        .iter()
        .map(String::as_str)
        // `default` is a choice among the others.
        .filter(|&feature| feature != "default")
        .collect();

    let mut choices = vec![vec!["--no-default-features"]];
    choices.extend(features.iter().map(|&name| vec!["--no-default-features", "--features", name]));
    // With a single feature, all of them are that one.
    if 1 < features.len() {
        choices.push(vec!["--all-features"]);
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(features: &[&str], expected: &[&str]) {
        let features = features.iter().map(|&name| name.to_owned()).collect();
        let package = Package { features, ..Package::default() };
        let choices: Vec<String> =
            choices(&package).iter().map(|choice| choice.join(" ")).collect();
        assert_eq!(choices, expected);
    }

    #[test]
    fn none_each_and_all_without_repetition() {
        check(&[], &["--no-default-features"]);
        check(
            &["default", "json"],
            &["--no-default-features", "--no-default-features --features json"],
        );
        check(
            &["default", "grpc", "http"],
            &[
                "--no-default-features",
                "--no-default-features --features grpc",
                "--no-default-features --features http",
                "--all-features",
            ],
        );
    }
}
