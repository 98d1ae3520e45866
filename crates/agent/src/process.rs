//! What the operating system says of this process.

use std::fs;

/// How much memory and time the process has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
    /// The most resident memory so far, in bytes.
    pub(crate) peak_rss: u64,
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
}

/// Reads `/proc`; `None` where there is none.
pub(crate) fn usage() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces: count from behind it.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || -> Option<u64> { fields.next()?.parse().ok() };
    // Linux reports in hundredths of a second on every platform that this runs on.
    let cpu_seconds = (ticks()? + ticks()?) as f64 / 100.0;
    Some(Usage {
        rss: kilobytes("VmRSS:")? * 1024,
        peak_rss: kilobytes("VmHWM:")? * 1024,
        cpu_seconds,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        let usage = super::usage().expect("Linux has /proc");
        assert!(usage.rss > 100_000 && usage.peak_rss >= usage.rss, "{usage:?}");
    }
}
