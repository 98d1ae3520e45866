//! Which answers are retried: rules 7, 8, 20-22, 36-38 and 41.

use std::time::Duration;

use crate::exporter::case::{Case, Run, Setup};
use crate::rule::Level::{self, Must, Should};
use crate::server::{Answer, Protocol};
use crate::status::Status;

const RESOURCE_EXHAUSTED: i32 = 8;

/// Statuses that pass by themselves.
const RETRYABLE: &[(i32, &str)] = &[
    (1, "cancelled"),
    (4, "deadline_exceeded"),
    (10, "aborted"),
    (11, "out_of_range"),
    (14, "unavailable"),
    (15, "data_loss"),
];

/// Statuses that do not.
const FINAL: &[(i32, &str)] = &[
    (2, "unknown"),
    (3, "invalid_argument"),
    (5, "not_found"),
    (6, "already_exists"),
    (7, "permission_denied"),
    (9, "failed_precondition"),
    (12, "unimplemented"),
    (13, "internal"),
    (16, "unauthenticated"),
];

const RETRYABLE_HTTP: &[u16] = &[429, 502, 503, 504];

const FINAL_HTTP: &[u16] = &[401, 403, 404, 405, 408, 409, 413, 415, 422, 500, 501, 505, 507, 511];

pub(super) fn cases(protocol: Protocol) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, level: Level, answer: Answer, retried: bool| {
        let attempts = if retried { 2 } else { 1 };
        let setup = Setup::new(protocol, vec![answer], attempts);
        cases.push(Case::new(name, level, setup, move |run: &Run| {
            if retried { run.came(2) } else { run.given_up() }
        }));
    };
    add("7.partial_success", Must, Answer::Partial(1, "one was bad"), false);
    add("7.warning", Must, Answer::Partial(0, "slow down"), false);
    add("41.closed", Should, Answer::Close, true);
    if protocol == Protocol::Grpc {
        let soon = |code| Status::retry_after(code, "later", Duration::from_millis(100));
        add("8.dropped", Must, Answer::Status(3, None), false);
        for &(code, name) in RETRYABLE {
            add(&format!("20.{name}"), Should, Answer::Status(code, None), true);
        }
        for &(code, name) in FINAL {
            add(&format!("21.{name}"), Should, Answer::Status(code, None), false);
        }
        let full = RESOURCE_EXHAUSTED;
        add("22.exhausted_without_retry_info", Should, Answer::Status(full, None), false);
        add("22.exhausted_with_retry_info", Should, Answer::Status(full, Some(soon(full))), true);
        return cases;
    }
    let http = |status| Answer::Http(status, Vec::new(), Vec::new());
    let status = |code| {
        let status = Status { code, message: "no".to_owned(), details: Vec::new() };
        match protocol {
            Protocol::HttpJson => format!("{{\"code\":{code},\"message\":\"no\"}}").into_bytes(),
            _ => prost::Message::encode_to_vec(&status),
        }
    };
    add("8.dropped", Must, Answer::Http(400, Vec::new(), status(3)), false);
    // The status is HTTP's; what the body says of it counts for nothing.
    add("36.retried_whatever_the_body", Must, Answer::Http(503, Vec::new(), status(3)), true);
    add("36.given_up_whatever_the_body", Must, Answer::Http(400, Vec::new(), status(14)), false);
    let garbage = b"<html>bad gateway</html>".to_vec();
    add("36.a_body_that_is_no_status", Must, Answer::Http(502, Vec::new(), garbage), true);
    add("37.400", Must, http(400), false);
    for &code in RETRYABLE_HTTP {
        add(&format!("38.{code}"), Should, http(code), true);
    }
    for &code in FINAL_HTTP {
        add(&format!("38.{code}"), Must, http(code), false);
    }
    // What nobody should have sent: that it asks for a retry does not make it retryable.
    let asking = vec![("retry-after", "0".to_owned())];
    add("38.500_with_retry_after", Must, Answer::Http(500, asking, Vec::new()), false);
    cases
}
