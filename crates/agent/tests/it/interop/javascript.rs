//! The official SDK for JavaScript: also the one that sends JSON.

use std::env;
use std::process::Command;

use super::{ALL, Protocol, check, said};
use crate::program::{Program, skipped};

/// Sends the scene; says what it sent.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/javascript/send.mjs");

#[test]
fn the_javascript_sdk_is_understood() {
    let Some(packages) = env::var_os("TELEFLOW_JAVASCRIPT") else {
        let reason = env::var("TELEFLOW_JAVASCRIPT_MISSING")
            .unwrap_or_else(|_| "`cargo xtask test` installs the JavaScript SDK".to_owned());
        return skipped("the_javascript_sdk_is_understood", &reason);
    };
    let json = [(Protocol::HttpJson, false), (Protocol::HttpJson, true)];
    check(&[&ALL[..], &json].concat(), |program: &Program, protocol, gzip, service| {
        let http = || format!("http://{}", program.http());
        let (name, endpoint) = match protocol {
            Protocol::Grpc => ("grpc", format!("http://{}", program.grpc())),
            Protocol::HttpProtobuf => ("http/protobuf", http()),
            Protocol::HttpJson => ("http/json", http()),
        };
        let compression = if gzip { "gzip" } else { "none" };
        let output = Command::new("node")
            .arg(SCRIPT)
            .arg(&packages)
            .args([name, &endpoint, compression, service])
            // Variables of the machine must not change what is sent.
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, {compression}: {errors}");
        said(&output.stdout)
    });
}
