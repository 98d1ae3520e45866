//! The thread that owns the spool: takes commands in groups, with one commit for each group.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use super::{Append, Command, NoRoom, Place, Reply, ShellConfig, ShellError, Snapshot};
use crate::{AppendError, Count, Disk, Read, ReaderId, Record, Spool};

/// Commands of one group, at most.
const GROUP: usize = 1024;

pub(super) struct Keeper<D> {
    spool: Spool<D>,
    config: ShellConfig,
    /// Readers for which there was nothing, one command each.
    waiting: Vec<(ReaderId, Reply<Record>)>,
    /// Appends that wait for room, and those behind them.
    blocked: VecDeque<Append>,
    /// Appends that the next commit answers.
    committed: Vec<Committed>,
    /// Acknowledgements that the next save answers.
    saved: Vec<(bool, Reply<bool>)>,
    /// When the readers' progress was last kept.
    saved_at: Instant,
    watchers: Vec<(ReaderId, watch::Sender<Snapshot>)>,
}

struct Committed {
    sequence: u64,
    items: u32,
    told: Box<dyn FnOnce(Result<u64, ShellError>) + Send>,
    _place: Place,
}

/// How an append went.
enum Appended {
    Yes,
    /// There is no room for it now.
    Blocked(Append),
    /// The disk failed: what comes next must not share the fate of this group.
    Failed,
}

impl<D: Disk> Keeper<D> {
    pub(super) fn new(spool: Spool<D>, config: ShellConfig) -> Self {
        Self {
            spool,
            config,
            waiting: Vec::new(),
            blocked: VecDeque::new(),
            committed: Vec::new(),
            saved: Vec::new(),
            saved_at: Instant::now(),
            watchers: Vec::new(),
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match commands.recv_timeout(self.config.tick) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody is left to be told.
                    let _ = self.spool.close(SystemTime::now());
                    return;
                }
            };
            let now = SystemTime::now();
            let rest = std::iter::from_fn(|| commands.try_recv().ok());
            let mut close = None;
            let goes_on = self.unblock(now);
            for command in first.into_iter().chain(rest).take(GROUP) {
                if let Command::Close { reply } = command {
                    close = Some(reply);
                    break;
                }
                if !self.take(now, command, goes_on) {
                    break;
                }
            }
            self.settle(now);
            if let Some(reply) = close {
                for append in self.blocked.drain(..) {
                    (append.told)(Err(ShellError::Closed));
                }
                let closed = self.spool.close(SystemTime::now());
                let _ = reply.send(closed.map_err(ShellError::from));
                return;
            }
        }
    }

    /// Tries again what waits for room; false where the disk failed.
    fn unblock(&mut self, now: SystemTime) -> bool {
        while let Some(append) = self.blocked.pop_front() {
            match self.append(now, append) {
                Appended::Yes => {}
                Appended::Blocked(append) => {
                    self.blocked.push_front(append);
                    return true;
                }
                Appended::Failed => return false,
            }
        }
        true
    }

    /// Whoever asked and went away needs no answer; all `send`s here may fail for that. False where
    /// the group ends with this command. Where `goes_on` is false appends wait for the next group.
    fn take(&mut self, now: SystemTime, command: Command, goes_on: bool) -> bool {
        match command {
            Command::Append(append) => {
                if !goes_on || !self.blocked.is_empty() {
                    // The order is that of the calls.
                    self.blocked.push_back(append);
                    return true;
                }
                match self.append(now, append) {
                    Appended::Yes => {}
                    Appended::Blocked(append) => self.blocked.push_back(append),
                    Appended::Failed => return false,
                }
            }
            Command::Reader { name, reply } => {
                let id = self.spool.reader(&name);
                if let Ok(id) = id {
                    self.waiting.retain(|(waiting, _)| *waiting != id);
                }
                let watched = id.map(|id| (id, self.watch(id)));
                let _ = reply.send(watched.map_err(ShellError::from));
            }
            Command::Read { id, reply } => self.waiting.push((id, reply)),
            Command::Ack { id, sequence, reply } => {
                let known = self.spool.ack(id, sequence);
                self.saved.push((known, reply));
            }
            Command::Done { id, sequence, told } => told(self.spool.ack(id, sequence)),
            Command::Stats { reply } => _ = reply.send(Ok(self.spool.stats())),
            Command::Close { .. } => {}
        }
        true
    }

    fn append(&mut self, now: SystemTime, append: Append) -> Appended {
        let items = append.items;
        if let Some(max_items) = self.config.max_items.map(NonZeroU64::get)
            && u64::from(items) > max_items
        {
            (append.told)(Err(AppendError::TooManyItems { items, max_items }.into()));
            return Appended::Yes;
        }
        if !self.has_room(items) {
            return self.without_room(append);
        }
        match self.spool.append(now, append.kind, append.items, &append.body) {
            Ok(sequence) => {
                let Append { items, told, place, .. } = append;
                self.committed.push(Committed { sequence, items, told, _place: place });
                Appended::Yes
            }
            Err(AppendError::Full { .. }) if append.no_room == NoRoom::Wait => {
                Appended::Blocked(append)
            }
            Err(AppendError::Io(error))
                if append.no_room == NoRoom::Wait && error.kind() == io::ErrorKind::StorageFull =>
            {
                Appended::Blocked(append)
            }
            Err(error) => {
                let has_failed = matches!(error, AppendError::Io(_));
                (append.told)(Err(error.into()));
                if has_failed { Appended::Failed } else { Appended::Yes }
            }
        }
    }

    fn without_room(&mut self, append: Append) -> Appended {
        match append.no_room {
            NoRoom::Wait => Appended::Blocked(append),
            NoRoom::Fail => {
                self.refuse(append);
                Appended::Yes
            }
        }
    }

    fn refuse(&mut self, append: Append) {
        let error = self.spool.refuse(append.items);
        (append.told)(Err(error.into()));
    }

    /// Whether a record of so many items is within the limits on records and items.
    fn has_room(&self, items: u32) -> bool {
        let ShellConfig { max_records, max_items, .. } = self.config;
        if max_records.is_none() && max_items.is_none() {
            return true;
        }
        let mut held = Count::default();
        for (id, _) in &self.watchers {
            let of_reader = self.spool.reader_stats(*id).unwrap_or_default().held;
            held.records = held.records.max(of_reader.records);
            held.items = held.items.max(of_reader.items);
        }
        for committed in &self.committed {
            held.add(Count::one(committed.items));
        }
        held.add(Count::one(items));
        held.records <= max_records.map_or(u64::MAX, NonZeroU64::get)
            && held.items <= max_items.map_or(u64::MAX, NonZeroU64::get)
    }

    fn settle(&mut self, now: SystemTime) {
        // A segment that could not be removed is tried again in the next turn.
        let _ = self.spool.expire(now);
        let committed = self.spool.commit(now);
        // Who waits for room, or for the word that it is kept, does not wait for the tick.
        let is_urgent = !self.saved.is_empty() || !self.blocked.is_empty();
        let is_time = is_urgent || self.saved_at.elapsed() >= self.config.tick;
        let saved = is_time.then(|| self.spool.save(now));
        // Whoever has an answer finds it in the figures too.
        self.tell();
        for Committed { sequence, told, _place, .. } in self.committed.drain(..) {
            told(again(&committed).map(|()| sequence));
        }
        if let Some(saved) = saved {
            self.saved_at = Instant::now();
            for (known, reply) in self.saved.drain(..) {
                let _ = reply.send(again(&saved).map(|()| known));
            }
        }
        for (id, reply) in std::mem::take(&mut self.waiting) {
            self.answer(id, reply);
        }
    }

    fn answer(&mut self, id: ReaderId, reply: Reply<Record>) {
        if reply.is_closed() {
            return;
        }
        let answer = match self.spool.read(id) {
            Ok(Read::Record(record)) => Ok(record),
            Ok(Read::WindowFull | Read::Empty) => return self.waiting.push((id, reply)),
            Err(error) => Err(error.into()),
        };
        if reply.send(answer).is_err() {
            // The one who asked went away: it comes again to whoever takes the name over.
            self.spool.rewind(id);
        }
    }

    fn watch(&mut self, id: ReaderId) -> watch::Receiver<Snapshot> {
        let snapshot = self.snapshot(id);
        match self.watchers.iter().find(|(known, _)| *known == id) {
            Some((_, sender)) => {
                sender.send_replace(snapshot);
                sender.subscribe()
            }
            None => {
                let (sender, receiver) = watch::channel(snapshot);
                self.watchers.push((id, sender));
                receiver
            }
        }
    }

    fn snapshot(&self, id: ReaderId) -> Snapshot {
        let reader = self.spool.reader_stats(id).unwrap_or_default();
        Snapshot { reader, spool: self.spool.stats() }
    }

    /// Keeps up to date who watches.
    fn tell(&self) {
        for (id, sender) in &self.watchers {
            let snapshot = self.snapshot(*id);
            sender.send_if_modified(|known| {
                let has_lost_more = known.reader.lost() != snapshot.reader.lost();
                *known = snapshot;
                has_lost_more
            });
        }
    }
}

/// The same answer for each of a group.
fn again(result: &io::Result<()>) -> Result<(), ShellError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
    }
}
