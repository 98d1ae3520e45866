//! Spans that are none, and conditions out of pieces.

use std::ops::ControlFlow;

use teleflow_sampler::SpanView;
use teleflow_sampler::ottl::Condition;
use teleflow_testkit::mangle::mangle;

use super::{request, sections, visit};

fn conditions(about: &str) -> Vec<Condition> {
    let read = if about == "span" { Condition::span } else { Condition::event };
    sections()
        .into_iter()
        .filter(|(head, _)| head[0] == about)
        .flat_map(|(_, cases)| cases)
        .map(|(_, text)| read(text).unwrap())
        .collect()
}

#[test]
fn damaged_spans_are_read_as_far_as_they_are_spans() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (spans, events) = (conditions("span"), conditions("event"));
    let request = request();
    let mut evaluated = 0;
    let _: ControlFlow<()> = visit(&request, |span| {
        for _ in 0..150 {
            let message = mangle(&mut rng, span.message).0;
            let resource = mangle(&mut rng, span.resource).0;
            let scope = mangle(&mut rng, span.scope).0;
            let view = SpanView { resource: &resource, scope: &scope, message: &message };
            for condition in &spans {
                evaluated += u64::from(condition.eval(&view, None).is_ok());
            }
            for event in view.events().take(3) {
                for condition in &events {
                    evaluated += u64::from(condition.eval(&view, Some(&event)).is_ok());
                }
            }
        }
        ControlFlow::Continue(())
    });
    assert!(evaluated > 10_000);
}

#[test]
fn texts_out_of_pieces_are_read_or_refused() {
    const PIECES: &[&str] = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ":",
        "=",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "+",
        "-",
        "*",
        "/",
        " ",
        "not ",
        " and ",
        " or ",
        "nil",
        "true",
        "false",
        "1",
        "2.5",
        "0x0a",
        "\"a\"",
        "\"",
        "\\",
        "name",
        "kind",
        "attributes",
        "[\"s\"]",
        "[0]",
        "span.",
        "resource.",
        "status.code",
        "start_time",
        "IsMatch(",
        "Len(",
        "Concat(",
        "IsRootSpan()",
        "Duration(\"1s\")",
        "SPAN_KIND_SERVER",
        "ä",
        "'",
        "target=",
        "_",
        "A",
        "events",
        "trace_state",
    ];
    let mut rng = fastrand::Rng::with_seed(11);
    let request = request();
    let mut read = 0;
    for _ in 0..40_000 {
        let text: String =
            (0..rng.usize(1..9)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect();
        for parsed in [Condition::span(&text), Condition::event(&text)] {
            match parsed {
                Ok(condition) => {
                    read += 1;
                    let _: ControlFlow<()> = visit(&request, |span| {
                        let event = span.events().next();
                        let _ = condition.eval(&span, event.as_ref());
                        ControlFlow::Continue(())
                    });
                }
                Err(error) => {
                    let end = text.chars().count() + 1;
                    assert!((1..=end).contains(&(error.column() as usize)), "{text}: {error}");
                }
            }
        }
    }
    assert!(read > 100, "only {read} were conditions");
}
