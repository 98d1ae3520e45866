//! What happens, and what must hold of it.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use teleflow::{Account, Books};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::Arrivals;
use crate::backend::Backend;
use crate::clock::{self, pass};
use crate::first::{First, Manners};
use crate::second::Second;

/// Numbers of one gateway's spans begin this far from those of another's.
const APART: u64 = 1_000_000;

const HOUR: Duration = Duration::from_secs(3600);

/// How much more than it can do the second may be given in a second.
const MOST: f64 = 1.5;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Gateways of the first tier.
    pub(crate) gateways: u64,
    /// Bytes a second that come in, over all of them.
    pub(crate) offered: f64,
    /// Bytes a second that the second can do, before its trouble and from its end on.
    pub(crate) capacity: f64,
    /// How many bytes of requests the second has room for.
    pub(crate) room: usize,
    pub(crate) trouble: Trouble,
    pub(crate) lasts: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// It can do so many bytes a second.
    Slow(f64),
    /// It is killed, and nobody listens.
    Away,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Lived {
    capacity: f64,
    accepted: u64,
    missing: u64,
    backlog: u64,
    drained_after: Option<Duration>,
    most_in_a_second: f64,
    most_after: Duration,
    arrivals: u64,
    refused: u64,
    unreachable: u64,
    duplicates: u64,
    uncertain: u64,
    at_backend: u64,
    first: Vec<Books>,
    second: Vec<Books>,
}

// === impl Scene ===

impl Scene {
    pub(crate) fn live(&self, seed: u64, manners: Manners) -> Lived {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("otlp");
        clock::run(seed, async {
            let arrivals = Arrivals::default();
            let backend = Backend::new(self.capacity);
            let mut second = Second::start(&socket, &backend, self.room).await;
            let mut rng = Rng::with_seed(seed);
            let end = CancellationToken::new();
            let (mut firsts, mut feeding) = (Vec::new(), JoinSet::new());
            for number in 0..self.gateways {
                let first = First::start(&socket, manners, arrivals.clone()).await;
                let pace = self.offered / self.gateways as f64;
                feeding.spawn(first.feed(rng.fork(), pace, end.clone(), number * APART));
                firsts.push(first);
            }
            pass(Duration::from_secs(20)).await;

            let mut books = Vec::new();
            match self.trouble {
                Trouble::Slow(pace) => {
                    backend.set_pace(pace);
                    self.wait(&firsts, Some(&second)).await;
                    backend.set_pace(self.capacity);
                }
                Trouble::Away => {
                    books.push(second.kill());
                    self.wait(&firsts, None).await;
                    second = Second::start(&socket, &backend, self.room).await;
                }
            }
            let back = Instant::now();
            let backlog = held(firsts.iter().map(First::books));

            // The backlog goes down by what the second can do more than is offered. From then on
            // clients alone say how much arrives.
            let mut drained_after = None;
            while drained_after.is_none() && back.elapsed() < HOUR {
                pass(Duration::from_secs(1)).await;
                let is_drained = held(firsts.iter().map(First::books)) <= backlog / 100;
                drained_after = is_drained.then(|| back.elapsed());
            }
            let recovery = back..Instant::now();
            end.cancel();
            let mut accepted = Vec::new();
            while let Some(numbers) = feeding.join_next().await {
                accepted.extend(numbers.unwrap());
            }
            let mut first_books = Vec::new();
            for first in firsts {
                first_books.push(first.end().await);
            }
            books.push(second.end().await);
            let (most, at) = arrivals.most_in_a_second(recovery);
            Lived {
                capacity: self.capacity,
                accepted: accepted.len() as u64,
                missing: accepted.iter().filter(|&&number| !backend.has(number)).count() as u64,
                backlog,
                drained_after,
                most_in_a_second: most as f64,
                most_after: at - back,
                arrivals: arrivals.count(),
                refused: arrivals.refused(),
                unreachable: arrivals.unreachable(),
                duplicates: backend.duplicates(),
                uncertain: arrivals.uncertain(),
                at_backend: backend.spans(),
                first: first_books,
                second: books,
            }
        })
    }

    /// Lets the trouble last, and looks at the books meanwhile.
    async fn wait(&self, firsts: &[First], second: Option<&Second>) {
        let end = Instant::now() + self.lasts;
        while Instant::now() < end {
            pass(Duration::from_secs(1)).await;
            for books in firsts.iter().map(First::books).chain(second.map(Second::books)) {
                assert!(books.balance(), "{books}");
            }
        }
    }
}

fn held(books: impl Iterator<Item = Books>) -> u64 {
    sum(&books.collect::<Vec<_>>(), |account| account.held)
}

fn sum(books: &[Books], of: impl Fn(&Account) -> u64) -> u64 {
    books.iter().flat_map(|books| &books.accounts).map(of).sum()
}

// === impl Lived ===

impl Lived {
    #[track_caller]
    pub(crate) fn check(&self, which: &str) {
        for books in self.first.iter().chain(&self.second) {
            assert!(books.balance(), "{which}: {books}");
        }
        // Everything that the first accepted it delivered, and everything is where it belongs.
        assert!(self.drained_after.is_some(), "{which}: {self}");
        assert_eq!(sum(&self.first, |account| account.accepted), self.accepted, "{which}");
        assert_eq!(sum(&self.first, |account| account.delivered), self.accepted, "{which}");
        assert_eq!(self.missing, 0, "{which}: {self}");
        assert_eq!(self.at_backend, self.accepted, "{which}: {self}");
        // What came twice was sent by somebody who could not know.
        assert!(self.duplicates <= self.uncertain, "{which}: {self}");
        // The second lost nothing but what it held when it was killed, and had not answered for.
        let delivered = sum(&self.second, |account| account.delivered);
        let killed = sum(&self.second[..self.second.len() - 1], |account| account.held);
        assert_eq!(sum(&self.second, |account| account.accepted), delivered + killed, "{which}");
        assert_eq!(delivered, self.at_backend + self.duplicates, "{which}: {self}");
        // There was something to recover from.
        assert!(self.backlog > self.accepted / 10, "{which}: {self}");
        assert!(self.most_in_a_second <= MOST * self.capacity, "{which}: {self}");
    }
}

impl fmt::Display for Lived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "most {:.2} of capacity in a second after {:?}, backlog {} of {}, drained after {:?}, {} arrivals, \
             {} refused, {} unreachable, {} missing, {} twice of {} uncertain",
            self.most_in_a_second / self.capacity,
            self.most_after,
            self.backlog,
            self.accepted,
            self.drained_after,
            self.arrivals,
            self.refused,
            self.unreachable,
            self.missing,
            self.duplicates,
            self.uncertain
        )
    }
}
