//! The process's own log: lines on the standard error, which nobody ever waits for.
//!
//! A line is made by the thread that has something to say, and written by another one: however slow
//! the reader of the standard error is, whether it reads at all, or whether a disk is full, no
//! thread that moves telemetry waits for it. What waits to be written is bounded, and what is beyond
//! that is left out, counted, and said to be missing in its place.
//!
//! Nothing that a peer sends gets to a terminal as it is: what one would act on is spelled out, and
//! a line stays one line.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::thread;

use teleflow::exporter::acts_on_terminal;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogLevel;
use crate::talk::{self, Voice};

/// The bytes of a line; what is longer is cut.
const MAX_LINE: usize = 16 * 1024;

/// Starts the log. `RUST_LOG` beats the level.
pub(crate) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // There is one already only where the program was started twice.
    _ = tracing::subscriber::set_global_default(subscriber(filter, talk::err));
}

/// Has panics logged, which otherwise are written by the thread that panics, and hold it up.
pub(crate) fn panics() {
    panic::set_hook(Box::new(|panic| tell_panic(talk::err(), panic)));
}

fn subscriber<F>(filter: EnvFilter, voice: F) -> impl Subscriber + Send + Sync
where
    F: Fn() -> &'static Voice + Send + Sync + 'static,
{
    // Colours would be escape sequences: here nobody can send any.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Lines(voice))
        .finish()
}

fn tell_panic(voice: &Voice, panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("something that is no text");
    let said = format!("teleflow: thread {thread} panicked{place}: {message}");
    voice.offer(line(said.as_bytes()));
    // As `RUST_BACKTRACE` says.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|frame| voice.offer(line(frame.as_bytes())));
    }
}

/// Offers each line to a voice.
#[derive(Clone, Copy, Debug)]
struct Lines<F>(F);

/// Takes one event, in one piece.
#[derive(Debug)]
struct Offering(&'static Voice);

impl<F: Fn() -> &'static Voice> MakeWriter<'_> for Lines<F> {
    type Writer = Offering;

    fn make_writer(&self) -> Offering {
        Offering((self.0)())
    }
}

impl io::Write for Offering {
    /// Never fails: what is left out is counted elsewhere.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.offer(line(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line, with nothing in it that a terminal would act on.
fn line(event: &[u8]) -> Vec<u8> {
    let event = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
    let mut line = String::with_capacity(event.len().min(MAX_LINE) + 1);
    for (at, c) in event.char_indices() {
        if line.len() > MAX_LINE {
            // Writing to a string does not fail.
            _ = write!(line, "... and {} bytes more", event.len() - at);
            break;
        }
        if acts_on_terminal(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::talk::Limits;

    struct Stream(Sender<String>);

    impl io::Write for Stream {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(text.to_vec()).unwrap()).unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a voice has written when all is said.
    fn written(say: impl FnOnce(&'static Voice)) -> String {
        let (sender, text) = channel();
        let limits = Limits {
            patience: Duration::from_secs(60),
            max_said: 1,
            max_lines: 1000,
            max_bytes: 1 << 20,
        };
        let voice = Box::leak(Box::new(Voice::new(Stream(sender), limits)));
        say(voice);
        voice.finish();
        text.try_iter().collect()
    }

    #[test]
    fn what_peers_send_is_one_line_and_does_nothing_to_a_terminal() {
        // A span's name and a header's value, as they can come.
        let (name, header) =
            ("GET \u{1b}[2J\u{1b}]0;owned\u{7}", "a\r\nERROR teleflow: forged\u{9b}");
        let text = written(|voice| {
            let subscriber = subscriber(EnvFilter::new("info"), move || &*voice);
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(name, %header, "no {name} \u{202e}");
                tracing::debug!("not asked for");
                tracing::info!("Käse 🧀");
            });
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(!text.replace('\n', "").contains(acts_on_terminal), "{text:?}");
        for shown in [
            // In the message, in a value, and in one that was not quoted.
            "no GET \\x1b[2J\\x1b]0;owned\\x07 \\u{202e}",
            "name=\"GET \\u{1b}[2J",
            "header=a\\r\\nERROR teleflow: forged\\u{9b}",
        ] {
            assert!(lines[0].contains(shown), "{shown} in {text:?}");
        }
        assert!(lines[0].contains(" WARN "), "{text}");
        assert!(lines[1].ends_with("Käse 🧀"), "{text}");
    }

    #[test]
    fn a_line_is_cut_before_it_fills_the_log() {
        let long = "\u{1b}".repeat(1 << 20) + "\n";
        let line = String::from_utf8(line(long.as_bytes())).unwrap();
        assert!(line.len() < MAX_LINE + 100, "{}", line.len());
        let shown = line.matches("\\u{1b}").count();
        let more = format!("... and {} bytes more\n", (1 << 20) - shown);
        assert!(line.ends_with(&more), "{}", &line[line.len() - 100..]);
    }

    #[test]
    fn a_panic_is_logged_with_its_place() {
        // The hook is the whole process's, so another one that panics meanwhile is heard as well.
        let text = written(|voice| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(|panic| tell_panic(voice, panic)));
            let panicking = thread::Builder::new().name("worker".to_owned());
            panicking.spawn(|| panic!("a\nbug\u{1b}[31m")).unwrap().join().unwrap_err();
            panic::set_hook(before);
        });
        let said = text.lines().find(|line| line.contains("thread worker")).expect(&text);
        assert!(said.starts_with("teleflow: thread worker panicked at "), "{said}");
        assert!(said.contains(file!()) && said.ends_with(": a\\nbug\\u{1b}[31m"), "{said}");
    }
}
