//! Any bytes as the body of a call over gRPC, in pieces: taken exactly where it is one message, whole
//! and valid.

#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{Method, Request};
use libfuzzer_sys::fuzz_target;
use teleflow_fuzz::{Client, MAX_REQUEST_BYTES, Pieces, Served};
use teleflow_otlp::{Signal, validate};

thread_local! {
    static SERVED: RefCell<(Served, Client)> = RefCell::new({
        let served = Served::start(|_| {});
        let client = served.client();
        (served, client)
    });
}

/// What a message may be said to be compressed with; `None` says nothing.
const ENCODINGS: [Option<&str>; 4] = [None, Some("identity"), Some("gzip"), Some("br")];

fuzz_target!(|input: (u8, i8, [u8; 3], &[u8])| {
    let (how, off, cuts, rest) = input;
    let encoding = ENCODINGS[usize::from(how & 3)];
    let signal = Signal::ALL[usize::from(how >> 2) % 3];
    let body = if how & 16 == 0 {
        rest.to_vec()
    } else {
        let is_compressed = how & 32 != 0;
        let message = if is_compressed && how & 64 != 0 {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(rest).and_then(|()| encoder.finish()).expect("it is in memory")
        } else {
            rest.to_vec()
        };
        let length = (message.len() as u32).wrapping_add_signed(off.into());
        [&[u8::from(is_compressed)], &length.to_be_bytes()[..], &message].concat()
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://otlp{}", signal.grpc_path()))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = match encoding {
        Some(encoding) => request.header("grpc-encoding", encoding),
        None => request,
    };
    let request = request.body(Pieces::cut(&body, &cuts)).expect("it is a request");
    let expected = message(&body, encoding).filter(|bytes| validate(signal, bytes).is_ok());
    SERVED.with_borrow_mut(|(served, client)| {
        let answer = served.runtime.block_on(client.ask(true, request)).expect("an answer");
        assert_eq!(answer.status, 200, "of HTTP: gRPC says it in its own");
        assert_eq!(answer.headers["grpc-status"] == "0", expected.is_some(), "{answer:?}");
        let taken: Vec<u8> =
            served.taken().iter().flat_map(|payload| payload.to_bytes().to_vec()).collect();
        assert!(taken == expected.unwrap_or_default());
        served.check_idle();
    });
});

/// The one message in there, where there is one and nothing else.
fn message(body: &[u8], encoding: Option<&str>) -> Option<Vec<u8>> {
    let (prefix, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes")) as usize;
    if length != message.len() || length > MAX_REQUEST_BYTES || encoding == Some("br") {
        return None;
    }
    match (prefix[0], encoding) {
        (0, _) => Some(message.to_vec()),
        (1, Some("gzip")) => {
            let mut all = Vec::new();
            let most = MAX_REQUEST_BYTES as u64 + 1;
            MultiGzDecoder::new(message).take(most).read_to_end(&mut all).ok()?;
            (all.len() <= MAX_REQUEST_BYTES).then_some(all)
        }
        _ => None,
    }
}
