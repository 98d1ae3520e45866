//! The shell: group commit, waiting readers, pace, cancellation.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use bytes::Bytes;
use teleflow_spool::{
    Config, NoRoom, OnFull, Pace, Shell, ShellConfig, ShellError, ShellReader, Spool, Sync,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{check_books, small};
use crate::sim::{Fault, SimDisk};

fn shell(disk: &SimDisk, config: Config) -> Shell {
    let spool = Spool::open_on(disk.clone(), config).unwrap().0;
    Shell::start(spool, ShellConfig::default()).unwrap()
}

async fn drain(reader: &mut ShellReader, count: usize) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let record = reader.next().await.unwrap();
        assert!(reader.ack(record.sequence).await.unwrap());
        bodies.push(record.body);
    }
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_callers_share_a_sync() {
    let disk = SimDisk::default();
    let shell = shell(&disk, Config { segment_bytes: 1 << 18, ..small() });
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    let mut callers = JoinSet::new();
    for number in 0..500u32 {
        let shell = shell.clone();
        callers.spawn(async move {
            let body = Bytes::copy_from_slice(&number.to_le_bytes());
            shell.append(0, 1, body).await.unwrap()
        });
    }
    let mut sequences = callers.join_all().await;
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(1..=500));
    // All is durable: what was answered survives the loss of power.
    let after = disk.after_power_loss(&mut fastrand::Rng::with_seed(1));
    assert_eq!(Spool::open_on(after, small()).unwrap().1.found.records, 500);

    let mut bodies = drain(&mut reader, 500).await;
    bodies.sort_unstable_by_key(|body| u32::from_le_bytes(body.as_ref().try_into().unwrap()));
    bodies.dedup();
    assert_eq!(bodies.len(), 500);
    let stats = reader.snapshots().borrow().reader;
    check_books(&stats);
    assert_eq!((stats.delivered.records, stats.held.records), (500, 0));
    shell.close().await.unwrap();
    assert!(matches!(shell.append(0, 1, Bytes::new()).await, Err(ShellError::Closed)));
    assert!(matches!(reader.next().await, Err(ShellError::Closed)));
}

#[tokio::test]
async fn b6_a_reader_waits_and_may_be_dropped_while_it_does() {
    let disk = SimDisk::default();
    let shell = shell(&disk, small());
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    for number in 0..50u8 {
        // Given up at once, with the question already asked.
        tokio::select! {
            biased;
            _ = reader.next() => panic!("nothing was appended"),
            () = std::future::ready(()) => {}
        }
        shell.append(0, 1, Bytes::copy_from_slice(&[number])).await.unwrap();
        let record = reader.next().await.unwrap();
        assert_eq!(record.body.as_ref(), [number]);
        reader.ack(record.sequence).await.unwrap();
    }
    // The next one of that name has what the first did not acknowledge.
    shell.append(0, 1, Bytes::from_static(b"left")).await.unwrap();
    let first = reader.next().await.unwrap();
    drop(reader);
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), first);
}

#[tokio::test]
async fn b6_a_failed_sync_is_told_to_all_of_its_group() {
    let disk = SimDisk::default();
    let shell = shell(&disk, small());
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    shell.append(0, 1, Bytes::from_static(b"one")).await.unwrap();
    disk.fault(0, Fault::From(std::io::ErrorKind::StorageFull));
    let error = shell.append(0, 1, Bytes::from_static(b"two")).await.unwrap_err();
    assert!(matches!(&error, ShellError::Io(_) | ShellError::Append(_)), "{error}");
    disk.fault(0, Fault::Once(std::io::ErrorKind::Other));
    assert_eq!(shell.append(0, 1, Bytes::from_static(b"three")).await.unwrap(), 2);
    assert_eq!(drain(&mut reader, 2).await, ["one", "three"]);
    assert_eq!(shell.stats().await.unwrap().failed.records, 1);
}

#[tokio::test(start_paused = true)]
async fn b6_a_drain_keeps_its_pace() {
    for (pace, expected) in [
        (Pace { records: NonZeroU32::new(10), bytes: None }, 9.9),
        (Pace { records: NonZeroU32::new(10), bytes: NonZeroU32::new(100) }, 99.0),
        (Pace { records: None, bytes: NonZeroU32::new(1000) }, 9.9),
    ] {
        let disk = SimDisk::default();
        let shell = shell(&disk, Config { sync: Sync::Never, ..small() });
        for _ in 0..100 {
            shell.append(0, 1, Bytes::from(vec![7; 100])).await.unwrap();
        }
        let mut reader = shell.reader("backend", pace).await.unwrap();
        let start = Instant::now();
        drain(&mut reader, 100).await;
        let taken = start.elapsed();
        let expected = Duration::from_secs_f64(expected);
        assert!(taken >= expected && taken < expected + Duration::from_secs(1), "{taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_full_spool_says_so_and_the_queue_is_bounded() {
    let disk = SimDisk::default();
    let config = Config { max_bytes: 3000, max_record: 1000, on_full: OnFull::Refuse, ..small() };
    let spool = Spool::open_on(disk, config).unwrap().0;
    // Room for one at a time, and each is longer than the queue.
    let shell =
        Shell::start(spool, ShellConfig { queue_bytes: 100, ..ShellConfig::default() }).unwrap();
    let reader = shell.reader("backend", Pace::default()).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let shell = shell.clone();
        callers.spawn(async move { shell.append(0, 1, Bytes::from(vec![0; 200])).await.is_ok() });
    }
    let taken = callers.join_all().await.into_iter().filter(|taken| *taken).count() as u64;
    let stats = shell.stats().await.unwrap();
    assert_eq!((stats.accepted.records, stats.refused.records), (taken, 100 - taken));
    assert!(taken >= 8 && stats.bytes <= 3000, "{stats:?}");
    check_books(&reader.snapshots().borrow().reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_what_waits_for_room_goes_in_in_order_once_there_is() {
    let disk = SimDisk::default();
    let spool = Spool::open_on(disk, Config { segment_bytes: 1000, ..small() }).unwrap().0;
    let limits = ShellConfig { max_records: NonZeroU64::new(3), ..ShellConfig::default() };
    let shell = Shell::start(spool, limits).unwrap();
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    for number in 0..100u8 {
        let place = shell.reserve(1).await.unwrap();
        let (body, tell) = (Bytes::copy_from_slice(&[number]), tell.clone());
        let done = move |appended: Result<u64, _>| tell.send(appended.unwrap()).unwrap();
        shell.submit(place, 0, 1, body, NoRoom::Wait, done).unwrap();
    }
    let refused = shell.append(0, 1, Bytes::from_static(b"behind them, and so without room"));
    let (refused, read) = tokio::join!(refused, async {
        let mut read = Vec::new();
        while read.len() < 100 {
            assert!(reader.snapshots().borrow().reader.held.records <= 3);
            let record = reader.next().await.unwrap();
            read.push(record.body[0]);
            reader.acker().done(record.sequence, |known| assert!(known)).unwrap();
        }
        read
    });
    assert!(read.into_iter().eq(0..100));
    assert!(told.try_iter().eq(1..=100));
    // Its turn came when there was room, or not.
    assert!(refused.is_ok() || matches!(refused, Err(ShellError::Append(_))), "{refused:?}");
    shell.close().await.unwrap();
    check_books(&reader.snapshots().borrow().reader);
}

#[tokio::test]
async fn b6_what_is_done_without_a_word_is_kept_soon_and_at_the_end() {
    let disk = SimDisk::default();
    let shell = shell(&disk, small());
    let mut reader = shell.reader("backend", Pace::default()).await.unwrap();
    for _ in 0..10 {
        shell.append(0, 1, Bytes::from_static(b"one")).await.unwrap();
    }
    for _ in 0..7 {
        let record = reader.next().await.unwrap();
        reader.acker().done(record.sequence, |known| assert!(known)).unwrap();
        reader.acker().done(record.sequence, |known| assert!(!known, "twice")).unwrap();
    }
    shell.close().await.unwrap();
    let (mut spool, _) = Spool::open_on(disk, small()).unwrap();
    let id = spool.reader("backend").unwrap();
    assert_eq!(spool.reader_stats(id).unwrap().found.records, 3);
}

#[tokio::test]
async fn b6_an_append_that_the_end_overtakes_is_told_so() {
    let disk = SimDisk::default();
    let spool = Spool::open_on(disk, small()).unwrap().0;
    let limits = ShellConfig { max_items: NonZeroU64::new(5), ..ShellConfig::default() };
    let shell = Shell::start(spool, limits).unwrap();
    let _reader = shell.reader("backend", Pace::default()).await.unwrap();
    let too_many = shell.append(0, 6, Bytes::from_static(b"six items")).await.unwrap_err();
    assert!(too_many.to_string().contains("6 items is more than max_items, 5"), "{too_many}");
    shell.append(0, 5, Bytes::from_static(b"five items")).await.unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let place = shell.reserve(1).await.unwrap();
    let body = Bytes::from_static(b"one more");
    shell.submit(place, 0, 1, body, NoRoom::Wait, move |end| tell.send(end).unwrap()).unwrap();
    shell.close().await.unwrap();
    assert!(matches!(told.recv().unwrap(), Err(ShellError::Closed)));
}
