//! The one thread that writes.
//!
//! It takes whatever payloads wait, up to what a transaction may hold, commits, and then answers
//! them all. So it commits once a payload when there is little to do, and once for many when there
//! is much.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Error};
use teleflow_exporter::{Delivered, ExportError};
use teleflow_otlp::Payload;
use tokio::sync::{mpsc, oneshot};

use crate::bounded::{Bounded, Counters};
use crate::budget::{Budget, Cost};
use crate::error::export_error;
use crate::rows::Tables;

/// What the writer is asked to do, and whom to answer.
#[derive(Debug)]
pub(crate) enum Job {
    Store(Payload, Answer<Delivered>),
    /// Make lasting what was committed.
    Flush(Answer<()>),
    /// Finish what was asked before, close the file and end.
    Close(Answer<()>),
    #[cfg(test)]
    Panic,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, ExportError>>;

/// A payload whose rows are in a transaction that may not be committed yet.
#[derive(Debug)]
struct Unanswered {
    /// How many transactions had been committed when its last row was inserted. It is safe once
    /// there are more.
    commits: u64,
    delivered: Delivered,
    answer: Answer<Delivered>,
}

struct Writer<'db> {
    db: Bounded<'db>,
    tables: Tables<'db>,
    unanswered: Vec<Unanswered>,
}

/// Runs until it is asked to close, or nobody can ask any more.
pub(crate) fn run(
    db: Connection,
    path: PathBuf,
    budget: Budget,
    counters: Arc<Counters>,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut leaving = Vec::new();
    let mut result = write(&db, &path, budget, counters, &mut jobs, &mut leaving);
    if let Err((_, error)) = db.close() {
        result = result.and(Err(error));
    }
    for answer in leaving {
        let _ = answer.send(match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(export_error(&path, error)),
        });
    }
}

fn write(
    db: &Connection,
    path: &Path,
    budget: Budget,
    counters: Arc<Counters>,
    jobs: &mut mpsc::Receiver<Job>,
    leaving: &mut Vec<Answer<()>>,
) -> Result<(), Error> {
    let mut writer = Writer {
        db: Bounded::new(db, path, budget, counters),
        tables: Tables::prepare(db)?,
        unanswered: Vec::new(),
    };
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => job,
            Err(_) => {
                // Nobody waits: now those who did get their answer.
                writer.commit();
                match jobs.blocking_recv() {
                    Some(job) => job,
                    None => break,
                }
            }
        };
        match job {
            Job::Store(payload, answer) => writer.store(&payload, answer),
            Job::Flush(answer) => {
                writer.commit();
                let _ = answer.send(writer.db.checkpoint().map_err(|e| export_error(path, &e)));
            }
            Job::Close(answer) => {
                jobs.close();
                leaving.push(answer);
            }
            #[cfg(test)]
            Job::Panic => panic!("asked for by a test"),
        }
    }
    writer.db.empty_log()
}

// === impl Writer ===

impl Writer<'_> {
    fn store(&mut self, payload: &Payload, answer: Answer<Delivered>) {
        // A payload that fits a transaction goes into one, and so is stored whole or not at all.
        if !self.db.has_room_for(Cost::payload(payload.bytes(), payload.items())) {
            self.commit();
        }
        match self.tables.insert(&mut self.db, payload) {
            Ok(rejected) => {
                let unit = payload.signal().items_name();
                let delivered = Delivered {
                    rejected,
                    message: (rejected > 0).then(|| format!("{unit} too large for the store")),
                };
                let commits = self.db.commits();
                self.unanswered.push(Unanswered { commits, delivered, answer });
            }
            Err(error) => {
                self.fail(&error);
                let _ = answer.send(Err(export_error(self.db.path(), &error)));
            }
        }
    }

    /// Commits, and answers all who wait for that.
    fn commit(&mut self) {
        match self.db.commit() {
            Ok(()) => {
                for Unanswered { delivered, answer, .. } in self.unanswered.drain(..) {
                    self.db.count_rejected(delivered.rejected);
                    let _ = answer.send(Ok(delivered));
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Undoes the transaction, and tells all whose rows were in it.
    fn fail(&mut self, error: &Error) {
        self.db.roll_back(error);
        for Unanswered { commits, delivered, answer } in self.unanswered.drain(..) {
            let safe = commits < self.db.commits();
            let _ = answer.send(if safe {
                self.db.count_rejected(delivered.rejected);
                Ok(delivered)
            } else {
                Err(export_error(self.db.path(), error))
            });
        }
    }
}
