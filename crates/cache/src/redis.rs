//! The second level in Redis: one server, or a cluster.
//!
//! A batch is one pipeline, so one round trip, for each server that owns some of its keys. Reading
//! takes two commands for each key, `GET` and `PTTL`: the second one tells how long the first level
//! may keep the value, so that no entry outlives its time by being read shortly before the end.
//!
//! In a cluster this file routes by itself, over one multiplexed connection to each master. The
//! client's own cluster connection sends one request for each *slot*, of which a batch of a hundred
//! keys touches nearly a hundred; a server takes single-key commands for all its slots in one
//! pipeline.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, Value};

use crate::counters::Counters;
use crate::second::{SecondLevel, SecondLevelError, Stored};

mod cluster;
mod node;
mod settle;
mod slot;
#[cfg(feature = "redis-tls")]
mod tls;

use cluster::Cluster;
use node::Node;
#[cfg(feature = "redis-tls")]
pub use tls::{RedisIdentity, RedisTls};

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// The servers, as `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS, with
    /// the feature `redis-tls`. One for a single server; for a cluster those that are asked for its
    /// layout, of which one that answers is enough.
    ///
    /// Never printed, as it may hold a password.
    pub servers: Vec<String>,
    /// Put before each key, so that several programs can share a server. Default `teleflow:`.
    pub prefix: String,
    /// How long connecting may take. Default 50 ms.
    ///
    /// Together with `answer_timeout` it should not be longer than
    /// [`GuardConfig::deadline`](crate::GuardConfig::deadline): what ends there is only given up,
    /// what ends here is also repaired, with a new connection.
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection is given up. Default 50 ms.
    pub answer_timeout: Duration,
    /// In a cluster: after how many failures a server is left alone, so that the others are not
    /// slowed, as [`GuardConfig::failures`](crate::GuardConfig::failures) says. Default 5.
    pub node_failures: u32,
    /// In a cluster: for how long. Its keys miss meanwhile. Default 1 s.
    pub node_open: Duration,
    /// Whom to trust, and what to show, where the address begins with `rediss://`. Default: the
    /// system's authorities, and nothing.
    #[cfg(feature = "redis-tls")]
    pub tls: RedisTls,
}

/// The configuration does not say where Redis is.
///
/// It does not repeat the address, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// There is no address, or more than one for a single server.
    #[error("a single Redis has one address, and a cluster at least one")]
    Count,
    /// An address is not of the form `redis://host:port`, or it asks for TLS in a build without it.
    #[error("server {0} is no Redis address")]
    Address(usize),
    /// An address asks for TLS that trusts everyone, which there is not.
    #[error("server {0} is to be reached over TLS without looking at its certificate")]
    Insecure(usize),
    /// What is to be trusted or shown is no PEM, or has no certificate in it.
    #[error("the certificates or the key for TLS cannot be read")]
    Certificates,
}

/// A [`SecondLevel`] in Redis.
///
/// It connects when it is first used, over and over again as long as that fails, and spawns one task
/// for each connection; it needs a tokio runtime with I/O and time.
///
/// In a cluster, keys of a server that does not answer miss, while the others are served; a call
/// fails when no server answers. A key whose slot is being moved at the moment is asked of the server
/// that it is moved to where the other one has it no longer.
///
/// # Examples
///
/// ```no_run
/// use std::io;
/// use teleflow_cache::{Cache, CacheConfig, Raw, Redis, RedisConfig};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Redis::single(RedisConfig {
///     servers: vec!["redis://127.0.0.1:6379".to_owned()],
///     ..RedisConfig::default()
/// })?;
/// let load = |key: String| async move { Ok::<_, io::Error>(Some(key.to_uppercase())) };
/// let weigh = |key: &String, value: Option<&String>| key.len() + value.map_or(0, String::len);
/// let cache = Cache::with_second_level(CacheConfig::default(), weigh, load, redis, Raw)?;
/// assert_eq!(cache.get(&"key".to_owned()).await?.as_deref(), Some("KEY"));
/// # Ok(()) }
/// ```
pub struct Redis {
    servers: Servers,
    prefix: String,
}

/// What a [`Redis`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisStats {
    /// Pipelines sent, each one round trip to one server.
    pub round_trips: u64,
    /// Connections made.
    pub connects: u64,
    /// Pipelines that failed, connecting included.
    pub failures: u64,
    /// Pipelines not sent because their server is left alone for a while.
    pub skipped: u64,
    /// Keys that were not where the layout of the cluster says.
    pub moved: u64,
    /// Keys that were asked of the server that their slot is on its way to.
    pub asked: u64,
    /// How often the layout of the cluster was read.
    pub layouts: u64,
}

enum Servers {
    Single(Node, Counters<COUNTERS>),
    Cluster(Cluster),
}

/// What may go wrong with one command of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// Another server has the key.
    Moved,
    /// The key's slot is on its way to another server: to this host, which may be empty for the one
    /// that says so, and port. `None` where it does not say.
    Moving(Option<(String, u16)>),
    Other,
}

const ROUND_TRIPS: usize = 0;
const CONNECTS: usize = 1;
const FAILURES: usize = 2;
const SKIPPED: usize = 3;
const MOVED: usize = 4;
const LAYOUTS: usize = 5;
const ASKED: usize = 6;
const COUNTERS: usize = 7;

// === impl RedisConfig ===

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            prefix: "teleflow:".to_owned(),
            connect_timeout: Duration::from_millis(50),
            answer_timeout: Duration::from_millis(50),
            node_failures: 5,
            node_open: Duration::from_secs(1),
            #[cfg(feature = "redis-tls")]
            tls: RedisTls::default(),
        }
    }
}

impl RedisConfig {
    fn server(&self, index: usize) -> Result<ConnectionInfo, RedisConfigError> {
        let info = self.servers[index].as_str().into_connection_info();
        let info = info.map_err(|_| RedisConfigError::Address(index))?;
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Err(RedisConfigError::Insecure(index)),
            #[cfg(feature = "redis-tls")]
            ConnectionAddr::TcpTls { .. } => self.tls.secure(info),
            _ => Ok(info),
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Names the number of servers and no address: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("servers", &self.servers.len())
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("node_failures", &self.node_failures)
            .field("node_open", &self.node_open)
            .finish_non_exhaustive()
    }
}

// === impl Redis ===

impl Redis {
    /// Uses a single server. Does not connect yet.
    ///
    /// # Errors
    ///
    /// There is not exactly one address, or it cannot be read.
    pub fn single(config: RedisConfig) -> Result<Self, RedisConfigError> {
        if config.servers.len() != 1 {
            return Err(RedisConfigError::Count);
        }
        let info = config.server(0)?;
        let node = Node::new(info, &config).ok_or(RedisConfigError::Address(0))?;
        Ok(Self { servers: Servers::Single(node, Counters::new()), prefix: config.prefix })
    }

    /// Uses a cluster. Does not connect yet.
    ///
    /// # Errors
    ///
    /// There is no address, or one cannot be read.
    pub fn cluster(config: RedisConfig) -> Result<Self, RedisConfigError> {
        if config.servers.is_empty() {
            return Err(RedisConfigError::Count);
        }
        let seeds = (0..config.servers.len())
            .map(|index| config.server(index))
            .collect::<Result<_, _>>()?;
        let prefix = config.prefix.clone();
        Ok(Self { servers: Servers::Cluster(Cluster::new(seeds, config)), prefix })
    }

    /// What has happened so far.
    pub fn stats(&self) -> RedisStats {
        let counters = match &self.servers {
            Servers::Single(_, counters) => counters,
            Servers::Cluster(cluster) => cluster.counters(),
        };
        RedisStats {
            round_trips: counters.sum(ROUND_TRIPS),
            connects: counters.sum(CONNECTS),
            failures: counters.sum(FAILURES),
            skipped: counters.sum(SKIPPED),
            moved: counters.sum(MOVED),
            asked: counters.sum(ASKED),
            layouts: counters.sum(LAYOUTS),
        }
    }

    fn key(&self, key: &Bytes) -> Vec<u8> {
        [self.prefix.as_bytes(), key].concat()
    }

    /// Runs `PER_KEY` commands for each key, and returns the answers to each key's; `None` for keys
    /// whose server did not answer, or does not have them.
    async fn run<const PER_KEY: usize>(
        &self,
        keys: &[Vec<u8>],
        command: impl Fn(usize, &mut Pipeline) + Sync,
    ) -> Result<Vec<Option<[Value; PER_KEY]>>, SecondLevelError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        match &self.servers {
            Servers::Single(node, counters) => {
                let mut pipeline = Pipeline::with_capacity(keys.len() * PER_KEY);
                (0..keys.len()).for_each(|index| command(index, &mut pipeline));
                let answers = node.send(&pipeline, keys.len() * PER_KEY, counters).await?;
                let answers = by_key(answers).ok_or(SecondLevelError::Malformed)?;
                // A server that refuses one command for now (it is loading, it has no memory left, it
                // wants a password) refuses all of its kind.
                if answers.iter().flatten().any(|answer| refusal(answer).is_some()) {
                    return Err(SecondLevelError::Refused);
                }
                Ok(answers.into_iter().map(Some).collect())
            }
            Servers::Cluster(cluster) => cluster.run(keys, command).await,
        }
    }
}

impl SecondLevel for Redis {
    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Stored>>, SecondLevelError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| self.key(key)).collect();
        let command = |index: usize, pipeline: &mut Pipeline| {
            pipeline.cmd("GET").arg(&keys[index]).cmd("PTTL").arg(&keys[index]);
        };
        let answers = self.run::<2>(&keys, command).await?;
        answers.into_iter().map(|answer| answer.map_or(Ok(None), stored)).collect()
    }

    async fn set_many(
        &self,
        entries: &[(Bytes, Bytes)],
        ttl: Duration,
    ) -> Result<usize, SecondLevelError> {
        let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| self.key(key)).collect();
        let millis = millis(ttl);
        let command = |index: usize, pipeline: &mut Pipeline| {
            let (_, value) = &entries[index];
            pipeline.cmd("SET").arg(&keys[index]).arg(value.as_ref()).arg("PX").arg(millis);
        };
        let answers = self.run::<1>(&keys, command).await?;
        Ok(answers.iter().filter(|answer| matches!(answer, Some([Value::Okay]))).count())
    }

    async fn remove_many(&self, keys: &[Bytes]) -> Result<usize, SecondLevelError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| self.key(key)).collect();
        let command = |index: usize, pipeline: &mut Pipeline| {
            pipeline.cmd("DEL").arg(&keys[index]);
        };
        let answers = self.run::<1>(&keys, command).await?;
        Ok(answers.iter().filter(|answer| matches!(answer, Some([Value::Int(_)]))).count())
    }
}

impl fmt::Debug for Redis {
    /// Names no address: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.servers {
            Servers::Single(..) => "single",
            Servers::Cluster(_) => "cluster",
        };
        f.debug_struct("Redis").field("kind", &kind).finish_non_exhaustive()
    }
}

/// Redis takes no time of 0, and none past the end of its clock.
fn millis(ttl: Duration) -> u64 {
    ttl.as_millis().clamp(1, 1 << 53) as u64
}

/// The value and its time, as `GET` and `PTTL` told them.
fn stored(answer: [Value; 2]) -> Result<Option<Stored>, SecondLevelError> {
    match answer {
        [Value::Nil, _] => Ok(None),
        // Without an end.
        [Value::BulkString(value), Value::Int(-1)] => {
            Ok(Some(Stored { value: value.into(), remaining: None }))
        }
        [Value::BulkString(value), Value::Int(millis @ 1..)] => {
            let remaining = Some(Duration::from_millis(millis.unsigned_abs()));
            Ok(Some(Stored { value: value.into(), remaining }))
        }
        // It ended between the two.
        [Value::BulkString(_), Value::Int(_)] => Ok(None),
        _ => Err(SecondLevelError::Malformed),
    }
}

/// The answers, as many for each key; `None` when that does not come out even.
fn by_key<const PER_KEY: usize>(answers: Vec<Value>) -> Option<Vec<[Value; PER_KEY]>> {
    let mut grouped = Vec::with_capacity(answers.len() / PER_KEY);
    let mut answers = answers.into_iter();
    loop {
        let group: Vec<Value> = answers.by_ref().take(PER_KEY).collect();
        if group.is_empty() {
            return Some(grouped);
        }
        grouped.push(group.try_into().ok()?);
    }
}

fn refusal(answer: &Value) -> Option<Refusal> {
    let Value::ServerError(error) = answer else { return None };
    Some(match error.code() {
        "MOVED" => Refusal::Moved,
        "ASK" => Refusal::Moving(error.details().and_then(asked)),
        "TRYAGAIN" => Refusal::Moving(None),
        _ => Refusal::Other,
    })
}

/// Reads `slot host:port`.
fn asked(details: &str) -> Option<(String, u16)> {
    let (host, port) = details.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_ends_between_the_two_commands_is_none() {
        let value = || Value::BulkString(b"v".to_vec());
        let read = |answer| stored(answer).map(|stored| stored.map(|stored| stored.remaining));
        assert_eq!(read([value(), Value::Int(1500)]), Ok(Some(Some(Duration::from_millis(1500)))));
        assert_eq!(read([value(), Value::Int(-1)]), Ok(Some(None)));
        assert_eq!(read([value(), Value::Int(-2)]), Ok(None));
        assert_eq!(read([value(), Value::Int(0)]), Ok(None));
        assert_eq!(read([Value::Nil, Value::Int(-2)]), Ok(None));
        assert_eq!(read([Value::Okay, Value::Int(1)]), Err(SecondLevelError::Malformed));
        assert_eq!(read([value(), Value::Nil]), Err(SecondLevelError::Malformed));
    }

    #[test]
    fn answers_that_do_not_come_out_even_are_none() {
        assert_eq!(by_key::<2>(vec![Value::Nil; 4]).map(|groups| groups.len()), Some(2));
        assert_eq!(by_key::<2>(vec![Value::Nil; 3]), None);
    }

    #[test]
    fn where_a_slot_is_on_its_way_to() {
        let at = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(asked("3999 127.0.0.1:6381"), at("127.0.0.1", 6381));
        assert_eq!(asked("3999 ::1:6381"), at("::1", 6381));
        assert_eq!(asked("3999 :6381"), at("", 6381));
        for nothing in ["", "3999", "3999 host", "3999 host:70000", "3999 host:"] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn no_address_is_printed() {
        let address = "redis://user:hush@hush.example:6379".to_owned();
        let config = RedisConfig { servers: vec![address], ..RedisConfig::default() };
        let redis = Redis::cluster(config.clone()).unwrap();
        let wrong = RedisConfig { servers: vec!["hush".to_owned()], ..config.clone() };
        let error = Redis::single(wrong).unwrap_err();
        for text in [format!("{config:?}"), format!("{redis:?}"), format!("{error:?} {error}")] {
            assert!(!text.contains("hush"), "{text}");
        }
    }
}
