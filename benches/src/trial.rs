//! One gateway in one case: started, loaded, watched, drained, stopped, and its books checked.

#![allow(clippy::print_stdout, reason = "minutes pass before the table: each trial prints its own")]

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time;

use crate::load::{Generator, Load, Pace, Sent};
use crate::payload::Payload;
use crate::peer::{Addresses, Gateway, Kind, Mode};
use crate::process::{self, Cores, Process};
use crate::report::target_directory;
use crate::sink::Sink;

/// How long a gateway may take to listen, to hand over what it holds, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Above it the generator, not the gateway, may have set the rate.
const BUSY: f64 = 0.95;

/// Below it a gateway that is offered all it can take did not have the core to itself.
const FULL: f64 = 0.9;

/// One measurement of one gateway.
#[derive(Clone, Debug)]
pub struct Case {
    /// Such as tail/512; the part before the slash is that of its mode.
    pub name: &'static str,
    /// What the gateway does.
    pub mode: Mode,
    /// The spans in a request.
    pub spans: usize,
    /// How they are offered.
    pub load: Load,
    /// What the first seconds cost says nothing: connections, heaps and tables still grow.
    pub warm_up: Duration,
    /// How long is measured, after that.
    pub window: Duration,
}

/// What a gateway did in one case.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Spans in the window, by the answers.
    pub spans: f64,
    /// The window, in seconds.
    pub elapsed: f64,
    /// What the gateway's process used of it.
    pub cpu_seconds: f64,
    /// The median time to an answer, in milliseconds.
    pub p50: f64,
    /// What one answer in a hundred took longer than, in milliseconds.
    pub p99: f64,
    /// The most memory the gateway had resident, in bytes.
    pub peak_rss: u64,
    /// What is wrong with the counts.
    pub problems: Vec<String>,
    /// Why the figures may say less than they seem to.
    pub remarks: Vec<String>,
}

/// Runs `gateway` through `case` and prints what it did.
///
/// Its configuration and its output stay in `target/bench`.
///
/// # Errors
///
/// It does not start, ends early, or does not stop. Spans that are missing are no error: they are
/// among [`Measured::problems`].
pub async fn run(gateway: &Gateway, case: &Case, cores: Cores) -> io::Result<Measured> {
    println!("\n{}: {}", gateway.name, describe(case));
    let mut run = Run::start(gateway, case, cores).await?;
    let measured = run.measure(case).await;
    let measured = measured.map_err(|error| run.explain(error))?;
    let measured = run.settle(measured).await?;
    let word = if gateway.kind == Kind::Teleflow { "ERROR" } else { "note" };
    for problem in &measured.problems {
        println!("  {word}: {problem}");
    }
    Ok(measured)
}

// === impl Case ===

impl Case {
    /// The same at a rate of so many spans a second.
    #[must_use]
    pub fn at(mut self, rate: f64) -> Self {
        self.load.pace = Pace::SpansPerSecond(rate);
        self
    }
}

fn describe(case: &Case) -> String {
    let Load { connections, lanes, pace } = case.load;
    let rate = match pace {
        Pace::Closed => "as fast as it goes".to_owned(),
        Pace::SpansPerSecond(rate) => format!("{rate:.0} spans/s"),
    };
    let (name, spans, seconds) = (case.name, case.spans, case.window.as_secs());
    format!("{name}, {spans} spans a request, {connections}x{lanes}, {rate}, {seconds} s")
}

// === impl Measured ===

impl Measured {
    /// Spans accepted for each second of CPU time.
    pub fn per_cpu_second(&self) -> f64 {
        self.spans / self.cpu_seconds
    }

    /// Spans accepted a second.
    pub fn rate(&self) -> f64 {
        self.spans / self.elapsed
    }

    /// Notes what else than the gateway may have set the rate.
    fn remark(&mut self, pace: Pace, busy: f64) {
        let share = self.cpu_seconds / self.elapsed;
        if busy > BUSY {
            self.remarks.push("the generator's core was full: the rate is the generator's".into());
        }
        match pace {
            Pace::Closed if share < FULL => self.remarks.push(format!(
                "used {:.0} % of its core: it waited for load, or something else ran there",
                100.0 * share
            )),
            Pace::SpansPerSecond(rate) if self.rate() < 0.98 * rate => {
                self.remarks.push(format!("took only {:.0} of {rate:.0} spans/s", self.rate()));
            }
            Pace::Closed | Pace::SpansPerSecond(_) => {}
        }
        for remark in &self.remarks {
            println!("  note: {remark}");
        }
    }

    /// The most memory, in MiB.
    pub fn peak_mib(&self) -> f64 {
        self.peak_rss as f64 / f64::from(1 << 20)
    }
}

// === one gateway in one case ===

/// The parts of a trial.
struct Run {
    process: Process,
    generator: Option<Generator>,
    sink: Sink,
}

impl Run {
    /// Starts the sink, the gateway and, once that listens, the load.
    async fn start(gateway: &Gateway, case: &Case, cores: Cores) -> io::Result<Self> {
        let directory = target_directory().join("bench");
        fs::create_dir_all(&directory)?;
        let stem = format!("gateway-{:?}-{}", gateway.kind, case.name.replace('/', "-"));
        let stem = stem.to_lowercase();
        let config = directory.join(format!("{stem}.yaml"));
        let log = directory.join(format!("{stem}.log"));

        let sink = Sink::bind().await?;
        let [receiver, admin] = free_addresses()?;
        let addresses = Addresses { receiver, sink: sink.address(), admin };
        fs::write(&config, gateway.config(case.mode, addresses))?;
        let payload = Arc::new(Payload::new(case.spans));
        let process = Process::spawn(gateway.command(&config), cores.theirs, &log)?;
        let mut run = Self { process, generator: None, sink };
        let started = match run.wait_for(receiver).await {
            Ok(()) => Generator::start(receiver, case.load, payload).await,
            Err(error) => Err(error),
        };
        run.generator = Some(started.map_err(|error| run.explain(error))?);
        Ok(run)
    }

    async fn wait_for(&mut self, receiver: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(receiver).await.is_err() {
            if let Some(status) = self.process.ended()? {
                return Err(io::Error::other(format!("ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("not listening after {PATIENCE:?}")));
            }
            time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Measures the window, ends the load and waits for what the gateway still holds.
    async fn measure(&mut self, case: &Case) -> io::Result<Measured> {
        let generator = self.generator.take().expect("start() leaves it here");
        time::sleep(case.warm_up).await;
        let (sent, received) = (generator.sent().accepted, self.sink.spans());
        let (theirs, ours) = (self.process.cpu_time()?, process::own_cpu_time()?);
        let begin = Instant::now();
        generator.start_timing();
        time::sleep(case.window).await;
        let elapsed = begin.elapsed().as_secs_f64();
        let (theirs, ours) = (self.process.cpu_time()? - theirs, process::own_cpu_time()? - ours);
        let (sent, received) = (generator.sent().accepted - sent, self.sink.spans() - received);
        generator.stop_timing();

        let refusal = generator.first_refusal();
        let (total, latencies) = generator.stop().await?;
        let mut problems = Vec::new();
        if total.refused > 0 {
            let reason = refusal.unwrap_or_default();
            problems.push(format!("refused {} spans, first because: {reason}", total.refused));
        }
        self.drain(case.mode, total.accepted).await;
        let mut measured = Measured {
            spans: sent as f64,
            elapsed,
            cpu_seconds: theirs.as_secs_f64(),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            peak_rss: self.process.peak_rss()?,
            problems,
            remarks: Vec::new(),
        };
        let busy = ours.as_secs_f64() / elapsed;
        println!(
            "  {:.0} spans/s in, {:.0} out; {:.3} CPU-s per million; p50 {:.2} ms, p99 {:.2} ms",
            measured.rate(),
            received as f64 / elapsed,
            1e6 / measured.per_cpu_second(),
            measured.p50,
            measured.p99,
        );
        println!(
            "  gateway {:.0} % of core {}, generator and sink {:.0} % of theirs; peak RSS {:.0} MiB",
            100.0 * measured.cpu_seconds / elapsed,
            self.process.affinity()?,
            100.0 * busy,
            measured.peak_mib(),
        );
        measured.remark(case.load.pace, busy);
        Ok(self.books(case.mode, total, measured))
    }

    /// Waits until nothing has come for longer than the gateway may hold a span.
    async fn drain(&self, mode: Mode, accepted: u64) {
        let holds = match mode {
            Mode::Pass => Duration::from_millis(1500),
            // The wait for decisions, its tick of a second, the batch.
            Mode::Tail => Duration::from_millis(4500),
        };
        let deadline = Instant::now() + PATIENCE;
        let (mut seen, mut since) = (self.sink.spans(), Instant::now());
        while since.elapsed() < holds && Instant::now() < deadline {
            time::sleep(Duration::from_millis(50)).await;
            let now = self.sink.spans();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            if mode == Mode::Pass && seen == accepted {
                return;
            }
        }
    }

    /// Compares what was accepted with what came out.
    fn books(&self, mode: Mode, total: Sent, mut measured: Measured) -> Measured {
        let (accepted, out) = (total.accepted, self.sink.spans());
        println!(
            "  accepted {accepted} spans, delivered {out} in {} requests",
            self.sink.requests()
        );
        if let Some(error) = self.sink.first_error() {
            measured.problems.push(format!("the sink could not take a request: {error}"));
        }
        match mode {
            Mode::Pass if out != accepted => {
                measured.problems.push(format!("accepted {accepted} spans, delivered {out}"));
            }
            Mode::Pass => {}
            Mode::Tail => {
                let must = total.must_keep;
                let share = out as f64 / accepted as f64;
                let expected = must as f64 / accepted as f64;
                let expected = expected + 0.1 * (1.0 - expected);
                println!(
                    "  kept {:.2} %, expected about {:.2} %; of them {must} must be",
                    100.0 * share,
                    100.0 * expected,
                );
                if out < must {
                    measured.problems.push(format!("{must} spans must be kept, {out} were"));
                }
                if (share - expected).abs() > 0.01 {
                    measured.problems.push(format!("kept {share:.4}, not {expected:.4}, of all"));
                }
            }
        }
        measured
    }

    /// Stops the gateway, which may hand over nothing more than it was waiting to.
    async fn settle(self, mut measured: Measured) -> io::Result<Measured> {
        let before = self.sink.spans();
        let status = self.process.stop(PATIENCE).await?;
        if !status.success() {
            measured.problems.push(format!("ended with {status} after SIGTERM"));
        }
        let late = self.sink.spans() - before;
        if late > 0 {
            measured.problems.push(format!("{late} spans came only at its end"));
        }
        Ok(measured)
    }

    fn explain(&self, error: io::Error) -> io::Error {
        io::Error::other(format!("{error}\nits last words:\n{}", self.process.last_words()))
    }
}

fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |micros| f64::from(*micros) / 1e3)
}

/// Loopback addresses that were free a moment ago, all different.
fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}
