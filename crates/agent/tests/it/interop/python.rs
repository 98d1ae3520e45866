//! The official SDK for Python.

use std::process::Command;

use serde_json::Value;

use super::{ALL, Protocol, Sent, SentSpan, check};
use crate::program::{Program, skipped};

/// Sends the scene; says what it sent.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/send.py");

#[test]
fn the_python_sdk_is_understood() {
    let Some(python) = std::env::var_os("TELEFLOW_PYTHON") else {
        let reason = std::env::var("TELEFLOW_PYTHON_MISSING")
            .unwrap_or_else(|_| "`cargo xtask test` installs the Python SDK".to_owned());
        return skipped("the_python_sdk_is_understood", &reason);
    };
    check(&ALL, |program: &Program, protocol, gzip, service| {
        let (name, endpoint) = match protocol {
            Protocol::Grpc => ("grpc", program.grpc().to_string()),
            Protocol::HttpProtobuf => ("http/protobuf", format!("http://{}", program.http())),
        };
        let compression = if gzip { "gzip" } else { "none" };
        let output = Command::new(&python)
            .args([SCRIPT, name, &endpoint, compression, service])
            // Variables of the machine must not change what is sent.
            .env_clear()
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, {compression}: {errors}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let span = |name: &str| {
            let span = &said["spans"][name];
            SentSpan {
                id: span["span_id"].as_str().unwrap().to_owned(),
                start: span["start"].as_i64().unwrap(),
                end: span["end"].as_i64().unwrap(),
            }
        };
        let trace_id = said["trace_id"].as_str().unwrap().to_owned();
        let event = said["event"].as_i64().unwrap();
        Sent { trace_id, parent: span("parent"), child: span("child"), event }
    });
}
