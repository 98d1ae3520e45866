use bytes::Bytes;
use teleflow_otlp::{Assembler, Limits, Payload, Signal, split, tree, validate};

use crate::validate::field;
use teleflow_testkit::reference::{Request, each_generated};

fn payload(signal: Signal, request: &Request) -> Payload {
    Payload::parse(signal, Bytes::from(request.encode())).unwrap()
}

#[test]
fn cutting_loses_nothing_keeps_the_order_and_obeys_both_limits() {
    each_generated(|signal, telemetry, request| {
        let mut whole = payload(signal, &request);
        whole.append(payload(signal, &request));
        let first = Limits { items: telemetry.rng().u64(1..8), bytes: usize::MAX };
        let rest = Limits {
            items: telemetry.rng().u64(1..8),
            bytes: telemetry.rng().usize(30_000..60_000),
        };
        let pieces = split(whole.clone(), first, rest);

        let mut items = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let limits = if i == 0 { first } else { rest };
            let bytes = piece.to_bytes();
            assert_eq!(validate(signal, &bytes), Ok(piece.items()), "a piece is a request");
            assert!(piece.items() <= limits.items, "{} items", piece.items());
            assert!(
                piece.bytes() <= limits.bytes || piece.items() <= 1,
                "{} bytes of {} items, limit {}",
                piece.bytes(),
                piece.items(),
                limits.bytes
            );
            if i + 1 < pieces.len() && limits.bytes == usize::MAX {
                assert_eq!(piece.items(), limits.items, "all but the last piece are full");
            }
            items.extend(Request::decode(signal, &bytes).unwrap().items());
        }
        let expected = Request::decode(signal, &whole.to_bytes()).unwrap().items();
        assert!(items == expected, "{signal}: {} items of {}", items.len(), expected.len());
    });
}

#[test]
fn what_we_do_not_know_goes_along_at_every_level() {
    // Field 100 (two key bytes) at each level, beside two spans.
    let stray: &[u8] = &[0xa2, 0x06, 1, b'?'];
    let span = field(0x12, &[stray, &field(0x2a, b"name")].concat());
    let scope = field(0x12, &[stray, &span, &span].concat());
    let resource = field(0x0a, &[stray, &scope].concat());
    let request = [stray, &resource].concat();
    let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
    let one = Limits { items: 1, bytes: usize::MAX };
    let pieces = split(payload, one, one);
    assert_eq!(pieces.len(), 2);
    let count = |bytes: &[u8]| bytes.windows(stray.len()).filter(|w| *w == stray).count();
    // The request's own goes with the first piece, the others with every piece.
    assert_eq!(count(&pieces[0].to_bytes()), 4);
    assert_eq!(count(&pieces[1].to_bytes()), 3);
}

#[test]
fn one_item_over_the_limit_goes_alone() {
    let span = field(0x12, &field(0x2a, &[b'x'; 1000]));
    let request = field(0x0a, &field(0x12, &[&span[..], &span, &span].concat()));
    let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
    let limits = Limits { items: 10, bytes: 500 };
    let pieces = split(payload, limits, limits);
    assert_eq!(pieces.iter().map(Payload::items).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn taking_apart_and_assembling_gives_the_same_request() {
    each_generated(|signal, _, request| {
        let bytes = request.encode();
        let mut envelopes = Vec::new();
        for resource in tree::resources(&bytes) {
            let mut envelope = Vec::new();
            resource.envelope(&mut envelope);
            envelopes.push(envelope);
            for scope in resource.scopes() {
                let mut envelope = Vec::new();
                scope.envelope(&mut envelope);
                envelopes.push(envelope);
            }
        }
        let mut assembler = Assembler::new();
        let mut next = envelopes.iter();
        for resource in tree::resources(&bytes) {
            assembler.resource(next.next().unwrap());
            for scope in resource.scopes() {
                assembler.scope(next.next().unwrap());
                for item in scope.items() {
                    assert_eq!(&bytes[item.at..item.at + item.field.len()], item.field);
                    assembler.items(item.field);
                }
            }
        }
        let len = assembler.len();
        let mut out = Vec::new();
        assembler.finish(&mut out);
        assert_eq!(out.len(), len);
        // Only the order of fields may differ: schema URLs are written behind children by prost.
        let again = Request::decode(signal, &out).unwrap();
        assert!(again.items() == request.items());
    });
}

#[test]
fn a_large_envelope_is_not_repeated_for_every_item() {
    // Many spans of two bytes below a resource of 60 000.
    let resource = field(0x0a, &field(0x0a, &field(0x0a, &[b'x'; 60_000])));
    let scope = field(0x12, &[0x12, 0x00].repeat(30_000));
    let request = field(0x0a, &[resource, scope].concat());
    let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
    let limits = Limits { items: u64::MAX, bytes: 100_000 };
    let pieces = split(payload.clone(), limits, limits);
    let bytes: usize = pieces.iter().map(Payload::bytes).sum();
    assert!(bytes < 3 * payload.bytes(), "{} became {bytes}", payload.bytes());
    assert_eq!(pieces.iter().map(Payload::items).sum::<u64>(), 30_000);
}

/// What all pieces take, after a check that they hold every item.
fn pieces_of(signal: Signal, request: Vec<u8>, limits: Limits) -> (Payload, Vec<Payload>) {
    let payload = Payload::parse(signal, Bytes::from(request)).unwrap();
    let pieces = split(payload.clone(), limits, limits);
    assert_eq!(pieces.iter().map(Payload::items).sum::<u64>(), payload.items());
    (payload, pieces)
}

#[test]
fn an_item_limit_does_not_repeat_a_large_envelope_either() {
    let limits = Limits { items: 10, bytes: usize::MAX };
    let resource = field(0x0a, &field(0x0a, &field(0x0a, &[b'x'; 100_000])));
    let scope = field(0x12, &[0x12, 0x00].repeat(100_000));
    let (whole, pieces) =
        pieces_of(Signal::Traces, field(0x0a, &[resource, scope].concat()), limits);
    let bytes: usize = pieces.iter().map(Payload::bytes).sum();
    assert!(bytes < 3 * whole.bytes(), "{} became {bytes}", whole.bytes());

    // A small one is: the limit is exact then.
    let resource = field(0x0a, &field(0x0a, &field(0x0a, &[b'x'; 100])));
    let scope = field(0x12, &[0x12, 0x00].repeat(1000));
    let (_, pieces) = pieces_of(Signal::Traces, field(0x0a, &[resource, scope].concat()), limits);
    assert!(pieces.iter().all(|piece| piece.items() == 10));
}

#[test]
fn a_large_metric_is_not_repeated_for_every_point() {
    let name = field(0x0a, &[b'n'; 100_000]);
    let gauge = field(0x2a, &[0x0a, 0x00].repeat(100_000));
    let metric = field(0x12, &[name, gauge].concat());
    for limits in [Limits { items: 10, bytes: usize::MAX }, Limits { items: 1000, bytes: 110_000 }]
    {
        let request = field(0x0a, &field(0x12, &metric));
        let (whole, pieces) = pieces_of(Signal::Metrics, request, limits);
        let bytes: usize = pieces.iter().map(Payload::bytes).sum();
        assert!(pieces.len() > 1);
        assert!(bytes < 3 * whole.bytes(), "{} became {bytes}", whole.bytes());
    }
}

#[test]
fn groups_and_metrics_without_items_are_left_out() {
    let pointless = field(0x12, &field(0x0a, &[b'n'; 1000]));
    let point = field(0x12, &field(0x2a, &[0x0a, 0x00]));
    let scope = field(0x12, &[pointless.repeat(500), point.clone(), pointless].concat());
    let request = field(0x0a, &[scope, [0x12, 0x00].repeat(500)].concat()).repeat(2);
    let limits = Limits { items: 1, bytes: usize::MAX };
    let (_, pieces) = pieces_of(Signal::Metrics, request, limits);
    let alone = field(0x0a, &field(0x12, &point));
    assert_eq!(pieces.iter().map(Payload::to_bytes).collect::<Vec<_>>(), [&alone[..], &alone]);
}
