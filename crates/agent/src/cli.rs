//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::parse_duration;

/// Receives OpenTelemetry traces, metrics and logs, keeps the traces that matter, and delivers.
///
/// Reads the OpenTelemetry Collector's config file. Without one it listens on localhost:4317 (gRPC)
/// and localhost:4318 (HTTP), keeps traces with errors or over a second whole and 10 % of the rest,
/// and stores everything in ./teleflow.db.
#[derive(Debug, Parser)]
#[command(name = "teleflow", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  teleflow demo                        see it work, on telemetry it makes itself
  teleflow                             run with the built-in defaults
  teleflow run --config gateway.yaml   run with the Collector's config file
  teleflow validate --config gateway.yaml
  teleflow explain --trace 4bf92f3577b34da6a3ce929d0e0e4736
  curl localhost:8888/health           is it serving?
  curl localhost:8888/metrics          what has it done, and what was lost?
  sqlite3 teleflow.db 'SELECT service_name, name, count(*) FROM spans GROUP BY 1, 2'";

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the gateway until Ctrl-C or SIGTERM (the default command)
    Run(RunArgs),
    /// Runs the gateway and a generator that sends it a small shop's telemetry
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Checks a config file and starts nothing
    Validate(ValidateArgs),
    /// Tells what the sampler of a config file makes of a trace, and why: each policy's vote
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
}

const EXPLAIN_EXAMPLES: &str = "\
The trace is looked for in the stores that the file's sqlite exporters write, or in files of OTLP
requests. Policies that count, as rate limits do, answer as if it were the first trace. What a store
holds was kept: to see why something was not, ask about requests from before the sampler.

Examples:
  teleflow explain --config gateway.yaml --trace 4bf92f3577b34da6a3ce929d0e0e4736
  teleflow explain --trace 4bf92f3577b34da6a3ce929d0e0e4736   the built-in config, ./teleflow.db
  teleflow explain -c new.yaml --trace 4bf92f3577b34da6a3ce929d0e0e4736 --file a.pb b.json
  teleflow explain -c new.yaml --trace 4bf92f3577b34da6a3ce929d0e0e4736 --file -
  teleflow explain -c new.yaml --trace 4bf92f3577b34da6a3ce929d0e0e4736 --pipeline traces/2";

const DEMO_EXAMPLES: &str = "\
Examples:
  teleflow demo                 until Ctrl-C
  teleflow demo --for 10s       ten seconds, then the books and the slowest trace
  teleflow demo --rate 2000     two thousand traces a second
  teleflow demo --grpc 127.0.0.1:14317 --http 127.0.0.1:14318 --admin 127.0.0.1:18888";

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// The Collector's config file; without it, built-in defaults
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long to deliver what is held after Ctrl-C or SIGTERM; what is left then is counted as
    /// dropped. A second signal ends at once
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    pub(crate) drain_timeout: Duration,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ValidateArgs {
    /// The file to check
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// The file whose sampler is asked; without it, built-in defaults
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The trace: its id, in 32 hexadecimal digits
    #[arg(long, value_name = "ID")]
    pub(crate) trace: TraceId,
    /// Files of OTLP requests to look for it in, protobuf or JSON, one or one a line; `-` is the
    /// standard input [default: the stores of the file's sqlite exporters]
    #[arg(long = "file", value_name = "FILE", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// The pipeline whose sampler is asked, where several have one
    #[arg(long, value_name = "PIPELINE")]
    pub(crate) pipeline: Option<String>,
}

/// The id of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Ends by itself after so long [default: runs until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How many traces to send, at most 100000
    #[arg(
        long,
        value_name = "TRACES_PER_SECOND",
        default_value = "200",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) rate: u32,
    /// Where the gateway takes OTLP/gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    pub(crate) grpc: SocketAddr,
    /// Where the gateway takes OTLP/HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4318")]
    pub(crate) http: SocketAddr,
    /// Where the gateway answers /health and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8888")]
    pub(crate) admin: SocketAddr,
    /// The store; a file of an earlier demo is replaced
    #[arg(long, value_name = "FILE", default_value = "teleflow-demo.db")]
    pub(crate) store: PathBuf,
}

// === impl Cli ===

impl Cli {
    /// The command, which is `run` where none is given.
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

// === impl TraceId ===

impl FromStr for TraceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let id = id.ok_or("a trace id has 32 hexadecimal digits")?;
        if id == 0 { Err("zeros are no trace id") } else { Ok(Self(id.to_be_bytes())) }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for args in [&["teleflow", "-c", "x"][..], &["teleflow", "run", "--config", "x"]] {
            let Command::Run(run) = Cli::parse_from(args).command() else { panic!("{args:?}") };
            assert_eq!(run.config, Some(PathBuf::from("x")));
            assert_eq!(run.drain_timeout, Duration::from_secs(20));
        }
    }

    #[test]
    fn a_trace_id_is_32_digits() {
        let id = "4BF92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(id.parse::<TraceId>().unwrap().to_string(), id.to_lowercase());
        for odd in ["", "1", &"0".repeat(32), &"g".repeat(32), "+bf92f3577b34da6a3ce929d0e0e4736"] {
            assert!(odd.parse::<TraceId>().is_err(), "{odd}");
        }
    }
}
