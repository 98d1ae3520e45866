//! When a payload arrived in part: what became of which items.

use std::fmt;

use teleflow_otlp::{Answer, Payload};

use crate::{Delivered, ExportError};

/// What became of a payload of which not all was delivered.
#[derive(Clone, Debug, Default)]
pub struct Undelivered {
    /// Items that arrived and were taken.
    pub delivered: u64,
    /// Items that arrived and were refused for good: OTLP's partial success.
    pub rejected: u64,
    /// The first thing that a destination said about what it took.
    pub message: Option<String>,
    /// The rest, and why it is still here: one entry for each kind of error.
    pub left: Vec<Left>,
}

/// Items that were not delivered.
#[derive(Clone)]
pub struct Left {
    /// The items themselves.
    pub payload: Payload,
    /// Why. Where it [is retryable](ExportError::is_retryable), and only there, the payload may be
    /// sent again.
    pub error: ExportError,
}

/// What became of a payload's items, for the books: the numbers add up to its items.
///
/// ```
/// use teleflow_exporter::{Delivered, ExportError, Tally};
///
/// let partial = Delivered { rejected: 2, message: None };
/// assert_eq!(Tally::of(10, Ok(&partial)), Tally { delivered: 8, rejected: 2, dropped: vec![] });
///
/// let too_large = ExportError::TooLarge { bytes: 2, limit: 1 };
/// assert_eq!(Tally::of(10, Err(&too_large)).dropped, [("too_large", 10)]);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Items that the destination took.
    pub delivered: u64,
    /// Items that the destination refused for good.
    pub rejected: u64,
    /// Items that were given up here, by [`ExportError::kind`].
    pub dropped: Vec<(&'static str, u64)>,
}

// === impl Undelivered ===

impl Undelivered {
    /// Enters what became of a part.
    pub(crate) fn add(&mut self, payload: Payload, result: Result<Delivered, ExportError>) {
        match result {
            Ok(delivered) => {
                let rejected = delivered.rejected.min(payload.items());
                self.delivered += payload.items() - rejected;
                self.rejected += rejected;
                self.message = self.message.take().or(delivered.message);
            }
            Err(ExportError::Undelivered(part)) => self.merge(*part),
            Err(error) => self.leave(Left { payload, error }),
        }
    }

    /// Enters what became of other parts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.rejected += other.rejected;
        self.message = self.message.take().or(other.message);
        other.left.into_iter().for_each(|left| self.leave(left));
    }

    /// What is settled, and what may be sent again: in one payload, with the error that asks for the
    /// longest delay.
    pub(crate) fn divided(mut self) -> (Self, Option<Left>) {
        let mut again: Option<Left> = None;
        for left in std::mem::take(&mut self.left) {
            match &mut again {
                _ if !left.error.is_retryable() => self.left.push(left),
                None => again = Some(left),
                Some(again) => {
                    again.payload.append(left.payload);
                    if left.error.retry_after() > again.error.retry_after() {
                        again.error = left.error;
                    }
                }
            }
        }
        (self, again)
    }

    /// Keeps what of a part is left, with others that failed alike.
    pub(crate) fn leave(&mut self, left: Left) {
        let alike = self.left.iter_mut().find(|other| {
            other.payload.signal() == left.payload.signal()
                && other.error.kind() == left.error.kind()
                && other.error.is_retryable() == left.error.is_retryable()
                && other.error.is_refusal() == left.error.is_refusal()
        });
        match alike {
            Some(other) => other.payload.append(left.payload),
            None => self.left.push(left),
        }
    }

    /// The answer: success where nothing is left.
    pub(crate) fn into_result(mut self) -> Result<Delivered, ExportError> {
        if self.left.is_empty() {
            return Ok(Delivered { rejected: self.rejected, message: self.message });
        }
        // Nothing arrived and it all failed alike: an answer like any other.
        if self.delivered == 0 && self.rejected == 0 && self.left.len() == 1 {
            return Err(self.left.remove(0).error);
        }
        Err(ExportError::Undelivered(Box::new(self)))
    }

    /// How many items are left.
    pub fn left_items(&self) -> u64 {
        self.left.iter().map(|left| left.payload.items()).sum()
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items were not delivered", self.left_items())?;
        if let Some(left) = self.left.first() {
            write!(f, ": {}", left.error)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Left {
    /// Prints sizes and no telemetry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Left")
            .field("items", &self.payload.items())
            .field("bytes", &self.payload.bytes())
            .field("error", &self.error)
            .finish()
    }
}

// === impl Tally ===

impl Tally {
    /// What became of a payload of so many items.
    pub fn of(items: u64, result: Result<&Delivered, &ExportError>) -> Self {
        let mut tally = Self::default();
        match result {
            Ok(delivered) => {
                tally.rejected = delivered.rejected.min(items);
                tally.delivered = items - tally.rejected;
            }
            Err(error) => tally.failed(items, error),
        }
        tally
    }

    /// All of them together.
    pub fn items(&self) -> u64 {
        self.answer().items()
    }

    /// What those are told who wait for the items.
    pub fn answer(&self) -> Answer {
        Answer {
            delivered: self.delivered,
            rejected: self.rejected,
            dropped: self.dropped.iter().map(|(_, items)| items).sum(),
            sampled_out: 0,
        }
    }

    fn failed(&mut self, items: u64, error: &ExportError) {
        match error {
            ExportError::Undelivered(part) => {
                self.delivered += part.delivered;
                self.rejected += part.rejected;
                for left in &part.left {
                    self.failed(left.payload.items(), &left.error);
                }
            }
            ExportError::Diverged(error) => self.failed(items, error),
            error => self.lost(items, error),
        }
    }

    fn lost(&mut self, items: u64, error: &ExportError) {
        if error.is_refusal() {
            self.rejected += items;
        } else if let Some(same) = self.dropped.iter_mut().find(|(kind, _)| *kind == error.kind()) {
            same.1 += items;
        } else {
            self.dropped.push((error.kind(), items));
        }
    }
}
