//! Makes what gateways decide together by.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use teleflow::SharedDecisions;
use teleflow::cache::{Redis, RedisConfig, RedisConfigError, RedisIdentity, RedisTls};

use crate::config::{Id, Place, Processor, Servers, Shared};

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
    let redis = connect(shared, RedisTls { authorities, identity })?;
    let mut decisions = SharedDecisions::new(redis);
    (decisions.ttl, decisions.timeout) = (shared.ttl, shared.timeout);
    decisions.grace = shared.grace;
    Ok(decisions)
}

/// What is wrong with the addresses, and where they are written. Files are not read for that.
pub(super) fn check(id: &Id, processor: &Processor) -> Option<(Place, String)> {
    let shared = processor.decision_cache()?.shared.as_ref()?;
    let error = connect(shared, RedisTls::default()).err()?;
    Some((shared.place, format!("processors.{id}.decision_cache.shared does not work: {error}")))
}

/// Connects when it is first used.
fn connect(shared: &Shared, tls: RedisTls) -> Result<Redis, RedisConfigError> {
    // Both come before an answer, the first time.
    let half = shared.timeout / 2;
    let config = |servers| RedisConfig {
        servers,
        prefix: shared.prefix.clone(),
        connect_timeout: half,
        answer_timeout: half,
        tls,
        ..RedisConfig::default()
    };
    match &shared.servers {
        Servers::One(server) => Redis::single(config(vec![server.expose().to_owned()])),
        Servers::Cluster(servers) => {
            let servers = servers.iter().map(|server| server.expose().to_owned());
            Redis::cluster(config(servers.collect()))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn parse(shared: &str) -> Config {
        let text = format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}
processors:
  tail_sampling:
    decision_cache: {{ shared: {shared} }}
    policies: [{{ name: all, type: always_sample }}]
exporters: {{ debug: }}
service:
  pipelines: {{ traces: {{ receivers: [otlp], processors: [tail_sampling], exporters: [debug] }} }}
"
        );
        Config::parse("f", &text, &|_| None).unwrap().0
    }

    fn problem(config: &Config) -> Option<String> {
        config.processors.iter().find_map(|(id, processor)| Some(check(id, processor)?.1))
    }

    fn made(config: &Config) -> anyhow::Result<SharedDecisions> {
        let cache = config.processors.values().find_map(Processor::decision_cache);
        shared(cache.unwrap().shared.as_ref()).map(Option::unwrap)
    }

    #[test]
    fn decisions_are_shared_as_the_file_says() {
        let config =
            parse("{ endpoint: 'redis://u:hush@r:6379/2', ttl: 1h, timeout: 1s, grace: 2s }");
        assert_eq!(problem(&config), None);
        let decisions = made(&config).unwrap();
        assert_eq!(
            [decisions.ttl, decisions.timeout, decisions.grace].map(|time| time.as_secs()),
            [3600, 1, 2]
        );
        let config = parse("{ cluster: ['redis://a:1', 'rediss://b:2'] }");
        assert_eq!(problem(&config), None);
        assert_eq!(made(&config).unwrap().grace, Duration::from_secs(5));
    }

    #[test]
    fn an_address_that_is_none_and_a_file_that_is_not_there_are_named() {
        let config = parse("{ cluster: ['redis://a:1', 'redis://u:hush@:x'] }");
        let wanted = "processors.tail_sampling.decision_cache.shared does not work: \
                      server 1 is no Redis address";
        assert_eq!(problem(&config).as_deref(), Some(wanted));
        let config = parse("{ endpoint: 'rediss://r', tls: { ca_file: /nowhere/ca.pem } }");
        assert_eq!(problem(&config), None, "who only checks a file need not have those");
        let error = format!("{:#}", made(&config).unwrap_err());
        let wanted = "decision_cache.shared: /nowhere/ca.pem cannot be read: ";
        assert!(error.starts_with(wanted), "{error}");
    }
}
