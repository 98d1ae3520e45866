//! The file as a whole: what is accepted with which values, and what is refused with which words.

mod accepted;
mod documented;
mod refused;
mod refused_components;
mod refused_exporters;
mod refused_service;
mod refused_yaml;
mod robust;
mod trees;

use super::{Config, Warning};

/// The smallest sections that make a file, for those that a test does not write.
const REST: [(&str, &str); 3] = [
    ("receivers:", "receivers: {otlp: {protocols: {grpc: }}}\n"),
    ("exporters:", "exporters: {debug: }\n"),
    ("service:", "service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n"),
];

/// Every key there is.
const FULL: &str = include_str!("tests/full.yaml");

/// `sections`, whose lines count from 1, and below them what they lack.
fn completed(sections: &str) -> String {
    let lacks = |name: &str| !sections.lines().any(|line| line.starts_with(name));
    let rest = REST.iter().filter(|(name, _)| lacks(name)).map(|(_, section)| *section);
    rest.fold(format!("{sections}\n"), |file, section| file + section)
}

fn no_env(_: &str) -> Option<String> {
    None
}

/// Parses what has to be right.
#[track_caller]
fn parse(text: &str) -> (Config, Vec<Warning>) {
    match Config::parse("f", text, &no_env) {
        Ok(parsed) => parsed,
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

/// The errors of what has to be wrong, one a line, without the file's name.
#[track_caller]
fn errors(text: &str) -> Vec<String> {
    match Config::parse("f", text, &no_env) {
        Ok(_) => panic!("was accepted:\n{text}"),
        Err(errors) => errors.to_string().lines().map(|line| line.replacen("f:", "", 1)).collect(),
    }
}

/// Checks that `sections` are refused with exactly these errors.
#[track_caller]
fn check_refused(sections: &str, expected: &[&str]) {
    let sections = dedented(sections);
    let errors = errors(&completed(&sections));
    assert_eq!(errors, expected, "{sections}\n{errors:#?}");
}

/// Text from an indented literal: without the line break it starts with and the margin it has.
fn dedented(literal: &str) -> String {
    let lines = || literal.trim_start_matches('\n').trim_end().lines();
    let margin = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let least = lines().filter(|line| !line.is_empty()).map(margin).min().unwrap_or(0);
    lines().map(|line| line.get(least..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
