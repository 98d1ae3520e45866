//! What a crate may depend on among ours, and what it must have.

use std::fs;

use anyhow::{Context, Result};

use super::{Finding, fences};
use crate::workspace::{Dependency, Kind, Package, Workspace};

/// The crates by floor: a dependency leads to a lower floor. The table is the one of
/// `docs/architecture.md`.
const FLOORS: &[(&str, u32)] = &[
    ("pool", 0),
    ("concurrency", 0),
    ("otlp", 1),
    ("cache", 1),
    ("batcher", 2),
    ("sampler", 2),
    ("spool", 2),
    ("exporter", 3),
    ("receiver", 3),
    ("store", 4),
    ("kafka", 4),
    ("sdk", 4),
    ("teleflow", 5),
    ("agent", 6),
];

/// Stands beside the floors: tests everywhere may use it, and it is not published.
const TESTKIT: &str = "testkit";

/// Stands beside the floors as well: it knows the wire alone, and no crate of ours.
const CONFORMANCE: &str = "conformance";

/// The folder whose package may use the testkit for more than tests.
const BENCHES: &str = "benches";

/// The folder whose package has lints of its own: xflags generates undocumented structs.
const XTASK: &str = "xtask";

/// A package with what the rules read of it.
#[derive(Debug)]
pub struct Member<'a> {
    pub package: &'a Package,
    pub manifest: String,
    pub has_readme: bool,
    /// The root files of its library and programs: path from the workspace, and text.
    pub roots: Vec<(String, String)>,
}

/// The floor of the crate in `crates/<folder>`.
pub fn floor(folder: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == folder).map(|&(_, floor)| floor)
}

/// The name that the package in `crates/<folder>` must have.
pub fn package_name(folder: &str) -> String {
    if folder == "teleflow" { folder.to_owned() } else { format!("teleflow-{folder}") }
}

pub fn check(members: &[Member<'_>]) -> Vec<Finding> {
    let packages: Vec<&Package> = members.iter().map(|member| member.package).collect();
    let mut findings = Vec::new();
    for member in members {
        check_lints(member, &mut findings);
        if member.package.is_crate() {
            check_place(member, &mut findings);
            check_documents(member, &mut findings);
        }
        for dependency in &member.package.dependencies {
            let mut report = |message| findings.push(member.finding(&dependency.name, message));
            fences::check(member.package, dependency, &mut report);
            let other = packages.iter().find(|package| package.name == dependency.name);
            if let Some(&other) = other {
                check_arrow(member.package, dependency, other, &mut report);
            }
        }
    }
    findings
}

fn check_lints(member: &Member<'_>, findings: &mut Vec<Finding>) {
    if member.package.folder() != XTASK && !inherits_lints(&member.manifest) {
        let message = "does not inherit the workspace's lints: `[lints]` with `workspace = true`";
        findings.push(member.finding("[lints]", message));
    }
}

fn inherits_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let compact: String = line.split_whitespace().collect();
        (section == "[lints]" && compact == "workspace=true") || compact == "lints.workspace=true"
    })
}

fn check_place(member: &Member<'_>, findings: &mut Vec<Finding>) {
    let (name, folder) = (&member.package.name, member.package.folder());
    let expected = package_name(folder);
    if *name != expected {
        let message = format!("the package in crates/{folder} is `{expected}`, not `{name}`");
        findings.push(member.finding("name", message));
    }
    if ![TESTKIT, CONFORMANCE].contains(&folder) && floor(folder).is_none() {
        let message = format!("`{folder}` has no floor: give it one in xtask/src/tidy/crates.rs");
        findings.push(member.finding("name", message));
    }
}

fn check_documents(member: &Member<'_>, findings: &mut Vec<Finding>) {
    if !member.has_readme {
        findings.push(Finding::new(
            format!("{}/README.md", member.package.directory),
            1,
            "every crate has a README.md",
        ));
    }
    for (path, text) in &member.roots {
        if !opens_with_documentation(text) {
            findings.push(Finding::new(path, 1, "opens without crate documentation (`//!`)"));
        }
    }
}

/// Whether the first thing in the file is `//!`; attributes and plain comments may precede it.
fn opens_with_documentation(text: &str) -> bool {
    let first = text.lines().map(str::trim_start).find(|line| {
        let passes = line.is_empty() || line.starts_with("#!");
        let is_comment = line.starts_with("//") && !line.starts_with("//!");
        !passes && !is_comment
    });
    first.is_some_and(|line| line.starts_with("//!"))
}

/// Checks a dependency of one of our packages on another.
fn check_arrow(
    package: &Package,
    dependency: &Dependency,
    other: &Package,
    report: &mut impl FnMut(String),
) {
    let (own, target) = (package.folder(), other.folder());
    let leads_down = match (floor(own), floor(target)) {
        (Some(own), Some(target)) => target < own,
        _ => false,
    };

    if target == TESTKIT {
        if dependency.kind != Kind::Dev && own != BENCHES {
            report(format!("`{}` is for tests: a dev-dependency", other.name));
        }
    } else if dependency.kind != Kind::Dev && package.is_crate() && own != TESTKIT && !leads_down {
        report(format!(
            "{} depends on {}: a crate names only lower floors",
            with_floor(own),
            with_floor(target)
        ));
    }

    // A package is published after those that it names with a version, in tests as well. By path
    // alone, cargo leaves the dependency out.
    let published_after = dependency.kind == Kind::Dev && package.is_crate() && !leads_down;
    if (published_after || target == TESTKIT) && dependency.requirement != "*" {
        report(format!(
            "`{}` is named with the version `{}`, so that {own} cannot be published: name it by \
             path alone",
            other.name, dependency.requirement
        ));
    }
}

fn with_floor(folder: &str) -> String {
    match floor(folder) {
        Some(floor) => format!("{folder} (floor {floor})"),
        None => format!("{folder} (no floor)"),
    }
}

// === impl Member ===

impl<'a> Member<'a> {
    pub fn read(package: &'a Package, workspace: &Workspace) -> Result<Self> {
        let directory = workspace.root.join(&package.directory);
        let path = directory.join("Cargo.toml");
        let manifest =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut roots = Vec::new();
        for target in &package.targets {
            if ["lib", "bin", "proc-macro"].contains(&target.kind.as_str()) {
                let path = target.source.strip_prefix(&workspace.root).unwrap_or(&target.source);
                let text = fs::read_to_string(&target.source)
                    .with_context(|| format!("cannot read {}", target.source.display()))?;
                roots.push((path.display().to_string().replace('\\', "/"), text));
            }
        }
        Ok(Self { package, manifest, has_readme: directory.join("README.md").is_file(), roots })
    }

    /// Points at the line of the manifest that starts with `word`, if there is one.
    fn finding(&self, word: &str, message: impl Into<String>) -> Finding {
        let starts = |line: &str| {
            let rest = line.trim_start().strip_prefix(word);
            let in_name = |next: char| next.is_alphanumeric() || next == '-' || next == '_';
            rest.is_some_and(|rest| !rest.starts_with(in_name))
        };
        let line = self.manifest.lines().position(starts).map_or(1, |index| index + 1);
        Finding::new(format!("{}/Cargo.toml", self.package.directory), line, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::samples::{dependency, package};

    const MANIFEST: &str = "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n";

    fn member(package: &Package) -> Member<'_> {
        let roots = vec![(format!("{}/src/lib.rs", package.directory), "//! X.\n".to_owned())];
        Member { package, manifest: MANIFEST.to_owned(), has_readme: true, roots }
    }

    /// Checks `packages` and expects findings that contain `expected`, one each.
    #[track_caller]
    fn check_packages(packages: &[Package], expected: &[&str]) {
        let members: Vec<Member<'_>> = packages.iter().map(member).collect();
        expect(&check(&members), expected);
    }

    #[track_caller]
    fn expect(findings: &[Finding], expected: &[&str]) {
        let messages: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(messages.len(), expected.len(), "{messages:#?}");
        for (message, part) in messages.iter().zip(expected) {
            assert!(message.contains(part), "`{part}` is not in `{message}`");
        }
    }

    fn outside(folder: &str, name: &str, dependencies: &[Dependency]) -> Package {
        Package {
            name: name.to_owned(),
            directory: folder.to_owned(),
            ..package(folder, dependencies)
        }
    }

    #[test]
    fn an_arrow_leads_to_a_lower_floor() {
        let target = || [package("otlp", &[]), package("batcher", &[])];
        let with = |package: Package| [vec![package], target().to_vec()].concat();
        let batcher = || dependency("teleflow-batcher");

        check_packages(&with(package("exporter", &[batcher()])), &[]);
        check_packages(
            &with(package("sampler", &[batcher()])),
            &["sampler (floor 2) depends on batcher (floor 2)"],
        );
        check_packages(
            &with(package("cache", &[batcher()])),
            &["cache (floor 1) depends on batcher (floor 2)"],
        );
        check_packages(&with(package("sampler", &[batcher().dev()])), &[]);
        check_packages(&with(outside("benches", "teleflow-benches", &[batcher()])), &[]);
    }

    #[test]
    fn a_crate_names_nothing_beside_the_floors() {
        let xtask = outside("xtask", "xtask", &[]);
        check_packages(
            &[package("otlp", &[dependency("xtask")]), xtask],
            &["otlp (floor 1) depends on xtask (no floor)"],
        );
    }

    #[test]
    fn a_crate_has_a_floor_and_the_name_of_its_folder() {
        check_packages(&[package("newcomer", &[])], &["`newcomer` has no floor"]);
        let misnamed = Package { name: "otlp".to_owned(), ..package("otlp", &[]) };
        check_packages(
            &[misnamed],
            &["crates/otlp/Cargo.toml:2: the package in crates/otlp is `teleflow-otlp`"],
        );
        check_packages(&[package("teleflow", &[]), package("testkit", &[])], &[]);
    }

    #[test]
    fn the_testkit_is_for_tests_and_benchmarks() {
        let testkit = || dependency("teleflow-testkit");
        let check = |user: Package, expected: &[&str]| {
            check_packages(&[user, package("testkit", &[])], expected);
        };
        check(package("otlp", &[testkit().dev()]), &[]);
        check(outside("benches", "teleflow-benches", &[testkit()]), &[]);
        check(package("otlp", &[testkit()]), &["`teleflow-testkit` is for tests"]);
    }

    #[test]
    fn a_test_that_looks_up_names_no_version() {
        let check = |dependency: Dependency, expected: &[&str]| {
            let packages = [
                package("exporter", &[dependency]),
                package("otlp", &[]),
                package("receiver", &[]),
                package("testkit", &[]),
            ];
            check_packages(&packages, expected);
        };
        check(dependency("teleflow-testkit").dev().version("^0.1.0"), &["cannot be published"]);
        check(dependency("teleflow-receiver").dev().version("^0.1.0"), &["cannot be published"]);
        check(dependency("teleflow-receiver").dev(), &[]);
        // What is below is published before.
        check(dependency("teleflow-otlp").dev().version("^0.1.0"), &[]);
        check(dependency("teleflow-otlp").version("^0.1.0"), &[]);
    }

    #[test]
    fn a_finding_points_at_the_line_of_the_manifest() {
        let package = package("sampler", &[dependency("serde")]);
        let manifest = format!("{MANIFEST}\n[dependencies]\nserde_x = \"1\"\nserde = \"1\"\n");
        let member = Member { manifest, ..member(&package) };
        expect(&check(&[member]), &["crates/sampler/Cargo.toml:9: depends on `serde`"]);
    }

    #[test]
    fn lints_are_inherited() {
        let otlp = package("otlp", &[]);
        let xtask = outside("xtask", "xtask", &[]);
        let bare = |package| Member { manifest: String::new(), ..member(package) };
        expect(&check(&[bare(&otlp)]), &["does not inherit the workspace's lints"]);
        expect(&check(&[bare(&xtask)]), &[]);

        assert!(inherits_lints("[lints]\nworkspace=true # all\n"));
        assert!(inherits_lints("lints.workspace = true\n"));
        assert!(!inherits_lints("[dependencies.x]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n# workspace = true\n"));
    }

    #[test]
    fn a_crate_has_a_readme_and_documentation() {
        let package = package("otlp", &[]);
        let without = Member { has_readme: false, ..member(&package) };
        expect(&check(&[without]), &["crates/otlp/README.md:1: every crate has a README.md"]);

        let roots = vec![("crates/otlp/src/lib.rs".to_owned(), "mod x;\n".to_owned())];
        let without = Member { roots, ..member(&package) };
        expect(&check(&[without]), &["crates/otlp/src/lib.rs:1: opens without crate doc"]);

        assert!(opens_with_documentation("// A note.\n#![no_std]\n\n//! Text.\n"));
        assert!(!opens_with_documentation("/// Text.\nmod x;\n"));
        assert!(!opens_with_documentation(""));
    }
}
