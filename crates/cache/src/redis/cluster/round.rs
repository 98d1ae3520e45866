//! What a round of pipelines brought.

use redis::Value;

use super::super::{Refusal, refusal};
use super::layout::Address;
use crate::second::SecondLevelError;

/// What a round of pipelines brought.
pub(super) struct Round<const PER_KEY: usize> {
    pub(super) answers: Vec<Option<[Value; PER_KEY]>>,
    /// Keys that are elsewhere.
    pub(super) elsewhere: Vec<usize>,
    /// Keys whose slot is on its way to another server, which has them or is to have them.
    pub(super) asked: Vec<(usize, Address)>,
    /// Whether a server answered at all.
    pub(super) any: bool,
    pub(super) error: Option<SecondLevelError>,
    /// Whether a server that was asked failed.
    pub(super) broken: bool,
}

// === impl Round ===

impl<const PER_KEY: usize> Round<PER_KEY> {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            answers: (0..keys).map(|_| None).collect(),
            elsewhere: Vec::new(),
            asked: Vec::new(),
            any: false,
            error: None,
            broken: false,
        }
    }

    /// What the server on `host` answered for a key.
    pub(super) fn take(&mut self, index: usize, answer: [Value; PER_KEY], host: &str) {
        let refused = answer.iter().find_map(refusal);
        if refused != Some(Refusal::Other) {
            self.any = true;
        }
        match refused {
            None => self.answers[index] = Some(answer),
            Some(Refusal::Moved) => self.elsewhere.push(index),
            Some(Refusal::Moving(to)) => {
                // A miss where it does not say to where.
                let to =
                    to.map(|(to, port)| (if to.is_empty() { host.to_owned() } else { to }, port));
                self.asked.extend(to.map(|to| (index, to)));
            }
            Some(Refusal::Other) => self.error = Some(SecondLevelError::Refused),
        }
    }

    /// What did not come of the whole part of a server; no error where it was not asked.
    pub(super) fn fail(&mut self, error: Option<SecondLevelError>) {
        self.broken |= error.is_some();
        self.error = error.or(self.error).or(Some(SecondLevelError::Unreachable));
    }

    /// Adds what another round brought for keys that this one lacks.
    pub(super) fn complete(&mut self, other: Self) {
        for (answer, other) in self.answers.iter_mut().zip(other.answers) {
            if other.is_some() {
                *answer = other;
            }
        }
        self.asked.extend(other.asked);
        self.any |= other.any;
    }
}
