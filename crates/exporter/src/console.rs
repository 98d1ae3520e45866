//! One line an item, for people.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Mutex;

use teleflow_otlp::log::LogRecord;
use teleflow_otlp::metric::{Metric, Number, Point};
use teleflow_otlp::span::{Span, StatusCode};
use teleflow_otlp::value::{AnyValue, Attributes};
use teleflow_otlp::{Payload, Signal, tree};

use crate::escape::Escaped;
use crate::{Delivered, ExportError, Exporter};

/// Writes what it is given, one line an item.
///
/// ```text
/// 2026-08-22T10:00:00.000000000Z span checkout "GET /cart" server 12.5ms error trace=5b8e… span=9a3f…
/// 2026-08-22T10:00:00.000000000Z log checkout WARN "card refused" order=17
/// 2026-08-22T10:00:00.000000000Z metric checkout http.requests sum 42 {request} route=/cart
/// ```
///
/// Text from the senders is escaped: it cannot reach the terminal as anything but text, nor begin a
/// line of its own. Lines of one payload stand together.
///
/// Writing blocks the thread: this is for looking at telemetry, not for volume.
pub struct Console {
    out: Mutex<Box<dyn Write + Send>>,
}

/// How much text is gathered before it is written.
const CHUNK: usize = 64 * 1024;

// === impl Console ===

impl Console {
    /// Writes to the standard output.
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }

    /// Writes to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }

    fn write(&self, payload: &Payload) -> io::Result<()> {
        // A writer that panicked once may have left half a line: go on all the same.
        let mut out = self.out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut text = String::new();
        for segment in payload.segments() {
            for resource in tree::resources(segment) {
                let service = service(resource);
                for item in resource.scopes().flat_map(|scope| scope.items()) {
                    let written = match payload.signal() {
                        Signal::Traces => span(&mut text, service, item.message),
                        Signal::Metrics => metric(&mut text, service, item.message),
                        Signal::Logs => log(&mut text, service, item.message),
                    };
                    written.expect("writing to a string cannot fail");
                    if text.len() >= CHUNK {
                        out.write_all(text.as_bytes())?;
                        text.clear();
                    }
                }
            }
        }
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Exporter for Console {
    /// # Errors
    ///
    /// [`ExportError::Permanent`] where writing fails, a closed pipe for example: some lines may be
    /// out already, and they are not repeated.
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        match self.write(&payload) {
            Ok(()) => Ok(Delivered::ALL),
            Err(error) => Err(ExportError::Permanent(format!("cannot write: {error}"))),
        }
    }
}

/// The name of the service, where the resource has one.
fn service(resource: tree::ResourceGroup<'_>) -> &str {
    resource
        .resource()
        .flat_map(Attributes::of_resource)
        .filter(|(key, _)| *key == "service.name")
        .find_map(|(_, value)| value.as_str())
        .unwrap_or("-")
}

fn span(out: &mut String, service: &str, message: &[u8]) -> fmt::Result {
    let span = Span::read(message);
    let kind = match span.kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "unspecified",
    };
    let status = match span.status {
        StatusCode::Unset => "unset",
        StatusCode::Ok => "ok",
        StatusCode::Error => "error",
    };
    writeln!(
        out,
        "{} span {} {} {kind} {} {status} trace={} span={}",
        Time(span.start),
        Token(service),
        Token(span.name),
        Millis(span.end.saturating_sub(span.start)),
        Hex(span.trace_id),
        Hex(span.span_id),
    )
}

fn log(out: &mut String, service: &str, message: &[u8]) -> fmt::Result {
    let record = LogRecord::read(message);
    let time = if record.time == 0 { record.observed_time } else { record.time };
    write!(out, "{} log {} ", Time(time), Token(service))?;
    match (record.severity_text, record.severity_number) {
        ("", number @ 1..=24) => {
            let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
            out.push_str(names[(number as usize - 1) / 4]);
        }
        ("", _) => out.push('-'),
        (text, _) => write!(out, "{}", Token(text))?,
    }
    out.push(' ');
    value(out, record.body())?;
    attributes(out, record.attributes())?;
    out.push('\n');
    Ok(())
}

fn metric(out: &mut String, service: &str, message: &[u8]) -> fmt::Result {
    let metric = Metric::read(message);
    for point in metric.points() {
        write!(out, "{} metric {} ", Time(point.time), Token(service))?;
        write!(out, "{} {} ", Token(metric.name), metric.kind.name())?;
        measured(out, &point)?;
        if !metric.unit.is_empty() {
            write!(out, " {}", Token(metric.unit))?;
        }
        attributes(out, point.attributes())?;
        out.push('\n');
    }
    Ok(())
}

fn measured(out: &mut String, point: &Point<'_>) -> fmt::Result {
    match (point.value, point.count) {
        (Some(Number::Int(value)), _) => write!(out, "{value}"),
        (Some(Number::Double(value)), _) => write!(out, "{value}"),
        (None, Some(count)) => {
            write!(out, "count={count}")?;
            point.sum.map_or(Ok(()), |sum| write!(out, " sum={sum}"))
        }
        (None, None) => out.write_char('-'),
    }
}

fn attributes(out: &mut String, attributes: Attributes<'_>) -> fmt::Result {
    for (key, attribute) in attributes {
        write!(out, " {}=", Token(key))?;
        value(out, attribute)?;
    }
    Ok(())
}

/// Recursion is bounded: the views read nothing that is nested deeper than validation allows.
fn value(out: &mut String, any: AnyValue<'_>) -> fmt::Result {
    match any {
        AnyValue::Empty => out.write_char('-'),
        AnyValue::String(text) => write!(out, "{}", Token(text)),
        AnyValue::Bool(value) => write!(out, "{value}"),
        AnyValue::Int(value) => write!(out, "{value}"),
        AnyValue::Double(value) => write!(out, "{value}"),
        AnyValue::Bytes(bytes) => write!(out, "0x{}", Hex(bytes)),
        AnyValue::Array(values) => {
            out.push('[');
            for (i, inner) in values.enumerate() {
                out.push_str(if i == 0 { "" } else { " " });
                value(out, inner)?;
            }
            out.write_char(']')
        }
        AnyValue::Map(pairs) => {
            out.push('{');
            for (i, (key, inner)) in pairs.enumerate() {
                out.push_str(if i == 0 { "" } else { " " });
                write!(out, "{}=", Token(key))?;
                value(out, inner)?;
            }
            out.write_char('}')
        }
    }
}

/// Text as one word of a line: quoted where it would not be one.
struct Token<'a>(&'a str);

/// Nanoseconds since 1970, as RFC 3339 in UTC; `-` for 0, which means unknown.
struct Time(u64);

/// Nanoseconds, in milliseconds.
struct Millis(u64);

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = !self.0.is_empty()
            && self.0 != "-"
            && !self.0.contains(|c: char| c.is_whitespace() || "\"\\=[]{}".contains(c));
        if bare {
            return write!(f, "{}", Escaped(self.0));
        }
        f.write_char('"')?;
        let mut rest = self.0;
        while let Some(at) = rest.find(['"', '\\']) {
            write!(f, "{}\\{}", Escaped(&rest[..at]), &rest[at..=at])?;
            rest = &rest[at + 1..];
        }
        write!(f, "{}\"", Escaped(rest))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_char('-');
        }
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day ends one: 719 468 days from 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}ms", self.0 / 1_000_000, self.0 / 1000 % 1000)
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_583_020_799, "2020-02-29T23:59:59.000000000Z"),
            (1_704_067_199, "2023-12-31T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Time(seconds * 1_000_000_000).to_string(), text);
        }
        assert_eq!(Time(1).to_string(), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(Time(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
        assert_eq!(Time(0).to_string(), "-");
    }

    #[test]
    fn a_word_is_quoted_where_it_would_not_be_one() {
        for (text, shown) in [
            ("cart", "cart"),
            ("", "\"\""),
            ("-", "\"-\""),
            ("GET /cart", "\"GET /cart\""),
            ("a=\"b\\c\"", "\"a=\\\"b\\\\c\\\"\""),
            ("\u{1b}[31mred", "\"\\u{1b}[31mred\""),
            ("line\nbreak", "\"line\\nbreak\""),
        ] {
            assert_eq!(Token(text).to_string(), shown);
        }
    }
}
