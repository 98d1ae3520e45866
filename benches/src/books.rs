//! What our program's own books say, read from its metrics.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any page of metrics has.
const LARGEST_PAGE: u64 = 16 << 20;

/// What became of the spans that the program accepted, summed over its pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Taken from a client.
    pub accepted: u64,
    /// Taken by the destination.
    pub delivered: u64,
    /// Dropped by a sampler's decision.
    pub sampled_out: u64,
    /// Refused for good by the destination.
    pub rejected: u64,
    /// Lost otherwise, by the reason.
    pub dropped: BTreeMap<String, u64>,
    /// On their way.
    pub held: u64,
    /// Open connections.
    pub connections: u64,
}

// === impl Books ===

impl Books {
    /// Asks the program that has its admin endpoint at `admin`.
    ///
    /// # Errors
    ///
    /// It does not answer, or not with metrics.
    pub async fn fetch(admin: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(admin).await?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST_PAGE).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        if !answer.starts_with("HTTP/1.1 200") {
            let line = answer.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("/metrics answers {line:?}")));
        }
        Self::read(&answer).ok_or_else(|| io::Error::other("/metrics without the books"))
    }

    /// Reads them from a page in the Prometheus format; `None` where they are not there.
    pub fn read(page: &str) -> Option<Self> {
        let mut books = Self::default();
        let mut found = false;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.trim().parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "teleflow_items_total" if label(labels, "data_type") == Some("traces") => {
                    found = true;
                    let reason = label(labels, "reason").unwrap_or_default();
                    match label(labels, "state")? {
                        "accepted" => books.accepted += value,
                        "delivered" => books.delivered += value,
                        "sampled_out" => books.sampled_out += value,
                        "rejected" => books.rejected += value,
                        _ if value == 0 => {}
                        _ => *books.dropped.entry(reason.to_owned()).or_default() += value,
                    }
                }
                "teleflow_items_held" if label(labels, "data_type") == Some("traces") => {
                    books.held += value;
                }
                "teleflow_receiver_connections" => books.connections += value,
                _ => {}
            }
        }
        found.then_some(books)
    }

    /// All that was dropped, whatever for.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// The spans that arrived once more than the books say: a request is sent again when its answer
    /// does not come in time, as one of a sink that is short of its core may.
    pub const fn sent_again(&self, at_sink: u64) -> u64 {
        at_sink.saturating_sub(self.delivered)
    }

    /// What is wrong with them, beside what the client was told and the sink has seen.
    ///
    /// `accepted` is what the client was told is accepted. An answer can be lost on its way, so
    /// that the program may know of more. Nothing is missing where the list is empty.
    pub fn problems(&self, accepted: u64, at_sink: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let known = self.delivered + self.sampled_out + self.rejected + self.dropped() + self.held;
        if known != self.accepted {
            problems.push(format!("the books do not balance: {self:?}"));
        }
        if accepted > self.accepted {
            let missing = accepted - self.accepted;
            problems.push(format!("{missing} accepted spans are not in the books"));
        }
        if at_sink < self.delivered {
            problems.push(format!("{at_sink} spans delivered, {} in the books", self.delivered));
        }
        if self.held > 0 {
            problems.push(format!("{} spans are still held", self.held));
        }
        if self.dropped() + self.rejected > 0 {
            let (rejected, dropped) = (self.rejected, &self.dropped);
            problems.push(format!("accepted and lost: rejected {rejected}, dropped {dropped:?}"));
        }
        problems
    }
}

/// The value of one label; the values that are looked for have no escapes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}=\"");
    let at = labels.find(&start)? + start.len();
    labels[at..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# TYPE teleflow_items counter
teleflow_items_total{pipeline=\"traces\",destination=\"otlp\",data_type=\"traces\",state=\"accepted\",reason=\"\"} 100
teleflow_items_total{pipeline=\"traces\",destination=\"otlp\",data_type=\"traces\",state=\"delivered\",reason=\"\"} 20
teleflow_items_total{pipeline=\"traces\",destination=\"otlp\",data_type=\"traces\",state=\"sampled_out\",reason=\"\"} 70
teleflow_items_total{pipeline=\"traces\",destination=\"otlp\",data_type=\"traces\",state=\"dropped\",reason=\"expired\"} 4
teleflow_items_total{pipeline=\"logs\",destination=\"otlp\",data_type=\"logs\",state=\"accepted\",reason=\"\"} 9
# TYPE teleflow_items_held gauge
teleflow_items_held{pipeline=\"traces\",destination=\"otlp\",data_type=\"traces\"} 6
teleflow_receiver_connections{receiver=\"otlp\"} 3
otelcol_process_cpu_seconds_total 0.25
# EOF
";

    #[test]
    fn the_books_are_read() {
        let books = Books::read(PAGE).unwrap();
        assert_eq!((books.accepted, books.delivered, books.sampled_out), (100, 20, 70));
        assert_eq!((books.dropped(), books.held, books.connections), (4, 6, 3));
        assert_eq!(books.dropped.get("expired"), Some(&4));
        assert_eq!(Books::read("up 1\n"), None);
    }

    #[test]
    fn whatever_is_missing_is_said() {
        let books = |delivered, dropped: u64| Books {
            accepted: 100,
            delivered,
            sampled_out: 70,
            dropped: BTreeMap::from([("expired".to_owned(), dropped)]),
            ..Books::default()
        };
        assert_eq!(books(30, 0).problems(100, 30), Vec::<String>::new());
        // An answer that the client never saw is no loss.
        assert_eq!(books(30, 0).problems(99, 30), Vec::<String>::new());
        let said = |books: Books, accepted, at_sink| books.problems(accepted, at_sink).join("; ");
        assert!(said(books(29, 0), 100, 29).contains("do not balance"));
        assert_eq!(said(books(30, 0), 101, 30), "1 accepted spans are not in the books");
        assert_eq!(said(books(30, 0), 100, 29), "29 spans delivered, 30 in the books");
        assert!(said(books(29, 1), 100, 29).starts_with("accepted and lost: rejected 0, dropped"));
        assert_eq!(books(30, 0).problems(100, 35), Vec::<String>::new());
        assert_eq!((books(30, 0).sent_again(35), books(30, 0).sent_again(30)), (5, 0));
        let held = Books { held: 1, ..books(29, 0) };
        assert_eq!(said(held, 100, 29), "1 spans are still held");
    }
}
