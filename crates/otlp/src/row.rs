//! Spans that stand in a row and begin with the same trace id.

use crate::tree::ScopeGroup;
use crate::wire::{self, Message, Messages};

/// Spans of one scope that stand in a row and begin with the same trace id.
///
/// Senders write a span's trace id first, and spans of a trace often stand together: so whose a row
/// is, is known by a look at a few bytes of each span, and asked about once. A span that begins
/// otherwise is a row of its own. Nothing else of the spans was looked at: one that breaks the
/// protocol may have another trace id behind the first, and that counts.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What the spans begin with; `None` where a span begins otherwise, or with zeros.
    pub trace_id: Option<[u8; 16]>,
    /// The fields of the spans: key, length and message of each. These bytes can be put into another
    /// scope group as they are.
    pub fields: &'a [u8],
    /// Where `fields` starts in the request.
    pub at: usize,
    /// How many spans there are: 1 to [`Row::MOST_SPANS`].
    pub spans: u32,
}

/// The rows of a scope group of spans.
#[derive(Clone, Debug)]
pub(crate) struct Rows<'a> {
    data: &'a [u8],
    at: usize,
    messages: Messages<'a>,
    /// The span that ended the last row.
    next: Option<Message>,
}

/// Key, length and bytes of a trace id.
const HEAD: usize = 18;

// === impl Row ===

impl Row<'_> {
    /// No row is longer.
    pub const MOST_SPANS: u32 = 255;
}

// === impl ScopeGroup ===

impl<'a> ScopeGroup<'a> {
    /// The spans in it, row by row; of a `ScopeSpans` only.
    #[inline]
    pub fn rows(self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let (data, at) = self.place();
        Rows { data, at, messages: wire::messages(data, 2), next: None }
    }
}

/// What a message begins with, if that is a trace id: zeros are none.
#[inline]
fn head(data: &[u8], message: Message) -> Option<&[u8; HEAD]> {
    let head = data.get(message.body..message.end)?.first_chunk()?;
    if *head.first_chunk()? == [0x0a, 16] && head[2..] != [0; 16] { Some(head) } else { None }
}

// === impl Rows ===

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    #[inline]
    fn next(&mut self) -> Option<Row<'a>> {
        let first = match self.next.take() {
            Some(first) => first,
            None => self.messages.next()?,
        };
        let (mut end, mut spans) = (first.end, 1);
        let head = head(self.data, first);
        if head.is_some() {
            for next in self.messages.by_ref() {
                if next.start != end
                    || spans == Row::MOST_SPANS
                    || self::head(self.data, next) != head
                {
                    self.next = Some(next);
                    break;
                }
                (end, spans) = (next.end, spans + 1);
            }
        }
        let trace_id = head.and_then(|head| head.last_chunk().copied());
        let fields = &self.data[first.start..end];
        Some(Row { trace_id, fields, at: self.at + first.start, spans })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{span, tree};

    /// A request with one scope that has these spans.
    fn request(spans: &[Vec<u8>]) -> Vec<u8> {
        let mut scope = Vec::new();
        for span in spans {
            wire::put_len(&mut scope, 2, span);
        }
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        wire::put_len(&mut resource, 2, &scope);
        wire::put_len(&mut request, 1, &resource);
        request
    }

    fn span(id: u8, name: &str) -> Vec<u8> {
        let mut span = Vec::new();
        wire::put_len(&mut span, 1, &[id; 16]);
        wire::put_str(&mut span, 5, name);
        span
    }

    fn rows(request: &[u8]) -> Vec<Row<'_>> {
        tree::resources(request)
            .flat_map(|resource| resource.scopes())
            .flat_map(|scope| scope.rows())
            .collect()
    }

    #[test]
    fn spans_of_a_trace_are_one_row_as_long_as_they_stand_together() {
        let long = "x".repeat(20_000);
        let mut backwards = Vec::new();
        wire::put_str(&mut backwards, 5, "name first");
        wire::put_len(&mut backwards, 1, &[3; 16]);
        let mut short = Vec::new();
        wire::put_len(&mut short, 1, &[3; 15]);
        let spans = [
            span(1, "a"),
            span(1, &long),
            span(1, ""),
            span(2, &"y".repeat(300)),
            backwards.clone(),
            backwards,
            span(3, "b"),
            short,
            Vec::new(),
            span(0, "no trace"),
            span(0, "nor here"),
            span(1, "c"),
        ];
        let request = request(&spans);
        let rows = rows(&request);
        let found: Vec<_> = rows.iter().map(|row| (row.trace_id, row.spans)).collect();
        let id = |id| Some([id; 16]);
        let expected = [
            (id(1), 3),
            (id(2), 1),
            (None, 1),
            (None, 1),
            (id(3), 1),
            (None, 1),
            (None, 1),
            (None, 1),
            (None, 1),
            (id(1), 1),
        ];
        assert_eq!(found, expected);
        let mut left = &spans[..];
        for row in rows {
            assert_eq!(&request[row.at..][..row.fields.len()], row.fields);
            let mut fields = row.fields;
            for _ in 0..row.spans {
                let (message, rest) = tree::split_message(fields).expect("a span");
                assert_eq!(message, left[0]);
                (fields, left) = (rest, &left[1..]);
            }
            assert!(fields.is_empty());
        }
        assert!(left.is_empty());
    }

    #[test]
    fn no_row_is_longer_than_it_says() {
        let spans = vec![span(7, "a"); 600];
        let request = request(&spans);
        let counts: Vec<_> = rows(&request).iter().map(|row| row.spans).collect();
        assert_eq!(counts, [255, 255, 90]);
    }

    #[test]
    fn what_is_between_spans_parts_them() {
        let mut scope = Vec::new();
        wire::put_len(&mut scope, 2, &span(1, "a"));
        wire::put_str(&mut scope, 3, "the schema");
        wire::put_len(&mut scope, 2, &span(1, "b"));
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        wire::put_len(&mut resource, 2, &scope);
        wire::put_len(&mut request, 1, &resource);
        let rows = rows(&request);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.trace_id == Some([1; 16]) && row.spans == 1));
        let message = tree::message(rows[1].fields);
        assert_eq!(span::trace_id(message), [1; 16]);
    }
}
