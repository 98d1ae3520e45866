//! `OTEL_EXPORTER_OTLP_HEADERS`: W3C Baggage, without the properties of its entries.

use super::source::{Source, Variable};
use crate::config;

/// Reads the entries that are some. A warning names an entry by its place, never by its text: a
/// token with `=` at its end looks like a name.
pub(super) fn parse(given: &Variable, source: &mut Source<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (index, entry) in given.value.split(',').enumerate() {
        let entry = entry.trim();
        // A comma at the end, or two of them, are nothing to speak of.
        if entry.is_empty() {
            continue;
        }
        match header(entry) {
            Ok((name, value)) => {
                headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
                headers.push((name, value));
            }
            Err(problem) => {
                let problem = format!("has an entry, number {}, that {problem}", index + 1);
                source.warn(given.name.clone(), problem);
            }
        }
    }
    headers
}

fn header(entry: &str) -> Result<(String, String), &'static str> {
    let (name, value) = entry.split_once('=').ok_or("is no name=value")?;
    let value = decoded(value.trim()).ok_or("has a `%` that begins no byte")?;
    let value = String::from_utf8(value).map_err(|_| "is not UTF-8")?;
    let header = [(name.trim().to_owned(), value)];
    match config::headers(&header) {
        Ok(_) => {
            let [header] = header;
            Ok(header)
        }
        Err(config::ConfigError::Header { problem, .. }) => Err(problem),
        Err(_) => Err("cannot be sent"),
    }
}

/// Undoes the percent-encoding; a plus is a plus.
fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut out = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push((digit()? << 4 | digit()?) as u8);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}
