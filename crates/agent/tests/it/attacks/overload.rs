//! Four times as much as is admitted, all at once: what is over it is refused and to be sent again,
//! the memory stays within the bound, and nothing is lost that was accepted.

use bytes::Bytes;
use teleflow::Signal;
use tokio::task::JoinSet;

use super::{GRPC, MIB, PROTOBUF, Usage};
use crate::books::Books;
use crate::malformed::client::{Client, frame, post};
use crate::program::Program;
use crate::shutdown::forwarding;
use crate::shutdown::sink::Sink;

/// What all requests together may have in flight, as the receiver has it by default.
const LIMIT: u64 = 256 * MIB;

/// What each request has.
const SIZE: u64 = 8 * MIB;

/// Four times of what fits.
const REQUESTS: u64 = 4 * LIMIT / SIZE;

/// Each with one span, for whose sake it is held.
fn request() -> Bytes {
    let attribute = field(0x0a, &vec![b'x'; SIZE as usize - 100]);
    let span = field(0x12, &field(0x0a, &[7; 16]));
    let resource = field(0x0a, &field(0x0a, &attribute));
    field(0x0a, &[resource, field(0x12, &span)].concat()).into()
}

fn field(key: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    prost::encode_length_delimiter(message.len(), &mut out).unwrap();
    out.extend_from_slice(message);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_times_the_limit_is_refused_but_for_the_limit_and_costs_no_more() {
    let sink = Sink::shut().await;
    // A request is held until the sink has answered it: there is no other place for it.
    let config = forwarding(sink.address, "", "batch")
        .replace("processors: [batch], ", "")
        .replace("block_on_overflow: true", "block_on_overflow: true, wait_for_result: true");
    let program = Program::start(&config, &["--drain-timeout", "60s"]);
    let before = Usage::of(&program);

    let (plain, framed) = (request(), Bytes::from(frame(0, &request())));
    let mut sent = JoinSet::new();
    for number in 0..REQUESTS {
        let (grpc, http) = (program.grpc(), program.http());
        let (plain, framed) = (plain.clone(), framed.clone());
        sent.spawn(async move {
            if number % 2 == 0 {
                let call = post(Signal::Traces.grpc_path(), &GRPC, framed);
                let answer = Client::http2(grpc).await.send(call).await.unwrap();
                let taken = answer.grpc_status() == Some(0);
                assert!(taken || answer.grpc_status() == Some(14), "{answer:?}");
                // RetryInfo.
                assert_eq!(answer.headers.contains_key("grpc-status-details-bin"), !taken);
                taken
            } else {
                let request = post("/v1/traces", &[PROTOBUF], plain);
                let answer = Client::http1(http).await.send(request).await.unwrap();
                let taken = answer.status == 200;
                assert!(taken || answer.status == 503, "{answer:?}");
                assert_eq!(answer.headers.contains_key("retry-after"), !taken);
                taken
            }
        });
    }
    // All that cannot be held is refused while all that is held still waits.
    let fit = LIMIT / SIZE;
    let mut taken = 0;
    for _ in 0..REQUESTS - fit {
        taken += u64::from(sent.join_next().await.unwrap().unwrap());
    }
    assert_eq!(taken, 0, "nothing is accepted while the sink takes nothing");
    sink.answer_one_by_one();
    while let Some(accepted) = sent.join_next().await {
        taken += u64::from(accepted.unwrap());
    }
    assert!(taken <= fit && taken >= fit / 2, "{taken} of {REQUESTS}");
    Usage::grew_by_no_more_than(LIMIT + LIMIT / 4, before, &program);

    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let row = Books::parse(&ended.stdout).of("traces").clone();
    assert_eq!((row.accepted, row.delivered, row.held), (taken, taken, 0), "{row:?}");
    assert_eq!(sink.items(Signal::Traces), taken);
}
