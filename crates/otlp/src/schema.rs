//! OTLP's messages as tables: what validation, JSON and tests know of the protocol.
//!
//! From the `opentelemetry-proto` definitions 1.11.0. One table a message, indexed by field number
//! less one; what a table does not name is an unknown field, which is kept and read past.

use crate::Signal;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// No field of this number.
    Unknown,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    /// An enumeration: on the wire an `Int32`, in JSON a number and never a name.
    Enum,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    String,
    Bytes,
    /// A trace or span id of so many bytes, or of none. JSON writes it in hexadecimal.
    Id(u8),
    Message(&'static Message),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// The name in JSON.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "only JSON has names"))]
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Each value is one item: a span, a log record, a data point.
    pub(crate) item: bool,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
    /// The single (not repeated) message fields are the arms of one `oneof`: the last on the wire
    /// holds, and what another arm said before it is void. True of `Metric` alone.
    pub(crate) last_message_holds: bool,
}

impl Message {
    /// The field of this number, if the protocol has one.
    pub(crate) fn field(&self, number: u32) -> Option<&'static Field> {
        let field = self.fields.get(number as usize - 1)?;
        (!matches!(field.kind, Kind::Unknown)).then_some(field)
    }

    /// The field of this JSON name and its number.
    #[cfg(feature = "json")]
    pub(crate) fn field_named(&self, name: &str) -> Option<(u32, &'static Field)> {
        let at = self
            .fields
            .iter()
            .position(|field| field.name == name && !matches!(field.kind, Kind::Unknown))?;
        Some((at as u32 + 1, &self.fields[at]))
    }
}

/// The request message of a signal's `Export` call.
pub(crate) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: false, item: false }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: true, item: false }
}

const fn item(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: true, item: true }
}

const NONE: Field = one("", Kind::Unknown);

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $text:literal [$($field:expr),* $(,)?];)*) => {
        $($(#[$doc])* pub(crate) static $name: Message = Message {
            name: $text,
            fields: &[$($field),*],
            last_message_holds: false,
        };)*
    };
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Message as Msg, Sfixed64,
    Sint32, String, Uint32, Uint64,
};

messages! {
    TRACES = "ExportTraceServiceRequest" [many("resourceSpans", Msg(&RESOURCE_SPANS))];
    METRICS = "ExportMetricsServiceRequest" [many("resourceMetrics", Msg(&RESOURCE_METRICS))];
    LOGS = "ExportLogsServiceRequest" [many("resourceLogs", Msg(&RESOURCE_LOGS))];

    RESOURCE_SPANS = "ResourceSpans" [
        one("resource", Msg(&RESOURCE)),
        many("scopeSpans", Msg(&SCOPE_SPANS)),
        one("schemaUrl", String),
    ];
    SCOPE_SPANS = "ScopeSpans" [
        one("scope", Msg(&SCOPE)),
        item("spans", Msg(&SPAN)),
        one("schemaUrl", String),
    ];
    SPAN = "Span" [
        one("traceId", Id(16)),
        one("spanId", Id(8)),
        one("traceState", String),
        one("parentSpanId", Id(8)),
        one("name", String),
        one("kind", Enum),
        one("startTimeUnixNano", Fixed64),
        one("endTimeUnixNano", Fixed64),
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
        many("events", Msg(&EVENT)),
        one("droppedEventsCount", Uint32),
        many("links", Msg(&LINK)),
        one("droppedLinksCount", Uint32),
        one("status", Msg(&STATUS)),
        one("flags", Fixed32),
    ];
    EVENT = "Span.Event" [
        one("timeUnixNano", Fixed64),
        one("name", String),
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
    ];
    LINK = "Span.Link" [
        one("traceId", Id(16)),
        one("spanId", Id(8)),
        one("traceState", String),
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
        one("flags", Fixed32),
    ];
    STATUS = "Status" [NONE, one("message", String), one("code", Enum)];

    RESOURCE_METRICS = "ResourceMetrics" [
        one("resource", Msg(&RESOURCE)),
        many("scopeMetrics", Msg(&SCOPE_METRICS)),
        one("schemaUrl", String),
    ];
    SCOPE_METRICS = "ScopeMetrics" [
        one("scope", Msg(&SCOPE)),
        many("metrics", Msg(&METRIC)),
        one("schemaUrl", String),
    ];
    GAUGE = "Gauge" [item("dataPoints", Msg(&NUMBER_POINT))];
    SUM = "Sum" [
        item("dataPoints", Msg(&NUMBER_POINT)),
        one("aggregationTemporality", Enum),
        one("isMonotonic", Bool),
    ];
    HISTOGRAM = "Histogram" [
        item("dataPoints", Msg(&HISTOGRAM_POINT)),
        one("aggregationTemporality", Enum),
    ];
    EXPONENTIAL_HISTOGRAM = "ExponentialHistogram" [
        item("dataPoints", Msg(&EXPONENTIAL_POINT)),
        one("aggregationTemporality", Enum),
    ];
    SUMMARY = "Summary" [item("dataPoints", Msg(&SUMMARY_POINT))];
    NUMBER_POINT = "NumberDataPoint" [
        NONE,
        one("startTimeUnixNano", Fixed64),
        one("timeUnixNano", Fixed64),
        one("asDouble", Double),
        many("exemplars", Msg(&EXEMPLAR)),
        one("asInt", Sfixed64),
        many("attributes", Msg(&KEY_VALUE)),
        one("flags", Uint32),
    ];
    HISTOGRAM_POINT = "HistogramDataPoint" [
        NONE,
        one("startTimeUnixNano", Fixed64),
        one("timeUnixNano", Fixed64),
        one("count", Fixed64),
        one("sum", Double),
        many("bucketCounts", Fixed64),
        many("explicitBounds", Double),
        many("exemplars", Msg(&EXEMPLAR)),
        many("attributes", Msg(&KEY_VALUE)),
        one("flags", Uint32),
        one("min", Double),
        one("max", Double),
    ];
    EXPONENTIAL_POINT = "ExponentialHistogramDataPoint" [
        many("attributes", Msg(&KEY_VALUE)),
        one("startTimeUnixNano", Fixed64),
        one("timeUnixNano", Fixed64),
        one("count", Fixed64),
        one("sum", Double),
        one("scale", Sint32),
        one("zeroCount", Fixed64),
        one("positive", Msg(&BUCKETS)),
        one("negative", Msg(&BUCKETS)),
        one("flags", Uint32),
        many("exemplars", Msg(&EXEMPLAR)),
        one("min", Double),
        one("max", Double),
        one("zeroThreshold", Double),
    ];
    BUCKETS = "Buckets" [one("offset", Sint32), many("bucketCounts", Uint64)];
    SUMMARY_POINT = "SummaryDataPoint" [
        NONE,
        one("startTimeUnixNano", Fixed64),
        one("timeUnixNano", Fixed64),
        one("count", Fixed64),
        one("sum", Double),
        many("quantileValues", Msg(&QUANTILE)),
        many("attributes", Msg(&KEY_VALUE)),
        one("flags", Uint32),
    ];
    QUANTILE = "ValueAtQuantile" [one("quantile", Double), one("value", Double)];
    EXEMPLAR = "Exemplar" [
        NONE,
        one("timeUnixNano", Fixed64),
        one("asDouble", Double),
        one("spanId", Id(8)),
        one("traceId", Id(16)),
        one("asInt", Sfixed64),
        many("filteredAttributes", Msg(&KEY_VALUE)),
    ];

    RESOURCE_LOGS = "ResourceLogs" [
        one("resource", Msg(&RESOURCE)),
        many("scopeLogs", Msg(&SCOPE_LOGS)),
        one("schemaUrl", String),
    ];
    SCOPE_LOGS = "ScopeLogs" [
        one("scope", Msg(&SCOPE)),
        item("logRecords", Msg(&LOG_RECORD)),
        one("schemaUrl", String),
    ];
    LOG_RECORD = "LogRecord" [
        one("timeUnixNano", Fixed64),
        one("severityNumber", Enum),
        one("severityText", String),
        NONE,
        one("body", Msg(&ANY_VALUE)),
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
        one("flags", Fixed32),
        one("traceId", Id(16)),
        one("spanId", Id(8)),
        one("observedTimeUnixNano", Fixed64),
        one("eventName", String),
    ];

    RESOURCE = "Resource" [
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
        many("entityRefs", Msg(&ENTITY_REF)),
    ];
    ENTITY_REF = "EntityRef" [
        one("schemaUrl", String),
        one("type", String),
        many("idKeys", String),
        many("descriptionKeys", String),
    ];
    SCOPE = "InstrumentationScope" [
        one("name", String),
        one("version", String),
        many("attributes", Msg(&KEY_VALUE)),
        one("droppedAttributesCount", Uint32),
    ];
    KEY_VALUE = "KeyValue" [
        one("key", String),
        one("value", Msg(&ANY_VALUE)),
        one("keyStrindex", Int32),
    ];
    ANY_VALUE = "AnyValue" [
        one("stringValue", String),
        one("boolValue", Bool),
        one("intValue", Int64),
        one("doubleValue", Double),
        one("arrayValue", Msg(&ARRAY)),
        one("kvlistValue", Msg(&KEY_VALUE_LIST)),
        one("bytesValue", Bytes),
        one("stringValueStrindex", Int32),
    ];
    ARRAY = "ArrayValue" [many("values", Msg(&ANY_VALUE))];
    KEY_VALUE_LIST = "KeyValueList" [many("values", Msg(&KEY_VALUE))];
}

pub(crate) static METRIC: Message = Message {
    name: "Metric",
    fields: &[
        one("name", String),
        one("description", String),
        one("unit", String),
        NONE,
        one("gauge", Msg(&GAUGE)),
        NONE,
        one("sum", Msg(&SUM)),
        NONE,
        one("histogram", Msg(&HISTOGRAM)),
        one("exponentialHistogram", Msg(&EXPONENTIAL_HISTOGRAM)),
        one("summary", Msg(&SUMMARY)),
        many("metadata", Msg(&KEY_VALUE)),
    ],
    last_message_holds: true,
};
