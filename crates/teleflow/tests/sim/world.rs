//! One world: who is in it, what goes wrong, and what must hold in the end.

use std::time::Duration;

use fastrand::Rng;
use teleflow::Books;
use teleflow::exporter::AnyExporter;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backend::{Backend, MOODS};
use crate::client;
use crate::gateway::Gateway;

/// The parts of a world, for those who let things go wrong.
pub(crate) struct World {
    rng: Rng,
    near: Gateway,
    far: Gateway,
    backends: Vec<Backend>,
    /// Whether clients hear of a success only when everything has arrived.
    is_end_to_end: bool,
    samples: bool,
    /// Whether gateways are killed.
    is_deadly: bool,
}

/// What happened in some worlds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    worlds: u64,
    accepted: u64,
    given_up: u64,
    kills: u64,
    dropped: u64,
    rejected: u64,
    sampled_out: u64,
    duplicates: u64,
    end_to_end: u64,
    moods: [u64; MOODS],
}

/// Numbers of one client's spans begin this far from those of another's.
const APART: u64 = 1_000_000;

impl World {
    pub(crate) fn live(seed: u64) -> Seen {
        fastrand::seed(seed);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let world = Self::new(Rng::with_seed(seed)).await;
            world.run().await
        })
    }

    async fn new(mut rng: Rng) -> Self {
        let is_end_to_end = rng.bool();
        let samples = rng.u8(..3) == 0;
        let backends: Vec<_> = (0..rng.usize(1..3)).map(|_| Backend::new(&mut rng)).collect();
        let exporters = backends.iter().cloned().map(AnyExporter::new).collect();
        let far = Gateway::start(&mut rng, is_end_to_end, false, exporters).await;
        let door = AnyExporter::new(far.door());
        let near = Gateway::start(&mut rng, is_end_to_end, samples, vec![door]).await;
        let is_deadly = rng.bool();
        Self { rng, near, far, backends, is_end_to_end, samples, is_deadly }
    }

    async fn run(mut self) -> Seen {
        let mut clients = JoinSet::new();
        for number in 0..self.rng.u64(1..5) {
            let rng = self.rng.fork();
            clients.spawn(client::run(rng, self.near.door(), number * APART));
        }
        let (mut accepted, mut given_up) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                sent = clients.join_next() => match sent {
                    Some(sent) => {
                        let sent = sent.unwrap();
                        accepted.extend(sent.accepted);
                        given_up.extend(sent.given_up);
                    }
                    None => break,
                },
                () = pass(Duration::from_millis(500)) => self.go_wrong().await,
            }
        }
        // All is well again, and what is held has time to arrive.
        self.far.revive().await;
        self.near.revive().await;
        for backend in &self.backends {
            backend.heal();
        }
        self.far.door().link.heal();
        pass(Duration::from_secs(self.rng.u64(..1200))).await;
        let uncertain = self.uncertain();
        let doors = uncertain - self.backends.iter().map(|one| one.link.uncertain()).sum::<u64>();
        let patience = Duration::from_secs(self.rng.u64(..120));
        let mut books = self.near.end(patience).await;
        books.extend(self.far.end(patience).await);

        let mut seen =
            Seen { worlds: 1, end_to_end: u64::from(self.is_end_to_end), ..Seen::default() };
        seen.accepted = accepted.len() as u64;
        seen.given_up = given_up.len() as u64;
        seen.kills = books.len() as u64 - 2;
        seen.enter(&books);
        for backend in &self.backends {
            assert_eq!(backend.came_again(), 0, "a retry after a partial success");
            seen.duplicates += backend.duplicates();
            seen.moods.iter_mut().zip(backend.moods()).for_each(|(all, own)| *all += own);
        }

        // What was accepted and did not arrive is in the books of one of the gateways.
        let held: u64 = lost(&books, |account| account.held);
        for backend in &self.backends {
            let missing = accepted.iter().filter(|&&number| !backend.has(number)).count() as u64;
            let accounted = seen.dropped + seen.rejected + seen.sampled_out + held;
            assert!(missing <= accounted, "{missing} missing of {accounted}: {books:?}");
            // Whoever was told that everything has arrived can rely on it, whoever was killed.
            if self.is_end_to_end && !self.samples {
                assert_eq!(missing, 0, "{books:?}");
            }
        }
        // Nothing comes twice that nobody sent twice, and nobody sends twice what was answered: at
        // each backend a lost answer costs no more than what was in its request.
        if !self.is_end_to_end && seen.kills == 0 {
            for backend in &self.backends {
                let most = doors + backend.link.uncertain();
                assert!(backend.duplicates() <= most, "{} of {most}", backend.duplicates());
            }
        }
        seen
    }

    /// Something happens, or not.
    async fn go_wrong(&mut self) {
        self.near.check();
        self.far.check();
        let time = Duration::from_millis(self.rng.u64(..20_000));
        match self.rng.u8(..60) {
            0 => self.near.door().link.cut(time),
            1 => self.far.door().link.cut(time),
            2 => {
                let index = self.rng.usize(..self.backends.len());
                self.backends[index].link.cut(time);
            }
            3 if self.is_deadly => self.far.kill(),
            4 if self.is_deadly => self.near.kill(),
            5..10 => {
                self.far.revive().await;
                self.near.revive().await;
            }
            _ => {}
        }
    }

    /// Items of all requests whose senders did not know whether they arrived.
    fn uncertain(&self) -> u64 {
        let doors = self.near.door().link.uncertain() + self.far.door().link.uncertain();
        doors + self.backends.iter().map(|backend| backend.link.uncertain()).sum::<u64>()
    }
}

/// Lets time go on, which nobody waits for: it is paused.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}

fn lost(books: &[Books], of: impl Fn(&teleflow::Account) -> u64) -> u64 {
    books.iter().flat_map(|books| &books.accounts).map(of).sum()
}

impl Seen {
    fn enter(&mut self, books: &[Books]) {
        self.dropped = lost(books, |account| account.dropped.values().sum());
        self.rejected = lost(books, |account| account.rejected);
        self.sampled_out = lost(books, |account| account.sampled_out);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.accepted += other.accepted;
        self.given_up += other.given_up;
        self.kills += other.kills;
        self.dropped += other.dropped;
        self.rejected += other.rejected;
        self.sampled_out += other.sampled_out;
        self.duplicates += other.duplicates;
        self.end_to_end += other.end_to_end;
        self.moods.iter_mut().zip(other.moods).for_each(|(all, own)| *all += own);
    }

    /// Whether everything that can happen did.
    pub(crate) fn is_rich(&self) -> bool {
        let counts = [
            self.accepted,
            self.given_up,
            self.kills,
            self.dropped,
            self.rejected,
            self.sampled_out,
            self.duplicates,
            self.end_to_end,
        ];
        counts.iter().chain(&self.moods).all(|&count| count > 50)
    }
}
