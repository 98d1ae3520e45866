//! The shell around the controller, whose decisions have tests of their own.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use teleflow_exporter::{
    AdaptiveConcurrency, AdaptiveConcurrencyConfig, Delivered, ExportError, Exporter,
};
use teleflow_otlp::Payload;

use crate::script::{Scripted, Step, spans};

/// Takes 10 ms for each request, and refuses those over its capacity.
#[derive(Debug, Default)]
struct Server {
    capacity: usize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicUsize,
}

impl Exporter for Server {
    async fn export(&self, _: Payload) -> Result<Delivered, ExportError> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(in_flight, Ordering::Relaxed);
        let is_refused = in_flight > self.capacity;
        if !is_refused {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if is_refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(ExportError::Http { status: 429, retry_after: None });
        }
        Ok(Delivered::ALL)
    }
}

#[tokio::test(start_paused = true)]
async fn it_grows_to_what_the_server_takes_and_gives_way_when_it_refuses() {
    let server = Arc::new(Server { capacity: 20, ..Server::default() });
    let config = AdaptiveConcurrencyConfig::default();
    let adaptive = AdaptiveConcurrency::new(Arc::clone(&server), config).unwrap();
    // A hundred consumers that always have something.
    let work = (0..100).map(|_| async {
        for _ in 0..100 {
            // Whoever is refused comes again, as with retries.
            while adaptive.export(spans(1, "a")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    join_all(work).await;
    let most = server.most.load(Ordering::Relaxed);
    assert!((20..=22).contains(&most), "{most}");
    let refused = server.refused.load(Ordering::Relaxed);
    assert!(refused > 0 && refused < 1000, "{refused}");
    let stats = adaptive.stats();
    assert!((15..=22).contains(&stats.limit), "{stats:?}");
    assert_eq!((stats.in_flight, stats.overloads), (0, refused as u64));
}

#[tokio::test(start_paused = true)]
async fn never_more_at_a_time_than_the_limit_and_a_dropped_export_gives_its_place_back() {
    let script = Scripted::new([Step::Wait, Step::Wait, Step::Wait]);
    let two = NonZeroUsize::new(2).unwrap();
    let config = AdaptiveConcurrencyConfig { initial: two, max: two, ..Default::default() };
    let adaptive = AdaptiveConcurrency::new(script.clone(), config).unwrap();
    let mut first = Box::pin(adaptive.export(spans(1, "a")));
    let mut second = Box::pin(adaptive.export(spans(1, "b")));
    let mut third = Box::pin(adaptive.export(spans(1, "c")));
    for export in [&mut first, &mut second, &mut third] {
        assert!(futures_util::poll!(export).is_pending());
    }
    assert_eq!((adaptive.stats().in_flight, script.requests().len()), (2, 2));
    drop(first);
    assert!(futures_util::poll!(&mut third).is_pending());
    assert_eq!((adaptive.stats().in_flight, script.requests().len()), (2, 3));
    script.release(2);
    second.await.unwrap();
    third.await.unwrap();
    assert_eq!(adaptive.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_shrinks_takes_the_places_that_nobody_has() {
    let ten = NonZeroUsize::new(10).unwrap();
    let overloaded = || Step::Fail(ExportError::Http { status: 503, retry_after: None });
    let script = Scripted::new((0..20).map(|_| overloaded()).chain((0..10).map(|_| Step::Wait)));
    let config = AdaptiveConcurrencyConfig { initial: ten, max: ten, ..Default::default() };
    let adaptive = AdaptiveConcurrency::new(script.clone(), config).unwrap();
    // One at a time, so that nine places are free whenever the limit shrinks.
    for _ in 0..20 {
        adaptive.export(spans(1, "a")).await.unwrap_err();
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(adaptive.stats().limit, 1);
    let mut exports: Vec<_> = (0..10).map(|_| Box::pin(adaptive.export(spans(1, "b")))).collect();
    for export in &mut exports {
        assert!(futures_util::poll!(export).is_pending());
    }
    assert_eq!(adaptive.stats().in_flight, 1);
    script.release(10);
    for result in join_all(exports).await {
        result.unwrap();
    }
    assert_eq!(adaptive.stats().in_flight, 0);
}

/// Has no room for anybody, and says when to come again.
#[derive(Debug, Default)]
struct Full(AtomicUsize);

impl Exporter for Full {
    async fn export(&self, _: Payload) -> Result<Delivered, ExportError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        Err(ExportError::Http { status: 503, retry_after: Some(Duration::from_secs(10)) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_rests_as_long_as_the_server_says_whoever_waits_for_it() {
    let full = Arc::new(Full::default());
    let four = NonZeroUsize::new(4).unwrap();
    let config = AdaptiveConcurrencyConfig { initial: four, max: four, ..Default::default() };
    let adaptive = Arc::new(AdaptiveConcurrency::new(Arc::clone(&full), config).unwrap());
    // Each has something else to send; none of them has been refused before.
    for _ in 0..100 {
        let adaptive = Arc::clone(&adaptive);
        tokio::spawn(async move { adaptive.export(spans(1, "a")).await });
    }
    let mut came = Vec::new();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        came.push(full.0.load(Ordering::Relaxed));
    }
    // Four at once, and from then on no more every ten seconds than there are places.
    assert_eq!(came[0], 4, "{came:?}");
    assert!(came[3] <= 4 * 4 && came[3] > 4, "{came:?}");
    assert_eq!(adaptive.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn while_one_place_rests_the_others_are_used() {
    let later = ExportError::Http { status: 503, retry_after: Some(Duration::from_secs(10)) };
    let steps = std::iter::once(Step::Fail(later)).chain((0..20).map(|_| Step::Wait));
    let script = Scripted::new(steps.collect::<Vec<_>>());
    let ten = NonZeroUsize::new(10).unwrap();
    let config = AdaptiveConcurrencyConfig { initial: ten, max: ten, ..Default::default() };
    let adaptive = Arc::new(AdaptiveConcurrency::new(script.clone(), config).unwrap());
    assert!(adaptive.export(spans(1, "a")).await.is_err());
    for _ in 0..20 {
        let adaptive = Arc::clone(&adaptive);
        tokio::spawn(async move { adaptive.export(spans(1, "b")).await });
    }
    // Of ten places one went with the limit, and one rests.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((adaptive.stats().limit, adaptive.stats().in_flight), (9, 8));
    // The next one takes the place of whoever is done, and waits for no rest.
    script.release(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((script.requests().len(), adaptive.stats().in_flight), (10, 8));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(adaptive.stats().in_flight, 9);
}
