//! Wakes those who wait.

use std::task::Waker;

use crate::panic::{caught, drop_quietly};

/// Wakes all, outside of every lock: a waker may poll at once.
///
/// A waker is code of whoever waits. One that panics keeps nobody behind it from being woken, and
/// whoever gives back goes on, perhaps while it panics itself: the panic stops here.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        drop_quietly(caught(|| waker.wake()));
    }
}
