//! Which server of a cluster has which slots.

use std::sync::Arc;

use redis::Value;
use teleflow_concurrency::Breaker;

use super::super::node::Node;
use super::super::slot::SLOTS;

/// Host and port.
pub(super) type Address = (String, u16);

pub(super) struct Layout {
    /// Sorted, and without overlap.
    pub(super) ranges: Vec<Range>,
    pub(super) masters: Vec<Arc<Master>>,
    /// Whether a server of it failed: a replica may have taken over.
    pub(super) stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: usize,
}

pub(super) struct Master {
    pub(super) address: Address,
    pub(super) node: Node,
    /// Of its own, so that one server that is down does not keep the others from being asked.
    pub(super) breaker: Breaker,
}

// === impl Layout ===

impl Layout {
    pub(super) fn master_of(&self, slot: u16) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges[..after].last()?;
        (slot <= range.last).then_some(range.master)
    }
}

/// Reads `[[first, last, [host, port, ...], ...], ...]`. A server that does not know its own name
/// is where it was asked.
pub(super) fn parse_slots(answer: &Value, asked: &str) -> Option<Vec<(u16, u16, Address)>> {
    let Value::Array(ranges) = answer else { return None };
    ranges
        .iter()
        .map(|range| {
            let Value::Array(range) = range else { return None };
            let [first, last, Value::Array(master), ..] = range.as_slice() else { return None };
            let [host, port, ..] = master.as_slice() else { return None };
            let host = match host {
                Value::BulkString(host) => str::from_utf8(host).ok()?,
                Value::SimpleString(host) => host,
                _ => "",
            };
            let host = if host.is_empty() || host == "?" { asked } else { host };
            let (first, last) = (number(first)?, number(last)?);
            let valid = first <= last && last < SLOTS && !host.is_empty();
            valid.then(|| Some((first, last, (host.to_owned(), number(port)?))))?
        })
        .collect()
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &[u8], port: i64) -> Value {
        let master = Value::Array(vec![Value::BulkString(host.to_vec()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master])
    }

    #[test]
    fn a_server_without_a_name_is_where_it_was_asked() {
        let answer = Value::Array(vec![range(0, 5, b"", 7000), range(6, 9, b"b", 7001)]);
        let expected = [(0, 5, ("a".to_owned(), 7000)), (6, 9, ("b".to_owned(), 7001))];
        assert_eq!(parse_slots(&answer, "a").unwrap(), expected);
    }

    #[test]
    fn what_makes_no_sense_is_no_layout() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(5, 4, b"a", 7000)]),
            Value::Array(vec![range(0, 16_384, b"a", 7000)]),
            Value::Array(vec![range(0, 1, b"a", 70_000)]),
            Value::Array(vec![range(-1, 1, b"a", 7000)]),
            Value::Array(vec![range(0, 1, b"\xff", 7000)]),
        ] {
            assert_eq!(parse_slots(&answer, "a"), None, "{answer:?}");
        }
    }

    #[test]
    fn a_slot_that_nobody_has_has_no_master() {
        let of = |first, last, master| Range { first, last, master };
        let ranges = vec![of(2, 5, 1), of(8, 8, 0)];
        let layout = Layout { ranges, masters: Vec::new(), stale: false };
        let owners: Vec<_> = (0..10).map(|slot| layout.master_of(slot)).collect();
        let (one, other) = (Some(1), Some(0));
        let expected = [None, None, one, one, one, one, None, None, other, None];
        assert_eq!(owners, expected);
    }
}
