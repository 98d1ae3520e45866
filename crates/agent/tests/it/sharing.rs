//! Two gateways that decide together about traces whose spans come to both.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow::Signal;
use teleflow_testkit::redis::RedisServer;

use crate::books::Books;
use crate::malformed::client::{Client, frame, post};
use crate::program::Program;
use crate::sampling::metrics_when;
use crate::shutdown::forwarding;
use crate::shutdown::sink::Sink;

const TRACES: u8 = 100;

/// A gateway that decides with others, through this server if there is one.
fn gateway(sink: &Sink, redis: Option<&RedisServer>) -> Program {
    let shared = redis.map(|redis| {
        let url = redis.url();
        format!("decision_cache: {{ shared: {{ endpoint: '{url}', grace: 3s, timeout: 10s }} }}")
    });
    let sampling = format!(
        "
  tail_sampling:
    decision_wait: 200ms
    {}
    policies: [{{ name: errors, type: status_code, status_code: {{ status_codes: [ERROR] }} }}]
",
        shared.unwrap_or_default()
    );
    Program::start(&forwarding(sink.address, &sampling, "tail_sampling"), &[])
}

/// A span of each trace, of which every tenth failed if any does.
fn spans(fails: bool) -> Vec<u8> {
    let spans = (1..=TRACES).map(|n| Span {
        trace_id: vec![n; 16],
        span_id: vec![n; 8],
        status: (fails && n % 10 == 0).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

async fn send(program: &Program, request: &[u8]) {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = post(Signal::Traces.grpc_path(), &headers, frame(0, request));
    let answer = Client::http2(program.grpc()).await.send(call).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
}

/// How many spans each of two gateways hands on, of which only the second sees the errors.
async fn kept_of_two(redis: Option<&RedisServer>) -> [u64; 2] {
    let sinks = [Sink::open().await, Sink::open().await];
    let gateways = sinks.each_ref().map(|sink| gateway(sink, redis));
    for (gateway, fails) in gateways.iter().zip([false, true]) {
        send(gateway, &spans(fails)).await;
    }
    for gateway in &gateways {
        let decided = "otelcol_processor_tail_sampling_global_count_traces_sampled_total";
        let all = u64::from(TRACES);
        let metrics = metrics_when(gateway, |metrics| metrics.sum(decided, &[]) == all).await;
        if redis.is_some() {
            let figure = |name: &str, outcome| {
                let name = format!("teleflow_tail_sampling_shared_{name}_total");
                metrics.sum(&name, &[("outcome", outcome)])
            };
            assert!(figure("proposals", "answered") >= all);
            assert_eq!((figure("proposals", "unanswered"), figure("traces", "alone")), (0, 0));
        }
    }
    for gateway in gateways {
        let ended = gateway.terminate();
        assert!(ended.status.success(), "{ended:?}");
        let books = Books::parse(&ended.stdout);
        let traces = books.of("traces");
        assert_eq!(traces.accepted, u64::from(TRACES), "{traces:?}");
        assert_eq!(traces.delivered + traces.sampled_out, traces.accepted, "{traces:?}");
    }
    sinks.each_ref().map(|sink| sink.items(Signal::Traces))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_one_gateway_sees_keeps_what_the_other_one_has_of_its_trace() {
    if RedisServer::is_missing(
        "an_error_that_one_gateway_sees_keeps_what_the_other_one_has_of_its_trace",
    ) {
        return;
    }
    let redis = RedisServer::start().await;
    let errors = u64::from(TRACES / 10);
    assert_eq!(kept_of_two(Some(&redis)).await, [errors, errors]);
    assert_eq!(kept_of_two(None).await, [0, errors], "each by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_said_once_and_so_is_that_it_is_back() {
    if RedisServer::is_missing("a_server_that_goes_away_is_said_once_and_so_is_that_it_is_back") {
        return;
    }
    let (mut redis, sink) = (RedisServer::start().await, Sink::open().await);
    let program = gateway(&sink, Some(&redis));
    let failed = spans(true);
    redis.kill();
    send(&program, &failed).await;
    program.says("decides about traces alone for now");
    redis.restart().await;
    // Something has to be asked: each time about other traces.
    for n in 0_u64.. {
        let metrics = metrics_when(&program, |_| true).await;
        if n > 0 && metrics.sum("teleflow_tail_sampling_shared_down", &[]) == 0 {
            break;
        }
        let mut trace = ExportTraceServiceRequest::decode(&*failed).unwrap();
        let spans = &mut trace.resource_spans[0].scope_spans[0].spans;
        spans.truncate(10);
        spans.iter_mut().for_each(|span| span.trace_id[..8].copy_from_slice(&n.to_be_bytes()));
        send(&program, &trace.encode_to_vec()).await;
        // bounded wait: it is left alone for up to 5 s.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(n < 1000, "it is not tried again");
    }
    let ended = program.terminate();
    let said = |text: &str| ended.stderr.matches(text).count();
    assert_eq!(said("decides about traces alone for now"), 1, "{}", ended.stderr);
    assert_eq!(said("decides about traces together with others again"), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains(&redis.url()), "{}", ended.stderr);
    let books = Books::parse(&ended.stdout);
    let traces = books.of("traces");
    assert_eq!(traces.delivered + traces.sampled_out, traces.accepted, "{traces:?}");
}
