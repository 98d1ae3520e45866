//! Any bytes as a compressed request, through the receiver's own way of reading it: what is taken is
//! what another reader inflates, and never more than a request may have.

#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{Method, Request, StatusCode};
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

fuzz_target!(|input: (u8, u16, u8, [u8; 2], &[u8])| {
    let (how, at, change, cuts, rest) = input;
    let is_zstd = how & 1 != 0;
    let mut sent = if how & 2 == 0 {
        rest.to_vec()
    } else {
        // Many times the same: what protobuf merges, and what inflates to more than is sent.
        compressed(is_zstd, &rest.repeat(1 + usize::from(how >> 2).pow(2)))
    };
    if !sent.is_empty() {
        let at = usize::from(at) % sent.len();
        sent[at] ^= change;
    }
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://otlp/v1/traces")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", if is_zstd { "zstd" } else { "gzip" })
        .body(Pieces::cut(&sent, &cuts))
        .expect("it is a request");
    // A body of nothing is an empty request, however it is said to be compressed.
    let expected = if sent.is_empty() { Some(Vec::new()) } else { inflated(is_zstd, &sent) };
    let expected = expected.filter(|bytes| validate(Signal::Traces, bytes).is_ok());
    SERVED.with_borrow_mut(|(served, client)| {
        let answer = served.runtime.block_on(client.ask(false, request));
        let is_taken = answer.is_some_and(|answer| answer.status == StatusCode::OK);
        assert_eq!(is_taken, expected.is_some());
        let taken: Vec<u8> =
            served.taken().iter().flat_map(|payload| payload.to_bytes().to_vec()).collect();
        assert!(taken == expected.unwrap_or_default());
        served.check_idle();
    });
});

fn compressed(is_zstd: bool, bytes: &[u8]) -> Vec<u8> {
    if is_zstd {
        return zstd::encode_all(bytes, 1).expect("it is in memory");
    }
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("it is in memory")
}

/// All of it, where it is no more than a request may have.
fn inflated(is_zstd: bool, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let most = MAX_REQUEST_BYTES as u64 + 1;
    if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
        decoder.window_log_max(23).ok()?;
        decoder.take(most).read_to_end(&mut all).ok()?;
    } else {
        MultiGzDecoder::new(bytes).take(most).read_to_end(&mut all).ok()?;
    }
    (all.len() <= MAX_REQUEST_BYTES).then_some(all)
}
