//! The demo's store: a new file for each demo, in place of the file of the one before.
//!
//! A demo deletes a file, so it makes sure whose that is. Beside its store it leaves a mark, a
//! small file that says which file the store is: its inode and when it was made, which no file that
//! is put there later has in common with it. A store without the mark is a gateway's, and is left
//! alone, as is everything that is no store. The mark is locked while its demo runs.
//!
//! Nothing is deleted before the gateway has all its ports: until then what is exported waits.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};
use teleflow::Payload;
use teleflow::exporter::{Delivered, ExportError, Exporter};
use teleflow::store::{Config, OpenError, SqliteReader, SqliteStore};
use tokio::sync::SetOnce;

/// What every mark begins with.
const MARK: &str = "made by teleflow demo: ";

/// More than any mark has; what is longer is none.
const MAX_MARK: u64 = 200;

/// A path that is this demo's to write to, and the store there once it is open.
#[derive(Debug)]
pub(crate) struct DemoStore {
    path: PathBuf,
    /// Locked for as long as it is open.
    mark: File,
    config: OnceLock<Config>,
    opened: SetOnce<Arc<SqliteStore>>,
}

// === impl DemoStore ===

impl DemoStore {
    /// Checks that the path can be had: that there is nothing, or the store of an earlier demo.
    /// Deletes nothing.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        let marked = beside(path, "-demo");
        let is_new = fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let mark = OpenOptions::new().read(true).write(true).create(is_new).open(&marked);
        let mark = match mark {
            Err(error) if !is_new && error.kind() == io::ErrorKind::NotFound => {
                return Err(refused(path, "no demo has left its mark beside it"));
            }
            mark => mark.with_context(|| {
                format!("cannot open {}, the mark of the demo's store", marked.display())
            })?,
        };
        match mark.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another demo is writing to {}; name another file with --store",
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", marked.display()));
            }
        }
        let claimed =
            Self { path: path.to_owned(), mark, config: OnceLock::new(), opened: SetOnce::new() };
        claimed.is_there()?;
        Ok(claimed)
    }

    /// Takes note of how the store is to be opened, later.
    pub(crate) fn configure(&self, config: Config) {
        // A second call would change nothing, and there is none.
        let _ = self.config.set(config);
    }

    /// Deletes the store of an earlier demo, makes a new one and lets in what waits for it.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<SqliteStore>> {
        let path = &self.path;
        if self.is_there()? {
            // The log first: one that is left beside a new file of its name could damage that.
            for suffix in ["-wal", "-shm", ""] {
                let file = beside(path, suffix);
                match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error)
                            .with_context(|| format!("cannot remove {}", file.display()));
                    }
                    _ => {}
                }
            }
        }
        // Fails where there is a file again: what is marked is what was made here.
        let made = File::create_new(path).and_then(|made| self.write_mark(&made.metadata()?));
        made.with_context(|| format!("cannot make {}", path.display()))?;
        let config = self.config.get().cloned().unwrap_or_default();
        let store = Arc::new(SqliteStore::open(Config { path: path.clone(), ..config })?);
        // A second call has failed above.
        let _ = self.opened.set(Arc::clone(&store));
        Ok(store)
    }

    /// Whether there is a store, which is then one that a demo made. An error says why it is not.
    fn is_there(&self) -> anyhow::Result<bool> {
        let path = &self.path;
        let cannot_read = || format!("cannot read {}", path.display());
        let mut mark = String::new();
        let read = (&self.mark).rewind();
        read.and_then(|()| (&self.mark).take(MAX_MARK).read_to_string(&mut mark))
            .ok()
            .filter(|_| mark.is_empty() || mark.starts_with(MARK))
            .with_context(|| {
                let marked = beside(path, "-demo");
                format!(
                    "{} is not a demo's mark, so it is left alone; name another file with --store",
                    marked.display()
                )
            })?;
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found.with_context(cannot_read)?,
        };
        if !found.is_file() {
            return Err(refused(path, "it is not a file"));
        }
        if identity(&found).is_none_or(|identity| identity != mark) {
            return Err(refused(path, "it is not the file that the demo made there"));
        }
        // A demo that was killed in its first moments has left an empty file.
        if found.len() > 0 {
            match SqliteReader::open(path) {
                // All of them have teleflow's application_id.
                Ok(_) | Err(OpenError::Older { .. } | OpenError::Newer { .. }) => {}
                Err(error) => return Err(refused(path, &error.to_string())),
            }
        }
        Ok(true)
    }

    fn write_mark(&self, store: &Metadata) -> io::Result<()> {
        self.mark.set_len(0)?;
        (&self.mark).rewind()?;
        // A file system that does not say when a file was made gets no mark: what cannot be told
        // apart is not deleted by the next demo.
        (&self.mark).write_all(identity(store).unwrap_or_default().as_bytes())
    }
}

impl Exporter for DemoStore {
    /// Waits until the store is open.
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.opened.wait().await.export(payload).await
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.opened.wait().await.flush().await
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        match self.opened.get() {
            Some(store) => store.shutdown().await,
            None => Ok(()),
        }
    }
}

/// What tells a file from any other that has had, or will have, its name.
fn identity(file: &Metadata) -> Option<String> {
    let made = file.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{MARK}inode {}, {} ns after 1970\n", file.ino(), made.as_nanos()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn refused(path: &Path, why: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the demo would replace {}, and leaves it alone: {why}; name another file with --store, \
         or move this one away",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use teleflow::Signal;
    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        (folder, path)
    }

    /// What a demo leaves behind.
    fn earlier_demo(path: &Path) {
        drop(DemoStore::claim(path).unwrap().open().unwrap());
    }

    fn gateways_store(path: &Path) {
        let config = Config { path: path.to_owned(), ..Config::default() };
        drop(SqliteStore::open(config).unwrap());
    }

    /// A demo is refused this path, and leaves every file as it is.
    #[track_caller]
    fn refuses(path: &Path, because: &str) {
        let files: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|file| file.is_file())
            .map(|file| (fs::read(&file).unwrap(), file))
            .collect();
        let error = format!("{:#}", DemoStore::claim(path).unwrap_err());
        assert!(error.contains(because), "{because} in {error}");
        assert!(error.contains("--store"), "what to do is in {error}");
        // A store that looks like the demo's is read, for which SQLite makes its empty `-wal`.
        for (content, file) in files {
            assert!(fs::read(&file).unwrap() == content, "{} was changed", file.display());
        }
    }

    #[test]
    fn the_store_of_an_earlier_demo_is_replaced_when_it_is_opened_and_not_before() {
        let (_folder, path) = folder();
        earlier_demo(&path);
        Connection::open(&path).unwrap().execute("CREATE TABLE earlier (x)", ()).unwrap();
        let is_earlier = || {
            let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'earlier'";
            let db = Connection::open(&path).unwrap();
            db.query_row(tables, (), |row| row.get::<_, i64>(0)).unwrap() == 1
        };
        let store = DemoStore::claim(&path).unwrap();
        assert!(is_earlier(), "a claim deletes nothing");
        let opened = store.open().unwrap();
        assert!(!is_earlier());
        drop((store, opened));
        // Also after a kill: with the log, and with nothing but the empty file.
        for suffix in ["-wal", "-shm"] {
            fs::write(beside(&path, suffix), "").unwrap();
        }
        earlier_demo(&path);
        fs::write(&path, "").unwrap();
        earlier_demo(&path);
    }

    #[test]
    fn a_gateways_store_is_never_deleted() {
        let (_folder, path) = folder();
        gateways_store(&path);
        refuses(&path, "no demo has left its mark");

        // Nor where a demo's was before, whose mark is still there.
        let (_folder, path) = folder();
        earlier_demo(&path);
        fs::remove_file(&path).unwrap();
        gateways_store(&path);
        refuses(&path, "not the file that the demo made");

        // Nor where it takes the place of the demo's between the claim and the opening.
        let (_folder, path) = folder();
        earlier_demo(&path);
        let store = DemoStore::claim(&path).unwrap();
        fs::remove_file(&path).unwrap();
        gateways_store(&path);
        assert!(store.open().is_err());
        assert!(SqliteReader::open(&path).is_ok());
        // The same for a path where there was nothing.
        let (_folder, path) = folder();
        let store = DemoStore::claim(&path).unwrap();
        gateways_store(&path);
        assert!(store.open().is_err());
        assert!(SqliteReader::open(&path).is_ok());
    }

    #[test]
    fn what_is_no_store_is_never_deleted() {
        let (_folder, path) = folder();
        Connection::open(&path).unwrap().execute("CREATE TABLE theirs (x)", ()).unwrap();
        refuses(&path, "no demo has left its mark");
        // Not even one that is the very file which the demo made: only a store is a demo's.
        let (_folder, path) = folder();
        earlier_demo(&path);
        Connection::open(&path).unwrap().pragma_update(None, "application_id", 7).unwrap();
        refuses(&path, "application_id 7");
        fs::write(&path, "years of work").unwrap();
        refuses(&path, "not a SQLite database");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refuses(&path, "it is not a file");

        let (_folder, path) = folder();
        fs::write(beside(&path, "-demo"), "someone's list of demos").unwrap();
        refuses(&path, "is not a demo's mark");
    }

    #[test]
    fn a_demo_that_runs_keeps_its_store() {
        let (_folder, path) = folder();
        let store = DemoStore::claim(&path).unwrap();
        let opened = store.open().unwrap();
        let error = DemoStore::claim(&path).unwrap_err().to_string();
        assert!(error.contains("another demo") && error.contains("--store"), "{error}");
        drop((store, opened));
        assert!(DemoStore::claim(&path).is_ok());
    }

    #[tokio::test]
    async fn what_comes_before_the_store_is_open_waits_for_it() {
        let (_folder, path) = folder();
        let store = Arc::new(DemoStore::claim(&path).unwrap());
        let exporter = Arc::clone(&store);
        let early =
            tokio::spawn(async move { exporter.export(Payload::empty(Signal::Logs)).await });
        tokio::task::yield_now().await;
        assert!(!early.is_finished());
        store.open().unwrap();
        assert_eq!(early.await.unwrap().unwrap(), Delivered::ALL);
        store.shutdown().await.unwrap();
    }
}
