//! Makes a pipeline of a checked config: the one place where the file's words become the
//! libraries'.

mod sending;

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use anyhow::Context as _;
use teleflow::exporter::{
    self, AnyExporter, Console, Delivered, ExportError, Exporter, QueueConfig, Retry, RetryConfig,
};
use teleflow::otlp::span::StatusCode;
use teleflow::store::SqliteStore;
use teleflow::{
    Builder, LaneConfig, Payload, Pipeline, Sending, Signal, batcher, receiver, sampler, store,
};

use crate::config::{self, Config};
use crate::metrics::Beside;
use crate::talk;
use crate::watched::Watched;

/// A pipeline that has not been started, and what of its exporters is asked beside it.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) builder: Builder,
    pub(crate) beside: Beside,
}

/// Stores by the name of their exporter.
pub(crate) type Stores = Vec<(String, Arc<SqliteStore>)>;

/// Makes what writes to a store; returns the store too, if it is open already.
pub(crate) type Open<'a> =
    &'a dyn Fn(store::Config) -> anyhow::Result<(AnyExporter, Option<Arc<SqliteStore>>)>;

/// Opens a store at once.
pub(crate) fn open(
    config: store::Config,
) -> anyhow::Result<(AnyExporter, Option<Arc<SqliteStore>>)> {
    let store = Arc::new(SqliteStore::open(config)?);
    Ok((AnyExporter::new(Arc::clone(&store)), Some(store)))
}

/// Makes the pipeline's parts. Opens the stores' files, and nothing else.
pub(crate) fn parts(config: &Config, open: Open<'_>) -> anyhow::Result<Parts> {
    let mut builder = Pipeline::builder();
    let mut beside = Beside::default();
    let used = |of: fn(&config::Pipeline) -> &[config::Id], id: &config::Id| {
        config.service.pipelines.values().any(|pipeline| of(pipeline).contains(id))
    };
    for (id, component) in &config.receivers {
        // What is defined and not used is warned of, and not started.
        if used(|pipeline| &pipeline.receivers, id) {
            let config::Receiver::Otlp(otlp) = component;
            let made = receiver(otlp).with_context(|| format!("receivers.{id}"))?;
            builder = builder.receiver(id.to_string(), made);
            if waits_for_result(config, id) {
                builder = builder.wait_for_result(id.to_string());
            }
        }
    }
    for (id, component) in &config.exporters {
        if used(|pipeline| &pipeline.exporters, id) {
            let name = id.to_string();
            let made = exporter(&name, component, open);
            let made = made.with_context(|| format!("exporters.{id}"))?;
            let batch = component.queue().and_then(|queue| queue.batch.as_ref()).map(merging);
            let sending = Sending { queue: made.queue, batch };
            builder = builder.exporter(name, made.exporter, sending);
            beside.stores.extend(made.store.map(|store| (id.to_string(), store)));
            beside.watched.push((id.to_string(), made.watched));
        }
    }
    for (id, pipeline) in &config.service.pipelines {
        let mut lane = LaneConfig::new(id.to_string(), signal(id.signal));
        lane.receivers = pipeline.receivers.iter().map(ToString::to_string).collect();
        lane.exporters = pipeline.exporters.iter().map(ToString::to_string).collect();
        for id in &pipeline.processors {
            match config.processors.get(id) {
                Some(config::Processor::TailSampling(tail)) => lane = lane.sample(sampling(tail)),
                Some(config::Processor::Batch(batch)) => lane = lane.batch(batching(batch)),
                None => anyhow::bail!("processors.{id} is not defined"),
            }
        }
        builder = builder.lane(lane);
    }
    builder.check()?;
    Ok(Parts { builder, beside })
}

/// Whether a receiver answers only when its items have arrived: where it feeds an exporter of which
/// the file says so.
fn waits_for_result(config: &Config, receiver: &config::Id) -> bool {
    let fed =
        config.service.pipelines.values().filter(|pipeline| pipeline.receivers.contains(receiver));
    let mut exporters = fed.flat_map(|pipeline| &pipeline.exporters);
    exporters.any(|id| {
        let queue = config.exporters.get(id).and_then(config::Exporter::queue);
        queue.is_some_and(|queue| queue.wait_for_result)
    })
}

const fn signal(signal: config::Signal) -> Signal {
    match signal {
        config::Signal::Traces => Signal::Traces,
        config::Signal::Metrics => Signal::Metrics,
        config::Signal::Logs => Signal::Logs,
    }
}

fn receiver(otlp: &config::OtlpReceiver) -> anyhow::Result<receiver::Config> {
    let mut limits = receiver::Limits::default();
    let sizes = [
        otlp.grpc.as_ref().map(|grpc| grpc.max_recv_msg_bytes),
        otlp.http.as_ref().map(|http| http.max_request_body_bytes),
    ];
    // One request of the largest size has to fit, compressed and inflated.
    let largest = sizes.into_iter().flatten().max().unwrap_or_default() as usize;
    limits.max_in_flight_bytes = limits.max_in_flight_bytes.max(largest * 2);
    if let Some(streams) = otlp.grpc.as_ref().and_then(|grpc| grpc.max_concurrent_streams) {
        limits.max_concurrent_streams = streams;
    }
    let mut timeouts = receiver::Timeouts::default();
    if let Some(grpc) = &otlp.grpc {
        timeouts.idle = grpc.keepalive.max_connection_idle;
        timeouts.max_age = grpc.keepalive.max_connection_age;
        timeouts.age_grace = grpc.keepalive.max_connection_age_grace;
        timeouts.keep_alive = Some(grpc.keepalive.time);
    }
    let grpc_tls = otlp.grpc.as_ref().and_then(|grpc| grpc.tls.as_ref());
    let http_tls = otlp.http.as_ref().and_then(|http| http.tls.as_ref());
    let cors = otlp.http.as_ref().and_then(|http| http.cors.as_ref());
    Ok(receiver::Config {
        grpc: otlp.grpc.as_ref().map(|grpc| receiver::GrpcConfig {
            endpoint: grpc.endpoint.to_string(),
            max_request_bytes: grpc.max_recv_msg_bytes as usize,
        }),
        http: otlp.http.as_ref().map(|http| receiver::HttpConfig {
            endpoint: http.endpoint.to_string(),
            max_request_bytes: http.max_request_body_bytes as usize,
            paths: receiver::Paths {
                traces: http.traces_url_path.clone(),
                metrics: http.metrics_url_path.clone(),
                logs: http.logs_url_path.clone(),
            },
        }),
        limits,
        timeouts,
        grpc_access: access(grpc_tls).context("protocols.grpc")?,
        http_access: access(http_tls).context("protocols.http")?,
        cors: cors.map(|cors| receiver::Cors {
            allowed_origins: cors.allowed_origins.clone(),
            allowed_headers: cors.allowed_headers.clone(),
            max_age: cors.max_age,
        }),
        ..receiver::Config::default()
    })
}

fn access(tls: Option<&config::TlsServer>) -> anyhow::Result<receiver::Access> {
    let Some(tls) = tls else { return Ok(receiver::Access::default()) };
    let files = [("cert_file", Some(&tls.certificate)), ("key_file", Some(&tls.key))];
    for (key, path) in files.into_iter().chain([("client_ca_file", tls.client_ca.as_ref())]) {
        path.map_or(Ok(()), |path| sending::readable(key, path))?;
    }
    let tls = receiver::TlsConfig {
        client_ca: tls.client_ca.clone(),
        min_version: match tls.min_version {
            config::TlsVersion::V1_2 => receiver::TlsVersion::V1_2,
            config::TlsVersion::V1_3 => receiver::TlsVersion::V1_3,
        },
        reload_interval: tls.reload_interval,
        ..receiver::TlsConfig::new(&tls.certificate, &tls.key)
    };
    Ok(receiver::Access { tls: Some(tls), ..receiver::Access::default() })
}

fn sampling(tail: &config::TailSampling) -> sampler::Config {
    let rules = tail.policies.iter().map(|policy| {
        let kept = match &policy.rule {
            config::Rule::AlwaysSample => sampler::Policy::Always,
            config::Rule::Latency { threshold, upper } => {
                sampler::Policy::Latency { over: *threshold, up_to: *upper }
            }
            config::Rule::Probabilistic { percentage, hash_salt } => {
                sampler::Policy::percent(*percentage, hash_salt)
            }
            config::Rule::StatusCode(codes) => {
                sampler::Policy::Status(codes.iter().map(|code| status(*code)).collect())
            }
        };
        sampler::Rule::new(&policy.name, kept)
    });
    let cache = &tail.decision_cache;
    sampler::Config {
        rules: rules.collect(),
        decision_wait: tail.decision_wait,
        max_bytes: tail.max_bytes as usize,
        max_traces: tail.num_traces.get(),
        remembered_decisions: tail
            .num_traces
            .get()
            .max(cache.sampled_cache_size + cache.non_sampled_cache_size),
        hash_seed: fastrand::u64(..),
        ..sampler::Config::default()
    }
}

const fn status(code: config::StatusCode) -> StatusCode {
    match code {
        config::StatusCode::Unset => StatusCode::Unset,
        config::StatusCode::Ok => StatusCode::Ok,
        config::StatusCode::Error => StatusCode::Error,
    }
}

fn batching(batch: &config::Batch) -> batcher::Config {
    batcher::Config {
        min_items: batch.send_batch_size as u64,
        max_items: batch.send_batch_max_size.and_then(|max| (max.get() as u64).try_into().ok()),
        timeout: batch.timeout,
        ..batcher::Config::default()
    }
}

/// `sending_queue.batch`
fn merging(batch: &config::QueueBatch) -> batcher::Config {
    let default = batcher::Config { timeout: batch.flush_timeout, ..batcher::Config::default() };
    let (min, max) = (batch.min_size as u64, batch.max_size);
    let least_max_bytes = default.max_bytes.max(batch.min_size);
    match batch.sizer {
        config::Sizer::Requests | config::Sizer::Items => batcher::Config {
            min_items: min,
            max_items: max.and_then(|max| max.try_into().ok()),
            ..default
        },
        config::Sizer::Bytes => batcher::Config {
            // Zero sends what comes.
            min_items: if batch.min_size == 0 { 0 } else { u64::MAX },
            min_bytes: NonZeroUsize::new(batch.min_size),
            max_bytes: max.map_or(least_max_bytes, NonZeroUsize::get),
            ..default
        },
    }
}

/// An exporter as the pipeline takes it.
struct Made {
    exporter: AnyExporter,
    queue: QueueConfig,
    store: Option<Arc<SqliteStore>>,
    watched: Watched,
}

fn exporter(name: &str, component: &config::Exporter, open: Open<'_>) -> anyhow::Result<Made> {
    let (mut opened, mut watched) = (None, Watched::default());
    let (exporter, queue) = match component {
        config::Exporter::Debug(debug) => {
            let exporter = match debug.verbosity {
                config::Verbosity::Basic => AnyExporter::new(Counts),
                config::Verbosity::Normal | config::Verbosity::Detailed => {
                    AnyExporter::new(Console::new(talk::out()))
                }
            };
            (exporter, QueueConfig { num_consumers: NonZeroUsize::MIN, ..QueueConfig::default() })
        }
        config::Exporter::OtlpGrpc(otlp) => {
            (sending::grpc(name, otlp, &mut watched)?, queue(otlp.queue.as_ref()))
        }
        config::Exporter::OtlpHttp(otlp) => {
            (sending::http(name, otlp, &mut watched)?, queue(otlp.queue.as_ref()))
        }
        config::Exporter::Sqlite(sqlite) => {
            let (store, is_open) = open(store::Config {
                path: sqlite.path.clone(),
                max_bytes: sqlite.max_bytes,
                ..store::Config::default()
            })?;
            opened = is_open;
            // A file system that is full for a while is waited for, as a server would be.
            let retrying = Retry::new(watched.pulse(store), RetryConfig::default())?;
            let retrying = watched.over(retrying);
            (AnyExporter::new(retrying), queue(sqlite.queue.as_ref()))
        }
    };
    watched.queue(&queue);
    Ok(Made { exporter, queue, store: opened, watched })
}

/// Without a queue one request is sent at a time and the next one waits.
fn queue(queue: Option<&config::Queue>) -> QueueConfig {
    let on_full = |on_full| match on_full {
        config::OnFull::Refuse => exporter::OnFull::Reject,
        config::OnFull::Wait => exporter::OnFull::Wait,
    };
    match queue {
        Some(queue) => {
            let config = QueueConfig {
                num_consumers: queue.num_consumers,
                on_full: on_full(queue.on_full),
                ..QueueConfig::default()
            };
            let (size, max_requests) = (queue.queue_size, NonZeroUsize::MAX);
            match queue.sizer {
                config::Sizer::Requests => QueueConfig { max_requests: size, ..config },
                config::Sizer::Items => {
                    let max_items = NonZeroU64::try_from(size).ok();
                    QueueConfig { max_requests, max_items, ..config }
                }
                config::Sizer::Bytes => QueueConfig { max_requests, max_bytes: size, ..config },
            }
        }
        None => QueueConfig {
            max_requests: NonZeroUsize::MIN,
            num_consumers: NonZeroUsize::MIN,
            on_full: exporter::OnFull::Wait,
            ..QueueConfig::default()
        },
    }
}

/// The `debug` exporter's `basic` verbosity: how much there is in each request.
#[derive(Debug)]
struct Counts;

impl Exporter for Counts {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let (items, bytes) = (payload.items(), payload.bytes());
        say!("{}: {items} {}, {bytes} bytes", payload.signal(), payload.signal().items_name());
        Ok(Delivered::ALL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse("test.yaml", text, &|_| None).unwrap().0
    }

    #[test]
    fn every_component_of_a_file_becomes_a_part() {
        let config = parse(
            "
receivers:
  otlp: { protocols: { grpc: , http: { endpoint: 'localhost:14318' } } }
processors:
  tail_sampling:
    policies: [{ name: all, type: always_sample }]
  batch: { send_batch_size: 10, send_batch_max_size: 20, timeout: 1s }
exporters:
  debug:
  otlp: { endpoint: 'localhost:5317', tls: { insecure: true } }
  otlphttp: { endpoint: 'http://localhost:5318' }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [tail_sampling, batch], exporters: [otlp] }
    logs/x: { receivers: [otlp], processors: [batch], exporters: [debug, otlphttp] }
",
        );
        let shown = format!("{:?}", parts(&config, &open).unwrap().builder);
        for part in ["logs/x", "localhost:14318", "min_items: 10", "always", "otlphttp"] {
            assert!(shown.to_lowercase().contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn a_receiver_keeps_connections_and_asks_for_certificates_as_the_file_says() {
        let config = parse(
            "
receivers:
  otlp:
    protocols:
      grpc:
        keepalive:
          server_parameters:
            { max_connection_idle: 0, max_connection_age: 1h, max_connection_age_grace: 2s, time: 3s }
        tls: { cert_file: Cargo.toml, key_file: Cargo.toml, client_ca_file: Cargo.toml }
      http: { cors: { allowed_origins: ['*'], max_age: 5 } }
exporters: { debug: }
service: { pipelines: { logs: { receivers: [otlp], exporters: [debug] } } }
",
        );
        let mut made = config.receivers.values().map(|config::Receiver::Otlp(otlp)| receiver(otlp));
        let made = made.next().unwrap().unwrap();
        let (idle, age) = (made.timeouts.idle, made.timeouts.max_age);
        assert_eq!((idle, age), (None, Some(Duration::from_secs(3600))));
        assert_eq!(made.timeouts.age_grace, Duration::from_secs(2));
        assert_eq!(made.timeouts.keep_alive, Some(Duration::from_secs(3)));
        let tls = made.grpc_access.tls.unwrap();
        assert_eq!(tls.client_ca.as_deref(), Some("Cargo.toml".as_ref()));
        assert!(made.http_access.tls.is_none());
        let cors = made.cors.unwrap();
        assert_eq!(
            (&cors.allowed_origins[..], cors.max_age.unwrap().as_secs()),
            (&["*".to_owned()][..], 5)
        );
    }

    #[test]
    fn a_certificate_that_is_not_there_is_named_with_its_key_and_path() {
        let error = |receiver: &str, exporter: &str| {
            let config = parse(&format!(
                "
receivers: {{ otlp: {{ protocols: {{ http: {{ {receiver} }} }} }} }}
exporters: {{ otlp: {{ endpoint: 'c:1', tls: {{ {exporter} }} }} }}
service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlp] }} }} }}
"
            ));
            format!("{:#}", parts(&config, &open).unwrap_err())
        };
        for (receiver, exporter, said) in [
            ("", "ca_file: /no/ca.pem", "exporters.otlp: tls.ca_file: cannot read /no/ca.pem: "),
            (
                "",
                "cert_pem: hunter2, key_file: /no/key",
                "exporters.otlp: tls.key_file: cannot read /no/key: ",
            ),
            (
                "tls: { cert_file: Cargo.toml, key_file: /no/key }",
                "",
                "receivers.otlp: protocols.http: tls.key_file: cannot read /no/key: ",
            ),
            // There, but not what they should be: said without what is in them.
            ("", "cert_pem: hunter2, key_pem: hunter2", "exporters.otlp: TLS: "),
            ("", "ca_file: Cargo.toml", "exporters.otlp: TLS: the CA certificate Cargo.toml"),
        ] {
            let error = error(receiver, exporter);
            assert!(error.starts_with(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_least_that_a_file_may_give_the_sampler_is_what_that_works_with() {
        assert_eq!(config::MIN_MAX_BYTES, sampler::MIN_BYTES as u64);
    }

    #[test]
    fn a_sending_queue_becomes_a_queue_and_a_batcher() {
        let of = |yaml: &str| {
            let config = parse(&format!(
                "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }}, otlp/2: {{ protocols: {{ http: }} }} }}
exporters: {{ debug: , otlp: {{ endpoint: 'http://c:1', sending_queue: {yaml} }} }}
service:
  pipelines:
    traces: {{ receivers: [otlp], exporters: [debug, otlp] }}
    logs: {{ receivers: [otlp/2], exporters: [debug] }}
"
            ));
            let found =
                config.exporters.values().find_map(config::Exporter::queue).copied().unwrap();
            let waiting = config.receivers.keys().map(|id| waits_for_result(&config, id));
            (queue(Some(&found)), found.batch.as_ref().map(merging), waiting.collect::<Vec<_>>())
        };
        let (requests, batch, waiting) = of("{ queue_size: 7, wait_for_result: true }");
        assert_eq!((requests.max_requests.get(), requests.max_items), (7, None));
        assert_eq!((batch, waiting), (None, vec![true, false]));

        let (items, batch, waiting) =
            of("{ queue_size: 7, sizer: items, batch: { max_size: 9000 } }");
        assert_eq!((items.max_requests, items.max_items), (NonZeroUsize::MAX, NonZeroU64::new(7)));
        let batch = batch.unwrap();
        assert_eq!((batch.min_items, batch.max_items), (8192, NonZeroU64::new(9000)));
        assert_eq!(waiting, [false, false]);

        let (bytes, batch, _) =
            of("{ queue_size: 7, sizer: bytes, batch: { min_size: 10, max_size: 20 } }");
        assert_eq!((bytes.max_bytes.get(), bytes.max_items), (7, None));
        let batch = batch.unwrap();
        let min_bytes = NonZeroUsize::new(10);
        assert_eq!((batch.min_items, batch.min_bytes, batch.max_bytes), (u64::MAX, min_bytes, 20));
    }
}
