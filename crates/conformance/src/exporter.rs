//! Checks of an exporter: the suite plays the server.
//!
//! What is checked is a program of its own. A [`Subject::Gateway`] is fed by the suite and sends on;
//! a [`Subject::Program`] makes telemetry itself, as the `OTEL_EXPORTER_OTLP_*` variables say, and
//! ends. Every check has a process and a server of its own.

mod case;
mod cases;
mod gateway;
mod json;
mod program;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;

use self::case::{Case, Run, Setup};
use crate::process::Kind;
use crate::receiver::rule_of;
use crate::rule::{Level, Outcome, Verdict};
use crate::server::Protocol;

/// What is checked.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Takes OTLP and sends it on.
    Gateway(Gateway),
    /// Makes telemetry, sends it and ends.
    Program(Program),
}

/// A gateway with the Collector's config file.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The program.
    pub program: PathBuf,
    /// Whose it is.
    pub kind: Kind,
}

/// A program that is told by variables what to send and where to.
///
/// Beside the SDK's own: `CONFORMANCE_ITEMS`, how many spans it sends, one a request, in names that
/// start with `cfm:1:`, `cfm:2:` and so on; `CONFORMANCE_BYTES`, the length of an attribute of
/// theirs; `CONFORMANCE_SIGNAL`, `traces`, `metrics` or `logs`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Which protocols it speaks.
    pub protocols: Vec<Protocol>,
}

// === impl Subject ===

impl Subject {
    /// Makes every check whose name contains `filter`, some of them at a time, and tells each outcome
    /// as it comes; they are returned in order.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the programs.
    pub async fn check(&self, filter: &str, mut tell: impl FnMut(&Outcome)) -> Vec<Outcome> {
        let subject = Arc::new(self.clone());
        let mut cases = Vec::new();
        let mut unseen = cases::unseen(self);
        for protocol in self.protocols() {
            match self {
                // JSON need not be spoken; the others fail in each of their checks.
                Self::Gateway(gateway)
                    if protocol == Protocol::HttpJson && !gateway.speaks(protocol).await =>
                {
                    unseen.push(("45.json", Level::Must, "it has no exporter for http/json"));
                }
                _ => cases.extend(cases::all(self, protocol)),
            }
        }
        cases.retain(|case: &Case| case.name.contains(filter));
        let runs = cases.into_iter().enumerate().map(|(index, case)| {
            let subject = Arc::clone(&subject);
            async move { (index, case.outcome(&subject).await) }
        });
        // Most of the time they wait.
        let mut done = Vec::new();
        let mut runs = stream::iter(runs).buffer_unordered(6);
        while let Some((index, outcome)) = runs.next().await {
            tell(&outcome);
            done.push((index, outcome));
        }
        done.sort_by_key(|(index, _)| *index);
        let mut outcomes: Vec<Outcome> = done.into_iter().map(|(_, outcome)| outcome).collect();
        for (name, level, reason) in unseen {
            let verdict = Verdict::NotApplicable(reason.to_owned());
            outcomes.push(Outcome { rule: rule_of(name), name: name.to_owned(), level, verdict });
        }
        outcomes
    }

    fn protocols(&self) -> Vec<Protocol> {
        match self {
            Self::Gateway(_) => Protocol::ALL.to_vec(),
            Self::Program(program) => program.protocols.clone(),
        }
    }

    fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_))
    }

    async fn run(&self, setup: &Setup) -> Result<Run, String> {
        match self {
            Self::Gateway(gateway) => gateway.run(setup).await,
            Self::Program(program) => program.run(setup).await,
        }
    }
}

// === impl Case ===

impl Case {
    async fn outcome(self, subject: &Subject) -> Outcome {
        let mut runs = Vec::new();
        let mut verdict = None;
        for _ in 0..self.times {
            match subject.run(&self.setup).await {
                Ok(run) => runs.push(run),
                Err(error) => {
                    verdict = Some(Verdict::Fail(error));
                    break;
                }
            }
        }
        let verdict = verdict.unwrap_or_else(|| (self.judge)(&runs));
        Outcome { rule: rule_of(&self.name), name: self.name, level: self.level, verdict }
    }
}

/// What is said of a level that no case has.
type Unseen = (&'static str, Level, &'static str);
