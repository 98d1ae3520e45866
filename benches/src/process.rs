//! A program on a core of its own, and what it costs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tokio::time;

/// How often something is looked at that tells nobody when it happens.
const POLL: Duration = Duration::from_millis(20);

/// The two cores of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Where the generator and the sink run.
    pub ours: usize,
    /// Where the measured program runs.
    pub theirs: usize,
}

/// A started program; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

// === impl Cores ===

impl Cores {
    /// Takes the first two cores that this process may use, and moves this thread to the first.
    ///
    /// Threads that are started later inherit that.
    ///
    /// # Errors
    ///
    /// There is only one.
    pub fn take() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(ours), Some(theirs)) = (cores.next(), cores.next()) else {
            return Err(io::Error::other("a measurement takes two cores"));
        };
        pin(ours)?;
        Ok(Self { ours, theirs })
    }
}

/// Moves this thread to `core`; threads that it starts later inherit that.
///
/// # Errors
///
/// The process may not use that core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

// === impl Process ===

impl Process {
    /// Starts `command` on `core`, its output going to the file `log`.
    ///
    /// # Errors
    ///
    /// The program cannot be started, or not on that core.
    pub fn spawn(mut command: Command, core: usize, log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // The child inherits the affinity of the thread that starts it.
        let before = sched_getaffinity(None)?;
        pin(core)?;
        let child = command.spawn();
        sched_setaffinity(None, &before)?;
        Ok(Self { child: child?, log: log.to_owned() })
    }

    /// The CPU time of all its threads so far, user and system.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time_of(&self.child.id().to_string())
    }

    /// The most memory it ever had resident, in bytes.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn peak_rss(&self) -> io::Result<u64> {
        self.memory("VmHWM:")
    }

    /// The memory it has resident, in bytes.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn rss(&self) -> io::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The cores it may use, as the kernel lists them.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn affinity(&self) -> io::Result<String> {
        self.status("Cpus_allowed_list:")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// It cannot be asked for.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    ///
    /// # Errors
    ///
    /// It is still there after `patience`.
    pub async fn stop(mut self, patience: Duration) -> io::Result<ExitStatus> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("did not stop within {patience:?}")));
            }
            time::sleep(POLL).await;
        }
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn memory(&self, key: &str) -> io::Result<u64> {
        let text = self.status(key)?;
        let kib = text.trim_end_matches("kB").trim().parse::<u64>().map_err(io::Error::other)?;
        Ok(kib * 1024)
    }

    fn status(&self, key: &str) -> io::Result<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        let value = value.ok_or_else(|| io::Error::other(format!("no {key} in its status")))?;
        Ok(value.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a benchmark on one thread, which the generator and the sink share as they share a core. It
/// succeeds where it says so.
#[allow(clippy::print_stderr, reason = "the last word of a program")]
pub fn finish(run: impl Future<Output = io::Result<bool>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets this process and those that it starts open `wanted` files, or as many as the system lets
/// it, and returns how many that are.
///
/// # Errors
///
/// The limit cannot be set.
pub fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < wanted {
        // Whoever may raise the hard limit does.
        let both = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if setrlimit(Resource::Nofile, both).is_ok() {
            return Ok(wanted);
        }
    }
    let raised = limit.current.unwrap_or(u64::MAX).max(most.min(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum })?;
    Ok(raised)
}

/// The CPU time of this thread so far, user and system, in steps of nanoseconds.
///
/// What a piece of work costs is told by this on a machine that does other things as well.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPU time of this process so far, user and system.
///
/// # Errors
///
/// The system has no `/proc`.
pub fn own_cpu_time() -> io::Result<Duration> {
    cpu_time_of("self")
}

fn cpu_time_of(process: &str) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = ticks(&text).ok_or_else(|| io::Error::other("a stat line without its times"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The user and system ticks of a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may contain anything; utime is the 12th field behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let line = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 4 0 1000";
        assert_eq!(ticks(line), Some(730));
        assert_eq!(ticks("12 (a) S 1 2"), None);
    }
}
