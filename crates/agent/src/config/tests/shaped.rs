//! How much exporters send and where: breakers, rates, several destinations.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::super::*;
use super::{FULL, check_refused, completed, count, id, parse, reference, tcp};

fn grpc<'a>(config: &'a Config, name: &str) -> &'a OtlpGrpcExporter {
    match &config.exporters[&id(name)] {
        Exporter::OtlpGrpc(grpc) => grpc,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exporter_says_how_much_it_sends() {
    let config = parse(FULL).0;
    let otlp = grpc(&config, "otlp/socket");
    let wrappers = Wrappers {
        breaker: Some(CircuitBreaker {
            failures: NonZeroU32::new(10),
            failure_ratio: Some(0.25),
            min_requests: 40,
            window: Duration::from_secs(20),
            open_for: Duration::from_secs(60),
            probes: NonZeroU16::new(2).unwrap(),
            successes: NonZeroU16::new(3).unwrap(),
        }),
        concurrency: Some(AdaptiveConcurrency {
            initial: count(2),
            max: count(50),
            decrease_ratio: 0.8,
            ewma_alpha: 0.5,
            rtt_deviation_scale: 3.0,
        }),
        rate: Some(RateLimit {
            unit: RateUnit::Items,
            per_second: NonZeroU32::new(10_000).unwrap(),
            burst: NonZeroU32::new(20_000).unwrap(),
        }),
    };
    assert_eq!(otlp.wrappers, wrappers);
    let budget = RetryBudget { share: 0.5, per_second: 2.0, burst: 50.0 };
    assert_eq!(otlp.retry.and_then(|retry| retry.budget), Some(budget));
    // There are as many at a time as may be found out.
    assert_eq!(otlp.queue.as_ref().map(|queue| queue.num_consumers), Some(count(50)));
}

#[test]
fn what_shapes_is_off_unless_it_is_there_and_then_has_the_libraries_defaults() {
    let config = parse(&completed(
        "exporters: {debug: , otlp: {endpoint: 'http://c:1', circuit_breaker: , adaptive_concurrency: {}, \
         rate_limit: {per_second: 5}, retry_on_failure: {budget: }}, otlp/2: {endpoint: 'http://c:1'}}",
    ))
    .0;
    assert_eq!(grpc(&config, "otlp/2").wrappers, Wrappers::default());
    let otlp = grpc(&config, "otlp");
    let Wrappers { breaker: Some(breaker), concurrency: Some(adaptive), rate: Some(rate) } =
        &otlp.wrappers
    else {
        panic!("{:?}", otlp.wrappers)
    };
    assert_eq!((breaker.failures, breaker.failure_ratio), (NonZeroU32::new(5), Some(0.5)));
    assert_eq!((breaker.min_requests, breaker.window.as_secs()), (20, 10));
    assert_eq!((adaptive.initial, adaptive.max), (count(1), count(200)));
    assert_eq!((rate.unit, rate.burst.get()), (RateUnit::Requests, 5));
    let budget = RetryBudget { share: 0.2, per_second: 1.0, burst: 100.0 };
    assert_eq!(otlp.retry.and_then(|retry| retry.budget), Some(budget));
}

#[test]
fn what_shapes_has_bounds() {
    check_refused(
        r"
            exporters:
              debug:
              otlp:
                endpoint: c:1
                circuit_breaker: {failures: 0, failure_ratio: 0}
                adaptive_concurrency: {initial_concurrency: 0, max_concurrency_limit: lots, decrease_ratio: 1, ewma_alpha: 0, rtt_deviation_scale: -1}
                rate_limit: {unit: spans, burst: 0}
                retry_on_failure: {budget: {share: -1, per_second: a, burst: 0, bursts: 1}}
              otlp/2:
                endpoint: c:1
                circuit_breaker: {failures: -1, failure_ratio: 2, window: 1ms, probes: 0, open_for: 5}
                adaptive_concurrency: {initial_concurrency: 5, max_concurrency_limit: 4}
                rate_limit: {unit: bytes, per_second: 2GB, burst: 1MB}",
        &[
            "5:5: exporters.otlp.circuit_breaker would never open; `failures` or `failure_ratio` has to be more than 0",
            "6:49: exporters.otlp.adaptive_concurrency.initial_concurrency must be a whole number from 1 to 4294967295, got the number 0",
            "6:75: exporters.otlp.adaptive_concurrency.max_concurrency_limit must be a whole number from 1 to 4294967295, got `lots`",
            "6:97: exporters.otlp.adaptive_concurrency.decrease_ratio must be a number from 0.001 to 0.999, got the number 1",
            "6:112: exporters.otlp.adaptive_concurrency.ewma_alpha must be a number from 0.001 to 0.999, got the number 0",
            "6:136: exporters.otlp.adaptive_concurrency.rtt_deviation_scale must be a number from 0 to 1000000000, got the number -1",
            "7:5: missing key `per_second` in exporters.otlp.rate_limit",
            "7:24: exporters.otlp.rate_limit.unit must be one of: bytes, items, requests, got `spans`",
            "7:38: exporters.otlp.rate_limit.burst must be a whole number from 1 to 1000000000, got the number 0",
            "8:40: exporters.otlp.retry_on_failure.budget.share must be a number from 0 to 1000000000, got the number -1",
            "8:56: exporters.otlp.retry_on_failure.budget.per_second must be a number from 0 to 1000000000, got `a`",
            "8:66: exporters.otlp.retry_on_failure.budget.burst must be a number from 1 to 1000000000, got the number 0",
            "8:69: unknown key `bursts` in exporters.otlp.retry_on_failure.budget; did you mean `burst`? known: burst, per_second, share",
            "11:33: exporters.otlp/2.circuit_breaker.failures must be a whole number from 0 to 4294967295, got the number -1",
            "11:52: exporters.otlp/2.circuit_breaker.failure_ratio must be a number from 0 to 1, got the number 2",
            "11:63: exporters.otlp/2.circuit_breaker.window must be from 10ms to 1h, got `1ms`",
            "11:76: exporters.otlp/2.circuit_breaker.probes must be a whole number from 1 to 65535, got the number 0",
            "11:89: exporters.otlp/2.circuit_breaker.open_for must be a duration, got the number 5; write the unit: `5s`, `5ms`",
            "12:75: exporters.otlp/2.adaptive_concurrency.max_concurrency_limit must be at least initial_concurrency (5), got the number 4",
            "13:43: exporters.otlp/2.rate_limit.per_second must be a number of bytes from 1 to 1000000000, got `2GB`",
        ],
    );
}

#[test]
fn several_destinations_share_a_queue_and_what_they_have_in_common() {
    let config = parse(FULL).0;
    let Exporter::LoadBalancing(balance) = &config.exporters[&id("loadbalancing")] else {
        panic!()
    };
    let servers = &balance.servers;
    let endpoints: Vec<_> = servers.iter().map(|server| server.endpoint.clone()).collect();
    assert_eq!(endpoints, [tcp("one", 4317), tcp("two", 14317), tcp("::1", 4317)]);
    for server in servers {
        assert_eq!((server.timeout, &server.tls), (Some(Duration::from_secs(1)), &None));
        assert_eq!(server.auth, Some(reference("apikeyauth")));
        assert_eq!((&server.retry, &server.queue), (&None, &None));
    }
    assert_eq!(balance.retry.map(|retry| retry.max_elapsed_time), Some(None));
    let Exporter::Failover(failover) = &config.exporters[&id("failover")] else { panic!() };
    assert_eq!(failover.retry_interval, Duration::from_secs(10));
    assert!(failover.retry.is_none() && failover.queue.is_none());
    let [Destination::Grpc(first), Destination::Http(second)] = &failover.destinations[..] else {
        panic!("{:?}", failover.destinations)
    };
    assert_eq!(first.endpoint, tcp("one", 4317));
    let limit = first.retry.and_then(|retry| retry.max_elapsed_time);
    assert_eq!(limit, Some(Duration::from_secs(30)));
    assert_eq!(second.traces_url.as_deref(), Some("https://two/v1/traces"));
    assert!(second.retry.is_none());
}

#[test]
fn destinations_are_known_and_there_once() {
    check_refused(
        r"
            exporters:
              debug:
              loadbalancing:
              loadbalancing/2: {protocol: {otlp: {endpoint: c:1, sending_queue: {}}}, resolver: {static: {hostnames: []}}, routing_key: service}
              loadbalancing/3:
                protocol: {otlp: {tls: {insecure: true, ca_file: x}}}
                resolver: {static: {hostnames: [a, 'a:4317', 'http://b', 'b:x', 5]}}
              loadbalancing/4: {protocol: {otlp_http: {}}, resolver: {dns: {hostname: a}}, routing_key: spanID, timeout: 5s}
              failover: {destinations: []}
              failover/2: {destinations: [otlp, {}, {otlp: {endpoint: c:1}, otlphttp: {endpoint: http://c}}], retry_interval: 0}
              failover/3: {destinations: [{otlphttp: {traces_endpoint: http://c, sending_queue: {}}}, {debug: }]}
            service: {pipelines: {logs: {receivers: [otlp], exporters: [failover/3]}}}",
        &[
            "3:3: missing key `resolver` in exporters.loadbalancing",
            "3:3: missing key `protocol` in exporters.loadbalancing",
            "4:39: exporters.loadbalancing/2.protocol.otlp.endpoint has no place here; write it in `resolver.static.hostnames`",
            "4:54: exporters.loadbalancing/2.protocol.otlp.sending_queue has no place here; write it for the exporter as a whole",
            "4:106: exporters.loadbalancing/2.resolver.static.hostnames must have at least one host",
            "4:125: exporters.loadbalancing/2.routing_key `service` is not supported in this version; known: traceID",
            "7:37: exporters.loadbalancing/3.resolver.static.hostnames[0] is unencrypted, but `tls.ca_file` is written; leave out `insecure: true` to encrypt, or the other keys of `tls`",
            "7:40: exporters.loadbalancing/3.resolver.static.hostnames names `a:4317` a second time",
            "7:50: exporters.loadbalancing/3.resolver.static.hostnames[2] must be `host` or `host:port`, got `http://b`; write it without a scheme: `tls` says whether it is encrypted",
            "7:62: exporters.loadbalancing/3.resolver.static.hostnames[3] must be `host` or `host:port`, got `b:x`; a port is a number up to 65535",
            "7:69: exporters.loadbalancing/3.resolver.static.hostnames[4] must be `host` or `host:port`, got the number 5; write the host: `localhost:4317`",
            "8:21: missing key `otlp` in exporters.loadbalancing/4.protocol",
            "8:32: key `otlp_http` in exporters.loadbalancing/4.protocol is not supported in this version",
            "8:48: missing key `static` in exporters.loadbalancing/4.resolver",
            "8:59: key `dns` in exporters.loadbalancing/4.resolver is not supported in this version; write the servers in `static.hostnames`",
            "8:93: exporters.loadbalancing/4.routing_key must be one of: traceID, got `spanID`",
            "8:101: key `timeout` in exporters.loadbalancing/4 is not supported in this version; write it in `protocol.otlp`",
            "9:28: exporters.failover.destinations must have at least one destination",
            "10:31: exporters.failover/2.destinations[0] must be a mapping, got `otlp`",
            "10:37: exporters.failover/2.destinations[1] must have one key, otlp or otlphttp",
            "10:41: exporters.failover/2.destinations[2] must have one key, otlp or otlphttp",
            "10:115: exporters.failover/2.retry_interval must be more than 0, got the number 0",
            "11:70: exporters.failover/3.destinations[0].otlphttp.sending_queue has no place here; write it for the exporter as a whole",
            "11:91: exporters.failover/3.destinations[1] must have one key, otlp or otlphttp",
            "11:92: unknown key `debug` in exporters.failover/3.destinations[1]; known: otlp, otlp_grpc, otlp_http, otlphttp",
            "12:61: service.pipelines.logs.exporters[0] is `failover/3`, which does not know where logs go; write `endpoint` or `logs_endpoint` in exporters.failover/3",
        ],
    );
}
