//! A metric taken apart, so that its data points can go different ways.

use crate::span::{messages, text};
use crate::value::Attributes;
use crate::wire::{self, LEN, Value};

/// The fields of `Metric` that hold data points: gauge, sum, histogram, exponential histogram,
/// summary. They are arms of a `oneof`: the last on the wire holds.
const ARMS: [u32; 5] = [5, 7, 9, 10, 11];

/// A metric's data points, and what has to go with each of them.
#[derive(Debug)]
pub(crate) struct MetricParts<'a> {
    /// Everything but the arm: name, unit, description, metadata, unknown fields.
    envelope: Vec<u8>,
    /// The arm's field number and everything in it but the points: temporality, monotonic.
    arm: u32,
    arm_envelope: Vec<u8>,
    metric: &'a [u8],
}

/// Which arm of a metric holds.
fn arm(metric: &[u8]) -> Option<u32> {
    wire::fields(metric).map(|field| field.number).filter(|number| ARMS.contains(number)).last()
}

/// The messages of the arm that holds; several where a sender repeats it, which counts as merged.
/// An arm that another one interrupts starts anew.
pub(crate) fn arms(metric: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let holds = arm(metric);
    let start = wire::fields(metric)
        .filter(|field| ARMS.contains(&field.number) && Some(field.number) != holds)
        .last()
        .map_or(0, |field| field.end);
    wire::fields(metric).filter(move |field| field.start >= start).filter_map(move |field| {
        match field.value {
            Value::Len(message) if Some(field.number) == holds => Some((field.number, message)),
            _ => None,
        }
    })
}

fn points<'a>(arm: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    wire::fields(arm).filter(|field| field.number == 1).map(|field| &arm[field.start..field.end])
}

// === impl MetricParts ===

impl<'a> MetricParts<'a> {
    /// How many data points a metric holds.
    pub(crate) fn count(metric: &[u8]) -> u64 {
        arms(metric).map(|(_, arm)| points(arm).count() as u64).sum()
    }

    /// Takes a metric apart.
    pub(crate) fn read(metric: &'a [u8]) -> Self {
        let mut parts = Self {
            envelope: Vec::new(),
            arm: arm(metric).unwrap_or_default(),
            arm_envelope: Vec::new(),
            metric,
        };
        for field in wire::fields(metric).filter(|field| !ARMS.contains(&field.number)) {
            parts.envelope.extend_from_slice(&metric[field.start..field.end]);
        }
        for (_, arm) in arms(metric) {
            parts.arm_envelope.extend_from_slice(&crate::tree::envelope(arm, 1));
        }
        parts
    }

    /// What a metric field takes besides its points; at most this, in bytes.
    pub(crate) fn overhead(&self) -> usize {
        self.envelope.len() + self.arm_envelope.len() + 2 * (1 + wire::varint_len(u64::MAX))
    }

    /// The fields of its data points.
    pub(crate) fn points(&self) -> impl Iterator<Item = &'a [u8]> {
        arms(self.metric).flat_map(|(_, arm)| points(arm))
    }

    /// The metric as an item of a scope group, with these points only.
    pub(crate) fn field(&self, points: &[u8]) -> Vec<u8> {
        let arm_len = self.arm_envelope.len() + points.len();
        let len = self.envelope.len() + crate::assemble::field_len(arm_len);
        let mut out = Vec::with_capacity(crate::assemble::field_len(len));
        wire::put_key(&mut out, 2, LEN);
        wire::put_varint(&mut out, len as u64);
        out.extend_from_slice(&self.envelope);
        wire::put_key(&mut out, self.arm, LEN);
        wire::put_varint(&mut out, arm_len as u64);
        out.extend_from_slice(&self.arm_envelope);
        out.extend_from_slice(points);
        out
    }
}

/// A metric's head: all but its data points.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metric<'a> {
    message: &'a [u8],
    /// What is measured.
    pub name: &'a str,
    /// The unit, in UCUM.
    pub unit: &'a str,
    /// For people.
    pub description: &'a str,
    /// What kind of points it has.
    pub kind: MetricKind,
    /// `AggregationTemporality`: 0 unspecified, 1 delta, 2 cumulative.
    pub temporality: i32,
    /// Whether a sum never falls.
    pub monotonic: bool,
}

/// The kind of a metric's points.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MetricKind {
    /// No points, or of a kind that this version does not know.
    #[default]
    Unknown,
    /// Values at a time.
    Gauge,
    /// Values that add up.
    Sum,
    /// Counts in buckets with explicit bounds.
    Histogram,
    /// Counts in buckets of exponential width.
    ExponentialHistogram,
    /// Quantiles.
    Summary,
}

/// One data point of any kind; what a kind does not have reads as its default.
#[derive(Clone, Debug, Default)]
pub struct Point<'a> {
    message: &'a [u8],
    kind: MetricKind,
    /// Since when it counts, in nanoseconds since 1970; 0 where unknown.
    pub start: u64,
    /// When it was taken, in nanoseconds since 1970.
    pub time: u64,
    /// A gauge's or sum's value.
    pub value: Option<Number>,
    /// How many values a histogram or summary counted.
    pub count: Option<u64>,
    /// Their sum.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The largest of them.
    pub max: Option<f64>,
}

/// A gauge's or sum's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Double(f64),
}

// === impl Metric ===

impl<'a> Metric<'a> {
    /// Reads a validated metric message.
    pub fn read(message: &'a [u8]) -> Self {
        let mut metric = Self { message, ..Self::default() };
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Len(name)) => metric.name = text(name),
                (2, Value::Len(description)) => metric.description = text(description),
                (3, Value::Len(unit)) => metric.unit = text(unit),
                _ => {}
            }
        }
        for (number, arm) in arms(message) {
            metric.kind = MetricKind::of_arm(number);
            for field in wire::fields(arm) {
                match (field.number, field.value) {
                    (2, Value::Varint(temporality)) => metric.temporality = temporality as i32,
                    (3, Value::Varint(bits)) => metric.monotonic = bits != 0,
                    _ => {}
                }
            }
        }
        metric
    }

    /// Its data points, in the sender's order.
    pub fn points(&self) -> impl Iterator<Item = Point<'a>> {
        arms(self.message).flat_map(|(number, arm)| {
            messages(arm, 1).map(move |point| Point::read(point, MetricKind::of_arm(number)))
        })
    }
}

// === impl MetricKind ===

impl MetricKind {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Gauge => "gauge",
            Self::Sum => "sum",
            Self::Histogram => "histogram",
            Self::ExponentialHistogram => "exponential_histogram",
            Self::Summary => "summary",
        }
    }

    const fn of_arm(number: u32) -> Self {
        match number {
            5 => Self::Gauge,
            7 => Self::Sum,
            9 => Self::Histogram,
            10 => Self::ExponentialHistogram,
            11 => Self::Summary,
            _ => Self::Unknown,
        }
    }

    /// Where this kind's points keep their attributes.
    const fn attributes_field(self) -> u32 {
        match self {
            Self::Histogram => 9,
            Self::ExponentialHistogram => 1,
            _ => 7,
        }
    }
}

// === impl Point ===

impl<'a> Point<'a> {
    fn read(message: &'a [u8], kind: MetricKind) -> Self {
        let numbers = matches!(kind, MetricKind::Gauge | MetricKind::Sum);
        let mut point = Self { message, kind, ..Self::default() };
        if !numbers {
            point.count = Some(0);
        }
        if kind == MetricKind::Summary {
            point.sum = Some(0.0);
        }
        let (min, max) = match kind {
            MetricKind::Histogram => (11, 12),
            MetricKind::ExponentialHistogram => (12, 13),
            _ => (0, 0),
        };
        for field in wire::fields(message) {
            let Value::Fixed64(bits) = field.value else { continue };
            match field.number {
                2 => point.start = bits,
                3 => point.time = bits,
                4 if numbers => point.value = Some(Number::Double(f64::from_bits(bits))),
                6 if numbers => point.value = Some(Number::Int(bits as i64)),
                4 => point.count = Some(bits),
                5 if !numbers => point.sum = Some(f64::from_bits(bits)),
                number if number == min => point.min = Some(f64::from_bits(bits)),
                number if number == max => point.max = Some(f64::from_bits(bits)),
                _ => {}
            }
        }
        point
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, self.kind.attributes_field())
    }

    /// The whole point as a protobuf message: buckets, quantiles and exemplars are still in it.
    pub const fn message(&self) -> &'a [u8] {
        self.message
    }

    /// What kind of metric it belongs to.
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }
}
