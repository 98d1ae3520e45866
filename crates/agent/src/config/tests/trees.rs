//! What the YAML layer makes of text, without any section's rules.

use super::super::node::{Node, Value};
use super::super::report::Report;
use super::super::yaml::{self, MAX_BYTES, MAX_DEPTH, MAX_NODES};

fn tree(text: &str) -> Result<Node, String> {
    let report = Report::new("f");
    let node = yaml::parse(text, &report);
    match report.finish() {
        Ok(_) => Ok(node.expect("what has no tree has an error")),
        Err(errors) => Err(errors.to_string()),
    }
}

/// A tree in one line, each key and value with its place.
fn outline(node: &Node) -> String {
    let value = match &node.value {
        Value::List(items) => {
            format!("[{}]", items.iter().map(outline).collect::<Vec<_>>().join(" "))
        }
        Value::Map(entries) => {
            let entry = |(key, node): &(super::super::node::Key, Node)| {
                format!("{}@{}={}", key.name, key.at, outline(node))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
        }
        Value::Text(text) => format!("{text:?}"),
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
    };
    format!("{value}@{}", node.at)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(tree(text).map(|node| outline(&node)), Ok(expected.to_owned()), "{text}");
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    assert_eq!(tree(text).map(|node| outline(&node)), Err(expected.to_owned()), "{text}");
}

#[test]
fn every_value_knows_its_place() {
    check(
        "a: 1\nb:\n  - x\n  - {c: 2.5, d: }\n",
        "{a@1:1=1@1:4 b@2:1=[\"x\"@3:5 {c@4:6=2.5@4:9 d@4:14=null@4:15}@4:5]@3:3}@1:1",
    );
    check("\u{e9}: \u{e9}\n", "{\u{e9}@1:1=\"\u{e9}\"@1:4}@1:1");
    check("\u{feff}a: 1", "{a@1:1=1@1:4}@1:1");
    check("# only a comment\n", "null@1:1");
    check("", "null@1:1");
    check("---\na: 1\n...\n", "{a@2:1=1@2:4}@2:1");
}

#[test]
fn quotes_and_blocks_make_text_of_anything() {
    check("a: '1'\nb: \"true\"", "{a@1:1=\"1\"@1:4 b@2:1=\"true\"@2:4}@1:1");
    check("a: |\n  1\n", "{a@1:1=\"1\\n\"@2:3}@1:1");
    check("a: ! 1\nb: !!str 1", "{a@1:1=\"1\"@1:6 b@2:1=\"1\"@2:10}@1:1");
    check("a: !!int '5'\nb: !!float 5", "{a@1:1=5@1:10 b@2:1=5.0@2:12}@1:1");
}

#[test]
fn an_alias_has_the_place_of_its_anchor() {
    check(
        "a: &x {p: 1}\nb: *x\nc: [*x, *x]\n",
        "{a@1:1={p@1:8=1@1:11}@1:7 b@2:1={p@1:8=1@1:11}@1:7 \
         c@3:1=[{p@1:8=1@1:11}@1:7 {p@1:8=1@1:11}@1:7]@3:4}@1:1",
    );
    check("a: &x y\n*x : 1\n", "{a@1:1=\"y\"@1:7 y@2:1=1@2:6}@1:1");
    check("&x a: *x\n", "{a@1:4=\"a\"@1:4}@1:1");
}

#[test]
fn a_merge_adds_what_is_not_written() {
    check(
        "a: &x {p: 1, q: 1}\nb: {<<: *x, q: 2}\n",
        "{a@1:1={p@1:8=1@1:11 q@1:14=1@1:17}@1:7 b@2:1={q@2:13=2@2:16 p@1:8=1@1:11}@2:4}@1:1",
    );
    check("{<<: [{p: 1}, {p: 2, q: 2}]}", "{p@1:8=1@1:11 q@1:22=2@1:25}@1:1");
    check("'<<': 1", "{<<@1:1=1@1:7}@1:1");
}

#[test]
fn a_file_is_bounded_in_bytes() {
    let comment = "#".repeat(MAX_BYTES);
    check(&comment, "null@1:1");
    check_refused(&format!("{comment}#"), "f: is larger than 1048576 bytes");
}

#[test]
fn a_file_is_bounded_in_depth_whatever_its_style() {
    let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| {
        (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>()
    };
    for style in [&flow as &dyn Fn(usize) -> String, &block] {
        assert!(tree(&style(MAX_DEPTH)).is_ok());
        let error = tree(&style(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.ends_with("values nest deeper than 64 levels"), "{error}");
        assert!(tree(&style(10_000)).is_err());
    }
}

#[test]
fn aliases_do_not_get_around_the_depth() {
    let half = "[".repeat(MAX_DEPTH / 2) + &"]".repeat(MAX_DEPTH / 2);
    let fits = format!("a: &a {half}\nb: &b {}*a{}\n", "[".repeat(31), "]".repeat(31));
    assert!(tree(&fits).is_ok());
    check_refused(&format!("{fits}c: [*b]\n"), "f:3:5: values nest deeper than 64 levels");
}

#[test]
fn aliases_do_not_get_around_the_number_of_values() {
    let many = format!("[{}]", "1,".repeat(MAX_NODES - 1));
    assert!(tree(&many).is_ok());
    let more = format!("[{}]", "1,".repeat(MAX_NODES));
    assert!(tree(&more).unwrap_err().ends_with("the file has more than 100000 values"));
    // Ten times ten times .. as many values as there are lines.
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let error = tree(&bomb).unwrap_err();
    assert!(error.ends_with("the file has more than 100000 values"), "{error}");
}

#[test]
fn only_the_first_errors_are_shown_and_the_rest_counted() {
    let errors = tree(&"a: 1\n".repeat(100)).unwrap_err();
    assert_eq!(errors.lines().count(), 51);
    assert_eq!(errors.lines().last(), Some("and 49 more"));
}
