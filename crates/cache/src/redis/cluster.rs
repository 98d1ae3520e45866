//! Several servers, each with some of the slots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, Pipeline, Value};
use teleflow_concurrency::Breaker;

use crate::counters::Counters;
use crate::second::{SecondLevelError, breaker};

use super::node::Node;
use super::slot::{SLOTS, slot};
use super::{COUNTERS, LAYOUTS, MOVED, RedisConfig, Refusal, SKIPPED, by_key, refusal};

/// A cluster: its layout is read when it is first needed, and again when a key is not where it says
/// or a server fails.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    config: RedisConfig,
    layout: Mutex<Option<Arc<Layout>>>,
    /// Held by the one who reads the layout.
    reading: tokio::sync::Mutex<()>,
    counters: Counters<COUNTERS>,
}

struct Layout {
    /// Sorted, and without overlap.
    ranges: Vec<Range>,
    masters: Vec<Arc<Master>>,
    /// Whether a server of it failed: a replica may have taken over.
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    master: usize,
}

struct Master {
    address: Address,
    node: Node,
    /// Of its own, so that one server that is down does not keep the others from being asked.
    breaker: Breaker,
}

/// Host and port.
type Address = (String, u16);

/// What a round of pipelines brought.
struct Round<const PER_KEY: usize> {
    answers: Vec<Option<[Value; PER_KEY]>>,
    /// Keys that are elsewhere.
    elsewhere: Vec<usize>,
    /// Whether a server answered at all.
    any: bool,
    error: Option<SecondLevelError>,
    /// Whether a server that was asked failed.
    broken: bool,
}

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, config: RedisConfig) -> Self {
        Self {
            seeds,
            config,
            layout: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
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
                let again = self.round(&layout, keys, &round.elsewhere, &command).await;
                for (index, answer) in again.answers.into_iter().enumerate() {
                    if answer.is_some() {
                        round.answers[index] = answer;
                    }
                }
                round.any |= again.any;
            }
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
        let mut round = Round {
            answers: keys.iter().map(|_| None).collect(),
            elsewhere: Vec::new(),
            any: false,
            error: None,
            broken: false,
        };
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
            let answers = self.send::<PER_KEY>(master, &part, command).await;
            (part, answers)
        });
        for (part, answers) in join_all(sends).await {
            match answers {
                Ok(answers) => {
                    for (index, answer) in part.into_iter().zip(answers) {
                        round.take(index, answer);
                    }
                }
                Err(error) => {
                    round.broken |= error.is_some();
                    round.error = error.or(round.error).or(Some(SecondLevelError::Unreachable));
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
        command: &(impl Fn(usize, &mut Pipeline) + Sync),
    ) -> Result<Vec<[Value; PER_KEY]>, Option<SecondLevelError>> {
        let Ok(pass) = master.breaker.check(now()) else {
            self.counters.add(SKIPPED, 1);
            return Err(None);
        };
        let mut pipeline = Pipeline::with_capacity(part.len() * PER_KEY);
        part.iter().for_each(|&index| command(index, &mut pipeline));
        let answers = master.node.send(&pipeline, part.len() * PER_KEY, &self.counters).await;
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
        let mut masters: Vec<Arc<Master>> = Vec::new();
        let mut numbers: HashMap<Address, usize> = HashMap::new();
        let mut ranges = Vec::new();
        for (first, last, address) in slots {
            let master = match numbers.get(&address) {
                Some(&master) => master,
                None => {
                    let mut old = known.into_iter().flat_map(|known| &known.masters);
                    let old = old.find(|master| master.address == address).cloned();
                    let Some(master) = old.or_else(|| self.master(&address)) else { continue };
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

    /// A server that another one named; it is reached as the first seed is, with its credentials.
    fn master(&self, address: &Address) -> Option<Arc<Master>> {
        let seed = self.seeds.first()?;
        let (host, port) = address.clone();
        let node = Node::new(seed.clone().set_addr(ConnectionAddr::Tcp(host, port)), &self.config)?;
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

/// Reads `[[first, last, [host, port, ...], ...], ...]`. A server that does not know its own name
/// is where it was asked.
fn parse_slots(answer: &Value, asked: &str) -> Option<Vec<(u16, u16, Address)>> {
    let Value::Array(ranges) = answer else { return None };
    ranges
        .iter()
        .map(|range| {
            let Value::Array(range) = range else { return None };
            let [first, last, Value::Array(master), ..] = range.as_slice() else { return None };
            let [host, port, ..] = master.as_slice() else { return None };
            let host = match host {
                Value::BulkString(host) => str::from_utf8(host).ok()?,
                Value::SimpleString(host) => host,
                _ => "",
            };
            let host = if host.is_empty() || host == "?" { asked } else { host };
            let (first, last) = (number(first)?, number(last)?);
            let valid = first <= last && last < SLOTS && !host.is_empty();
            valid.then(|| Some((first, last, (host.to_owned(), number(port)?))))?
        })
        .collect()
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

// === impl Layout ===

impl Layout {
    fn master_of(&self, slot: u16) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges[..after].last()?;
        (slot <= range.last).then_some(range.master)
    }
}

// === impl Round ===

impl<const PER_KEY: usize> Round<PER_KEY> {
    fn take(&mut self, index: usize, answer: [Value; PER_KEY]) {
        match answer.iter().find_map(refusal) {
            None => {
                self.any = true;
                self.answers[index] = Some(answer);
            }
            Some(Refusal::Moved) => {
                self.any = true;
                self.elsewhere.push(index);
            }
            // A miss: another server will have it in a moment.
            Some(Refusal::Moving) => self.any = true,
            Some(Refusal::Other) => self.error = Some(SecondLevelError::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &[u8], port: i64) -> Value {
        let master = Value::Array(vec![Value::BulkString(host.to_vec()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master])
    }

    #[test]
    fn a_server_without_a_name_is_where_it_was_asked() {
        let answer = Value::Array(vec![range(0, 5, b"", 7000), range(6, 9, b"b", 7001)]);
        let expected = [(0, 5, ("a".to_owned(), 7000)), (6, 9, ("b".to_owned(), 7001))];
        assert_eq!(parse_slots(&answer, "a").unwrap(), expected);
    }

    #[test]
    fn what_makes_no_sense_is_no_layout() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(5, 4, b"a", 7000)]),
            Value::Array(vec![range(0, 16_384, b"a", 7000)]),
            Value::Array(vec![range(0, 1, b"a", 70_000)]),
            Value::Array(vec![range(-1, 1, b"a", 7000)]),
            Value::Array(vec![range(0, 1, b"\xff", 7000)]),
        ] {
            assert_eq!(parse_slots(&answer, "a"), None, "{answer:?}");
        }
    }

    #[test]
    fn a_slot_that_nobody_has_has_no_master() {
        let of = |first, last, master| Range { first, last, master };
        let ranges = vec![of(2, 5, 1), of(8, 8, 0)];
        let layout = Layout { ranges, masters: Vec::new(), stale: false };
        let owners: Vec<_> = (0..10).map(|slot| layout.master_of(slot)).collect();
        let (one, other) = (Some(1), Some(0));
        let expected = [None, None, one, one, one, one, None, None, other, None];
        assert_eq!(owners, expected);
    }
}
