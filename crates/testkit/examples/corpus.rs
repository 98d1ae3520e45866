//! Writes what the fuzz targets begin with: `cargo run -p teleflow-testkit --example corpus`, at the
//! workspace's root. Seeded: it writes the same again.

use std::path::Path;
use std::{fs, io};

use teleflow_otlp::{Code, ExportResponse, Signal, Status, json, tree};
use teleflow_testkit::mangle::{mangle, nested_value};
use teleflow_testkit::telemetry::Telemetry;

fn main() -> io::Result<()> {
    for signal in Signal::ALL {
        let mut telemetry = Telemetry::new(7);
        let mut several = Vec::new();
        for number in 0..12 {
            let request = telemetry.request(signal, 1 + number % 3);
            let (damaged, _) = mangle(telemetry.rng(), &request);
            write(signal.name(), &format!("request-{number}"), &request)?;
            write(signal.name(), &format!("damaged-{number}"), &damaged)?;
            if let Ok(text) = json::from_protobuf(signal, &request) {
                write("json", &format!("{}-{number}", signal.name()), text.as_bytes())?;
            }
            several.extend_from_slice(&request);
            several.push(0xff);
        }
        write(signal.name(), "nested", &nested_value(60))?;
        if signal == Signal::Traces {
            write("sampler", "several", &several)?;
        }
    }
    let mut status = Status::new(Code::Unavailable, "later");
    write("reply", "status", &status.encode())?;
    status.retry_delay = Some(std::time::Duration::from_millis(1500));
    write("reply", "retry", &status.encode())?;
    let partial = ExportResponse { rejected: 3, message: "too old".into() };
    write("reply", "partial", &partial.encode())?;
    conditions()?;
    write("config", "default", include_bytes!("../../agent/src/config/default.yaml"))?;
    write("config", "full", include_bytes!("../../agent/src/config/tests/full.yaml"))
}

/// Every twelfth condition of the sampler's tests, each with a span and what it is below.
fn conditions() -> io::Result<()> {
    let spans = include_bytes!("../../sampler/tests/it/ottl/spans.json");
    let (request, _) =
        json::to_protobuf(Signal::Traces, spans, spans.len()).map_err(io::Error::other)?;
    let mut below = Vec::new();
    for group in tree::resources(&request).take(1) {
        below.push(0xff);
        group.envelope(&mut below);
        for group in group.scopes() {
            below.push(0xff);
            group.envelope(&mut below);
            for span in group.items() {
                below.push(0xff);
                below.extend_from_slice(span.message);
            }
        }
    }
    let cases = include_str!("../../sampler/tests/it/ottl/cases.txt");
    let conditions = cases.lines().filter_map(|line| line.get(7..)).filter(|text| !text.is_empty());
    for (number, condition) in conditions.step_by(12).enumerate() {
        let input = [condition.as_bytes(), &below].concat();
        write("ottl", &format!("case-{number}"), &input)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new("fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
