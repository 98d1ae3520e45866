//! The gateways that are measured: how each is built, started and configured.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{target_directory, workspace};

/// A gateway whose program is there.
#[derive(Debug)]
pub struct Gateway {
    /// Which one it is.
    pub kind: Kind,
    /// Its name and version, for the report.
    pub name: String,
    program: PathBuf,
}

/// The gateways that this benchmark knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Teleflow,
    /// The OpenTelemetry Collector, with contrib's `tail_sampling`.
    Collector,
}

/// What a gateway does between receiver and exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batches.
    Pass,
    /// Samples whole traces, then batches.
    Tail,
}

/// Where a gateway listens and where it sends to.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Its OTLP/gRPC receiver.
    pub receiver: SocketAddr,
    /// The sink.
    pub sink: SocketAddr,
    /// Its admin endpoint, if it has one.
    pub admin: SocketAddr,
}

// === impl Gateway ===

impl Gateway {
    /// Builds teleflow in release mode, or takes the program that `TELEFLOW_BIN` names.
    ///
    /// # Errors
    ///
    /// It does not build.
    pub fn teleflow() -> io::Result<Self> {
        let program = match env::var_os("TELEFLOW_BIN") {
            // A relative path means what it means to the caller, not to the package's folder.
            Some(path) => workspace().join(path),
            None => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
                let mut build = Command::new(cargo);
                build.args(["build", "--release", "--package", "teleflow-agent"]);
                run(build.current_dir(workspace()))?;
                target_directory().join("release").join("teleflow")
            }
        };
        if !program.is_file() {
            return Err(io::Error::other(format!("there is no {}", program.display())));
        }
        Ok(Self { kind: Kind::Teleflow, name: "teleflow".to_owned(), program })
    }

    /// Builds the Collector from `benches/peers/otelcol`, unless its sources are as they were.
    ///
    /// # Errors
    ///
    /// There is no Go toolchain, or it does not build.
    pub fn collector() -> io::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join("otelcol");
        let version = Command::new("go").arg("version").output();
        let Ok(version) = version else { return Err(io::Error::other("no Go toolchain")) };
        // All that the program is made of; building it takes minutes.
        let mut stamp = String::from_utf8_lossy(&version.stdout).into_owned();
        for file in ["go.mod", "go.sum", "main.go"] {
            stamp.push_str(&fs::read_to_string(sources.join(file))?);
        }
        let name = match module_version(&stamp, "/tailsamplingprocessor") {
            Some(version) => format!("OpenTelemetry Collector {version}"),
            None => "OpenTelemetry Collector".to_owned(),
        };

        let directory = target_directory().join("peers");
        fs::create_dir_all(&directory)?;
        let (program, stamped) = (directory.join("otelcol"), directory.join("otelcol.stamp"));
        let fresh = program.is_file() && fs::read_to_string(&stamped).is_ok_and(|old| old == stamp);
        if !fresh {
            let mut build = Command::new("go");
            build.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
            run(build.arg(&program).arg(".").current_dir(&sources))?;
            fs::write(&stamped, &stamp)?;
        }
        Ok(Self { kind: Kind::Collector, name, program })
    }

    /// How to start it with the configuration in `file`.
    ///
    /// Go takes the number of its threads from the affinity that the process inherits, and no
    /// memory limit is set for its collector: GOMAXPROCS and GOMEMLIMIT are left alone.
    pub fn command(&self, file: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("GOMAXPROCS").env_remove("GOMEMLIMIT").env_remove("GOGC");
        match self.kind {
            Kind::Teleflow => command.arg("run"),
            Kind::Collector => &mut command,
        }
        .arg("--config")
        .arg(file);
        command
    }

    /// Its configuration: one text for both but for what concerns the gateway itself.
    pub fn config(&self, mode: Mode, at: Addresses) -> String {
        let Addresses { receiver, sink, admin } = at;
        let (extensions, service, limit) = match self.kind {
            Kind::Teleflow => (
                format!("extensions:\n  admin:\n    endpoint: {admin}\n\n"),
                "  extensions: [admin]\n  telemetry:\n",
                // The Collector bounds traces by number alone; this is as little of a bound.
                "    max_bytes: 8589934592\n",
            ),
            // Its own metrics would open a port and cost it time.
            Kind::Collector => (String::new(), "  telemetry:\n    metrics: {level: none}\n", ""),
        };
        let (sampling, processors) = match mode {
            Mode::Pass => (String::new(), "[batch]"),
            Mode::Tail => (format!("{TAIL_SAMPLING}{limit}"), "[tail_sampling, batch]"),
        };
        format!(
            "\
{extensions}receivers:
  otlp:
    protocols:
      grpc:
        endpoint: {receiver}
        max_recv_msg_size_mib: 64

processors:
{sampling}  batch:
    send_batch_size: 8192
    timeout: 200ms

exporters:
  otlp:
    endpoint: {sink}
    compression: none
    tls: {{insecure: true}}
    sending_queue:
      enabled: true
      num_consumers: 10
      queue_size: 1000
      block_on_overflow: true

service:
{service}    logs: {{level: warn}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: {processors}
      exporters: [otlp]
"
        )
    }
}

/// Traces are complete within the wait, and there is room for all that come meanwhile, and for
/// the decided ones, which the Collector keeps a record of. A tenth of the room, or a decision
/// cache, which empties it, makes no difference to its figures.
const TAIL_SAMPLING: &str = "  tail_sampling:
    decision_wait: 2s
    num_traces: 2000000
    policies:
      - name: errors
        type: status_code
        status_code: {status_codes: [ERROR]}
      - name: slow
        type: latency
        latency: {threshold_ms: 1000}
      - name: share
        type: probabilistic
        probabilistic: {sampling_percentage: 10}
";

fn run(command: &mut Command) -> io::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {status}"))) }
}

/// The version that a go.mod requires of the module whose path ends so.
fn module_version<'a>(text: &'a str, path_end: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (path, version) = line.trim().split_once(' ')?;
        path.ends_with(path_end).then(|| version.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_stands_among_the_processors() {
        let gateway = |kind| Gateway { kind, name: String::new(), program: PathBuf::new() };
        let address = SocketAddr::from(([127, 0, 0, 1], 4317));
        let at = Addresses { receiver: address, sink: address, admin: address };
        for kind in [Kind::Teleflow, Kind::Collector] {
            let tail = gateway(kind).config(Mode::Tail, at);
            assert!(tail.contains("\nprocessors:\n  tail_sampling:\n    decision_wait"), "{tail}");
            assert!(tail.contains("\n  batch:\n"), "{tail}");
            assert!(!gateway(kind).config(Mode::Pass, at).contains("tail_sampling"));
        }
    }

    #[test]
    fn the_version_of_a_module_is_read() {
        let text = "require (\n\texample.com/a/other v1.0.0\n\texample.com/a/wanted v0.2.0\n)\n";
        assert_eq!(module_version(text, "/wanted"), Some("v0.2.0"));
        assert_eq!(module_version(text, "/missing"), None);
    }
}
