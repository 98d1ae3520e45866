//! YAML text becomes a tree of [`Node`]s. The only file that names the YAML parser.
//!
//! It listens to `granit-parser`, the event parser below `serde-saphyr`, rather than to
//! `serde-saphyr` itself: a tree of values with places would nest serde's calls (a file 64 levels
//! deep overflows the stack of a test thread in a debug build), would end at the first duplicate
//! key, and would forget how a scalar was written. Here the only stack is a `Vec`, so depth is a
//! number that we compare.
//!
//! Taken from YAML: mappings, lists, scalars in every style, anchors, aliases and merge keys
//! (`<<`). Refused: tags other than the standard ones, keys that are not scalars, a second document.

mod merge;
mod scalar;

use std::collections::HashMap;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};

use super::node::{Key, Node, Shown, Value};
use super::report::{Position, Report};

pub(super) use scalar::resolve_plain;

/// The largest file that is read: a configuration is a few KiB.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// How deep mappings and lists may nest.
pub(super) const MAX_DEPTH: usize = 64;
/// How many values a file may have once its aliases are replaced, so that a small file of aliases
/// to aliases cannot become a large tree.
pub(super) const MAX_NODES: usize = 100_000;

/// Parses `text`. What is wrong goes into the report; without a tree there is at least one error.
pub(super) fn parse(text: &str, report: &Report) -> Option<Node> {
    if text.len() > MAX_BYTES {
        report.file_error(format!("is larger than {MAX_BYTES} bytes"));
        return None;
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::new(report);
    for event in Parser::new_from_str_with_options(text, options) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, position(span.start)),
            Err(error) => Err(Fatal(position(*error.marker()), error.info())),
        };
        if let Err(Fatal(at, message)) = taken {
            report.error(at, message);
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::new(Value::Null, Position { line: 1, column: 1 })))
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

/// An error after which the rest of the file cannot be understood.
struct Fatal(Position, String);

struct Builder<'a> {
    report: &'a Report,
    /// The mappings and lists that are open, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

struct Open {
    at: Position,
    anchor: usize,
    children: Children,
}

enum Children {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        /// The key whose value comes next.
        key: Option<Key>,
        /// The values of `<<`.
        merges: Vec<Node>,
        /// Whether `key` is `<<`, unquoted.
        merging: bool,
    },
}

struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            report,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Fatal> {
        match event {
            Event::DocumentStart(..) if self.documents > 0 => {
                Err(Fatal(at, "a second document starts here, a file holds one".to_owned()))
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), at)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", at);
                self.start(anchor, at, Children::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", at);
                let (entries, merges) = (Vec::new(), Vec::new());
                self.start(anchor, at, Children::Map { entries, key: None, merges, merging: false })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), Fatal> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open { children: Children::Map { key: key @ None, merging, .. }, .. }) =
            self.open.last_mut()
        {
            *merging = plain && text == "<<";
            *key = Some(Key { name: text.to_owned(), at });
            return self.anchored(anchor, &Node::new(Value::Text(text.to_owned()), at));
        }
        self.count(1, at)?;
        let value = match tag {
            None if plain => resolve_plain(text),
            None => Value::Text(text.to_owned()),
            Some(tag) => self.tagged(tag, text, at),
        };
        self.complete(Node::new(value, at), anchor)
    }

    fn start(&mut self, anchor: usize, at: Position, children: Children) -> Result<(), Fatal> {
        if self.expects_key() {
            return Err(Fatal(at, "a key must be text, not a mapping or a list".to_owned()));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(1, at)?;
        self.open.push(Open { at, anchor, children });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fatal> {
        let Some(Open { at, anchor, children }) = self.open.pop() else { return Ok(()) };
        let value = match children {
            Children::List(items) => Value::List(items),
            Children::Map { entries, merges, .. } => {
                Value::Map(merge::merge(entries, merges, self.report))
            }
        };
        self.complete(Node::new(value, at), anchor)
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Fatal> {
        let Some(Anchored { node, nodes, height }) = self.anchors.get(&id) else {
            return Err(Fatal(at, "the alias refers to the value that it is part of".to_owned()));
        };
        let (node, nodes, height) = (node.clone(), *nodes, *height);
        if self.open.len() + height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(nodes, at)?;
        match (self.expects_key(), &node.value) {
            (true, Value::Text(text)) => {
                let text = text.clone();
                // Quoted: an alias never stands for the merge key.
                self.scalar(&text, ScalarStyle::DoubleQuoted, 0, None, at)
            }
            (true, _) => Err(Fatal(at, "a key must be text".to_owned())),
            (false, _) => self.complete(node, 0),
        }
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Fatal> {
        self.anchored(anchor, &node)?;
        match self.open.last_mut().map(|open| &mut open.children) {
            None => self.root = Some(node),
            Some(Children::List(items)) => items.push(node),
            Some(Children::Map { entries, key, merges, merging }) => match key.take() {
                Some(_) if *merging => merges.push(node),
                Some(key) => entries.push((key, node)),
                None => return Err(Fatal(node.at, "a key must be text".to_owned())),
            },
        }
        Ok(())
    }

    /// Keeps a copy for the aliases to come.
    fn anchored(&mut self, anchor: usize, node: &Node) -> Result<(), Fatal> {
        if anchor != 0 {
            let (nodes, height) = measure(node);
            self.count(nodes, node.at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Fatal> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Fatal(at, format!("the file has more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { children: Children::Map { key: None, .. }, .. }))
    }

    fn tagged(&self, tag: &Tag, text: &str, at: Position) -> Value {
        match tag.core_suffix() {
            Some("str") => Value::Text(text.to_owned()),
            Some(kind) => scalar::resolve_as(kind, text).unwrap_or_else(|| {
                self.report.error(at, format!("{} is not of the type `!!{kind}`", Shown(text)));
                Value::Null
            }),
            None if tag.original() == "!" => Value::Text(text.to_owned()),
            None => {
                self.report.error(at, format!("unknown tag {}", Shown(&tag.original())));
                Value::Null
            }
        }
    }

    fn check_tag(&self, tag: Option<&Tag>, expected: &str, at: Position) {
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema_tag(expected)
            && tag.original() != "!"
        {
            let message = format!("tag {} does not fit its value", Shown(&tag.original()));
            self.report.error(at, message);
        }
    }
}

fn too_deep(at: Position) -> Fatal {
    Fatal(at, format!("values nest deeper than {MAX_DEPTH} levels"))
}

/// How many nodes a tree has, and how many levels of mappings and lists. Recursion is bounded by
/// [`MAX_DEPTH`].
fn measure(node: &Node) -> (usize, usize) {
    let add = |(nodes, height): (usize, usize), child: &Node| {
        let (below, levels) = measure(child);
        (nodes + below, height.max(levels + 1))
    };
    match &node.value {
        Value::List(items) => items.iter().fold((1, 1), add),
        Value::Map(entries) => entries.iter().map(|(_, node)| node).fold((1, 1), add),
        _ => (1, 0),
    }
}
