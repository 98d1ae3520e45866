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

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::panic::drop_quietly;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::wake::wake_all;

/// Somebody waits for this part.
const QUEUED: u64 = 1;
/// Nothing is given out any more.
const CLOSED: u64 = 2;
/// Where the number of free units begins.
const SHIFT: u32 = 2;

/// The most units that an account can hold.
pub(crate) const MAX_UNITS: u64 = u64::MAX >> SHIFT;

/// Why a [`Semaphore`](crate::Semaphore) or a [`Budget`](crate::Budget) gave nothing.
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

/// Waits for units. Dropped, it leaves the line and gives back what it was given meanwhile.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Take<'a> {
    account: &'a Account,
    share: Option<&'a Share>,
    units: u64,
    ticket: Option<u64>,
}

/// Free units and two flags.
struct Word(AtomicU64);

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
    guaranteed: u64,
    waiters: BTreeMap<u64, Waiter>,
    /// Its share was dropped.
    vacant: bool,
    /// Its first waiter must wait on. Of use within one round of serving.
    blocked: bool,
}

struct Waiter {
    units: u64,
    /// Taken when it is woken to hear that it waits in vain.
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
            let own = (seen >> SHIFT).min(units);
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

    /// Sets `guaranteed` units aside, which must be free in the common part.
    ///
    /// A waiter who would need more than remains is woken, to find that out.
    pub(crate) fn share(&self, guaranteed: u64) -> Result<Share, Denied> {
        let mut line = lock(&self.line);
        if let Err(denied) = self.common.try_take(guaranteed) {
            return Err(self.name(None, guaranteed, denied));
        }
        let before = self.common_total();
        self.common_total.store(before - guaranteed, Ordering::Relaxed);
        let own = Arc::new(Word::new(guaranteed));
        let lane = Lane { own: Some(Arc::clone(&own)), guaranteed, ..Lane::default() };
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
        let mut wakers = Vec::new();
        let remains = before - guaranteed;
        for lane in &mut line.lanes {
            let whole = remains + lane.guaranteed;
            let hopeless = lane.waiters.values_mut().filter(|waiter| waiter.units > whole);
            wakers.extend(hopeless.filter_map(|waiter| waiter.waker.take()));
        }
        drop(line);
        wake_all(wakers);
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
        self.common.0.load(Ordering::Relaxed) & CLOSED != 0
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

// === impl Take ===

impl Take<'_> {
    /// Stands in line, and is served at once where others gave back meanwhile.
    fn enrol(&mut self, waker: Waker) -> Poll<Result<Taken, Denied>> {
        let mut wakers = Vec::new();
        let mut line = lock(&self.account.line);
        if line.closed {
            return Poll::Ready(Err(Denied::Closed));
        }
        let whole = self.account.whole(self.share);
        if self.units > whole {
            return Poll::Ready(Err(Denied::TooLarge { asked: self.units, whole }));
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        self.account.common.raise(QUEUED);
        if let Some(share) = self.share {
            share.own.raise(QUEUED);
        }
        let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
        lane.waiters.insert(ticket, Waiter { units: self.units, waker: Some(waker) });
        self.account.serve(&mut line, &mut wakers);
        let taken = line.served.remove(&ticket);
        drop(line);
        wake_all(wakers);
        match taken {
            Some(taken) => Poll::Ready(Ok(taken)),
            None => {
                self.ticket = Some(ticket);
                Poll::Pending
            }
        }
    }

    /// Asks how it stands with `ticket`.
    fn ask(&mut self, ticket: u64, waker: &Waker) -> Poll<Result<Taken, Denied>> {
        // Cloned and dropped outside of the lock: both may run code of the executor.
        let mut waker = Some(waker.clone());
        let mut line = lock(&self.account.line);
        if let Some(taken) = line.served.remove(&ticket) {
            drop(line);
            self.ticket = None;
            // Where it panics, the units would be lost.
            drop_quietly(waker);
            return Poll::Ready(Ok(taken));
        }
        let whole = self.account.whole(self.share);
        let denied = if line.closed {
            Denied::Closed
        } else if self.units > whole {
            Denied::TooLarge { asked: self.units, whole }
        } else {
            let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
            if let Some(waiter) = lane.waiters.get_mut(&ticket) {
                std::mem::swap(&mut waiter.waker, &mut waker);
            }
            drop(line);
            return Poll::Pending;
        };
        drop(line);
        self.leave();
        Poll::Ready(Err(denied))
    }

    /// Leaves the line, if it still stands there.
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut wakers = Vec::new();
        let mut line = lock(&self.account.line);
        if let Some(taken) = line.served.remove(&ticket) {
            drop(line);
            self.account.give_back(self.share, taken);
            return;
        }
        let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
        let waiter = lane.waiters.remove(&ticket);
        // The next may need less.
        self.account.serve(&mut line, &mut wakers);
        drop(line);
        wake_all(wakers);
        // Last, as a waker's drop is code of the executor.
        drop(waiter);
    }
}

impl Future for Take<'_> {
    type Output = Result<Taken, Denied>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(ticket) = self.ticket {
            return self.ask(ticket, context.waker());
        }
        match self.account.try_take(self.share, self.units) {
            Err(Denied::Full) => self.enrol(context.waker().clone()),
            done => Poll::Ready(done),
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl Word ===

impl Word {
    fn new(units: u64) -> Self {
        Self(AtomicU64::new(units << SHIFT))
    }

    fn free(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> SHIFT
    }

    /// The word, if somebody may take `units` in passing.
    #[inline]
    fn look(&self, units: u64) -> Result<u64, Denied> {
        let seen = self.0.load(Ordering::Relaxed);
        if seen & CLOSED != 0 {
            return Err(Denied::Closed);
        }
        if seen & QUEUED != 0 && units > 0 {
            return Err(Denied::Full);
        }
        Ok(seen)
    }

    /// Takes `units` if they are free and nobody waits.
    #[inline]
    fn try_take(&self, units: u64) -> Result<(), Denied> {
        loop {
            let seen = self.look(units)?;
            if seen >> SHIFT < units {
                return Err(Denied::Full);
            }
            if units == 0 || self.swap_down(seen, units) {
                return Ok(());
            }
        }
    }

    /// Takes `units` if the word is still as `seen`, where they are free.
    ///
    /// Acquires: what others did before they gave these units back comes before what the taker
    /// does with them.
    #[inline]
    fn swap_down(&self, seen: u64, units: u64) -> bool {
        self.0
            .compare_exchange(seen, seen - (units << SHIFT), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes `units` that are known to be free. Acquires as well.
    fn sub(&self, units: u64) {
        if units > 0 {
            self.0.fetch_sub(units << SHIFT, Ordering::Acquire);
        }
    }

    /// Puts `units` in, and tells whether somebody waits.
    #[inline]
    fn put(&self, units: u64) -> bool {
        self.0.fetch_add(units << SHIFT, Ordering::Release) & QUEUED != 0
    }

    fn raise(&self, flag: u64) {
        self.0.fetch_or(flag, Ordering::Relaxed);
    }

    fn lower(&self, flag: u64) {
        self.0.fetch_and(!flag, Ordering::Relaxed);
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
