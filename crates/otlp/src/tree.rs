//! The shape that the three signals share: resources hold scopes, scopes hold items.
//!
//! In every request field 1 is a resource's group, in that field 2 a scope's group, and in that
//! field 2 an item (a span, a metric, a log record), so one walk serves all signals. What a group
//! holds besides its children (the resource or scope itself, the schema URL, fields that this
//! version does not know) is its envelope: bytes that have to go wherever its children go.

use std::borrow::Cow;
use std::ops::Range;

use crate::span::text;
use crate::wire::{self, Value};

/// Iterates over the resource groups of a validated request.
pub fn resources(request: &[u8]) -> impl Iterator<Item = ResourceGroup<'_>> {
    wire::messages(request, 1)
        .map(|group| ResourceGroup { data: &request[group.body..group.end], at: group.body })
}

/// One `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
#[derive(Clone, Copy, Debug)]
pub struct ResourceGroup<'a> {
    data: &'a [u8],
    at: usize,
}

/// One `ScopeSpans`, `ScopeMetrics` or `ScopeLogs`.
#[derive(Clone, Copy, Debug)]
pub struct ScopeGroup<'a> {
    data: &'a [u8],
    at: usize,
}

/// One `Span`, `Metric` or `LogRecord`.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The whole field: key, length and message. These bytes can be put into another scope group
    /// as they are.
    pub field: &'a [u8],
    /// The message alone.
    pub message: &'a [u8],
    /// Where `field` starts in the request.
    pub at: usize,
}

/// Who made a group's items: an `InstrumentationScope`, without its attributes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Scope<'a> {
    /// The library or module.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

// === impl Scope ===

impl<'a> Scope<'a> {
    /// Reads a validated scope message, such as [`ScopeGroup::scope`] gives.
    pub fn read(message: &'a [u8]) -> Self {
        let mut scope = Self::default();
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Len(name)) => scope.name = text(name),
                (2, Value::Len(version)) => scope.version = text(version),
                _ => {}
            }
        }
        scope
    }
}

// === impl ResourceGroup ===

impl<'a> ResourceGroup<'a> {
    /// The scope groups in it.
    pub fn scopes(self) -> impl Iterator<Item = ScopeGroup<'a>> {
        wire::messages(self.data, 2).map(move |group| ScopeGroup {
            data: &self.data[group.body..group.end],
            at: self.at + group.body,
        })
    }

    /// The resource: usually one message; where a sender repeats it, they count as merged.
    pub fn resource(self) -> impl Iterator<Item = &'a [u8]> {
        headers(self.data)
    }

    /// The whole message.
    pub(crate) const fn message(self) -> &'a [u8] {
        self.data
    }

    /// Where everything but the scope groups is in the request, if it is in one piece.
    pub fn envelope_in_place(self) -> Option<Range<usize>> {
        in_place(self.data, self.at)
    }

    /// Appends everything but the scope groups to `out`.
    pub fn envelope(self, out: &mut Vec<u8>) {
        runs(self.data, 2).for_each(|run| out.extend_from_slice(run));
    }
}

// === impl ScopeGroup ===

impl<'a> ScopeGroup<'a> {
    /// The whole message, and where it starts in the request.
    pub(crate) const fn place(self) -> (&'a [u8], usize) {
        (self.data, self.at)
    }

    /// The items in it.
    pub fn items(self) -> impl Iterator<Item = Item<'a>> {
        wire::messages(self.data, 2).map(move |item| Item {
            field: &self.data[item.start..item.end],
            message: &self.data[item.body..item.end],
            at: self.at + item.start,
        })
    }

    /// The scope: usually one message; where a sender repeats it, they count as merged.
    pub fn scope(self) -> impl Iterator<Item = &'a [u8]> {
        headers(self.data)
    }

    /// The whole message.
    pub(crate) const fn message(self) -> &'a [u8] {
        self.data
    }

    /// Where everything but the items is in the request, if it is in one piece.
    pub fn envelope_in_place(self) -> Option<Range<usize>> {
        in_place(self.data, self.at)
    }

    /// Appends everything but the items to `out`.
    pub fn envelope(self, out: &mut Vec<u8>) {
        runs(self.data, 2).for_each(|run| out.extend_from_slice(run));
    }
}

/// The resource of a resource group, or the scope of a scope group, of which nothing but the
/// envelope is at hand: usually one message; where a sender repeats it, they count as merged.
pub fn headers(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    wire::fields(data).filter(|field| field.number == 1).filter_map(|field| match field.value {
        Value::Len(message) => Some(message),
        _ => None,
    })
}

/// The message of an item's whole field; empty where it is no field.
#[inline]
pub fn message(field: &[u8]) -> &[u8] {
    split_message(field).map_or(&[], |(message, _)| message)
}

/// Parts the first of some items' fields from the others: its message, and the rest. `None` at the
/// end, and where there is no field.
#[inline]
pub fn split_message(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let item = wire::messages(fields, 2).next().filter(|item| item.start == 0)?;
    Some((&fields[item.body..item.end], &fields[item.end..]))
}

/// All fields but those numbered `child`: a copy only where there are several runs of them.
pub(crate) fn envelope(data: &[u8], child: u32) -> Cow<'_, [u8]> {
    let mut envelope = Cow::Borrowed(&data[..0]);
    for run in runs(data, child) {
        if envelope.is_empty() {
            envelope = Cow::Borrowed(run);
        } else {
            envelope.to_mut().extend_from_slice(run);
        }
    }
    envelope
}

/// Where the fields but those of children are, if they are in one piece.
fn in_place(data: &[u8], at: usize) -> Option<Range<usize>> {
    let mut runs = ranges(data, 2);
    let first = runs.next().unwrap_or(0..0);
    runs.next().is_none().then_some(at + first.start..at + first.end)
}

/// The fields but those numbered `child`, neighbours together.
fn runs(data: &[u8], child: u32) -> impl Iterator<Item = &[u8]> {
    ranges(data, child).map(|run| &data[run])
}

fn ranges(data: &[u8], child: u32) -> impl Iterator<Item = Range<usize>> {
    let mut fields = wire::fields(data).filter(move |field| field.number != child).peekable();
    std::iter::from_fn(move || {
        let first = fields.next()?;
        let mut end = first.end;
        while let Some(next) = fields.next_if(|next| next.start == end) {
            end = next.end;
        }
        Some(first.start..end)
    })
}
