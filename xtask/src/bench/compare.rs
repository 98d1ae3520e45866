//! This run's figures beside those of an earlier one.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::rows::{self, Row};
use super::saved::Saved;

/// Prints the changes of one benchmark and returns those that are worse by over `threshold` percent.
pub fn against(saved: &Saved, bench: &str, now: &[Row], threshold: f64) -> Result<Vec<String>> {
    let path = saved.report(bench);
    if !path.exists() {
        bail!("`{}` has no figures of `{bench}`: save them first", saved.name());
    }
    let before = rows::read(&path)?;
    let (table, worse) = compare(&before, now, threshold);
    println!("\n{bench} against {}\n{table}", saved.name());
    Ok(worse.into_iter().map(|change| format!("{bench}: {change}")).collect())
}

fn compare(before: &[Row], now: &[Row], threshold: f64) -> (String, Vec<String>) {
    let mut table = String::new();
    let mut worse = Vec::new();
    for row in now {
        let Some(old) = before.iter().find(|old| old.measures_what(row)) else {
            let _ = writeln!(table, "  {}: new", title(row));
            continue;
        };
        let _ = writeln!(
            table,
            "  {}: ours {}, ratio {}",
            title(row),
            change(old.ours, row.ours),
            change(old.ratio, row.ratio)
        );
        let Some(loss) = loss(old, row).filter(|&loss| threshold < loss) else {
            continue;
        };
        worse.push(format!(
            "{} is {loss:.1} % worse: {}, at most {threshold} % is allowed",
            title(row),
            change(old.ours, row.ours)
        ));
    }
    for old in before.iter().filter(|old| !now.iter().any(|row| row.measures_what(old))) {
        let _ = writeln!(table, "  {}: no longer measured", title(old));
    }
    (table, worse)
}

/// How many percent our figure got worse; negative when it got better.
fn loss(before: &Row, now: &Row) -> Option<f64> {
    let (old, new) = (before.ours?, now.ours?);
    let grown = if old == new { 0.0 } else { 100.0 * (new - old) / old };
    Some(if higher_is_better(&now.unit) { -grown } else { grown })
}

/// A rate, and what is to be there at once, are better when they are higher, all else when it is
/// lower.
fn higher_is_better(unit: &str) -> bool {
    unit.ends_with("/s") || unit.ends_with("/CPU-s") || unit == "connections"
}

fn title(row: &Row) -> String {
    match &row.rival {
        Some(rival) => format!("{} [{}] vs {rival}", row.metric, row.unit),
        None => format!("{} [{}]", row.metric, row.unit),
    }
}

fn change(before: Option<f64>, now: Option<f64>) -> String {
    match (before, now) {
        (Some(old), Some(new)) if old != 0.0 => {
            format!("{old:.4} -> {new:.4} ({:+.1} %)", 100.0 * (new - old) / old)
        }
        (Some(old), Some(new)) => format!("{old:.4} -> {new:.4}"),
        (Some(old), None) => format!("{old:.4} -> none"),
        (None, Some(new)) => format!("none -> {new:.4}"),
        (None, None) => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, unit: &str, ours: f64) -> Row {
        Row {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            ours: Some(ours),
            rival: None,
            rival_value: None,
            ratio: None,
        }
    }

    #[track_caller]
    fn check(unit: &str, before: f64, now: f64, is_worse: bool) {
        let (_, worse) = compare(&[row("x", unit, before)], &[row("x", unit, now)], 15.0);
        assert_eq!(!worse.is_empty(), is_worse, "{worse:?}");
    }

    #[test]
    fn the_unit_says_which_way_is_better() {
        check("ns", 100.0, 116.0, true);
        check("ns", 100.0, 114.0, false);
        check("ns", 100.0, 50.0, false);
        check("spans/s", 100.0, 84.0, true);
        check("spans/s", 100.0, 86.0, false);
        check("spans/s", 100.0, 200.0, false);
        check("spans/CPU-s", 100.0, 84.0, true);
        check("spans/CPU-s", 100.0, 200.0, false);
        check("CPU-s", 100.0, 116.0, true);
        check("connections", 100.0, 84.0, true);
    }

    #[test]
    fn from_nothing_to_something_is_worse() {
        check("allocs", 0.0, 1.0, true);
        check("allocs", 0.0, 0.0, false);
        check("allocs", 1.0, 0.0, false);
    }

    #[test]
    fn rows_come_and_go_without_failing() {
        let (table, worse) = compare(&[row("old", "ns", 1.0)], &[row("new", "ns", 9.0)], 15.0);
        assert_eq!(table, "  new [ns]: new\n  old [ns]: no longer measured\n");
        assert!(worse.is_empty());
    }

    #[test]
    fn a_loss_names_both_figures() {
        let (table, worse) = compare(&[row("x", "ns", 100.0)], &[row("x", "ns", 150.0)], 15.0);
        assert_eq!(table, "  x [ns]: ours 100.0000 -> 150.0000 (+50.0 %), ratio none\n");
        let expected =
            "x [ns] is 50.0 % worse: 100.0000 -> 150.0000 (+50.0 %), at most 15 % is allowed";
        assert_eq!(worse, [expected]);
    }
}
