//! Rules 4-6, 36 and 37: what is said of a request that is not taken, or not as a whole.

use prost::Message;
use serde_json::Value;

use super::{Check, Encoding, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::{Partial, Signal};
use crate::status::Status;
use crate::telemetry;
use crate::wire::http::{Answer, Request};

pub(super) const CHECKS: &[Check] = checks! {
    Must Http "36.400_protobuf" |receiver| status(receiver, bad(Encoding::Protobuf), 400, Encoding::Protobuf);
    Must Http "36.400_json" |receiver| status(receiver, bad(Encoding::Json), 400, Encoding::Json);
    Must Http "36.404_protobuf" |receiver| status(receiver, lost(Encoding::Protobuf), 404, Encoding::Protobuf);
    Must Http "36.404_json" |receiver| status(receiver, lost(Encoding::Json), 404, Encoding::Json);
    Must Http "36.405_protobuf" |receiver| status(receiver, put(Encoding::Protobuf), 405, Encoding::Protobuf);
    Must Http "36.405_json" |receiver| status(receiver, put(Encoding::Json), 405, Encoding::Json);
    Must Http "36.413_protobuf" |receiver| too_large(receiver, Encoding::Protobuf);
    Must Http "36.413_json" |receiver| too_large(receiver, Encoding::Json);
    Must Http "36.415" unsupported;
    Must Http "37.bad_protobuf" |receiver| refused(receiver, Encoding::Protobuf, &[&[0xff; 16], &[0x0a, 5, 1], &[0x0a]]);
    Must Http "37.bad_json" |receiver| refused(receiver, Encoding::Json, &[b"{", b"[]", b"{\"resourceSpans\":5}", b"{} x"]);
    Should Http "37.no_body_is_no_json" |receiver| refused(receiver, Encoding::Json, &[b""]);
    Should Http "37.bad_utf8" bad_utf8;
    Should Http "37.bad_request_in_protobuf" |receiver| bad_request(receiver, Encoding::Protobuf);
    Should Http "37.bad_request_in_json" |receiver| bad_request(receiver, Encoding::Json);
    Must Any "4.rejected_are_counted" |receiver| partial(receiver, |partial| 0 <= partial.rejected && partial.rejected < 100);
    Should Any "5.message_is_text" |receiver| partial(receiver, |partial| partial.message.is_ascii());
    Must Any "6.warnings_have_a_message" |receiver| partial(receiver, |partial| partial.rejected != 0 || !partial.message.is_empty());
};

fn bad(encoding: Encoding) -> Request {
    match encoding {
        Encoding::Protobuf => encoding.post(Signal::Traces, vec![0xff; 16]),
        Encoding::Json => encoding.post(Signal::Traces, "{"),
    }
}

fn lost(encoding: Encoding) -> Request {
    let path = "/v1/no-such-signal".to_owned();
    Request { path, ..encoding.post(Signal::Traces, encoding.request(Signal::Traces)) }
}

fn put(encoding: Encoding) -> Request {
    Request { method: "PUT", ..encoding.post(Signal::Traces, encoding.request(Signal::Traces)) }
}

async fn status(
    receiver: &Receiver,
    request: Request,
    due: u16,
    encoding: Encoding,
) -> Result<Verdict, Verdict> {
    let answer = receiver.send(request).await?;
    if answer.status != due {
        return Ok(Verdict::Fail(format!("{due} was due, not {}", answer.status)));
    }
    Ok(read(&answer, encoding).map_or_else(Verdict::Fail, |_| Verdict::Pass))
}

async fn too_large(receiver: &Receiver, encoding: Encoding) -> Result<Verdict, Verdict> {
    let bytes = receiver.max_request_bytes + (64 << 10);
    let body = match encoding {
        Encoding::Protobuf => telemetry::large(Signal::Traces, "conformance", bytes),
        Encoding::Json => {
            let value = "a".repeat(bytes);
            telemetry::json_attribute(&format!(r#"{{"stringValue":"{value}"}}"#)).into_bytes()
        }
    };
    // Whatever it is refused with: that 413 is due is rule 31.
    let answer = receiver.send(encoding.post(Signal::Traces, body)).await?;
    if answer.status < 400 {
        return Ok(Verdict::Fail(format!("{bytes} bytes were answered with {}", answer.status)));
    }
    Ok(read(&answer, encoding).map_or_else(Verdict::Fail, |_| Verdict::Pass))
}

async fn unsupported(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let request = Request::post(Signal::Traces.http_path(), "text/plain", b"x".to_vec());
    let answer = receiver.send(request).await?;
    if answer.status != 415 {
        return Ok(Verdict::Fail(format!("415 was due, not {}", answer.status)));
    }
    // The request has no encoding that a status could have as well: either will do.
    let encoding = match answer.media_type().as_str() {
        "application/json" => Encoding::Json,
        _ => Encoding::Protobuf,
    };
    Ok(read(&answer, encoding).map_or_else(Verdict::Fail, |_| Verdict::Pass))
}

async fn refused(
    receiver: &Receiver,
    encoding: Encoding,
    bodies: &[&[u8]],
) -> Result<Verdict, Verdict> {
    for &body in bodies {
        let answer = receiver.send(encoding.post(Signal::Traces, body)).await?;
        if answer.status != 400 {
            let body = body.escape_ascii();
            return Ok(Verdict::Fail(format!("\"{body}\" was answered with {}", answer.status)));
        }
    }
    Ok(Verdict::Pass)
}

async fn bad_utf8(receiver: &Receiver) -> Result<Verdict, Verdict> {
    // The schema URL of a resource.
    let body: &[u8] = &[0x0a, 4, 0x1a, 2, 0xc3, 0x28];
    refused(receiver, Encoding::Protobuf, &[body]).await
}

async fn bad_request(receiver: &Receiver, encoding: Encoding) -> Result<Verdict, Verdict> {
    let answer = receiver.send(bad(encoding)).await?;
    let has = match encoding {
        Encoding::Protobuf => {
            Status::decode(answer.body.as_slice()).is_ok_and(|status| status.has("BadRequest"))
        }
        Encoding::Json => serde_json::from_slice::<Value>(&answer.body).is_ok_and(|status| {
            let details = status.get("details").and_then(Value::as_array);
            details.into_iter().flatten().any(|detail| {
                let kind = detail.get("@type").and_then(Value::as_str);
                kind.is_some_and(|kind| kind.ends_with("google.rpc.BadRequest"))
            })
        }),
    };
    Ok(Verdict::expect(has, || "no BadRequest in the details".to_owned()))
}

async fn partial(receiver: &Receiver, good: impl Fn(&Partial) -> bool) -> Result<Verdict, Verdict> {
    let partials = receiver.partials();
    if partials.is_empty() {
        let reason = "no answer had a partial success, and nothing causes one from outside";
        return Ok(Verdict::NotApplicable(reason.to_owned()));
    }
    Ok(match partials.iter().find(|&partial| !good(partial)) {
        Some(partial) => Verdict::Fail(format!("{partial:?}")),
        None => Verdict::Pass,
    })
}

/// Reads a `google.rpc.Status` in this encoding that says something.
fn read(answer: &Answer, encoding: Encoding) -> Result<(), String> {
    let (code, seen) = (answer.status, answer.header("content-type").unwrap_or("none"));
    if answer.media_type() != encoding.media_type() {
        return Err(format!("the body of {code} is of type {seen}, not {}", encoding.media_type()));
    }
    let message = match encoding {
        Encoding::Protobuf => {
            Status::decode(answer.body.as_slice())
                .map_err(|error| format!("the body of {code} is no Status: {error}"))?
                .message
        }
        Encoding::Json => serde_json::from_slice::<Value>(&answer.body)
            .map_err(|error| format!("the body of {code} is no JSON: {error}"))?
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    };
    if message.is_empty() {
        return Err(format!("the Status in the body of {code} has no message"));
    }
    Ok(())
}
