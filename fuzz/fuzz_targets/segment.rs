//! Any bytes as a spool's files, or damage to good ones: it opens, gives nothing that was not put in,
//! goes on working, and what it says of itself adds up.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use teleflow_spool::{Config, Disk, Read, Record, Spool, Sync};

type Files = BTreeMap<String, Vec<u8>>;

/// A folder in memory. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Files>>);

const CONFIG: Config = Config {
    max_bytes: 1 << 20,
    segment_bytes: 2000,
    max_record: 64 * 1024,
    max_age: None,
    on_full: teleflow_spool::OnFull::DropOldest,
    sync: Sync::Always,
    window: 1 << 20,
};

fuzz_target!(|input: (u8, [(u16, u8); 4], &[u8])| {
    let (how, damage, rest) = input;
    // The salts of segments are random.
    fastrand::seed(7);
    let (disk, put_in) = if how & 1 == 0 { (anything(rest), None) } else { filled(how, rest) };
    for (at, change) in damage {
        let mut disk = disk.files();
        let files = disk.len().max(1);
        if let Some(file) = disk.values_mut().nth(usize::from(at) % files)
            && !file.is_empty()
        {
            let at = usize::from(at) / files % file.len();
            file[at] ^= change;
        }
    }
    let (found, next) = read_all(disk);
    if let Some(put_in) = &put_in {
        // In order, and each as it was.
        let mut before = put_in.iter();
        assert!(found.iter().all(|record| before.any(|one| one == record)), "{found:?}");
        if damage.iter().all(|&(_, change)| change == 0) {
            assert_eq!(&found, put_in);
        }
    }
    assert!(found.windows(2).all(|two| two[0].sequence < two[1].sequence));
    assert!(found.last().is_none_or(|last| last.sequence < next));
});

/// Opens it, reads all that is there, and puts one in, which has the last sequence.
fn read_all(disk: Memory) -> (Vec<Record>, u64) {
    let (mut spool, report) = Spool::open_on(disk, CONFIG).expect("it always opens");
    let reader = spool.reader("all").expect("that is a name");
    let mut records = Vec::new();
    while let Read::Record(record) = spool.read(reader).expect("memory can be read") {
        spool.ack(reader, record.sequence);
        records.push(record);
    }
    assert!(records.len() as u64 <= report.found.records);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let next = spool.append(now, 1, 1, b"one more").expect("there is room");
    spool.commit(now).expect("memory does not fail");
    let Read::Record(record) = spool.read(reader).expect("memory can be read") else {
        panic!("what was put in is not there");
    };
    assert_eq!((record.sequence, &record.body[..]), (next, &b"one more"[..]));
    spool.ack(reader, next);
    spool.save(now).expect("memory does not fail");
    let stats = spool.reader_stats(reader).expect("it is there");
    let gone = [stats.delivered, stats.dropped_size, stats.dropped_age, stats.damaged, stats.held];
    assert_eq!(
        stats.found.records + stats.accepted.records,
        gone.iter().map(|count| count.records).sum::<u64>()
    );
    assert_eq!(stats.held.records, 0);
    (records, next)
}

/// Two segments, and how far a reader was.
fn anything(bytes: &[u8]) -> Memory {
    let mut parts = bytes.splitn(3, |&byte| byte == 0xff).map(<[u8]>::to_vec);
    let names = ["00000000000000000001.spool", "00000000000000000005.spool", "all.reader"];
    let files = names.into_iter().filter_map(|name| Some((name.to_owned(), parts.next()?)));
    Memory(Arc::new(Mutex::new(files.collect())))
}

/// Records of so many bytes each, and the files that they are in.
fn filled(how: u8, bytes: &[u8]) -> (Memory, Option<Vec<Record>>) {
    let disk = Memory::default();
    let (mut spool, _) = Spool::open_on(disk.clone(), CONFIG).expect("it is empty");
    let mut put_in = Vec::new();
    for (number, body) in bytes.chunks(1 + usize::from(how)).enumerate().take(200) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
        let sequence = spool.append(now, how, 7, body).expect("there is room");
        put_in.push(Record {
            sequence,
            time_ms: number as u64 * 1000,
            kind: how,
            items: 7,
            body: Bytes::copy_from_slice(body),
        });
        spool.commit(now).expect("memory does not fail");
    }
    drop(spool);
    (disk, Some(put_in))
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Memory {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("nobody panics while they hold this")
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().iter().map(|(name, file)| (name.clone(), file.len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.files().insert(name.to_owned(), Vec::new());
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.files().get_mut(name).ok_or_else(missing)?.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let files = self.files();
        let file = files.get(name).ok_or_else(missing)?;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.files().get_mut(name).ok_or_else(missing)?.truncate(length as usize);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(drop).ok_or_else(missing)
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        Ok(())
    }
}
