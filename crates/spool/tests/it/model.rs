//! Against a naive model: a list of what was committed and a number for each reader.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use teleflow_spool::{Config, Folder, Read, ReaderStats, Spool, Stats};

use crate::sim::SimDisk;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

pub(crate) fn small() -> Config {
    Config {
        max_bytes: 1 << 20,
        segment_bytes: 400,
        max_record: 4096,
        window: 1 << 20,
        ..Config::default()
    }
}

/// A body that tells which one it is.
pub(crate) fn body(number: u64, length: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(length.max(8), number as u8);
    body
}

pub(crate) fn check_books(stats: &ReaderStats) {
    let of = |what: fn(&ReaderStats) -> u64| what(stats);
    for (taken, given) in [
        (
            of(|s| s.found.items + s.accepted.items),
            of(|s| {
                s.delivered.items
                    + s.dropped_size.items
                    + s.dropped_age.items
                    + s.damaged.items
                    + s.held.items
            }),
        ),
        (
            of(|s| s.found.records + s.accepted.records),
            of(|s| {
                s.delivered.records
                    + s.dropped_size.records
                    + s.dropped_age.records
                    + s.damaged.records
                    + s.held.records
            }),
        ),
    ] {
        assert_eq!(taken, given, "the books: {stats:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Commit,
    Read(usize),
    /// Of the given and not acknowledged ones.
    Ack(usize, prop::sample::Index),
    Save,
    Rewind(usize),
    Restart,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reader = 0..2usize;
    let step = prop_oneof![
        6 => (8..150usize).prop_map(Step::Append),
        4 => Just(Step::Commit),
        8 => reader.clone().prop_map(Step::Read),
        6 => (reader.clone(), any::<prop::sample::Index>()).prop_map(|(r, i)| Step::Ack(r, i)),
        2 => Just(Step::Save),
        1 => reader.prop_map(Step::Rewind),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Default)]
struct Model {
    /// By sequence - 1.
    committed: Vec<Vec<u8>>,
    appended: Vec<Vec<u8>>,
    readers: [ModelReader; 2],
}

#[derive(Clone, Default)]
struct ModelReader {
    read_to: usize,
    open: Vec<u64>,
    saved: usize,
}

impl ModelReader {
    fn progress(&self) -> usize {
        self.open.iter().min().map_or(self.read_to, |sequence| *sequence as usize - 1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn b6_reads_what_a_list_would_give(steps in steps()) {
        let mut disk = SimDisk::default();
        let mut spool = Spool::open_on(disk.clone(), small()).unwrap().0;
        let mut ids = [spool.reader("a").unwrap(), spool.reader("b").unwrap()];
        spool.save(at(0)).unwrap();
        let mut model = Model::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(length) => {
                    let body = body(number as u64, length);
                    let sequence = spool.append(at(0), 3, 2, &body).unwrap();
                    model.appended.push(body);
                    prop_assert_eq!(sequence as usize, model.committed.len() + model.appended.len());
                }
                Step::Commit => {
                    spool.commit(at(0)).unwrap();
                    model.committed.append(&mut model.appended);
                }
                Step::Read(at) => {
                    // A segment that ends shows what it has before the commit.
                    let reader = &mut model.readers[at];
                    match spool.read(ids[at]).unwrap() {
                        Read::Record(record) => {
                            prop_assert_eq!(record.sequence as usize, reader.read_to + 1);
                            let all: Vec<_> = model.committed.iter().chain(&model.appended).collect();
                            prop_assert_eq!(record.body.as_ref(), all[reader.read_to].as_slice());
                            prop_assert_eq!((record.kind, record.items), (3, 2));
                            reader.read_to += 1;
                            reader.open.push(record.sequence);
                        }
                        Read::Empty => prop_assert!(reader.read_to >= model.committed.len()),
                        Read::WindowFull => prop_assert!(false, "the window is larger than all"),
                    }
                }
                Step::Ack(at, index) => {
                    let reader = &mut model.readers[at];
                    if !reader.open.is_empty() {
                        let sequence = reader.open.remove(index.index(reader.open.len()));
                        prop_assert!(spool.ack(ids[at], sequence));
                        prop_assert!(!spool.ack(ids[at], sequence), "acknowledged twice");
                    }
                }
                Step::Save => {
                    spool.save(at(0)).unwrap();
                    for reader in &mut model.readers {
                        reader.saved = reader.progress();
                    }
                }
                Step::Rewind(at) => {
                    spool.rewind(ids[at]);
                    let reader = &mut model.readers[at];
                    reader.read_to = reader.progress();
                    reader.open.clear();
                }
                Step::Restart => {
                    model.committed.append(&mut model.appended);
                    for reader in &mut model.readers {
                        reader.saved = reader.progress();
                    }
                    spool.close(at(0)).unwrap();
                    (spool, ids) = reopen(&disk, &mut model);
                }
                Step::Kill => {
                    // Appends that nobody committed are found as well when only the process ends.
                    model.committed.append(&mut model.appended);
                    disk = disk.after_kill();
                    drop(spool);
                    (spool, ids) = reopen(&disk, &mut model);
                }
            }
            for (id, reader) in ids.into_iter().zip(&model.readers) {
                let stats = spool.reader_stats(id).unwrap();
                check_books(&stats);
                prop_assert_eq!(stats.progress as usize, reader.progress());
            }
        }
    }
}

fn reopen(disk: &SimDisk, model: &mut Model) -> (Spool<SimDisk>, [teleflow_spool::ReaderId; 2]) {
    let (mut spool, report) = Spool::open_on(disk.clone(), small()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let ids = [spool.reader("a").unwrap(), spool.reader("b").unwrap()];
    for reader in &mut model.readers {
        reader.read_to = reader.saved;
        reader.open.clear();
    }
    (spool, ids)
}

#[test]
fn b6_segments_go_when_all_readers_have_passed() {
    let disk = SimDisk::default();
    let mut spool = Spool::open_on(disk.clone(), small()).unwrap().0;
    let (a, b) = (spool.reader("a").unwrap(), spool.reader("b").unwrap());
    for number in 0..100 {
        spool.append(at(0), 0, 1, &body(number, 100)).unwrap();
    }
    spool.commit(at(0)).unwrap();
    let drain = |spool: &mut Spool<SimDisk>, id| {
        while let Read::Record(record) = spool.read(id).unwrap() {
            assert!(spool.ack(id, record.sequence));
        }
        spool.save(at(0)).unwrap();
    };
    let all = spool.stats().segments;
    drain(&mut spool, a);
    assert_eq!(spool.stats().segments, all, "b has read nothing");
    drain(&mut spool, b);
    let Stats { segments, dropped_size, .. } = spool.stats();
    assert_eq!((segments, dropped_size.records), (1, 0));
    let segments = disk.names().iter().filter(|name| name.ends_with(".spool")).count();
    assert_eq!(segments, 1);
}

#[test]
fn b6_a_window_bounds_what_is_given() {
    let config = Config { window: 500, ..small() };
    let mut spool = Spool::open_on(SimDisk::default(), config).unwrap().0;
    let id = spool.reader("a").unwrap();
    for number in 0..20 {
        spool.append(at(0), 0, 1, &body(number, 100)).unwrap();
    }
    spool.commit(at(0)).unwrap();
    let mut given = Vec::new();
    while let Read::Record(record) = spool.read(id).unwrap() {
        given.push(record.sequence);
    }
    assert_eq!(given, [1, 2, 3, 4]);
    assert_eq!(spool.read(id).unwrap(), Read::WindowFull);
    // Out of order: the first is still open, and the window counts from there.
    assert!(spool.ack(id, 3));
    assert_eq!(spool.read(id).unwrap(), Read::WindowFull);
    assert!(spool.ack(id, 1));
    assert!(matches!(spool.read(id).unwrap(), Read::Record(record) if record.sequence == 5));
}

#[test]
fn b6_a_second_process_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let first = Spool::open(folder.path(), small()).unwrap().0;
    let error = Spool::<Folder>::open(folder.path(), small()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(first);
    Spool::open(folder.path(), small()).unwrap();
}
