//! A scripted run with a fault, or the end of the world, at every call to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use teleflow_spool::{Config, Read, ReaderId, Report, Spool};

use crate::model::{at, body, check_books, small};
use crate::sim::{Fault, SimDisk};

/// What the callers of the scripted run know.
#[derive(Debug, Default)]
struct Known {
    /// Bodies whose commit succeeded, in order.
    committed: Vec<u64>,
    /// Whose append or commit failed.
    failed: BTreeSet<u64>,
    /// Acknowledged and saved, by body.
    saved: BTreeSet<u64>,
    /// What the reader was given, in order, and has acknowledged.
    given: Vec<u64>,
}

fn config() -> Config {
    Config { segment_bytes: 500, ..small() }
}

fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(*body.first_chunk().unwrap())
}

/// Appends in groups, reads, acknowledges partly out of order, saves; starts anew in the midst.
/// Whatever fails is left, as a program would that goes on.
fn run(disk: &SimDisk, known: &mut Known) {
    let mut next = 0;
    for _life in 0..2 {
        let Ok((mut spool, _)) = Spool::open_on(disk.clone(), config()) else { return };
        let id = spool.reader("backend").unwrap();
        let mut acked = Vec::new();
        for round in 0..8 {
            let group: Vec<u64> = (0..3).map(|offset| next + offset).collect();
            next += 3;
            let mut appended = Vec::new();
            for number in &group {
                match spool.append(at(round), 0, 1, &body(*number, 90)) {
                    Ok(_) => appended.push(*number),
                    Err(_) => _ = known.failed.insert(*number),
                }
            }
            match spool.commit(at(round)) {
                Ok(()) => known.committed.extend(appended),
                Err(_) => known.failed.extend(appended),
            }
            let mut given = Vec::new();
            for _ in 0..3 {
                if let Ok(Read::Record(record)) = spool.read(id) {
                    known.given.push(number(&record.body));
                    given.push(record);
                }
            }
            // The last one first.
            for record in given.iter().rev() {
                assert!(spool.ack(id, record.sequence));
                acked.push(number(&record.body));
            }
            if spool.save(at(round)).is_ok() {
                known.saved.extend(acked.drain(..));
            }
            check_books(&spool.reader_stats(id).unwrap());
        }
    }
}

fn drain(spool: &mut Spool<SimDisk>, id: ReaderId) -> Vec<u64> {
    let mut found = Vec::new();
    while let Read::Record(record) = spool.read(id).unwrap() {
        assert!(spool.ack(id, record.sequence));
        found.push(number(&record.body));
    }
    check_books(&spool.reader_stats(id).unwrap());
    found
}

/// Nothing committed is missing, order is kept, and only what is not acknowledged comes again.
fn check_after(disk: &SimDisk, known: &Known, call: u64) -> Report {
    let (mut spool, report) = Spool::open_on(disk.clone(), config()).unwrap();
    let id = spool.reader("backend").unwrap();
    let found = drain(&mut spool, id);
    let set: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(set.len(), found.len(), "call {call}: twice in {found:?}");
    assert!(found.is_sorted(), "call {call}: {found:?}");
    for number in &known.committed {
        // What is acknowledged and not said to be saved may be so or not.
        assert!(
            set.contains(number) || known.given.contains(number),
            "call {call}: {number} is missing in {found:?}, {known:?}"
        );
        assert!(
            !set.contains(number) || !known.saved.contains(number),
            "call {call}: {number} is given again in {found:?}, {known:?}"
        );
    }
    // It works on.
    let sequence = spool.append(at(100), 0, 1, &body(1_000_000, 90)).unwrap();
    spool.commit(at(100)).unwrap();
    assert!(matches!(spool.read(id).unwrap(), Read::Record(record) if record.sequence == sequence));
    report
}

fn calls_of_a_clean_run() -> u64 {
    let disk = SimDisk::default();
    let mut known = Known::default();
    run(&disk, &mut known);
    assert_eq!((known.committed.len(), known.failed.len()), (48, 0));
    let calls = disk.calls();
    check_after(&disk, &known, 0);
    calls
}

#[test]
fn b6_power_lost_between_any_two_calls() {
    let calls = calls_of_a_clean_run();
    assert!(calls > 150, "{calls}");
    for call in 1..=calls {
        let disk = SimDisk::default();
        disk.fault(call, Fault::Crash);
        let mut known = Known::default();
        run(&disk, &mut known);
        assert!(disk.crashed());
        for seed in 0..24 {
            let mut rng = fastrand::Rng::with_seed(call * 1000 + seed);
            let report = check_after(&disk.after_power_loss(&mut rng), &known, call);
            assert!(report.is_clean(), "call {call}, seed {seed}: {report:?}");
        }
        let report = check_after(&disk.after_kill(), &known, call);
        assert!(report.is_clean(), "call {call}: {report:?}");
    }
}

#[test]
fn b6_any_call_fails_once() {
    let calls = calls_of_a_clean_run();
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for call in 1..=calls {
            let disk = SimDisk::default();
            disk.fault(call, Fault::Once(kind));
            let mut known = Known::default();
            run(&disk, &mut known);
            // A segment that cannot be read when the spool starts is put aside, and named.
            let aside: Vec<String> =
                disk.names().into_iter().filter(|name| name.ends_with(".bad")).collect();
            for name in aside {
                let (mut spool, _) = {
                    let one = SimDisk::default();
                    one.put(name.trim_end_matches(".bad"), disk.content(&name));
                    Spool::open_on(one, config()).unwrap()
                };
                let id = spool.reader("all").unwrap();
                let lost: BTreeSet<u64> = drain(&mut spool, id).into_iter().collect();
                known.committed.retain(|number| !lost.contains(number));
            }
            let mut rng = fastrand::Rng::with_seed(call);
            check_after(&disk.after_power_loss(&mut rng), &known, call);
            check_after(&disk.after_kill(), &known, call);
        }
    }
}

#[test]
fn b6_a_disk_that_fills_up_and_gets_room_again() {
    let calls = calls_of_a_clean_run();
    for call in 1..=calls {
        let disk = SimDisk::default();
        disk.fault(call, Fault::From(io::ErrorKind::StorageFull));
        let mut known = Known::default();
        run(&disk, &mut known);
        let mut rng = fastrand::Rng::with_seed(call);
        check_after(&disk.after_power_loss(&mut rng), &known, call);
        check_after(&disk.after_kill(), &known, call);
    }
}

#[test]
fn b6_what_failed_to_commit_is_not_read() {
    let calls = calls_of_a_clean_run();
    let mut ghosts = BTreeMap::new();
    for call in 1..=calls {
        let disk = SimDisk::default();
        disk.fault(call, Fault::Once(io::ErrorKind::Other));
        let mut known = Known::default();
        run(&disk, &mut known);
        let given: BTreeSet<u64> = known.given.iter().copied().collect();
        for number in given.intersection(&known.failed) {
            ghosts.insert(call, *number);
        }
    }
    assert!(ghosts.is_empty(), "{ghosts:?}");
}
