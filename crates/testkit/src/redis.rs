//! A real Redis server, started by a test and ended with it.

#![allow(clippy::unwrap_used, reason = "it is for tests, which may fail by panicking")]

use std::env;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::skips::skipped;

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback that keeps everything in memory. Ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
}

// === impl RedisServer ===

impl RedisServer {
    /// Whether this machine has the program; where it has not, the test is noted as skipped.
    pub fn is_missing(test: &str) -> bool {
        let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        let is_there = found.is_ok_and(|status| status.success());
        if !is_there {
            skipped(test, "no redis-server");
        }
        !is_there
    }

    /// Starts one, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start() -> Self {
        // Someone else may take the port first.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Self { child: spawn(port), port };
            if server.comes_up().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Its address, as `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, empty.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.child = spawn(self.port);
        assert!(self.comes_up().await, "redis-server does not start again");
    }

    async fn comes_up(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > until || self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // bounded wait: another process starts.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Where the port was somebody else's, it has ended.
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(env::temp_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
