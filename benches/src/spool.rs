//! How fast the spool writes with each way to sync, and whether it drains as fast as the disk reads.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Advice, fadvise};
use teleflow_spool::{Config, Read, Spool, Sync};

use crate::report::{Asked, Better, Report, Rival};

/// Bytes of a body: some dozens of spans, compressed.
const BODY: usize = 8 * 1024;

/// Records that are drained: 256 MiB.
const RECORDS: usize = 32 * 1024;

/// Appends between two commits, as a shell makes them of many callers.
const GROUP: usize = 64;

/// What each side of the drain is timed.
const ROUNDS: usize = 5;

/// Where a spool can be: beside the build's output, which is on a disk where a temporary folder may
/// be memory.
///
/// # Errors
///
/// The system does not say where this program is.
pub fn place() -> io::Result<PathBuf> {
    let place = std::env::current_exe()?;
    Ok(place.parent().unwrap_or_else(|| Path::new(".")).to_owned())
}

fn config(sync: Sync) -> Config {
    Config { sync, max_bytes: 1 << 30, segment_bytes: 32 << 20, ..Config::default() }
}

/// Times appending in each way to sync, against plain writes to one file.
///
/// # Errors
///
/// The disk fails, or is full.
pub fn append(report: &mut Report, place: &Path) -> io::Result<()> {
    for (name, sync, groups) in [
        ("always", Sync::Always, 200),
        ("interval", Sync::Interval(Duration::from_millis(200)), 400),
        ("never", Sync::Never, 400),
    ] {
        let folder = tempfile::tempdir_in(place)?;
        let mut spool = Spool::open(folder.path(), config(sync)).map_err(io::Error::other)?.0;
        let start = Instant::now();
        fill(&mut spool, groups)?;
        let ours = rate((groups * GROUP * BODY) as u64, start);
        drop(spool);

        // The same bytes, synced as often, in one file.
        let group = body().repeat(GROUP);
        let path = folder.path().join("plain");
        let mut plain = File::create(&path)?;
        let (start, mut synced) = (Instant::now(), Instant::now());
        for _ in 0..groups {
            io::Write::write_all(&mut plain, &group)?;
            let due = match sync {
                Sync::Always => true,
                Sync::Interval(interval) => synced.elapsed() >= interval,
                Sync::Never => false,
            };
            if due {
                plain.sync_data()?;
                synced = Instant::now();
            }
        }
        let plain = rate((groups * GROUP * BODY) as u64, start);
        let rival = Rival { name: "one file, a write and as many syncs a group", value: plain };
        report.row(
            format!("delivery/spool/append/{name}"),
            "MB/s",
            Better::Higher,
            ours,
            Some(rival),
        );
    }
    report.note("append: bodies of 8 KiB, a commit for each group of 64");
    Ok(())
}

/// Times reading all back from the disk, not from memory.
///
/// # Errors
///
/// The disk fails, or is full.
///
/// # Panics
///
/// Not all that was appended comes back.
pub fn drain(report: &mut Report, place: &Path) -> io::Result<()> {
    let folder = tempfile::tempdir_in(place)?;
    let mut spool = Spool::open(folder.path(), config(Sync::Interval(Duration::from_secs(1))))
        .map_err(io::Error::other)?
        .0;
    fill(&mut spool, RECORDS / GROUP)?;
    spool.close(SystemTime::now())?;

    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget_pages(folder.path())?;
        let start = Instant::now();
        raw.push(rate(read_raw(folder.path())?, start));

        let (mut spool, _) =
            Spool::open(folder.path(), config(Sync::Never)).map_err(io::Error::other)?;
        // No file of its own, so that every round starts with the oldest record.
        let id = spool.reader("bench").map_err(io::Error::other)?;
        // After the opening, which reads everything.
        forget_pages(folder.path())?;
        let start = Instant::now();
        let (mut bytes, mut records) = (0, 0);
        while let Read::Record(record) = spool.read(id)? {
            bytes += record.body.len() as u64;
            records += 1;
            assert!(spool.ack(id, record.sequence));
        }
        ours.push(rate(bytes, start));
        assert_eq!(records, RECORDS, "all that was appended comes back");
    }
    let (ours, raw) = (median(ours), median(raw));
    let metric = "delivery/spool/drain";
    let rival = if raw < 200.0 {
        Rival { name: "the raw sequential read of the same files", value: raw }
    } else {
        Rival { name: "200 MB/s", value: 200.0 }
    };
    report.row(metric, "MB/s", Better::Higher, ours, Some(rival));
    let rival = Rival { name: "the raw sequential read of the same files", value: raw };
    report.row("delivery/spool/drain_raw", "MB/s", Better::Higher, ours, Some(rival));
    report.ask(metric, Asked::Ratio(1.0));
    report.note(
        "drain: 256 MiB, each side in turn, after posix_fadvise(DONTNEED) on all files; medians of 5",
    );
    Ok(())
}

fn body() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(4);
    std::iter::repeat_with(|| rng.u8(..)).take(BODY).collect()
}

fn fill(spool: &mut Spool, groups: usize) -> io::Result<()> {
    let body = body();
    for _ in 0..groups {
        let now = SystemTime::now();
        for _ in 0..GROUP {
            spool.append(now, 0, 40, &body).map_err(io::Error::other)?;
        }
        spool.commit(now)?;
    }
    Ok(())
}

fn segments(folder: &Path) -> io::Result<Vec<File>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(File::open).collect()
}

/// Only pages that are on the disk can be given back.
fn forget_pages(folder: &Path) -> io::Result<()> {
    for file in segments(folder)? {
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn read_raw(folder: &Path) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    for mut file in segments(folder)? {
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

fn rate(bytes: u64, start: Instant) -> f64 {
    bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
