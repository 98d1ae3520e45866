//! What a request looks like: rules 25-30, 45-50, 53-56, 60-64 and 66.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::exporter::Subject;
use crate::exporter::case::{Case, Items, Run, Setup};
use crate::exporter::json;
use crate::rule::Level::{Must, Should};
use crate::rule::Verdict;
use crate::server::{Attempt, Protocol};
use crate::signal::Signal;

pub(super) fn cases(subject: &Subject, protocol: Protocol) -> Vec<Case> {
    let plain = || Setup::new(protocol, Vec::new(), 1);
    let zipped = || Setup { gzip: true, ..plain() };
    let mut cases = Vec::new();
    let mut add = |name: &str, level, setup: Setup, judge: fn(&Attempt) -> Verdict| {
        cases.push(Case::new(name, level, setup, move |run: &Run| run.first(judge)));
    };
    for signal in Signal::ALL {
        let setup = || Setup { signal, ..plain() };
        let rule = if protocol == Protocol::Grpc { 25 } else { 29 };
        add(
            &format!("{rule}.path.{}", signal.name()),
            Must,
            setup(),
            match (protocol, signal) {
                (Protocol::Grpc, Signal::Traces) => |a| at(a, Signal::Traces.grpc_path()),
                (Protocol::Grpc, Signal::Metrics) => |a| at(a, Signal::Metrics.grpc_path()),
                (Protocol::Grpc, Signal::Logs) => |a| at(a, Signal::Logs.grpc_path()),
                (_, Signal::Traces) => |a| at(a, Signal::Traces.http_path()),
                (_, Signal::Metrics) => |a| at(a, Signal::Metrics.http_path()),
                (_, Signal::Logs) => |a| at(a, Signal::Logs.http_path()),
            },
        );
    }
    add("66.user_agent", Should, plain(), user_agent);
    match protocol {
        Protocol::Grpc => {
            add("25.content_type_and_te", Must, plain(), grpc_headers);
            add("30.gzip", Must, zipped(), grpc_gzip);
            add("30.gzip_is_done", Should, zipped(), grpc_gzip_done);
        }
        Protocol::HttpProtobuf => {
            add("26.post", Must, plain(), |a| header_is("method", Some(a.method.as_str()), "POST"));
            add("27.content_type", Must, plain(), |a| content_type(a, "application/x-protobuf"));
            add("30.gzip", Must, zipped(), http_gzip);
            add("30.none", Must, plain(), no_coding);
        }
        Protocol::HttpJson => {
            add("27.content_type", Must, plain(), |a| content_type(a, "application/json"));
            add("30.gzip", Must, zipped(), http_gzip);
        }
    }
    if protocol == Protocol::HttpJson {
        for signal in Signal::ALL {
            let setup = || Setup { items: Items::Rich, signal, ..plain() };
            for (rule, what, judge) in json::RULES {
                let name = format!("{rule}.{what}.{}", signal.name());
                let judge = *judge;
                cases.push(Case::new(&name, Must, setup(), move |run: &Run| {
                    run.first(|attempt| json::judge(attempt, judge))
                }));
            }
        }
    } else if subject.is_gateway() {
        for signal in Signal::ALL {
            let setup = Setup { items: Items::Rich, signal, ..plain() };
            let name = format!("56.round_trip.{}", signal.name());
            cases.push(Case::new(&name, Must, setup, move |run: &Run| round_trip(run, signal)));
        }
    }
    if !subject.is_gateway() {
        cases.extend(variables(protocol));
    }
    cases
}

fn at(attempt: &Attempt, path: &str) -> Verdict {
    header_is("path", Some(&attempt.path), path)
}

fn header_is(name: &str, seen: Option<&str>, due: &str) -> Verdict {
    Verdict::expect(seen == Some(due), || format!("{name}: {seen:?}, \"{due}\" was due"))
}

fn content_type(attempt: &Attempt, due: &str) -> Verdict {
    let seen = attempt.header("content-type").map(crate::wire::http::media_type);
    header_is("content-type", seen.as_deref(), due)
}

fn grpc_headers(attempt: &Attempt) -> Verdict {
    let seen = attempt.header("content-type").unwrap_or_default();
    let grpc = ["application/grpc", "application/grpc+proto"].contains(&seen);
    Verdict::all([
        Verdict::expect(grpc, || format!("content-type: {seen:?}")),
        header_is("te", attempt.header("te"), "trailers"),
    ])
}

/// The server has inflated it, or `body` says why not.
fn readable(attempt: &Attempt) -> Verdict {
    match &attempt.body {
        Ok(_) => Verdict::Pass,
        Err(error) => Verdict::Fail(error.clone()),
    }
}

fn grpc_gzip(attempt: &Attempt) -> Verdict {
    let header = header_is("grpc-encoding", attempt.header("grpc-encoding"), "gzip");
    Verdict::all([header, readable(attempt)])
}

/// gRPC lets a message be plain where its encoding is named; whoever asked for gzip wanted it.
fn grpc_gzip_done(attempt: &Attempt) -> Verdict {
    Verdict::expect(attempt.compressed, || "gzip is named, the message is plain".to_owned())
}

fn http_gzip(attempt: &Attempt) -> Verdict {
    let header = header_is("content-encoding", attempt.header("content-encoding"), "gzip");
    Verdict::all([header, readable(attempt)])
}

fn no_coding(attempt: &Attempt) -> Verdict {
    let coding = attempt.header("content-encoding").unwrap_or("identity");
    Verdict::expect(coding == "identity", || format!("content-encoding: {coding}, unasked"))
}

fn user_agent(attempt: &Attempt) -> Verdict {
    let seen = attempt.header("user-agent").unwrap_or_default();
    // The Collector's name has a space in it.
    let product = seen.split_once('/');
    let good = product.is_some_and(|(name, version)| {
        !name.is_empty()
            && version.starts_with(|first: char| first.is_ascii_digit() || first == 'v')
    });
    // A library's name alone does not say which exporter it is.
    let library = ["grpc", "tonic", "hyper", "reqwest", "python-requests", "node"];
    let own = product.is_some_and(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !library.iter().any(|library| name.starts_with(library))
    });
    Verdict::expect(good && own, || format!("user-agent: {seen:?}"))
}

/// Compares what was fed with what came, as messages: the bytes may be others.
fn round_trip(run: &Run, signal: Signal) -> Verdict {
    fn same<M: Message + Default + PartialEq>(fed: &[u8], came: &[u8]) -> Verdict {
        match (M::decode(fed), M::decode(came)) {
            (Ok(fed), Ok(came)) => {
                Verdict::expect(fed == came, || "what came is not what was sent".to_owned())
            }
            _ => Verdict::Fail("what came is no request".to_owned()),
        }
    }
    let Some(fed) = run.fed.first() else {
        return Verdict::NotApplicable("nothing was fed".to_owned());
    };
    run.first(|attempt| match &attempt.body {
        Err(error) => Verdict::Fail(error.clone()),
        Ok(came) => match signal {
            Signal::Traces => same::<ExportTraceServiceRequest>(fed, came),
            Signal::Metrics => same::<ExportMetricsServiceRequest>(fed, came),
            Signal::Logs => same::<ExportLogsServiceRequest>(fed, came),
        },
    })
}

/// What the variables change.
fn variables(protocol: Protocol) -> Vec<Case> {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
    let with = |variables: &[(&'static str, &'static str)]| Setup {
        variables: variables.to_vec(),
        ..Setup::new(protocol, Vec::new(), 1)
    };
    let case =
        |name: &str, variables: &[(&'static str, &'static str)], judge: fn(&Attempt) -> Verdict| {
            Case::new(name, Must, with(variables), move |run: &Run| run.first(judge))
        };
    let nowhere = "http://127.0.0.1:9";
    let mut cases = vec![
        case(
            "60.signal_endpoint",
            &[
                (ENDPOINT, nowhere),
                (
                    TRACES,
                    match protocol {
                        Protocol::Grpc => "{}",
                        _ => "{}/v1/traces",
                    },
                ),
            ],
            |_| Verdict::Pass,
        ),
        case("63.headers", &[(HEADERS, "x-one=1,x-two=a%20b")], |a| {
            Verdict::all([
                header_is("x-one", a.header("x-one"), "1"),
                header_is("x-two", a.header("x-two"), "a b"),
            ])
        }),
        case(
            "64.signal_headers_beat_general",
            &[(HEADERS, "x-one=1"), (TRACES_HEADERS, "x-one=2")],
            |a| header_is("x-one", a.header("x-one"), "2"),
        ),
    ];
    if protocol != Protocol::Grpc {
        cases.extend([
            case("61.base_with_path", &[(ENDPOINT, "{}/base")], |a| at(a, "/base/v1/traces")),
            case("61.base_with_slash", &[(ENDPOINT, "{}/base/")], |a| at(a, "/base/v1/traces")),
            case("61.signal_as_is", &[(TRACES, "{}/own")], |a| at(a, "/own")),
            case("61.signal_without_path", &[(TRACES, "{}")], |a| at(a, "/")),
        ]);
    }
    cases
}
