//! A condition's text as tokens.

use super::error::{ParseError, quoted};

/// A word, a number, a text or a sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// As it is written.
    pub(super) text: &'t str,
    /// Where it begins: the number of the character, beginning with 1.
    pub(super) column: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Letters, digits and underscores, a letter first.
    Word,
    Int,
    Float,
    /// `0x` and hexadecimal digits.
    Bytes,
    /// In double quotes.
    Text,
    /// `==`, `!=`, `<`, `<=`, `>` or `>=`.
    Compare,
    /// `+`, `-`, `*` or `/`.
    Math,
    /// Any other sign: one character.
    Sign,
    End,
}

/// The tokens of a text, and one for its end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let (mut at, mut column) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, len) = match first {
            ' ' | '\t' | '\n' | '\r' | '\x0c' => {
                at += 1;
                column += 1;
                continue;
            }
            'a'..='z' | 'A'..='Z' => {
                (Kind::Word, run(rest, |c| c == b'_' || c.is_ascii_alphanumeric()))
            }
            '0'..='9' | '.' => number(rest),
            '"' => match quoted_len(rest) {
                Some(len) => (Kind::Text, len),
                None => {
                    return Err(ParseError::new(
                        column,
                        quoted(rest),
                        "a text that ends with a double quote",
                        None,
                    ));
                }
            },
            '=' | '!' | '<' | '>' if rest[1..].starts_with('=') => (Kind::Compare, 2),
            '<' | '>' => (Kind::Compare, 1),
            '+' | '-' | '*' | '/' => (Kind::Math, 1),
            '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '=' => (Kind::Sign, 1),
            other => {
                let hint = match other {
                    '\'' => Some("texts are in double quotes"),
                    '&' => Some("write `and`"),
                    '|' => Some("write `or`"),
                    '!' => Some("write `not`"),
                    _ => None,
                };
                return Err(ParseError::new(
                    column,
                    quoted(other.encode_utf8(&mut [0; 4])),
                    "a value, an operator or a parenthesis",
                    hint.map(str::to_owned),
                ));
            }
        };
        let token = &rest[..len];
        tokens.push(Token { kind, text: token, column });
        at += len;
        column += token.chars().count() as u32;
    }
    tokens.push(Token { kind: Kind::End, text: "", column });
    Ok(tokens)
}

fn run(text: &str, is: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is(*byte)).count()
}

/// `0x0a`, `1`, `1.`, `.5`, `1.5e-3`, or the dot of a path.
fn number(text: &str) -> (Kind, usize) {
    let digits = |from: usize| run(&text[from..], |c| c.is_ascii_digit());
    if let Some(hex) = text.strip_prefix("0x") {
        let len = run(hex, |c| c.is_ascii_hexdigit());
        if len > 0 {
            return (Kind::Bytes, 2 + len);
        }
    }
    let whole = digits(0);
    if !text[whole..].starts_with('.') {
        return (Kind::Int, whole);
    }
    let fraction = digits(whole + 1);
    if whole + fraction == 0 {
        return (Kind::Sign, 1);
    }
    let mut len = whole + 1 + fraction;
    if text[len..].starts_with(['e', 'E']) {
        let sign = usize::from(text[len + 1..].starts_with(['+', '-']));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    (Kind::Float, len)
}

/// How long a text in quotes is, with them.
fn quoted_len(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at + 1),
            // A backslash at a line's end escapes nothing.
            b'\\' if bytes.next().is_none_or(|(_, next)| next == b'\n') => return None,
            _ => {}
        }
    }
    None
}

/// What a text in quotes says: with the escapes of Go.
pub(super) fn unquote(token: Token<'_>) -> Result<String, ParseError> {
    // The lexer has seen both quotes.
    let inner = &token.text[1..token.text.len() - 1];
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let Some((char, len)) = escape(&rest[at + 1..]) else {
            let column =
                token.column + 1 + inner[..inner.len() - rest.len() + at].chars().count() as u32;
            let found = rest[at..].chars().take(2).collect::<String>();
            return Err(ParseError::new(
                column,
                quoted(&found),
                r#"an escape: \\, \", \n, \t, \r, \x41, \u00e4"#,
                r"in a regular expression write each backslash twice".to_owned(),
            ));
        };
        out.push(char);
        rest = &rest[at + 1 + len..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The character that an escape stands for, and how many bytes follow the backslash.
fn escape(text: &str) -> Option<(char, usize)> {
    let char = match text.bytes().next()? {
        b'a' => '\x07',
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'v' => '\x0b',
        b'\\' => '\\',
        b'"' => '"',
        b'x' => return coded(text, 1, 2, 16),
        b'u' => return coded(text, 1, 4, 16),
        b'U' => return coded(text, 1, 8, 16),
        b'0'..=b'7' => {
            return coded(text, 0, 3, 8).filter(|(char, _)| u32::from(*char) < 256);
        }
        _ => return None,
    };
    Some((char, 1))
}

fn coded(text: &str, from: usize, len: usize, radix: u32) -> Option<(char, usize)> {
    let digits = text.get(from..from + len)?;
    // `from_str_radix` would take a sign.
    if !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    Some((char::from_u32(code)?, from + len))
}
