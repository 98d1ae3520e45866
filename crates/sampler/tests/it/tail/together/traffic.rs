//! Requests of many shapes, and what is at odds with nothing but habit: groups out of order, resources
//! in pieces, ids that are given twice.

use std::collections::HashMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message;
use teleflow_otlp::{Signal, Writer};

use crate::tail::model;

/// What came, by its number; and who waits for it.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) items: Vec<Item>,
    pub(super) ids: Vec<[u8; 16]>,
    /// Whether each span has one id.
    pub(super) is_proper: bool,
}

/// A span or record, as it has to come out.
pub(super) struct Item {
    pub(super) signal: Signal,
    pub(super) message: Vec<u8>,
    pub(super) resource: Vec<u8>,
    pub(super) scope: Vec<u8>,
    pub(super) asker: usize,
    pub(super) is_out: bool,
}

pub(super) fn attribute(key: &str, text: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// The number of an item: its name, or what it says, begins with it.
pub(super) fn number(signal: Signal, message: &[u8]) -> usize {
    let text = match signal {
        Signal::Traces => Span::decode(message).unwrap().name,
        _ => LogRecord::decode(message).unwrap().severity_text,
    };
    text[..8].parse().unwrap()
}

// === impl Traffic ===

impl Traffic {
    fn id(&mut self, rng: &mut fastrand::Rng) -> Vec<u8> {
        match rng.u8(..60) {
            0 => return vec![],
            1 => return vec![0; 16],
            _ => {}
        }
        if self.ids.is_empty() || rng.u8(..4) == 0 {
            self.ids.push(rng.u128(1..).to_be_bytes());
        }
        let from = self.ids.len().saturating_sub(20) * usize::from(rng.u8(..5) > 0);
        self.ids[rng.usize(from..self.ids.len())].to_vec()
    }

    fn text(&self, more: usize) -> String {
        format!("{:08}{}", self.items.len(), "x".repeat(more))
    }

    fn span(&mut self, rng: &mut fastrand::Rng, id: Vec<u8>, long: usize) -> Vec<u8> {
        let start = 1_700_000_000_000_000_000 + rng.u64(..300_000_000);
        let state = match rng.u8(..24) {
            0 => format!("ot=rv:{:014x}", rng.u64(..1 << 56)),
            1 => format!("ot=th:{:x};rv:{:014x}", rng.u8(1..16), rng.u64(..1 << 56)),
            2 => "congo=t61rcWkgMzE".into(),
            3 => "ot=th:nonsense".into(),
            _ => String::new(),
        };
        let key = ["route", "meta.span_count", "tailsampling.dry_run.threshold"][rng.usize(..3)];
        let value = ["a", "b", "c"][rng.usize(..3)].to_owned();
        let more = if rng.u8(..60) == 0 { long } else { rng.usize(..40) };
        let span = Span {
            trace_id: id,
            parent_span_id: [vec![], vec![0; 8], vec![3; 8], vec![3; 8]][rng.usize(..4)].clone(),
            trace_state: state,
            start_time_unix_nano: start,
            end_time_unix_nano: start + rng.u64(..1_000_000_000),
            name: self.text(more),
            status: Some(Status { code: rng.i32(-30..3).max(0), ..Status::default() }),
            attributes: (0..rng.usize(..2)).map(|_| attribute(key, value.clone())).collect(),
            ..Span::default()
        };
        let mut message = span.encode_to_vec();
        if !self.is_proper && rng.u8(..40) == 0 {
            // The last one counts.
            let id = self.id(rng);
            Writer::new(&mut message).bytes(1, &id);
        }
        message
    }

    fn record(&mut self, rng: &mut fastrand::Rng, id: Vec<u8>, long: usize) -> Vec<u8> {
        let more = if rng.u8(..60) == 0 { long } else { rng.usize(..40) };
        let record =
            LogRecord { trace_id: id, severity_text: self.text(more), ..Default::default() };
        record.encode_to_vec()
    }

    /// A request, and how many items it has.
    pub(super) fn request(
        &mut self,
        rng: &mut fastrand::Rng,
        signal: Signal,
        asker: usize,
        long: usize,
    ) -> (Bytes, u64) {
        let first = self.items.len();
        let mut request = Vec::new();
        // Resources repeat.
        let lens = [0, rng.usize(..60), if rng.u8(..9) == 0 { long } else { 200 }];
        for _ in 0..rng.usize(..4) {
            let mut fields: Vec<Vec<u8>> = Vec::new();
            let len = lens[rng.usize(..3)];
            for piece in 0..=u8::from(rng.u8(..12) == 0) {
                let attributes = vec![attribute(&format!("k{piece}"), "v".repeat(len))];
                let resource = Resource { attributes, ..Resource::default() }.encode_to_vec();
                fields.push(field(1, if len == 0 { &[] } else { &resource }));
            }
            for _ in 0..rng.usize(..4) {
                fields.push(field(2, &self.scope(rng, signal, asker, long)));
            }
            if rng.u8(..6) == 0 {
                fields.push(field(3, b"https://example.com/schema"));
            }
            if rng.u8(..6) == 0 {
                rng.shuffle(&mut fields);
            }
            request.extend_from_slice(&field(1, &fields.concat()));
        }
        let request = Bytes::from(request);
        // As they are in the request, with what they are below.
        let mut places: HashMap<usize, usize> = HashMap::new();
        places.extend(
            (first..self.items.len()).map(|at| (number(signal, &self.items[at].message), at)),
        );
        for (message, _, resource, scope) in model::items(&request) {
            let item = &mut self.items[places[&number(signal, &message)]];
            assert_eq!(item.message, message);
            (item.resource, item.scope) = (resource, scope);
        }
        (request, (self.items.len() - first) as u64)
    }

    fn scope(
        &mut self,
        rng: &mut fastrand::Rng,
        signal: Signal,
        asker: usize,
        long: usize,
    ) -> Vec<u8> {
        let mut fields = Vec::new();
        let len = if rng.u8(..30) == 0 { long } else { rng.usize(..20) };
        if rng.bool() {
            let scope = InstrumentationScope { name: "s".repeat(len), ..Default::default() };
            fields.push(field(1, &scope.encode_to_vec()));
        }
        let mut left = if rng.u8(..60) == 0 { rng.usize(250..600) } else { rng.usize(..14) };
        while left > 0 {
            // Rows of one trace, short and long.
            let row = match rng.u8(..5) {
                0 => left,
                1 => rng.usize(1..=left),
                _ => 1,
            };
            let id = self.id(rng);
            for _ in 0..row {
                let message = match signal {
                    Signal::Traces => self.span(rng, id.clone(), long),
                    _ => self.record(rng, id.clone(), long),
                };
                fields.push(field(2, &message));
                let (resource, scope) = (Vec::new(), Vec::new());
                self.items.push(Item { signal, message, resource, scope, asker, is_out: false });
            }
            left -= row;
        }
        if rng.u8(..12) == 0 {
            let at = rng.usize(..=fields.len());
            fields.insert(at, field(3, b"https://example.com/scope"));
        }
        fields.concat()
    }
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).bytes(number, content);
    out
}
