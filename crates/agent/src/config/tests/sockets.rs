//! Unix sockets, and the limits of receivers.

use super::super::*;
use super::{FULL, check_refused, completed, id, parse};

#[test]
fn a_socket_is_where_a_receiver_listens_and_an_exporter_sends() {
    let config = parse(FULL).0;
    let Receiver::Otlp(otlp) = &config.receivers[&id("otlp/socket")];
    let unix = |path: &str| Address::Unix(path.into());
    assert_eq!(otlp.grpc.as_ref().unwrap().endpoint, unix("/run/grpc.sock"));
    assert_eq!(otlp.http.as_ref().unwrap().endpoint, unix("/run/http.sock"));
    let Exporter::OtlpGrpc(grpc) = &config.exporters[&id("otlp/socket")] else { panic!() };
    assert_eq!((&grpc.endpoint, &grpc.tls), (&unix("/run/collector.sock"), &None));
    assert_eq!(grpc.endpoint.to_string(), "unix:/run/collector.sock");
    let Exporter::OtlpHttp(http) = &config.exporters[&id("otlphttp/socket")] else { panic!() };
    assert_eq!(http.socket.as_deref(), Some(Path::new("/run/collector.sock")));
    assert_eq!((&http.traces_url, &http.logs_url), (&None, &None));
}

#[test]
fn two_protocols_may_share_an_endpoint() {
    for (grpc, http, is_one) in [
        ("endpoint: 'a:1'", "endpoint: 'a:1'", true),
        ("endpoint: 'a:1'", "endpoint: 'a:2'", false),
        ("endpoint: 'a:0'", "endpoint: 'a:0'", false),
        ("transport: unix, endpoint: /a", "transport: unix, endpoint: /a", true),
        ("", "", false),
    ] {
        let protocols = format!("grpc: {{{grpc}}}, http: {{{http}}}");
        let text = completed(&format!("receivers: {{otlp: {{protocols: {{{protocols}}}}}}}"));
        let Receiver::Otlp(otlp) = &parse(&text).0.receivers[&id("otlp")];
        assert_eq!(otlp.has_one_endpoint(), is_one, "{protocols}");
    }
    check_refused(
        r"
            receivers:
              otlp:
                protocols:
                  grpc: {endpoint: 'a:1', tls: {cert_file: a, key_file: b}}
                  http: {endpoint: 'a:1'}",
        &[
            "3:5: receivers.otlp.protocols has one endpoint and two different `tls`; write the same `tls` for both, or give each its own endpoint",
        ],
    );
}

#[test]
fn a_socket_has_a_path_and_no_certificates() {
    check_refused(
        r"
            receivers:
              otlp: {protocols: {grpc: {transport: unix}, http: {transport: unix, endpoint: '@x'}}}
              otlp/2: {protocols: {grpc: {transport: tcp4}, http: {transport: tcp, endpoint: /run/x}}}
              otlp/3: {protocols: {grpc: {transport: pigeon}, http: {transport: unix, endpoint: 5}}}
            exporters:
              debug:
              otlp: {endpoint: 'unix:///run/x', tls: {ca_file: x}}
              otlp/2: {endpoint: 'unix:'}
              otlphttp: {endpoint: 'unix:///run/x', logs_endpoint: http://c}
              otlphttp/2: {endpoint: 'unix:///', tls: {key_file: x, cert_file: x}}
              otlphttp/3: {traces_endpoint: 'unix:///run/x'}",
        &[
            "2:22: missing key `endpoint` in receivers.otlp.protocols.grpc",
            "2:81: receivers.otlp.protocols.http.endpoint must be the path of a socket, got `@x`; write the path of its file: `/run/otlp.sock`",
            "3:42: receivers.otlp/2.protocols.grpc.transport `tcp4` is not supported in this version; known: tcp, unix",
            "3:82: receivers.otlp/2.protocols.http.endpoint must be an address to listen on, got `/run/x`; write the port: `localhost:4317`",
            "4:42: receivers.otlp/3.protocols.grpc.transport must be one of: tcp, unix, got `pigeon`",
            "4:85: receivers.otlp/3.protocols.http.endpoint must be the path of a socket, got the number 5; write a path: `/run/otlp.sock`",
            "7:20: exporters.otlp.endpoint is unencrypted, but `tls.ca_file` is written; leave it out: a socket leads nowhere but to this machine",
            "8:22: exporters.otlp/2.endpoint must be `host:port`, `https://host:port`, `http://host:port` or `unix:///path`, got `unix:`; write the path of its file: `/run/otlp.sock`",
            "9:41: exporters.otlphttp.logs_endpoint is written, and `endpoint` is a socket; leave it out",
            "10:26: exporters.otlphttp/2.endpoint is unencrypted, but `tls.cert_file` is written; leave it out: a socket leads nowhere but to this machine",
            "10:26: exporters.otlphttp/2.endpoint must be a URL, or `unix:` and the path of a socket, got `unix:///`; write the path of its file: `/run/otlp.sock`",
            "11:33: exporters.otlphttp/3.traces_endpoint must be a URL such as `http://localhost:4318`, got `unix:///run/x`; known schemes: http, https",
        ],
    );
}

#[test]
fn a_receiver_has_room_for_its_largest_request_and_patience() {
    check_refused(
        r"
            receivers:
              otlp:
                protocols: {http: {max_request_body_size: 8MiB, read_timeout: 0, read_header_timeout: 5}}
                limits:
                  max_in_flight_bytes: 16777215
                  max_connections: 0
                  max_connections_per_peer: none
                  retry_after: 10s
                  max_retry_after: 9s
                  handshake_timeout: 0
                  idle: 5
              otlp/2:
                protocols: {http: {max_request_body_size: 8MiB}}
                limits: {max_in_flight_bytes: 16777216, max_connections_per_peer: 0}",
        &[
            "3:67: receivers.otlp.protocols.http.read_timeout must be more than 0, got the number 0",
            "3:91: receivers.otlp.protocols.http.read_header_timeout must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "5:28: receivers.otlp.limits.max_in_flight_bytes must be at least 16777216, got the number 16777215; the largest request has 8388608, compressed and inflated",
            "6:24: receivers.otlp.limits.max_connections must be a whole number from 1 to 4294967295, got the number 0",
            "7:33: receivers.otlp.limits.max_connections_per_peer must be a whole number from 0 to 4294967295, got `none`",
            "9:24: receivers.otlp.limits.max_retry_after must be at least retry_after (10s), got `9s`",
            "10:26: receivers.otlp.limits.handshake_timeout must be more than 0, got the number 0",
            "11:7: unknown key `idle` in receivers.otlp.limits; known: handshake_timeout, max_connections, max_connections_per_peer, max_in_flight_bytes, max_requests, max_retry_after, retry_after",
        ],
    );
}
