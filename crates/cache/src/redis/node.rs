//! One server and the connection to it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, RedisError, Value};
use tokio::sync::Mutex;

use crate::counters::Counters;
use crate::second::SecondLevelError;

use super::{CONNECTS, COUNTERS, FAILURES, ROUND_TRIPS, RedisConfig};

/// A server, with one connection that all share.
///
/// Each request is written as it comes and answers come back in order, so a pipeline waits for no
/// other, and a request that is given up does no harm to those after it.
pub(super) struct Node {
    client: Client,
    connect_timeout: Duration,
    answer_timeout: Duration,
    /// `None` until the first use, and after it broke. Those who need it while one connects wait
    /// for that; if that one is cancelled, the next one connects.
    connection: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that only the one that broke is given up.
    number: u64,
}

// === impl Node ===

impl Node {
    /// `None` where the client can make nothing of the address.
    pub(super) fn new(info: ConnectionInfo, config: &RedisConfig) -> Option<Self> {
        Some(Self {
            client: Client::open(info).ok()?,
            connect_timeout: config.connect_timeout,
            answer_timeout: config.answer_timeout,
            connection: Mutex::default(),
        })
    }

    /// Sends all commands at once and returns that many answers.
    pub(super) async fn send(
        &self,
        pipeline: &Pipeline,
        answers: usize,
        counters: &Counters<COUNTERS>,
    ) -> Result<Vec<Value>, SecondLevelError> {
        let sent = self.try_send(pipeline, answers, counters).await;
        if sent.is_err() {
            counters.add(FAILURES, 1);
        }
        sent
    }

    async fn try_send(
        &self,
        pipeline: &Pipeline,
        answers: usize,
        counters: &Counters<COUNTERS>,
    ) -> Result<Vec<Value>, SecondLevelError> {
        let (mut connection, number) = self.connection(counters).await?;
        counters.add(ROUND_TRIPS, 1);
        let answered = connection.send_packed_commands(pipeline, 0, answers);
        let error = match tokio::time::timeout(self.answer_timeout, answered).await {
            Ok(Ok(values)) if values.len() == answers => return Ok(values),
            Ok(Ok(_)) => SecondLevelError::Malformed,
            Ok(Err(error)) => classify(&error),
            Err(_) => SecondLevelError::Timeout,
        };
        self.give_up(number).await;
        Err(error)
    }

    async fn connection(
        &self,
        counters: &Counters<COUNTERS>,
    ) -> Result<(MultiplexedConnection, u64), SecondLevelError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.number));
        }
        // Answers have their limit in `try_send`.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connect = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(|error| classify(&error))?,
            Err(_) => return Err(SecondLevelError::Timeout),
        };
        counters.add(CONNECTS, 1);
        slot.connection = Some(connection.clone());
        slot.number += 1;
        Ok((connection, slot.number))
    }

    async fn give_up(&self, number: u64) {
        let mut slot = self.connection.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }
}

/// The kind of an error without its words, which can repeat what was sent.
fn classify(error: &RedisError) -> SecondLevelError {
    if error.is_timeout() {
        SecondLevelError::Timeout
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        SecondLevelError::Unreachable
    } else if error.kind() == redis::ErrorKind::Parse {
        SecondLevelError::Malformed
    } else {
        SecondLevelError::Refused
    }
}
