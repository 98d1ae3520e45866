//! A program that runs beside its test, and is told to stop.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long it may take to say something, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Killed on drop, if it still runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

/// Where a program says what the test waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    Stdout,
    /// The standard output. All there is to log goes to a disk that is full.
    StdoutAlone,
    /// The standard output is a pipe that nobody reads.
    Stderr,
}

// === impl Running ===

impl Running {
    pub(crate) fn start(folder: &Path, args: &[&str], stream: Stream) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
        command.args(args).current_dir(folder).env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(Stdio::piped());
        match stream {
            Stream::Stdout => {}
            Stream::StdoutAlone => {
                let full = File::options().write(true).open("/dev/full").unwrap();
                command.stderr(full).env("RUST_LOG", "trace");
            }
            Stream::Stderr => _ = command.stderr(Stdio::piped()),
        }
        let mut child = command.spawn().unwrap();
        let reader: Box<dyn Read + Send> = match stream {
            Stream::Stdout | Stream::StdoutAlone => Box::new(child.stdout.take().unwrap()),
            Stream::Stderr => Box::new(child.stderr.take().unwrap()),
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                // A test that is over has nobody who listens.
                let Ok(()) = sender.send(line.unwrap()) else { return };
            }
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line that has this in it.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> String {
        loop {
            let Some(line) = self.line() else { panic!("no {text:?} in {:?}", self.said) };
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line, if there is one.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        // bounded wait: it speaks from another process.
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("it says no more than {:?}", self.said),
        };
        self.said.push_str(&line);
        self.said.push('\n');
        Some(line)
    }

    /// Sends SIGTERM, waits for the end, and returns what it said.
    #[track_caller]
    pub(crate) fn terminated(mut self) -> (ExitStatus, String) {
        let (status, _) = self.terminate();
        (status, std::mem::take(&mut self.said))
    }

    /// Sends SIGTERM and waits for the end; returns the standard output that nobody has read.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Option<ChildStdout>) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        while self.line().is_some() {}
        // `wait` would close it otherwise.
        let unread = self.child.stdout.take();
        (self.child.wait().unwrap(), unread)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test has passed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The address that stands behind this.
#[track_caller]
pub(crate) fn address(announced: &str, before: &str) -> SocketAddr {
    let (_, rest) = announced.split_once(before).expect("it is announced");
    let end = rest.find(|c: char| ",/".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
