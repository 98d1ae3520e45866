//! Any bytes as what a server answers: responses and `google.rpc.Status`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teleflow_otlp::{ExportResponse, Status};

fuzz_target!(|bytes: &[u8]| {
    let status = Status::decode(bytes);
    // What we write is what we read.
    let again = Status::decode(&status.encode());
    assert_eq!((again.code, &again.message), (status.code, &status.message));
    if let Some(response) = ExportResponse::decode(bytes) {
        assert_eq!(ExportResponse::decode(&response.encode()), Some(response));
    }
});
