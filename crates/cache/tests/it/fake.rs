//! A second level in memory that does what a test says.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use teleflow_cache::{SecondLevel, SecondLevelError, Stored};

use crate::tasks::step_aside;

/// What a second level does when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Does it, and answers after letting the others go first, so many times.
    Slow(usize),
    Fails,
    Silent,
    /// Lets the others go first, so many times, and does it then.
    Late(usize),
    /// Answers with one value too few.
    Short,
    Panics,
}

/// A request, with the number of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Get(usize),
    Set(usize),
    Remove(usize),
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

#[derive(Default)]
struct State {
    mood: Mood,
    values: HashMap<Bytes, Stored>,
    requests: Vec<Request>,
}

// === impl Fake ===

impl Fake {
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    pub(crate) fn put(&self, key: &str, value: &str, remaining: Option<Duration>) {
        let stored = Stored { value: Bytes::copy_from_slice(value.as_bytes()), remaining };
        self.0.lock().unwrap().values.insert(Bytes::copy_from_slice(key.as_bytes()), stored);
    }

    pub(crate) fn value(&self, key: &str) -> Option<Stored> {
        self.0.lock().unwrap().values.get(key.as_bytes()).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().values.len()
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    async fn answer<T>(
        &self,
        request: Request,
        work: impl FnOnce(&mut State) -> T,
    ) -> Result<T, SecondLevelError> {
        let mood = {
            let mut state = self.0.lock().unwrap();
            state.requests.push(request);
            state.mood
        };
        match mood {
            Mood::Well | Mood::Short | Mood::Slow(_) => {}
            Mood::Fails => return Err(SecondLevelError::Unreachable),
            Mood::Silent => std::future::pending().await,
            Mood::Panics => panic!("on purpose"),
            Mood::Late(steps) => {
                for _ in 0..steps {
                    step_aside().await;
                }
            }
        }
        let answer = work(&mut self.0.lock().unwrap());
        if let Mood::Slow(steps) = mood {
            for _ in 0..steps {
                step_aside().await;
            }
        }
        Ok(answer)
    }
}

impl SecondLevel for &Fake {
    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Stored>>, SecondLevelError> {
        self.answer(Request::Get(keys.len()), |state| {
            let short = usize::from(state.mood == Mood::Short);
            keys.iter().skip(short).map(|key| state.values.get(key).cloned()).collect()
        })
        .await
    }

    async fn set_many(
        &self,
        entries: &[(Bytes, Bytes)],
        ttl: Duration,
    ) -> Result<usize, SecondLevelError> {
        self.answer(Request::Set(entries.len()), |state| {
            for (key, value) in entries {
                let stored = Stored { value: value.clone(), remaining: Some(ttl) };
                state.values.insert(key.clone(), stored);
            }
            entries.len()
        })
        .await
    }

    async fn remove_many(&self, keys: &[Bytes]) -> Result<usize, SecondLevelError> {
        self.answer(Request::Remove(keys.len()), |state| {
            keys.iter().for_each(|key| {
                state.values.remove(key);
            });
            keys.len()
        })
        .await
    }
}
