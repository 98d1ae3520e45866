//! Regular expressions as Go has them.
//!
//! Both languages are RE2's, but for a few signs: in Go `\d`, `\w`, `\s` and `\b` are about ASCII
//! alone, `\Q...\E` quotes, a brace that repeats nothing is a brace, and within brackets only `[:`
//! opens anything. A pattern is rewritten accordingly.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// The most bytes that a compiled pattern may take.
const MAX_BYTES: usize = 1 << 20;

/// Compiles a pattern. The error is a sentence about it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&rewrite(pattern)).size_limit(MAX_BYTES).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => format!("it would take more than {MAX_BYTES} bytes"),
            // Several lines that show the pattern and the place in it, and then what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        },
    )
}

fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\\' => escape(&mut rest, &mut out, false),
            '[' => class(&mut rest, &mut out),
            '{' if !is_repetition(rest.clone()) => out.push_str("\\{"),
            _ => out.push(char),
        }
    }
    out
}

fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) {
    let Some(char) = rest.next() else {
        return out.push('\\');
    };
    match char {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'Q' if !in_class => quote(rest, out),
        // Here these stand for the beginning and the end of words.
        '<' | '>' => out.push(char),
        // The braces of these are no repetition.
        'x' | 'p' | 'P' if rest.peek() == Some(&'{') => {
            out.push('\\');
            out.push(char);
            for char in rest.by_ref() {
                out.push(char);
                if char == '}' {
                    break;
                }
            }
        }
        _ => {
            out.push('\\');
            out.push(char);
        }
    }
}

/// What is between `\Q` and `\E`, or the pattern's end, stands for itself.
fn quote(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let text: String = rest.clone().collect();
    let quoted = text.split_once("\\E").map_or(&*text, |(quoted, _)| quoted);
    out.push_str(&regex::escape(quoted));
    let ends = 2 * usize::from(quoted.len() < text.len());
    for _ in 0..quoted.chars().count() + ends {
        rest.next();
    }
}

/// What is between brackets. The opening one is read.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    out.extend(rest.next_if_eq(&'^'));
    // The first one closes nothing.
    if rest.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    while let Some(char) = rest.next() {
        match char {
            ']' => return out.push(']'),
            '\\' => escape(rest, out, true),
            '[' if rest.peek() == Some(&':') => {
                // A named class, to its own bracket.
                out.push('[');
                for char in rest.by_ref() {
                    out.push(char);
                    if char == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(char);
            }
            _ => out.push(char),
        }
    }
}

/// Whether what follows a brace is `3}`, `3,}` or `3,5}`.
fn is_repetition(mut rest: Peekable<Chars<'_>>) -> bool {
    let mut digits = || {
        let mut any = false;
        while rest.next_if(char::is_ascii_digit).is_some() {
            any = true;
        }
        (any, rest.next())
    };
    match digits() {
        (true, Some('}')) => true,
        (true, Some(',')) => digits().1 == Some('}'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases = [
            (r"^5\d\d$", "503", true),
            (r"^\d+$", "٣", false),
            (r"^\w+$", "ä", false),
            (r"^\W$", "ä", true),
            (r"^[\w.]+$", "a.b", true),
            (r"^[^\d]$", "7", false),
            (r"^\s$", "\u{a0}", false),
            (r"\bfoo\b", "äfoo", true),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b", "axb", false),
            (r"a{x}", "a{x}", true),
            (r"^a{2,3}$", "aa", true),
            (r"^a{2,}$", "a", false),
            (r"^a{,2}$", "a{,2}", true),
            (r"[[]", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "&a", true),
            (r"^[[:alpha:]_]+$", "a_", true),
            (r"^\<a\>$", "<a>", true),
            (r"^\x{41}\x42$", "AB", true),
            (r"(?i)ÄB", "äb", true),
            (r"^a.c$", "a\nc", false),
            (r"(?s)^a.c$", "a\nc", true),
            (r"a|b", "xb", true),
            (r"", "anything", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_one_line() {
        for pattern in
            ["(", "a)", "[a", "*", "(?=a)", r"\1", r"a\", "x{1000}{1000}{1000}", r"\x{41"]
        {
            let error = compile(pattern).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{pattern}: {error}");
        }
    }
}
