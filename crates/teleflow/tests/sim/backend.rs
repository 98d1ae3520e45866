//! Where telemetry is kept, on its good days.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use teleflow::Payload;
use teleflow::exporter::{Delivered, ExportError, Exporter};
use teleflow::otlp::{Code, Status};

use crate::link::Link;
use crate::world::pass;
use teleflow_testkit::numbered::numbers;

/// A backend at the end of a link. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) link: Link,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    /// Of a thousand requests so many do not go well.
    moody: u32,
    taken: HashMap<u64, u32>,
    rejected: HashSet<u64>,
    /// Requests whose sender has heard that a part was rejected: none of them must come again.
    partial: Vec<Payload>,
    came_again: u64,
    moods: [u64; MOODS],
}

/// The moods in which a request does not go well.
pub(crate) const MOODS: usize = 9;

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Take,
    Slow,
    Busy,
    BusyWithDelay,
    TooMany,
    Silent,
    TakeAndSilent,
    Garbage,
    Partial,
    Refuse,
}

impl Backend {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let state = State {
            rng: rng.fork(),
            moody: rng.u32(..600),
            taken: HashMap::new(),
            rejected: HashSet::new(),
            partial: Vec::new(),
            came_again: 0,
            moods: [0; MOODS],
        };
        Self { link: Link::new(rng), state: Arc::new(Mutex::new(state)) }
    }

    /// From now on everything is taken.
    pub(crate) fn heal(&self) {
        self.link.heal();
        self.state.lock().unwrap().moody = 0;
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        let state = self.state.lock().unwrap();
        state.taken.contains_key(&number) || state.rejected.contains(&number)
    }

    /// How often something came that was there already.
    pub(crate) fn duplicates(&self) -> u64 {
        let state = self.state.lock().unwrap();
        state.taken.values().map(|&times| u64::from(times - 1)).sum()
    }

    /// Retries after a partial success.
    pub(crate) fn came_again(&self) -> u64 {
        self.state.lock().unwrap().came_again
    }

    pub(crate) fn moods(&self) -> [u64; MOODS] {
        self.state.lock().unwrap().moods
    }

    async fn receive(&self, payload: &Payload) -> Result<Delivered, ExportError> {
        let numbers = numbers(payload);
        let (mood, delay) = {
            let state = &mut *self.state.lock().unwrap();
            let is_again = state.partial.iter().any(|known| is_same(known, payload));
            state.came_again += u64::from(is_again);
            (state.mood(), Duration::from_millis(state.rng.u64(..3000)))
        };
        match mood {
            Mood::Take => Ok(self.take(&numbers, 0)),
            Mood::Slow => {
                pass(delay * 3).await;
                Ok(self.take(&numbers, 0))
            }
            Mood::Busy => Err(ExportError::Http { status: 503, retry_after: Some(delay) }),
            Mood::BusyWithDelay => {
                let status = Status::new(Code::Unavailable, "later");
                Err(ExportError::Status(Status { retry_delay: Some(delay), ..status }))
            }
            Mood::TooMany => Err(ExportError::Http { status: 429, retry_after: None }),
            Mood::Silent => std::future::pending().await,
            Mood::TakeAndSilent => {
                self.take(&numbers, 0);
                std::future::pending().await
            }
            Mood::Garbage => {
                self.take(&numbers, 0);
                Err(ExportError::BadAnswer("garbage".into()))
            }
            Mood::Partial => {
                let rejected = 1 + delay.as_millis() as usize % numbers.len();
                Ok(self.take(&numbers, rejected))
            }
            Mood::Refuse => {
                self.state.lock().unwrap().rejected.extend(numbers);
                Err(ExportError::Http { status: 400, retry_after: None })
            }
        }
    }

    /// Takes all but the first so many.
    fn take(&self, numbers: &[u64], rejected: usize) -> Delivered {
        let state = &mut *self.state.lock().unwrap();
        let (refused, taken) = numbers.split_at(rejected);
        state.rejected.extend(refused);
        taken.iter().for_each(|number| *state.taken.entry(*number).or_default() += 1);
        let message = (rejected > 0).then(|| "not these".to_owned());
        Delivered { rejected: rejected as u64, message }
    }
}

impl State {
    fn mood(&mut self) -> Mood {
        if self.rng.u32(..1000) >= self.moody {
            return Mood::Take;
        }
        let moods = [
            Mood::Slow,
            Mood::Busy,
            Mood::BusyWithDelay,
            Mood::TooMany,
            Mood::Silent,
            Mood::TakeAndSilent,
            Mood::Garbage,
            Mood::Partial,
            Mood::Refuse,
        ];
        let index = self.rng.usize(..moods.len());
        self.moods[index] += 1;
        moods[index]
    }
}

/// Whether one is the other, sent again: another request that holds the same has other memory.
fn is_same(one: &Payload, other: &Payload) -> bool {
    let places = |payload: &Payload| payload.segments().first().map(|bytes| bytes.as_ptr());
    places(one) == places(other)
}

impl Exporter for Backend {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let answer = self.link.carry(payload.items(), self.receive(&payload)).await;
        if answer.as_ref().is_ok_and(|delivered| delivered.rejected > 0) {
            self.state.lock().unwrap().partial.push(payload);
        }
        answer
    }
}
