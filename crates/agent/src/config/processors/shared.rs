//! `decision_cache.shared`: gateways that decide together about the same traces.

use std::path::PathBuf;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::report::Place;
use super::super::secret::Secret;

/// Decisions are made together with other gateways, through Redis. The Collector has nothing like
/// it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shared {
    pub(crate) servers: Servers,
    /// Put before each key. Default `teleflow:`.
    pub(crate) prefix: String,
    /// How long decisions are there. Default 5 min. Longer than a trace waits.
    pub(crate) ttl: Duration,
    /// How long Redis may take to answer. Default 500 ms. More than 0.
    pub(crate) timeout: Duration,
    /// How long a trace waits for what others know, beside its own wait. Default 5 s.
    pub(crate) grace: Duration,
    /// `tls.ca_file`: who may have issued the certificate of a server whose address begins with
    /// `rediss://`. Default: those whom the system trusts.
    pub(crate) ca_file: Option<PathBuf>,
    /// `tls.cert_file` and `tls.key_file`: what we show it. Default none.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Where it is written.
    pub(crate) place: Place,
}

/// `endpoint` or `cluster`: addresses, which may have a password in them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Servers {
    One(Secret),
    /// Those who are asked who else there is. At least one.
    Cluster(Vec<Secret>),
}

const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> Shared {
    at.section(later::NONE, |keys| {
        let servers = servers(at, keys);
        let duration = |keys: &mut Keys<'_>, name, default| {
            let value = keys.value(name).and_then(|at| at.duration());
            value.unwrap_or(default)
        };
        let prefix = keys.value("prefix").and_then(|at| at.text()).unwrap_or("teleflow:");
        let (ca_file, identity) = tls(keys);
        Shared {
            servers,
            prefix: prefix.to_owned(),
            ttl: super::tail_sampling::more_than_zero(keys, "ttl", DEFAULT_TTL),
            timeout: super::tail_sampling::more_than_zero(keys, "timeout", DEFAULT_TIMEOUT),
            grace: duration(keys, "grace", DEFAULT_GRACE),
            ca_file,
            identity,
            place: at.place(),
        }
    })
}

/// Whether decisions are there for as long as any gateway may wait for its own.
pub(super) fn check(at: &At<'_>, shared: Option<&Shared>, wait: Duration) {
    let Some(shared) = shared else { return };
    let least = wait.saturating_add(shared.grace);
    if shared.ttl <= least {
        let message = format!(
            "{}.decision_cache.shared.ttl ({:?}) must be more than a trace waits ({least:?}, with grace)",
            at.path(),
            shared.ttl,
        );
        at.report.error(shared.place.0, message);
    }
}

fn servers(at: &At<'_>, keys: &mut Keys<'_>) -> Servers {
    match (keys.value("endpoint"), keys.value("cluster")) {
        (Some(_), Some(cluster)) => {
            let message = format!("{} is written, and `endpoint` as well", cluster.path());
            at.report.error_with_hint(cluster.name_at(), message, "leave one of them out");
            Servers::Cluster(Vec::new())
        }
        (Some(endpoint), None) => Servers::One(server(&endpoint)),
        (None, Some(cluster)) => {
            if !cluster.is_list() {
                cluster.refuse_secret("be a list");
                return Servers::Cluster(Vec::new());
            }
            let items = cluster.items();
            if items.is_empty() {
                cluster.refuse_empty("server");
            }
            Servers::Cluster(items.iter().map(server).collect())
        }
        (None, None) => {
            if !keys.is_refused() {
                at.missing("endpoint");
            }
            Servers::Cluster(Vec::new())
        }
    }
}

fn server(at: &At<'_>) -> Secret {
    let text = at.secret_text().unwrap_or_default();
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
    // The client reads the rest.
    if rest.is_none_or(str::is_empty) && !at.is_null() {
        at.refuse_secret("be an address such as `redis://host:6379`, or `rediss://` with TLS");
    }
    Secret::new(text.to_owned())
}

fn tls(keys: &mut Keys<'_>) -> (Option<PathBuf>, Option<(PathBuf, PathBuf)>) {
    let Some(at) = keys.value("tls") else { return (None, None) };
    at.section(later::NONE, |keys| {
        let mut file = |name| {
            let at = keys.value(name)?;
            Some(PathBuf::from(at.text_that_is_not_empty().unwrap_or_default()))
        };
        let (ca, certificate, key) = (file("ca_file"), file("cert_file"), file("key_file"));
        if certificate.is_some() != key.is_some() {
            at.missing(if key.is_some() { "cert_file" } else { "key_file" });
        }
        (ca, certificate.zip(key))
    })
}
