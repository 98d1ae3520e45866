//! Makes the receivers.

use anyhow::Context as _;
use teleflow::receiver;

use super::auth::Authenticators;
use super::sending::readable;
use crate::config::{self, Reference, TlsServer};

/// Makes a receiver's configuration. Reads what says who may send, and opens no port.
pub(super) fn receiver(
    otlp: &config::OtlpReceiver,
    auth: &Authenticators<'_>,
) -> anyhow::Result<receiver::Config> {
    let (grpc, http) = (otlp.grpc.as_ref(), otlp.http.as_ref());
    let of_grpc = grpc.map(|grpc| access(grpc.tls.as_ref(), grpc.auth.as_ref(), auth));
    let of_http = http.map(|http| access(http.tls.as_ref(), http.auth.as_ref(), auth));
    let cors = http.and_then(|http| http.cors.as_ref());
    Ok(receiver::Config {
        grpc: grpc.map(|grpc| receiver::GrpcConfig {
            endpoint: grpc.endpoint.to_string(),
            max_request_bytes: grpc.max_recv_msg_bytes as usize,
        }),
        http: http.map(|http| receiver::HttpConfig {
            endpoint: http.endpoint.to_string(),
            max_request_bytes: http.max_request_body_bytes as usize,
            paths: receiver::Paths {
                traces: http.traces_url_path.clone(),
                metrics: http.metrics_url_path.clone(),
                logs: http.logs_url_path.clone(),
            },
        }),
        limits: limits(otlp),
        timeouts: timeouts(otlp),
        grpc_access: of_grpc.transpose().context("protocols.grpc")?.unwrap_or_default(),
        http_access: of_http.transpose().context("protocols.http")?.unwrap_or_default(),
        cors: cors.map(|cors| receiver::Cors {
            allowed_origins: cors.allowed_origins.clone(),
            allowed_headers: cors.allowed_headers.clone(),
            max_age: cors.max_age,
        }),
        one_port: otlp.has_one_endpoint(),
        ..receiver::Config::default()
    })
}

fn limits(otlp: &config::OtlpReceiver) -> receiver::Limits {
    let default = receiver::Limits::default();
    let sizes = [
        otlp.grpc.as_ref().map(|grpc| grpc.max_recv_msg_bytes),
        otlp.http.as_ref().map(|http| http.max_request_body_bytes),
    ];
    // One request of the largest size has to fit, compressed and inflated.
    let largest = sizes.into_iter().flatten().max().unwrap_or_default() as usize;
    let bytes = otlp.limits.max_in_flight_bytes.map(|bytes| bytes as usize);
    let streams = otlp.grpc.as_ref().and_then(|grpc| grpc.max_concurrent_streams);
    receiver::Limits {
        max_in_flight_bytes: bytes.unwrap_or(default.max_in_flight_bytes).max(largest * 2),
        max_connections: otlp.limits.max_connections.get(),
        max_connections_per_peer: otlp.limits.max_connections_per_peer,
        max_concurrent_streams: streams.unwrap_or(default.max_concurrent_streams),
        max_requests: otlp.limits.max_requests.get(),
        retry_after: otlp.limits.retry_after,
        max_retry_after: otlp.limits.max_retry_after,
    }
}

fn timeouts(otlp: &config::OtlpReceiver) -> receiver::Timeouts {
    let default = receiver::Timeouts::default();
    let mut timeouts = receiver::Timeouts { handshake: otlp.limits.handshake_timeout, ..default };
    if let Some(grpc) = &otlp.grpc {
        timeouts.idle = grpc.keepalive.max_connection_idle;
        timeouts.max_age = grpc.keepalive.max_connection_age;
        timeouts.age_grace = grpc.keepalive.max_connection_age_grace;
        timeouts.keep_alive = Some(grpc.keepalive.time);
    }
    if let Some(http) = &otlp.http {
        timeouts.header = http.read_header_timeout;
        timeouts.body = http.read_timeout;
    }
    timeouts
}

fn access(
    tls: Option<&TlsServer>,
    reference: Option<&Reference>,
    auth: &Authenticators<'_>,
) -> anyhow::Result<receiver::Access> {
    Ok(receiver::Access {
        tls: tls.map(encryption).transpose()?,
        auth: reference.map(|reference| auth.server(reference)).transpose()?,
    })
}

fn encryption(tls: &TlsServer) -> anyhow::Result<receiver::TlsConfig> {
    let files = [("cert_file", Some(&tls.certificate)), ("key_file", Some(&tls.key))];
    for (key, path) in files.into_iter().chain([("client_ca_file", tls.client_ca.as_ref())]) {
        path.map_or(Ok(()), |path| readable(key, path))?;
    }
    Ok(receiver::TlsConfig {
        client_ca: tls.client_ca.clone(),
        min_version: match tls.min_version {
            config::TlsVersion::V1_2 => receiver::TlsVersion::V1_2,
            config::TlsVersion::V1_3 => receiver::TlsVersion::V1_3,
        },
        reload_interval: tls.reload_interval,
        ..receiver::TlsConfig::new(&tls.certificate, &tls.key)
    })
}
