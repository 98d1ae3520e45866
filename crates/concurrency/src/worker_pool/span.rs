//! What `tracing` hears of a task.

#[cfg(feature = "tracing")]
pub(super) use with::Span;
#[cfg(not(feature = "tracing"))]
pub(super) use without::Span;

#[cfg(feature = "tracing")]
mod with {
    use std::time::Duration;

    use tracing::field::Empty;

    /// The span of one task: which pool, task and worker, and, at its end, how long it ran.
    pub(in super::super) struct Span(tracing::Span);

    impl Span {
        pub(in super::super) fn none() -> Self {
            Self(tracing::Span::none())
        }

        /// `worker` is `None` beside the workers and in the caller.
        pub(in super::super) fn begin(
            &mut self,
            pool: &'static str,
            task: u64,
            worker: Option<u64>,
        ) {
            self.0 = tracing::debug_span!("task", pool, task, worker, duration_us = Empty);
        }

        pub(in super::super) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
            self.0.in_scope(work)
        }

        pub(in super::super) fn end(&self, duration: Duration) {
            self.0.record("duration_us", u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod without {
    use std::time::Duration;

    pub(in super::super) struct Span;

    impl Span {
        pub(in super::super) const fn none() -> Self {
            Self
        }

        pub(in super::super) const fn begin(&mut self, _: &'static str, _: u64, _: Option<u64>) {}

        pub(in super::super) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
            work()
        }

        pub(in super::super) const fn end(&self, _: Duration) {}
    }
}
