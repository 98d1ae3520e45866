//! The report of a benchmark: an array of rows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::workspace::Workspace;

/// The keys of a row, all of them and no others.
const KEYS: [&str; 6] = ["metric", "ours", "ratio", "rival", "rival_value", "unit"];

/// One line of a report.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub metric: String,
    pub unit: String,
    /// `None` where only the rival ran.
    pub ours: Option<f64>,
    pub rival: Option<String>,
    pub rival_value: Option<f64>,
    /// Above 1 where we are ahead.
    pub ratio: Option<f64>,
}

/// Where the benchmark `name` reports.
pub fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target.join("bench").join(format!("{name}.json"))
}

pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("the benchmark left no report in {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a report", path.display()))
}

/// Writes a report as the benchmarks themselves do.
pub fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
    let context = || format!("cannot write {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(context)?;
    fs::write(path, format!("{:#}\n", Value::Array(rows))).with_context(context)
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let value: Value = serde_json::from_str(text)?;
    let rows = value.as_array().context("it is not an array")?;
    if rows.is_empty() {
        bail!("it has no rows");
    }
    rows.iter()
        .enumerate()
        .map(|(index, row)| Row::parse(row).with_context(|| format!("row {}", index + 1)))
        .collect()
}

// === impl Row ===

impl Row {
    fn parse(value: &Value) -> Result<Self> {
        let row = value.as_object().context("it is not an object")?;
        let missing = KEYS.iter().find(|key| !row.contains_key(**key));
        if let Some(missing) = missing {
            bail!("no `{missing}`");
        }
        if let Some(key) = row.keys().find(|key| !KEYS.contains(&key.as_str())) {
            bail!("unknown key `{key}`");
        }
        let text = |key: &str| match &row[key] {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Null => Ok(None),
            other => bail!("`{key}` is {other}, not a text"),
        };
        let number = |key: &str| match &row[key] {
            Value::Number(number) => Ok(number.as_f64()),
            Value::Null => Ok(None),
            other => bail!("`{key}` is {other}, not a number"),
        };
        Ok(Self {
            metric: text("metric")?.context("`metric` is null")?,
            unit: text("unit")?.context("`unit` is null")?,
            ours: number("ours")?,
            rival: text("rival")?,
            rival_value: number("rival_value")?,
            ratio: number("ratio")?,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "metric": self.metric,
            "unit": self.unit,
            "ours": self.ours,
            "rival": self.rival,
            "rival_value": self.rival_value,
            "ratio": self.ratio,
        })
    }

    /// Whether `other` is the same measurement against the same rival.
    pub fn measures_what(&self, other: &Self) -> bool {
        (&self.metric, &self.unit, &self.rival) == (&other.metric, &other.unit, &other.rival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn a_report_is_read() {
        let text = r#"[{ "metric": "span", "unit": "ns", "ours": 50.5, "rival": "prost",
                         "rival_value": 1650, "ratio": 32.6 },
                       { "metric": "idle", "unit": "MB", "ours": 9, "rival": null,
                         "rival_value": null, "ratio": null }]"#;
        let rows = parse(text).unwrap();
        assert_eq!(rows[0].ours, Some(50.5));
        assert_eq!(rows[0].rival.as_deref(), Some("prost"));
        assert_eq!(rows[1].ratio, None);
    }

    #[test]
    fn what_is_written_is_read() {
        let row = Row {
            metric: "x".to_owned(),
            unit: "ns".to_owned(),
            ours: Some(1.5),
            rival: None,
            rival_value: None,
            ratio: None,
        };
        let text = Value::Array(vec![row.to_json()]).to_string();
        assert_eq!(parse(&text).unwrap(), [row]);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        refuse("{}", "it is not an array");
        refuse("[]", "it has no rows");
        refuse("[1]", "row 1: it is not an object");
        refuse(r#"[{ "metric": "x" }]"#, "row 1: no `ours`");
        let row = |metric: &str, more: &str| {
            format!(
                r#"[{{ "metric": {metric}, "unit": "ns", "ours": 1, "rival": null,
                       "rival_value": null, "ratio": null {more} }}]"#
            )
        };
        refuse(&row("\"x\"", ", \"p99\": 1"), "row 1: unknown key `p99`");
        refuse(&row("1", ""), "row 1: `metric` is 1, not a text");
        refuse(&row("null", ""), "row 1: `metric` is null");
        parse(&row("\"x\"", "")).unwrap();
    }
}
