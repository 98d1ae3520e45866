//! `teleflow demo`: the gateway, and a small shop that sends it telemetry through real sockets.

mod encode;
mod generator;
mod report;
mod waterfall;
mod world;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use teleflow::Signal;
use teleflow::store::SqliteReader;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::DemoArgs;
use crate::config::{Config, Endpoint, Exporter, Extension, LogLevel, Processor, Receiver};
use crate::run::{Gateway, log_to_stderr, runtime};
use crate::stop;
use generator::Generator;
use report::Progress;

/// How long the demo waits for the spans of a trace: short, so that there is something to see.
const DECISION_WAIT: Duration = Duration::from_secs(1);

/// How long to deliver what is held at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    log_to_stderr(LogLevel::Warn);
    remove_store(&args.store)?;
    let config = configure(args);
    runtime()?.block_on(async {
        let stop = stop::on_signal().context("cannot listen for signals")?;
        let gateway = Gateway::start(&config).await.context(
            "the demo cannot start; if a port is taken, choose others: \
             --grpc 127.0.0.1:14317 --http 127.0.0.1:14318 --admin 127.0.0.1:18888",
        )?;
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
            let generated = sent.accepted[signal.index()];
            agree &= accepted == generated;
            let mark = if accepted == generated { "equal" } else { "DIFFER" };
            say!("{:<24}{generated:>12}{accepted:>12}  {mark}", signal.items_name());
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

/// The gateway that runs without a file, on the demo's ports and into the demo's store.
fn configure(args: &DemoArgs) -> Config {
    let mut config = Config::default_gateway();
    for component in config.receivers.values_mut() {
        let Receiver::Otlp(otlp) = component;
        if let Some(grpc) = &mut otlp.grpc {
            grpc.endpoint = endpoint(args.grpc);
        }
        if let Some(http) = &mut otlp.http {
            http.endpoint = endpoint(args.http);
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
        let Extension::Admin(admin) = component;
        admin.endpoint = endpoint(args.admin);
    }
    config
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { host: address.ip().to_string(), port: address.port() }
}

/// Removes the store of an earlier demo, with the files that SQLite keeps beside it; refuses to
/// remove a file that is no database.
fn remove_store(path: &Path) -> anyhow::Result<()> {
    let mut head = [0; 16];
    match fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut head)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(read) if read > 0 && !head.starts_with(b"SQLite format 3") => {
            bail!("{} is no store of an earlier demo; name another with --store", path.display())
        }
        Ok(_) => {}
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_database_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thesis.txt");
        fs::write(&path, "years of work").unwrap();
        let error = remove_store(&path).unwrap_err().to_string();
        assert!(error.contains("--store"), "{error}");
        assert!(path.exists());

        let store = folder.path().join("demo.db");
        for suffix in ["", "-wal", "-shm"] {
            fs::write(folder.path().join(format!("demo.db{suffix}")), b"SQLite format 3\0")
                .unwrap();
        }
        remove_store(&store).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the thesis is left");
        remove_store(&store).unwrap();
    }
}
