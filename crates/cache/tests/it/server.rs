//! Real Redis servers, started by a test and ended with it.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

#[cfg(feature = "redis-tls")]
use crate::tls::Certificates;

/// How long a server may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
    #[cfg(feature = "redis-tls")]
    tls: Option<teleflow_cache::RedisTls>,
}

/// Three masters, each with a third of the slots.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

/// Whether this machine has the program; where it has not, the test is noted as skipped: in the
/// file that `TELEFLOW_SKIPS` names, if it does.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see it")]
pub(crate) fn missing(name: &str) -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return false;
    }
    eprintln!("skipped: {name}: no redis-server");
    if let Some(path) = std::env::var_os("TELEFLOW_SKIPS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{name}: no redis-server").unwrap();
    }
    true
}

/// One that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

// === impl Server ===

impl Server {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        // Someone else may take the port first.
        for _ in 0..5 {
            let port = free_port();
            let child = spawn(port, &arguments, &folder);
            let mut server = Self {
                child,
                port,
                arguments: arguments.clone(),
                folder: tempfile::tempdir().unwrap(),
                #[cfg(feature = "redis-tls")]
                tls: None,
            };
            if server.comes_up().await {
                server.folder = folder;
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// The same over TLS: one that `tls` vouches for, and that wants to see an identity.
    #[cfg(feature = "redis-tls")]
    pub(crate) async fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_tls(certificates, &[]).await
    }

    /// One server with all slots.
    #[cfg(feature = "redis-tls")]
    pub(crate) async fn start_cluster_with_tls(certificates: &Certificates) -> Self {
        let bus = free_port().to_string();
        let tls = ["--tls-cluster", "yes"];
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, tls[0], tls[1]];
        let server = Self::start_tls(certificates, &cluster).await;
        let () = server.ask("CLUSTER ADDSLOTSRANGE 0 16383");
        let patience = Instant::now() + PATIENCE;
        while !server.ask::<String>("CLUSTER INFO").contains("cluster_state:ok") {
            assert!(Instant::now() < patience, "the cluster does not come up");
            // bounded wait: the server looks at its slots now and then.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    #[cfg(feature = "redis-tls")]
    async fn start_tls(certificates: &Certificates, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, pem: &str| {
            let path = folder.path().join(name);
            fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let authority = file("authority.pem", &certificates.authority);
        let certificate = file("server.pem", &certificates.server.0);
        let key = file("server.key", &certificates.server.1);
        for _ in 0..5 {
            let port = free_port();
            // The later of two ports counts.
            let arguments = ["--port", "0", "--tls-port", &port.to_string()];
            let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
            let authority = ["--tls-ca-cert-file", &authority];
            let arguments = [&arguments[..], &files, &authority, more].concat();
            let arguments: Vec<String> = arguments.iter().map(|&word| word.into()).collect();
            let child = spawn(port, &arguments, &folder);
            let (empty, tls) = (tempfile::tempdir().unwrap(), Some(certificates.trust()));
            let mut server = Self { child, port, arguments, folder: empty, tls };
            if server.comes_up().await {
                server.folder = folder;
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        #[cfg(feature = "redis-tls")]
        if self.tls.is_some() {
            return format!("rediss://127.0.0.1:{}", self.port);
        }
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, empty.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.folder);
        assert!(self.comes_up().await, "redis-server does not start again");
    }

    /// Runs a command, over a connection of its own.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.connect().unwrap()).unwrap()
    }

    /// Watches what the server counts.
    pub(crate) fn watch(&self) -> Watch {
        Watch { connection: self.connect().unwrap() }
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        #[cfg(feature = "redis-tls")]
        if let Some(tls) = &self.tls {
            let client_tls = tls.identity.clone().map(|identity| redis::ClientTlsConfig {
                client_cert: identity.certificate,
                client_key: identity.key,
            });
            let root_cert = tls.authorities.clone();
            let certificates = redis::TlsCertificates { client_tls, root_cert };
            return redis::Client::build_with_tls(self.url(), certificates)?.get_connection();
        }
        redis::Client::open(self.url())?.get_connection()
    }

    async fn comes_up(&mut self) -> bool {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            match self.connect().map(|mut connection| redis::cmd("PING").exec(&mut connection)) {
                Ok(Ok(())) => return true,
                // It is up and wants a password.
                Ok(Err(error)) if error.code() == Some("NOAUTH") => return true,
                _ if self.child.try_wait().unwrap().is_some() => return false,
                // bounded wait: another process starts.
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(port: u16, arguments: &[String], folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

// === impl Cluster ===

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
            let ports = ["--cluster-port", &bus, "--cluster-node-timeout", "2000"];
            let server = Server::start(&[&arguments[..], &ports].concat()).await;
            servers.push(server);
        }
        for (index, range) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            let () = servers[index].ask(&format!("CLUSTER ADDSLOTSRANGE {range}"));
            let () = servers[index].ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
        }
        for server in &servers[1..] {
            let bus = &server.arguments[5];
            let () = servers[0].ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port));
        }
        let cluster = Self { servers };
        let patience = Instant::now() + PATIENCE;
        while !cluster.servers.iter().all(Self::knows_all) {
            assert!(Instant::now() < patience, "the cluster does not come up");
            // bounded wait: the servers tell each other.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    fn knows_all(server: &Server) -> bool {
        let info: String = server.ask("CLUSTER INFO");
        let slots: Vec<redis::Value> = server.ask("CLUSTER SLOTS");
        info.contains("cluster_state:ok") && slots.len() == 3
    }
}

// === impl Watch ===

pub(crate) struct Watch {
    connection: Connection,
}

/// What a server has counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often it read from any connection.
    pub(crate) reads: u64,
    /// Commands that it ran.
    pub(crate) commands: u64,
}

impl Watch {
    /// This takes one read and one command itself.
    pub(crate) fn seen(&mut self) -> Seen {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut self.connection).unwrap();
        let number = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().parse::<u64>().unwrap()
        };
        Seen {
            reads: number("total_reads_processed:"),
            commands: number("total_commands_processed:"),
        }
    }
}
