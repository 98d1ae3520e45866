//! What semaphore and budget draw on: an account of units, and the line of those who wait.
//!
//! An account has a common part, and any number of shares with a part of their own. Who takes
//! through a share spends its own part first and borrows what is missing from the common one; who
//! takes without a share spends the common part. Each part is one atomic word, so taking and giving
//! back are one step each as long as nobody waits.
//!
//! Who cannot have what he asks for stands in line: behind all who came earlier through the same
//! share, and, for units of the common part, behind all who came earlier and need some of it. A
//! large request is therefore served once enough came free, and small ones do not starve it. While
//! somebody waits for a part, its word says so: then nobody takes from it in passing, and who gives
//! back to it looks after the line.
//!
//! The flag that somebody waits is set and cleared under the lock only. Setting it and giving back
//! are steps on the same word, so one of them is first: either the giver sees the flag and comes to
//! the lock, or the one who set it sees the units. No order between different words is needed.

mod take;
mod word;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use thiserror::Error;

pub(crate) use self::take::Take;
pub(crate) use self::word::MAX_UNITS;
use self::word::{CLOSED, QUEUED, Word};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::wake::wake_all;

/// Why a [`Semaphore`](crate::Semaphore) or a [`Budget`](crate::Budget) gave nothing.
///
/// ```
/// use teleflow_concurrency::{Denied, Semaphore};
///
/// let semaphore = Semaphore::new("uploads", 4);
/// let most = semaphore.try_acquire(3)?;
/// assert_eq!(semaphore.try_acquire(2).unwrap_err(), Denied::Full);
/// assert_eq!(semaphore.try_acquire(5).unwrap_err(), Denied::TooLarge { asked: 5, whole: 4 });
/// semaphore.close();
/// assert_eq!(semaphore.try_acquire(1).unwrap_err(), Denied::Closed);
/// # drop(most);
/// # Ok::<(), Denied>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Denied {
    /// Not enough is free now, or others wait for it already. Only from calls that do not wait, and
    /// from making a child.
    #[error("not enough is free")]
    Full,
    /// More than there is altogether: no waiting would help. The caller asked for too much, or the
    /// limit is set too low.
    #[error("{asked} asked for, of {whole} altogether")]
    TooLarge {
        /// What the caller wanted.
        asked: u64,
        /// The most that it could ever have.
        whole: u64,
    },
    /// The deadline came first. Only from calls that have one.
    #[error("the deadline passed")]
    TimedOut,
    /// It was closed.
    #[error("closed")]
    Closed,
}

/// Units in a common part, in shares, and the line of those who wait for them.
pub(crate) struct Account {
    common: Word,
    /// What the common part holds when nothing is taken. Changes under the lock of `line`.
    common_total: AtomicU64,
    line: Mutex<Line>,
}

/// A part that is set aside for those who take through it.
pub(crate) struct Share {
    own: Arc<Word>,
    guaranteed: u64,
    lane: usize,
}

/// Units out of an account, and where they go back to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Taken {
    pub(crate) own: u64,
    pub(crate) common: u64,
}

struct Line {
    /// The first one is for those without a share; the places of dropped shares are used again.
    lanes: Vec<Lane>,
    /// Served, and not yet told.
    served: BTreeMap<u64, Taken>,
    next_ticket: u64,
    closed: bool,
}

/// Those who wait for the same share, by ticket.
#[derive(Default)]
struct Lane {
    own: Option<Arc<Word>>,
    waiters: BTreeMap<u64, Waiter>,
    /// Its share was dropped.
    vacant: bool,
    /// Its first waiter must wait on. Of use within one round of serving.
    blocked: bool,
}

struct Waiter {
    units: u64,
    /// Taken when it is woken.
    waker: Option<Waker>,
}

// === impl Account ===

impl Account {
    /// # Panics
    ///
    /// When `units` is more than [`MAX_UNITS`].
    pub(crate) fn new(units: u64) -> Self {
        assert!(units <= MAX_UNITS, "more than 2^62 - 1 units");
        let line = Line {
            lanes: vec![Lane::default()],
            served: BTreeMap::new(),
            next_ticket: 0,
            closed: false,
        };
        Self {
            common: Word::new(units),
            common_total: AtomicU64::new(units),
            line: Mutex::new(line),
        }
    }

    /// Free units of the common part.
    pub(crate) fn free(&self) -> u64 {
        self.common.free()
    }

    /// What the common part holds when nothing is taken.
    pub(crate) fn common_total(&self) -> u64 {
        self.common_total.load(Ordering::Relaxed)
    }

    /// The most that anyone could ever take through `share`.
    pub(crate) fn whole(&self, share: Option<&Share>) -> u64 {
        self.common_total() + share.map_or(0, |share| share.guaranteed)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.line).lanes.iter().map(|lane| lane.waiters.len()).sum()
    }

    /// Takes `units` if they are free and nobody waits for them. Zero can always be had, until the
    /// account is closed.
    #[inline]
    pub(crate) fn try_take(&self, share: Option<&Share>, units: u64) -> Result<Taken, Denied> {
        match share {
            None => {
                self.common.try_take(units)?;
                Ok(Taken { own: 0, common: units })
            }
            Some(share) => self.try_take_shared(share, units),
        }
    }

    /// Names what a refusal really is: `Full` or `TooLarge`.
    #[cold]
    pub(crate) fn name(&self, share: Option<&Share>, units: u64, denied: Denied) -> Denied {
        let whole = self.whole(share);
        match denied {
            Denied::Full if units > whole => Denied::TooLarge { asked: units, whole },
            denied => denied,
        }
    }

    fn try_take_shared(&self, share: &Share, units: u64) -> Result<Taken, Denied> {
        loop {
            let seen = share.own.look(units)?;
            let own = word::units(seen).min(units);
            let common = units - own;
            // The common part first: units of the own part are never taken in vain, so what is
            // guaranteed is there for everyone else meanwhile.
            self.common.try_take(common)?;
            if own == 0 || share.own.swap_down(seen, own) {
                return Ok(Taken { own, common });
            }
            self.give_back(None, Taken { own: 0, common });
        }
    }

    /// Waits for `units`.
    pub(crate) fn take<'a>(&'a self, share: Option<&'a Share>, units: u64) -> Take<'a> {
        Take { account: self, share, units, ticket: None }
    }

    /// Gives back what was taken through the same share.
    #[inline]
    pub(crate) fn give_back(&self, share: Option<&Share>, taken: Taken) {
        let mut queued = taken.common > 0 && self.common.put(taken.common);
        if let (Some(share), 1..) = (share, taken.own) {
            queued |= share.own.put(taken.own);
        }
        if queued {
            self.look_after_the_line();
        }
    }

    /// Sets `guaranteed` units aside, which must be free in the common part and wanted by nobody: so
    /// it keeps nobody waiting in vain.
    pub(crate) fn share(&self, guaranteed: u64) -> Result<Share, Denied> {
        let mut line = lock(&self.line);
        if let Err(denied) = self.common.try_take(guaranteed) {
            return Err(self.name(None, guaranteed, denied));
        }
        let before = self.common_total();
        self.common_total.store(before - guaranteed, Ordering::Relaxed);
        let own = Arc::new(Word::new(guaranteed));
        let lane = Lane { own: Some(Arc::clone(&own)), ..Lane::default() };
        let index = match line.lanes.iter().position(|lane| lane.vacant) {
            Some(index) => {
                line.lanes[index] = lane;
                index
            }
            None => {
                line.lanes.push(lane);
                line.lanes.len() - 1
            }
        };
        Ok(Share { own, guaranteed, lane: index })
    }

    /// Puts a share's units back into the common part. All of them are there, and nobody waits.
    pub(crate) fn end_share(&self, share: &Share) {
        {
            let mut line = lock(&self.line);
            line.lanes[share.lane] = Lane { vacant: true, ..Lane::default() };
            let before = self.common_total();
            self.common_total.store(before + share.guaranteed, Ordering::Relaxed);
        }
        self.give_back(None, Taken { own: 0, common: share.guaranteed });
    }

    /// Gives out nothing any more and sends everyone away who waits.
    pub(crate) fn close(&self) {
        let mut line = lock(&self.line);
        line.closed = true;
        self.common.raise(CLOSED);
        let mut wakers = Vec::new();
        for lane in &mut line.lanes {
            if let Some(own) = &lane.own {
                own.raise(CLOSED);
            }
            wakers.extend(lane.waiters.values_mut().filter_map(|waiter| waiter.waker.take()));
        }
        drop(line);
        wake_all(wakers);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.common.is_closed()
    }

    #[cold]
    fn look_after_the_line(&self) {
        let mut wakers = Vec::new();
        let mut line = lock(&self.line);
        self.serve(&mut line, &mut wakers);
        drop(line);
        wake_all(wakers);
    }

    /// Serves everyone whose turn it is, and adjusts the flags.
    ///
    /// Nobody else takes from a part that somebody waits for, so what is free here stays free.
    fn serve(&self, line: &mut Line, wakers: &mut Vec<Waker>) {
        if line.closed {
            return;
        }
        line.lanes.iter_mut().for_each(|lane| lane.blocked = false);
        let mut common_blocked = false;
        loop {
            let lanes = line.lanes.iter().enumerate().filter(|(_, lane)| !lane.blocked);
            let fronts = lanes.filter_map(|(index, lane)| {
                let (&ticket, waiter) = lane.waiters.first_key_value()?;
                Some((ticket, index, waiter.units))
            });
            let first = fronts.min();
            let Some((ticket, index, units)) = first else { break };
            let lane = &mut line.lanes[index];
            let own = lane.own.as_ref().map_or(0, |own| own.free().min(units));
            let common = units - own;
            if common > 0 && (common_blocked || self.common.free() < common) {
                // The next in line may still be served from the part of another share.
                lane.blocked = true;
                common_blocked = true;
                continue;
            }
            self.common.sub(common);
            if let Some(word) = &lane.own {
                word.sub(own);
            }
            if let Some(waiter) = lane.waiters.remove(&ticket) {
                wakers.extend(waiter.waker);
            }
            line.served.insert(ticket, Taken { own, common });
        }
        line.lower_flags(&self.common);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("free", &self.free())
            .field("common_total", &self.common_total())
            .finish_non_exhaustive()
    }
}

// === impl Share ===

impl Share {
    pub(crate) fn guaranteed(&self) -> u64 {
        self.guaranteed
    }

    /// Free units of the own part.
    pub(crate) fn free(&self) -> u64 {
        self.own.free()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("guaranteed", &self.guaranteed)
            .field("free", &self.free())
            .finish_non_exhaustive()
    }
}

// === impl Line ===

impl Line {
    /// Takes the flag off each part that nobody waits for any more.
    fn lower_flags(&self, common: &Word) {
        for lane in self.lanes.iter().filter(|lane| lane.waiters.is_empty()) {
            if let Some(own) = &lane.own {
                own.lower(QUEUED);
            }
        }
        if self.lanes.iter().all(|lane| lane.waiters.is_empty()) {
            common.lower(QUEUED);
        }
    }
}
