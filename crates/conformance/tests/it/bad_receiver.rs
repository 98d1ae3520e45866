//! Receivers that are bad on purpose.

use std::collections::BTreeSet;
use std::time::Duration;

use teleflow_conformance::Receiver;
use teleflow_conformance::rule::{Level, Outcome};
use teleflow_conformance::server::{Answer, Protocol, Server};
use teleflow_conformance::status::Status;

use crate::{every, failed};

/// Answers everything alike, over both protocols.
async fn check(filter: &str, grpc: Answer, http: Answer) -> Vec<Outcome> {
    let grpc = Server::always(Protocol::Grpc, grpc).await.unwrap();
    let http = Server::always(Protocol::HttpProtobuf, http).await.unwrap();
    let new = || Receiver::new(Some(grpc.address()), Some(http.address()));
    let mut receiver = new();
    receiver.max_request_bytes = 1 << 20;
    (receiver.overloaded, receiver.partly) = (Some(Box::new(new())), Some(Box::new(new())));
    receiver.check(filter, |_| {}).await
}

fn html(status: u16) -> Answer {
    Answer::Http(status, vec![("content-type", "text/html".to_owned())], b"<html>".to_vec())
}

fn json(status: u16) -> Answer {
    let header = vec![("content-type", "application/json".to_owned())];
    Answer::Http(status, header, br#"{"message":"no"}"#.to_vec())
}

/// Bad peers, and what each of them is bad at before all.
#[tokio::test]
async fn each_must_fails_against_a_peer_that_breaks_it() {
    let exhausted = || {
        let status = Status::retry_after(8, "later", Duration::from_secs(1));
        Answer::Status(8, Some(status))
    };
    let peers: [(Answer, Answer, &[&str]); 7] = [
        // Takes everything, whatever it is.
        (
            Answer::Ok,
            Answer::Ok,
            &["15.limited_after_inflation", "31.zip_bomb", "37.bad_json", "52.json_short_ids"],
        ),
        // Takes nothing, and does not say why.
        (
            Answer::Status(13, None),
            html(500),
            &["1.grpc", "35.success_is_200", "35.partial_success_is_200", "51.null_is_absent"],
        ),
        // Answers in another type than it was asked in.
        (Answer::Ok, html(200), &["27.protobuf_in_and_out"]),
        // Has a limit, and asks to be sent the same again.
        (exhausted(), html(413), &["16.no_retry_info", "36.413_json"]),
        // Takes nothing in full.
        (
            Answer::Partial(-1, ""),
            Answer::Partial(-1, ""),
            &["3.grpc", "3.http_protobuf", "4.rejected_are_counted"],
        ),
        // Says more than anyone wants to hear.
        (Answer::Flood, Answer::Flood, &["19.answers_are_limited", "34.answers_are_limited"]),
        // Refuses in JSON, whatever it was asked in.
        (Answer::Close, json(400), &["36.400_protobuf", "31.still_serves"]),
    ];
    let (mut found, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (grpc, http, worst) in peers {
        // Each check of so much would take its time.
        let filter = if matches!(http, Answer::Flood) { "answers_are_limited" } else { "" };
        let outcomes = check(filter, grpc, http).await;
        let failures = failed(&outcomes, Level::Must);
        for name in worst {
            assert!(failures.contains(*name), "{name} has passed; failed: {failures:?}");
        }
        all.extend(every(&outcomes, Level::Must));
        found.extend(failures);
    }
    // A reply in gzip that nobody asked for.
    let zipped = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let coded = Answer::Http(200, vec![("content-encoding", "gzip".to_owned())], zipped);
    found.extend(failed(&check("30.", Answer::Ok, coded).await, Level::Must));

    let missing: Vec<_> = all.difference(&found).collect();
    // A message is a warning where it is there: a peer cannot send a warning without one.
    assert_eq!(missing, ["6.warnings_have_a_message"]);
}
