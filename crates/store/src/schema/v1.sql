CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_span_id TEXT,
    start_time_unix_nano INTEGER NOT NULL,
    end_time_unix_nano INTEGER NOT NULL,
    duration_nano INTEGER NOT NULL AS (end_time_unix_nano - start_time_unix_nano) VIRTUAL,
    kind INTEGER NOT NULL,
    status_code INTEGER NOT NULL,
    status_message TEXT NOT NULL,
    flags INTEGER NOT NULL,
    service_name TEXT NOT NULL,
    name TEXT NOT NULL,
    trace_state TEXT NOT NULL,
    scope_name TEXT NOT NULL,
    scope_version TEXT NOT NULL,
    scope_attributes TEXT NOT NULL,
    attributes TEXT NOT NULL,
    resource TEXT NOT NULL,
    events TEXT NOT NULL,
    links TEXT NOT NULL
);
CREATE INDEX spans_by_trace ON spans (id >> 15, trace_id);
CREATE INDEX spans_by_start ON spans (id >> 15, start_time_unix_nano);
CREATE INDEX spans_roots ON spans (id, duration_nano, trace_id) WHERE parent_span_id IS NULL;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    time_unix_nano INTEGER NOT NULL,
    observed_time_unix_nano INTEGER NOT NULL,
    trace_id TEXT,
    span_id TEXT,
    flags INTEGER NOT NULL,
    severity_number INTEGER NOT NULL,
    severity_text TEXT NOT NULL,
    service_name TEXT NOT NULL,
    event_name TEXT NOT NULL,
    body TEXT,
    body_is_json INTEGER NOT NULL,
    scope_name TEXT NOT NULL,
    scope_version TEXT NOT NULL,
    scope_attributes TEXT NOT NULL,
    attributes TEXT NOT NULL,
    resource TEXT NOT NULL
);
CREATE INDEX logs_by_trace ON logs (id >> 15, trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX logs_by_time ON logs (id >> 15, time_unix_nano);

CREATE TABLE metric_points (
    id INTEGER PRIMARY KEY,
    service_name TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    description TEXT NOT NULL,
    temporality INTEGER NOT NULL,
    monotonic INTEGER NOT NULL,
    start_time_unix_nano INTEGER NOT NULL,
    time_unix_nano INTEGER NOT NULL,
    value_int INTEGER,
    value_double REAL,
    value NUMERIC AS (coalesce(value_int, value_double)) VIRTUAL,
    count INTEGER,
    sum REAL,
    min REAL,
    max REAL,
    scope_name TEXT NOT NULL,
    scope_version TEXT NOT NULL,
    scope_attributes TEXT NOT NULL,
    attributes TEXT NOT NULL,
    resource TEXT NOT NULL,
    point BLOB NOT NULL
);
CREATE INDEX metric_points_by_name ON metric_points (id >> 15, name, time_unix_nano);

ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('spans', 'spans_by_trace', '1000000 32768 8'),
    ('spans', 'spans_by_start', '1000000 32768 1'),
    ('logs', 'logs_by_trace', '1000000 32768 8'),
    ('logs', 'logs_by_time', '1000000 32768 1'),
    ('metric_points', 'metric_points_by_name', '1000000 32768 100 1');
