//! The file as a whole: what is accepted with which values, and what is refused with which words.

mod accepted;
mod accepted_exporters;
mod accepted_samplers;
mod documented;
mod extensions;
mod refused;
mod refused_components;
mod refused_exporters;
mod refused_samplers;
mod refused_service;
mod refused_yaml;
mod robust;
mod shaped;
mod sockets;
mod trees;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroUsize;

use super::report::Position;
use super::{Address, Config, Endpoint, Id, Reference, Warning};

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

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn ids(texts: &[&str]) -> Vec<Id> {
    texts.iter().map(|text| id(text)).collect()
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint { host: host.to_owned(), port }
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp(endpoint(host, port))
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Checks one component of a file.
#[track_caller]
fn check<T: Debug + PartialEq>(components: &BTreeMap<Id, T>, name: &str, expected: T) {
    assert_eq!(components.get(&id(name)), Some(&expected));
}

/// What compares equal to a reference to this id.
fn reference(name: &str) -> Reference {
    Reference { id: id(name), path: String::new(), at: Position::default() }
}
