//! Work on bytes that copies where something changes, and nowhere else.

use std::borrow::Cow;

use bytes::Bytes;

/// Applies `edit`, and keeps the memory of `bytes` where it borrows.
///
/// An edit that returns its argument, or a part of it, gives a slice of the same memory.
///
/// ```
/// use std::borrow::Cow;
/// use bytes::Bytes;
/// use teleflow_pool::cow::edit;
///
/// let bytes = Bytes::from_static(b"  trimmed ");
/// let trimmed = edit(&bytes, |bytes| Cow::Borrowed(bytes.trim_ascii()));
/// assert_eq!(trimmed, "trimmed");
/// assert_eq!(trimmed.as_ptr(), bytes[2..].as_ptr());
/// ```
pub fn edit(bytes: &Bytes, edit: impl FnOnce(&[u8]) -> Cow<'_, [u8]>) -> Bytes {
    match edit(bytes) {
        // Not `slice_ref`, which panics where the edit borrows something else, such as a static.
        Cow::Borrowed(part) => part_of(bytes, part).unwrap_or_else(|| Bytes::copy_from_slice(part)),
        Cow::Owned(changed) => Bytes::from(changed),
    }
}

/// The slice of `bytes` that `part` is, if it is one.
fn part_of(bytes: &Bytes, part: &[u8]) -> Option<Bytes> {
    let start = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

/// Replaces every `from`, and copies only where there is one. An empty `from` is found nowhere.
///
/// ```
/// use std::borrow::Cow;
/// use teleflow_pool::cow::replace;
///
/// assert!(matches!(replace(b"clean", b"secret", b"***"), Cow::Borrowed(b"clean")));
/// assert_eq!(replace(b"a secret", b"secret", b"***"), &b"a ***"[..]);
/// ```
pub fn replace<'a>(bytes: &'a [u8], from: &[u8], to: &[u8]) -> Cow<'a, [u8]> {
    if from.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let Some(first) = find(bytes, from) else { return Cow::Borrowed(bytes) };
    let mut changed = Vec::with_capacity(bytes.len() + to.len());
    let mut rest = bytes;
    let mut next = Some(first);
    while let Some(at) = next {
        changed.extend_from_slice(&rest[..at]);
        changed.extend_from_slice(to);
        rest = &rest[at + from.len()..];
        next = find(rest, from);
    }
    changed.extend_from_slice(rest);
    Cow::Owned(changed)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Changes each item that `change` has something new for; the slice is copied at the first of them.
///
/// ```
/// use std::borrow::Cow;
/// use teleflow_pool::cow::map;
///
/// let numbers = [1, 2, 3];
/// assert!(matches!(map(&numbers, |n| (*n > 3).then_some(0)), Cow::Borrowed(_)));
/// assert_eq!(map(&numbers, |n| (*n > 2).then_some(0)), &[1, 2, 0][..]);
/// ```
pub fn map<T: Clone>(items: &[T], mut change: impl FnMut(&T) -> Option<T>) -> Cow<'_, [T]> {
    let mut result = Cow::Borrowed(items);
    for (index, item) in items.iter().enumerate() {
        if let Some(changed) = change(item) {
            result.to_mut()[index] = changed;
        }
    }
    result
}
