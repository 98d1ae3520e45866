//! Writes a request from items that came out of others.

use std::borrow::Cow;

use crate::wire::{self, LEN, varint_len};

/// Collects items under their envelopes, and writes them as one request.
///
/// The items are borrowed until [`finish`](Self::finish), which knows all lengths by then and so
/// copies every byte once. Call [`resource`](Self::resource), then [`scope`](Self::scope), then
/// [`items`](Self::items), and each again as often as something changes.
#[derive(Debug, Default)]
pub struct Assembler<'a> {
    parts: Vec<Part<'a>>,
    /// Indices of the group that is being filled.
    resource: usize,
    scope: usize,
    /// What is written outside of any group.
    strays: Vec<Cow<'a, [u8]>>,
}

#[derive(Debug)]
enum Part<'a> {
    /// An envelope, and the length of the group's message with all that follows in it.
    Resource(Cow<'a, [u8]>, usize),
    Scope(Cow<'a, [u8]>, usize),
    Items(Cow<'a, [u8]>),
}

// === impl Assembler ===

impl<'a> Assembler<'a> {
    /// Creates one without content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.strays.is_empty()
    }

    /// Starts a resource group, with what
    /// [`ResourceGroup::envelope`](crate::tree::ResourceGroup::envelope) gave.
    pub fn resource(&mut self, envelope: impl Into<Cow<'a, [u8]>>) {
        let envelope = envelope.into();
        self.close_scope();
        self.resource = self.parts.len();
        self.scope = self.parts.len();
        let len = envelope.len();
        self.parts.push(Part::Resource(envelope, len));
    }

    /// Starts a scope group in the current resource group.
    pub fn scope(&mut self, envelope: impl Into<Cow<'a, [u8]>>) {
        let envelope = envelope.into();
        self.close_scope();
        self.scope = self.parts.len();
        let len = envelope.len();
        self.parts.push(Part::Scope(envelope, len));
    }

    /// Adds one or more item fields to the current scope group; without any it does nothing.
    ///
    /// # Panics
    ///
    /// If no scope was started.
    pub fn items(&mut self, fields: impl Into<Cow<'a, [u8]>>) {
        let fields = fields.into();
        if fields.is_empty() {
            return;
        }
        let Some(Part::Scope(_, len)) = self.parts.get_mut(self.scope) else {
            panic!("items need a scope group to go into");
        };
        *len += fields.len();
        self.parts.push(Part::Items(fields));
    }

    /// Adds fields outside of any group.
    pub(crate) fn strays(&mut self, fields: Cow<'a, [u8]>) {
        if !fields.is_empty() {
            self.strays.push(fields);
        }
    }

    /// A group's length goes into its parent's once nothing can be added to it.
    fn close_scope(&mut self) {
        let Some(Part::Scope(_, len)) = self.parts.get(self.scope) else { return };
        let field = field_len(*len);
        if let Some(Part::Resource(_, len)) = self.parts.get_mut(self.resource) {
            *len += field;
        }
        // The same scope must not be counted twice.
        self.scope = self.resource;
    }

    /// The exact length of the request, in bytes.
    pub fn len(&mut self) -> usize {
        self.close_scope();
        let groups: usize = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Resource(_, len) => field_len(*len),
                Part::Scope(..) | Part::Items(_) => 0,
            })
            .sum();
        groups + self.strays.iter().map(|stray| stray.len()).sum::<usize>()
    }

    /// Writes the request and leaves the assembler without content.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        for part in self.parts.drain(..) {
            match part {
                Part::Resource(envelope, len) => open(out, 1, &envelope, len),
                Part::Scope(envelope, len) => open(out, 2, &envelope, len),
                Part::Items(fields) => out.extend_from_slice(&fields),
            }
        }
        self.strays.drain(..).for_each(|stray| out.extend_from_slice(&stray));
        (self.resource, self.scope) = (0, 0);
    }
}

fn open(out: &mut Vec<u8>, number: u32, envelope: &[u8], len: usize) {
    wire::put_key(out, number, LEN);
    wire::put_varint(out, len as u64);
    out.extend_from_slice(envelope);
}

/// The length of a field with a one-byte key and a message of `len` bytes.
pub(crate) const fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}
