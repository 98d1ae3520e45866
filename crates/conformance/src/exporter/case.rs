//! What a check of an exporter is made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::rule::{Level, Verdict};
use crate::server::{Answer, Attempt, Protocol, Script};
use crate::signal::Signal;

/// The number of the item that a gateway gets last, and that is always taken.
pub(super) const MARKER: u32 = 999;

/// A script of answers, and what is to come of it.
pub(super) struct Case {
    /// `RULE.what.protocol`.
    pub(super) name: String,
    pub(super) level: Level,
    pub(super) setup: Setup,
    /// How many runs there are to judge.
    pub(super) times: usize,
    pub(super) judge: Judge,
}

type Judge = Box<dyn Fn(&[Run]) -> Verdict + Send + Sync>;

/// What is sent, how, and what is answered.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) protocol: Protocol,
    pub(super) items: Items,
    pub(super) signal: Signal,
    /// The answers to the attempts of an item; all after them succeed.
    pub(super) script: Vec<Answer>,
    /// How many attempts of each item are waited for.
    pub(super) attempts: usize,
    pub(super) gzip: bool,
    /// For a request.
    pub(super) timeout: Duration,
    /// How many requests a gateway may have in flight.
    pub(super) consumers: u32,
    /// How long a gateway waits before its first retry.
    pub(super) backoff: Duration,
    /// By how much it waits longer each time.
    pub(super) multiplier: u32,
    /// How long nobody listens at first.
    pub(super) late: Duration,
    /// A gateway is stopped as soon as it has what it is to send.
    pub(super) stop_early: bool,
    /// A gateway has a second destination that does not answer.
    pub(super) second_hangs: bool,
    /// What a program is told beside the usual; `{}` is the server's address.
    pub(super) variables: Vec<(&'static str, &'static str)>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Items {
    /// So many requests of one item, with the numbers from 1.
    Plain(u32),
    /// One request with every kind of field, with the number 1.
    Rich,
    /// Requests without items.
    Empty,
    /// One request of so many bytes, with the number 1.
    Large(usize),
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) attempts: Vec<Attempt>,
    /// Whether the item that was sent last came; always true of a program that ended.
    pub(super) marker: bool,
    /// How long it took to end; `None` where it had to be killed.
    pub(super) end: Option<Duration>,
    /// What was sent, where the suite sent it.
    pub(super) fed: Vec<Vec<u8>>,
    /// Whether a gateway did not even take it.
    pub(super) refused: bool,
}

// === impl Case ===

impl Case {
    pub(super) fn new(
        name: &str,
        level: Level,
        setup: Setup,
        judge: impl Fn(&Run) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: format!("{name}.{}", setup.protocol.name().replace('/', "_")),
            level,
            setup,
            times: 1,
            judge: Box::new(move |runs| Verdict::all(runs.iter().map(&judge))),
        }
    }

    /// Judges several runs at once.
    pub(super) fn with_runs(
        name: &str,
        level: Level,
        setup: Setup,
        times: usize,
        judge: impl Fn(&[Run]) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let case = Self::new(name, level, setup, |_| Verdict::Pass);
        Self { times, judge: Box::new(judge), ..case }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Setup ===

impl Setup {
    /// One item, which is answered like this at first.
    pub(super) fn new(protocol: Protocol, script: Vec<Answer>, attempts: usize) -> Self {
        Self {
            protocol,
            items: Items::Plain(1),
            signal: Signal::Traces,
            script,
            attempts,
            gzip: false,
            timeout: Duration::from_secs(10),
            consumers: 1,
            backoff: Duration::from_millis(20),
            multiplier: 2,
            late: Duration::ZERO,
            stop_early: false,
            second_hangs: false,
            variables: Vec::new(),
        }
    }

    /// The answers in order, then success; always success for the marker.
    pub(super) fn answers(&self) -> Script {
        let script = self.script.clone();
        Arc::new(move |id, nth| match script.get(nth) {
            Some(answer) if id != MARKER => answer.clone(),
            _ => Answer::Ok,
        })
    }

    /// Whether everything came that is waited for.
    pub(super) fn complete(&self, attempts: &[Attempt]) -> bool {
        let last = if let Items::Plain(last) = self.items { last } else { 1 };
        (1..=last).all(|id| self.attempts <= count(attempts, id))
    }
}

pub(super) fn count(attempts: &[Attempt], id: u32) -> usize {
    attempts.iter().filter(|attempt| attempt.id == id).count()
}

// === impl Run ===

impl Run {
    /// The attempts of one item.
    pub(super) fn of(&self, id: u32) -> Vec<&Attempt> {
        self.attempts.iter().filter(|attempt| attempt.id == id).collect()
    }

    /// The time between an item's attempts.
    pub(super) fn gaps(&self, id: u32) -> Vec<Duration> {
        let attempts = self.of(id);
        attempts.windows(2).map(|two| two[1].at.duration_since(two[0].at)).collect()
    }

    /// Judges the first attempt of the first item.
    pub(super) fn first(&self, judge: impl FnOnce(&Attempt) -> Verdict) -> Verdict {
        match self.of(1).first() {
            Some(attempt) => judge(attempt),
            None => Verdict::Fail(self.nothing()),
        }
    }

    /// Why there is no attempt of the first item.
    fn nothing(&self) -> String {
        match self.attempts.iter().find_map(|attempt| attempt.body.as_ref().err()) {
            Some(error) => format!("what came cannot be read: {error}"),
            None => "nothing came".to_owned(),
        }
    }

    /// Passes where the first item came so often.
    pub(super) fn came(&self, times: usize) -> Verdict {
        match self.of(1).len() {
            0 => Verdict::Fail(self.nothing()),
            seen => {
                Verdict::expect(seen == times, || format!("it came {seen} times, {times} were due"))
            }
        }
    }

    /// Passes where the first item came once, and what was sent after it came as well.
    pub(super) fn given_up(&self) -> Verdict {
        Verdict::all([
            self.came(1),
            Verdict::expect(self.marker, || "what was sent after it did not come".to_owned()),
        ])
    }
}
