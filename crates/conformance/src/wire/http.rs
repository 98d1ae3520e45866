//! HTTP/1.1, written and read by hand.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{MAX_ANSWER, PATIENCE, gunzip};

/// The most bytes of a head, and of a line between chunks.
const MAX_HEAD: u64 = 64 << 10;

/// How much is written at a time, so that an early answer ends the writing.
const PIECE: usize = 64 << 10;

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, but for what is to be refused.
    pub method: &'static str,
    /// The target: a path, and perhaps a query.
    pub path: String,
    /// Apart from `host` and what says how long the body is.
    pub headers: Vec<(&'static str, String)>,
    /// As it goes out: already compressed.
    pub body: Vec<u8>,
    /// Without `content-length`, in chunks.
    pub chunked: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Inflated, if it was compressed.
    pub body: Vec<u8>,
}

/// A message's head and body: what requests and answers have in common.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `POST /v1/traces HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How to know where a body ends that has no length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Then it has none.
    Request,
    /// Then it lasts until the connection is closed.
    Response,
}

// === impl Request ===

impl Request {
    /// A POST of this content type.
    pub fn post(path: &str, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            method: "POST",
            path: path.to_owned(),
            headers: vec![("content-type", content_type.to_owned())],
            body,
            chunked: false,
        }
    }

    /// With one header more.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn head(&self, host: SocketAddr) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            head.push_str("transfer-encoding: chunked\r\n\r\n");
        } else {
            head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        }
        head
    }

    /// Sends it on a connection of its own and reads the answer, also one that comes before the
    /// whole body is out.
    ///
    /// # Errors
    ///
    /// There is no connection, no answer in time, or what came is not HTTP/1.1.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn send(&self, to: SocketAddr) -> io::Result<Answer> {
        let exchange = async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            let (input, mut write) = stream.into_split();
            let writing = async {
                write.write_all(self.head(to).as_bytes()).await?;
                for piece in self.body.chunks(PIECE) {
                    if self.chunked {
                        write.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                    }
                    write.write_all(piece).await?;
                    if self.chunked {
                        write.write_all(b"\r\n").await?;
                    }
                }
                if self.chunked {
                    write.write_all(b"0\r\n\r\n").await?;
                }
                io::Result::Ok(())
            };
            let mut reader = BufReader::new(input);
            let reading = read(&mut reader, Kind::Response, MAX_ANSWER);
            tokio::pin!(writing, reading);
            let mut written = None;
            loop {
                tokio::select! {
                    biased;
                    answer = &mut reading => {
                        break match (answer, written) {
                            (Err(_), Some(Err(error))) => Err(error),
                            (answer, _) => answer,
                        };
                    }
                    // A server that has answered need not read on: the answer counts.
                    result = &mut writing, if written.is_none() => written = Some(result),
                }
            }
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s");
        let message = timeout(PATIENCE, exchange).await.map_err(|_| late())??;
        Answer::from_message(message.ok_or_else(|| io::Error::other("closed without an answer"))?)
    }

    /// Sends it, and again where the connection is reset: a server that closes with unread bytes
    /// may take its answer back by that.
    ///
    /// # Errors
    ///
    /// As [`Request::send`], the last time.
    pub async fn send_patiently(&self, to: SocketAddr) -> io::Result<Answer> {
        let mut tries = 5;
        loop {
            tries -= 1;
            match self.send(to).await {
                Err(error) if tries > 0 && lost(&error) => {}
                result => return result,
            }
        }
    }
}

fn lost(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&error.kind())
}

// === impl Answer ===

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The media type, without parameters, in lower case; empty if there is none.
    pub fn media_type(&self) -> String {
        media_type(self.header("content-type").unwrap_or_default())
    }

    fn from_message(message: Message) -> io::Result<Self> {
        let status = message.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status.filter(|_| message.line.starts_with("HTTP/1.")) else {
            return Err(io::Error::other("the status line is not one of HTTP/1"));
        };
        let mut answer = Self { status, headers: message.headers, body: message.body };
        if answer.header("content-encoding") == Some("gzip") {
            answer.body = gunzip(&answer.body, MAX_ANSWER)?;
        }
        Ok(answer)
    }
}

/// The first of these headers.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// A content type without its parameters, in lower case.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads one message; `None` where the connection ends before it starts.
pub(crate) async fn read(
    from: &mut (impl AsyncBufReadExt + Unpin),
    kind: Kind,
    limit: usize,
) -> io::Result<Option<Message>> {
    loop {
        let Some((first, headers)) = head(from).await? else { return Ok(None) };
        // 100 Continue and its kin come before the answer.
        let interim =
            kind == Kind::Response && first.split(' ').nth(1).is_some_and(|s| s.starts_with('1'));
        if interim {
            continue;
        }
        let body = body(from, &headers, kind, limit).await?;
        return Ok(Some(Message { line: first, headers, body }));
    }
}

type Head = (String, Vec<(String, String)>);

async fn head(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Head>> {
    let Some(first) = line(from).await? else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let Some(next) = line(from).await? else {
            return Err(io::Error::other("the connection ended in the head"));
        };
        if next.is_empty() {
            return Ok(Some((first, headers)));
        }
        let Some((name, value)) = next.split_once(':') else {
            return Err(io::Error::other("a header without a colon"));
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > 200 {
            return Err(io::Error::other("more than 200 headers"));
        }
    }
}

async fn line(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = from.take(MAX_HEAD).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::other("a line without an end"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| io::Error::other("a head that is not text"))
}

async fn body(
    from: &mut (impl AsyncBufReadExt + Unpin),
    headers: &[(String, String)],
    kind: Kind,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let size = line(from).await?.unwrap_or_default();
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other("a chunk without a size"))?;
            take(from, size, &mut body, limit).await?;
            // What ends the chunk, or the trailers.
            while line(from).await?.is_some_and(|line| size == 0 && !line.is_empty()) {}
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match header(headers, "content-length") {
        Some(length) => {
            let length =
                length.parse().map_err(|_| io::Error::other("content-length is no number"))?;
            take(from, length, &mut body, limit).await?;
        }
        None if kind == Kind::Response => {
            from.take(limit as u64).read_to_end(&mut body).await?;
        }
        None => {}
    }
    Ok(body)
}

async fn take(
    from: &mut (impl AsyncRead + Unpin),
    count: usize,
    body: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    if limit.saturating_sub(body.len()) < count {
        return Err(io::Error::other(format!("a body over {limit} bytes")));
    }
    let read = from.take(count as u64).read_to_end(body).await?;
    if read < count {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body is cut short"));
    }
    Ok(())
}
