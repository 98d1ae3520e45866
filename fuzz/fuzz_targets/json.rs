//! Any text as a request in JSON: what is taken is valid protobuf, and comes back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teleflow_otlp::Signal;
use teleflow_testkit::differential;

fuzz_target!(|text: &[u8]| {
    for signal in Signal::ALL {
        let _ = differential::check_json(signal, text);
    }
});
