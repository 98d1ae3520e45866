//! A trace as a waterfall of text.
//!
//! What a sender says of its spans is not believed: parents may loop, ids may be there twice, and
//! names may hold what a terminal acts on. Every span is drawn once, and takes one line.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use teleflow::otlp::span::StatusCode;
use teleflow::store::StoredSpan;

/// How many characters wide the bars are.
const WIDTH: u64 = 40;

/// How many characters a name has, with what it is indented by.
const NAME: usize = 46;

/// How far spans are indented: deeper ones would have no place left for their name.
const MAX_INDENT: usize = 12;

/// How many spans are drawn: more than anybody reads.
const MAX_SPANS: usize = 500;

/// Draws a trace: children below their parents, bars on a common time line.
pub(crate) fn draw(spans: &[StoredSpan]) -> String {
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let total = end.saturating_sub(start).max(1);
    let mut out = String::new();
    for line in order(spans).into_iter().take(MAX_SPANS) {
        draw_span(&mut out, &spans[line.span], &line, start, total);
    }
    if let Some(more @ 1..) = spans.len().checked_sub(MAX_SPANS) {
        let _ = writeln!(out, "and {more} more spans");
    }
    out
}

#[derive(Clone, Copy)]
struct Line {
    span: usize,
    depth: usize,
    /// Its parent is below it: the one line of a loop where that shows.
    loops: bool,
}

/// Every span once: below its parent, where that is possible.
fn order(spans: &[StoredSpan]) -> Vec<Line> {
    // Of those that share an id, the first is the parent.
    let mut by_id = HashMap::new();
    for (at, span) in spans.iter().enumerate() {
        by_id.entry(&span.span_id).or_insert(at);
    }
    let parent = |span: &StoredSpan| by_id.get(span.parent_span_id.as_ref()?).copied();
    let parents: Vec<Option<usize>> = spans.iter().map(parent).collect();
    let mut children = vec![Vec::new(); spans.len()];
    for (at, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(at);
        }
    }
    let mut lines = Vec::with_capacity(spans.len());
    let mut drawn = vec![false; spans.len()];
    let mut draw_from = |from: usize, loops: bool, drawn: &mut Vec<bool>| {
        let mut next = vec![Line { span: from, depth: 0, loops }];
        while let Some(line) = next.pop() {
            if !std::mem::replace(&mut drawn[line.span], true) {
                lines.push(line);
                let below = |&span: &usize| Line { span, depth: line.depth + 1, loops: false };
                next.extend(children[line.span].iter().rev().map(below));
            }
        }
    };
    // A span whose parent is not here is drawn as a root.
    for root in (0..spans.len()).filter(|&at| parents[at].is_none()) {
        draw_from(root, false, &mut drawn);
    }
    // What no root leads to is a loop, or hangs on one: up to the loop, and down from there.
    for at in 0..spans.len() {
        if drawn[at] {
            continue;
        }
        let (mut top, mut passed) = (at, HashSet::new());
        while let Some(parent) = parents[top].filter(|_| passed.insert(top)) {
            top = parent;
        }
        draw_from(top, true, &mut drawn);
    }
    lines
}

fn draw_span(out: &mut String, span: &StoredSpan, line: &Line, start: u64, total: u64) {
    let from = scale(span.start.saturating_sub(start), total);
    let to = scale(span.end.saturating_sub(start), total).max(from + 1).min(WIDTH);
    let from = from.min(to - 1);
    let bar: String =
        (0..WIDTH).map(|at| if (from..to).contains(&at) { '█' } else { '·' }).collect();
    let indent = "  ".repeat(line.depth.min(MAX_INDENT));
    let name = indent.chars().chain(span.service_name.escape_debug());
    let name: String = name.chain([' ']).chain(span.name.escape_debug()).take(NAME).collect();
    let millis = span.end.saturating_sub(span.start) as f64 / 1e6;
    let error = if span.status == StatusCode::Error { "  error" } else { "" };
    let loops = if line.loops { "  (its parents loop)" } else { "" };
    let _ = writeln!(out, "{name:<NAME$} {bar} {millis:>9.2} ms{error}{loops}");
}

fn scale(nanos: u64, total: u64) -> u64 {
    (u128::from(nanos) * u128::from(WIDTH) / u128::from(total)) as u64
}

#[cfg(test)]
mod tests {
    use std::iter;

    use teleflow::exporter::Exporter;
    use teleflow::otlp::Writer;
    use teleflow::store::{Config, SqliteReader, SqliteStore};
    use teleflow::{Payload, Signal};

    use super::*;

    const TRACE: [u8; 16] = [7; 16];

    /// Spans as a store gives them back: id, parent (0 for none) and name, each later than the one
    /// before.
    async fn stored(service: &str, spans: &[(u64, u64, &str)]) -> Vec<StoredSpan> {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).message(1, |group| {
            group.message(1, |resource| resource.attribute(1, "service.name", service.into()));
            group.message(2, |scope| {
                for (number, (id, parent, name)) in spans.iter().enumerate() {
                    scope.message(2, |span| {
                        span.bytes(1, &TRACE);
                        span.bytes(2, &id.to_be_bytes());
                        if *parent != 0 {
                            span.bytes(4, &parent.to_be_bytes());
                        }
                        span.str(5, name);
                        span.fixed64(7, 1000 + number as u64);
                        span.fixed64(8, 1000 + spans.len() as u64);
                    });
                }
            });
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(Config { path: path.clone(), ..Config::default() }).unwrap();
        store.export(Payload::parse(Signal::Traces, bytes.into()).unwrap()).await.unwrap();
        store.shutdown().await.unwrap();
        SqliteReader::open(path).unwrap().trace(&"07".repeat(16)).unwrap()
    }

    /// What is drawn, without the bars: names with their indent, and what follows the duration.
    fn names(drawn: &str) -> Vec<String> {
        let cut = |line: &str| {
            let name: String = line.chars().take(NAME).collect();
            let (_, mark) = line.split_once(" ms").unwrap();
            format!("{}{mark}", name.trim_end())
        };
        drawn.lines().map(cut).collect()
    }

    #[tokio::test]
    async fn children_are_below_their_parents_and_orphans_are_roots() {
        let spans = [
            (1, 0, "root"),
            (2, 1, "a"),
            (3, 1, "b"),
            (4, 2, "aa"),
            (5, 99, "orphan"),
            (2, 3, "two"),
        ];
        let drawn = draw(&stored("shop", &spans).await);
        let expected =
            ["shop root", "  shop a", "    shop aa", "  shop b", "    shop two", "shop orphan"];
        assert_eq!(names(&drawn), expected);
        assert_eq!(draw(&[]), "");
    }

    #[tokio::test]
    async fn every_span_is_drawn_once_and_loops_are_marked() {
        // A span that is its own parent, a loop of three, and what hangs on it and starts first.
        let spans = [
            (9, 2, "hanging"),
            (1, 3, "one"),
            (2, 1, "two"),
            (3, 2, "three"),
            (4, 4, "self"),
            (5, 0, "root"),
        ];
        let drawn = draw(&stored("shop", &spans).await);
        let expected = [
            "shop root",
            "shop two  (its parents loop)",
            "  shop hanging",
            "  shop three",
            "    shop one",
            "shop self  (its parents loop)",
        ];
        assert_eq!(names(&drawn), expected);
        // Many of one id that are all their own parents: each would be below each other one.
        let tangle: Vec<_> = iter::repeat_n((1, 1, "x"), 60).collect();
        assert_eq!(draw(&stored("shop", &tangle).await).lines().count(), 60);
    }

    #[tokio::test]
    async fn deep_and_large_traces_are_bounded() {
        let deep: Vec<_> = (1..20_000).map(|id| (id, id - 1, "step")).collect();
        let drawn = draw(&stored("shop", &deep).await);
        assert_eq!(drawn.lines().count(), MAX_SPANS + 1);
        assert!(drawn.lines().all(|line| line.chars().count() < 120), "{drawn}");
        assert!(drawn.lines().nth(400).unwrap().contains("shop step"), "{drawn}");
        assert!(drawn.ends_with("and 19499 more spans\n"), "{drawn}");
    }

    #[tokio::test]
    async fn no_sender_can_write_to_the_terminal() {
        let names = "\u{1b}[2J\r\n\u{7}\u{9b}\u{202e}";
        let drawn = draw(&stored(names, &[(1, 0, names)]).await);
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!drawn.contains(acts), "{drawn:?}");
        assert_eq!(drawn.lines().count(), 1, "{drawn:?}");
        assert!(drawn.starts_with("\\u{1b}[2J\\r\\n"), "{drawn:?}");
    }
}
