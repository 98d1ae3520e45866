//! Names that the Collector knows and teleflow does not support yet.
//!
//! They are refused by name like unknown ones, but not as a mistake: whoever moves a Collector's
//! file over learns that the key is right and its time has not come. The second text, if there is
//! any, says what to write instead. `docs/configuration.md` lists them; a test compares.

/// Names, each with what to do instead.
pub(super) type Later = &'static [(&'static str, &'static str)];

/// Where nothing is missing.
pub(super) const NONE: Later = &[];

pub(super) const TOP: Later = &[("connectors", "")];

pub(super) const RECEIVERS: Later = &[
    ("filelog", ""),
    ("fluentforward", ""),
    ("hostmetrics", ""),
    ("jaeger", "Jaeger's clients and agents can send OTLP"),
    ("kafka", ""),
    ("opencensus", ""),
    ("otelarrow", ""),
    ("prometheus", ""),
    ("statsd", ""),
    ("syslog", ""),
    ("zipkin", ""),
];

pub(super) const GRPC_SERVER: Later = &[
    ("include_metadata", ""),
    ("middlewares", ""),
    ("read_buffer_size", ""),
    ("write_buffer_size", ""),
];

pub(super) const HTTP_SERVER: Later = &[
    ("compression_algorithms", "gzip, zstd and none are accepted"),
    ("idle_timeout", "`keepalive` of grpc has `max_connection_idle`"),
    ("include_metadata", ""),
    ("keep_alives_enabled", ""),
    ("middlewares", ""),
    ("profiles_url_path", ""),
    ("response_headers", ""),
    ("write_timeout", ""),
];

pub(super) const TRANSPORTS: Later = &[("tcp4", ""), ("tcp6", ""), ("unixpacket", "")];

pub(super) const AUTH: Later = &[("request_params", "")];

pub(super) const SERVER_TLS: Later = &[
    ("ca_file", "`client_ca_file` says who issues clients' certificates"),
    ("ca_pem", ""),
    ("cert_pem", "write `cert_file`"),
    ("cipher_suites", ""),
    ("client_ca_file_reload", "`reload_interval` holds for all files"),
    ("curve_preferences", ""),
    ("include_system_ca_certs_pool", ""),
    ("key_pem", "write `key_file`"),
    ("max_version", ""),
    ("tpm", ""),
];

pub(super) const KEEPALIVE: Later = &[("enforcement_policy", "")];

pub(super) const SERVER_PARAMETERS: Later = &[("timeout", "a silent client has 20 s to answer")];

pub(super) const CORS: Later = &[("exposed_headers", "")];

pub(super) const PROCESSORS: Later = &[
    ("attributes", ""),
    ("cumulativetodelta", ""),
    ("filter", ""),
    ("groupbyattrs", ""),
    ("groupbytrace", "tail_sampling groups by itself"),
    ("interval", ""),
    ("k8sattributes", ""),
    ("memory_limiter", "memory is bounded without it: leave it out"),
    ("metricstransform", ""),
    ("redaction", ""),
    ("resource", ""),
    ("resourcedetection", ""),
    ("span", ""),
    ("transform", ""),
];

pub(super) const RULE_SAMPLER: Later =
    &[("shared_counters", "`cluster_size` divides goals among gateways")];

pub(super) const BATCH: Later = &[
    ("metadata_cardinality_limit", "what receives does not carry metadata"),
    ("metadata_keys", "what receives does not carry metadata"),
];

pub(super) const EXPORTERS: Later = &[
    ("clickhouse", ""),
    ("file", ""),
    ("kafka", ""),
    ("logging", "its new name is debug"),
    ("nop", ""),
    ("otelarrow", ""),
    ("prometheus", ""),
    ("prometheusremotewrite", ""),
    ("zipkin", ""),
];

pub(super) const LOADBALANCING: Later =
    &[("routing_attributes", ""), ("timeout", "write it in `protocol.otlp`")];

pub(super) const PROTOCOLS: Later = &[("otlp_http", "")];

pub(super) const ROUTING_KEYS: Later =
    &[("attributes", ""), ("metric", ""), ("resource", ""), ("service", ""), ("streamID", "")];

pub(super) const RESOLVERS: Later = &[
    ("aws_cloud_map", ""),
    ("dns", "write the servers in `static.hostnames`"),
    ("k8s", "write the servers in `static.hostnames`"),
];

pub(super) const DEBUG: Later = &[
    ("output_paths", ""),
    ("sampling_initial", ""),
    ("sampling_thereafter", ""),
    ("sending_queue", ""),
    ("use_internal_logger", ""),
];

pub(super) const GRPC_CLIENT: Later = &[
    ("authority", ""),
    ("balancer_name", ""),
    ("batcher", "use `batch` in `sending_queue`"),
    ("middlewares", ""),
    ("read_buffer_size", ""),
    ("user_agent", ""),
    ("wait_for_ready", ""),
    ("write_buffer_size", ""),
];

pub(super) const HTTP_CLIENT: Later = &[
    ("batcher", "use `batch` in `sending_queue`"),
    ("compression_params", ""),
    ("cookies", ""),
    ("disable_keep_alives", ""),
    ("force_attempt_http2", ""),
    ("http2_ping_timeout", ""),
    ("http2_read_idle_timeout", ""),
    ("max_conns_per_host", ""),
    ("max_idle_conns", ""),
    ("middlewares", ""),
    ("profiles_endpoint", ""),
    ("read_buffer_size", ""),
    ("write_buffer_size", ""),
];

pub(super) const TLS: Later = &[
    ("cipher_suites", ""),
    ("curve_preferences", ""),
    ("include_insecure_cipher_suites", ""),
    ("include_system_ca_certs_pool", ""),
    ("max_version", ""),
    ("tpm", ""),
];

pub(super) const COMPRESSIONS: Later =
    &[("deflate", ""), ("lz4", ""), ("snappy", ""), ("x-snappy-framed", ""), ("zlib", "")];

pub(super) const TLS_VERSIONS: Later = &[("1.0", ""), ("1.1", "")];

pub(super) const QUEUE_BATCH: Later = &[("partition", "what receives does not carry metadata")];

pub(super) const BASIC_CLIENT: Later = &[("aws_secrets_manager", "")];

pub(super) const FILE_STORAGE: Later =
    &[("directory_permissions", ""), ("recreate", "damaged files are skipped without it")];

pub(super) const EXTENSIONS: Later = &[
    ("db_storage", ""),
    ("health_check", "`admin` serves /health"),
    ("memory_limiter", "memory is bounded without it: leave it out"),
    ("oauth2client", ""),
    ("oidc", ""),
    ("opamp", ""),
    ("pprof", ""),
    ("zpages", "`admin` serves /metrics and /health"),
];

pub(super) const SIGNALS: Later = &[("profiles", "")];

pub(super) const TELEMETRY: Later =
    &[("metrics", "`admin` serves /metrics"), ("resource", ""), ("traces", "")];

pub(super) const TELEMETRY_LOGS: Later = &[
    ("development", ""),
    ("disable_caller", ""),
    ("disable_stacktrace", ""),
    ("encoding", ""),
    ("error_output_paths", ""),
    ("initial_fields", ""),
    ("output_paths", ""),
    ("processors", ""),
    ("sampling", ""),
];

/// Every table, with the place in the file that it is about.
#[cfg(test)]
pub(super) const ALL: &[(&str, Later)] = &[
    ("the top", TOP),
    ("receivers", RECEIVERS),
    ("receivers.otlp.protocols.grpc", GRPC_SERVER),
    ("receivers.otlp.protocols.http", HTTP_SERVER),
    ("a receiver's `transport`", TRANSPORTS),
    ("a receiver's or an exporter's `auth`", AUTH),
    ("a receiver's `tls`", SERVER_TLS),
    ("receivers.otlp.protocols.grpc.keepalive", KEEPALIVE),
    ("receivers.otlp.protocols.grpc.keepalive.server_parameters", SERVER_PARAMETERS),
    ("receivers.otlp.protocols.http.cors", CORS),
    ("processors", PROCESSORS),
    ("the `sampler` of a rule", RULE_SAMPLER),
    ("processors.batch", BATCH),
    ("exporters", EXPORTERS),
    ("exporters.debug", DEBUG),
    ("exporters.loadbalancing", LOADBALANCING),
    ("exporters.loadbalancing.protocol", PROTOCOLS),
    ("exporters.loadbalancing.resolver", RESOLVERS),
    ("exporters.loadbalancing.routing_key", ROUTING_KEYS),
    ("exporters.otlp", GRPC_CLIENT),
    ("exporters.otlphttp", HTTP_CLIENT),
    ("an exporter's `tls`", TLS),
    ("an exporter's `compression`", COMPRESSIONS),
    ("`min_version` of a `tls`", TLS_VERSIONS),
    ("an exporter's `sending_queue.batch`", QUEUE_BATCH),
    ("extensions", EXTENSIONS),
    ("extensions.basicauth.client_auth", BASIC_CLIENT),
    ("extensions.file_storage", FILE_STORAGE),
    ("service.pipelines", SIGNALS),
    ("service.telemetry", TELEMETRY),
    ("service.telemetry.logs", TELEMETRY_LOGS),
];
