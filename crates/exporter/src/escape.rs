//! Text from strangers, made fit for a line of a terminal or a log.

use std::fmt::{self, Write as _};

/// Shows text without anything in it that a terminal would act on.
///
/// Control characters (line breaks and escape sequences are made of them) and those that reorder
/// the text around them are written as Rust escapes; the rest stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(acts_on_terminal) {
            f.write_str(&rest[..at])?;
            let mut chars = rest[at..].chars();
            for escaped in chars.next().into_iter().flat_map(char::escape_default) {
                f.write_char(escaped)?;
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether a terminal does more with it than to show it: line breaks and escape sequences are made
/// of control characters, and some others reorder the text around them.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out_and_the_rest_is_kept() {
        for (text, shown) in [
            ("GET /käse 🧀", "GET /käse 🧀"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("two\nlines\r\ttab", "two\\nlines\\r\\ttab"),
            ("\u{9b}31m c1", "\\u{9b}31m c1"),
            ("\u{202e}txt.exe\u{2069}", "\\u{202e}txt.exe\\u{2069}"),
            ("", ""),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
