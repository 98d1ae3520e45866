//! Rules 15, 16, 19, 31 and 34: how much is taken, and how much is said.

use super::{Check, Encoding, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::grpc::{Call, Reply};
use crate::wire::gzip;
use crate::wire::http::{Answer, Request};

const RESOURCE_EXHAUSTED: i32 = 8;

/// The most bytes of an answer.
const MAX_RESPONSE: usize = 4 << 20;

pub(super) const CHECKS: &[Check] = checks! {
    Should Grpc "15.takes_nearly_the_limit" grpc_below;
    Must Grpc "15.limited" grpc_over;
    Must Grpc "15.limited_after_inflation" grpc_bomb;
    Must Grpc "16.resource_exhausted" grpc_status;
    Must Grpc "16.no_retry_info" grpc_no_retry;
    Must Grpc "19.answers_are_limited" grpc_answers;
    Should Http "31.takes_nearly_the_limit" below;
    Must Http "31.content_length" |receiver| over(receiver, Encoding::Protobuf, false);
    Must Http "31.content_length_json" |receiver| over(receiver, Encoding::Json, false);
    Must Http "31.chunked_without_length" |receiver| over(receiver, Encoding::Protobuf, true);
    Must Http "31.zip_bomb" |receiver| bomb(receiver, false);
    Must Http "31.zip_bomb_chunked" |receiver| bomb(receiver, true);
    Must Http "34.answers_are_limited" answers;
    Must Any "31.still_serves" still_serves;
};

/// How far below or above the limit: a request has some bytes around its attribute.
const MARGIN: usize = 64 << 10;

fn large(receiver: &Receiver, over: bool) -> Vec<u8> {
    let limit = receiver.max_request_bytes;
    let bytes = if over { limit + MARGIN } else { limit.saturating_sub(MARGIN) };
    telemetry::large(Signal::Logs, "conformance", bytes)
}

async fn grpc_below(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let call = Call::new(Signal::Logs.grpc_path(), large(receiver, false));
    let reply = receiver.call(call).await?;
    receiver.accepted(&reply, Signal::Logs)?;
    Ok(Verdict::Pass)
}

async fn send_over(receiver: &Receiver) -> Result<Reply, Verdict> {
    receiver.call(Call::new(Signal::Logs.grpc_path(), large(receiver, true))).await
}

async fn grpc_over(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = send_over(receiver).await?;
    Ok(Verdict::expect(reply.code != 0, || over_taken(receiver)))
}

fn over_taken(receiver: &Receiver) -> String {
    format!("a request of {} bytes was taken", receiver.max_request_bytes + MARGIN)
}

async fn send_bomb(receiver: &Receiver) -> Result<Reply, Verdict> {
    let mut call = Call::new(Signal::Logs.grpc_path(), bomb_of(receiver));
    call.encoding = Some("gzip");
    receiver.call(call).await
}

/// Small as it is sent, and one and a half times the limit inside.
fn bomb_of(receiver: &Receiver) -> Vec<u8> {
    let bytes = receiver.max_request_bytes + receiver.max_request_bytes / 2 + MARGIN;
    gzip(&telemetry::large(Signal::Logs, "conformance", bytes))
}

async fn grpc_bomb(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = send_bomb(receiver).await?;
    Ok(Verdict::expect(reply.code != 0, || {
        "a request that inflates beyond it was taken".to_owned()
    }))
}

async fn grpc_status(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for (what, reply) in
        [("too large", send_over(receiver).await?), ("a zip bomb", send_bomb(receiver).await?)]
    {
        if reply.code != RESOURCE_EXHAUSTED {
            return Ok(Verdict::Fail(format!(
                "{what}: RESOURCE_EXHAUSTED was due, not status {}",
                reply.code
            )));
        }
    }
    Ok(Verdict::Pass)
}

async fn grpc_no_retry(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = send_over(receiver).await?;
    if reply.code == 0 {
        return Ok(Verdict::Fail(over_taken(receiver)));
    }
    let has = reply.details.is_some_and(|details| details.has("RetryInfo"));
    Ok(Verdict::expect(!has, || "the refusal has RetryInfo: it will be sent again".to_owned()))
}

/// A message that names what it does not like could repeat 5 MiB.
const LONG: usize = 5 << 20;

async fn grpc_answers(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let mut replies = vec![send_over(receiver).await?];
    // A string that ends in what is no UTF-8.
    let length = LONG.min(receiver.max_request_bytes / 2);
    let mut message = telemetry::large(Signal::Logs, "conformance", length);
    if let Some(last) = message.iter().rposition(|&byte| byte == b'a') {
        message[last] = 0xff;
    }
    replies.push(receiver.call(Call::new(Signal::Logs.grpc_path(), message)).await?);
    for reply in replies {
        let size = reply.received + reply.message.len();
        if MAX_RESPONSE < size {
            return Ok(Verdict::Fail(format!("an answer of {size} bytes")));
        }
    }
    Ok(Verdict::Pass)
}

async fn below(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let answer =
        receiver.send(Encoding::Protobuf.post(Signal::Logs, large(receiver, false))).await?;
    receiver.taken(&answer, Signal::Logs, Encoding::Protobuf)?;
    Ok(Verdict::Pass)
}

async fn over(receiver: &Receiver, encoding: Encoding, chunked: bool) -> Result<Verdict, Verdict> {
    let body = match encoding {
        Encoding::Protobuf => large(receiver, true),
        Encoding::Json => {
            let value = "a".repeat(receiver.max_request_bytes + MARGIN);
            telemetry::json_attribute(&format!(r#"{{"stringValue":"{value}"}}"#)).into_bytes()
        }
    };
    let signal = if encoding == Encoding::Json { Signal::Traces } else { Signal::Logs };
    let mut request = encoding.post(signal, body);
    request.chunked = chunked;
    too_large(&receiver.send(request).await?)
}

async fn bomb(receiver: &Receiver, chunked: bool) -> Result<Verdict, Verdict> {
    let request = Encoding::Protobuf.post(Signal::Logs, bomb_of(receiver));
    let request = Request { chunked, ..request.with("content-encoding", "gzip") };
    too_large(&receiver.send(request).await?)
}

fn too_large(answer: &Answer) -> Result<Verdict, Verdict> {
    Ok(Verdict::expect(answer.status == 413, || format!("413 was due, not {}", answer.status)))
}

async fn answers(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let length = LONG.min(receiver.max_request_bytes / 2);
    let long = "z".repeat(length);
    let name = telemetry::json_span(&format!(r#""kind":"{long}""#));
    let requests = [
        Encoding::Json.post(Signal::Traces, name),
        Request {
            path: format!("/v1/{}", &long[..length.min(8 << 10)]),
            ..Encoding::Json.post(Signal::Traces, "{}")
        },
    ];
    for request in requests {
        let answer = receiver.send(request).await?;
        if MAX_RESPONSE < answer.body.len() {
            return Ok(Verdict::Fail(format!("an answer of {} bytes", answer.body.len())));
        }
    }
    Ok(Verdict::Pass)
}

/// After all of the above.
async fn still_serves(receiver: &Receiver) -> Result<Verdict, Verdict> {
    if receiver.grpc.is_some() {
        let message = telemetry::request(Signal::Logs, "conformance");
        let reply = receiver.call(Call::new(Signal::Logs.grpc_path(), message)).await?;
        receiver.accepted(&reply, Signal::Logs)?;
    }
    if receiver.http.is_some() {
        let request =
            Encoding::Protobuf.post(Signal::Logs, Encoding::Protobuf.request(Signal::Logs));
        let answer = receiver.send(request).await?;
        receiver.taken(&answer, Signal::Logs, Encoding::Protobuf)?;
    }
    Ok(Verdict::Pass)
}
