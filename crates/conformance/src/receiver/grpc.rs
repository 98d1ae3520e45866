//! Rules 1-3, 24, 25, 52-54 and 57 over gRPC.

use super::http::{UNKNOWN, within_a_span};
use super::json::WRONG_IDS;
use super::{Check, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::Signal;
use crate::telemetry;
use crate::wire::grpc::Call;
use crate::wire::gzip;

const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;

pub(super) const CHECKS: &[Check] = checks! {
    Must Grpc "1.grpc" plain;
    Must Grpc "1.grpc_gzip" zipped;
    Should Grpc "2.grpc_empty" empty;
    Must Grpc "3.grpc" unset;
    Should Grpc "24.bad_data_is_invalid_argument" bad_data;
    May Grpc "24.bad_data_has_bad_request" bad_request;
    Must Grpc "25.services" plain;
    Should Grpc "25.no_such_method" no_such_method;
    Should Grpc "52.grpc_short_ids" wrong_ids;
    Must Grpc "53.grpc_unknown_fields" unknown_fields;
    Must Grpc "54.grpc_any_value" any_value;
    Must Grpc "57.grpc_deep_nesting" deep;
};

fn good(signal: Signal) -> Vec<u8> {
    telemetry::request(signal, "conformance")
}

async fn plain(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let reply = receiver.call(Call::new(signal.grpc_path(), good(signal))).await?;
        receiver.accepted(&reply, signal).map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

async fn zipped(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let mut call = Call::new(signal.grpc_path(), gzip(&good(signal)));
        call.encoding = Some("gzip");
        let reply = receiver.call(call).await?;
        receiver.accepted(&reply, signal).map_err(|fail| fail.of(signal.name()))?;
    }
    let mut call = Call::new(Signal::Traces.grpc_path(), good(Signal::Traces));
    call.encoding = Some("gzip");
    let reply = receiver.call(call).await?;
    Ok(Verdict::expect(reply.code != 0, || {
        "what is not gzip, but said to be, was taken".to_owned()
    }))
}

async fn empty(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let reply = receiver.call(Call::new(signal.grpc_path(), Vec::new())).await?;
        receiver.accepted(&reply, signal).map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

async fn unset(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let reply = receiver.call(Call::new(signal.grpc_path(), good(signal))).await?;
        receiver.accepted(&reply, signal)?;
        if let Ok(Some(partial)) = signal.partial(&reply.body) {
            return Ok(Verdict::Fail(format!("{}: {partial:?}", signal.name())));
        }
    }
    Ok(Verdict::Pass)
}

async fn bad_data(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = receiver.call(Call::new(Signal::Traces.grpc_path(), vec![0xff; 16])).await?;
    Ok(Verdict::expect(reply.code == INVALID_ARGUMENT, || {
        format!("INVALID_ARGUMENT was due, not status {}", reply.code)
    }))
}

async fn bad_request(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let reply = receiver.call(Call::new(Signal::Traces.grpc_path(), vec![0xff; 16])).await?;
    let has = reply.details.is_some_and(|details| details.has("BadRequest"));
    Ok(Verdict::expect(has, || "no BadRequest in the details".to_owned()))
}

async fn no_such_method(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/NoSuchMethod";
    let reply = receiver.call(Call::new(path, Vec::new())).await?;
    Ok(Verdict::expect(reply.code == UNIMPLEMENTED, || {
        format!("UNIMPLEMENTED was due, not status {}", reply.code)
    }))
}

async fn wrong_ids(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for (what, bytes) in WRONG_IDS {
        let call = Call::new(Signal::Traces.grpc_path(), within_a_span(bytes));
        let reply = receiver.call(call).await?;
        if reply.code != INVALID_ARGUMENT {
            return Ok(Verdict::Fail(format!("{what} was answered with status {}", reply.code)));
        }
    }
    Ok(Verdict::Pass)
}

async fn unknown_fields(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let mut outside = good(Signal::Traces);
    outside.extend_from_slice(UNKNOWN);
    for message in [outside, within_a_span(UNKNOWN)] {
        let reply = receiver.call(Call::new(Signal::Traces.grpc_path(), message)).await?;
        receiver.accepted(&reply, Signal::Traces)?;
    }
    Ok(Verdict::Pass)
}

async fn any_value(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for signal in Signal::ALL {
        let message = telemetry::rich(signal, "conformance");
        let reply = receiver.call(Call::new(signal.grpc_path(), message)).await?;
        receiver.accepted(&reply, signal).map_err(|fail| fail.of(signal.name()))?;
    }
    Ok(Verdict::Pass)
}

async fn deep(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let path = Signal::Traces.grpc_path();
    let reply = receiver.call(Call::new(path, telemetry::deep(10_000))).await?;
    if ![0, INVALID_ARGUMENT].contains(&reply.code) {
        return Ok(Verdict::Fail(format!(
            "10 000 levels were answered with status {}",
            reply.code
        )));
    }
    let reply = receiver.call(Call::new(path, good(Signal::Traces))).await?;
    receiver.accepted(&reply, Signal::Traces).map_err(|fail| fail.of("the next request"))?;
    Ok(Verdict::Pass)
}
