//! One gateway in one case: started, loaded, watched, drained, stopped, and its books checked.

#![allow(clippy::print_stdout, reason = "minutes pass before the table: each trial prints its own")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time;

use crate::bodies::Bodies;
use crate::books::Books;
use crate::encoding::Encoding;
use crate::latency::Latencies;
use crate::load::{Ended, Generator, Load, Pace, Sent};
use crate::peer::{Gateway, Kind, Mode, Setup};
use crate::process::{self, Cores};
use crate::rig::Rig;
use crate::sink::Sink;

/// Above it the generator, not the gateway, may have set the rate.
const BUSY: f64 = 0.95;

/// Below it a gateway that is offered all it can take did not have the core to itself.
const FULL: f64 = 0.9;

/// One measurement of one gateway.
#[derive(Clone, Debug)]
pub struct Case {
    /// Such as `tail/grpc/100/none`; the part before the first slash is that of its mode.
    pub name: String,
    /// What the gateway is told.
    pub setup: Setup,
    /// The spans in a request.
    pub spans: usize,
    /// How they are offered.
    pub load: Load,
    /// The most spans a second that the sink takes, where it is to be slow.
    pub sink: Option<f64>,
    /// What the first seconds cost says nothing: connections, heaps and tables still grow.
    pub warm_up: Duration,
    /// How long is measured, after that.
    pub window: Duration,
}

/// What a gateway did in one case.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Spans in the window, by the answers.
    pub sent: Sent,
    /// The same of the whole trial.
    pub total: Sent,
    /// Spans that reached the sink in the whole trial.
    pub delivered: u64,
    /// The window, in seconds.
    pub elapsed: f64,
    /// What the gateway's process used of it.
    pub cpu_seconds: f64,
    /// What a span cost, in CPU seconds, from the window's begin until all were delivered: what
    /// waits in a queue at the window's end has its cost still before it.
    pub span_cost: f64,
    /// The times to an answer, in milliseconds.
    pub latencies: Latencies,
    /// The most memory the gateway had resident, in bytes.
    pub peak_rss: u64,
    /// What its books say in the end, if it has any.
    pub books: Option<Books>,
    /// What is wrong with the counts.
    pub problems: Vec<String>,
    /// Why the figures may say less than they seem to.
    pub remarks: Vec<String>,
}

/// Runs `gateway` through `case` and prints what it did.
///
/// # Errors
///
/// It does not start, ends early, or does not stop. Spans that are missing are no error: they are
/// among [`Measured::problems`].
pub async fn run(gateway: &Gateway, case: &Case, cores: Cores) -> io::Result<Measured> {
    println!("\n{}: {}", gateway.name, describe(case));
    let sink = match case.sink {
        Some(rate) => Sink::bind_slow(rate).await?,
        None => Sink::bind().await?,
    };
    // A tail sampler must see new traces all the time, to others it makes no difference.
    let fresh = case.setup.mode == Mode::Tail;
    let bodies = Arc::new(Bodies::new(case.spans, case.load.encoding, fresh)?);
    let rig = Rig::start(gateway, &case.name, &case.setup, sink, cores).await?;
    let measured = measure(&rig, case, &bodies).await;
    let mut measured = measured.map_err(|error| rig.explain(&error))?;
    measured.problems.extend(rig.stop().await?);
    let word = if gateway.kind == Kind::Teleflow { "ERROR" } else { "note" };
    for problem in &measured.problems {
        println!("  {word}: {problem}");
    }
    for remark in &measured.remarks {
        println!("  note: {remark}");
    }
    Ok(measured)
}

/// Measures the window, ends the load and waits for what the gateway still holds.
async fn measure(rig: &Rig, case: &Case, bodies: &Arc<Bodies>) -> io::Result<Measured> {
    let clients = case.load.connect(rig.at.of(case.load.protocol)).await?;
    let generator = Generator::start(clients, case.load, bodies);
    time::sleep(case.warm_up).await;
    let (before, out_before) = (generator.sent(), rig.sink.spans());
    let (theirs_before, ours) = (rig.process.cpu_time()?, process::own_cpu_time()?);
    let begin = Instant::now();
    generator.start_timing();
    time::sleep(case.window).await;
    let elapsed = begin.elapsed().as_secs_f64();
    let (theirs, ours) = (rig.process.cpu_time()? - theirs_before, process::own_cpu_time()? - ours);
    let (sent, received) = (generator.sent().since(&before), rig.sink.spans() - out_before);
    generator.stop_timing();
    let Ended { sent: total, micros, refusal } = generator.stop().await?;
    rig.drain(total.accepted).await?;
    let settled = rig.process.cpu_time()? - theirs_before;
    let spans = unsettled(total.accepted, rig.sink.spans(), out_before);

    let mut measured = Measured {
        sent,
        total,
        delivered: rig.sink.spans(),
        elapsed,
        cpu_seconds: theirs.as_secs_f64(),
        span_cost: settled.as_secs_f64() / spans,
        latencies: Latencies::of(&micros),
        peak_rss: rig.process.peak_rss()?,
        books: rig.books().await?,
        problems: Vec::new(),
        remarks: Vec::new(),
    };
    let Latencies { p50, p99, p999, .. } = measured.latencies;
    println!(
        "  {:.0} spans/s in, {:.0} out; {:.3} CPU-s per million; p50 {p50:.2}, p99 {p99:.2}, \
         p99.9 {p999:.2} ms",
        measured.rate(),
        received as f64 / elapsed,
        1e6 / measured.per_cpu_second(),
    );
    let busy = ours.as_secs_f64() / elapsed;
    println!(
        "  gateway {:.0} % of core {}, generator and sink {:.0} % of theirs; peak RSS {:.0} MiB",
        100.0 * measured.cpu_seconds / elapsed,
        rig.process.affinity()?,
        100.0 * busy,
        measured.peak_mib(),
    );
    println!(
        "  accepted {} spans, delivered {} in {} requests",
        total.accepted,
        measured.delivered,
        rig.sink.requests()
    );
    if let Some(error) = rig.sink.first_error() {
        measured.problems.push(format!("the sink could not take a request: {error}"));
    }
    let (compressed, all) = (rig.sink.compressed(), rig.sink.requests());
    if (compressed > 0) != (case.setup.encoding != Encoding::None) {
        let told = case.setup.encoding.name();
        let remark = format!("told to send {told}, sends {compressed} of {all} compressed");
        measured.remarks.push(remark);
    }
    measured.remark(case.load.pace, busy);
    measured.check(case, refusal);
    Ok(measured)
}

/// The spans that were worked off since `before` of all that were delivered had been: those that
/// were accepted, but for those that were already through. Of what a sampler takes a share comes
/// out, so each that does stands for several.
fn unsettled(accepted: u64, delivered: u64, before: u64) -> f64 {
    let through = before as f64 / delivered.max(1) as f64;
    accepted as f64 * (1.0 - through)
}

fn describe(case: &Case) -> String {
    let Load { protocol, encoding, connections, lanes, pace } = case.load;
    let rate = match pace.rate() {
        None => "as fast as it goes".to_owned(),
        Some(rate) => format!("{rate:.0} spans/s"),
    };
    let (name, spans, seconds) = (&case.name, case.spans, case.window.as_secs());
    let (protocol, encoding) = (protocol.name(), encoding.name());
    format!(
        "{name}: {protocol}, {encoding}, {spans} spans a request, {connections}x{lanes}, {rate}, \
         {seconds} s"
    )
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

// === impl Measured ===

impl Measured {
    /// Spans accepted and delivered for each second of CPU time.
    pub fn per_cpu_second(&self) -> f64 {
        1.0 / self.span_cost
    }

    /// Spans accepted a second.
    pub fn rate(&self) -> f64 {
        self.sent.accepted as f64 / self.elapsed
    }

    /// The most memory, in MiB.
    pub fn peak_mib(&self) -> f64 {
        self.peak_rss as f64 / f64::from(1 << 20)
    }

    /// Spans that were accepted and did not arrive, of whatever the reason, but for those that a
    /// sampler dropped by its own books.
    pub fn lost(&self) -> u64 {
        let sampled_out = self.books.as_ref().map_or(0, |books| books.sampled_out);
        self.total.accepted.saturating_sub(self.delivered + sampled_out)
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
            Pace::Closed | Pace::SpansPerSecond(_) | Pace::Impatient { .. } => {}
        }
    }

    /// Compares what was accepted with what came out.
    fn check(&mut self, case: &Case, refusal: Option<String>) {
        let overload = matches!(case.load.pace, Pace::Impatient { .. });
        let not_taken = self.total.refused + self.total.failed;
        let reason = refusal.unwrap_or_default();
        if not_taken > 0 && !overload {
            self.problems.push(format!("did not take {not_taken} spans, first because: {reason}"));
        } else if not_taken > 0 {
            self.remarks.push(format!("did not take {not_taken} spans, first because: {reason}"));
        }
        if let Some(books) = &self.books {
            self.problems.extend(books.problems(self.total.accepted, self.delivered));
            if books.sent_again(self.delivered) > 0 {
                let again = books.sent_again(self.delivered);
                self.remarks.push(format!("{again} spans were sent again after a late answer"));
            }
        }
        let (accepted, out) = (self.total.accepted, self.delivered);
        // What the books explain is no surprise.
        let may_exceed = self.books.is_some() || self.total.failed > 0;
        match case.setup.mode {
            // An answer can be lost on its way, so more may come than were told to be accepted.
            Mode::Pass if out < accepted || (out > accepted && !may_exceed) => {
                self.problems.push(format!("accepted {accepted} spans, delivered {out}"));
            }
            Mode::Tail if !overload => self.check_sampling(),
            Mode::Pass | Mode::Tail => {}
        }
    }

    /// Whether as much is kept as the policies want.
    fn check_sampling(&mut self) {
        let (accepted, out) = (self.total.accepted as f64, self.delivered);
        let must = self.total.must_keep;
        let share = out as f64 / accepted;
        let expected = must as f64 / accepted;
        let expected = expected + 0.1 * (1.0 - expected);
        println!(
            "  kept {:.2} %, expected about {:.2} %; of them {must} must be",
            100.0 * share,
            100.0 * expected,
        );
        if out < must {
            self.problems.push(format!("{must} spans must be kept, {out} were"));
        }
        if (share - expected).abs() > 0.01 {
            self.problems.push(format!("kept {share:.4}, not {expected:.4}, of all"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Protocol;

    fn measured(accepted: u64, delivered: u64) -> Measured {
        let sent = Sent { accepted, ..Sent::default() };
        Measured {
            sent,
            total: sent,
            delivered,
            elapsed: 1.0,
            cpu_seconds: 0.5,
            span_cost: 1e-6,
            latencies: Latencies::default(),
            peak_rss: 0,
            books: None,
            problems: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn case(mode: Mode, pace: Pace) -> Case {
        let (protocol, encoding) = (Protocol::Grpc, Encoding::None);
        Case {
            name: String::new(),
            setup: Setup { mode, encoding, bounds: None },
            spans: 2,
            load: Load { protocol, encoding, connections: 1, lanes: 1, pace },
            sink: None,
            warm_up: Duration::ZERO,
            window: Duration::ZERO,
        }
    }

    #[track_caller]
    fn check(mut measured: Measured, mode: Mode, pace: Pace, problems: usize) {
        measured.check(&case(mode, pace), None);
        assert_eq!(measured.problems.len(), problems, "{:?}", measured.problems);
    }

    #[test]
    fn what_passes_must_arrive_to_the_span() {
        check(measured(100, 100), Mode::Pass, Pace::Closed, 0);
        check(measured(100, 99), Mode::Pass, Pace::Closed, 1);
        check(measured(100, 101), Mode::Pass, Pace::Closed, 1);
        let overload = Pace::Impatient { rate: 1.0, patience: Duration::ZERO };
        check(measured(100, 99), Mode::Pass, overload, 1);
        let mut unanswered = measured(100, 101);
        unanswered.total.failed = 2;
        check(unanswered, Mode::Pass, overload, 0);
    }

    #[test]
    fn of_what_is_sampled_all_that_must_be_kept_arrives() {
        let with = |must_keep, delivered| {
            let mut measured = measured(10_000, delivered);
            measured.total.must_keep = must_keep;
            measured
        };
        check(with(1000, 1900), Mode::Tail, Pace::Closed, 0);
        check(with(1000, 2500), Mode::Tail, Pace::Closed, 1);
        check(with(1000, 900), Mode::Tail, Pace::Closed, 2);
    }

    #[test]
    fn a_backlog_is_worked_off_in_the_end() {
        assert_eq!(unsettled(1000, 1000, 0), 1000.0);
        // 400 were through when it began, whatever had been accepted by then.
        assert_eq!(unsettled(1000, 1000, 400), 600.0);
        // A fifth is kept: 50 at the sink were 250.
        assert_eq!(unsettled(1000, 200, 50), 750.0);
        assert_eq!(unsettled(0, 0, 0), 0.0);
    }

    #[test]
    fn lost_is_what_the_books_do_not_explain() {
        let mut measured = measured(100, 20);
        assert_eq!(measured.lost(), 80);
        measured.books = Some(Books { sampled_out: 79, ..Books::default() });
        assert_eq!(measured.lost(), 1);
    }
}
