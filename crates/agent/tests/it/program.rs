//! The real program, in a folder of its own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

pub(crate) use teleflow_testkit::skips::skipped;

use tempfile::TempDir;

/// How long the program may take to say something, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Killed on drop, if it still runs.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    said: Arc<Said>,
    /// Gets all of the standard output when that ends.
    stdout: Receiver<String>,
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    /// Where it runs and leaves its files.
    folder: TempDir,
}

/// Killed on drop: also by a test that fails before the program serves.
#[derive(Debug)]
struct Process(Child);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What came on the standard error so far.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<Heard>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    text: String,
    /// Nothing more will come.
    is_all: bool,
    /// Nothing more is read for now.
    is_deaf: bool,
}

// === impl Program ===

impl Program {
    /// Starts `teleflow run` with this config file, which takes OTLP over both protocols and has
    /// the admin endpoint, all on free ports; returns when it serves.
    #[track_caller]
    pub(crate) fn start(config: &str, args: &[&str]) -> Self {
        Self::start_with(config, args, None)
    }

    /// As [`start`](Self::start), and it logs what this says.
    #[track_caller]
    pub(crate) fn start_with(config: &str, args: &[&str], log: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
        command.env_remove("RUST_LOG").envs(log.map(|log| ("RUST_LOG", log)));
        Self::start_by(command, config, args)
    }

    /// [`start`](Self::start) by a command that ends up as the program, with these arguments.
    #[track_caller]
    pub(crate) fn start_by(mut command: Command, config: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("teleflow.yaml"), config).unwrap();
        let child = command
            .args(["run", "--config", "teleflow.yaml"])
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = Process(child.unwrap());
        let said = Arc::new(Said::default());
        let (stderr, listener) = (process.0.stderr.take().unwrap(), Arc::clone(&said));
        thread::spawn(move || listener.listen(BufReader::new(stderr)));
        let (sender, stdout) = channel();
        let mut output = process.0.stdout.take().unwrap();
        thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            // A test that is over has nobody who listens.
            _ = sender.send(text);
        });
        // The admin endpoint is announced last.
        let announced = said.wait("/metrics\n");
        let address = |before: &str| {
            let (_, rest) = announced.split_once(before).expect("every address is announced");
            let rest = rest.strip_prefix("http://").unwrap_or(rest);
            let rest = rest.strip_prefix("https://").unwrap_or(rest);
            let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap();
            rest[..end].parse().unwrap()
        };
        Self {
            grpc: address("OTLP/gRPC on "),
            http: address("OTLP/HTTP on "),
            admin: address("teleflow: http://"),
            process,
            said,
            stdout,
            folder,
        }
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.said.wait(text);
    }

    /// Whether its standard error is read.
    pub(crate) fn listen(&self, listens: bool) {
        self.said.state.lock().unwrap().is_deaf = !listens;
        self.said.more.notify_all();
    }

    /// Where it runs: its config file is `teleflow.yaml`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends SIGTERM.
    pub(crate) fn signal(&self) {
        self.kill("-TERM");
    }

    /// Writes another config file in place of its own, and sends SIGHUP.
    pub(crate) fn reload(&self, config: &str) {
        fs::write(self.folder().join("teleflow.yaml"), config).unwrap();
        self.kill("-HUP");
    }

    fn kill(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        // bounded wait: a program that does not end fails the test.
        let stdout = self.stdout.recv_timeout(PATIENCE).expect("the program ends");
        let status = self.process.0.wait().unwrap();
        let stderr = self.said.rest();
        Ended { status, stdout, stderr }
    }

    /// Sends SIGTERM and waits until it has ended.
    #[track_caller]
    pub(crate) fn terminate(self) -> Ended {
        self.signal();
        self.ended()
    }
}

// === impl Process ===

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where the test has passed.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

// === impl Said ===

impl Said {
    fn listen(&self, mut lines: impl BufRead) {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            let mut heard = self.state.lock().unwrap();
            heard.text.push_str(&line);
            self.more.notify_all();
            line.clear();
            drop(self.more.wait_while(heard, |heard| heard.is_deaf).unwrap());
        }
        self.state.lock().unwrap().is_all = true;
        self.more.notify_all();
    }

    #[track_caller]
    fn wait(&self, text: &str) -> String {
        let waits = |heard: &mut Heard| !heard.text.contains(text) && !heard.is_all;
        let heard = self.state.lock().unwrap();
        // bounded wait: it speaks from another process.
        let (heard, _) = self.more.wait_timeout_while(heard, PATIENCE, waits).unwrap();
        assert!(heard.text.contains(text), "it has not said {text:?} but {:?}", heard.text);
        heard.text.clone()
    }

    /// Everything, once it has ended.
    fn rest(&self) -> String {
        let waits = |heard: &mut Heard| !heard.is_all && !heard.is_deaf;
        let heard = self.state.lock().unwrap();
        let (heard, _) = self.more.wait_timeout_while(heard, PATIENCE, waits).unwrap();
        heard.text.clone()
    }
}
