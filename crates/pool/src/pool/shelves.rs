//! Where idle objects are: on a shelf per thread, and in a store behind them.
//!
//! A thread takes from its shelf and puts on it, and meets others in the store only, where objects
//! go in and out by the batch. What bounds the whole is room: a right to keep one object, or one
//! byte. All of it starts in the store; a shelf draws some and keeps it, also while its objects are
//! out. So every object that is kept has its room, whichever shelf it is on, and no path needs a
//! counter that all threads write.
//!
//! Shelves are tried, never waited for, by whoever holds the store: a thread may wait for the store
//! with its own shelf open, and there is no way round.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use super::ceiling::Ceiling;
use crate::slot::{Open, Slot};
use crate::sync::{Mutex, lock};

/// How many objects a shelf has at most.
pub(super) const SHELF: usize = 32;

/// How many go between a shelf and the store at once.
const BATCH: usize = SHELF / 2;

/// An object and what it was found to weigh when it came back.
///
/// It stays in one place, in a box: to move an object that was just written to costs more than the
/// way to it, as a processor does not forward small writes to the wide reads of a copy. Unboxed, a
/// get and a return of a `Vec` measured 43 ns.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) object: T,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Shelves<T> {
    /// A power of two of them.
    shelves: Box<[CachePadded<Shelf<T>>]>,
    store: CachePadded<Mutex<Store<T>>>,
    /// Where the bytes' room is that no shelf has drawn; `None` where bytes are not counted.
    ceiling: Option<Ceiling>,
    /// How many bytes of room a shelf draws at once.
    byte_batch: usize,
    /// Gets and returns that found their shelf open.
    aside: Flow,
}

/// One thread's objects, unless two threads share a number.
#[derive(Debug)]
struct Shelf<T> {
    slot: Slot<Kept<T>>,
    flow: Flow,
    /// How many objects are here; written with the slot open, read at any time.
    idle: AtomicUsize,
}

/// What passed, and what it weighed.
#[derive(Debug, Default)]
struct Flow {
    taken: AtomicU64,
    put: AtomicU64,
}

#[derive(Debug)]
struct Kept<T> {
    entries: Vec<Box<Entry<T>>>,
    /// Room that is drawn and not used.
    places: usize,
    bytes: usize,
    /// `taken` + `put` when the pool last looked for shelves that are not used.
    seen: u64,
}

#[derive(Debug)]
struct Store<T> {
    entries: Vec<Box<Entry<T>>>,
    /// Room that no shelf has drawn.
    places: usize,
    /// The fewest entries there were since the last look.
    low: usize,
}

/// A view of the whole; exact when no one works meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) put: u64,
    pub(super) available: usize,
}

// === impl Shelves ===

impl<T> Shelves<T> {
    pub(super) fn new(count: usize, capacity: usize, ceiling: Option<Ceiling>) -> Self {
        let count = count.next_power_of_two();
        let shelf = || Shelf {
            slot: Slot::new(Kept { entries: Vec::new(), places: 0, bytes: 0, seen: 0 }),
            flow: Flow::default(),
            idle: AtomicUsize::new(0),
        };
        Self {
            shelves: (0..count).map(|_| CachePadded::new(shelf())).collect(),
            store: CachePadded::new(Mutex::new(Store {
                entries: Vec::new(),
                places: capacity,
                low: 0,
            })),
            byte_batch: ceiling.as_ref().map_or(0, |ceiling| ceiling.batch(count)),
            ceiling,
            aside: Flow::default(),
        }
    }

    /// Takes the object that came back last, if there is one.
    #[inline]
    pub(super) fn take(&self, index: usize) -> Option<Box<Entry<T>>> {
        let shelf = self.shelf(index);
        let open = shelf.slot.try_open();
        if let Some(mut open) = open {
            if let Some(entry) = shelf.take(&mut open) {
                shelf.flow.count_taken();
                return Some(entry);
            }
            return self.refill(index, open);
        }
        self.take_aside(index)
    }

    /// Keeps the object; gives it back where there is no room for it.
    #[inline]
    pub(super) fn put(&self, index: usize, entry: Box<Entry<T>>) -> Result<(), Box<Entry<T>>> {
        let shelf = self.shelf(index);
        let Some(mut open) = shelf.slot.try_open() else {
            return self.put_aside(index, entry);
        };
        let bytes = entry.bytes;
        let fits =
            open.with(|kept| 0 < kept.places && bytes <= kept.bytes && kept.entries.len() < SHELF);
        if !(fits || self.make_room(index, &mut open, bytes)) {
            return Err(entry);
        }
        shelf.put(&mut open, entry);
        shelf.flow.count_put();
        Ok(())
    }

    fn shelf(&self, index: usize) -> &Shelf<T> {
        &self.shelves[index & (self.shelves.len() - 1)]
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Shelf<T>> {
        let count = self.shelves.len();
        (1..count).map(move |step| self.shelf(index.wrapping_add(step)))
    }

    /// Brings a batch from the store to an empty shelf and takes one of it.
    #[cold]
    fn refill(&self, index: usize, mut open: Open<'_, Kept<T>>) -> Option<Box<Entry<T>>> {
        let shelf = self.shelf(index);
        let mut store = lock(&self.store);
        open.with(|kept| {
            // The room of what another thread put back would gather here.
            self.return_room(kept, &mut store);
            store.lend(kept);
        });
        drop(store);
        if let Some(entry) = shelf.take(&mut open) {
            shelf.flow.count_taken();
            return Some(entry);
        }
        drop(open);
        let entry = self.steal(index)?;
        self.aside.count_taken_shared();
        Some(entry)
    }

    /// Takes from the store, or else from another shelf, while someone has this one open.
    #[cold]
    fn take_aside(&self, index: usize) -> Option<Box<Entry<T>>> {
        let popped = {
            let mut store = lock(&self.store);
            let popped = store.entries.pop();
            if let Some(entry) = &popped {
                store.places += 1;
                store.low = store.low.min(store.entries.len());
                self.give_bytes(entry.bytes);
            }
            popped
        };
        let entry = popped.or_else(|| self.steal(index))?;
        self.aside.count_taken_shared();
        Some(entry)
    }

    fn steal(&self, index: usize) -> Option<Box<Entry<T>>> {
        self.others(index).find_map(|shelf| {
            if shelf.idle.load(Ordering::Relaxed) == 0 {
                return None;
            }
            shelf.take(&mut shelf.slot.try_open()?)
        })
    }

    /// Makes room on a shelf that is full or has drawn too little.
    #[cold]
    fn make_room(&self, index: usize, open: &mut Open<'_, Kept<T>>, bytes: usize) -> bool {
        let shelf = self.shelf(index);
        let mut store = lock(&self.store);
        let had_room = open.with(|kept| {
            if SHELF <= kept.entries.len() {
                store.entries.extend(kept.entries.drain(..BATCH));
                shelf.idle.store(kept.entries.len(), Ordering::Relaxed);
            }
            self.draw(kept, &mut store, bytes)
        });
        if had_room {
            return true;
        }
        self.reclaim(index, &mut store);
        open.with(|kept| self.draw(kept, &mut store, bytes))
    }

    #[cold]
    fn put_aside(&self, index: usize, entry: Box<Entry<T>>) -> Result<(), Box<Entry<T>>> {
        let mut store = lock(&self.store);
        if store.places == 0 {
            self.reclaim(index, &mut store);
        }
        if store.places == 0 {
            drop(store);
            return Err(entry);
        }
        if self.take_bytes(entry.bytes, entry.bytes).is_none() {
            self.reclaim(index, &mut store);
            if self.take_bytes(entry.bytes, entry.bytes).is_none() {
                drop(store);
                return Err(entry);
            }
        }
        store.places -= 1;
        store.entries.push(entry);
        self.aside.count_put_shared();
        Ok(())
    }

    /// Draws what is missing for one object of `bytes`; says whether that is now there.
    fn draw(&self, kept: &mut Kept<T>, store: &mut Store<T>, bytes: usize) -> bool {
        if kept.places == 0 {
            let places = BATCH.min(store.places);
            store.places -= places;
            kept.places = places;
        }
        if let Some(missing) = bytes.checked_sub(kept.bytes).filter(|missing| *missing != 0) {
            kept.bytes += self.take_bytes(missing, self.byte_batch).unwrap_or_default();
        }
        0 < kept.places && bytes <= kept.bytes
    }

    /// Brings the room that other shelves do not use back to the store.
    fn reclaim(&self, index: usize, store: &mut Store<T>) {
        for shelf in self.others(index) {
            if let Some(mut open) = shelf.slot.try_open() {
                open.with(|kept| self.return_room(kept, store));
            }
        }
    }

    fn return_room(&self, kept: &mut Kept<T>, store: &mut Store<T>) {
        store.places += mem::take(&mut kept.places);
        self.give_bytes(mem::take(&mut kept.bytes));
    }

    fn take_bytes(&self, least: usize, most: usize) -> Option<usize> {
        match &self.ceiling {
            Some(ceiling) => ceiling.take(least, most),
            None => Some(least),
        }
    }

    fn give_bytes(&self, bytes: usize) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.give(bytes);
        }
    }

    /// Takes out every object, and all memory that holds them.
    pub(super) fn clear(&self) -> Vec<Box<Entry<T>>> {
        let mut all = Vec::new();
        for shelf in &self.shelves {
            let mut open = shelf.slot.open();
            self.empty(shelf, &mut open, &mut all);
        }
        let mut store = lock(&self.store);
        let entries = mem::take(&mut store.entries);
        store.low = 0;
        self.free(entries, &mut store, &mut all);
        all
    }

    /// Starts a look: what is unused from here on is found by [`unused`](Self::unused).
    pub(super) fn watch(&self) {
        for shelf in &self.shelves {
            if let Some(mut open) = shelf.slot.try_open() {
                let passed = shelf.flow.sum();
                open.with(|kept| kept.seen = passed);
            }
        }
        let mut store = lock(&self.store);
        store.low = store.entries.len();
    }

    /// Takes out what was not needed since the last look: the shelves that no one came to, and as
    /// many objects of the store as were in it all the time.
    pub(super) fn unused(&self) -> Vec<Box<Entry<T>>> {
        let mut unused = Vec::new();
        for shelf in &self.shelves {
            // Who has it open uses it.
            let Some(mut open) = shelf.slot.try_open() else { continue };
            let passed = shelf.flow.sum();
            let idle = open.with(|kept| mem::replace(&mut kept.seen, passed) == passed);
            if idle {
                self.empty(shelf, &mut open, &mut unused);
            }
        }
        let mut store = lock(&self.store);
        let low = store.low.min(store.entries.len());
        let entries: Vec<_> = store.entries.drain(..low).collect();
        store.entries.shrink_to_fit();
        store.low = store.entries.len();
        self.free(entries, &mut store, &mut unused);
        unused
    }

    fn empty(&self, shelf: &Shelf<T>, open: &mut Open<'_, Kept<T>>, into: &mut Vec<Box<Entry<T>>>) {
        let mut store = lock(&self.store);
        open.with(|kept| {
            self.return_room(kept, &mut store);
            let entries = mem::take(&mut kept.entries);
            shelf.idle.store(0, Ordering::Relaxed);
            self.free(entries, &mut store, into);
        });
    }

    /// Gives back the room of `entries`.
    fn free(
        &self,
        entries: Vec<Box<Entry<T>>>,
        store: &mut Store<T>,
        into: &mut Vec<Box<Entry<T>>>,
    ) {
        for entry in entries {
            store.places += 1;
            self.give_bytes(entry.bytes);
            into.push(entry);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { available: lock(&self.store).entries.len(), ..Counts::default() };
        for shelf in &self.shelves {
            counts.available += shelf.idle.load(Ordering::Relaxed);
        }
        for flow in self.shelves.iter().map(|shelf| &shelf.flow).chain([&self.aside]) {
            counts.taken += flow.taken.load(Ordering::Relaxed);
            counts.put += flow.put.load(Ordering::Relaxed);
        }
        counts
    }
}

impl<T> Drop for Shelves<T> {
    /// Gives back the bytes' room, which other pools may share.
    fn drop(&mut self) {
        if self.ceiling.is_some() {
            drop(self.clear());
        }
    }
}

// === impl Shelf ===

impl<T> Shelf<T> {
    #[inline]
    fn take(&self, open: &mut Open<'_, Kept<T>>) -> Option<Box<Entry<T>>> {
        open.with(|kept| {
            let entry = kept.entries.pop()?;
            kept.places += 1;
            // A branch, as the sum of both in one wide register waits for two narrow writes.
            if entry.bytes != 0 {
                kept.bytes += entry.bytes;
            }
            self.idle.store(kept.entries.len(), Ordering::Relaxed);
            Some(entry)
        })
    }

    #[inline]
    fn put(&self, open: &mut Open<'_, Kept<T>>, entry: Box<Entry<T>>) {
        open.with(|kept| {
            kept.places -= 1;
            if entry.bytes != 0 {
                kept.bytes -= entry.bytes;
            }
            kept.entries.push(entry);
            self.idle.store(kept.entries.len(), Ordering::Relaxed);
        });
    }
}

// === impl Flow ===

impl Flow {
    /// Counts without a read-modify-write: whoever has the shelf open is the only writer.
    #[inline]
    fn count_taken(&self) {
        self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    #[inline]
    fn count_put(&self) {
        self.put.store(self.put.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn count_taken_shared(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn count_put_shared(&self) {
        self.put.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) + self.put.load(Ordering::Relaxed)
    }
}

// === impl Store ===

impl<T> Store<T> {
    /// Moves a batch to a shelf. Each entry takes its room along.
    fn lend(&mut self, kept: &mut Kept<T>) {
        let rest = self.entries.len().saturating_sub(BATCH);
        kept.entries.extend(self.entries.drain(rest..));
        self.low = self.low.min(rest);
    }
}
