//! A parsed file as a tree that knows where each value stands.

use std::fmt;

use super::report::Position;

/// How much of a value a message repeats.
const MAX_SHOWN: usize = 60;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Position,
    /// The scalar's text, if the environment had a part in it: what a reader of text wants even
    /// when the text looks like a number, and what no message may show.
    pub(super) expanded: Option<String>,
}

/// What YAML can say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, each key once.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: Position,
}

// === impl Node ===

impl Node {
    pub(super) fn new(value: Value, at: Position) -> Self {
        Self { value, at, expanded: None }
    }

    /// Says what the value is, for a message: "the number 5". Never shows what came from the
    /// environment, which is where secrets live.
    pub(super) fn describe(&self) -> String {
        if self.expanded.is_some() {
            return "a value from the environment".to_owned();
        }
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("{value}"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) if text.is_empty() => "empty text".to_owned(),
            Value::Text(text) => format!("{}", Shown(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Says of what kind the value is, where even the value in the file may be secret.
    pub(super) fn describe_kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl PartialEq for Node {
    /// Compares values, not places.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Text from a file as a message shows it: quoted, on one line, and not too much of it.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = if self.0.chars().nth(MAX_SHOWN).is_some() { ".." } else { "" };
        write!(f, "`{}{rest}`", printable(self.0))
    }
}

/// The beginning of a text, on one line.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::new();
    for character in text.chars().take(MAX_SHOWN) {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}
