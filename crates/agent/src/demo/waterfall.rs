//! A trace as a waterfall of text.

use std::fmt::Write as _;

use teleflow::otlp::span::StatusCode;
use teleflow::store::StoredSpan;

/// How many characters wide the bars are.
const WIDTH: u64 = 40;

/// Draws a trace: children below their parents, bars on a common time line.
pub(crate) fn draw(spans: &[StoredSpan]) -> String {
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let mut out = String::new();
    let is_child = |span: &StoredSpan| {
        span.parent_span_id.as_ref().is_some_and(|id| spans.iter().any(|s| s.span_id == *id))
    };
    // A span whose parent is not here is drawn as a root.
    for root in spans.iter().filter(|span| !is_child(span)) {
        // No trace is deeper than it has spans; a loop of parents has no root and is not drawn.
        below(&mut out, spans, root, 0, start, end.saturating_sub(start).max(1));
    }
    out
}

fn below(
    out: &mut String,
    spans: &[StoredSpan],
    span: &StoredSpan,
    depth: usize,
    start: u64,
    total: u64,
) {
    let from = scale(span.start.saturating_sub(start), total);
    let to = scale(span.end.saturating_sub(start), total).max(from + 1).min(WIDTH);
    let from = from.min(to - 1);
    let bar: String =
        (0..WIDTH).map(|at| if (from..to).contains(&at) { '█' } else { '·' }).collect();
    let name = format!("{}{} {}", "  ".repeat(depth), span.service_name, span.name.escape_debug());
    let name: String = name.chars().take(46).collect();
    let millis = span.end.saturating_sub(span.start) as f64 / 1e6;
    let mark = if span.status == StatusCode::Error { "  error" } else { "" };
    let _ = writeln!(out, "{name:<46} {bar} {millis:>9.2} ms{mark}");
    if depth >= spans.len() {
        return;
    }
    let is_child = |child: &&StoredSpan| child.parent_span_id.as_ref() == Some(&span.span_id);
    for child in spans.iter().filter(is_child) {
        below(out, spans, child, depth + 1, start, total);
    }
}

fn scale(nanos: u64, total: u64) -> u64 {
    (u128::from(nanos) * u128::from(WIDTH) / u128::from(total)) as u64
}
