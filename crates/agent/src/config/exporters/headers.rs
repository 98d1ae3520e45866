//! `headers`: what is sent along with each request.

use std::collections::BTreeSet;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::secret::Secret;

/// Headers that the exporter itself sets.
const OURS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// Reads `headers`: a mapping, or, as in newer Collectors, a list of `name` and `value`. Names come
/// out in lower case, each once, values as ASCII text.
pub(super) fn read(keys: &mut Keys<'_>) -> Vec<(String, Secret)> {
    let Some(at) = keys.value("headers") else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut headers = Vec::new();
    let mut take = |name: &str, value: &At<'_>, at: &At<'_>| {
        let name = name.to_ascii_lowercase();
        if let Some(problem) = name_problem(&name) {
            at.report.error(at.name_at(), format!("{} {problem}", at.path()));
        } else if !seen.insert(name.clone()) {
            let message = format!("{} is a second header of that name", at.path());
            at.report.error_with_hint(at.name_at(), message, "upper and lower case are the same");
        } else if let Some(text) = read_value(value) {
            headers.push((name, Secret::new(text)));
        }
    };
    if at.is_list() {
        for item in at.items() {
            if !item.is_map() {
                item.refuse_secret("be a mapping of `name` and `value`");
                continue;
            }
            item.section(later::NONE, |keys| {
                let name = keys.require("name").and_then(|at| at.text());
                let value = keys.require("value");
                if let (Some(name), Some(value)) = (name, value) {
                    take(name, &value, &item);
                }
            });
        }
    } else if at.is_map() {
        for (key, value) in at.entries() {
            take(&key.name, &value, &value);
        }
    } else {
        at.refuse_secret("be a mapping of names to values");
    }
    headers
}

/// Why a header cannot be sent, by its name in lower case.
pub(in super::super) fn name_problem(name: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        Some("is not the name of a header")
    } else if OURS.contains(&name) || name.starts_with("grpc-") {
        Some("is a header that the exporter sets itself")
    } else if name.ends_with("-bin") {
        Some("is a binary header, which is not supported in this version")
    } else {
        None
    }
}

/// Never repeats the value: it may be a token.
fn read_value(at: &At<'_>) -> Option<String> {
    if at.is_null() {
        return Some(String::new());
    }
    let text = at.secret_text()?;
    if text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
        return Some(text.to_owned());
    }
    let message = format!("{} must be one line of ASCII text", at.path());
    at.report.error(at.value_at(), message);
    None
}
