//! The rules, in the words that the reports use.
//!
//! From the specification of OTLP 1.11.0 (`docs/specification.md` of opentelemetry-proto), the
//! specification of the exporters and the SDK, and OTEP 235.

use crate::rule::Level::{May, Must, Should};
use crate::rule::Side::{Both, Exporter, Receiver, Table};
use crate::rule::{Level, Rule, Side};

/// Every rule, in order of its number.
pub const RULES: &[Rule] = &[
    rule(1, Receiver, Must, "no compression and gzip are both taken", COMMON),
    rule(2, Receiver, Should, "an empty request succeeds", COMMON),
    rule(3, Receiver, Must, "full success leaves partial_success unset", COMMON),
    rule(4, Receiver, Must, "a partial accept counts what was rejected", COMMON),
    rule(5, Receiver, Should, "error_message is for people, in English", COMMON),
    rule(6, Receiver, Must, "a warning rejects nothing and has a message", COMMON),
    rule(7, Exporter, Must, "no retry after a partial success", COMMON),
    rule(8, Exporter, Must, "what cannot be retried is dropped, and counted", COMMON),
    rule(9, Exporter, Must, "retries back off exponentially, with jitter", COMMON),
    rule(10, Exporter, Must, "throttles itself when the server is overloaded", COMMON),
    rule(11, Exporter, Should, "several requests are in flight", COMMON),
    rule(12, Exporter, Should, "shutdown may wait for what is pending", COMMON),
    rule(13, Exporter, Should, "no empty envelopes", COMMON),
    rule(14, Exporter, Should, "one destination does not hold up another", COMMON),
    rule(15, Receiver, Must, "requests are limited, also after inflation; 64 MiB advised", GRPC),
    rule(16, Receiver, Must, "too large is RESOURCE_EXHAUSTED without RetryInfo", GRPC),
    rule(17, Exporter, Should, "a request over the limit is not sent", GRPC),
    rule(18, Exporter, Must, "responses are limited; one over it is not retried", GRPC),
    rule(19, Receiver, Must, "its own responses are limited to 4 MiB", GRPC),
    rule(20, Exporter, Should, "the retryable statuses are retried", GRPC),
    rule(21, Exporter, Should, "the other statuses are not", GRPC),
    rule(22, Exporter, Should, "RESOURCE_EXHAUSTED is retried only with RetryInfo", GRPC),
    rule(23, Exporter, Should, "waits at least retry_delay, then grows from there", GRPC),
    rule(24, Receiver, Should, "overload is UNAVAILABLE, bad data INVALID_ARGUMENT", GRPC),
    rule(25, Both, Must, "the three services and their Export", GRPC),
    rule(26, Both, Must, "POST over HTTP/1.1 or HTTP/2", HTTP),
    rule(27, Both, Must, "content types; the response's is the request's", HTTP),
    rule(28, Receiver, Should, "protobuf and JSON on one port; maybe gRPC as well", HTTP),
    rule(29, Both, Must, "/v1/traces, /v1/metrics, /v1/logs", HTTP),
    rule(30, Both, Must, "gzip is named by Content-Encoding", HTTP),
    rule(31, Receiver, Must, "a body over the limit, also after inflation, is 413", HTTP),
    rule(32, Exporter, Should, "a request over the limit is not sent", HTTP),
    rule(33, Exporter, Must, "responses are limited; one over it is not retried", HTTP),
    rule(34, Receiver, Must, "its own responses are limited to 4 MiB", HTTP),
    rule(35, Receiver, Must, "success is 200 with an export response", HTTP),
    rule(36, Both, Must, "every 4xx and 5xx is a google.rpc.Status", HTTP),
    rule(37, Both, Must, "bad data is 400, and 400 is never retried", HTTP),
    rule(38, Exporter, Must, "429, 502, 503 and 504 are retried, nothing else is", HTTP),
    rule(39, Receiver, Should, "overload is 429 or 503", HTTP),
    rule(40, Exporter, Should, "Retry-After is obeyed, in both forms", HTTP),
    rule(41, Exporter, Should, "a connection closed without an answer is retried", HTTP),
    rule(42, Exporter, Must, "a failed connect backs off; connections are kept", HTTP),
    rule(43, Both, May, "other answers as in HTTP", HTTP),
    rule(44, Both, May, "the default ports", HTTP),
    rule(45, Both, Must, "JSON: ids are hex, in either case", JSON),
    rule(46, Both, Must, "JSON: enums are numbers", JSON),
    rule(47, Receiver, Must, "JSON: unknown fields are ignored", JSON),
    rule(48, Both, Must, "JSON: keys are lowerCamelCase", JSON),
    rule(49, Both, Must, "JSON: 64-bit integers are strings, or numbers", JSON),
    rule(50, Both, Must, "JSON: other bytes are base64; NaN and Infinity are strings", JSON),
    rule(51, Receiver, Must, "JSON: null is absent", JSON),
    rule(52, Receiver, Must, "ids of a wrong length are refused", JSON),
    rule(53, Both, Must, "unknown protobuf fields do no harm", DATA),
    rule(54, Both, Must, "any value in any attribute", DATA),
    rule(55, Both, Must, "flags go through unchanged", DATA),
    rule(56, Both, Must, "trace state, dropped counts, schema URLs go through", DATA),
    rule(57, Receiver, Must, "deep nesting does no harm", DATA),
    rule(58, Exporter, Must, "each request has a deadline", SDK),
    rule(59, Exporter, Must, "shutdown ends within its bound", SDK),
    rule(60, Table, Must, "endpoint variables and their defaults", EXPORTER),
    rule(61, Table, Must, "the base URL gets v1/<signal>; a signal's URL is as it is", EXPORTER),
    rule(62, Table, Must, "the scheme decides on TLS", EXPORTER),
    rule(63, Table, Must, "certificates, headers, compression, timeout, protocol", EXPORTER),
    rule(64, Table, Must, "a signal's variable beats the general one", EXPORTER),
    rule(65, Table, Must, "the largest request and response are options", EXPORTER),
    rule(66, Exporter, Should, "User-Agent names the exporter and its version", EXPORTER),
    rule(67, Table, Must, "the defaults of the batch processors", SDK),
    rule(68, Table, Must, "randomness is rv, or the last 7 bytes of the trace id", SAMPLING),
    rule(69, Table, Must, "th is 1 to 14 hex digits, without zeros at its end", SAMPLING),
    rule(70, Table, Must, "kept when R >= T", SAMPLING),
    rule(71, Table, Must, "a later sampler never lowers T", SAMPLING),
    rule(72, Table, Must, "th is removed when it is not known", SAMPLING),
    rule(73, Table, Must, "the ot entry is bounded, others stay as they are", SAMPLING),
    rule(74, Table, Should, "4 digits of precision by default", SAMPLING),
    rule(75, Table, Should, "one warning without randomness", SAMPLING),
    rule(76, Table, Must, "logs have sampling.threshold and sampling.randomness", SAMPLING),
];

const COMMON: &str = "OTLP 1.11, protocol details";
const GRPC: &str = "OTLP 1.11, OTLP/gRPC";
const HTTP: &str = "OTLP 1.11, OTLP/HTTP";
const JSON: &str = "OTLP 1.11, JSON protobuf encoding";
const DATA: &str = "opentelemetry-proto 1.11, messages";
const SDK: &str = "specification, SDK";
const EXPORTER: &str = "specification, OTLP exporter";
const SAMPLING: &str = "OTEP 235";

/// The rule of this number.
pub fn find(number: u8) -> Option<&'static Rule> {
    RULES.get(usize::from(number).checked_sub(1)?)
}

const fn rule(
    number: u8,
    side: Side,
    level: Level,
    text: &'static str,
    source: &'static str,
) -> Rule {
    Rule { number, side, level, text, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_have_no_gap() {
        for (index, rule) in RULES.iter().enumerate() {
            assert_eq!(usize::from(rule.number), index + 1);
            assert_eq!(find(rule.number).map(|found| found.text), Some(rule.text));
        }
        assert_eq!(RULES.len(), 76);
        assert!(find(0).is_none() && find(77).is_none());
    }
}
