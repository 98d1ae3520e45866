//! Very many connections at once, and many small requests over them.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use teleflow_benches::bodies::Bodies;
use teleflow_benches::client::{Client, Protocol};
use teleflow_benches::encoding::Encoding;
use teleflow_benches::latency::Latencies;
use teleflow_benches::load::{Ended, Generator, Load, Pace};
use teleflow_benches::peer::{Gateway, Kind, Mode, Setup};
use teleflow_benches::process::{self, Cores};
use teleflow_benches::report::{Asked, Better, Rival};
use teleflow_benches::rig::Rig;
use teleflow_benches::sink::Sink;
use teleflow_benches::suite::Suite;

/// Connections that are wanted at once.
const WANTED: usize = 25_000;

/// Files that this process or the gateway has open beside them.
const OTHERS: usize = 200;

/// The open files that it takes.
pub(crate) const FILES: u64 = (WANTED + OTHERS) as u64;

/// Connections from one source address: fewer than it has ports.
const OF_AN_ADDRESS: usize = 5_000;

/// Requests a second over all connections.
const RATE: f64 = 20_000.0;

/// The spans of a small request.
const SPANS: usize = 2;

const SETUP: Setup = Setup { mode: Mode::Pass, encoding: Encoding::None, bounds: None };
const WARM_UP: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(8);

/// How long a gateway has to see that connections have come, or to give memory back.
const SETTLE: Duration = Duration::from_secs(1);

/// What a gateway does with very many connections.
struct Measured {
    /// Open at once.
    open: f64,
    /// Resident bytes for each before its first request, and after its last.
    fresh: f64,
    used: f64,
    /// Requests that were accepted, a second.
    rate: f64,
    /// Requests that were not.
    errors: f64,
    latencies: Latencies,
    problems: Vec<String>,
}

pub(crate) async fn run(suite: &mut Suite, files: u64) {
    let most = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHERS);
    let count = WANTED.min(most);
    suite.chapter(&format!("connections: {count} at once"));
    if count < WANTED {
        suite.report.note(format!(
            "connections: {WANTED} were wanted; no more than {files} files may be open here \
             (RLIMIT_NOFILE, which may not be raised)"
        ));
    }
    let mut theirs = Vec::new();
    for index in suite.rivals(&[Kind::Collector], &SETUP) {
        match crowd(&suite.rivals[index], count, suite.cores).await {
            Ok(measured) => {
                for problem in &measured.problems {
                    let name = suite.rivals[index].name.clone();
                    suite.report.note(format!("connections, {name}: {problem}"));
                }
                theirs.push((index, measured));
            }
            Err(error) => suite.failed("connections", index, &error),
        }
    }
    let ours = match &suite.ours {
        None => None,
        Some(gateway) => match crowd(gateway, count, suite.cores).await {
            Ok(measured) => Some(measured),
            Err(error) => return suite.unsound("connections", &error),
        },
    };
    if let Some(ours) = &ours {
        suite.sound &= ours.problems.is_empty();
        for problem in &ours.problems {
            suite.report.note(format!("connections, teleflow: {problem}"));
        }
    }
    type Figure = fn(&Measured) -> f64;
    let figures: [(&str, &'static str, Better, Figure); 8] = [
        ("open", "connections", Better::Higher, |m| m.open),
        ("bytes_fresh", "bytes each", Better::Lower, |m| m.fresh),
        ("bytes_used", "bytes each", Better::Lower, |m| m.used),
        ("requests", "requests/s", Better::Higher, |m| m.rate),
        ("p50", "ms", Better::Lower, |m| m.latencies.p50),
        ("p99", "ms", Better::Lower, |m| m.latencies.p99),
        ("p99.9", "ms", Better::Lower, |m| m.latencies.p999),
        ("errors", "requests", Better::Lower, |m| m.errors),
    ];
    for (word, unit, better, figure) in figures {
        let (metric, mine) = (suite.metric(&format!("crowd/{word}")), ours.as_ref().map(figure));
        let rival = theirs.first().map(|(index, theirs)| (*index, figure(theirs)));
        let rival = rival.map(|(index, value)| (suite.rivals[index].name.clone(), value));
        let rival = rival.as_ref().map(|(name, value)| Rival { name, value: *value });
        suite.report.row(metric, unit, better, mine, rival);
    }
    for (word, asked) in [
        ("open", Asked::AtLeast(WANTED as f64)),
        // What is due at the edges of the window may fall outside.
        ("requests", Asked::AtLeast(0.99 * RATE)),
        ("p99", Asked::AtMost(200.0)),
        ("errors", Asked::AtMost(0.0)),
    ] {
        suite.report.ask(suite.metric(&format!("crowd/{word}")), asked);
    }
}

async fn crowd(gateway: &Gateway, count: usize, cores: Cores) -> io::Result<Measured> {
    println!("\n{}: {count} connections, {RATE} requests/s", gateway.name);
    let sink = Sink::bind().await?;
    let rig = Rig::start(gateway, "connections", &SETUP, sink, cores).await?;
    let measured = measure(&rig, count).await;
    let mut measured = measured.map_err(|error| rig.explain(&error))?;
    measured.problems.extend(rig.stop().await?);
    Ok(measured)
}

async fn measure(rig: &Rig, count: usize) -> io::Result<Measured> {
    let (protocol, encoding) = (Protocol::Http, Encoding::None);
    let pace = Pace::SpansPerSecond(RATE * SPANS as f64);
    let load = Load { protocol, encoding, connections: count, lanes: 1, pace };
    let bodies = Arc::new(Bodies::new(SPANS, encoding, false)?);

    let before = rig.process.rss()?;
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let from = Ipv4Addr::new(127, 0, 1, 1 + (number / OF_AN_ADDRESS) as u8);
        let client = Client::connect(rig.at.http, Some(from), protocol, encoding).await;
        clients.push(client.map_err(|error| {
            io::Error::other(format!("connection {number} of {count}: {error}"))
        })?);
        if number % 5000 == 4999 {
            println!("  {} open", number + 1);
        }
    }
    time::sleep(SETTLE).await;
    clients.retain(|client| !client.is_closed());
    let open = clients.len();
    let fresh = rig.process.rss()?.saturating_sub(before) as f64 / open as f64;

    let mut problems = Vec::new();
    if let Some(books) = rig.books().await?.filter(|books| books.connections < open as u64) {
        problems.push(format!("{open} are open here, {} there", books.connections));
    }
    let generator = Generator::start(clients, load, &bodies);
    time::sleep(WARM_UP).await;
    let earlier = generator.sent();
    let (theirs, own) = (rig.process.cpu_time()?, process::own_cpu_time()?);
    generator.start_timing();
    time::sleep(WINDOW).await;
    let sent = generator.sent().since(&earlier);
    generator.stop_timing();
    let (theirs, own) = (rig.process.cpu_time()? - theirs, process::own_cpu_time()? - own);
    let Ended { sent: total, micros, refusal } = generator.stop().await?;
    rig.drain(total.accepted).await?;
    let used = rig.process.rss()?.saturating_sub(before) as f64 / open as f64;
    if let Some(books) = rig.books().await? {
        problems.extend(books.problems(total.accepted, rig.sink.spans()));
        println!("  sent again after a late answer: {} spans", books.sent_again(rig.sink.spans()));
    }
    let errors = (total.refused + total.failed) as f64 / SPANS as f64;
    if let Some(refusal) = refusal {
        problems.push(format!("{errors} requests not taken, first because: {refusal}"));
    }
    let rate = sent.accepted as f64 / SPANS as f64 / WINDOW.as_secs_f64();
    let latencies = Latencies::of(&micros);
    let Latencies { p50, p99, p999, max } = latencies;
    println!(
        "  {open} open, {fresh:.0} bytes each, {used:.0} after use; {rate:.0} requests/s, p50 \
         {p50:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2} ms, {errors} errors"
    );
    let of_window = |time: Duration| 100.0 * time.as_secs_f64() / WINDOW.as_secs_f64();
    let (theirs, own) = (of_window(theirs), of_window(own));
    println!("  gateway {theirs:.0} % of its core, generator and sink {own:.0} % of theirs");
    Ok(Measured { open: open as f64, fresh, used, rate, errors, latencies, problems })
}
