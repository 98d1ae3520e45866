//! Conditions in OTTL: what they are on spans, and what is said about those that are none.
//!
//! `cases.txt` and `spans.json` are data, so that the Collector can be asked the same.

use std::ops::ControlFlow;

use teleflow_otlp::span::Event;
use teleflow_otlp::{Signal, json, tree};
use teleflow_sampler::SpanView;
use teleflow_sampler::ottl::Condition;

mod errors;
mod mangled;

const SPANS: &str = include_str!("ottl/spans.json");
const CASES: &str = include_str!("ottl/cases.txt");

/// The words of a section's head, and verdict and condition of each line below.
type Section = (Vec<&'static str>, Vec<(&'static str, &'static str)>);

/// The spans that the cases are about, as protobuf.
fn request() -> Vec<u8> {
    json::to_protobuf(Signal::Traces, SPANS.as_bytes(), usize::MAX).unwrap().0
}

/// Shows each span of a request, until one is answered with a break.
fn visit<T>(request: &[u8], mut see: impl FnMut(SpanView<'_>) -> ControlFlow<T>) -> ControlFlow<T> {
    for group in tree::resources(request) {
        let mut resource = Vec::new();
        group.envelope(&mut resource);
        for group in group.scopes() {
            let mut scope = Vec::new();
            group.envelope(&mut scope);
            for item in group.items() {
                see(SpanView { resource: &resource, scope: &scope, message: item.message })?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// What an expression is on a span: `true`, `false`, `error`, or that it is refused.
fn answer(condition: &str, span: &SpanView<'_>, event: Option<&Event<'_>>) -> &'static str {
    let parsed = match event {
        Some(_) => Condition::event(condition),
        None => Condition::span(condition),
    };
    match parsed.map(|condition| condition.eval(span, event)) {
        Ok(Ok(true)) => "true",
        Ok(Ok(false)) => "false",
        Ok(Err(_)) => "error",
        Err(_) => "refused",
    }
}

/// Sections of the cases: their heads, and the lines below.
fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if ["span ", "event ", "refused"].iter().any(|head| line.starts_with(head)) {
            sections.push((line.split_whitespace().collect(), Vec::new()));
        } else {
            let (verdict, condition) = line.split_at(7);
            sections.last_mut().unwrap().1.push((verdict.trim_end(), condition));
        }
    }
    sections
}

#[test]
fn conditions_are_what_they_are_in_the_collector() {
    let request = request();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (head, cases) in sections() {
        let (name, event) = match head[..] {
            ["span", name] => (name, None),
            ["event", name, index] => (name, Some(index.parse::<usize>().unwrap())),
            _ => continue,
        };
        let found = visit(&request, |span| {
            if span.span().name != name {
                return ControlFlow::Continue(());
            }
            let event = event.map(|index| span.events().nth(index).unwrap());
            for (expected, condition) in &cases {
                count += 1;
                let is = answer(condition, &span, event.as_ref());
                if is != *expected {
                    wrong.push(format!("{condition}: {is}, not {expected}"));
                }
            }
            ControlFlow::Break(())
        });
        assert!(found.is_break(), "no span {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 450, "only {count} cases were read");
}

#[test]
fn what_is_no_condition_is_refused_with_a_place() {
    let mut wrong = Vec::new();
    for (head, cases) in sections() {
        let read = match head[..] {
            ["refused"] | ["refused", "here"] => Condition::span,
            ["refused", "about", "events"] => Condition::event,
            _ => continue,
        };
        for (_, text) in cases {
            match read(text) {
                Ok(_) => wrong.push(format!("{text}: accepted")),
                Err(error) if error.column() as usize > text.chars().count() + 1 => {
                    wrong.push(format!("{text}: {error}"));
                }
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_condition_keeps_its_text_and_can_be_shared() {
    fn is_shareable<T: Clone + Send + Sync + 'static>(_: &T) {}

    let text = "  name == \"a\"\nor kind == 2 ";
    let condition = Condition::span(text).unwrap();
    is_shareable(&condition);
    assert_eq!((condition.to_string(), condition.as_str()), (text.to_owned(), text));
    assert!(!condition.is_about_events());
    let message = b"\x30\x02";
    let span = SpanView { resource: b"", scope: b"", message };
    let shared = condition.clone();
    assert_eq!(shared.eval(&span, None), Ok(true));
    drop(shared);
    assert!(format!("{condition:?}").contains("kind == 2"));
    assert!(Condition::event("name == \"a\"").unwrap().is_about_events());
}

#[test]
fn every_printed_condition_reads_as_itself() {
    let request = request();
    let _: ControlFlow<()> = visit(&request, |span| {
        for (head, cases) in sections() {
            if head[0] != "span" {
                continue;
            }
            for (_, text) in cases {
                let condition = Condition::span(text).unwrap();
                let again = Condition::span(&condition.to_string()).unwrap();
                assert_eq!(condition.eval(&span, None), again.eval(&span, None), "{text}");
                // Space between the parts says nothing.
                let spaced = Condition::span(&format!("\n\t ( {text} ) \r\n")).unwrap();
                let (plain, spaced) = (condition.eval(&span, None), spaced.eval(&span, None));
                assert_eq!(plain.map_err(|_| ()), spaced.map_err(|_| ()), "{text}");
            }
        }
        ControlFlow::Continue(())
    });
}
