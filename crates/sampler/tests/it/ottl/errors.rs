//! What errors say.

use std::fmt::Write as _;

use teleflow_sampler::SpanView;
use teleflow_sampler::ottl::{Condition, MAX_BYTES};

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(Condition::span(text).unwrap_err().to_string(), expected);
}

#[track_caller]
fn check_event(text: &str, expected: &str) {
    assert_eq!(Condition::event(text).unwrap_err().to_string(), expected);
}

#[test]
fn an_error_has_a_place_and_names_what_is_there() {
    let error = Condition::span("näme == \"a\"").unwrap_err();
    assert_eq!((error.column(), error.found()), (2, "`ä`"));
    let error = Condition::span("name == \"ä\" AND kind == 2").unwrap_err();
    assert_eq!((error.column(), error.found()), (13, "`AND`"));
    assert_eq!(error.expected(), "`and`, `or` or the end");
    assert_eq!(error.hint(), Some("did you mean `and`?"));
}

#[test]
fn errors_say_what_would_be_right() {
    check("", "column 1: found the end, expected a path, a function or a value");
    check("name == ", "column 9: found the end, expected a path, a function or a value");
    check(
        "name = \"a\"",
        "column 6: found `=`, expected `and`, `or` or the end; did you mean `==`?",
    );
    check("(name = \"a\")", "column 7: found `=`, expected `)` or an operator; did you mean `==`?");
    check(
        "name == 'a'",
        "column 9: found `'`, expected a value, an operator or a parenthesis; texts are in double quotes",
    );
    check("name == \"a", "column 9: found `\"a`, expected a text that ends with a double quote");
    check(
        "IsMatch(name, \"\\d\")",
        "column 16: found `\\d`, expected an escape: \\\\, \\\", \\n, \\t, \\r, \\x41, \\u00e4; \
         in a regular expression write each backslash twice",
    );
    check(
        "attributes[\"a\"]",
        "column 1: found a path alone, expected a condition; compare it, with `== true` or `!= nil`",
    );
    check(
        "Len(name)",
        "column 1: found a function that does not answer yes or no, expected a condition; compare it",
    );
    check(
        "!IsRootSpan()",
        "column 1: found `!`, expected a value, an operator or a parenthesis; write `not`",
    );
    check(
        "kind == 2 && true",
        "column 11: found `&`, expected a value, an operator or a parenthesis; write `and`",
    );
    check(
        "\"a\" + \"b\" == \"ab\"",
        "column 1: found a text, expected a number, a path or a function to calculate with",
    );
    check(
        "(name == \"a\") == true",
        "column 15: found `==`, expected `and`, `or` or the end; only values are compared",
    );
    check("0x123 == 1", "column 1: found `0x123`, expected an even number of hexadecimal digits");
}

#[test]
fn what_is_misspelt_is_recognised() {
    let path = "expected a path of a span, its resource or scope";
    check(
        "attribute[\"a\"] == 1",
        &format!("column 1: found `attribute`, {path}; did you mean `attributes`?"),
    );
    check(
        "staus.code == 2",
        &format!("column 1: found `staus.code`, {path}; did you mean `status.code`?"),
    );
    check(
        "resuorce.attributes[\"a\"] == 1",
        &format!("column 1: found `resuorce.attributes`, {path}; did you mean `resource`?"),
    );
    check(
        "resource.atributes[\"a\"] == 1",
        &format!("column 1: found `resource.atributes`, {path}; did you mean `attributes`?"),
    );
    check(
        "attributes.http == 1",
        &format!("column 1: found `attributes.http`, {path}; did you mean `attributes[\"http\"]`?"),
    );
    check(
        "status == 2",
        &format!("column 1: found `status`, {path}; write `status.code` or `status.message`"),
    );
    check("nothing.like.it == 2", &format!("column 1: found `nothing.like.it`, {path}"));
    let function = "expected a function that can be used in conditions";
    check(
        "Ismatch(name, \"a\")",
        &format!("column 1: found `Ismatch`, {function}; did you mean `IsMatch`?"),
    );
    check(
        "HasPrefx(name, \"a\")",
        &format!("column 1: found `HasPrefx`, {function}; did you mean `HasPrefix`?"),
    );
    check("Unheard(name)", &format!("column 1: found `Unheard`, {function}"));
    check(
        "isMatch(name, \"a\")",
        "column 1: found `isMatch`, expected a function, whose names begin with a capital; did you mean `IsMatch`?",
    );
    check(
        "kind == SPAN_KIND_SERVR",
        "column 9: found `SPAN_KIND_SERVR`, expected a name such as `STATUS_CODE_ERROR`, or a function with `(`; \
         did you mean `SPAN_KIND_SERVER`?",
    );
    check(
        "IsMatch(name, patern=\"a\")",
        "column 22: found `patern`, expected a parameter of `IsMatch(target, pattern)`; did you mean `pattern`?",
    );
    check_event(
        "kind == 2",
        "column 1: found `kind`, expected a path of an event, its span, resource or scope; of the event's span it is `span.kind`",
    );
}

#[test]
fn what_ottl_has_beyond_is_named_as_such() {
    let function = "expected a function that can be used in conditions";
    let not_yet = "OTTL has this function, teleflow does not yet";
    for name in ["ParseJSON", "Split", "SHA1", "UUIDv7", "Now", "Murmur3Hash128"] {
        check(
            &format!("{name}(name) == 1"),
            &format!("column 1: found `{name}`, {function}; {not_yet}"),
        );
    }
    check(
        "IsMatch(name, attributes[\"a\"])",
        "column 15: found a pattern that is not written out, expected a regular expression in double quotes; \
         OTTL compiles patterns from spans while it runs; teleflow does not",
    );
    check(
        "attributes[name] == 1",
        "column 12: found `name`, expected a key in double quotes, or a whole number; \
         OTTL takes keys from spans, teleflow does not",
    );
    check(
        "attributes[\"a\"] == [\"a\"]",
        "column 20: found `[`, expected a single value; lists are for `ContainsValue` and `Concat`",
    );
    check(
        "attributes == {\"a\": 1}",
        "column 15: found `{`, expected a single value; OTTL has maps written out, teleflow does not",
    );
    check(
        "spanevent.name == \"a\"",
        "column 1: found `spanevent.name`, expected a path of a span; \
         write it as a condition about events: this one is about spans",
    );
    check_event(
        "IsRootSpan()",
        "column 1: found `IsRootSpan`, expected a function about events; it can only be asked of spans; \
         write `span.parent_span_id.string == \"0000000000000000\"`",
    );
}

#[test]
fn functions_say_what_they_take() {
    check(
        "IsMatch(name)",
        "column 1: found `IsMatch` with 1 argument, expected `IsMatch(target, pattern)`",
    );
    check("Len()  == 1", "column 1: found `Len` with no argument, expected `Len(target)`");
    check(
        "IsMatch(target=name, \"a\")",
        "column 22: found an argument without a name, expected a name, as those before it have one",
    );
    check(
        "IsMatch(target=name, target=name)",
        "column 29: found the same parameter again, expected each parameter of `IsMatch` once",
    );
    check("HasPrefix(name, 5)", "column 17: found a whole number, expected a text");
    check(
        "Duration(\"1d\") == 1",
        "column 10: found `1d`, expected a duration such as \"1m30s\" or \"250ms\"",
    );
    check(
        "trace_id == TraceID(0x01)",
        "column 21: found bytes, expected 16 bytes, as 0x and 32 hexadecimal digits; TraceID: it has the wrong length",
    );
    check(
        "IsMatch(name, \"(a\")",
        "column 15: found `(a`, expected a regular expression; unclosed group",
    );
    check(
        "IsMatch(name, \"x{1000}{1000}\")",
        "column 15: found `x{1000}{1000}`, expected a regular expression; it would take more than 1048576 bytes",
    );
}

#[test]
fn texts_are_bounded_in_length_and_depth() {
    let long = format!("name == \"{}\"", "a".repeat(MAX_BYTES));
    let error = Condition::span(&long).unwrap_err();
    assert_eq!(error.expected(), format!("no more than {MAX_BYTES}"));
    // What an error shows is no longer than it has to be.
    let error = Condition::span(&format!("{} == 1", "a".repeat(60_000))).unwrap_err();
    assert!(error.to_string().len() < 200);

    for (open, inner, close) in
        [("(", "true", ")"), ("(", "1", ") == 1"), ("Len(", "name", ")"), ("-(", "1", ")")]
    {
        let nested = |depth: usize| {
            let close = close.chars().next().map_or(String::new(), |c| c.to_string().repeat(depth));
            format!("{}{inner}{close}", open.repeat(depth))
        };
        let whole =
            |depth| if inner == "true" { nested(depth) } else { format!("{} == 1", nested(depth)) };
        assert!(Condition::span(&whole(64)).is_ok(), "{open}");
        let error = Condition::span(&whole(65)).unwrap_err();
        assert_eq!(error.expected(), "no more than 64 parentheses in each other", "{open}");
        // As much as there can be: it must not take the stack, nor all day.
        assert!(Condition::span(&whole(20_000)).is_err(), "{open}");
    }
}

#[test]
fn long_chains_take_no_stack() {
    let span = SpanView { resource: b"", scope: b"", message: b"" };
    let mut text = "true".to_owned();
    while text.len() < MAX_BYTES - 100 {
        write!(text, " and kind == 0 and (1 + 1 == 2 or kind == 1)").unwrap();
    }
    assert_eq!(Condition::span(&text).unwrap().eval(&span, None), Ok(true));
    let mut text = "kind".to_owned();
    while text.len() < MAX_BYTES - 100 {
        text.push_str(" + 1 - 1 * 1");
    }
    text.push_str(" == 0");
    assert_eq!(Condition::span(&text).unwrap().eval(&span, None), Ok(true));
}

#[test]
fn evaluation_errors_name_kinds_and_never_values() {
    // Span { name: "secret" }
    let span = SpanView { resource: b"", scope: b"", message: b"\x2a\x06secret" };
    let error =
        |text: &str| Condition::span(text).unwrap().eval(&span, None).unwrap_err().to_string();
    assert_eq!(
        error("true == false or Int(name) == 1"),
        "column 18: Int: the text cannot be read as that"
    );
    assert_eq!(
        error("HasPrefix(kind, \"a\")"),
        "column 1: HasPrefix wants a text, and this is a whole number"
    );
    assert_eq!(error("1 / kind == 1"), "column 3: divided by 0");
    assert_eq!(
        error("name + 1 == 1"),
        "column 6: + wants a number, a time or a duration, and this is a text"
    );
    assert_eq!(
        error("Bool(attributes[\"a\"])"),
        "column 1: a condition wants a truth value, and this is nil"
    );
    assert_eq!(error("IsMatch(start_time, \"a\")"), "column 1: a time cannot be written as text");
    let event = Condition::event("name == \"a\"").unwrap();
    let error = event.eval(&span, None).unwrap_err();
    assert_eq!(error.to_string(), "column 1: this is about an event, and there is none");
    assert_eq!(error.column(), 1);
}
