//! A disk in memory that keeps what was made durable and loses the rest, or fails when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use teleflow_spool::Disk;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Append(Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Remove(String),
}

/// What happens at a call, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This call fails; an append has written a part, and a sync lost what it was for.
    Once(io::ErrorKind),
    /// From this call on all writing fails.
    From(io::ErrorKind),
    /// This call is not done, and none after it.
    Crash,
}

// === impl SimDisk ===

impl SimDisk {
    pub(crate) fn fault(&self, call: u64, fault: Fault) {
        self.0.lock().unwrap().fault = Some((call, fault));
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        state.files[state.names[name]].content.clone()
    }

    pub(crate) fn put(&self, name: &str, content: Vec<u8>) {
        let mut state = self.0.lock().unwrap();
        let file = File { durable: content.clone(), content, changes: Vec::new() };
        state.files.push(file);
        let at = state.files.len() - 1;
        state.names.insert(name.to_owned(), at);
        state.durable_names.insert(name.to_owned(), at);
    }

    /// The disk after a loss of power: of what was not durable, a beginning that `rng` chooses.
    pub(crate) fn after_power_loss(&self, rng: &mut fastrand::Rng) -> Self {
        let state = self.0.lock().unwrap();
        let mut names = state.durable_names.clone();
        for change in &state.name_changes[..rng.usize(..=state.name_changes.len())] {
            change.apply(&mut names);
        }
        let new = Self::default();
        for (name, at) in names {
            new.put(&name, state.files[at].after_power_loss(rng));
        }
        new
    }

    /// The disk after the end of the process alone.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.0.lock().unwrap();
        let new = Self::default();
        for (name, at) in &state.names {
            new.put(name, state.files[*at].content.clone());
        }
        new
    }

    fn read<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.call(false)?;
        work(&mut state)
    }

    fn write<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.call(true)?;
        work(&mut state)
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.read(|state| {
            let length = |at: &usize| state.files[*at].content.len() as u64;
            Ok(state.names.iter().map(|(name, at)| (name.clone(), length(at))).collect())
        })
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.write(|state| {
            state.files.push(File::default());
            let at = state.files.len() - 1;
            state.rename(NameChange::Set(name.to_owned(), at));
            Ok(())
        })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let called = state.call(true);
        // A failed or interrupted append leaves a part.
        let written = if called.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let crashed_before = called.is_err() && state.crashed && state.fault.is_none();
        if !crashed_before {
            state.file(name)?.change(Change::Append(bytes[..written].to_vec()));
        }
        if state.crashed {
            state.fault = None;
        }
        called
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let called = state.call(true);
        let crashed = state.crashed;
        let file = state.file(name)?;
        match called {
            Ok(()) => {
                file.durable = file.content.clone();
                file.changes.clear();
            }
            // What is lost on a failed sync stays lost: the next one knows nothing of it.
            Err(_) if !crashed => file.changes.clear(),
            Err(_) => {}
        }
        called
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.read(|state| {
            let content = &state.file(name)?.content;
            let rest = content.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        })
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.write(|state| {
            state.file(name)?.change(Change::Truncate(length));
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.write(|state| {
            let at = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            // Both at once, as file systems promise: the old name is taken away with the next change.
            state.rename(NameChange::Set(to.to_owned(), at));
            state.rename(NameChange::Remove(from.to_owned()));
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.write(|state| {
            state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            state.rename(NameChange::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.write(|state| {
            state.durable_names = state.names.clone();
            state.name_changes.clear();
            Ok(())
        })
    }
}

// === impl State ===

impl State {
    fn call(&mut self, writes: bool) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the disk is gone"));
        }
        self.calls += 1;
        match self.fault {
            Some((call, Fault::Crash)) if self.calls >= call => {
                self.crashed = true;
                Err(io::Error::other("the disk is gone"))
            }
            Some((call, Fault::Once(kind))) if self.calls == call => Err(kind.into()),
            Some((call, Fault::From(kind))) if self.calls >= call && writes => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let at = *self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[at])
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, at) => names.insert(name.clone(), *at),
            Self::Remove(name) => names.remove(name),
        };
    }
}

// === impl File ===

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.changes.push(change);
    }

    fn after_power_loss(&self, rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        let whole = rng.usize(..=self.changes.len());
        for change in &self.changes[..whole] {
            change.apply(&mut content);
        }
        if let Some(Change::Append(bytes)) = self.changes.get(whole) {
            content.extend_from_slice(&bytes[..rng.usize(..=bytes.len())]);
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Append(bytes) => content.extend_from_slice(bytes),
            Self::Truncate(length) => content.truncate(*length as usize),
        }
    }
}
