//! Checks a receiver or an exporter of OTLP against the protocol's rules.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a person reads what comes of it")]

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use teleflow_conformance::exporter::{Gateway, Program, Subject};
use teleflow_conformance::rule::{Level, Outcome, Side, Verdict};
use teleflow_conformance::server::Protocol;
use teleflow_conformance::{Kind, Receiver, Report, Started};

const HELP: &str = "\
Checks a receiver or an exporter of OTLP against the protocol's rules.

otlp-conformance receiver [--http HOST:PORT] [--grpc HOST:PORT] [--max-request-bytes N]
    [--filter TEXT]
otlp-conformance receiver (--teleflow | --collector) PROGRAM [--max-request-bytes N]
    Plays the client, of a receiver that runs or of one that it starts. The limit is what the
    receiver is configured to take; 64 MiB by default.

otlp-conformance gateway (--teleflow | --collector) PROGRAM [--filter TEXT]
    Plays the server of a gateway, which it starts with a config file and feeds.

otlp-conformance program [--protocol NAME].. [--filter TEXT] -- COMMAND [ARGUMENT]..
    Plays the server of a program that sends what the variables say: OTEL_EXPORTER_OTLP_*,
    CONFORMANCE_ITEMS, CONFORMANCE_BYTES, CONFORMANCE_SIGNAL. The protocols are grpc,
    http/protobuf and http/json; all of them by default.

Ends with 1 where a check failed that must not, with 2 where it was called wrongly.

Examples:
    otlp-conformance receiver --http localhost:4318 --grpc localhost:4317
    otlp-conformance gateway --teleflow target/release/teleflow
    otlp-conformance program --protocol grpc --filter 21. -- python send.py
";

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(env::args_os().skip(1).collect()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Vec<OsString>) -> Result<ExitCode, String> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|argument| format!("{} is no text", argument.display()))
    };
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<String>, String>>()?;
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref() {
        Some("receiver") => receiver(arguments).await,
        Some("gateway") => gateway(arguments).await,
        Some("program") => program(arguments).await,
        Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(format!("`{other}` is no command")),
        None => Err("what is to be checked?".to_owned()),
    }
}

async fn receiver(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    let (mut grpc, mut http, mut bytes, mut program) = (None, None, None, None);
    let mut filter = String::new();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--grpc" => grpc = Some(address(&value)?),
            "--http" => http = Some(address(&value)?),
            "--max-request-bytes" => {
                bytes = Some(value.parse().map_err(|error| wrong(&value, error))?)
            }
            "--filter" => filter = value,
            "--teleflow" => program = Some((Kind::Teleflow, value)),
            "--collector" => program = Some((Kind::Collector, value)),
            other => return Err(format!("`{other}` is no flag of `receiver`")),
        }
    }
    let mut started = None;
    if let Some((kind, program)) = program {
        let all = Started::new(kind, &file(&program)?, bytes.unwrap_or(64 << 20)).await;
        let all = all.map_err(|error| wrong(&program, error))?;
        (grpc, http) = (Some(all.receiver.grpc), Some(all.receiver.http));
        started = Some(all);
    }
    if grpc.is_none() && http.is_none() {
        return Err("an address is needed: --grpc, --http or both".to_owned());
    }
    let mut receiver = Receiver::new(grpc, http);
    receiver.max_request_bytes = bytes.unwrap_or(receiver.max_request_bytes);
    if let Some(started) = &started {
        started.join(&mut receiver);
    }
    let outcomes = receiver.check(&filter, progress).await;
    if let Some(mut started) = started {
        started.stop().await;
    }
    Ok(report(outcomes, &[Side::Receiver, Side::Both]))
}

async fn gateway(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    let (mut gateway, mut filter) = (None, String::new());
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--teleflow" => gateway = Some((Kind::Teleflow, value)),
            "--collector" => gateway = Some((Kind::Collector, value)),
            "--filter" => filter = value,
            other => return Err(format!("`{other}` is no flag of `gateway`")),
        }
    }
    let (kind, program) = gateway.ok_or_else(|| "which gateway?".to_owned())?;
    let subject = Subject::Gateway(Gateway { program: file(&program)?, kind });
    let outcomes = subject.check(&filter, progress).await;
    Ok(report(outcomes, &[Side::Exporter, Side::Both, Side::Table]))
}

async fn program(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    let (mut protocols, mut filter) = (Vec::new(), String::new());
    while let Some(argument) = arguments.next().filter(|argument| argument != "--") {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--protocol" => {
                let known = Protocol::ALL.into_iter().find(|protocol| protocol.name() == value);
                protocols.push(known.ok_or_else(|| format!("`{value}` is no protocol"))?);
            }
            "--filter" => filter = value,
            other => return Err(format!("`{other}` is no flag of `program`")),
        }
    }
    let command: Vec<String> = arguments.collect();
    if command.is_empty() {
        return Err("a command is needed after `--`".to_owned());
    }
    if protocols.is_empty() {
        protocols = Protocol::ALL.to_vec();
    }
    let subject = Subject::Program(Program { command, protocols });
    let outcomes = subject.check(&filter, progress).await;
    Ok(report(outcomes, &[Side::Exporter, Side::Both, Side::Table]))
}

/// The program itself: it runs in a folder of its own.
fn file(program: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(program).map_err(|error| wrong(program, error))?;
    if path.is_file() { Ok(path) } else { Err(format!("there is no {}", path.display())) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let mut found = bare.to_socket_addrs().map_err(|error| wrong(text, error))?;
    found.next().ok_or_else(|| format!("`{text}` has no address"))
}

fn wrong(value: &str, error: impl Display) -> String {
    format!("`{value}`: {error}")
}

fn progress(outcome: &Outcome) {
    match &outcome.verdict {
        Verdict::Pass => eprintln!("passed  {}", outcome.name),
        Verdict::Fail(_) => eprintln!("FAILED  {}", outcome.name),
        Verdict::NotApplicable(reason) => eprintln!("unseen  {}: {reason}", outcome.name),
    }
}

fn report(outcomes: Vec<Outcome>, sides: &[Side]) -> ExitCode {
    let report = Report { outcomes };
    print!("{}", report.table(sides));
    if report.failed(Level::Must) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
