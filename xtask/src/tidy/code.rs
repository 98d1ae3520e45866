//! A source file without its comments and strings.

/// Blanks what is in comments and in string and character literals.
///
/// Lines and columns stay, so that a finding in the result is at the same place in the source.
/// Macros are not expanded and nothing is parsed: the rules look for words.
pub fn mask(source: &str) -> String {
    let mut mask = Mask { chars: source.chars().collect(), at: 0, out: String::new() };
    while let Some(char) = mask.peek(0) {
        match char {
            '/' if mask.peek(1) == Some('/') => mask.blank_until(|mask| mask.peek(0) == Some('\n')),
            '/' if mask.peek(1) == Some('*') => mask.block_comment(),
            '"' => mask.string(),
            'r' if mask.starts_raw_string() => mask.raw_string(),
            '\'' if mask.starts_character() => mask.character(),
            _ => mask.keep(),
        }
    }
    mask.out
}

struct Mask {
    chars: Vec<char>,
    at: usize,
    out: String,
}

// === impl Mask ===

impl Mask {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn keep(&mut self) {
        self.out.extend(self.peek(0));
        self.at += 1;
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count {
            let blank = self.peek(0).map(|char| if char == '\n' { '\n' } else { ' ' });
            self.out.extend(blank);
            self.at += 1;
        }
    }

    fn blank_until(&mut self, end: impl Fn(&Self) -> bool) {
        while self.peek(0).is_some() && !end(self) {
            self.blank(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.blank(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.blank(2);
                    if depth == 0 {
                        return;
                    }
                }
                (Some(_), _) => self.blank(1),
                (None, _) => return,
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while let Some(char) = self.peek(0) {
            match char {
                '\\' => self.blank(2),
                '"' => return self.keep(),
                _ => self.blank(1),
            }
        }
    }

    /// `r"` or `r#"`, also after `b` or `c`; neither `r#name` nor a name that ends in `r`.
    fn starts_raw_string(&self) -> bool {
        let quote = (1..).find(|&ahead| self.peek(ahead) != Some('#')).unwrap_or_default();
        let before = |back: usize| self.at.checked_sub(back).map(|index| self.chars[index]);
        let in_name = |char: Option<char>| char.is_some_and(is_name);
        let prefixed = matches!(before(1), Some('b' | 'c')) && !in_name(before(2));
        self.peek(quote) == Some('"') && (prefixed || !in_name(before(1)))
    }

    fn raw_string(&mut self) {
        self.keep();
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            self.keep();
            hashes += 1;
        }
        self.keep();
        self.blank_until(|mask| {
            mask.peek(0) == Some('"') && (1..=hashes).all(|ahead| mask.peek(ahead) == Some('#'))
        });
        for _ in 0..=hashes {
            self.keep();
        }
    }

    /// `'x'` or `'\n'`, and not the lifetime `'x`.
    fn starts_character(&self) -> bool {
        self.peek(1) == Some('\\') || self.peek(2) == Some('\'')
    }

    fn character(&mut self) {
        self.keep();
        // An escaped quote does not end the literal.
        let escaped = if self.peek(0) == Some('\\') { 2 } else { 1 };
        self.blank(escaped);
        self.blank_until(|mask| mask.peek(0) == Some('\''));
        self.keep();
    }
}

pub fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(mask(source), expected);
    }

    #[test]
    fn comments_are_blanked() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d\n */ e", "a               \n    e");
        check("/// doc \"\nb", "         \nb");
    }

    #[test]
    fn literals_are_blanked() {
        check(r#"f("a // b") // c"#, r#"f("      ")     "#);
        check(r#"("\"x", "\\") y"#, r#"("   ", "  ") y"#);
        check(r##"r#"a "b" c"# d"##, r##"r#"       "# d"##);
        check(r#"br"a\" b"ab""#, r#"br"  " b"  ""#);
        check(r"['a', '\'', '\u{1F600}', '\\'] b", r"[' ', '  ', '         ', '  '] b");
    }

    #[test]
    fn names_and_lifetimes_stay() {
        check("fn f<'a>(x: &'a str, r: r#type) {}", "fn f<'a>(x: &'a str, r: r#type) {}");
        check(r#"for"x""#, r#"for" ""#);
    }

    #[test]
    fn unfinished_source_ends() {
        for source in ["\"a", "/* a", "r#\"a", "'\\", "'", "r#", "//", "r"] {
            assert_eq!(mask(source).chars().count(), source.chars().count(), "{source}");
        }
    }
}
