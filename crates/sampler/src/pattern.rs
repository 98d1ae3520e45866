//! Regular expressions as Go has them.
//!
//! Both languages are RE2's, but for a few signs: in Go `\d`, `\w`, `\s` and `\b` are about ASCII
//! alone, `\Q...\E` quotes, `\101` is a number in base 8, a brace that repeats nothing is a brace, and
//! within brackets only `[:` opens anything and `-` subtracts nothing. A pattern is rewritten
//! accordingly.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// The most bytes that a compiled pattern may take.
const MAX_BYTES: usize = 1 << 20;

/// Compiles a pattern. The error is a sentence about it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(&rewrite(pattern)).size_limit(MAX_BYTES).build();
    compiled.map_err(|error| problem(&error, MAX_BYTES))
}

/// Compiles patterns that are matched together, and may take so many bytes. The error is a sentence
/// that names the pattern, where one is to blame.
pub(crate) fn compile_set(patterns: &[String], max_bytes: usize) -> Result<RegexSet, String> {
    let build = |patterns: &[String]| {
        let mut builder = RegexSetBuilder::new(patterns.iter().map(|pattern| rewrite(pattern)));
        builder.size_limit(max_bytes).build()
    };
    build(patterns).map_err(|error| {
        // Which one it is: the set does not tell.
        let bad = patterns.iter().find_map(|pattern| {
            let error = problem(&build(std::slice::from_ref(pattern)).err()?, max_bytes);
            Some(format!("the regular expression `{pattern}` cannot be used: {error}"))
        });
        bad.unwrap_or_else(|| {
            let error = problem(&error, max_bytes);
            format!("the regular expressions cannot be used together: {error}")
        })
    })
}

fn problem(error: &regex::Error, max_bytes: usize) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!("it would take more than {max_bytes} bytes"),
        // Several lines that show the pattern and the place in it, and then what is wrong.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
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
        '0'..='7' => octal(char, rest, out),
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
        'p' | 'P' => {
            out.extend(['\\', char]);
            out.extend(rest.next());
        }
        _ => out.extend(['\\', char]),
    }
}

/// A character by its number in base 8: `\\0` and up to two digits more, or another digit and one or
/// two more. One alone would be a group that was matched before, which there is not.
fn octal(first: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut number = first.to_digit(8).unwrap_or_default();
    let mut digits = 1;
    while digits < 3
        && let Some(digit) = rest.next_if(|char| char.is_digit(8)).and_then(|char| char.to_digit(8))
    {
        number = 8 * number + digit;
        digits += 1;
    }
    if first != '0' && digits == 1 {
        out.extend(['\\', first]);
    } else {
        out.push_str(&format!("\\x{{{number:x}}}"));
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
    // What is first closes nothing.
    let mut is_first = true;
    loop {
        match rest.peek() {
            None => return,
            Some(']') if !is_first => return out.extend(rest.next()),
            Some(_) => is_first = false,
        }
        if !item(rest, out) {
            continue;
        }
        // A sign between two stands for all between them, whatever sign the second is.
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|char| char != ']') {
            out.extend(rest.next());
            item(rest, out);
        }
    }
}

/// One of those between brackets. Tells whether it is a single sign, from which a range may go on.
fn item(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    match rest.next() {
        Some('\\') => {
            let is_class = rest.peek().is_some_and(|char| "dDwWsSpP".contains(*char));
            escape(rest, out, true);
            !is_class
        }
        Some('[') if rest.peek() == Some(&':') => {
            // A named class, to its own bracket.
            out.push('[');
            for char in rest.by_ref() {
                out.push(char);
                if char == ']' {
                    break;
                }
            }
            false
        }
        Some(char @ ('[' | ']' | '&' | '~' | '-')) => {
            out.extend(['\\', char]);
            true
        }
        other => {
            out.extend(other);
            true
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
            // What follows is what Go itself said.
            (r"^[+--]$", ",", true),
            (r"^[--/]$", ".", true),
            (r"^[--/]$", "-", true),
            (r"^[\d-z]$", "-", true),
            (r"^[\d-z]$", "z", true),
            (r"^[\d-z]$", "y", false),
            (r"^[a-]$", "-", true),
            (r"^[-a]$", "-", true),
            (r"^[a-c-e]$", "-", true),
            (r"^[a-c-e]$", "d", false),
            (r"^[]-a]$", "^", true),
            (r"^[^]-a]$", "b", true),
            (r"^[^]-a]$", "_", false),
            (r"^\101$", "A", true),
            (r"^\08$", "\u{0}8", true),
            (r"^\0$", "\u{0}", true),
            (r"^[\101-\103]$", "B", true),
            (r"^\1011$", "A1", true),
            (r"^\077$", "?", true),
            (r"^\12$", "\n", true),
            (r"^[[:word:]-]$", "-", true),
            (r"^[a~~b]$", "~", true),
            (r"^\pL+$", "ä", true),
            (r"^\PL$", "1", true),
            (r"^[\pL-]$", "-", true),
            (r"^[\pL-z]$", "-", true),
            (r"^\p{Greek}$", "α", true),
            (r"^\Qa-]\E]$", "a-]]", true),
            (r"^[\s\S]$", "\n", true),
            (r"^\s$", "\u{b}", false),
            (r"(?i)^[k]$", "\u{212a}", true),
            (r"^[^[:alpha:]x]$", "1", true),
            (r"^[a\]]$", "]", true),
            (r"^\_$", "_", true),
            (r"^[\x41-\x43]$", "B", true),
            (r"^.$", "\u{2028}", true),
            (r"^$", "\n", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
            let set = compile_set(&["x^".to_owned(), pattern.to_owned()], MAX_BYTES).unwrap();
            assert_eq!(set.is_match(text), expected, "{pattern} on {text}, with others");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_one_line() {
        for pattern in [
            "(",
            "a)",
            "[a",
            "*",
            "(?=a)",
            r"\1",
            r"a\",
            "x{1000}{1000}{1000}",
            r"\x{41",
            "[a--b]",
            r"\18",
        ] {
            let error = compile(pattern).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{pattern}: {error}");
            let together = compile_set(&["a".to_owned(), pattern.to_owned()], MAX_BYTES);
            let named = format!("the regular expression `{pattern}` cannot be used: {error}");
            assert_eq!(together.unwrap_err(), named);
        }
    }
}
