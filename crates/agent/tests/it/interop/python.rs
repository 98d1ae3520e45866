//! The official SDK for Python.

use std::process::Command;

use super::{ALL, Protocol, check, said};
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
            Protocol::HttpJson => unreachable!("it has no exporter for JSON"),
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
        said(&output.stdout)
    });
}
