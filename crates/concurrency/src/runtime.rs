//! Settings of a tokio runtime, by purpose.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

const MIB: usize = 1024 * 1024;

/// What a multi-threaded runtime is built of. I/O and time are always enabled.
///
/// Start from a preset and change what has to differ:
///
/// ```
/// use teleflow_concurrency::RuntimePreset;
///
/// let preset = RuntimePreset { workers: 3, ..RuntimePreset::production() };
/// assert!(preset.check().is_empty());
/// let runtime = preset.build()?;
/// assert_eq!(runtime.metrics().num_workers(), 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuntimePreset {
    /// Threads that run tasks; recommended are 2 to 32. Zero is taken for one.
    pub workers: usize,
    /// The most threads for blocking work; recommended are 100 to 1000. Zero is taken for one.
    pub blocking: usize,
    /// The stack of each thread, in bytes; recommended are 1 to 4 MiB.
    pub stack_bytes: usize,
    /// How long a thread for blocking work waits for more; recommended are 5 to 60 s.
    pub keep_alive: Duration,
    /// What the threads are called.
    pub names: ThreadNames,
}

/// What a runtime's threads are called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ThreadNames {
    /// All the same: tools add them up.
    Same(String),
    /// The name, a hyphen and a number from 0 on: they can be told apart.
    Numbered(String),
}

/// A setting outside of what is recommended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unusual {
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What is recommended.
    pub recommended: &'static str,
}

// === impl RuntimePreset ===

impl RuntimePreset {
    /// For services: a worker for each core, 512 blocking threads, stacks of 2 MiB.
    pub fn production() -> Self {
        Self {
            workers: cores(),
            blocking: 512,
            stack_bytes: 2 * MIB,
            keep_alive: Duration::from_secs(10),
            names: ThreadNames::Same("worker".into()),
        }
    }

    /// For development: 2 workers and 10 blocking threads with numbers, so that what depends on
    /// there being many shows early.
    pub fn development() -> Self {
        Self {
            workers: 2,
            blocking: 10,
            names: ThreadNames::Numbered("worker".into()),
            ..Self::production()
        }
    }

    /// For tasks that now and then hold their thread: two workers for each core, 1000 blocking
    /// threads, stacks of 4 MiB. Its name is the one that users know; measure before choosing it
    /// over [`production`](Self::production).
    pub fn high_performance() -> Self {
        Self { workers: 2 * cores(), blocking: 1000, stack_bytes: 4 * MIB, ..Self::production() }
    }

    /// What is outside of the recommended ranges; it still works.
    pub fn check(&self) -> Vec<Unusual> {
        let keep_alive = format!("{:?}", self.keep_alive);
        let settings = [
            ("workers", self.workers.to_string(), (2..=32).contains(&self.workers), "2 to 32"),
            (
                "blocking",
                self.blocking.to_string(),
                (100..=1000).contains(&self.blocking),
                "100 to 1000",
            ),
            (
                "stack_bytes",
                self.stack_bytes.to_string(),
                (MIB..=4 * MIB).contains(&self.stack_bytes),
                "1 to 4 MiB",
            ),
            (
                "keep_alive",
                keep_alive,
                (Duration::from_secs(5)..=Duration::from_secs(60)).contains(&self.keep_alive),
                "5 to 60 s",
            ),
        ];
        let unusual = settings.into_iter().filter(|(.., fits, _)| !fits);
        unusual.map(|(setting, is, _, recommended)| Unusual { setting, is, recommended }).collect()
    }

    /// A builder with these settings, for what a preset does not know.
    pub fn builder(&self) -> Builder {
        let mut builder = Builder::new_multi_thread();
        builder
            .enable_all()
            .worker_threads(self.workers.max(1))
            .max_blocking_threads(self.blocking.max(1))
            .thread_stack_size(self.stack_bytes)
            .thread_keep_alive(self.keep_alive);
        match self.names.clone() {
            ThreadNames::Same(name) => builder.thread_name(name),
            ThreadNames::Numbered(name) => {
                let next = AtomicUsize::new(0);
                let number = move || next.fetch_add(1, Ordering::Relaxed);
                builder.thread_name_fn(move || format!("{name}-{}", number()))
            }
        };
        builder
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// If the operating system gives no threads or no means to wait for I/O.
    pub fn build(&self) -> io::Result<Runtime> {
        self.builder().build()
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

// === impl Unusual ===

impl fmt::Display for Unusual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}; recommended: {}", self.setting, self.is, self.recommended)
    }
}
