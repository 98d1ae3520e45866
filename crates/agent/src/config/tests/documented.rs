//! The manual says what the code does.

use super::super::later;
use super::super::node::{Node, Value};
use super::super::report::Report;
use super::super::{DEFAULT_GATEWAY, yaml};
use super::{FULL, parse};

const MANUAL: &str = include_str!("../../../../../docs/configuration.md");

/// Every key of a tree but those that the author of the file chooses.
fn keys(node: &Node, keys_found: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                if !key.name.contains('/') {
                    keys_found.push(key.name.clone());
                }
                if key.name != "headers" {
                    keys(node, keys_found);
                }
            }
        }
        Value::List(items) => items.iter().for_each(|item| keys(item, keys_found)),
        _ => {}
    }
}

#[test]
fn every_key_is_in_the_manual() {
    let tree = yaml::parse(FULL, &Report::new("f")).unwrap();
    let mut found = Vec::new();
    keys(&tree, &mut found);
    assert!(found.len() > 80, "{found:?}");
    found.retain(|key| !MANUAL.contains(&format!("`{key}`")));
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_name_that_is_not_supported_yet_is_in_the_manual() {
    for (place, names) in later::ALL {
        let names: Vec<_> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        let row = format!("| {place} | {} |", names.join(", "));
        assert!(MANUAL.lines().any(|line| line == row), "missing:\n{row}");
    }
}

#[test]
fn the_names_of_a_table_are_in_order_and_there_once() {
    for (place, names) in later::ALL {
        assert!(names.is_sorted_by(|(one, _), (next, _)| one < next), "{place}");
    }
}

#[test]
fn every_example_in_the_manual_is_accepted() {
    let blocks = MANUAL.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let files: Vec<_> = blocks.filter(|block| block.contains("service:")).collect();
    assert!(files.len() >= 2, "{}", files.len());
    for file in files {
        parse(file);
    }
}

#[test]
fn the_manual_shows_the_default_gateway() {
    let without_comments: String = DEFAULT_GATEWAY
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(MANUAL.contains(without_comments.trim()), "{without_comments}");
}
