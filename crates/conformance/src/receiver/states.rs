//! Rules 24, 35 and 39 of a receiver that is in a state: one like it has no room, or a backend that
//! takes requests in part.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::{Check, Encoding, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::grpc::{Call, Reply};
use crate::wire::http::Answer;

pub(super) const CHECKS: &[Check] = checks! {
    Should Any "24.overload_is_unavailable" unavailable;
    May Any "24.overload_has_retry_info" retry_info;
    Should Any "39.overload_is_429_or_503" too_many;
    May Any "39.overload_has_retry_after" retry_after;
    Must Any "35.partial_success_is_200" partly;
};

/// How many requests at once are too many for one that holds one or two.
const MANY: usize = 8;

const UNAVAILABLE: i32 = 14;

/// The first answer over gRPC that is no success. What is taken gets none: nobody answers behind it.
async fn refusal(receiver: &Receiver) -> Result<Reply, Verdict> {
    let twin = receiver.overloaded.as_deref().ok_or_else(|| unseen("overload"))?;
    let message = || telemetry::request(Signal::Traces, "conformance");
    let call = || twin.call(Call::new(Signal::Traces.grpc_path(), message()));
    let mut calls: FuturesUnordered<_> = (0..MANY).map(|_| call()).collect();
    while let Some(reply) = calls.next().await {
        let reply = reply?;
        if reply.code != 0 {
            return Ok(reply);
        }
    }
    Err(Verdict::NotApplicable(format!("it took {MANY} requests with nowhere to go")))
}

/// The same over HTTP.
async fn http_refusal(receiver: &Receiver) -> Result<Answer, Verdict> {
    let twin = receiver.overloaded.as_deref().ok_or_else(|| unseen("overload"))?;
    let encoding = Encoding::Protobuf;
    let post = || twin.send(encoding.post(Signal::Traces, encoding.request(Signal::Traces)));
    let mut posts: FuturesUnordered<_> = (0..MANY).map(|_| post()).collect();
    while let Some(answer) = posts.next().await {
        let answer = answer?;
        if answer.status != 200 {
            return Ok(answer);
        }
    }
    Err(Verdict::NotApplicable(format!("it took {MANY} requests with nowhere to go")))
}

fn unseen(what: &str) -> Verdict {
    Verdict::NotApplicable(format!("{what} cannot be caused from outside"))
}

async fn unavailable(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = refusal(receiver).await?;
    Ok(Verdict::expect(reply.code == UNAVAILABLE, || {
        format!("UNAVAILABLE was due, not status {}", reply.code)
    }))
}

async fn retry_info(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = refusal(receiver).await?;
    let has = reply.details.is_some_and(|details| details.has("RetryInfo"));
    Ok(Verdict::expect(has, || "no RetryInfo in the details".to_owned()))
}

async fn too_many(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let answer = http_refusal(receiver).await?;
    Ok(Verdict::expect([429, 503].contains(&answer.status), || {
        format!("429 or 503 was due, not {}", answer.status)
    }))
}

async fn retry_after(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let answer = http_refusal(receiver).await?;
    let has = answer.header("retry-after").is_some();
    Ok(Verdict::expect(has, || "no Retry-After".to_owned()))
}

/// What is said of the items that were not taken is looked at by the checks of 4, 5 and 6.
async fn partly(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let twin = receiver.partly.as_deref().ok_or_else(|| unseen("a partial success"))?;
    let before = receiver.partials().len();
    for signal in Signal::ALL {
        let message = telemetry::request(signal, "conformance");
        let reply = twin.call(Call::new(signal.grpc_path(), message)).await?;
        receiver.accepted(&reply, signal)?;
        for encoding in Encoding::ALL {
            let answer = twin.send(encoding.post(signal, encoding.request(signal))).await?;
            receiver.taken(&answer, signal, encoding)?;
        }
    }
    if receiver.partials().len() == before {
        let reason = "it does not pass on what its backend rejects";
        return Ok(Verdict::NotApplicable(reason.to_owned()));
    }
    Ok(Verdict::Pass)
}
