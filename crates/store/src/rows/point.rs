//! Metric data points to rows.

use rusqlite::{Connection, Error, Statement, params};
use teleflow_otlp::Signal;
use teleflow_otlp::metric::{Metric, Number};

use super::{Around, integer, json};
use crate::bounded::Bounded;
use crate::budget::{Cost, Indexes};

const INSERT: &str = "\
INSERT INTO metric_points (
    id, service_name, name, kind, unit, description, temporality, monotonic, start_time_unix_nano,
    time_unix_nano, value_int, value_double, count, sum, min, max, scope_name, scope_version,
    scope_attributes, attributes, resource, point
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
    ?22
)";

#[derive(Debug)]
pub(super) struct Points<'db> {
    insert: Statement<'db>,
    attributes: String,
}

// === impl Points ===

impl<'db> Points<'db> {
    pub(super) fn prepare(db: &'db Connection) -> Result<Self, Error> {
        Ok(Self { insert: db.prepare(INSERT)?, attributes: String::new() })
    }

    /// Inserts a metric's points and says how many were too large.
    pub(super) fn insert(
        &mut self,
        db: &mut Bounded<'_>,
        around: Around<'_>,
        message: &[u8],
    ) -> Result<u64, Error> {
        let mut rejected = 0;
        let metric = Metric::read(message);
        for point in metric.points() {
            json(&mut self.attributes, point.attributes());
            let bytes = around.len()
                + 128
                + 2 * metric.name.len()
                + metric.unit.len()
                + metric.description.len()
                + self.attributes.len()
                + point.message().len();
            // Names can be of any length.
            let cost = Cost::row(bytes, Indexes::Scattered(1));
            let Some(id) = db.admit(Signal::Metrics, cost)? else {
                rejected += 1;
                continue;
            };
            let (int, double) = match point.value {
                Some(Number::Int(value)) => (Some(value), None),
                Some(Number::Double(value)) => (None, Some(value)),
                None => (None, None),
            };
            self.insert.execute(params![
                id,
                around.service_name,
                metric.name,
                metric.kind.name(),
                metric.unit,
                metric.description,
                metric.temporality,
                metric.monotonic,
                integer(point.start),
                integer(point.time),
                int,
                double,
                point.count.map(integer),
                point.sum,
                point.min,
                point.max,
                around.scope.name,
                around.scope.version,
                around.scope_attributes,
                self.attributes,
                around.resource,
                point.message(),
            ])?;
        }
        Ok(rejected)
    }
}
