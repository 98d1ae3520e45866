//! Finishes a mapping: each key once, and what `<<` brings in.

use std::collections::BTreeMap;

use super::super::node::{Key, Node, Shown, Value};
use super::super::report::Report;

/// Reports keys that are there twice, then adds what the merged mappings have and `entries` has
/// not: what is written beats what is merged, and an earlier merge beats a later one.
pub(super) fn merge(
    entries: Vec<(Key, Node)>,
    merges: Vec<Node>,
    report: &Report,
) -> Vec<(Key, Node)> {
    let mut seen = BTreeMap::new();
    let mut merged = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        if let Some(first) = seen.get(&key.name) {
            let message = format!("duplicate key {}", Shown(&key.name));
            report.error_with_hint(key.at, message, format!("it is already at {first}"));
            continue;
        }
        seen.insert(key.name.clone(), key.at);
        merged.push((key, node));
    }
    for (key, node) in sources(merges, report).into_iter().flatten() {
        if !seen.contains_key(&key.name) {
            seen.insert(key.name.clone(), key.at);
            merged.push((key, node));
        }
    }
    merged
}

/// The mappings behind the values of `<<`, each of which is a mapping or a list of mappings.
fn sources(merges: Vec<Node>, report: &Report) -> Vec<Vec<(Key, Node)>> {
    let mut sources = Vec::new();
    let mut take = |node: Node| match node.value {
        Value::Map(entries) => sources.push(entries),
        _ => report.error(
            node.at,
            format!("`<<` must be a mapping or a list of mappings, got {}", node.describe()),
        ),
    };
    for node in merges {
        match node.value {
            Value::List(items) => items.into_iter().for_each(&mut take),
            _ => take(node),
        }
    }
    sources
}
