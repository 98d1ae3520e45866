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

/// Keys and values in the order in which they were added, all in one text, whose memory is kept when
/// it is cleared.
///
/// A key is looked for from the front: made for headers, attributes and contexts of a few dozen
/// entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    text: String,
    pairs: Vec<Pair>,
}

/// Where in the text a key and its value are: behind the pair before, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    middle: usize,
    end: usize,
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
    /// Room for `capacity` pairs of 32 bytes of text.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            text: String::with_capacity(capacity.saturating_mul(32)),
            pairs: Vec::with_capacity(capacity),
        }
    }

    /// The value of `key`, of the first pair that has it.
    pub fn get(&self, key: &str) -> Option<&str> {
        let pair = self.pairs[self.position(key)?];
        Some(&self.text[pair.middle..pair.end])
    }

    /// Sets the value of `key`, in the place of an earlier one.
    pub fn insert(&mut self, key: &str, value: &str) {
        let Some(position) = self.position(key) else { return self.push(key, value) };
        let pair = &mut self.pairs[position];
        let (old, start) = (pair.end, pair.middle);
        self.text.replace_range(start..old, value);
        let new = start + value.len();
        pair.end = new;
        for later in &mut self.pairs[position + 1..] {
            later.middle = later.middle - old + new;
            later.end = later.end - old + new;
        }
    }

    /// Adds a pair without a look for the key: for keys that are known to differ.
    pub fn push(&mut self, key: &str, value: &str) {
        self.text.push_str(key);
        let middle = self.text.len();
        self.text.push_str(value);
        self.pairs.push(Pair { middle, end: self.text.len() });
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.pairs.iter().map(move |pair| {
            let key = &self.text[start..pair.middle];
            start = pair.end;
            (key, &self.text[pair.middle..pair.end])
        })
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.iter().position(|(known, _)| known == key)
    }
}

impl Recycle for Pairs {
    fn recycle(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }
}
