//! The gateways beside each other in one case after the other, and what the report says of it.

#![allow(clippy::print_stdout, reason = "minutes pass before the table")]

use std::io;
use std::time::{Duration, Instant};

use crate::client::Protocol;
use crate::encoding::Encoding;
use crate::load::{Load, Pace};
use crate::peer::{Gateway, Kind, Mode, Setup};
use crate::process::Cores;
use crate::report::{Better, Report, Rival};
use crate::trial::{self, Case, Measured};

/// What all take with ease, where no rival sets the rate.
const RATE_WITHOUT_RIVAL: f64 = 100_000.0;

/// The spans of a large request.
const LARGE: usize = 512;

/// The gateways of a run, and its report.
#[derive(Debug)]
pub struct Suite {
    /// What is said in the end.
    pub report: Report,
    /// Where the gateways run, and where the generator and the sink do.
    pub cores: Cores,
    /// Ours, unless only another one is wanted.
    pub ours: Option<Gateway>,
    /// The others that can be had here.
    pub rivals: Vec<Gateway>,
    /// Whether ours has neither lost nor made up spans, nor failed.
    pub sound: bool,
    prefix: &'static str,
    started: Instant,
}

/// What was measured in one case.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Ours.
    pub ours: Option<Measured>,
    /// The others, with their place in [`Suite::rivals`].
    pub theirs: Vec<(usize, Measured)>,
}

// === impl Suite ===

impl Suite {
    /// Builds or fetches the gateways, or only the one that is named, and notes which cannot be had.
    ///
    /// # Errors
    ///
    /// There is no gateway of that name, or ours does not build.
    pub fn new(
        prefix: &'static str,
        cores: Cores,
        kinds: &[Kind],
        only: Option<&str>,
    ) -> io::Result<Self> {
        let mut report = Report::new(prefix);
        if let Some(only) = only.filter(|only| !kinds.iter().any(|kind| kind.word() == *only)) {
            let names: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
            return Err(io::Error::other(format!("no gateway {only}: one of {names:?}")));
        }
        let (mut ours, mut rivals) = (None, Vec::new());
        for kind in kinds.iter().filter(|kind| only.is_none_or(|only| only == kind.word())) {
            let found = match kind {
                Kind::Teleflow => {
                    ours = Some(Gateway::teleflow()?);
                    continue;
                }
                Kind::Collector => Gateway::collector(),
                Kind::Rotel => Gateway::rotel(),
            };
            match found {
                Ok(gateway) => rivals.push(gateway),
                Err(why) => report.note(format!("{} was not measured: {why}", kind.word())),
            }
        }
        report
            .note("one core each; Go's GOMAXPROCS follows from it, GOGC and GOMEMLIMIT are unset");
        Ok(Self { report, cores, ours, rivals, sound: true, prefix, started: Instant::now() })
    }

    /// Says which part comes next, and how long all has taken so far.
    pub fn chapter(&self, title: &str) {
        println!("\n=== {title} ({} s so far) ===", self.started.elapsed().as_secs());
    }

    /// What is measured, with the benchmark's name before it.
    pub fn metric(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// The others, of these kinds, that can do what the case asks.
    pub fn rivals(&self, kinds: &[Kind], setup: &Setup) -> Vec<usize> {
        let able = |gateway: &Gateway| kinds.contains(&gateway.kind) && gateway.can(setup);
        (0..self.rivals.len()).filter(|index| able(&self.rivals[*index])).collect()
    }

    /// Runs ours and the rivals of these kinds through a case. Whoever fails is noted and has no
    /// figures.
    pub async fn measure(&mut self, case: &Case, kinds: &[Kind]) -> Outcome {
        let mut outcome = Outcome::default();
        for index in self.rivals(kinds, &case.setup) {
            let gateway = &self.rivals[index];
            match trial::run(gateway, case, self.cores).await {
                Ok(measured) => {
                    let said = measured.problems.iter().chain(&measured.remarks);
                    let name = format!("{}, {}", case.name, gateway.name);
                    said.for_each(|text| self.report.note(format!("{name}: {text}")));
                    outcome.theirs.push((index, measured));
                }
                Err(error) => self.failed(&case.name, index, &error),
            }
        }
        let Some(gateway) = &self.ours else { return outcome };
        match trial::run(gateway, case, self.cores).await {
            Ok(measured) => {
                self.sound &= measured.problems.is_empty();
                for text in measured.problems.iter().chain(&measured.remarks) {
                    self.report.note(format!("{}, {}: {text}", case.name, gateway.name));
                }
                outcome.ours = Some(measured);
            }
            Err(error) => self.unsound(&case.name, &error),
        }
        outcome
    }

    /// Notes that a rival could not be measured.
    pub fn failed(&mut self, case: &str, index: usize, error: &io::Error) {
        println!("  not measured: {error}");
        let first = error.to_string();
        let first = first.lines().next().unwrap_or_default();
        let name = &self.rivals[index].name;
        self.report.note(format!("{case}, {name}: not measured: {first}"));
    }

    /// Notes that ours failed.
    pub fn unsound(&mut self, case: &str, error: &io::Error) {
        println!("  ERROR: {error}");
        self.sound = false;
        self.report.note(format!("{case}: ours failed: {error}"));
    }

    /// Adds a row for each rival that was measured, or one without.
    pub fn row(
        &mut self,
        metric: &str,
        unit: &'static str,
        better: Better,
        outcome: &Outcome,
        figure: impl Fn(&Measured) -> f64,
    ) {
        let (ours, metric) = (outcome.ours.as_ref().map(&figure), self.metric(metric));
        for (index, theirs) in &outcome.theirs {
            let rival = Rival { name: &self.rivals[*index].name, value: figure(theirs) };
            self.report.row(&metric, unit, better, ours, Some(rival));
        }
        if outcome.theirs.is_empty() && ours.is_some() {
            self.report.row(&metric, unit, better, ours, None);
        }
    }

    /// Measures how much each takes and what a span costs it.
    pub async fn capacity(&mut self, case: &Case, kinds: &[Kind]) -> Outcome {
        let outcome = self.measure(case, kinds).await;
        let (name, unit) = (&case.name, "spans/CPU-s");
        let headline = format!("{}/spans_per_cpu_second", case.setup.mode.name());
        if is_headline(case) {
            self.row(&headline, unit, Better::Higher, &outcome, Measured::per_cpu_second);
        }
        let metric = format!("{name}/spans_per_cpu_second");
        self.row(&metric, unit, Better::Higher, &outcome, Measured::per_cpu_second);
        let metric = format!("{name}/cpu_seconds_per_million_spans");
        self.row(&metric, "CPU-s", Better::Lower, &outcome, |measured| {
            1e6 / measured.per_cpu_second()
        });
        let metric = format!("{name}/accepted");
        self.row(&metric, "spans/s", Better::Higher, &outcome, Measured::rate);
        self.latencies(name, &outcome);
        let metric = format!("{name}/peak_rss");
        self.row(&metric, "MiB", Better::Lower, &outcome, Measured::peak_mib);
        outcome
    }

    /// The latencies of a case.
    pub fn latencies(&mut self, name: &str, outcome: &Outcome) {
        type Figure = fn(&Measured) -> f64;
        let figures: [(&str, Figure); 3] = [
            ("p50", |measured| measured.latencies.p50),
            ("p99", |measured| measured.latencies.p99),
            ("p99.9", |measured| measured.latencies.p999),
        ];
        for (word, figure) in figures {
            self.row(&format!("{name}/{word}"), "ms", Better::Lower, outcome, figure);
        }
    }

    /// Measures large requests over gRPC, as fast as they are taken and paced, where the names
    /// contain `filter`.
    ///
    /// Paced, ours and the Collector are offered the same: `rate` spans a second, or nine tenths of
    /// what the Collector sustains. That compares the latencies and the memory that this takes.
    pub async fn large_and_paced(
        &mut self,
        plan: &Plan,
        mode: Mode,
        filter: &str,
        rate: Option<f64>,
    ) {
        let mut rate = rate;
        let case = plan.case(mode, Protocol::Grpc, LARGE, Encoding::None);
        if case.name.contains(filter) {
            let outcome = self.capacity(&case, &[Kind::Collector]).await;
            rate = rate.or_else(|| outcome.theirs.first().map(|(_, theirs)| 0.9 * theirs.rate()));
        }
        let rate = rate.unwrap_or(RATE_WITHOUT_RIVAL);
        let mut case = case.at(rate);
        case.name = format!("{}/paced", mode.name());
        if !case.name.contains(filter) {
            return;
        }
        let outcome = self.measure(&case, &[Kind::Collector]).await;
        let metric = format!("{}/peak_rss", mode.name());
        self.row(&metric, "MiB", Better::Lower, &outcome, Measured::peak_mib);
        self.latencies(&case.name, &outcome);
        self.report.note(format!("{} and {metric} are at {rate:.0} spans/s", case.name));
    }
}

/// Small requests over gRPC as they are: what costs a gateway most.
fn is_headline(case: &Case) -> bool {
    let load = &case.load;
    load.protocol == Protocol::Grpc && load.encoding == Encoding::None && case.spans < LARGE
}

// === the cases ===

/// How long the cases take.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Before the window, with and without sampling.
    pub warm_up: [Duration; 2],
    /// What is measured, with and without sampling.
    pub window: [Duration; 2],
}

// === impl Plan ===

impl Plan {
    /// Seconds before and in the window, with and without sampling.
    pub const fn seconds(warm_up: [u64; 2], window: [u64; 2]) -> Self {
        Self {
            warm_up: [Duration::from_secs(warm_up[0]), Duration::from_secs(warm_up[1])],
            window: [Duration::from_secs(window[0]), Duration::from_secs(window[1])],
        }
    }

    /// A case that offers all that is taken.
    pub fn case(&self, mode: Mode, protocol: Protocol, spans: usize, encoding: Encoding) -> Case {
        let index = usize::from(mode == Mode::Pass);
        // As many requests in flight, of each size, as keep a gateway busy.
        let (connections, lanes) = match (spans < LARGE, protocol) {
            (true, _) => (16, 1),
            (false, Protocol::Grpc) => (8, 2),
            (false, Protocol::Http) => (8, 1),
        };
        Case {
            name: format!("{}/{}/{spans}/{}", mode.name(), protocol.name(), encoding.name()),
            setup: Setup { mode, encoding, bounds: None },
            spans,
            load: Load { protocol, encoding, connections, lanes, pace: Pace::Closed },
            sink: None,
            warm_up: self.warm_up[index],
            window: self.window[index],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_its_cases_and_times_them_by_their_mode() {
        let plan = Plan::seconds([3, 2], [6, 5]);
        let tail = plan.case(Mode::Tail, Protocol::Http, 512, Encoding::Gzip);
        assert_eq!(tail.name, "tail/http/512/gzip");
        assert_eq!((tail.warm_up.as_secs(), tail.window.as_secs()), (3, 6));
        let pass = plan.case(Mode::Pass, Protocol::Grpc, 100, Encoding::None);
        assert_eq!((pass.warm_up.as_secs(), pass.window.as_secs()), (2, 5));
        assert!(is_headline(&pass) && !is_headline(&tail));
    }
}
