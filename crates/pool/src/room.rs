//! How much of something bounded is taken.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts what is taken of a number of bytes, from any thread.
///
/// Nothing is passed on by it: what is counted is made after it was taken, and given back when it is
/// gone.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    taken: AtomicU64,
}

// === impl Room ===

impl Room {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    /// Takes so many bytes, if they are there.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) const fn most(&self) -> u64 {
        self.most
    }
}

#[cfg(all(test, teleflow_loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_comes_back() {
        loom::model(|| {
            let room = Arc::new(Room::new(5));
            let work = |room: &Room, bytes| {
                let is_taken = room.take(bytes);
                assert!(room.taken() <= 5);
                if is_taken {
                    room.give_back(bytes);
                }
                is_taken
            };
            let other = {
                let room = Arc::clone(&room);
                thread::spawn(move || work(&room, 3))
            };
            let own = work(&room, 4);
            let others = other.join().expect("it does not panic");
            assert!(own || others, "who comes first gets it");
            assert_eq!(room.taken(), 0);
            assert!(room.take(room.most()), "all of it is there again");
        });
    }
}
