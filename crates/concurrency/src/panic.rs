//! What a panic said, and where it ends.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What somebody panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The text that a panic carries, or that it carries none.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "not with a text".into())
}

/// Calls what belongs to a user, and has its panic end here.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Drops what belongs to a user; a panic of it, and of what that carries, goes no further.
pub(crate) fn drop_quietly<T>(value: T) {
    let Err(mut panic) = caught(|| drop(value)) else { return };
    for _ in 0..MOST_PANICS {
        match caught(|| drop(panic)) {
            Ok(()) => return,
            Err(again) => panic = again,
        }
    }
    // It panics for ever.
    mem::forget(panic);
}

/// So many panics in a row, each in what the one before carried, are dropped.
const MOST_PANICS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Self(self.0 - 1));
            }
        }
    }

    #[test]
    fn what_panics_while_it_is_dropped_is_gone_all_the_same() {
        for fuse in 0..4 {
            drop_quietly(Bomb(fuse));
        }
    }
}
