use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use super::*;
use crate::talk::line;

/// A stream whose reader takes a write, or refuses it, for each that it is told of.
struct Reader {
    takes: Receiver<bool>,
    taken: SyncSender<Vec<u8>>,
}

impl Write for Reader {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.takes.recv() {
            Ok(true) => {}
            Ok(false) => return Err(io::ErrorKind::StorageFull.into()),
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        self.taken.send(text.to_vec()).unwrap();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LIMITS: Limits = Limits {
    // Longer than any test.
    patience: Duration::from_secs(60),
    max_said: 8,
    max_lines: 3,
    max_bytes: 100,
};

fn voice(limits: Limits) -> (Voice, SyncSender<bool>, Receiver<Vec<u8>>) {
    let ((take, takes), (taken, text)) = (sync_channel(100), sync_channel(100));
    (Voice::new(Reader { takes, taken }, limits), take, text)
}

/// Waits until the thread stands before a reader that does not read, with the first line.
#[track_caller]
fn stands(voice: &Voice) {
    let patience = Instant::now() + LIMITS.patience;
    // bounded wait: the thread has to take the line.
    while !voice.shared.lock().waiting.is_empty() {
        assert!(Instant::now() < patience, "the thread does not run");
        thread::yield_now();
    }
}

fn read(text: &Receiver<Vec<u8>>) -> Vec<String> {
    text.try_iter().map(|text| String::from_utf8(text).unwrap()).collect()
}

#[test]
fn what_is_read_is_written_in_order_and_in_one_piece() {
    let (voice, take, text) = voice(LIMITS);
    for number in 0..10 {
        take.send(true).unwrap();
        line(&voice, format_args!("line {number}"));
        assert_eq!(text.try_recv().unwrap(), format!("line {number}\n").as_bytes());
    }
    drop(take);
    let error = (&voice).write(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "who leaves is noticed");
}

#[test]
fn a_reader_that_stops_is_waited_for_once_and_heard_again_when_it_goes_on() {
    let (voice, take, text) = voice(Limits { patience: Duration::from_millis(20), ..LIMITS });
    for _ in 0..3 * LIMITS.max_said {
        let error = (&voice).write(b"unread").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    // Only the first waited and is still to come.
    for _ in 0..2 {
        take.send(true).unwrap();
    }
    assert_eq!(text.recv().unwrap(), b"unread");
    let patience = Instant::now() + LIMITS.patience;
    // bounded wait: the thread has to see that its write is finished.
    while (&voice).write(b"read").is_err() {
        assert!(Instant::now() < patience, "it goes on and is not heard");
        thread::yield_now();
    }
    assert_eq!(text.recv().unwrap(), b"read");
    assert_eq!(text.try_recv(), Err(TryRecvError::Empty), "what was refused was not written");
}

#[test]
fn lines_are_never_waited_for_and_what_has_no_room_is_told_in_its_place() {
    let (voice, take, text) = voice(LIMITS);
    voice.offer(b"1\n".into());
    stands(&voice);
    for line in 2..=9 {
        voice.offer(format!("{line}\n").into());
    }
    assert_eq!(voice.offered(), Offered { written: 0, left_out: 6, failed: 0 });
    // Who says something comes behind them, and sees all of it written.
    (0..6).for_each(|_| take.send(true).unwrap());
    (&voice).write_all(b"said\n").unwrap();
    let told = "teleflow: 6 lines of the log were left out\n";
    assert_eq!(read(&text), ["1\n", "2\n", "3\n", told, "said\n"]);
    voice.offer(b"10\n".into());
    voice.finish();
    assert_eq!(read(&text), ["10\n"], "it is told once");
    assert_eq!(voice.offered(), Offered { written: 4, left_out: 6, failed: 0 });
}

#[test]
fn what_is_kept_is_bounded_in_bytes_as_well() {
    let (voice, take, text) = voice(LIMITS);
    voice.offer(vec![b'a'; 60]);
    stands(&voice);
    voice.offer(vec![b'b'; 41]);
    voice.offer(vec![b'c'; 40]);
    voice.offer(vec![b'd'; 1]);
    // It fits in nothing, ever.
    voice.offer(vec![b'e'; 101]);
    (0..10).for_each(|_| take.send(true).unwrap());
    voice.finish();
    let written: Vec<_> =
        read(&text).iter().map(|line| (line.len(), line[..1].to_owned())).collect();
    let told = "teleflow: 1 line of the log was left out\n".len();
    let two = "teleflow: 2 lines of the log were left out\n".len();
    let [a, c, t] = ["a", "c", "t"].map(str::to_owned);
    assert_eq!(written, [(60, a), (told, t.clone()), (40, c), (two, t)]);
    assert_eq!(voice.offered(), Offered { written: 2, left_out: 3, failed: 0 });
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_told_when_it_has_room_again() {
    let (voice, take, text) = voice(LIMITS);
    voice.offer(b"1\n".into());
    voice.offer(b"2\n".into());
    // The first; the notice that it is missing; the second; and then there is room.
    for takes in [false, false, false, true, true] {
        take.send(takes).unwrap();
    }
    voice.finish();
    voice.offer(b"3\n".into());
    voice.finish();
    let told = "teleflow: 2 lines of the log were left out\n";
    assert_eq!(read(&text), [told, "3\n"]);
    assert_eq!(voice.offered(), Offered { written: 1, left_out: 0, failed: 2 });
}

#[test]
fn a_line_that_was_cut_off_does_not_run_into_the_next() {
    /// Has room for so many bytes in all, and then again for any number.
    struct Disk(SyncSender<Vec<u8>>, usize, bool);

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            if self.1 == 0 && !self.2 {
                self.2 = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let room = if self.2 { text.len() } else { text.len().min(self.1) };
            self.1 -= room.min(self.1);
            self.0.send(text[..room].to_vec()).unwrap();
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let (taken, text) = sync_channel(100);
    let voice = Voice::new(Disk(taken, 4, false), LIMITS);
    voice.offer(b"first\n".into());
    voice.offer(b"second\n".into());
    voice.finish();
    let told = "\nteleflow: 1 line of the log was left out\nsecond\n";
    assert_eq!(read(&text).concat(), format!("firs{told}"));
}

#[test]
fn a_finish_waits_for_no_reader_that_has_stopped() {
    let (voice, take, text) = voice(Limits { patience: Duration::from_millis(20), ..LIMITS });
    voice.offer(b"1\n".into());
    voice.finish();
    assert!(voice.shared.lock().stuck, "it waited as long as it has patience");
    // Whoever could have waited again would have been stuck again.
    voice.finish();
    assert_eq!(read(&text), [] as [&str; 0]);
    drop(take);
}
