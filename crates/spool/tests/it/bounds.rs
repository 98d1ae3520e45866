//! Bytes on disk, age, and a backend that is away for days.

use std::time::Duration;

use teleflow_spool::{AppendError, Config, OnFull, Read, Spool, Sync};

use crate::model::{at, body, check_books, small};
use crate::sim::SimDisk;

fn on_disk(disk: &SimDisk) -> u64 {
    let names = disk.names();
    let segments = names.iter().filter(|name| name.ends_with(".spool"));
    segments.map(|name| disk.content(name).len() as u64).sum()
}

#[test]
fn b6_refuses_when_full_and_takes_again_when_read() {
    let config = Config { max_bytes: 5000, segment_bytes: 1000, ..small() };
    let disk = SimDisk::default();
    let mut spool = Spool::open_on(disk.clone(), config).unwrap().0;
    let id = spool.reader("a").unwrap();
    let mut taken = 0;
    let refused = loop {
        match spool.append(at(0), 0, 5, &body(taken, 100)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        spool.commit(at(0)).unwrap();
        assert!(on_disk(&disk) <= 5000);
    };
    assert!(matches!(refused, AppendError::Full { max_bytes: 5000, .. }), "{refused}");
    assert_eq!(spool.stats().refused.items, 5);
    assert_eq!(spool.stats().bytes, on_disk(&disk));
    for _ in 0..10 {
        let Read::Record(record) = spool.read(id).unwrap() else { panic!("there are more") };
        assert!(spool.ack(id, record.sequence));
    }
    spool.save(at(0)).unwrap();
    spool.append(at(0), 0, 5, &body(taken, 100)).unwrap();
    spool.commit(at(0)).unwrap();
    let error = spool.append(at(0), 0, 1, &[0; 4097]).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { bytes: 4097, max_record: 4096 }), "{error}");
    check_books(&spool.reader_stats(id).unwrap());
}

#[test]
fn b6_drops_the_oldest_when_full_and_counts() {
    let config =
        Config { max_bytes: 5000, segment_bytes: 1000, on_full: OnFull::DropOldest, ..small() };
    let disk = SimDisk::default();
    let mut spool = Spool::open_on(disk.clone(), config).unwrap().0;
    let (slow, fast) = (spool.reader("slow").unwrap(), spool.reader("fast").unwrap());
    let mut fast_given = 0;
    for number in 0..500 {
        spool.append(at(0), 0, 3, &body(number, 100)).unwrap();
        spool.commit(at(0)).unwrap();
        let Read::Record(record) = spool.read(fast).unwrap() else { panic!("one was committed") };
        assert!(spool.ack(fast, record.sequence));
        fast_given += 1;
        assert!(on_disk(&disk) <= 5000);
    }
    assert_eq!(fast_given, 500);
    let (slow_stats, fast_stats) =
        (spool.reader_stats(slow).unwrap(), spool.reader_stats(fast).unwrap());
    check_books(&slow_stats);
    check_books(&fast_stats);
    assert_eq!(fast_stats.dropped_size.records, 0);
    assert_eq!(spool.stats().dropped_size, slow_stats.dropped_size);
    assert_eq!(slow_stats.dropped_size.items, slow_stats.dropped_size.records * 3);
    let mut left = 0;
    let mut expected = slow_stats.dropped_size.records + 1;
    while let Read::Record(record) = spool.read(slow).unwrap() {
        assert_eq!(record.sequence, expected);
        expected += 1;
        left += 1;
    }
    assert_eq!(left + slow_stats.dropped_size.records, 500);
    assert!(left > 20, "{left}");
}

#[test]
fn b6_a_window_that_is_dropped_is_counted_once() {
    let config = Config {
        max_bytes: 3000,
        max_record: 1000,
        segment_bytes: 1000,
        on_full: OnFull::DropOldest,
        ..small()
    };
    let mut spool = Spool::open_on(SimDisk::default(), config).unwrap().0;
    let id = spool.reader("a").unwrap();
    for number in 0..8 {
        spool.append(at(0), 0, 1, &body(number, 100)).unwrap();
    }
    spool.commit(at(0)).unwrap();
    for _ in 0..8 {
        assert!(matches!(spool.read(id).unwrap(), Read::Record(_)));
    }
    assert!(spool.ack(id, 1));
    assert!(spool.ack(id, 3));
    for number in 8..60 {
        spool.append(at(0), 0, 1, &body(number, 100)).unwrap();
        spool.commit(at(0)).unwrap();
    }
    assert!(!spool.ack(id, 2), "it is gone");
    let stats = spool.reader_stats(id).unwrap();
    assert_eq!(stats.delivered.records, 2);
    check_books(&stats);
}

#[test]
fn b6_drops_by_age_whole_segments() {
    let config =
        Config { max_age: Some(Duration::from_secs(800)), segment_bytes: 1 << 19, ..small() };
    let mut spool = Spool::open_on(SimDisk::default(), config).unwrap().0;
    let id = spool.reader("a").unwrap();
    for second in 0..3000 {
        spool.append(at(second), 0, 2, &body(second, 20)).unwrap();
        spool.commit(at(second)).unwrap();
        spool.expire(at(second)).unwrap();
        // An eighth more than the age, as segments go as a whole.
        let held = spool.reader_stats(id).unwrap().held.records;
        assert!(held <= 902, "{held} at {second}");
        assert!(second < 800 || held >= 800, "{held} at {second}");
    }
    let next = spool.expire(at(3000)).unwrap().unwrap();
    assert!(next > at(3000) && next <= at(3800));
    spool.expire(at(10_000)).unwrap();
    let stats = spool.reader_stats(id).unwrap();
    assert_eq!((stats.held.records, stats.dropped_age.items), (0, 6000));
    assert_eq!(spool.stats().dropped_age, stats.dropped_age);
    assert_eq!(spool.expire(at(10_000)).unwrap(), None);
    check_books(&stats);
}

#[test]
fn b6_a_backend_away_for_88_hours() {
    let config = Config { max_bytes: 4 << 20, segment_bytes: 64 << 10, window: 8 << 10, ..small() };
    let disk = SimDisk::default();
    let mut spool = Spool::open_on(disk.clone(), config).unwrap().0;
    spool.reader("backend").unwrap();
    let minutes = 88 * 60;
    for minute in 0..minutes {
        spool.append(at(minute * 60), 0, 10, &body(minute, 500)).unwrap();
        spool.commit(at(minute * 60)).unwrap();
        spool.expire(at(minute * 60)).unwrap();
        // The program is started anew every day.
        if minute % 1440 == 1439 {
            let report;
            spool.close(at(minute * 60)).unwrap();
            (spool, report) = Spool::open_on(disk.clone(), config).unwrap();
            assert!(report.is_clean(), "{report:?}");
        }
    }
    let id = spool.reader("backend").unwrap();
    let now = at(minutes * 60);
    let mut expected = 0;
    let mut open = Vec::new();
    loop {
        match spool.read(id).unwrap() {
            Read::Record(record) => {
                assert_eq!(record.body, body(expected, 500), "in order, and all");
                expected += 1;
                open.push(record.sequence);
                assert!(spool.reader_stats(id).unwrap().window < (8 << 10) + 600);
            }
            Read::WindowFull => {
                open.drain(..).rev().for_each(|sequence| assert!(spool.ack(id, sequence)));
                spool.save(now).unwrap();
            }
            Read::Empty => break,
        }
    }
    assert_eq!(expected, minutes);
    open.drain(..).for_each(|sequence| assert!(spool.ack(id, sequence)));
    let stats = spool.reader_stats(id).unwrap();
    check_books(&stats);
    assert_eq!(
        (stats.held.records, stats.dropped_age.records, stats.dropped_size.records),
        (0, 0, 0)
    );
    spool.close(now).unwrap();
    let (spool, _) = Spool::open_on(disk, config).unwrap();
    assert_eq!(spool.stats().segments, 0);
}

#[test]
fn b6_syncs_as_told() {
    for (sync, expected) in
        [(Sync::Always, 100), (Sync::Interval(Duration::from_secs(10)), 10), (Sync::Never, 0)]
    {
        let config = Config { sync, segment_bytes: 1 << 19, ..small() };
        let mut spool = Spool::open_on(SimDisk::default(), config).unwrap().0;
        for second in 0..100 {
            spool.append(at(second), 0, 1, b"body").unwrap();
            spool.commit(at(second)).unwrap();
        }
        assert_eq!(spool.stats().syncs, expected, "{sync:?}");
    }
}

#[test]
fn b6_a_configuration_that_cannot_work_is_told() {
    let good = Config::default();
    for (config, part) in [
        (Config { max_record: 0, ..good }, "max_record"),
        (Config { max_record: 1 << 30, ..good }, "max_record"),
        (Config { max_bytes: 1000, ..good }, "max_bytes"),
        (Config { segment_bytes: 0, ..good }, "segment_bytes"),
        (Config { segment_bytes: 1 << 30, ..good }, "segment_bytes"),
        (Config { window: 0, ..good }, "window"),
        (Config { max_age: Some(Duration::ZERO), ..good }, "max_age"),
    ] {
        let error = Spool::open_on(SimDisk::default(), config).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn b6_names_of_readers_are_checked() {
    let mut spool = Spool::open_on(SimDisk::default(), small()).unwrap().0;
    for name in ["", "../x", "A", "a.b", &"a".repeat(65)] {
        assert!(spool.reader(name).is_err(), "{name}");
    }
    for number in 0..64 {
        spool.reader(&format!("reader-{number}")).unwrap();
    }
    assert!(spool.reader("one-more").is_err());
    assert!(spool.reader("reader-3").is_ok());
}

#[test]
fn b6_what_is_done_behind_what_is_dropped_counts_as_delivered() {
    let config =
        Config { max_bytes: 5000, segment_bytes: 1000, on_full: OnFull::DropOldest, ..small() };
    let mut spool = Spool::open_on(SimDisk::default(), config).unwrap().0;
    let id = spool.reader("a").unwrap();
    for number in 0..4 {
        spool.append(at(0), 0, 3, &body(number, 100)).unwrap();
    }
    spool.commit(at(0)).unwrap();
    for _ in 0..4 {
        assert!(matches!(spool.read(id).unwrap(), Read::Record(_)));
    }
    // The first never comes to an end, the others do.
    for sequence in 2..=4 {
        assert!(spool.ack(id, sequence));
    }
    assert_eq!(spool.reader_stats(id).unwrap().delivered.records, 0);
    for number in 4..200 {
        spool.append(at(0), 0, 3, &body(number, 100)).unwrap();
        spool.commit(at(0)).unwrap();
    }
    assert!(!spool.ack(id, 1), "it is gone");
    let stats = spool.reader_stats(id).unwrap();
    check_books(&stats);
    assert_eq!(stats.delivered.records, 3);
    assert_eq!(stats.dropped_size.records + stats.held.records, 197);
}
