//! What `tracing` hears, with the feature of that name.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use teleflow_concurrency::{Semaphore, WorkerPool, WorkerPoolConfig};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry;

type Fields = HashMap<&'static str, String>;

/// A span's id, name and fields.
type Seen = (u64, &'static str, Fields);

/// The spans so far.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::new();
        span.record(&mut Reader(&mut fields));
        self.0.lock().unwrap().push((id.into_u64(), span.metadata().name(), fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        let span = spans.iter_mut().rev().find(|span| span.0 == id.into_u64()).unwrap();
        values.record(&mut Reader(&mut span.2));
    }
}

impl Spans {
    fn named(&self, name: &str) -> Vec<Fields> {
        let spans = self.0.lock().unwrap();
        spans.iter().filter(|span| span.1 == name).map(|span| span.2.clone()).collect()
    }
}

#[tokio::test]
async fn c3_the_span_of_a_task_names_its_pool_worker_number_and_duration() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(registry().with(spans.clone()));
    let config = WorkerPoolConfig { name: "crops", workers: 1, ..Default::default() };
    let pool = WorkerPool::new(config).unwrap();
    for _ in 0..2 {
        pool.submit(async { tracing::debug_span!("inside") }).await.unwrap().await.unwrap();
    }
    let tasks = spans.named("task");
    for (number, fields) in tasks.iter().enumerate() {
        assert_eq!(fields["pool"], "\"crops\"");
        assert_eq!((&*fields["task"], &*fields["worker"]), (&*number.to_string(), "0"));
        fields["duration_us"].parse::<u64>().unwrap();
    }
    assert_eq!((tasks.len(), spans.named("inside").len()), (2, 2));
}

#[tokio::test]
async fn c1_the_span_of_a_semaphore_names_it_and_the_permits() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(registry().with(spans.clone()));
    Semaphore::new("doors", 3).with_permits(2, async {}).await.unwrap();
    let runs = spans.named("semaphore.run");
    assert_eq!(runs.len(), 1);
    assert_eq!((&*runs[0]["semaphore"], &*runs[0]["permits"]), ("\"doors\"", "2"));
}
