//! Any bytes as a request of logs: to us what they are to prost, in views, cuts and JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teleflow_otlp::{Signal, json};
use teleflow_testkit::differential;

fuzz_target!(|bytes: &[u8]| {
    if differential::check(Signal::Logs, bytes).is_some() {
        let text = json::from_protobuf(Signal::Logs, bytes).expect("it is valid");
        if let Err(error) = differential::check_json(Signal::Logs, text.as_bytes()) {
            // Readers of JSON allow less depth than those of protobuf.
            assert!(error.to_string().contains("recursion limit"), "{error}: {text}");
        }
    }
});
