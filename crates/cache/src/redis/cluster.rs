//! Several servers, each with some of the slots.

mod layout;
mod round;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, Pipeline, Value};

use self::layout::{Address, Layout, Master, Range, parse_slots};
use self::round::Round;
use super::node::Node;
use super::slot::slot;
use super::{ASKED, COUNTERS, LAYOUTS, MOVED, RedisConfig, SKIPPED, by_key, refusal};
use crate::counters::Counters;
use crate::second::{SecondLevelError, breaker};

/// How many servers are remembered that the layout does not name.
const GUESTS: usize = 16;

/// A cluster: its layout is read when it is first needed, and again when a key is not where it says
/// or a server fails.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    config: RedisConfig,
    layout: Mutex<Option<Arc<Layout>>>,
    /// Held by the one who reads the layout.
    reading: tokio::sync::Mutex<()>,
    /// Servers that are given slots and have none yet, so that the layout does not name them.
    guests: Mutex<Vec<Arc<Master>>>,
    counters: Counters<COUNTERS>,
}

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, config: RedisConfig) -> Self {
        Self {
            seeds,
            config,
            layout: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            guests: Mutex::default(),
            counters: Counters::new(),
        }
    }

    pub(super) fn counters(&self) -> &Counters<COUNTERS> {
        &self.counters
    }

    /// As [`Redis::run`](super::Redis::run).
    pub(super) async fn run<const PER_KEY: usize>(
        &self,
        keys: &[Vec<u8>],
        command: impl Fn(usize, &mut Pipeline) + Sync,
    ) -> Result<Vec<Option<[Value; PER_KEY]>>, SecondLevelError> {
        let layout = match self.layout() {
            Some(layout) if !layout.stale => layout,
            // Where nobody tells a new one, the old one is better than none.
            Some(layout) => self.read_layout(Some(&layout)).await.unwrap_or(layout),
            None => self.read_layout(None).await?,
        };
        let all: Vec<usize> = (0..keys.len()).collect();
        let mut round = self.round(&layout, keys, &all, &command).await;
        if round.broken {
            self.mark_stale(&layout);
        }
        if !round.elsewhere.is_empty() {
            // Once: a cluster that changes faster than that is not worth waiting for.
            self.counters.add(MOVED, round.elsewhere.len() as u64);
            let wrong = self.layout().filter(|current| current.stale).unwrap_or(layout);
            if let Ok(layout) = self.read_layout(Some(&wrong)).await {
                round.complete(self.round(&layout, keys, &round.elsewhere, &command).await);
            }
        }
        if !round.asked.is_empty() {
            // The layout stays as it is: it tells when the whole slot has moved.
            let asked = std::mem::take(&mut round.asked);
            round.complete(self.follow(asked, keys, &command).await);
        }
        match round.error {
            Some(error) if !round.any => Err(error),
            _ => Ok(round.answers),
        }
    }

    /// Sends each server its part of the keys, all at the same time.
    async fn round<const PER_KEY: usize>(
        &self,
        layout: &Layout,
        keys: &[Vec<u8>],
        indices: &[usize],
        command: &(impl Fn(usize, &mut Pipeline) + Sync),
    ) -> Round<PER_KEY> {
        let mut round = Round::new(keys.len());
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); layout.masters.len()];
        for &index in indices {
            match layout.master_of(slot(&keys[index])) {
                Some(master) => parts[master].push(index),
                // Nobody has this slot, as far as is known.
                None => round.elsewhere.push(index),
            }
        }
        let sends = parts.into_iter().zip(&layout.masters).filter(|(part, _)| !part.is_empty());
        let sends = sends.map(|(part, master)| async move {
            let answers = self.send::<PER_KEY>(master, &part, false, command).await;
            (master, part, answers)
        });
        for (master, part, answers) in join_all(sends).await {
            match answers {
                Ok(answers) => {
                    for (index, answer) in part.into_iter().zip(answers) {
                        round.take(index, answer, &master.address.0);
                    }
                }
                Err(error) => round.fail(error),
            }
        }
        round
    }

    /// Sends these keys to where their slot is on its way to: each server its part, all at the same
    /// time. A key that is not there either misses.
    async fn follow<const PER_KEY: usize>(
        &self,
        asked: Vec<(usize, Address)>,
        keys: &[Vec<u8>],
        command: &(impl Fn(usize, &mut Pipeline) + Sync),
    ) -> Round<PER_KEY> {
        self.counters.add(ASKED, asked.len() as u64);
        let mut parts: HashMap<Address, Vec<usize>> = HashMap::new();
        for (index, address) in asked {
            parts.entry(address).or_default().push(index);
        }
        let sends = parts.into_iter().map(|(address, part)| async move {
            let master = self.guest(&address)?;
            let answers = self.send::<PER_KEY>(&master, &part, true, command).await.ok()?;
            Some((part, answers))
        });
        let mut round = Round::new(keys.len());
        for (part, answers) in join_all(sends).await.into_iter().flatten() {
            for (index, answer) in part.into_iter().zip(answers) {
                if answer.iter().all(|answer| refusal(answer).is_none()) {
                    round.any = true;
                    round.answers[index] = Some(answer);
                }
            }
        }
        round
    }

    /// No error where the server is left alone for now.
    async fn send<const PER_KEY: usize>(
        &self,
        master: &Master,
        part: &[usize],
        asking: bool,
        command: &(impl Fn(usize, &mut Pipeline) + Sync),
    ) -> Result<Vec<[Value; PER_KEY]>, Option<SecondLevelError>> {
        let Ok(pass) = master.breaker.check(now()) else {
            self.counters.add(SKIPPED, 1);
            return Err(None);
        };
        // A server says what it has of a slot that is on its way to it only when it is told, for each
        // command, that the sender knows.
        let each = if asking { 2 } else { 1 };
        let count = part.len() * PER_KEY * each;
        let mut pipeline = Pipeline::with_capacity(count);
        for &index in part {
            let mut commands = Pipeline::with_capacity(PER_KEY);
            command(index, if asking { &mut commands } else { &mut pipeline });
            for command in commands.cmd_iter() {
                pipeline.cmd("ASKING").add_command(command.clone());
            }
        }
        let answers = master.node.send(&pipeline, count, &self.counters).await;
        let answers =
            answers.map(|answers| answers.into_iter().skip(each - 1).step_by(each).collect());
        match answers.and_then(|answers| by_key(answers).ok_or(SecondLevelError::Malformed)) {
            Ok(answers) => {
                pass.success(now());
                Ok(answers)
            }
            Err(error) => {
                pass.failure(now());
                Err(Some(error))
            }
        }
    }

    /// The server at this address, which another one named.
    fn guest(&self, address: &Address) -> Option<Arc<Master>> {
        let layout = self.layout();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = layout.iter().flat_map(|layout| &layout.masters).chain(guests.iter());
        if let Some(known) = known.into_iter().find(|master| master.address == *address) {
            return Some(known.clone());
        }
        let guest = self.master(address)?;
        if guests.len() == GUESTS {
            guests.remove(0);
        }
        guests.push(guest.clone());
        Some(guest)
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn mark_stale(&self, old: &Arc<Layout>) {
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        if layout.as_ref().is_some_and(|layout| Arc::ptr_eq(layout, old)) {
            let Layout { ranges, masters, .. } = &**old;
            let (ranges, masters) = (ranges.clone(), masters.clone());
            *layout = Some(Arc::new(Layout { ranges, masters, stale: true }));
        }
    }

    /// Asks the servers one after the other, those that are known first, until one tells. One
    /// caller does so for all that found the same layout wrong.
    async fn read_layout(
        &self,
        wrong: Option<&Arc<Layout>>,
    ) -> Result<Arc<Layout>, SecondLevelError> {
        let _reading = self.reading.lock().await;
        let known = self.layout();
        if let Some(known) = &known
            && wrong.is_none_or(|wrong| !Arc::ptr_eq(wrong, known))
        {
            return Ok(known.clone());
        }
        let mut error = SecondLevelError::Unreachable;
        let masters = known.iter().flat_map(|known| &known.masters);
        for master in masters {
            if let Ok(pass) = master.breaker.check(now()) {
                match self.ask(&master.node, &master.address.0).await {
                    Ok(layout) => {
                        pass.success(now());
                        return Ok(self.keep(layout, known.as_deref()));
                    }
                    Err(why) => {
                        pass.failure(now());
                        error = why;
                    }
                }
            }
        }
        for seed in &self.seeds {
            let Some(node) = Node::new(seed.clone(), &self.config) else { continue };
            let host = address(seed).map_or_else(String::new, |(host, _)| host);
            match self.ask(&node, &host).await {
                Ok(layout) => return Ok(self.keep(layout, known.as_deref())),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    async fn ask(
        &self,
        node: &Node,
        host: &str,
    ) -> Result<Vec<(u16, u16, Address)>, SecondLevelError> {
        let mut pipeline = Pipeline::new();
        let mut slots = Cmd::new();
        slots.arg("CLUSTER").arg("SLOTS");
        pipeline.add_command(slots);
        let mut answers = node.send(&pipeline, 1, &self.counters).await?;
        let answer = answers.pop().ok_or(SecondLevelError::Malformed)?;
        if refusal(&answer).is_some() {
            return Err(SecondLevelError::Refused);
        }
        self.counters.add(LAYOUTS, 1);
        parse_slots(&answer, host).ok_or(SecondLevelError::Malformed)
    }

    /// Makes the layout the one that is used. Servers that are known keep their connection.
    fn keep(&self, slots: Vec<(u16, u16, Address)>, known: Option<&Layout>) -> Arc<Layout> {
        let guests =
            std::mem::take(&mut *self.guests.lock().unwrap_or_else(PoisonError::into_inner));
        let mut masters: Vec<Arc<Master>> = Vec::new();
        let mut numbers: HashMap<Address, usize> = HashMap::new();
        let mut ranges = Vec::new();
        for (first, last, address) in slots {
            let master = match numbers.get(&address) {
                Some(&master) => master,
                None => {
                    let old = known.into_iter().flat_map(|known| &known.masters);
                    let old = old.chain(&guests).find(|master| master.address == address);
                    let Some(master) = old.cloned().or_else(|| self.master(&address)) else {
                        continue;
                    };
                    masters.push(master);
                    numbers.insert(address, masters.len() - 1);
                    masters.len() - 1
                }
            };
            ranges.push(Range { first, last, master });
        }
        ranges.sort_unstable_by_key(|range| range.first);
        let layout = Arc::new(Layout { ranges, masters, stale: false });
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner) = Some(layout.clone());
        layout
    }

    /// A server that another one named; it is reached as the first seed is, with its
    /// credentials, over TLS where that is.
    fn master(&self, address: &Address) -> Option<Arc<Master>> {
        let seed = self.seeds.first()?;
        let (host, port) = address.clone();
        let addr = match seed.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let node = Node::new(seed.clone().set_addr(addr), &self.config)?;
        let RedisConfig { node_failures, node_open, .. } = self.config;
        let deadline = self.config.connect_timeout.saturating_add(self.config.answer_timeout);
        let breaker = breaker(node_failures, deadline, node_open);
        Some(Arc::new(Master { address: address.clone(), node, breaker }))
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn address(info: &ConnectionInfo) -> Option<Address> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}
