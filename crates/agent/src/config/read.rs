//! Typed reading of a tree: every reader knows where it is, and says so when it refuses.
//!
//! Readers do not stop at an error. They report it and go on with the default, so that one run
//! shows every error; the result is thrown away if there was any.
//! `null` (a key without a value) means "not written", as it does for the Collector.

mod scalar;

use super::later::Later;
use super::node::{Key, Node, Shown, Value, printable};
use super::report::{Place, Position, Report};
use super::suggest::closest;

/// A value, and how one gets there.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    /// The keys from the top, joined by dots; empty at the top.
    path: String,
    /// Where its key stands, or itself if it has none.
    name_at: Position,
    node: &'a Node,
    pub(super) report: &'a Report,
}

/// The keys of a mapping while it is read: what is asked for is known, the rest is refused.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    at: At<'a>,
    entries: &'a [(Key, Node)],
    known: Vec<&'static str>,
    /// Whether it was no mapping at all, which has been said.
    refused: bool,
}

// === impl At ===

impl<'a> At<'a> {
    /// The top of a file.
    pub(super) fn top(node: &'a Node, report: &'a Report) -> Self {
        Self { path: String::new(), name_at: node.at, node, report }
    }

    /// The path of the value, for messages.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where the value's key stands.
    pub(super) fn name_at(&self) -> Position {
        self.name_at
    }

    /// Where the value stands.
    pub(super) fn value_at(&self) -> Position {
        self.node.at
    }

    /// Where the value stands, to be kept beside what is read.
    pub(super) fn place(&self) -> Place {
        Place(self.node.at)
    }

    /// The value as a message shows it.
    pub(super) fn describe(&self) -> String {
        self.node.describe()
    }

    /// Refuses the value: `must` continues "processors.batch.timeout must ..".
    pub(super) fn refuse(&self, must: &str, hint: Option<String>) {
        self.refuse_but_say(must, &format!("got {}", self.node.describe()), hint);
    }

    /// Refuses the value without repeating it.
    pub(super) fn refuse_secret(&self, must: &str) {
        self.refuse_but_say(must, &format!("got {}", self.node.describe_kind()), None);
    }

    /// Refuses an endpoint, which may have credentials in it.
    pub(super) fn refuse_endpoint(&self, must: &str, hint: String) {
        let got = match &self.node.value {
            Value::Text(text) if text.contains('@') => self.node.describe_kind().to_owned(),
            _ => self.node.describe(),
        };
        self.refuse_but_say(must, &format!("got {got}"), Some(hint));
    }

    /// Refuses an empty list or mapping.
    pub(super) fn refuse_empty(&self, what: &str) {
        let message = format!("{} must have at least one {what}", self.path);
        self.report.error(self.node.at, message);
    }

    fn refuse_but_say(&self, must: &str, got: &str, hint: Option<String>) {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        let message = format!("{path} must {must}, {got}");
        match hint {
            Some(hint) => self.report.error_with_hint(self.node.at, message, hint),
            None => self.report.error(self.node.at, message),
        }
    }

    /// Reads a mapping: `read` asks for its keys, what it did not ask for is unknown, or not
    /// supported yet if `later` has it.
    pub(super) fn section<T>(&self, later: Later, read: impl FnOnce(&mut Keys<'a>) -> T) -> T {
        let (entries, refused) = match &self.node.value {
            Value::Map(entries) => (entries.as_slice(), false),
            Value::Null => (&[][..], false),
            _ => {
                self.refuse("be a mapping", None);
                (&[][..], true)
            }
        };
        let mut keys = Keys { at: self.clone(), entries, known: Vec::new(), refused };
        let value = read(&mut keys);
        keys.finish(later);
        value
    }

    /// Reads a mapping whose keys are names of the author's choice.
    pub(super) fn entries(&self) -> Vec<(&'a Key, Self)> {
        match &self.node.value {
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| (key, self.child(key, node))).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.refuse("be a mapping", None);
                Vec::new()
            }
        }
    }

    /// Whether this is a list; for keys that may be a list or a mapping, and for empty ones.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether this is a mapping.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Reads a list.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::List(items) => {
                items.iter().enumerate().map(|(i, node)| self.item(i, node)).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.refuse("be a list", Some("write it as `[a, b]`".to_owned()));
                Vec::new()
            }
        }
    }

    /// Whether there is nothing here, as if the key were not written.
    pub(super) fn is_null(&self) -> bool {
        self.node.value == Value::Null && self.node.expanded.is_none()
    }

    /// Reports that the key `name` of this mapping has to be there.
    pub(super) fn missing(&self, name: &str) {
        self.report.error(self.name_at, format!("missing key `{name}` {}", in_section(&self.path)));
    }

    /// The value under `key` of this mapping.
    pub(super) fn child(&self, key: &Key, node: &'a Node) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, printable(&key.name));
        At { path, name_at: key.at, node, report: self.report }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        At { path: format!("{}[{index}]", self.path), name_at: node.at, node, report: self.report }
    }
}

// === impl Keys ===

impl<'a> Keys<'a> {
    /// The mapping itself.
    pub(super) fn at(&self) -> &At<'a> {
        &self.at
    }

    /// The value under `name`, if it is written; it may still be null.
    pub(super) fn find(&mut self, name: &'static str) -> Option<At<'a>> {
        self.known.push(name);
        let (key, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        Some(self.at.child(key, node))
    }

    /// The value under `name`, if it is written and not null.
    pub(super) fn value(&mut self, name: &'static str) -> Option<At<'a>> {
        self.find(name).filter(|at| !at.is_null())
    }

    /// The value under `name`, which has to be there.
    pub(super) fn require(&mut self, name: &'static str) -> Option<At<'a>> {
        let value = self.value(name);
        if value.is_none() && !self.refused {
            self.at.missing(name);
        }
        value
    }

    /// Whether `name` is written and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        let written = self.entries.iter().find(|(key, _)| key.name == name);
        written.is_some_and(|(_, node)| node.value != Value::Null || node.expanded.is_some())
    }

    /// Whether it was no mapping, or is not written: nothing is missing then.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// A truth value, which is false where it is not written.
    pub(super) fn truth(&mut self, name: &'static str) -> bool {
        self.value(name).and_then(|at| at.truth()).unwrap_or(false)
    }

    /// Refuses no unknown key any more, where what is known hangs on what was refused already.
    pub(super) fn forgive(&mut self) {
        self.entries = &[];
        self.refused = true;
    }

    /// The keys of a mapping that is not written.
    pub(super) fn nothing(&self) -> Self {
        Keys { at: self.at.clone(), entries: &[], known: Vec::new(), refused: true }
    }

    /// Reports every key that no one asked for.
    fn finish(self, later: Later) {
        let mut known = self.known;
        known.sort_unstable();
        known.dedup();
        for (key, _) in self.entries {
            if !known.contains(&key.name.as_str()) {
                unknown(self.at.report, key, "key", &in_section(&self.at.path), &known, later);
            }
        }
    }
}

/// Reports a key that is not known, or not supported yet, with what is known.
pub(super) fn unknown(
    report: &Report,
    key: &Key,
    what: &str,
    place: &str,
    known: &[&str],
    later: Later,
) {
    let shown = Shown(&key.name);
    match later.iter().find(|(name, _)| *name == key.name) {
        Some((_, instead)) => {
            let message = format!("{what} {shown} {place} is not supported in this version");
            if instead.is_empty() {
                report.error(key.at, message);
            } else {
                report.error_with_hint(key.at, message, *instead);
            }
        }
        None => {
            let names = known.iter().copied();
            let hint = did_you_mean(&key.name, names.clone(), known_names(names));
            report.error_with_hint(key.at, format!("unknown {what} {shown} {place}"), hint);
        }
    }
}

/// "did you mean `a`? known: a, b", or only what is known.
pub(super) fn did_you_mean<'n>(
    written: &str,
    names: impl Iterator<Item = &'n str>,
    known: String,
) -> String {
    match closest(written, names) {
        Some(name) => format!("did you mean `{name}`? {known}"),
        None => known,
    }
}

fn known_names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    format!("known: {}", names.collect::<Vec<_>>().join(", "))
}

fn in_section(path: &str) -> String {
    if path.is_empty() { "at the top".to_owned() } else { format!("in {path}") }
}
