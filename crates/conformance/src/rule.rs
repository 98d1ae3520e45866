//! What a rule is, and what may come of a check.

use std::fmt;

/// One rule of the protocol, by the number that the checks and the reports call it by.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// From 1, without a gap.
    pub number: u8,
    /// Who has to keep it.
    pub side: Side,
    /// The strictest word that it has; a check of it may be milder.
    pub level: Level,
    /// What is asked, in short.
    pub text: &'static str,
    /// Where the specification says so.
    pub source: &'static str,
}

/// Who has to keep a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Who takes telemetry.
    Receiver,
    /// Who sends it.
    Exporter,
    /// Both of them.
    Both,
    /// No peer: variables and sampling, which tables of our own test.
    Table,
}

/// The words of RFC 2119.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Shown where it fails, and nothing more.
    May,
    /// Shown where it fails, apart from what has to be.
    Should,
    /// A failure fails the run.
    Must,
}

/// What came of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It was seen to hold.
    Pass,
    /// It was seen not to: what was asked, and what was seen.
    Fail(String),
    /// It does not concern this peer, or cannot be seen from outside: why.
    NotApplicable(String),
}

/// A check that was made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The number of its rule.
    pub rule: u8,
    /// Its name, unique: `31.chunked_without_length`.
    pub name: String,
    /// How strict it is.
    pub level: Level,
    /// What came of it.
    pub verdict: Verdict,
}

// === impl Level ===

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::May => "MAY",
            Self::Should => "SHOULD",
            Self::Must => "MUST",
        })
    }
}

// === impl Verdict ===

impl Verdict {
    /// Passes where `holds`, and otherwise fails with what `seen` says.
    pub fn expect(holds: bool, seen: impl FnOnce() -> String) -> Self {
        if holds { Self::Pass } else { Self::Fail(seen()) }
    }

    /// Whether it is [`Verdict::Fail`].
    pub fn failed(&self) -> bool {
        matches!(self, Self::Fail(_))
    }

    /// The first failure of several; else what does not apply, if nothing passed; else a pass.
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut rest = None;
        for verdict in verdicts {
            match verdict {
                Self::Fail(_) => return verdict,
                Self::Pass => rest = Some(Self::Pass),
                Self::NotApplicable(_) => _ = rest.get_or_insert(verdict),
            }
        }
        rest.unwrap_or_else(|| Self::NotApplicable("nothing was looked at".to_owned()))
    }
}

impl From<Result<Self, Self>> for Verdict {
    fn from(result: Result<Self, Self>) -> Self {
        result.unwrap_or_else(|verdict| verdict)
    }
}
