//! Segments cut anywhere and with any bit flipped.

use proptest::prelude::*;
use teleflow_spool::{Config, Read, Record, Report, Spool};

use crate::model::{at, body, check_books, small};
use crate::sim::SimDisk;

const RECORDS: u64 = 40;

/// The file of one segment with forty records, and where each begins.
fn segment() -> (String, Vec<u8>, Vec<usize>) {
    let disk = SimDisk::default();
    let config = Config { segment_bytes: 1 << 18, ..small() };
    let mut spool = Spool::open_on(disk.clone(), config).unwrap().0;
    let (mut starts, mut start) = (Vec::new(), 32);
    for number in 1..=RECORDS {
        let body = body(number, 8 + (number as usize * 7) % 60);
        starts.push(start);
        start += 37 + body.len();
        spool.append(at(0), 1, 2, &body).unwrap();
    }
    spool.commit(at(0)).unwrap();
    let name = disk.names().remove(0);
    let content = disk.content(&name);
    assert_eq!(content.len(), start);
    (name, content, starts)
}

fn open(name: &str, content: Vec<u8>) -> (Vec<Record>, Report) {
    let disk = SimDisk::default();
    disk.put(name, content);
    let (mut spool, report) = Spool::open_on(disk, small()).unwrap();
    let id = spool.reader("a").unwrap();
    let mut records = Vec::new();
    while let Read::Record(record) = spool.read(id).unwrap() {
        assert!(spool.ack(id, record.sequence));
        records.push(record);
    }
    check_books(&spool.reader_stats(id).unwrap());
    // It goes on from there.
    let sequence = spool.append(at(1), 0, 0, b"after").unwrap();
    spool.commit(at(1)).unwrap();
    assert!(records.last().is_none_or(|last| last.sequence < sequence));
    assert!(matches!(spool.read(id).unwrap(), Read::Record(record) if record.sequence == sequence));
    (records, report)
}

fn check(record: &Record) {
    let number = record.sequence;
    assert_eq!(record.body, body(number, 8 + (number as usize * 7) % 60));
    assert_eq!((record.kind, record.items), (1, 2));
}

#[test]
fn b6_cut_anywhere_the_whole_records_before_stay() {
    let (name, content, starts) = segment();
    for length in 0..=content.len() {
        let (records, report) = open(&name, content[..length].to_vec());
        let whole = starts[1..].iter().filter(|start| **start <= length).count()
            + usize::from(length == content.len());
        assert_eq!(records.len(), whole, "cut to {length}");
        records.iter().for_each(check);
        let end = match whole {
            0 => 0,
            whole => starts.get(whole).copied().unwrap_or(content.len()),
        };
        // A header that is whole is no damage.
        let torn = if whole == 0 && length >= 32 { length - 32 } else { length - end };
        assert_eq!(report.torn_bytes, torn as u64, "cut to {length}: {report:?}");
        assert!(report.is_clean());
    }
}

#[test]
fn b6_a_flipped_bit_costs_one_record_and_is_told() {
    let (name, content, starts) = segment();
    let flips = std::env::var("TELEFLOW_SPOOL_FLIPS").ok().and_then(|flips| flips.parse().ok());
    let flips = flips.unwrap_or(if cfg!(debug_assertions) { 5_000 } else { 100_000 });
    let mut rng = fastrand::Rng::with_seed(6);
    for _ in 0..flips {
        let bit = rng.usize(..content.len() * 8);
        let mut damaged = content.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (records, report) = open(&name, damaged);
        records.iter().for_each(check);
        let hit = starts.partition_point(|start| *start <= bit / 8);
        let expected: Vec<u64> = (1..=RECORDS).filter(|number| *number as usize != hit).collect();
        let found: Vec<u64> = records.iter().map(|record| record.sequence).collect();
        assert_eq!(found, expected, "bit {bit}");
        assert!(report.damaged_bytes + report.torn_bytes > 0, "bit {bit}: {report:?}");
        assert!(!report.damage.is_empty());
    }
}

#[test]
fn b6_a_body_cannot_pretend_to_hold_records() {
    let (_, other, _) = segment();
    let disk = SimDisk::default();
    let mut spool =
        Spool::open_on(disk.clone(), Config { segment_bytes: 1 << 18, ..small() }).unwrap().0;
    spool.append(at(0), 0, 0, b"first").unwrap();
    // A body with records of another spool, whose sequences would fit.
    spool.append(at(0), 0, 0, &other[32..1000]).unwrap();
    spool.append(at(0), 0, 0, b"third").unwrap();
    spool.commit(at(0)).unwrap();
    let name = disk.names().remove(0);
    let mut content = disk.content(&name);
    content[32 + 37 + 5 + 10] ^= 1;
    let (records, report) = open(&name, content);
    let found: Vec<u64> = records.iter().map(|record| record.sequence).collect();
    assert_eq!(found, [1, 3]);
    assert_eq!((report.missing, report.damaged_bytes), (1, 37 + 968));
}

#[test]
fn b6_a_lost_progress_begins_with_the_oldest() {
    let (name, content, _) = segment();
    for progress in [&b""[..], b"garbage", &[0xff; 20], &[0; 4000]] {
        let disk = SimDisk::default();
        disk.put(&name, content.clone());
        disk.put("a.reader", progress.to_vec());
        disk.put("a.tmp", progress.to_vec());
        let (mut spool, report) = Spool::open_on(disk.clone(), small()).unwrap();
        assert_eq!(report.readers_lost, ["a"]);
        assert!(!disk.names().contains(&"a.tmp".to_owned()));
        let id = spool.reader("a").unwrap();
        assert!(matches!(spool.read(id).unwrap(), Read::Record(record) if record.sequence == 1));
    }
}

proptest! {
    #[test]
    fn b6_starts_on_any_files(
        segments in prop::collection::vec(
            (0..30u64, prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let (_, content, _) = segment();
        let disk = SimDisk::default();
        for (first, bytes, real) in segments {
            let mut bytes = if real { content.clone() } else { bytes };
            for (at, value) in &damage {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
            }
            disk.put(&format!("{first:020}.spool"), bytes);
        }
        let (mut spool, report) = Spool::open_on(disk, small()).unwrap();
        let id = spool.reader("a").unwrap();
        let mut last = 0;
        let mut count = 0;
        while let Read::Record(record) = spool.read(id).unwrap() {
            prop_assert!(record.sequence > last);
            last = record.sequence;
            count += 1;
            check(&record);
        }
        prop_assert_eq!(count, report.found.records);
    }
}
