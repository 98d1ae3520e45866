//! The same with a real Redis server between them, which goes away and comes back.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use teleflow::SharedDecisions;
use teleflow::cache::{Redis, RedisConfig};
use teleflow::sampler::Config;
use teleflow_testkit::telemetry::Telemetry;
use tempfile::TempDir;

use super::{Gateway, errors_and_some, tear};

/// How long another process may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis server, which ends with it.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

// === impl Server ===

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { child: spawn(port, &folder), port, folder };
        server.comes_up().await;
        server
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder);
        self.comes_up().await;
    }

    async fn comes_up(&mut self) {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not start");
            // bounded wait: another process starts.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn shared(&self) -> SharedDecisions {
        let redis = Redis::single(RedisConfig {
            servers: vec![format!("redis://127.0.0.1:{}", self.port)],
            connect_timeout: PATIENCE,
            answer_timeout: PATIENCE,
            ..RedisConfig::default()
        });
        let mut shared = SharedDecisions::new(redis.unwrap());
        // A busy machine must not fail the test.
        shared.timeout = PATIENCE;
        shared
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether this machine has the program; where it has not, the test is noted as skipped: in the
/// file that `TELEFLOW_SKIPS` names, if it does.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see it")]
fn missing(name: &str) -> bool {
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

/// Waits until so many traces are decided in both.
async fn decided(gateways: &[Gateway; 2], traces: u64) {
    let until = Instant::now() + PATIENCE;
    let is_done = |gateway: &Gateway| {
        let stats = gateway.stats();
        stats.traces_kept + stats.traces_sampled_out == traces
    };
    while !gateways.iter().all(is_done) {
        assert!(Instant::now() < until, "it is not decided");
        // bounded wait: the sampler's own time, and another process.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn two_gateways_agree_through_redis_and_go_on_without_it() {
    if missing("two_gateways_agree_through_redis_and_go_on_without_it") {
        return;
    }
    let mut server = Server::start().await;
    let config = || Config { decision_wait: Duration::from_millis(300), ..errors_and_some() };
    let gateways = [
        Gateway::start_with(config(), Some(server.shared()), 2).await,
        Gateway::start_with(config(), Some(server.shared()), 1).await,
    ];
    let mut telemetry = Telemetry::new(8);
    let mut new_ids = || (0..300).map(|_| telemetry.rng().u128(1..)).collect::<Vec<_>>();
    let (ids, alone, again) = (new_ids(), new_ids(), new_ids());
    tear(&gateways, &mut telemetry, &ids).await;
    decided(&gateways, 300).await;
    assert!(gateways.iter().all(|gateway| gateway.stats().sharing.alone == 0));
    assert!(gateways.iter().all(|gateway| gateway.exchange().failures == 0));

    server.kill();
    tear(&gateways, &mut telemetry, &alone).await;
    decided(&gateways, 600).await;
    assert!(gateways.iter().all(|gateway| gateway.stats().sharing.alone == 300));
    assert!(gateways.iter().all(|gateway| gateway.exchange().is_down));

    server.restart().await;
    let until = Instant::now() + PATIENCE;
    while gateways.iter().any(|gateway| gateway.exchange().is_down) {
        assert!(Instant::now() < until, "it is not tried again");
        // Something has to be asked.
        for gateway in &gateways {
            let id = telemetry.rng().u128(1..);
            gateway.send(&mut telemetry, &[id], true).await;
        }
        // bounded wait: it is left alone for up to 5 s.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tear(&gateways, &mut telemetry, &again).await;
    let traces = gateways[0].stats().traces;
    decided(&gateways, traces).await;

    let [one, other] = gateways;
    let (one, other) = (one.end().await, other.end().await);
    let of = |kept: &std::collections::BTreeMap<u128, u64>, ids: &[u128]| {
        ids.iter().filter(|id| kept.contains_key(id)).copied().collect::<Vec<_>>()
    };
    for (ids, agree) in [(&ids, true), (&alone, false), (&again, true)] {
        let (one, other) = (of(&one, ids), of(&other, ids));
        assert_eq!(one == other, agree);
        assert!(one.len() >= 15, "{}", one.len());
    }
}
