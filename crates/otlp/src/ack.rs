//! Who waits for what becomes of a payload's items.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of items: each is in one of these.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// The destination has them.
    pub delivered: u64,
    /// The sampler left them out.
    pub sampled_out: u64,
    /// The destination will never take them.
    pub rejected: u64,
    /// They were lost: who sent them may send them again.
    pub dropped: u64,
}

/// The promise of an [`Answer`] to somebody: it goes along with the items of a
/// [`Payload`](crate::Payload), in their order, through merging and cutting.
///
/// Every item is answered for once. What is dropped without an answer counts as
/// [`dropped`](Answer::dropped), so nobody waits for ever. Where nobody waits it is empty, and costs
/// nothing.
///
/// ```
/// use std::sync::mpsc;
/// use teleflow_otlp::{Ack, Answer};
///
/// let (tell, told) = mpsc::channel();
/// let mut all = Ack::new(10, move |answer| tell.send(answer).expect("it is there"));
/// let three = all.take(3);
/// three.settle(Answer::delivered(3));
/// assert!(told.try_recv().is_err(), "seven are still on their way");
/// drop(all);
/// assert_eq!(told.try_recv(), Ok(Answer { delivered: 3, dropped: 7, ..Answer::default() }));
/// ```
#[derive(Default)]
#[must_use = "items whose acknowledgement is dropped count as lost"]
pub struct Ack {
    /// In the order of the items.
    parts: Vec<Part>,
}

/// So many items for which one asker waits, or nobody; what is left when it is dropped was lost.
struct Part {
    asker: Option<Arc<Asker>>,
    items: u64,
}

/// Somebody who waits for an answer.
struct Asker(Mutex<Waiting>);

struct Waiting {
    /// Items without an answer.
    open: u64,
    answer: Answer,
    done: Option<Done>,
}

type Done = Box<dyn FnOnce(Answer) + Send>;

/// The same items on several ways.
struct Branches(Mutex<Open>);

struct Open {
    branches: usize,
    worst: Option<Answer>,
    /// Whom to tell.
    whole: Ack,
}

// === impl Answer ===

impl Answer {
    /// Items that arrived.
    pub const fn delivered(items: u64) -> Self {
        Self { delivered: items, sampled_out: 0, rejected: 0, dropped: 0 }
    }

    /// Items that were left out.
    pub const fn sampled_out(items: u64) -> Self {
        Self { delivered: 0, sampled_out: items, rejected: 0, dropped: 0 }
    }

    /// Items that were refused for good.
    pub const fn rejected(items: u64) -> Self {
        Self { delivered: 0, sampled_out: 0, rejected: items, dropped: 0 }
    }

    /// Items that were lost.
    pub const fn dropped(items: u64) -> Self {
        Self { delivered: 0, sampled_out: 0, rejected: 0, dropped: items }
    }

    /// How many items it is about.
    pub const fn items(&self) -> u64 {
        self.delivered + self.sampled_out + self.rejected + self.dropped
    }

    /// The worse of two answers for the same items. How the items of the one are those of the other
    /// nobody knows: as many are lost as in the worse case, then as many refused.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let mut rest = self.items().max(other.items());
        let mut most = |one: u64, other: u64| {
            let items = one.max(other).min(rest);
            rest -= items;
            items
        };
        Self {
            dropped: most(self.dropped, other.dropped),
            rejected: most(self.rejected, other.rejected),
            delivered: most(self.delivered, other.delivered),
            sampled_out: most(self.sampled_out, other.sampled_out),
        }
    }

    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.sampled_out += other.sampled_out;
        self.rejected += other.rejected;
        self.dropped += other.dropped;
    }

    /// The part of it that is about `items`, the bad news first.
    fn take(&mut self, items: u64) -> Self {
        let mut rest = items;
        let mut some = |from: &mut u64| {
            let items = rest.min(*from);
            rest -= items;
            *from -= items;
            items
        };
        Self {
            dropped: some(&mut self.dropped),
            rejected: some(&mut self.rejected),
            sampled_out: some(&mut self.sampled_out),
            delivered: some(&mut self.delivered),
        }
    }
}

// === impl Ack ===

impl Ack {
    /// Nobody waits.
    pub const fn none() -> Self {
        Self { parts: Vec::new() }
    }

    /// Calls `done` once all `items` are answered for, on the thread that answers for the last; at
    /// once where there are none. It should be short, and must not panic.
    pub fn new(items: u64, done: impl FnOnce(Answer) + Send + 'static) -> Self {
        if items == 0 {
            done(Answer::default());
            return Self::none();
        }
        let done: Option<Done> = Some(Box::new(done));
        let waiting = Waiting { open: items, answer: Answer::default(), done };
        Self { parts: vec![Part { asker: Some(Arc::new(Asker(Mutex::new(waiting)))), items }] }
    }

    /// Whether nobody waits.
    pub const fn is_none(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many items it is for; none where nobody waits.
    pub fn items(&self) -> u64 {
        self.parts.iter().map(|part| part.items).sum()
    }

    /// Adds what belongs to `more` items that come after the `items` that there are. Only where
    /// nobody waits do the two numbers have to be said.
    pub fn append(&mut self, items: u64, mut other: Self, more: u64) {
        if self.is_none() && other.is_none() {
            return;
        }
        if self.is_none() && items > 0 {
            self.parts.push(Part { asker: None, items });
        }
        if other.is_none() && more > 0 {
            other.parts.push(Part { asker: None, items: more });
        }
        for mut part in other.parts.drain(..) {
            match self.parts.last_mut() {
                Some(last) if last.is_of(&part) => last.items += mem::take(&mut part.items),
                _ => self.parts.push(part),
            }
        }
    }

    /// Takes out what belongs to the first `items`.
    pub fn take(&mut self, items: u64) -> Self {
        let mut taken = Vec::new();
        let mut rest = items;
        let mut whole = 0;
        for part in &mut self.parts {
            if part.items > rest {
                if rest > 0 {
                    part.items -= rest;
                    taken.push(Part { asker: part.asker.clone(), items: rest });
                }
                break;
            }
            rest -= part.items;
            whole += 1;
        }
        // What goes as a whole comes before what was cut.
        taken.splice(0..0, self.parts.drain(..whole));
        Self { parts: taken }
    }

    /// Answers for all items. Those that `answer` does not speak of were lost.
    ///
    /// Where several wait and not all items fared the same, a destination does not say whose they
    /// were. If some were lost, each asker hears that all of its own were, so that none relies on
    /// what may be missing; of those that were refused the first hear.
    pub fn settle(mut self, mut answer: Answer) {
        let lost_some = answer.dropped > 0 || answer.items() < self.items();
        if self.parts.len() > 1 && lost_some {
            answer = Answer::dropped(self.items());
        }
        for mut part in self.parts.drain(..) {
            let of_part = answer.take(part.items);
            part.items -= of_part.items();
            if let Some(asker) = &part.asker {
                asker.hear(of_part);
            }
        }
    }

    /// For the same items on so many ways: each item is answered for when all ways have answered,
    /// with the worst of them. On no way at all nothing arrives.
    pub fn fan_out(mut self, ways: usize) -> Vec<Self> {
        if self.is_none() || ways == 0 {
            return (0..ways).map(|_| Self::none()).collect();
        }
        if ways == 1 {
            return vec![self];
        }
        // Each asker by itself: the ways may cut and merge differently, and what one loses must not
        // be laid at the door of another asker.
        let mut acks: Vec<_> = (0..ways).map(|_| Self::none()).collect();
        for part in mem::take(&mut self.parts) {
            let items = part.items;
            if part.asker.is_none() {
                acks.iter_mut().for_each(|ack| ack.parts.push(Part { asker: None, items }));
                continue;
            }
            let whole = Self { parts: vec![part] };
            let open = Open { branches: ways, worst: None, whole };
            let branches = Arc::new(Branches(Mutex::new(open)));
            for ack in &mut acks {
                let branches = Arc::clone(&branches);
                let mut way = Self::new(items, move |answer| branches.hear(answer));
                ack.parts.append(&mut way.parts);
            }
        }
        acks
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("parts", &self.parts.len())
            .field("items", &self.items())
            .finish()
    }
}

// === impl Part ===

impl Part {
    fn is_of(&self, other: &Self) -> bool {
        match (&self.asker, &other.asker) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(asker) = &self.asker
            && self.items > 0
        {
            asker.hear(Answer::dropped(self.items));
        }
    }
}

// === impl Asker ===

impl Asker {
    fn hear(&self, answer: Answer) {
        let mut waiting = lock(&self.0);
        waiting.answer.add(answer);
        debug_assert!(answer.items() <= waiting.open, "an item is answered for twice");
        waiting.open = waiting.open.saturating_sub(answer.items());
        if waiting.open > 0 {
            return;
        }
        let whole = waiting.answer;
        let done = waiting.done.take();
        // Who hears of it may have others to tell.
        drop(waiting);
        if let Some(done) = done {
            done(whole);
        }
    }
}

// === impl Branches ===

impl Branches {
    fn hear(&self, answer: Answer) {
        let mut open = lock(&self.0);
        let worst = open.worst.map_or(answer, |worst| worst.worse(answer));
        open.worst = Some(worst);
        open.branches -= 1;
        if open.branches == 0 {
            let whole = mem::take(&mut open.whole);
            drop(open);
            whole.settle(worst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between the locks can leave a count half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
