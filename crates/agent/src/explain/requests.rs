//! Files of OTLP requests.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use hyper::body::Bytes;
use teleflow::Signal;
use teleflow::otlp::span::TailFields;
use teleflow::otlp::{json, tree, validate};

use crate::cli::TraceId;

/// More than anybody looks for a trace in.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// A request with spans of the trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) bytes: Bytes,
    /// How many of the trace it has.
    pub(super) spans: usize,
}

/// Reads a file, or the standard input where the path is `-`.
pub(super) fn read(path: &Path, trace: TraceId) -> anyhow::Result<Vec<Request>> {
    let name = if path == Path::new("-") {
        "the standard input".into()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let mut read = || -> io::Result<usize> {
        if path == Path::new("-") {
            io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes)
        } else {
            File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)
        }
    };
    read().with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{name} is larger than {} MiB", MAX_FILE >> 20);
    }
    let requests = parse(bytes).with_context(|| format!("{name} is no OTLP request"))?;
    Ok(having(requests, trace))
}

/// The requests with spans of a trace, and how many.
fn having(requests: Vec<Bytes>, TraceId(id): TraceId) -> Vec<Request> {
    let requests = requests.into_iter().map(|bytes| {
        let scopes = tree::resources(&bytes).flat_map(|group| group.scopes());
        let spans = scopes.flat_map(|scope| scope.items());
        let spans = spans.filter(|span| TailFields::read(span.message).trace_id == id).count();
        Request { bytes, spans }
    });
    requests.filter(|request| request.spans > 0).collect()
}

/// Protobuf, or JSON: one request, or one a line, as the Collector's file exporter writes them.
fn parse(bytes: Vec<u8>) -> anyhow::Result<Vec<Bytes>> {
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    // A request of protobuf may begin as JSON does; JSON is never one of protobuf.
    let Err(invalid) = validate(Signal::Traces, &bytes) else { return Ok(vec![bytes.into()]) };
    if begins != Some(&b'{') {
        return Err(invalid.into());
    }
    let whole = match from_json(&bytes) {
        Ok(request) => return Ok(vec![request]),
        Err(error) => error,
    };
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let requests = lines.map(|(at, line)| {
        from_json(line).with_context(|| format!("line {}", at + 1)).map_err(|error| (at, error))
    });
    match requests.collect() {
        Ok(requests) => Ok(requests),
        // Not one request a line, it seems: then it is the whole that is wrong.
        Err((0, _)) => Err(whole),
        Err((_, error)) => Err(error),
    }
}

fn from_json(text: &[u8]) -> anyhow::Result<Bytes> {
    // A digit and a comma can be eight bytes of protobuf.
    let limit = text.len().saturating_mul(8);
    Ok(json::to_protobuf(Signal::Traces, text, limit)?.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TraceId = TraceId(*b"abcdefghijklmnop");
    const PROTOBUF: &[u8] = b"\x0a\x16\x12\x14\x12\x12\x0a\x10abcdefghijklmnop";
    const JSON: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"6162636465666768696a6b6c6d6e6f70"}]}]}]}"#;
    const OTHER: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00112233445566778899aabbccddeeff"}]}]}]}"#;

    fn spans(bytes: impl Into<Vec<u8>>) -> Result<usize, String> {
        let requests = parse(bytes.into()).map_err(|error| format!("{error:#}"))?;
        Ok(having(requests, ID).iter().map(|request| request.spans).sum())
    }

    #[test]
    fn a_request_is_protobuf_or_json_or_json_line_by_line() {
        assert_eq!(spans(PROTOBUF), Ok(1));
        assert_eq!(spans([PROTOBUF, PROTOBUF].concat()), Ok(2), "as protobuf is merged");
        assert_eq!(spans(JSON), Ok(1));
        assert_eq!(spans(JSON.replace(':', ":\n")), Ok(1));
        assert_eq!(spans(format!("{JSON}\n\n{OTHER}\r\n{JSON}\n")), Ok(2));
        assert_eq!(spans(OTHER), Ok(0));
        assert_eq!(spans(""), Ok(0));
        // What is of another signal has no spans.
        assert_eq!(spans(r#"{"resourceLogs":[]}"#), Ok(0));
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_place() {
        let error = |text: &str| spans(text).unwrap_err();
        assert!(error("hello").contains("byte"), "{}", error("hello"));
        assert!(error("{\"resourceSpans\": 5}").contains("line 1"), "{}", error("{5}"));
        let lines = format!("{JSON}\n{{\"resourceSpans\": 5}}");
        assert!(error(&lines).starts_with("line 2: "), "{}", error(&lines));
    }
}
