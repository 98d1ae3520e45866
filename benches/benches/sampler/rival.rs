//! The Collector's `tail_sampling`, in a process of its own.

use std::io;
use std::process::{Command, Stdio};

use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde::Deserialize;
use teleflow_benches::golang::Built;
use teleflow_benches::process;

/// What `peers/tailsampling` prints. Times are those of its process on a core.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    version: String,
    go: String,
    pub(crate) gomaxprocs: usize,
    pub(crate) wire_bytes_per_span: f64,
    pub(crate) ns_per_span: Costs,
    pub(crate) mixed_spans_per_cpu_second: f64,
    pub(crate) mixed_kept: f64,
    pub(crate) retained_bytes_per_span: f64,
}

/// Nanoseconds a span.
#[derive(Debug, Deserialize)]
pub(crate) struct Costs {
    pub(crate) new_traces: f64,
    pub(crate) append: f64,
    pub(crate) late_kept: f64,
    pub(crate) late_drop: f64,
}

// === impl Measured ===

impl Measured {
    /// Builds it, unless it is built, and lets it measure itself on this core.
    ///
    /// # Errors
    ///
    /// There is no Go toolchain, or it fails.
    pub(crate) fn on(core: usize) -> io::Result<Self> {
        let built = Built::new("tailsampling")?;
        let mut command = Command::new(&built.program);
        // Go takes the number of its threads from the affinity that the process inherits.
        command.env_remove("GOMAXPROCS").env_remove("GOMEMLIMIT").env_remove("GOGC");
        let before = sched_getaffinity(None)?;
        process::pin(core)?;
        let output = command.stderr(Stdio::inherit()).output();
        sched_setaffinity(None, &before)?;
        let output = output?;
        if !output.status.success() {
            return Err(io::Error::other(format!("it ended with {}", output.status)));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub(crate) fn name(&self) -> String {
        format!("Collector's tail_sampling {}, {}", self.version, self.go)
    }
}
