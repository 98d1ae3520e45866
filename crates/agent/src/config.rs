//! The config file: the Collector's dialect of YAML, as typed structs that are already checked.
//!
//! A file goes through four steps: `yaml` makes text a tree that knows its lines, `env` expands
//! `${env:NAME}` in its scalars, `read` and the section files make structs of it, and `service`
//! checks what refers to what. Every step reports what is wrong and goes on if it can, so one run
//! shows all of it. Nothing is ignored: a key that no one asked for stops the start.
//!
//! This module knows the file and nothing else. It names no teleflow crate; who starts things
//! converts. `docs/configuration.md` is its manual.

mod auth;
mod bytes;
mod components;
mod duration;
mod endpoint;
mod env;
mod exporters;
mod extensions;
mod id;
mod later;
mod node;
mod processors;
mod read;
mod receivers;
mod reference;
mod report;
mod secret;
mod service;
mod suggest;
#[cfg(test)]
mod tests;
mod tls;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use components::Components;
use read::At;
use report::Report;

pub(crate) use duration::parse as parse_duration;
pub(crate) use endpoint::{Address, Endpoint};
pub(crate) use env::Environment;
pub(crate) use exporters::{
    CircuitBreaker, Compression, Destination, Encoding, Exporter, FailoverExporter,
    LoadBalancingExporter, OnFull, OtlpGrpcExporter, OtlpHttpExporter, Pem, Queue, QueueBatch,
    RateUnit, Retry, RetryBudget, Sizer, TlsClient, Verbosity, Wrappers,
};
pub(crate) use extensions::{
    BasicAuth, CertificateAuth, Extension, FileStorage, StorageFull, StorageSync, Text, TokenAuth,
    Tokens, is_token,
};
pub(crate) use id::Id;
pub(crate) use processors::{
    AdaptiveTailSampling, Algorithm, Batch, Composite, Counts, ErrorMode, Keyed, MatchRule, Mode,
    Policy, ProbabilisticSampler, Processor, RecordFingerprint, Recorded, Rule, RuleSampler,
    Servers, Shared, StatusCode, Strategy, StressRelief, TailSampling, Unit,
};
pub(crate) use receivers::{OtlpReceiver, Receiver, TlsServer};
pub(crate) use reference::Reference;
pub(crate) use report::{ConfigErrors, Place, Warning};
pub(crate) use secret::Secret;
pub(crate) use service::{LogLevel, Pipeline, Service, Signal};
pub(crate) use tls::TlsVersion;

/// What only tests name: the program meets these as fields.
#[cfg(test)]
pub(crate) use {
    exporters::{AdaptiveConcurrency, DebugExporter, Identity, Probes, RateLimit, SqliteExporter},
    extensions::{Admin, Drain, TailStorage},
    processors::{DecisionCache, MIN_MAX_BYTES, Part, Rate},
    receivers::{Cors, GrpcServer, HttpServer, KeepAlive, Limits},
    report::{ConfigError, Position},
    service::PipelineId,
};

/// A checked configuration. Every id in `service` is a key of the map that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) receivers: BTreeMap<Id, Receiver>,
    pub(crate) processors: BTreeMap<Id, Processor>,
    pub(crate) exporters: BTreeMap<Id, Exporter>,
    pub(crate) extensions: BTreeMap<Id, Extension>,
    pub(crate) service: Service,
}

/// What runs without a file.
pub(crate) const DEFAULT_GATEWAY: &str = include_str!("config/default.yaml");

// === impl Config ===

impl Config {
    /// Reads `text`, which `name` names in messages. The environment is an argument, so that a test
    /// has its own.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, as far as it can be told in one go.
    pub(crate) fn parse(
        name: &str,
        text: &str,
        env: Environment<'_>,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let report = Report::new(name);
        let config = yaml::parse(text, &report).map(|mut tree| {
            env::expand(&mut tree, env, &report);
            read_top(&At::top(&tree, &report))
        });
        let warnings = report.finish()?;
        // Without a tree there was an error.
        config
            .map(|config| (config, warnings))
            .ok_or_else(|| ConfigErrors::of_file(name, "is empty"))
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and if the file cannot be read, is not UTF-8, or is too large.
    pub(crate) fn load(
        path: &Path,
        env: Environment<'_>,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let name = path.display().to_string();
        let bytes = read_bounded(path)
            .map_err(|error| ConfigErrors::of_file(&name, format!("cannot be read: {error}")))?;
        // Cut off, it may end inside a character; `parse` refuses it for its size.
        let text = if bytes.len() > yaml::MAX_BYTES {
            String::from_utf8_lossy(&bytes)
        } else {
            str::from_utf8(&bytes)
                .map_err(|error| ConfigErrors::not_text(&name, &bytes[..error.valid_up_to()]))?
                .into()
        };
        Self::parse(&name, &text, env)
    }

    /// What runs without a file: OTLP on this machine, traces sampled, everything stored in
    /// `./teleflow.db`.
    pub(crate) fn default_gateway() -> Self {
        Self::parse("default.yaml", DEFAULT_GATEWAY, &|_| None)
            .map(|(config, _)| config)
            .expect("the embedded file is valid: a test parses it")
    }
}

/// Reads one byte more than is allowed, so that `parse` can tell.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_top(at: &At<'_>) -> Config {
    at.section(later::TOP, |keys| {
        let receivers = keys.require("receivers").map(|at| receivers::read(&at));
        let processors = keys.value("processors").map(|at| processors::read(&at));
        let exporters = keys.require("exporters").map(|at| exporters::read(&at));
        let extensions = keys.value("extensions").map(|at| extensions::read(&at));
        let (receivers, processors): (Components<_>, Components<_>) =
            (receivers.unwrap_or_default(), processors.unwrap_or_default());
        let (exporters, extensions): (Components<_>, Components<_>) =
            (exporters.unwrap_or_default(), extensions.unwrap_or_default());
        let defined = service::Defined {
            receivers: &receivers,
            processors: &processors,
            exporters: &exporters,
            extensions: &extensions,
        };
        let service = keys.require("service").map(|at| service::read(&at, defined));
        Config {
            service: service.unwrap_or_default(),
            receivers: components::into_values(receivers),
            processors: components::into_values(processors),
            exporters: components::into_values(exporters),
            extensions: components::into_values(extensions),
        }
    })
}
