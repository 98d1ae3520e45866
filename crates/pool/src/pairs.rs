//! Lists that keep what they are cleared of, to fill it again.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::recycle::Recycle;

/// A list whose elements keep their own memory when the list is cleared.
///
/// A `Vec<String>` that is cleared keeps its room for strings and frees each of them; this keeps the
/// strings too, and [`push`](Self::push) hands out the next of them, reset.
///
/// ```
/// use teleflow_pool::{List, Recycle};
///
/// let mut names: List<String> = List::default();
/// names.push().push_str("a rather long name");
/// names.recycle();
/// assert!(names.is_empty());
/// assert!(18 <= names.push().capacity(), "the same string again, empty");
/// ```
#[derive(Clone)]
pub struct List<T> {
    /// The list, and behind it what was in it before: reset, and not seen from outside.
    all: Vec<T>,
    len: usize,
}

/// Keys and values in the order in which they were added, whose memory is kept when it is cleared.
///
/// A key is looked for from the front: made for headers and contexts of a few dozen entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(List<Pair>);

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pair {
    key: String,
    value: String,
}

// === impl List ===

impl<T> List<T> {
    /// A list with room for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { all: Vec::with_capacity(capacity), len: 0 }
    }

    /// Adds an element that is as new, to be filled in place.
    pub fn push(&mut self) -> &mut T
    where
        T: Default,
    {
        if self.all.len() == self.len {
            self.all.push(T::default());
        }
        self.len += 1;
        &mut self.all[self.len - 1]
    }

    /// How many elements it has room for without allocating.
    pub fn capacity(&self) -> usize {
        self.all.capacity()
    }

    /// Frees all but `limit` of the elements that are kept to be used again.
    pub fn shrink_to(&mut self, limit: usize) {
        let limit = limit.max(self.len);
        self.all.truncate(limit);
        self.all.shrink_to(limit);
    }
}

impl<T: Recycle> Recycle for List<T> {
    fn recycle(&mut self) {
        self.all[..self.len].iter_mut().for_each(T::recycle);
        self.len = 0;
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { all: Vec::new(), len: 0 }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[..self.len]
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[..self.len]
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

// === impl Pairs ===

impl Pairs {
    /// Room for `capacity` pairs.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(List::with_capacity(capacity))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
    }

    /// Sets the value of `key`, in the place of an earlier one.
    pub fn insert(&mut self, key: &str, value: &str) {
        let position = self.0.iter().position(|pair| pair.key == key);
        let pair = match position {
            Some(position) => &mut self.0[position],
            None => {
                let pair = self.0.push();
                pair.key.push_str(key);
                pair
            }
        };
        pair.value.clear();
        pair.value.push_str(value);
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()))
    }
}

impl Recycle for Pairs {
    fn recycle(&mut self) {
        self.0.recycle();
    }
}

// === impl Pair ===

impl Recycle for Pair {
    fn recycle(&mut self) {
        self.key.clear();
        self.value.clear();
    }
}
