use teleflow_exporter::{
    Delivered, ExportError, Exporter, Retry, RetryConfig, SplitTooLarge, Tally,
};
use teleflow_otlp::{Code, Payload, Status};

use crate::script::{Scripted, Step, spans};

/// Takes requests of so many bytes, and keeps them.
#[derive(Clone, Debug)]
struct Narrow {
    kept: Scripted,
    max_bytes: usize,
    error: ExportError,
}

impl Exporter for Narrow {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        if payload.bytes() > self.max_bytes {
            return Err(self.error.clone());
        }
        self.kept.export(payload).await
    }
}

fn narrow(max_bytes: usize, steps: impl IntoIterator<Item = Step>) -> Narrow {
    let error = ExportError::Http { status: 413, retry_after: None };
    Narrow { kept: Scripted::new(steps), max_bytes, error }
}

/// Ten spans with names of their own, and one that is much larger where `large` is given.
fn payload(large: Option<usize>) -> Payload {
    let mut payload = spans(1, "span 0");
    for n in 1..10 {
        let name = format!("span {n}");
        let name = if large == Some(n) { name + &"x".repeat(500) } else { name };
        payload.append(spans(1, &name));
    }
    payload
}

fn sent(narrow: &Narrow) -> Vec<u8> {
    narrow.kept.requests().concat()
}

#[tokio::test]
async fn what_is_too_large_goes_in_pieces_that_fit_and_in_order() {
    let whole = payload(None);
    for error in [
        ExportError::Http { status: 413, retry_after: None },
        ExportError::TooLarge { bytes: 1, limit: 1 },
        ExportError::Status(Status::new(
            Code::OutOfRange,
            "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
        )),
    ] {
        let narrow = Narrow { error, ..narrow(whole.bytes() / 3, []) };
        let split = SplitTooLarge::new(narrow.clone());
        let result = split.export(whole.clone()).await;
        assert_eq!(Tally::of(10, result.as_ref()), Tally { delivered: 10, ..Tally::default() });
        // All of them, each once, in their order: names do not depend on how they were cut.
        let names = |bytes: &[u8]| -> Vec<u8> {
            bytes.windows(6).filter(|w| w.starts_with(b"span ")).map(|w| w[5]).collect()
        };
        assert_eq!(names(&sent(&narrow)), b"0123456789");
        let stats = split.stats();
        assert_eq!((stats.split, stats.dropped_items), (1, 0));
    }
}

#[tokio::test]
async fn what_fits_is_sent_whole() {
    let narrow = narrow(usize::MAX, []);
    let split = SplitTooLarge::new(narrow.clone());
    split.export(payload(None)).await.unwrap();
    assert_eq!(narrow.kept.requests(), [payload(None).to_bytes()]);
    assert_eq!(split.stats().split, 0);
}

#[tokio::test]
async fn one_item_that_is_too_large_is_dropped_alone() {
    let whole = payload(Some(4));
    let narrow = narrow(200, []);
    let split = SplitTooLarge::new(narrow.clone());
    let result = split.export(whole).await;
    let tally = Tally::of(10, result.as_ref());
    assert_eq!((tally.delivered, tally.rejected), (9, 0));
    assert_eq!(tally.dropped, [("too_large", 1)]);
    assert_eq!(tally.items(), 10);
    assert_eq!(split.stats().dropped_items, 1);
    assert!(!String::from_utf8_lossy(&sent(&narrow)).contains("span 4"));

    let Err(ExportError::Undelivered(parts)) = result else { panic!("{result:?}") };
    // The item comes back, and nothing of it is printed.
    assert!(String::from_utf8_lossy(&parts.left[0].payload.to_bytes()).contains("span 4"));
    assert!(!format!("{parts} {parts:?}").contains("span 4"));
}

#[tokio::test]
async fn where_every_item_is_too_large_requests_are_bounded() {
    let many = spans(5000, &"x".repeat(100));
    let narrow = narrow(50, []);
    let split = SplitTooLarge::new(narrow.clone());
    let result = split.export(many).await;
    assert_eq!(Tally::of(5000, result.as_ref()).dropped, [("too_large", 5000)]);
    assert!(split.stats().pieces <= 50, "{:?}", split.stats());
    assert_eq!(split.stats().dropped_items, 5000);
}

#[tokio::test]
async fn a_server_that_takes_very_little_gets_everything_all_the_same() {
    let many = spans(3000, "a");
    let narrow = narrow(spans(2, "a").bytes(), []);
    let split = SplitTooLarge::new(narrow.clone());
    let result = split.export(many).await;
    assert_eq!(Tally::of(3000, result.as_ref()), Tally { delivered: 3000, ..Tally::default() });
    assert!(narrow.kept.requests().len() >= 1500);
    assert!(split.stats().pieces < narrow.kept.requests().len() as u64 + 20);
}

#[tokio::test(start_paused = true)]
async fn each_piece_is_retried_by_itself_and_what_was_taken_never_again() {
    let whole = payload(None);
    let transient = || Step::Fail(ExportError::Transient("not now".into()));
    // The first half is taken in part, the second fails twice.
    let narrow = narrow(whole.bytes() * 2 / 3, [Step::Reject(2), transient(), transient()]);
    let retry = Retry::new(narrow.clone(), RetryConfig::default()).unwrap();
    let split = SplitTooLarge::new(retry);
    let result = split.export(whole).await;
    let tally = Tally::of(10, result.as_ref());
    assert_eq!(tally, Tally { delivered: 8, rejected: 2, dropped: vec![] });
    let requests = narrow.kept.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[1..].iter().all(|request| *request == requests[1]));
    assert_ne!(requests[0], requests[1]);
}

#[tokio::test(start_paused = true)]
async fn pieces_that_fail_in_other_ways_are_told_apart() {
    let whole = payload(None);
    let narrow = narrow(
        whole.bytes() * 2 / 3,
        [
            Step::Fail(ExportError::Http { status: 400, retry_after: None }),
            Step::Fail(ExportError::Transient("not now".into())),
        ],
    );
    let result = SplitTooLarge::new(narrow).export(whole).await;
    let tally = Tally::of(10, result.as_ref());
    assert_eq!(tally.items(), 10);
    assert_eq!((tally.delivered, tally.rejected), (0, 5));
    assert_eq!(tally.dropped, [("transient", 5)]);
}
