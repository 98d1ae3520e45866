use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use teleflow_exporter::{Console, ExportError, Exporter};
use teleflow_otlp::{Payload, Signal};

use crate::script::field;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the console shows of a request with one resource, `checkout`, and this item.
async fn shown(signal: Signal, item: &[u8]) -> String {
    let resource = field(1, &attribute(1, "service.name", &text("checkout")));
    let scopes = field(2, &field(2, item));
    let request = field(1, &[resource, scopes].concat());
    let payload = Payload::parse(signal, request.into()).unwrap();
    let screen = Screen::default();
    Console::new(screen.clone()).export(payload).await.unwrap();
    let bytes = screen.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn attribute(number: u8, key: &str, value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, key.as_bytes()), field(2, value)].concat())
}

/// An `AnyValue` of text.
fn text(value: &str) -> Vec<u8> {
    field(1, value.as_bytes())
}

fn fixed64(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1], &value.to_le_bytes()[..]].concat()
}

const TIME: u64 = 1_700_000_000_123_456_789;

#[tokio::test]
async fn a_span_is_a_line() {
    let span = [
        field(1, &[0xab; 16]),
        field(2, &[0xcd; 8]),
        field(5, b"GET /cart"),
        vec![6 << 3, 2],
        fixed64(7, TIME),
        fixed64(8, TIME + 12_345_678),
        field(15, &[3 << 3, 2]),
    ]
    .concat();
    let expected = format!(
        "2023-11-14T22:13:20.123456789Z span checkout \"GET /cart\" server 12.345ms error \
         trace={} span={}\n",
        "ab".repeat(16),
        "cd".repeat(8),
    );
    assert_eq!(shown(Signal::Traces, &span).await, expected);
}

#[tokio::test]
async fn a_log_record_is_a_line() {
    let record = [
        fixed64(11, TIME),
        vec![2 << 3, 13],
        field(5, &text("card refused")),
        attribute(6, "order", &[3 << 3, 17]),
    ]
    .concat();
    let expected = "2023-11-14T22:13:20.123456789Z log checkout WARN \"card refused\" order=17\n";
    assert_eq!(shown(Signal::Logs, &record).await, expected);
}

#[tokio::test]
async fn a_data_point_is_a_line() {
    let number = [fixed64(3, TIME), fixed64(6, 42), attribute(7, "route", &text("/cart"))].concat();
    let sum = field(7, &[field(1, &number), field(1, &fixed64(4, 2.5f64.to_bits()))].concat());
    let metric = [field(1, b"http.requests"), field(3, b"{request}"), sum].concat();
    let expected = "\
        2023-11-14T22:13:20.123456789Z metric checkout http.requests sum 42 \"{request}\" route=/cart\n\
        - metric checkout http.requests sum 2.5 \"{request}\"\n";
    assert_eq!(shown(Signal::Metrics, &metric).await, expected);

    let point = [fixed64(4, 3), fixed64(5, 1.5f64.to_bits())].concat();
    let metric = [field(1, b"latency"), field(9, &field(1, &point))].concat();
    let expected = "- metric checkout latency histogram count=3 sum=1.5\n";
    assert_eq!(shown(Signal::Metrics, &metric).await, expected);
}

#[tokio::test]
async fn nothing_a_sender_writes_reaches_the_terminal_as_more_than_text() {
    let hostile = "\u{1b}]0;title\u{7}\r\n2023 span forged \u{202e}";
    let span = [field(5, hostile.as_bytes()), attribute(9, hostile, &text(hostile))].concat();
    let record = [field(3, hostile.as_bytes()), attribute(6, hostile, &text(hostile))].concat();
    let metric = [field(1, hostile.as_bytes()), field(3, hostile.as_bytes())].concat();
    let point = field(5, &field(1, &attribute(7, hostile, &text(hostile))));
    for (signal, item) in [
        (Signal::Traces, span),
        (Signal::Logs, record),
        (Signal::Metrics, [metric, point].concat()),
    ] {
        let line = shown(signal, &item).await;
        assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
        assert!(!line.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_an_error_and_no_panic() {
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let error = Console::new(Closed).export(crate::script::spans(1, "a")).await.unwrap_err();
    assert!(matches!(error, ExportError::Permanent(_)) && !error.is_retryable(), "{error}");
}
