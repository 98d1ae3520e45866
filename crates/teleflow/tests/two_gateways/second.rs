//! The second gateway: a receiver on a socket, and a pipeline that answers when the backend has.

use std::path::Path;

use teleflow::exporter::{OnFull, QueueConfig};
use teleflow::receiver::{Config, GrpcConfig, Limits};
use teleflow::{Books, LaneConfig, Pipeline, Signal};
use tokio::time::Instant;

use crate::backend::Backend;

pub(crate) struct Second {
    pipeline: Pipeline,
}

// === impl Second ===

impl Second {
    /// Starts one that has room for `room` bytes of requests.
    pub(crate) async fn start(socket: &Path, backend: &Backend, room: usize) -> Self {
        let endpoint = format!("unix:{}", socket.display());
        let receiver = Config {
            grpc: Some(GrpcConfig { endpoint, ..GrpcConfig::default() }),
            http: None,
            limits: Limits { max_in_flight_bytes: room, ..Limits::default() },
            ..Config::default()
        };
        let queue = QueueConfig { on_full: OnFull::Wait, ..QueueConfig::default() };
        let lane = LaneConfig::new("traces", Signal::Traces).from("otlp").to("backend");
        let pipeline = Pipeline::builder()
            .receiver("otlp", receiver)
            .wait_for_result("otlp")
            .exporter("backend", backend.clone(), queue)
            .lane(lane)
            .start()
            .await
            .unwrap();
        Self { pipeline }
    }

    pub(crate) fn books(&self) -> Books {
        self.pipeline.books()
    }

    /// Ends without a word; the books are those of that moment.
    pub(crate) fn kill(self) -> Books {
        self.pipeline.books()
    }

    pub(crate) async fn end(self) -> Books {
        self.pipeline.shutdown(Instant::now() + std::time::Duration::from_secs(60)).await
    }
}
