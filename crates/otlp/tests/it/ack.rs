//! The acknowledgement goes along with every item, once.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use teleflow_otlp::{Ack, Answer, Limits, Payload, Signal, split};
use teleflow_testkit::telemetry::Telemetry;

/// Hears the answer, once.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Answer>>>);

impl Heard {
    fn ack(&self, items: u64) -> Ack {
        let heard = self.clone();
        Ack::new(items, move |answer| heard.0.lock().unwrap().push(answer))
    }

    fn answer(&self) -> Option<Answer> {
        let heard = self.0.lock().unwrap();
        assert!(heard.len() <= 1, "nobody is answered twice");
        heard.first().copied()
    }
}

fn payload(signal: Signal, items: usize) -> Payload {
    let mut telemetry = Telemetry::new(items as u64);
    loop {
        let request = Bytes::from(telemetry.request(signal, items));
        let payload = Payload::parse(signal, request).unwrap();
        if !payload.is_empty() {
            return payload;
        }
    }
}

#[test]
fn nothing_to_wait_for_is_answered_at_once() {
    let heard = Heard::default();
    assert!(heard.ack(0).is_none());
    assert_eq!(heard.answer(), Some(Answer::default()));
}

#[test]
fn what_is_dropped_was_lost() {
    let heard = Heard::default();
    let payload = payload(Signal::Logs, 5);
    let items = payload.items();
    drop(payload.with_ack(heard.ack(items)));
    assert_eq!(heard.answer(), Some(Answer::dropped(items)));
}

#[test]
fn the_answer_comes_when_the_last_item_has_one() {
    let heard = Heard::default();
    let mut rest = heard.ack(10);
    rest.take(4).settle(Answer { delivered: 1, rejected: 3, ..Answer::default() });
    rest.take(5).settle(Answer::sampled_out(5));
    assert_eq!((heard.answer(), rest.items()), (None, 1));
    rest.settle(Answer::delivered(1));
    let answer = Answer { delivered: 2, sampled_out: 5, rejected: 3, dropped: 0 };
    assert_eq!(heard.answer(), Some(answer));
}

#[test]
fn an_answer_for_less_than_all_leaves_the_rest_lost() {
    let heard = Heard::default();
    heard.ack(3).settle(Answer::delivered(1));
    assert_eq!(heard.answer(), Some(Answer { delivered: 1, dropped: 2, ..Answer::default() }));
}

#[test]
fn on_several_ways_the_worst_answer_counts() {
    let heard = Heard::default();
    let mut ways = heard.ack(10).fan_out(3).into_iter();
    let (mut first, second, third) =
        (ways.next().unwrap(), ways.next().unwrap(), ways.next().unwrap());
    first.take(2).settle(Answer::rejected(2));
    first.settle(Answer::delivered(8));
    second.settle(Answer { delivered: 4, rejected: 6, ..Answer::default() });
    assert_eq!(heard.answer(), None, "one way is open");
    third.settle(Answer { sampled_out: 7, dropped: 3, ..Answer::default() });
    let answer = Answer { dropped: 3, rejected: 6, delivered: 1, sampled_out: 0 };
    assert_eq!(heard.answer(), Some(answer));

    let nowhere = Heard::default();
    assert!(nowhere.ack(4).fan_out(0).is_empty());
    assert_eq!(nowhere.answer(), Some(Answer::dropped(4)));
}

#[test]
fn it_goes_through_fan_out_of_a_payload_and_its_clones_are_not_waited_for() {
    let heard = Heard::default();
    let payload = payload(Signal::Traces, 8);
    let whole = payload.clone().with_ack(heard.ack(payload.items()));
    drop(whole.clone());
    let ways: Vec<_> = whole.fan_out(2).collect();
    assert_eq!(heard.answer(), None);
    for mut way in ways {
        assert_eq!(way.to_bytes(), payload.to_bytes());
        let answer = Answer::delivered(way.items());
        way.take_ack().settle(answer);
    }
    assert_eq!(heard.answer(), Some(Answer::delivered(payload.items())));
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Traces), Just(Signal::Metrics), Just(Signal::Logs)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Payloads, some awaited, are merged and cut, and each piece gets an answer of its own: each
    /// asker hears of exactly its own items, whatever the cuts.
    #[test]
    fn merging_and_cutting_keep_each_askers_items_apart(
        signal in signals(),
        sizes in prop::collection::vec((1..30usize, any::<bool>()), 1..8),
        most in 1..40u64,
    ) {
        let mut merged = Payload::empty(signal);
        // Who waits, and for which of all items.
        let mut askers = Vec::new();
        for (size, is_awaited) in sizes {
            let mut part = payload(signal, size);
            let from = merged.items();
            if is_awaited {
                let heard = Heard::default();
                part = part.clone().with_ack(heard.ack(part.items()));
                askers.push((heard, from..from + part.items()));
            }
            merged.append(part);
        }
        let items = merged.items();
        let limits = Limits { items: most, bytes: usize::MAX };
        let mut at = 0;
        let mut fates = Vec::new();
        for (index, mut piece) in split(merged, limits, limits).into_iter().enumerate() {
            let size = piece.items();
            let answer = [Answer::delivered, Answer::sampled_out, Answer::rejected, Answer::dropped];
            piece.take_ack().settle(answer[index % 4](size));
            fates.extend((at..at + size).map(|_| index % 4));
            at += size;
        }
        prop_assert_eq!(at, items);
        for (heard, range) in askers {
            let count = |fate| {
                let own = &fates[range.start as usize..range.end as usize];
                own.iter().filter(|&&of| of == fate).count() as u64
            };
            let answer = Answer {
                delivered: count(0),
                sampled_out: count(1),
                rejected: count(2),
                dropped: count(3),
            };
            prop_assert_eq!(heard.answer(), Some(answer));
        }
    }
}

#[test]
fn what_one_way_loses_is_told_to_those_whose_it_was() {
    // Two requests in one batch, on two ways; the second way loses the last items.
    let (one, two) = (Heard::default(), Heard::default());
    let mut batch = one.ack(5);
    batch.append(5, two.ack(5), 5);
    let mut ways = batch.fan_out(2).into_iter();
    ways.next().unwrap().settle(Answer::delivered(10));
    let mut second = ways.next().unwrap();
    second.take(7).settle(Answer::delivered(7));
    second.settle(Answer::dropped(3));
    assert_eq!(one.answer(), Some(Answer::delivered(5)));
    assert_eq!(two.answer(), Some(Answer { delivered: 2, dropped: 3, ..Answer::default() }));

    // Where nobody knows whose were lost, nobody relies on them.
    let (one, two) = (Heard::default(), Heard::default());
    let mut batch = one.ack(5);
    batch.append(5, two.ack(5), 5);
    batch.settle(Answer { delivered: 9, dropped: 1, ..Answer::default() });
    for heard in [one, two] {
        assert_eq!(heard.answer(), Some(Answer::dropped(5)));
    }
}
