//! Runs the gateway from a config file, and checks one.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use teleflow::Pipeline;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::cli::{RunArgs, ValidateArgs};
use crate::config::{Address, Config, ConfigErrors, Extension, Receiver, Warning};
use crate::reload::{Hangups, Reloads};
use crate::{gateway, log, stop};

/// `teleflow run`
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(path) => load(path)?,
        None => Config::default_gateway(),
    };
    log::start(config.service.log_level);
    runtime()?.block_on(async {
        let stop = stop::on_signal().context("cannot listen for signals")?;
        let hangups = Hangups::listen().context("cannot listen for signals")?;
        let gateway = Gateway::start(&config).await?;
        gateway.announce(&config);
        let path = args.config.as_deref();
        let reloading = hangups.reload(path, &config, &gateway.pipeline, &gateway.reloads);
        stop.cancelled().await;
        reloading.abort();
        complain!("teleflow: stopping; up to {:?} to deliver what is held", args.drain_timeout);
        let books = gateway.pipeline.shutdown(Instant::now() + args.drain_timeout).await;
        say!("{books}");
        Ok(())
    })
}

/// `teleflow validate`
pub(crate) fn validate(args: &ValidateArgs) -> anyhow::Result<()> {
    let config = load(&args.config)?;
    let pipelines: Vec<_> = config.service.pipelines.keys().map(ToString::to_string).collect();
    say!("{} is valid; pipelines: {}", args.config.display(), pipelines.join(", "));
    Ok(())
}

pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    let (config, warnings) = read(path)?;
    for warning in warnings {
        complain!("warning: {warning}");
    }
    Ok(config)
}

/// Reads a file, and has the samplers checked as well.
pub(crate) fn read(path: &Path) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let (config, warnings) = Config::load(path, &|name| std::env::var(name).ok())?;
    gateway::check_samplers(&path.display().to_string(), &config)?;
    Ok((config, warnings))
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("teleflow")
        .build()
        .context("cannot start the worker threads")
}

/// A pipeline and its admin endpoints.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) pipeline: Arc<Pipeline>,
    admin: Vec<Admin>,
    reloads: Arc<Reloads>,
}

impl Gateway {
    /// Opens the admin ports first, so that `/health` answers while the rest starts.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_with(config, &gateway::open, || Ok(Vec::new())).await
    }

    /// As [`start`](Self::start), with another way to open a store. `bound` is called when every
    /// port is taken, and returns the stores that it opened then, by their exporter's name.
    pub(crate) async fn start_with(
        config: &Config,
        open: gateway::Open<'_>,
        bound: impl FnOnce() -> anyhow::Result<gateway::Stores>,
    ) -> anyhow::Result<Self> {
        let mut admin = Vec::new();
        for id in &config.service.extensions {
            if let Some(Extension::Admin(settings)) = config.extensions.get(id) {
                let bound = Admin::bind(&settings.endpoint.to_string()).await;
                admin.push(bound.with_context(|| format!("extensions.{id}.endpoint"))?);
            }
        }
        let mut parts = gateway::parts(config, open)?;
        let pipeline = Arc::new(parts.builder.start().await?);
        parts.beside.stores.extend(bound()?);
        admin.iter().for_each(|admin| admin.serve(&pipeline, &parts.beside));
        Ok(Self { pipeline, admin, reloads: parts.beside.reloads })
    }

    fn announce(&self, config: &Config) {
        for (id, Receiver::Otlp(otlp)) in &config.receivers {
            let id = id.to_string();
            let is_encrypted = otlp.http.as_ref().is_some_and(|http| http.tls.is_some());
            let scheme = if is_encrypted { "https" } else { "http" };
            let socket = |address: &Address| match address {
                Address::Unix(_) => Some(address.to_string()),
                Address::Tcp(_) => None,
            };
            if let Some(socket) = otlp.grpc.as_ref().and_then(|grpc| socket(&grpc.endpoint)) {
                complain!("teleflow: {id} takes OTLP/gRPC on {socket}");
            }
            if let Some(socket) = otlp.http.as_ref().and_then(|http| socket(&http.endpoint)) {
                complain!("teleflow: {id} takes OTLP/HTTP on {socket}");
            }
            if let Some(address) = self.pipeline.grpc_addr(&id) {
                complain!("teleflow: {id} takes OTLP/gRPC on {address}");
            }
            if let Some(address) = self.pipeline.http_addr(&id) {
                complain!("teleflow: {id} takes OTLP/HTTP on {scheme}://{address}");
            }
        }
        if !self.admin.is_empty() {
            complain!("teleflow: {}", self.admin_urls());
        }
    }

    /// Where to ask how it is.
    pub(crate) fn admin_urls(&self) -> String {
        let urls = self.admin.iter().map(|admin| {
            let address = admin.address();
            format!("http://{address}/health and http://{address}/metrics")
        });
        urls.collect::<Vec<_>>().join(", ")
    }
}
