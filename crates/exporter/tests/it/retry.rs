use std::sync::Arc;
use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, Delivered, ExportError, Exporter, Left, Retry, RetryConfig, RetryStats, Tally,
    Undelivered,
};
use teleflow_otlp::{Code, Payload, Status};

use crate::script::{Scripted, Step, spans};

fn transient() -> Step {
    Step::Fail(ExportError::Transient("not now".into()))
}

fn overloaded(delay: Option<Duration>) -> Step {
    let status =
        Status { code: Code::ResourceExhausted, message: String::new(), retry_delay: delay };
    Step::Fail(ExportError::Status(status))
}

/// The Collector's settings, without jitter.
fn steady() -> RetryConfig {
    RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_again_is_until_it_arrives() {
    let script = Scripted::new([transient(), transient(), Step::Reject(1)]);
    let retry = Retry::new(script.clone(), steady()).unwrap();
    let payload = spans(3, "a");

    // A partial success is the end of it: never sent again.
    assert_eq!(retry.export(payload.clone()).await.unwrap().rejected, 1);
    assert_eq!(script.seconds(), [0.0, 5.0, 12.5]);
    assert!(script.requests().iter().all(|request| *request == payload.to_bytes()));
    assert_eq!(retry.stats(), RetryStats { attempts: 3, retries: 2, ..RetryStats::default() });
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_sent_again_is_not() {
    for error in [
        ExportError::Permanent("no".into()),
        ExportError::TooLarge { bytes: 2, limit: 1 },
        ExportError::BadAnswer("what".into()),
        ExportError::Closed,
        ExportError::Http { status: 500, retry_after: Some(Duration::ZERO) },
        ExportError::Status(Status::new(Code::ResourceExhausted, "")),
    ] {
        let script = Scripted::new([Step::Fail(error)]);
        let retry = Retry::new(script.clone(), steady()).unwrap();
        assert!(!retry.export(spans(1, "a")).await.unwrap_err().is_retryable());
        assert_eq!(script.requests().len(), 1);
        assert_eq!(retry.stats().gave_up, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_when_the_next_attempt_would_come_too_late() {
    let script = Scripted::new((0..100).map(|_| transient()));
    let config = RetryConfig { max_elapsed_time: Duration::from_secs(60), ..steady() };
    let retry = Retry::new(script.clone(), config).unwrap();

    // Still retryable: that tells giving up from a refusal.
    assert!(retry.export(spans(1, "a")).await.unwrap_err().is_retryable());
    assert_eq!(script.seconds(), [0.0, 5.0, 12.5, 23.75, 40.625]);
    assert_eq!(
        retry.stats(),
        RetryStats { attempts: 5, retries: 4, gave_up: 1, ..RetryStats::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn each_payload_has_its_own_time() {
    let script = Scripted::new((0..100).map(|_| transient()));
    let config = RetryConfig { max_elapsed_time: Duration::from_secs(6), ..steady() };
    let retry = Retry::new(script.clone(), config).unwrap();
    for _ in 0..3 {
        retry.export(spans(1, "a")).await.unwrap_err();
    }
    assert_eq!(script.seconds(), [0.0, 5.0, 5.0, 10.0, 10.0, 15.0]);
}

#[tokio::test(start_paused = true)]
async fn the_destinations_delay_is_waited_for_and_grown_from() {
    let script = Scripted::new([
        overloaded(Some(Duration::from_secs(20))),
        transient(),
        overloaded(Some(Duration::from_millis(1))),
    ]);
    let retry = Retry::new(script.clone(), steady()).unwrap();
    retry.export(spans(1, "a")).await.unwrap();
    assert_eq!(script.seconds(), [0.0, 20.0, 50.0, 80.0]);
}

#[tokio::test(start_paused = true)]
async fn turned_off_it_sends_once() {
    let script = Scripted::new([transient()]);
    let config = RetryConfig { enabled: false, ..steady() };
    let retry = Retry::new(script.clone(), config).unwrap();
    retry.export(spans(1, "a")).await.unwrap_err();
    assert_eq!(retry.stats(), RetryStats { attempts: 1, ..RetryStats::default() });
}

#[tokio::test]
async fn shared_it_still_tells_what_it_did() {
    let retry = Arc::new(Retry::new(Scripted::new([]), steady()).unwrap());
    AnyExporter::new(Arc::clone(&retry)).export(spans(1, "a")).await.unwrap();
    assert_eq!(retry.stats().attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_gives_the_payload_back_at_once() {
    let script = Scripted::new((0..100).map(|_| transient()));
    let retry = Retry::new(script.clone(), steady()).unwrap();
    let payload = spans(3, "a");
    let begun = tokio::time::Instant::now();
    let (result, ()) = tokio::join!(retry.export(payload.clone()), async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        retry.interrupt();
    });
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    assert_eq!(Tally::of(3, result.as_ref()).dropped, [("transient", 3)]);
    let Err(ExportError::Undelivered(parts)) = result else { panic!("{result:?}") };
    assert_eq!(parts.left[0].payload.to_bytes(), payload.to_bytes());
    assert!(parts.left[0].error.is_retryable());
    assert_eq!(script.requests().len(), 2);

    // From now on each has one attempt.
    let result = retry.export(payload).await;
    assert!(matches!(result, Err(ExportError::Undelivered(_))), "{result:?}");
    assert_eq!(
        retry.stats(),
        RetryStats { attempts: 3, retries: 1, given_back: 2, ..RetryStats::default() }
    );
}

/// Delivers two items of three, and fails with the third, until it has the third alone.
#[derive(Clone, Debug)]
struct InPart(Scripted);

impl Exporter for InPart {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let whole = payload.items() == 3;
        self.0.export(payload).await?;
        if !whole {
            return Ok(Delivered { rejected: 0, message: Some("second".into()) });
        }
        Err(ExportError::Undelivered(Box::new(Undelivered {
            delivered: 1,
            rejected: 1,
            message: Some("first".into()),
            left: vec![Left {
                payload: spans(1, "left"),
                error: ExportError::Http {
                    status: 503,
                    retry_after: Some(Duration::from_secs(40)),
                },
            }],
        })))
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_was_delivered_in_part_only_the_rest_goes_again() {
    let script = Scripted::new([]);
    let retry = Retry::new(InPart(script.clone()), steady()).unwrap();
    let delivered = retry.export(spans(3, "a")).await.unwrap();
    assert_eq!(delivered, Delivered { rejected: 1, message: Some("first".into()) });
    let expected = [spans(3, "a").to_bytes(), spans(1, "left").to_bytes()];
    assert_eq!(script.requests(), expected);
    assert_eq!(script.seconds(), [0.0, 40.0]);
}
