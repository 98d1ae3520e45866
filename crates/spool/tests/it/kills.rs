//! A real process, killed again and again in the midst of its work.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use teleflow_spool::{Config, Read, Spool, Sync};

use crate::model::{body, check_books};

/// Where the child works; set only for it.
const CHILD: &str = "TELEFLOW_SPOOL_CHILD";

fn config() -> Config {
    Config {
        max_bytes: 64 << 20,
        segment_bytes: 16 << 10,
        max_record: 4096,
        window: 64 << 20,
        sync: Sync::Always,
        ..Config::default()
    }
}

fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().unwrap())
}

/// Not a test of its own: what the child does until it is killed. It says `+N` once N is committed,
/// and `-N` once the reader's acknowledgement of N is saved.
#[test]
fn child() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (folder, mut next) = place.split_once('@').map(|(a, b)| (a, b.parse().unwrap())).unwrap();
    let now = SystemTime::now();
    let (mut spool, report) = Spool::open(folder, config()).unwrap();
    let mut out = std::io::stderr().lock();
    writeln!(out, "start {}", report.is_clean()).unwrap();
    let id = spool.reader("backend").unwrap();
    loop {
        let group: Vec<u64> = (next..next + 1 + next % 4).collect();
        for number in &group {
            spool.append(now, 0, 1, &body(*number, 20 + (*number as usize * 37) % 900)).unwrap();
        }
        spool.commit(now).unwrap();
        group.iter().for_each(|number| writeln!(out, "+{number}").unwrap());
        next += group.len() as u64;
        let mut done = Vec::new();
        for _ in 0..group.len() + 2 {
            if let Read::Record(record) = spool.read(id).unwrap() {
                assert!(spool.ack(id, record.sequence));
                done.push(number(&record.body));
            }
        }
        spool.save(now).unwrap();
        done.iter().for_each(|number| writeln!(out, "-{number}").unwrap());
    }
}

#[test]
fn b6_a_process_killed_at_random_loses_nothing_acknowledged() {
    let kills = std::env::var("TELEFLOW_SPOOL_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: u64 = kills.unwrap_or(50);
    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(9);
    let (mut committed, mut saved) = (BTreeSet::new(), BTreeSet::new());
    let mut next = 0;
    for kill in 0..kills {
        let lines = live_and_die(folder.path(), next, rng.u64(1..60), rng.u32(..20_000));
        assert_eq!(lines.first().map(String::as_str), Some("start true"), "kill {kill}");
        for line in &lines[1..] {
            let number: u64 = line[1..].parse().unwrap();
            let set = if line.starts_with('+') { &mut committed } else { &mut saved };
            set.insert(number);
        }
        // Bodies that were in work when it ended may be in or not; their numbers are not used again.
        next = committed.last().map_or(next, |last| next.max(last + 1)) + 10;
        check(folder.path(), &committed, &mut saved, kill);
    }
    assert!(committed.len() as u64 > kills, "{}", committed.len());
    println!("{kills} kills, {} committed, {} acknowledged", committed.len(), saved.len());
}

/// Runs the child, kills it soon after it has said `lines` lines, and returns all it said.
fn live_and_die(folder: &Path, next: u64, lines: u64, spins: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{}@{next}", folder.display()))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stderr.take().unwrap());
    let mut said = Vec::new();
    for _ in 0..lines {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        said.push(line);
    }
    // Anywhere in the work that follows.
    (0..spins).for_each(|_| std::hint::spin_loop());
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "killed, not ended: {said:?}");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let all = said.concat() + &rest;
    // The last line may be cut in the midst.
    let whole = all.rfind('\n').map_or("", |end| &all[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// With a look from outside that changes no progress.
fn check(folder: &Path, committed: &BTreeSet<u64>, saved: &mut BTreeSet<u64>, kill: u64) {
    let (mut spool, report) = Spool::open(folder, config()).unwrap();
    assert!(report.is_clean(), "kill {kill}: {report:?}");
    let id = spool.reader("backend").unwrap();
    let mut found = Vec::new();
    while let Read::Record(record) = spool.read(id).unwrap() {
        found.push(number(&record.body));
    }
    assert!(found.is_sorted_by(|a, b| a < b), "kill {kill}: {found:?}");
    let found: BTreeSet<u64> = found.into_iter().collect();
    let passed: Vec<u64> =
        committed.difference(saved).copied().filter(|number| !found.contains(number)).collect();
    // Acknowledged and saved in the moment of the kill, and not said any more: of one round.
    let before = |number: &u64| found.first().is_none_or(|first| number < first);
    assert!(passed.len() <= 6 && passed.iter().all(before), "kill {kill}: {passed:?} are missing");
    saved.extend(passed);
    assert!(found.is_disjoint(saved), "kill {kill}: given again after its progress was saved");
    check_books(&spool.reader_stats(id).unwrap());
}
