//! `conformance`: the rules of OTLP against a receiver, ours by default, and against exporters.

use std::path::PathBuf;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::collector;
use crate::flags;
use crate::interop;
use crate::workspace::{self, Workspace};

/// Where the peers' sources and drivers are.
const PEERS: &str = "crates/conformance/peers";

/// Runs the suite; `--receiver` and `--exporter` choose, without them it is ours, both ways. Our
/// exporter is checked twice: in the gateway, told by its config file, and in a program, told by the
/// variables; over each of the three protocols.
pub fn run(sh: &Shell, workspace: &Workspace, flags: &flags::Conformance) -> Result<()> {
    let suite = build(sh, workspace, "teleflow-conformance", "otlp-conformance")?;
    if let Some(address) = &flags.receiver {
        let grpc = flags.grpc.iter().flat_map(|grpc| ["--grpc", grpc]);
        let run = cmd!(sh, "{suite} receiver --http {address}").args(grpc);
        return finish(run.run().is_ok());
    }

    let mut good = true;
    let teleflow = build(sh, workspace, "teleflow-agent", "teleflow")?;
    if !flags.exporter {
        good &= cmd!(sh, "{suite} receiver --teleflow {teleflow}").run().is_ok();
    }
    good &= cmd!(sh, "{suite} gateway --teleflow {teleflow}").run().is_ok();
    let driver = example(sh, workspace, "teleflow-exporter", "gzip json", "send")?;
    good &= cmd!(sh, "{suite} program -- {driver}").run().is_ok();
    if flags.peers {
        // What others break is theirs: it is shown, and fails nothing.
        match collector::build(sh, workspace) {
            Ok(collector) => {
                let run = cmd!(sh, "{suite} receiver --collector {collector}");
                run.ignore_status().run()?;
                cmd!(sh, "{suite} gateway --collector {collector}").ignore_status().run()?;
            }
            Err(error) => eprintln!("note: the Collector is left out: {error:#}"),
        }
        sdks(sh, workspace, &suite)?;
    }
    finish(good)
}

fn finish(good: bool) -> Result<()> {
    if !good {
        bail!("a check failed that must not");
    }
    Ok(())
}

/// Builds a program in release: requests of 64 MiB take long without.
fn build(sh: &Shell, workspace: &Workspace, package: &str, program: &str) -> Result<PathBuf> {
    let fixed = ["build", "--release", "--locked", "--package", package, "--bin", program];
    let cmd = workspace::cargo(sh, fixed);
    workspace::announce(sh, &cmd);
    cmd.run()?;
    Ok(workspace.target.join("release").join(program))
}

/// Builds an example with these features, in release as well.
fn example(
    sh: &Shell,
    workspace: &Workspace,
    package: &str,
    features: &str,
    name: &str,
) -> Result<PathBuf> {
    let fixed = ["build", "--release", "--locked", "--package", package];
    let rest = ["--features", features, "--example", name];
    let cmd = workspace::cargo(sh, fixed).args(rest);
    workspace::announce(sh, &cmd);
    cmd.run()?;
    Ok(workspace.target.join("release").join("examples").join(name))
}

/// The official SDKs, as far as they can be had.
fn sdks(sh: &Shell, workspace: &Workspace, suite: &PathBuf) -> Result<()> {
    let [python, javascript] = interop::prepare(sh, workspace)?;
    let peers = workspace.root.join(PEERS);
    if let Ok(python) = python.place() {
        let driver = peers.join("send.py");
        let protocols = ["--protocol", "grpc", "--protocol", "http/protobuf"];
        let run = cmd!(sh, "{suite} program").args(protocols).arg("--").arg(python).arg(driver);
        run.ignore_status().run()?;
    }
    if let Ok(packages) = javascript.place() {
        let driver = peers.join("send.mjs");
        cmd!(sh, "{suite} program -- node {driver} {packages}").ignore_status().run()?;
    }
    let driver = example(sh, workspace, "teleflow-conformance", "rust-sdk", "rust_sdk")?;
    cmd!(sh, "{suite} program -- {driver}").ignore_status().run()?;
    Ok(())
}
