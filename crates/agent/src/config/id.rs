//! What components are called: `type` or `type/name`.

use std::fmt;

/// A component's id, such as `otlp` or `otlp/internal`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Id {
    /// The type as it is written, which may be one of two names of the same component.
    pub(crate) kind: String,
    /// What tells several of a type apart.
    pub(crate) name: Option<String>,
}

// === impl Id ===

impl Id {
    /// Reads an id, or says what it must be.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, name) = match text.split_once('/') {
            None => (text, None),
            Some((kind, name)) => (kind, Some(name)),
        };
        let starts_with_letter = kind.starts_with(|first: char| first.is_ascii_alphabetic());
        let is_word = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !starts_with_letter || !is_word || kind.len() > 63 {
            return Err("be `type` or `type/name`, the type in letters, digits and `_`");
        }
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if name.is_some_and(|name| name.is_empty() || name.len() > 1024 || name.contains(odd)) {
            return Err("have a name without spaces after the `/`");
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_type_and_maybe_a_name() {
        for text in ["otlp", "otlp/2", "tail_sampling/a.b-c", "otlp/a/b"] {
            assert_eq!(Id::parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
        }
        let id = Id::parse("otlp/a/b").unwrap();
        assert_eq!((id.kind.as_str(), id.name.as_deref()), ("otlp", Some("a/b")));
    }

    #[test]
    fn an_odd_id_is_refused() {
        for text in ["", "/x", "1otlp", "ot lp", " otlp", "otlp-x", "\u{e9}", &"a".repeat(64)] {
            assert!(Id::parse(text).unwrap_err().starts_with("be `type`"), "{text}");
        }
        for text in ["otlp/", "otlp/ x", "otlp/a\u{7}", "otlp/\u{a0}"] {
            assert!(Id::parse(text).unwrap_err().starts_with("have a name"), "{text}");
        }
    }
}
