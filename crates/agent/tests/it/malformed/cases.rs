//! Ten thousand ways to get a request wrong, a few to get it right, and what is to be answered.

use std::io::{Read, Write};

use bytes::Bytes;
use fastrand::Rng;
use flate2::Compression;
use flate2::read::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use http::{Method, Request};
use prost::Message;
use teleflow::Signal;
use teleflow::otlp::json;
use teleflow_testkit::ids;
use teleflow_testkit::mangle::{mangle, nested_value};
use teleflow_testkit::telemetry::Telemetry;

use super::client::{frame, post};
use super::damage::{invalid_utf8, lying_length, nested_groups, wrong_wire_type};
use super::reference;

/// The program's own limit, which the config file does not change.
pub(crate) const LIMIT: usize = 64 * 1024 * 1024;

/// The first so many requests are light; of the others, one in `HEAVY_EVERY` makes the gateway hold
/// as much as the limit allows.
pub(crate) const LIGHT: usize = 2_000;
const HEAVY_EVERY: usize = 400;

/// The valid requests of each signal that the others are made of.
const VALID: usize = 12;

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

type Header = (&'static str, &'static str);

const PROTOBUF: Header = ("content-type", "application/x-protobuf");
const JSON: Header = ("content-type", "application/json");
const GZIP: Header = ("content-encoding", "gzip");
const GRPC: [Header; 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const GRPC_GZIP: Header = ("grpc-encoding", "gzip");

/// One request and what is to be answered.
#[derive(Debug)]
pub(crate) struct Case {
    /// Says what is wrong with it.
    pub(crate) what: String,
    pub(crate) over: Over,
    pub(crate) request: Request<Bytes>,
    pub(crate) signal: Signal,
    /// Whether it makes the gateway hold as many bytes as the limit allows.
    pub(crate) is_heavy: bool,
    pub(crate) expected: Expected,
}

/// Which port, and in which version of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Over {
    Grpc,
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// Success, and so many items more in the books.
    Taken(u64),
    /// The code of the status, and HTTP's own where the request came over that.
    Refused { code: i32, http: u16 },
    /// What came to the gRPC port was no call, and the answer is none.
    NotGrpc,
}

/// What all cases are made of.
#[derive(Debug)]
pub(crate) struct Cases {
    valid: [Vec<Vec<u8>>; 3],
    /// Little that inflates to one byte over the limit.
    bomb: Bytes,
    /// A byte over the limit as it is.
    oversize: Bytes,
}

// === impl Expected ===

impl Expected {
    const INVALID: Self = Self::Refused { code: INVALID_ARGUMENT, http: 400 };
    const TOO_LARGE: Self = Self::Refused { code: RESOURCE_EXHAUSTED, http: 413 };
    const UNSUPPORTED: Self = Self::Refused { code: INVALID_ARGUMENT, http: 415 };

    /// What prost decides, and what it does not: an id has the length of an id, or none.
    pub(crate) fn of(signal: Signal, request: &[u8]) -> Self {
        match reference::items(signal, request) {
            Ok(items) if ids::are_right(signal, request) => Self::Taken(items),
            _ => Self::INVALID,
        }
    }

    /// What prost decides of what is left when the gzip is undone, if it can be.
    fn of_gzip(signal: Signal, over: Over, compressed: &[u8]) -> Self {
        let mut inflated = Vec::new();
        let done = match over {
            // A body may have several members, as files have; a message of gRPC is one.
            Over::Grpc => GzDecoder::new(compressed).read_to_end(&mut inflated),
            Over::Http1 | Over::Http2 => MultiGzDecoder::new(compressed).read_to_end(&mut inflated),
        };
        if done.is_ok() { Self::of(signal, &inflated) } else { Self::INVALID }
    }

    /// The code of gRPC's status.
    pub(crate) const fn code(self) -> Option<i32> {
        match self {
            Self::Taken(_) => Some(OK),
            Self::Refused { code, .. } => Some(code),
            Self::NotGrpc => None,
        }
    }
}

// === impl Cases ===

impl Cases {
    pub(crate) fn new() -> Self {
        let valid = Signal::ALL.map(|signal| {
            let request = |seed| {
                let mut telemetry = Telemetry::new(seed);
                match signal {
                    Signal::Traces => telemetry.traces(4).encode_to_vec(),
                    Signal::Metrics => telemetry.metrics(3).encode_to_vec(),
                    Signal::Logs => telemetry.logs(4).encode_to_vec(),
                }
            };
            // Some hold next to nothing, where damage would have little to hit.
            (0..).map(request).filter(|request| request.len() > 100).take(VALID).collect()
        });
        // One unknown field: valid, were it not too large.
        let mut oversize = vec![b'x'; LIMIT + 1];
        oversize[..6].copy_from_slice(&[0xfa, 0x7f, 0xfb, 0xff, 0xff, 0x1f]);
        debug_assert!(reference::items(Signal::Traces, &oversize).is_ok());
        Self { valid, bomb: gzip(&oversize).into(), oversize: oversize.into() }
    }

    /// A valid request.
    pub(crate) fn valid(&self, signal: Signal) -> &[u8] {
        &self.valid[signal.index()][0]
    }

    /// The same number is the same case, on every machine.
    pub(crate) fn case(&self, number: usize) -> Case {
        let mut rng = Rng::with_seed(number as u64);
        let signal = Signal::ALL[number % 3];
        let over = [Over::Grpc, Over::Http1, Over::Grpc, Over::Http2][number % 4];
        if number >= LIGHT && number.is_multiple_of(HEAVY_EVERY) {
            return self.heavy(number, signal);
        }
        let valid = &self.valid[signal.index()];
        let valid = &valid[rng.usize(..valid.len())];
        match rng.u8(..100) {
            0..40 => {
                let (bytes, damage) = mangle(&mut rng, valid);
                Case::plain(format!("{damage:?}"), over, signal, bytes)
            }
            40..48 => {
                Case::plain("wrong wire type", over, signal, wrong_wire_type(&mut rng, valid))
            }
            48..56 => Case::plain("lying length", over, signal, lying_length(&mut rng, valid)),
            56..64 => Case::plain("invalid UTF-8", over, signal, invalid_utf8(&mut rng, valid)),
            64..68 => {
                // Around the limit of depth, and far beyond.
                let depth = if rng.bool() { rng.usize(80..120) } else { rng.usize(1_000..4_000) };
                Case::plain(format!("{depth} arrays"), over, signal, nested_value(depth))
            }
            68..72 => {
                let depth = if rng.bool() { rng.usize(80..120) } else { rng.usize(1_000..50_000) };
                let bytes = nested_groups(&mut rng, depth);
                Case::plain(format!("{depth} groups"), over, signal, bytes)
            }
            72..82 => compressed(&mut rng, over, signal, valid),
            82..90 => match over {
                Over::Grpc => framed_wrong(&mut rng, signal, valid),
                Over::Http1 | Over::Http2 => posted_wrong(&mut rng, over, signal, valid),
            },
            90..96 if over != Over::Grpc => in_json(&mut rng, over, signal, valid),
            _ => Case::plain("unharmed", over, signal, valid.clone()),
        }
    }

    fn heavy(&self, number: usize, signal: Signal) -> Case {
        let case = |what: &str, over, request| Case {
            what: what.to_owned(),
            over,
            request,
            signal,
            is_heavy: true,
            expected: Expected::TOO_LARGE,
        };
        match number / HEAVY_EVERY % 5 {
            0 | 1 => case("bomb", Over::Grpc, call(signal, &[GRPC_GZIP], frame(1, &self.bomb))),
            2 => case(
                "bomb",
                Over::Http1,
                post(signal.http_path(), &[PROTOBUF, GZIP], self.bomb.clone()),
            ),
            3 => {
                let bomb = self.bomb.clone();
                case("bomb", Over::Http2, post(signal.http_path(), &[JSON, GZIP], bomb))
            }
            _ => {
                let oversize = self.oversize.clone();
                case("oversize", Over::Http2, post(signal.http_path(), &[PROTOBUF], oversize))
            }
        }
    }
}

// === impl Case ===

impl Case {
    fn new(
        what: impl Into<String>,
        over: Over,
        signal: Signal,
        request: Request<Bytes>,
        expected: Expected,
    ) -> Self {
        Self { what: what.into(), over, request, signal, is_heavy: false, expected }
    }

    /// A body of protobuf, sent as it should be.
    fn plain(what: impl Into<String>, over: Over, signal: Signal, body: Vec<u8>) -> Self {
        let expected = Expected::of(signal, &body);
        let request = match over {
            Over::Grpc => call(signal, &[], frame(0, &body)),
            Over::Http1 | Over::Http2 => post(signal.http_path(), &[PROTOBUF], body),
        };
        Self::new(what, over, signal, request, expected)
    }

    /// A body that is said to be gzip.
    fn gzip(what: impl Into<String>, over: Over, signal: Signal, body: Vec<u8>) -> Self {
        let expected = Expected::of_gzip(signal, over, &body);
        let request = match over {
            Over::Grpc => call(signal, &[GRPC_GZIP], frame(1, &body)),
            Over::Http1 | Over::Http2 => post(signal.http_path(), &[PROTOBUF, GZIP], body),
        };
        Self::new(what, over, signal, request, expected)
    }
}

/// Compressed, and something wrong with it before or after; or only said to be compressed.
fn compressed(rng: &mut Rng, over: Over, signal: Signal, valid: &[u8]) -> Case {
    match rng.u8(..8) {
        0 => Case::gzip("gzip", over, signal, gzip(valid)),
        1..4 => {
            let (bytes, damage) = mangle(rng, valid);
            Case::gzip(format!("{damage:?} in gzip"), over, signal, gzip(&bytes))
        }
        4..6 => {
            let (bytes, damage) = mangle(rng, &gzip(valid));
            Case::gzip(format!("gzip {damage:?}"), over, signal, bytes)
        }
        6 => Case::gzip("not gzip", over, signal, valid.to_vec()),
        _ => Case::plain("gzip unsaid", over, signal, gzip(valid)),
    }
}

/// A valid message in a call that is not.
fn framed_wrong(rng: &mut Rng, signal: Signal, valid: &[u8]) -> Case {
    let framed = frame(0, valid);
    let lie = |length: u32| [&[0], &length.to_be_bytes()[..], valid].concat();
    let len = valid.len() as u32;
    let (what, headers, body, code): (_, &[Header], _, _) = match rng.u8(..9) {
        0 => ("prefix too long", &[], lie(len + rng.u32(1..1000)), INTERNAL),
        1 => ("prefix of 4 GiB", &[], lie(u32::MAX - rng.u32(..16)), RESOURCE_EXHAUSTED),
        2 => ("prefix over the limit", &[], lie(LIMIT as u32 + 1), RESOURCE_EXHAUSTED),
        // What is left is the start of a second message.
        3 => ("prefix too short", &[], lie(len - rng.u32(1..5)), INTERNAL),
        4 => ("a flag of no meaning", &[], frame(rng.u8(2..), valid), INTERNAL),
        5 => ("compressed, and not said how", &[], frame(1, &gzip(valid)), INTERNAL),
        6 => ("snappy", &[("grpc-encoding", "snappy")], framed, UNIMPLEMENTED),
        7 => ("two messages", &[], framed.repeat(2), INTERNAL),
        _ => ("no message", &[], framed[..rng.usize(..5)].to_vec(), INTERNAL),
    };
    let mut case = Case::new(
        what,
        Over::Grpc,
        signal,
        call(signal, headers, body),
        Expected::Refused { code, http: 200 },
    );
    match rng.u8(..8) {
        0 => {
            "no such method".clone_into(&mut case.what);
            *case.request.uri_mut() =
                "http://localhost/grpc.health.v1.Health/Check".parse().unwrap();
            case.expected = Expected::Refused { code: UNIMPLEMENTED, http: 200 };
        }
        1 => {
            let wrong = ["application/json", "application/grpc-web", "text/plain"];
            "no call".clone_into(&mut case.what);
            let value = wrong[rng.usize(..wrong.len())].parse().unwrap();
            case.request.headers_mut().insert("content-type", value);
            case.expected = Expected::NotGrpc;
        }
        _ => {}
    }
    case
}

/// A valid body in a request that is not.
fn posted_wrong(rng: &mut Rng, over: Over, signal: Signal, valid: &[u8]) -> Case {
    let path = signal.http_path();
    let not_found = Expected::Refused { code: NOT_FOUND, http: 404 };
    let not_allowed = Expected::Refused { code: INVALID_ARGUMENT, http: 405 };
    let (what, path, headers, expected): (_, _, &[Header], _) = match rng.u8(..7) {
        0 => ("no type", path, &[], Expected::UNSUPPORTED),
        1 => ("text", path, &[("content-type", "text/plain")], Expected::UNSUPPORTED),
        2 => ("a call's type", path, &GRPC[..1], Expected::UNSUPPORTED),
        3 => ("snappy", path, &[PROTOBUF, ("content-encoding", "snappy")], Expected::UNSUPPORTED),
        4 => ("gzip twice", path, &[PROTOBUF, GZIP, GZIP], Expected::UNSUPPORTED),
        5 => ("no such path", "/v1/profiles", &[PROTOBUF], not_found),
        _ => ("PUT", path, &[PROTOBUF], not_allowed),
    };
    let mut request = post(path, headers, valid.to_vec());
    if what == "PUT" {
        *request.method_mut() = Method::PUT;
    }
    Case::new(what, over, signal, request, expected)
}

/// JSON, whole or such that no reader of JSON can take it.
fn in_json(rng: &mut Rng, over: Over, signal: Signal, valid: &[u8]) -> Case {
    let mut text = json::from_protobuf(signal, valid).unwrap().into_bytes();
    let expected = Expected::INVALID;
    let (what, expected) = match rng.u8(..6) {
        0 => ("JSON", Expected::of(signal, valid)),
        1 => {
            text.truncate(rng.usize(1..text.len()));
            ("JSON cut off", expected)
        }
        2 => {
            text.splice(1..1, *b"\"\xff\":0,");
            ("JSON of no UTF-8", expected)
        }
        3 => {
            let at = text.iter().position(|&byte| byte == b'[').unwrap();
            text.splice(at..at, *b"5,\"rest\":");
            ("JSON of a wrong type", expected)
        }
        4 => {
            let open: &[u8] = if rng.bool() { b"[" } else { b"{\"x\":" };
            text.splice(1.., [b"\"unknown\":".to_vec(), open.repeat(rng.usize(..50_000))].concat());
            ("deep JSON", expected)
        }
        _ => {
            text = valid.to_vec();
            text.insert(0, b'!');
            ("protobuf for JSON", expected)
        }
    };
    let request = if rng.bool() {
        post(signal.http_path(), &[JSON, GZIP], gzip(&text))
    } else {
        post(signal.http_path(), &[JSON], text)
    };
    Case::new(what, over, signal, request, expected)
}

fn call(signal: Signal, headers: &[Header], body: Vec<u8>) -> Request<Bytes> {
    post(signal.grpc_path(), &[&GRPC, headers].concat(), body)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
