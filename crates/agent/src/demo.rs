//! `teleflow demo`: the gateway, and a small shop that sends it telemetry through real sockets.

mod encode;
mod generator;
mod report;
mod store;
mod waterfall;
mod world;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use teleflow::Signal;
use teleflow::exporter::AnyExporter;
use teleflow::store::SqliteReader;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::DemoArgs;
use crate::config::{
    Address, Config, Endpoint, Exporter, Extension, LogLevel, Processor, Receiver,
};
use crate::run::{Gateway, runtime};
use crate::{log, stop};
use generator::Generator;
use report::Progress;
use store::DemoStore;

/// How long the demo waits for the spans of a trace: short, so that there is something to see.
const DECISION_WAIT: Duration = Duration::from_secs(1);

/// How long to deliver what is held at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    log::start(LogLevel::Warn);
    let store = Arc::new(DemoStore::claim(&args.store)?);
    let config = configure(args);
    runtime()?.block_on(async {
        let stop = stop::on_signal().context("cannot listen for signals")?;
        let gateway = start(&config, &store).await.map_err(|error| {
            let hint = if is_port_taken(&error) { PORTS } else { "" };
            error.context(format!("the demo cannot start{hint}"))
        })?;
        // What is bound, not what was asked for: port 0 takes a free one.
        let receiver = "otlp";
        let grpc = gateway.pipeline.grpc_addr(receiver).unwrap_or(args.grpc);
        let http = gateway.pipeline.http_addr(receiver).unwrap_or(args.http);
        say!(
            "gateway: OTLP/gRPC on {grpc}, OTLP/HTTP on {http}, {}; {} traces a second",
            gateway.admin_urls(),
            args.rate
        );
        say!("keeping traces with errors or over 1 s whole, and 10 % of the rest");

        let generator = Generator::start(grpc, http, args.rate)?;
        let ends = args.duration.map(|duration| Instant::now() + duration);
        let mut progress = Progress::new();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        seconds.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => break,
                _ = seconds.tick() => {
                    say!("{}", progress.line(&gateway.pipeline, &generator.counts()));
                }
            }
        }
        // The clients stop first, as they would be told to by a gateway that goes away.
        let sent = generator.stop().await;
        let books = gateway.pipeline.shutdown(Instant::now() + DRAIN).await;

        say!("\n{books}");
        say!("{:<24}{:>12}{:>12}", "", "generated", "accepted");
        let mut agree = true;
        for signal in Signal::ALL {
            let accepted: u64 = books.of(signal).map(|account| account.accepted).sum();
            let (line, agrees) = report::compare(signal, &sent, accepted);
            agree &= agrees;
            say!("{line}");
        }
        if sent.failed > 0 {
            say!("{} requests failed, the last one because: {}", sent.failed, sent.last_error);
        }
        show_slowest(&args.store)?;
        if sent.failed > 0 && generator::total(&sent) == 0 {
            bail!("nothing that the demo sent was taken: {}", sent.last_error);
        }
        if !agree || !books.balance() {
            bail!("the books do not agree with what was sent: this is a defect of teleflow");
        }
        Ok(())
    })
}

/// What to do about a port that is taken.
const PORTS: &str = ", for a port is taken; choose others: \
                     --grpc 127.0.0.1:14317 --http 127.0.0.1:14318 --admin 127.0.0.1:18888";

/// Starts the gateway, and opens its store when it has its ports.
async fn start(config: &Config, store: &Arc<DemoStore>) -> anyhow::Result<Gateway> {
    let later = |config| {
        store.configure(config);
        Ok((AnyExporter::new(Arc::clone(store)), None))
    };
    Gateway::start_with(config, &later, || Ok(vec![("sqlite".to_owned(), store.open()?)])).await
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|error| error.downcast_ref::<io::Error>());
    errors.map(io::Error::kind).any(|kind| kind == io::ErrorKind::AddrInUse)
}

/// The gateway that runs without a file, on the demo's ports and into the demo's store.
fn configure(args: &DemoArgs) -> Config {
    let mut config = Config::default_gateway();
    for component in config.receivers.values_mut() {
        let Receiver::Otlp(otlp) = component;
        if let Some(grpc) = &mut otlp.grpc {
            grpc.endpoint = Address::Tcp(endpoint(args.grpc));
        }
        if let Some(http) = &mut otlp.http {
            http.endpoint = Address::Tcp(endpoint(args.http));
        }
    }
    for component in config.processors.values_mut() {
        if let Processor::TailSampling(tail) = component {
            tail.decision_wait = DECISION_WAIT;
        }
    }
    for component in config.exporters.values_mut() {
        if let Exporter::Sqlite(sqlite) = component {
            sqlite.path.clone_from(&args.store);
        }
    }
    for component in config.extensions.values_mut() {
        if let Extension::Admin(admin) = component {
            admin.endpoint = endpoint(args.admin);
        }
    }
    config
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { host: address.ip().to_string(), port: address.port() }
}

fn show_slowest(store: &Path) -> anyhow::Result<()> {
    let reader = SqliteReader::open(store)?;
    say!(
        "\nstored: {} spans, {} log records, {} metric points",
        reader.span_count()?,
        reader.log_count()?,
        reader.metric_point_count()?
    );
    if let Some(trace_id) = reader.slowest_trace(true)? {
        say!("\nthe slowest kept trace, {trace_id}:\n");
        say!("{}", waterfall::draw(&reader.trace(&trace_id)?));
    }
    say!(
        "\nlook further: sqlite3 {} 'SELECT service_name, name, count(*), \
              max(end_time_unix_nano - start_time_unix_nano) / 1e6 AS slowest_ms \
              FROM spans GROUP BY 1, 2 ORDER BY 4 DESC'",
        store.display()
    );
    Ok(())
}
