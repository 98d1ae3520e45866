//! `graph`: the arrows between the crates, in `docs/architecture.md`.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::tidy::crates::floor;
use crate::workspace::{Kind, Package, Workspace};

pub const DOCUMENT: &str = "docs/architecture.md";

const START: &str = "<!-- graph:start -->";
const END: &str = "<!-- graph:end -->";

pub fn run(sh: &Shell, workspace: &Workspace) -> Result<()> {
    let before = sh
        .read_file(DOCUMENT)
        .with_context(|| format!("cannot write the graph, there is no {DOCUMENT}"))?;
    let after = with_graph(&before, &render(&workspace.packages))?;
    if before == after {
        println!("graph: {DOCUMENT} is current");
        return Ok(());
    }
    sh.write_file(DOCUMENT, after)?;
    println!("graph: wrote {DOCUMENT}");
    Ok(())
}

/// Puts `graph` between the markers of `document`.
pub fn with_graph(document: &str, graph: &str) -> Result<String> {
    let Some((before, rest)) = document.split_once(START) else {
        bail!("{DOCUMENT} has no line `{START}`");
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("{DOCUMENT} has no line `{END}` below `{START}`");
    };
    Ok(format!("{before}{START}\n{graph}{END}{after}"))
}

/// Draws the crates that have a floor, the highest first.
///
/// Only what a user builds is drawn: dev-dependencies are left out.
pub fn render(packages: &[Package]) -> String {
    let mut crates: Vec<&Package> = packages
        .iter()
        .filter(|package| package.is_crate() && floor(package.folder()).is_some())
        .collect();
    crates.sort_by(|a, b| (floor(b.folder()), a.folder()).cmp(&(floor(a.folder()), b.folder())));

    let mut text = String::from("```mermaid\ngraph TD\n");
    let mut optional = false;
    for package in &crates {
        let arrows: Vec<(bool, &str)> = crates
            .iter()
            .filter_map(|other| Some((is_optional(package, &other.name)?, other.folder())))
            .collect();
        if arrows.is_empty() {
            let _ = writeln!(text, "    {}", package.folder());
        }
        for (dotted, other) in arrows {
            let arrow = if dotted { "-.->" } else { "-->" };
            let _ = writeln!(text, "    {} {arrow} {other}", package.folder());
            optional |= dotted;
        }
    }
    text.push_str("```\n");
    if optional {
        text.push_str("\nA dotted arrow is a dependency that a feature brings.\n");
    }
    text
}

/// Whether `package` needs `other` only with a feature; `None` when it does not need it at all.
fn is_optional(package: &Package, other: &str) -> Option<bool> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != Kind::Dev && dependency.name == other)
        .map(|dependency| dependency.optional)
        .reduce(|a, b| a && b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::samples::{dependency, package};

    #[test]
    fn the_highest_floor_comes_first_and_dev_dependencies_are_left_out() {
        let packages = [
            package("otlp", &[]),
            package("sampler", &[dependency("teleflow-otlp")]),
            package("exporter", &[dependency("teleflow-otlp").optional()]),
            package("testkit", &[dependency("teleflow-otlp")]),
            package("store", &[dependency("teleflow-testkit").dev(), dependency("bytes")]),
        ];
        let expected = "\
```mermaid
graph TD
    store
    exporter -.-> otlp
    sampler --> otlp
    otlp
```

A dotted arrow is a dependency that a feature brings.
";
        assert_eq!(render(&packages), expected);
    }

    #[test]
    fn the_graph_replaces_what_is_between_the_markers() {
        let document = format!("above\n{START}\nold\n{END}\nbelow\n");
        let written = with_graph(&document, "new\n").unwrap();
        assert_eq!(written, format!("above\n{START}\nnew\n{END}\nbelow\n"));
        assert_eq!(with_graph(&written, "new\n").unwrap(), written);
    }

    #[test]
    fn a_missing_marker_is_named() {
        let error = with_graph("text", "new").unwrap_err();
        assert_eq!(error.to_string(), format!("{DOCUMENT} has no line `{START}`"));
        let error = with_graph(START, "new").unwrap_err();
        assert_eq!(error.to_string(), format!("{DOCUMENT} has no line `{END}` below `{START}`"));
    }
}
