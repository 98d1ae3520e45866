//! Objects that know how to be reset, and the parts that such objects are made of.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// Can be made as new, with its memory kept for the next use.
///
/// ```
/// use teleflow_pool::Recycle;
///
/// let mut text = String::from("of the last use");
/// let capacity = text.capacity();
/// text.recycle();
/// assert_eq!((text.as_str(), text.capacity()), ("", capacity));
/// ```
pub trait Recycle {
    /// Forgets what was in it and keeps the memory.
    fn recycle(&mut self);
}

macro_rules! clear {
    ($($(#[$doc:meta])* [$($generics:tt)*] $type:ty;)*) => {
        $(impl<$($generics)*> Recycle for $type {
            fn recycle(&mut self) {
                self.clear();
            }
        })*
    };
}

clear! {
    [] String;
    [T] Vec<T>;
    [T] VecDeque<T>;
    [K, V, S: BuildHasher] HashMap<K, V, S>;
}
