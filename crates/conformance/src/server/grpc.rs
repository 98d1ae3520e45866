//! OTLP/gRPC, as frames.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::http::unknown_field;
use super::{Answer, Attempt, FLOOD, MAX_REQUEST, Shared};
use crate::signal::Signal;
use crate::wire::grpc::{base64, frame, read, send, unframe};

/// Serves one connection until its client or an answer ends it.
pub(super) async fn serve(stream: TcpStream, connection: usize, shared: Shared) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(4 << 20).initial_connection_window_size(8 << 20);
    let Ok(mut client) = builder.handshake::<_, Bytes>(stream).await else { return };
    let close = Arc::new(Notify::new());
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            // Dropped, the connection is closed without a word.
            () = close.notified() => return,
            accepted = client.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                let (shared, close) = (shared.clone(), Arc::clone(&close));
                streams.spawn(async move {
                    if !answer(request, respond, connection, &shared).await {
                        close.notify_one();
                    }
                });
            }
        }
    }
    // Those that wait for the client to go are to see it.
    drop(client);
    while streams.join_next().await.is_some() {}
}

/// Answers one call; whether the connection goes on.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: &Shared,
) -> bool {
    let (head, mut body) = request.into_parts();
    let Ok((bytes, _)) = read(&mut body, MAX_REQUEST).await else { return true };
    let path = head.uri.path().to_owned();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let encoding = head.headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    let message = unframe(&bytes, encoding, MAX_REQUEST).map_err(|error| error.to_string());
    let (index, mut answer) = shared.note(Attempt {
        id: 0,
        at: Instant::now(),
        connection,
        method: head.method.to_string(),
        path: path.clone(),
        headers: headers.collect(),
        sent: bytes.len(),
        compressed: bytes.first() == Some(&1),
        body: message,
        taken: 0,
        gone: None,
        answered: None,
    });
    while let Answer::After(delay, then) = answer {
        tokio::time::sleep(delay).await;
        answer = *then;
    }
    let signal = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path);
    let signal = signal.unwrap_or(Signal::Traces);
    let goes_on = match answer {
        Answer::Ok | Answer::After(..) => reply(&mut respond, Some(Vec::new()), 0, None).await,
        Answer::Partial(rejected, message) => {
            reply(&mut respond, Some(signal.partial_response(rejected, message)), 0, None).await
        }
        Answer::Status(code, details) => {
            let details = details.map(|details| details.encode_to_vec());
            reply(&mut respond, None, code, details).await
        }
        // These are HTTP's.
        Answer::Http(..) | Answer::RetryAfterDate(..) => reply(&mut respond, None, 2, None).await,
        Answer::Close => return false,
        Answer::Hang => {
            _ = poll_fn(|context| respond.poll_reset(context)).await;
            shared.log.change(index, |attempt| attempt.gone = Some(Instant::now()));
            true
        }
        Answer::Flood => flood(&mut respond, index, shared).await,
    };
    shared.log.change(index, |attempt| attempt.answered = Some(Instant::now()));
    goes_on
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    head
}

fn status(headers: &mut HeaderMap, code: i32, details: Option<Vec<u8>>) {
    headers.insert("grpc-status", HeaderValue::from(code));
    let details = details.and_then(|details| HeaderValue::from_str(&base64(&details)).ok());
    if let Some(details) = details {
        headers.insert("grpc-status-details-bin", details);
    }
}

async fn reply(
    respond: &mut SendResponse<Bytes>,
    message: Option<Vec<u8>>,
    code: i32,
    details: Option<Vec<u8>>,
) -> bool {
    let mut head = head();
    let Some(message) = message else {
        status(head.headers_mut(), code, details);
        _ = respond.send_response(head, true);
        return true;
    };
    let Ok(mut stream) = respond.send_response(head, false) else { return true };
    let mut data = frame(&message, false).freeze();
    if send(&mut stream, &mut data).await.is_ok() {
        let mut trailers = HeaderMap::new();
        status(&mut trailers, code, details);
        _ = stream.send_trailers(trailers);
    }
    true
}

/// A message with a field of [`FLOOD`] bytes that nobody knows.
async fn flood(respond: &mut SendResponse<Bytes>, index: usize, shared: &Shared) -> bool {
    let Ok(mut stream) = respond.send_response(head(), false) else { return true };
    let field = unknown_field(FLOOD);
    // gRPC's prefix, by hand: the message is not all there at once.
    let mut first = vec![0];
    let length = u32::try_from(field.len() + FLOOD).unwrap_or(u32::MAX);
    first.extend(length.to_be_bytes());
    first.extend(field);
    let mut first = Bytes::from(first);
    if send(&mut stream, &mut first).await.is_err() {
        return true;
    }
    let piece = Bytes::from(vec![0; 64 << 10]);
    let mut taken = 0;
    while taken < FLOOD {
        if send(&mut stream, &mut piece.clone()).await.is_err() {
            return true;
        }
        taken += piece.len();
        shared.log.change(index, |attempt| attempt.taken = taken);
    }
    let mut trailers = HeaderMap::new();
    status(&mut trailers, 0, None);
    _ = stream.send_trailers(trailers);
    true
}
