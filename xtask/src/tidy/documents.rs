//! Links that lead somewhere, and an architecture that names every crate.

use std::path::{Component, Path, PathBuf};

use super::Finding;
use crate::graph;
use crate::workspace::Package;

/// Checks that the relative links of a Markdown file resolve; `exists` takes a path from the root.
pub fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    links(text)
        .into_iter()
        .filter(|(_, target)| is_relative(target))
        .filter(|(_, target)| !resolve(path, target).is_some_and(|target| exists(&target)))
        .map(|(line, target)| Finding::new(path, line, format!("`{target}` leads nowhere")))
        .collect()
}

/// Checks that `docs/architecture.md` names every crate and that its graph is current.
pub fn check_architecture(text: &str, packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    match graph::with_graph(text, &graph::render(packages)) {
        Ok(current) if current == text => {}
        Ok(_) => {
            let message = "the graph is out of date: run `cargo xtask graph`";
            findings.push(Finding::new(graph::DOCUMENT, 1, message));
        }
        Err(error) => findings.push(Finding::new(graph::DOCUMENT, 1, error.to_string())),
    }
    for package in packages.iter().filter(|package| package.is_crate()) {
        // The graph says `otlp`, so a crate that stands nowhere else is found missing.
        let names = [
            format!("`{}`", package.folder()),
            format!("`{}`", package.name),
            format!("`{}`", package.directory),
        ];
        if !names.iter().any(|name| text.contains(name)) {
            let message = format!("does not name the crate {}", names[0]);
            findings.push(Finding::new(graph::DOCUMENT, 1, message));
        }
    }
    findings
}

/// The targets of links and images, with their lines; code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut fence = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (None, None) => {
                links.extend(links_of_line(line).into_iter().map(|target| (index + 1, target)));
            }
            _ => {}
        }
    }
    links
}

fn links_of_line(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    if let Some((label, rest)) = line.split_once("]: ")
        && label.starts_with('[')
    {
        targets.extend(rest.split_whitespace().next());
    }
    // Every second part is between backticks.
    for prose in line.split('`').step_by(2) {
        for part in prose.split("](").skip(1) {
            let inside = part.split(')').next().unwrap_or_default();
            targets.extend(inside.split_whitespace().next());
        }
    }
    targets.into_iter().map(|target| target.trim_matches(['<', '>'])).collect()
}

/// Neither `https://...` nor `mailto:...` nor a heading of the same page.
fn is_relative(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    let has_scheme = scheme.is_some_and(|scheme| scheme.chars().all(char::is_alphanumeric));
    !target.is_empty() && !target.starts_with('#') && !has_scheme
}

/// The place in the tree that `target` means in the file `path`; `None` above the root.
fn resolve(path: &str, target: &str) -> Option<String> {
    let target = target.split(['#', '?']).next().unwrap_or_default();
    let mut place = PathBuf::new();
    if !target.starts_with('/') {
        place.extend(Path::new(path).parent());
    }
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => place.push(name),
            Component::ParentDir if !place.pop() => return None,
            _ => {}
        }
    }
    Some(place.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::samples::package;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let exists = |path: &str| ["docs/defaults.md", "crates/otlp", "README.md"].contains(&path);
        let findings: Vec<String> =
            check_links("docs/a.md", text, exists).iter().map(Finding::to_string).collect();
        assert_eq!(findings, expected);
    }

    #[test]
    fn relative_links_resolve() {
        check("[a](defaults.md) and [b](../crates/otlp/) ![c](../README.md#top \"d\")", &[]);
        check("x\n[a](missing.md)", &["docs/a.md:2: `missing.md` leads nowhere"]);
        check("[a](../defaults.md)", &["docs/a.md:1: `../defaults.md` leads nowhere"]);
        check("[a](../../up.md)", &["docs/a.md:1: `../../up.md` leads nowhere"]);
        check("[a][b]\n\n[b]: <missing.md>", &["docs/a.md:3: `missing.md` leads nowhere"]);
        check("[a](/README.md)", &[]);
    }

    #[test]
    fn other_links_and_code_are_left_alone() {
        check("[a](https://example.com) [b](#heading) [c](mailto:x@example.com)", &[]);
        check("`[a](missing.md)`\n\n```text\n[a](missing.md)\n```\n", &[]);
        check("```\n[a](x)\n```\n[a](missing.md)", &["docs/a.md:4: `missing.md` leads nowhere"]);
    }

    #[test]
    fn the_architecture_names_every_crate() {
        let packages = [package("otlp", &[]), package("batcher", &[])];
        let graph = graph::render(&packages);
        let text = format!("`otlp`\n<!-- graph:start -->\n{graph}<!-- graph:end -->\n");
        let findings = check_architecture(&text, &packages);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains("does not name the crate `batcher`"));

        let text = text.replace("`otlp`", "`otlp` and `teleflow-batcher`");
        assert_eq!(check_architecture(&text, &packages), []);
    }

    #[test]
    fn an_old_or_missing_graph_is_found() {
        let packages = [package("otlp", &[])];
        for (text, expected) in [
            ("`otlp`\n<!-- graph:start -->\nold\n<!-- graph:end -->\n", "out of date"),
            ("`otlp`\n", "has no line `<!-- graph:start -->`"),
        ] {
            let findings = check_architecture(text, &packages);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].message.contains(expected), "{findings:?}");
        }
    }
}
