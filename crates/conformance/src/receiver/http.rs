//! Rules 1-6 and 26-37, over HTTP, with well-formed requests.

use super::{Check, Encoding, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::grpc::Call;
use crate::wire::gzip;
use crate::wire::http::media_type;

pub(super) const CHECKS: &[Check] = checks! {
    Must Http "1.http_protobuf" |receiver| plain(receiver, Encoding::Protobuf);
    Must Http "1.http_protobuf_gzip" |receiver| zipped(receiver, Encoding::Protobuf);
    Must Http "1.http_json" |receiver| plain(receiver, Encoding::Json);
    Must Http "1.http_json_gzip" |receiver| zipped(receiver, Encoding::Json);
    Should Http "2.http_empty_protobuf" |receiver| empty(receiver, Encoding::Protobuf, "");
    Should Http "2.http_empty_json" |receiver| empty(receiver, Encoding::Json, "{}");
    Must Http "3.http_protobuf" |receiver| unset(receiver, Encoding::Protobuf);
    Must Http "3.http_json" |receiver| unset(receiver, Encoding::Json);
    Must Http "26.http_1_1" |receiver| plain(receiver, Encoding::Protobuf);
    Must Http "27.protobuf_in_and_out" |receiver| typed(receiver, Encoding::Protobuf, "application/x-protobuf");
    Must Http "27.json_in_and_out" |receiver| typed(receiver, Encoding::Json, "application/json");
    Must Http "27.protobuf_with_parameter" |receiver| typed(receiver, Encoding::Protobuf, "application/x-protobuf; charset=utf-8");
    Must Http "27.json_with_parameter" |receiver| typed(receiver, Encoding::Json, "application/json;charset=UTF-8");
    Must Http "27.any_case" |receiver| typed(receiver, Encoding::Json, "Application/JSON");
    Should Http "28.protobuf_and_json_on_one_port" both_encodings;
    May Both "28.grpc_and_http_on_one_port" one_port;
    Must Http "29.default_paths" paths;
    May Http "30.gzip_reply_when_asked" gzip_reply;
    Must Http "30.no_gzip_reply_unasked" no_gzip_reply;
    Must Http "35.success_is_200" |receiver| typed(receiver, Encoding::Protobuf, "application/x-protobuf");
    Must Http "35.chunked_is_taken" chunked;
    Must Http "53.http_unknown_fields" unknown_fields;
    Must Http "54.http_any_value" any_value;
};

async fn plain(receiver: &Receiver, encoding: Encoding) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let answer = receiver.send(encoding.post(signal, encoding.request(signal))).await?;
        receiver.taken(&answer, signal, encoding).map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

async fn zipped(receiver: &Receiver, encoding: Encoding) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let body = gzip(&encoding.request(signal));
        let request = encoding.post(signal, body).with("content-encoding", "gzip");
        let answer = receiver.send(request).await?;
        receiver.taken(&answer, signal, encoding).map_err(|fail| fail.of(signal.name()))?;
    }
    // One that does not look at the header would take what is no protobuf for unknown fields.
    let request = encoding.post(Signal::Traces, encoding.request(Signal::Traces));
    let answer = receiver.send(request.with("content-encoding", "gzip")).await?;
    Ok(Verdict::expect(answer.status == 400, || {
        format!("what is not gzip, but said to be, was answered with {}", answer.status)
    }))
}

async fn empty(receiver: &Receiver, encoding: Encoding, body: &str) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let answer = receiver.send(encoding.post(signal, body)).await?;
        receiver.taken(&answer, signal, encoding).map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

async fn unset(receiver: &Receiver, encoding: Encoding) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let answer = receiver.send(encoding.post(signal, encoding.request(signal))).await?;
        receiver.taken(&answer, signal, encoding)?;
        let partial = match encoding {
            Encoding::Protobuf => signal.partial(&answer.body),
            Encoding::Json => signal.partial_json(&answer.body),
        };
        if let Ok(Some(partial)) = partial {
            return Ok(Verdict::Fail(format!("{}: {partial:?}", signal.name())));
        }
    }
    Ok(Verdict::Pass)
}

async fn typed(
    receiver: &Receiver,
    encoding: Encoding,
    content_type: &str,
) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let mut request = encoding.post(signal, encoding.request(signal));
        request.headers = vec![("content-type", content_type.to_owned())];
        let answer = receiver.send(request).await?;
        receiver.taken(&answer, signal, encoding)?;
        if answer.media_type() != media_type(content_type) {
            let seen = answer.header("content-type");
            return Ok(Verdict::Fail(format!("{content_type} was answered with {seen:?}")));
        }
    }
    Ok(Verdict::Pass)
}

async fn both_encodings(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for encoding in Encoding::ALL {
        let signal = Signal::Logs;
        let answer = receiver.send(encoding.post(signal, encoding.request(signal))).await?;
        receiver.taken(&answer, signal, encoding)?;
    }
    Ok(Verdict::Pass)
}

async fn one_port(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let Some(http) = receiver.http else { return Ok(Verdict::Pass) };
    let message = telemetry::request(Signal::Traces, "conformance");
    let reply = Call::new(Signal::Traces.grpc_path(), message).send(http).await;
    Ok(Verdict::expect(reply.is_ok_and(|reply| reply.code == 0), || {
        "the port for HTTP does not take gRPC".to_owned()
    }))
}

async fn paths(receiver: &Receiver) -> Result<Verdict, Verdict> {
    // A path must lead to its own signal: as another one, this is no message.
    for signal in Signal::ALL {
        let answer = receiver
            .send(Encoding::Protobuf.post(signal, Encoding::Protobuf.request(signal)))
            .await?;
        receiver
            .taken(&answer, signal, Encoding::Protobuf)
            .map_err(|fail| fail.of(signal.name()))?;
    }
    let mut strange = Encoding::Protobuf.post(Signal::Traces, Vec::new());
    strange.path = "/v1/no-such-signal".to_owned();
    let answer = receiver.send(strange).await?;
    Ok(Verdict::expect(answer.status == 404, || {
        format!("an unknown path was answered with {}", answer.status)
    }))
}

async fn gzip_reply(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let encoding = Encoding::Protobuf;
    let request = encoding.post(Signal::Traces, encoding.request(Signal::Traces));
    let answer = receiver.send(request.with("accept-encoding", "gzip")).await?;
    receiver.taken(&answer, Signal::Traces, encoding)?;
    Ok(Verdict::Pass)
}

async fn no_gzip_reply(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for encoding in Encoding::ALL {
        let request = encoding.post(Signal::Traces, encoding.request(Signal::Traces));
        let answer = receiver.send(request).await?;
        let coding = answer.header("content-encoding").unwrap_or("identity");
        if coding != "identity" {
            return Ok(Verdict::Fail(format!("the reply is in {coding}, which nobody asked for")));
        }
    }
    Ok(Verdict::Pass)
}

async fn chunked(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for encoding in Encoding::ALL {
        let mut request = encoding.post(Signal::Traces, encoding.request(Signal::Traces));
        request.chunked = true;
        let answer = receiver.send(request).await?;
        receiver.taken(&answer, Signal::Traces, encoding)?;
    }
    Ok(Verdict::Pass)
}

async fn unknown_fields(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let mut body = Encoding::Protobuf.request(signal);
        body.extend_from_slice(UNKNOWN);
        let answer = receiver.send(Encoding::Protobuf.post(signal, body)).await?;
        receiver
            .taken(&answer, signal, Encoding::Protobuf)
            .map_err(|fail| fail.of(signal.name()))?;
    }
    // Within the span as well.
    let body = within_a_span(UNKNOWN);
    let answer = receiver.send(Encoding::Protobuf.post(Signal::Traces, body)).await?;
    receiver
        .taken(&answer, Signal::Traces, Encoding::Protobuf)
        .map_err(|fail| fail.of("a span"))?;
    Ok(Verdict::Pass)
}

async fn any_value(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let body = telemetry::rich(signal, "conformance");
        let answer = receiver.send(Encoding::Protobuf.post(signal, body)).await?;
        receiver
            .taken(&answer, signal, Encoding::Protobuf)
            .map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

/// Fields 1000 to 1003: a varint, 8 bytes, some bytes, 4 bytes.
pub(super) const UNKNOWN: &[u8] = &[
    0xc0, 0x3e, 0x96, 0x01, // 1000: 150
    0xc9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8, // 1001
    0xd2, 0x3e, 3, b'a', b'b', b'c', // 1002
    0xdd, 0x3e, 1, 2, 3, 4, // 1003
];

/// A request with one span that has an id and these bytes.
pub(super) fn within_a_span(bytes: &[u8]) -> Vec<u8> {
    let mut body = vec![0x0a, 16];
    body.extend(1..=16);
    body.extend([0x12, 8]);
    body.extend(1..=8);
    body.extend_from_slice(bytes);
    // Span in ScopeSpans in ResourceSpans in the request.
    for tag in [0x12, 0x12, 0x0a] {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(body.len() as u64, &mut outer);
        outer.append(&mut body);
        body = outer;
    }
    body
}

// === impl Verdict ===

impl Verdict {
    /// A failure with what it happened to.
    pub(crate) fn of(self, what: &str) -> Self {
        match self {
            Self::Fail(seen) => Self::Fail(format!("{what}: {seen}")),
            other => other,
        }
    }
}
