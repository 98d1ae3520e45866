//! `${env:NAME}` in values, as the Collector expands it.
//!
//! Expansion works on parsed scalars, never on the file's text: a variable cannot add a key, a
//! list or a comment, and keys are left alone.
//! A scalar that is one reference and nothing else takes the type that YAML gives to the value
//! (`${env:PORT:-4317}` is a number), whether or not it is quoted in the file; its text is kept as
//! well, so that a password of digits is still a password. A reference inside other text is text.
//! What a variable holds is not expanded again, and `$$` is a plain `$`.

use super::node::{Node, Shown, Value};
use super::report::{Position, Report};
use super::yaml::resolve_plain;

/// Looks up a variable.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands every scalar of the tree in place. References that cannot be expanded are reported.
pub(super) fn expand(node: &mut Node, env: Environment<'_>, report: &Report) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| expand(item, env, report)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| expand(node, env, report)),
        Value::Text(text) if text.contains('$') => match expand_text(text, env) {
            Ok(Expansion::Plain(text)) => node.value = Value::Text(text),
            Ok(Expansion::Mixed(text)) => {
                node.value = Value::Text(text.clone());
                node.expanded = Some(text);
            }
            Ok(Expansion::Whole(text)) => {
                node.value = resolve_plain(&text);
                node.expanded = Some(text);
            }
            Err(problem) => {
                problem.report(node.at, report);
                // Nothing is said about the value that is not there.
                node.value = Value::Null;
            }
        },
        _ => {}
    }
}

/// What became of a text.
enum Expansion {
    /// There was no reference in it.
    Plain(String),
    /// A reference was part of it.
    Mixed(String),
    /// It was one reference.
    Whole(String),
}

fn expand_text(text: &str, env: Environment<'_>) -> Result<Expansion, Problem> {
    if let Some(inside) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && !inside.contains('}')
    {
        return resolve(inside, env).map(Expansion::Whole);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut mixed = false;
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or(Problem::Unclosed)?;
            expanded.push_str(&resolve(&after[..end], env)?);
            mixed = true;
            rest = &after[end + 1..];
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    Ok(if mixed { Expansion::Mixed(expanded) } else { Expansion::Plain(expanded) })
}

/// Looks up what stands between the braces.
fn resolve(inside: &str, env: Environment<'_>) -> Result<String, Problem> {
    if inside.contains("${") {
        return Err(Problem::Nested);
    }
    let (name, default) = match inside.split_once(':') {
        None => (inside, None),
        Some(("env", reference)) => match reference.split_once(":-") {
            None => (reference, None),
            Some((name, default)) => (name, Some(default)),
        },
        Some((name, default)) if default.starts_with('-') && is_name(name) => {
            return Err(Problem::NoScheme { inside: inside.to_owned() });
        }
        Some((scheme, _)) => return Err(Problem::Scheme { scheme: scheme.to_owned() }),
    };
    if !is_name(name) {
        return Err(Problem::Name { name: name.to_owned() });
    }
    env(name)
        .or_else(|| default.map(str::to_owned))
        .ok_or_else(|| Problem::Unset { name: name.to_owned() })
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Why a reference cannot be expanded.
enum Problem {
    Unclosed,
    Nested,
    NoScheme { inside: String },
    Scheme { scheme: String },
    Name { name: String },
    Unset { name: String },
}

// === impl Problem ===

impl Problem {
    fn report(&self, at: Position, report: &Report) {
        let (message, hint) = match self {
            Self::Unclosed => {
                ("`${` is never closed".to_owned(), "write `$${` for a plain `${`".to_owned())
            }
            Self::Nested => (
                "a reference inside a reference is not supported in this version".to_owned(),
                "write one `${env:NAME:-default}`".to_owned(),
            ),
            Self::NoScheme { inside } => (
                format!("a default needs the scheme in {}", Shown(&format!("${{{inside}}}"))),
                format!("write {}", Shown(&format!("${{env:{inside}}}"))),
            ),
            Self::Scheme { scheme } => (
                format!("references of the scheme {} are not supported", Shown(scheme)),
                "known: env".to_owned(),
            ),
            Self::Name { name } => (
                format!("{} is not the name of an environment variable", Shown(name)),
                "letters, digits and `_`, the first not a digit".to_owned(),
            ),
            Self::Unset { name } => (
                format!("the environment variable {} is not set", Shown(name)),
                format!("set it, or give a default: `${{env:{name}:-default}}`"),
            ),
        };
        report.error_with_hint(at, message, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "HOST" => "collector",
            "PORT" => "4317",
            "ON" => "true",
            "EMPTY" => "",
            "HASH" => "a # b",
            "LIST" => "[1, 2]",
            "MONEY" => "$$ ${env:HOST}",
            "_x1" => "y",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expanded(text: &str) -> (Node, Result<(), String>) {
        let report = Report::new("f");
        let mut node = Node::new(Value::Text(text.to_owned()), Position { line: 7, column: 3 });
        expand(&mut node, &lookup, &report);
        (node, report.finish().map(drop).map_err(|errors| errors.to_string()))
    }

    #[track_caller]
    fn check(text: &str, value: Value, kept: Option<&str>) {
        let (node, result) = expanded(text);
        assert_eq!(result, Ok(()), "{text}");
        assert_eq!(node.value, value, "{text}");
        assert_eq!(node.expanded.as_deref(), kept, "{text}");
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn a_scalar_that_is_one_reference_takes_the_type_of_the_value_and_keeps_its_text() {
        check("${env:PORT}", Value::Integer(4317), Some("4317"));
        check("${PORT}", Value::Integer(4317), Some("4317"));
        check("${env:ON}", Value::Bool(true), Some("true"));
        check("${env:HOST}", text("collector"), Some("collector"));
        check("${env:EMPTY}", Value::Null, Some(""));
        check("${env:_x1}", text("y"), Some("y"));
    }

    #[test]
    fn the_default_stands_in_for_an_unset_variable_only() {
        check("${env:NO:-4317}", Value::Integer(4317), Some("4317"));
        check("${env:PORT:-1}", Value::Integer(4317), Some("4317"));
        check("${env:EMPTY:-1}", Value::Null, Some(""));
        check("${env:NO:-}", Value::Null, Some(""));
        check("${env:NO:-a:-b}", text("a:-b"), Some("a:-b"));
        check("${env:NO:-0xFF}", Value::Integer(255), Some("0xFF"));
    }

    #[test]
    fn inside_other_text_a_reference_is_text() {
        check("${env:HOST}:${env:PORT}", text("collector:4317"), Some("collector:4317"));
        check("1${env:PORT}", text("14317"), Some("14317"));
        check("${env:PORT}${env:PORT}", text("43174317"), Some("43174317"));
    }

    #[test]
    fn two_dollars_are_one_and_a_lone_one_is_itself() {
        check("$$", text("$"), None);
        check("$${env:PORT}", text("${env:PORT}"), None);
        check("$$${env:PORT}", text("$4317"), Some("$4317"));
        check("$PORT costs $5 or 5$", text("$PORT costs $5 or 5$"), None);
        check("100$$", text("100$"), None);
    }

    #[test]
    fn a_value_is_neither_yaml_nor_expanded_again() {
        check("${env:HASH}", text("a # b"), Some("a # b"));
        check("${env:LIST}", text("[1, 2]"), Some("[1, 2]"));
        check("${env:MONEY}", text("$$ ${env:HOST}"), Some("$$ ${env:HOST}"));
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        assert_eq!(expanded(text).1, Err(format!("f:7:3: {message}")), "{text}");
    }

    #[test]
    fn what_cannot_be_expanded_is_refused_by_name() {
        check_refused(
            "x ${env:NO} y",
            "the environment variable `NO` is not set; set it, or give a default: `${env:NO:-default}`",
        );
        check_refused(
            "${file:/etc/passwd}",
            "references of the scheme `file` are not supported; known: env",
        );
        check_refused(
            "${PORT:-1}",
            "a default needs the scheme in `${PORT:-1}`; write `${env:PORT:-1}`",
        );
        check_refused("${env:PORT", "`${` is never closed; write `$${` for a plain `${`");
        for name in ["", "1a", "a-b", "é", "A B"] {
            check_refused(
                &format!("${{env:{name}}}"),
                &format!(
                    "`{name}` is not the name of an environment variable; letters, digits and `_`, the first not a digit"
                ),
            );
        }
        for nested in ["${env:A:-${env:PORT}}", "${${env:A}}", "${env:${A}}x"] {
            check_refused(
                nested,
                "a reference inside a reference is not supported in this version; write one `${env:NAME:-default}`",
            );
        }
    }
}
