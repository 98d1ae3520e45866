//! `exporters.loadbalancing`

use super::super::endpoint::{Address, Endpoint};
use super::super::later;
use super::super::read::{At, Keys};
use super::delivery::{self, Retry};
use super::otlp_grpc::{self, OtlpGrpcExporter};
use super::queue::{self, Queue};

/// Spreads traces over several servers, all of a trace to the same one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoadBalancingExporter {
    /// What sends to each of the servers of `resolver.static.hostnames`, in the order of the file.
    /// There is at least one, and each is there once. They differ in their endpoints alone and have
    /// no queue.
    pub(crate) servers: Vec<OtlpGrpcExporter>,
    /// Around all of them. Default on (the Collector: off).
    pub(crate) retry: Option<Retry>,
    /// Before all of them. Default on (the Collector: off).
    pub(crate) queue: Option<Queue>,
}

const DEFAULT_PORT: u16 = 4317;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> LoadBalancingExporter {
    at.section(later::LOADBALANCING, |keys| {
        read_routing_key(keys);
        let hosts = keys.require("resolver").map(|at| read_resolver(&at)).unwrap_or_default();
        let servers = keys.require("protocol").map(|at| {
            at.section(later::PROTOCOLS, |keys| {
                let at = keys.require("otlp")?;
                let places: Vec<_> = hosts.iter().map(|(_, at)| at.clone()).collect();
                Some(otlp_grpc::read_protocol(&at, &places))
            })
        });
        let template = servers.flatten();
        LoadBalancingExporter {
            servers: hosts
                .iter()
                .zip(template.iter().cycle())
                .map(|((host, _), template)| OtlpGrpcExporter {
                    endpoint: Address::Tcp(host.clone()),
                    ..template.clone()
                })
                .collect(),
            retry: delivery::read_retry(keys, Some(Retry::default())),
            queue: queue::read(keys, queue::DEFAULT_CONSUMERS),
        }
    })
}

/// Reads `routing_key`, of which one value is known.
fn read_routing_key(keys: &mut Keys<'_>) {
    if let Some(at) = keys.value("routing_key") {
        at.one_of(&[("traceID", ())], later::ROUTING_KEYS);
    }
}

fn read_resolver<'a>(at: &At<'a>) -> Vec<(Endpoint, At<'a>)> {
    at.section(later::RESOLVERS, |keys| {
        let Some(at) = keys.require("static") else { return Vec::new() };
        at.section(later::NONE, |keys| {
            let Some(at) = keys.require("hostnames") else { return Vec::new() };
            let items = at.items();
            if items.is_empty() && at.is_list() {
                at.refuse_empty("host");
            }
            let mut hosts: Vec<(Endpoint, At<'a>)> = Vec::new();
            for item in items {
                let Some(host) = read_host(&item) else { continue };
                if hosts.iter().any(|(other, _)| *other == host) {
                    let message = format!("{} names `{host}` a second time", at.path());
                    item.report.error(item.value_at(), message);
                } else {
                    hosts.push((host, item));
                }
            }
            hosts
        })
    })
}

/// Reads a host, which has the usual port if it is not written.
fn read_host(at: &At<'_>) -> Option<Endpoint> {
    let refuse = |hint| at.refuse_endpoint("be `host` or `host:port`", hint);
    let text = at.text_or(|_| refuse("write the host: `localhost:4317`".to_owned()))?;
    let has_port = text.rfind(':').is_some_and(|colon| !text[colon..].contains(']'));
    let with_port = if has_port { text.to_owned() } else { format!("{text}:{DEFAULT_PORT}") };
    if text.contains("://") {
        refuse("write it without a scheme: `tls` says whether it is encrypted".to_owned());
        return None;
    }
    Endpoint::parse_target(&with_port).map(|(_, host)| host).map_err(refuse).ok()
}
