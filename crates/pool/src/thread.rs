//! A small number for each thread, so that each finds a shelf of its own.

#[cfg(not(any(teleflow_loom, teleflow_shuttle)))]
pub(crate) use numbered::index;

/// A model checker numbers its threads itself, in the order in which they start.
#[cfg(any(teleflow_loom, teleflow_shuttle))]
pub(crate) fn index() -> usize {
    #[cfg(teleflow_loom)]
    let name = format!("{:?}", loom::thread::current().id());
    #[cfg(not(teleflow_loom))]
    let name = format!("{:?}", shuttle::thread::current().id());
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

#[cfg(not(any(teleflow_loom, teleflow_shuttle)))]
mod numbered {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    /// What a thread has that has not asked yet.
    const NONE: usize = usize::MAX;

    static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: BTreeSet::new(), next: 0 });

    thread_local! {
        // Apart from the keeper: what has no destructor is read without a check.
        static INDEX: Cell<usize> = const { Cell::new(NONE) };
        static KEEPER: Cell<Option<Number>> = const { Cell::new(None) };
    }

    /// The numbers in use are `0..next` without `free`.
    #[derive(Debug)]
    struct Numbers {
        free: BTreeSet<usize>,
        next: usize,
    }

    /// Gives the number back when its thread ends.
    struct Number(usize);

    /// The lowest number that no other living thread has.
    ///
    /// While a thread ends its number may pass to another: what is chosen by it must bear two
    /// threads.
    #[inline]
    pub(crate) fn index() -> usize {
        let index = INDEX.get();
        if index == NONE { number() } else { index }
    }

    #[cold]
    fn number() -> usize {
        let number = {
            let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.free.pop_first().unwrap_or_else(|| {
                numbers.next += 1;
                numbers.next - 1
            })
        };
        INDEX.set(number);
        // In a thread that is ending the keeper may be gone; dropped here, the number is free.
        let _ = KEEPER.try_with(|keeper| keeper.set(Some(Number(number))));
        number
    }

    impl Drop for Number {
        fn drop(&mut self) {
            NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).free.insert(self.0);
        }
    }

    #[cfg(test)]
    mod tests {
        use std::thread;

        use super::*;

        #[test]
        fn threads_that_live_at_the_same_time_differ_and_numbers_are_used_again() {
            let own = index();
            assert_eq!(index(), own);
            let highest = (0..100).map(|_| thread::spawn(index).join().unwrap()).max().unwrap();
            assert!(highest < 90, "a hundred threads, one after the other, got up to {highest}");
            let barrier = std::sync::Barrier::new(8);
            let held: BTreeSet<usize> = thread::scope(|scope| {
                let ask = || {
                    let index = index();
                    barrier.wait();
                    index
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(held.len(), 8);
            assert!(!held.contains(&own));
        }
    }
}
