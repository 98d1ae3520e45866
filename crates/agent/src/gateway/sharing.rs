//! Makes what gateways decide together by.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use teleflow::SharedDecisions;
use teleflow::cache::{Redis, RedisConfig, RedisIdentity, RedisTls};

use crate::config::{Servers, Shared};

/// `decision_cache.shared`. Reads certificates, and does not connect yet.
pub(super) fn shared(shared: Option<&Shared>) -> anyhow::Result<Option<SharedDecisions>> {
    shared.map(make).transpose().context("decision_cache.shared")
}

fn make(shared: &Shared) -> anyhow::Result<SharedDecisions> {
    let authorities = shared.ca_file.as_deref().map(read).transpose()?;
    let identity = match &shared.identity {
        Some((certificate, key)) => {
            Some(RedisIdentity { certificate: read(certificate)?, key: read(key)? })
        }
        None => None,
    };
    // Both come before an answer, the first time.
    let half = shared.timeout / 2;
    let config = |servers| RedisConfig {
        servers,
        prefix: shared.prefix.clone(),
        connect_timeout: half,
        answer_timeout: half,
        tls: RedisTls { authorities, identity },
        ..RedisConfig::default()
    };
    let redis = match &shared.servers {
        Servers::One(server) => Redis::single(config(vec![server.expose().to_owned()]))?,
        Servers::Cluster(servers) => {
            let servers = servers.iter().map(|server| server.expose().to_owned());
            Redis::cluster(config(servers.collect()))?
        }
    };
    let mut decisions = SharedDecisions::new(redis);
    (decisions.ttl, decisions.timeout) = (shared.ttl, shared.timeout);
    decisions.grace = shared.grace;
    Ok(decisions)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}
