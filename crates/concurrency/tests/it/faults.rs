//! What can go wrong in code that is not ours: a closure, a future, its drop, a waker.

#![allow(unsafe_code, reason = "only a raw waker can panic where it is cloned")]

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use crate::alive::Alive;

/// Where somebody else's code panics, once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    WakerCloned,
    WakerWoken,
    WakerDropped,
    FuturePolled,
    FutureDropped,
    OutputDropped,
    ClosureCalled,
}

pub(crate) const FAULTS: [Option<Fault>; 8] = [
    None,
    Some(Fault::WakerCloned),
    Some(Fault::WakerWoken),
    Some(Fault::WakerDropped),
    Some(Fault::FuturePolled),
    Some(Fault::FutureDropped),
    Some(Fault::OutputDropped),
    Some(Fault::ClosureCalled),
];

thread_local!(static ARMED: Cell<Option<Fault>> = const { Cell::new(None) });

/// The next time this thread comes to `fault`, it panics there.
pub(crate) fn arm(fault: Option<Fault>) {
    ARMED.set(fault);
}

/// What was armed, while wakers are spared.
pub(crate) struct Spared(Option<Fault>);

/// Keeps wakers from panicking.
pub(crate) fn spare_wakers() -> Spared {
    use Fault::{WakerCloned, WakerDropped, WakerWoken};
    match ARMED.get() {
        Some(WakerCloned | WakerDropped | WakerWoken) => Spared(ARMED.take()),
        _ => Spared(None),
    }
}

impl Spared {
    pub(crate) fn restore(self) {
        if self.0.is_some() {
            arm(self.0);
        }
    }
}

/// Where a user's closure is called.
pub(crate) fn called() {
    pass(Fault::ClosureCalled);
}

fn pass(fault: Fault) {
    if ARMED.get() == Some(fault) && !thread::panicking() {
        ARMED.set(None);
        panic!("{fault:?}, on purpose");
    }
}

/// A waker that wakes nobody: what waits is polled by hand.
pub(crate) fn waker() -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            pass(Fault::WakerCloned);
            RAW
        },
        |_| pass(Fault::WakerWoken),
        |_| pass(Fault::WakerWoken),
        |_| pass(Fault::WakerDropped),
    );
    const RAW: RawWaker = RawWaker::new(ptr::null(), &VTABLE);
    // SAFETY: there is no data, and the functions use none; each may be called from any thread.
    unsafe { Waker::from_raw(RAW) }
}

/// Passes a fault when it is dropped.
struct Dropped(Fault);

impl Drop for Dropped {
    fn drop(&mut self) {
        pass(self.0);
    }
}

/// What a user's future gives.
pub(crate) struct Output {
    _fault: Dropped,
    _alive: Option<Alive>,
}

/// A user's future: it waits twice.
pub(crate) struct User {
    waits: u8,
    alive: Arc<AtomicUsize>,
    _fault: Dropped,
    _alive: Alive,
}

impl User {
    pub(crate) fn new(alive: &Arc<AtomicUsize>) -> Self {
        let alive = Arc::clone(alive);
        Self { waits: 2, _alive: Alive::new(&alive), alive, _fault: Dropped(Fault::FutureDropped) }
    }
}

impl Future for User {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        pass(Fault::FuturePolled);
        if self.waits > 0 {
            self.waits -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // rustc does not drop what a function returns where a local's drop panics meanwhile (issue
        // 47949), so outputs are not counted where a drop is about to panic.
        let leaks = [Some(Fault::FutureDropped), Some(Fault::OutputDropped)];
        let is_counted = !leaks.contains(&ARMED.get());
        let _alive = is_counted.then(|| Alive::new(&self.alive));
        Poll::Ready(Output { _fault: Dropped(Fault::OutputDropped), _alive })
    }
}
