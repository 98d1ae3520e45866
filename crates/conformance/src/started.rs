//! A gateway as the receiver, in the states that its checks ask for.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use tokio::net::TcpListener;

use crate::process::{Kind, Process};
use crate::receiver::Receiver;
use crate::server::{Answer, Protocol, Server};

/// Three of one gateway: one that keeps nothing, one without room, one whose backend takes requests in
/// part. Killed on drop.
#[derive(Debug)]
pub struct Started {
    /// Takes everything.
    pub receiver: Process,
    overloaded: Process,
    partly: Process,
    /// Accepts connections and never answers.
    _silent: TcpListener,
    /// Rejects an item of each request.
    _backend: Server,
}

// === impl Started ===

impl Started {
    /// Starts them; the first takes requests of at most so many bytes.
    ///
    /// # Errors
    ///
    /// The program does not start, or does not serve within 15 s; the error has what it said last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the programs.
    pub async fn new(kind: Kind, program: &Path, max_request_bytes: usize) -> io::Result<Self> {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let backend = Server::always(Protocol::Grpc, Answer::Partial(1, "too old")).await?;
        let full = "{ queue_size: 1, num_consumers: 1, wait_for_result: true }";
        let patient = "{ wait_for_result: true }";
        Ok(Self {
            receiver: Process::receiver(kind, program, max_request_bytes).await?,
            overloaded: Process::sending(kind, program, silent.local_addr()?, full).await?,
            partly: Process::sending(kind, program, backend.address(), patient).await?,
            _silent: silent,
            _backend: backend,
        })
    }

    /// Tells the checks of the other two.
    pub fn join(&self, receiver: &mut Receiver) {
        let twin = |process: &Process| {
            Some(Box::new(Receiver::new(Some(process.grpc), Some(process.http))))
        };
        receiver.overloaded = twin(&self.overloaded);
        receiver.partly = twin(&self.partly);
    }

    /// Asks them to end; whether the first one did, within 30 s.
    ///
    /// # Cancel safety
    ///
    /// They have been asked then, and may be asked again.
    pub async fn stop(&mut self) -> bool {
        let (ended, _, _) =
            tokio::join!(self.receiver.stop(), self.overloaded.stop(), self.partly.stop());
        ended.is_some()
    }
}
