//! Policies that are made of others.

use super::super::super::read::{At, Keys, did_you_mean};
use super::{Level, Policy, Rule, read_at};

/// `composite`: parts that share a number of spans a second. The first of them that keeps a trace
/// decides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Composite {
    /// `max_total_spans_per_second`. Has to be written.
    pub(crate) max_spans_per_second: u64,
    /// `composite_sub_policy`, in the order in which they are asked. At least one.
    pub(crate) parts: Vec<Part>,
}

/// Part of a composite policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Which traces it keeps.
    pub(crate) policy: Policy,
    /// How many spans a second, by `rate_allocation`: a percentage of all; of those that are not
    /// listed, or with 0, the total divided by the number of parts.
    pub(crate) spans_per_second: u64,
}

/// Reads the policies that one is made of.
pub(super) fn parts(keys: &mut Keys<'_>, name: &'static str) -> Vec<Policy> {
    let Some(at) = keys.require(name) else { return Vec::new() };
    let items = at.items();
    if items.is_empty() && at.is_list() {
        at.refuse_empty("policy");
    }
    items.iter().map(|item| read_at(item, Level::Below)).collect()
}

pub(super) fn not(keys: &mut Keys<'_>) -> Rule {
    match keys.require("not_sub_policy") {
        Some(at) => Rule::Not(Box::new(read_at(&at, Level::Below))),
        None => Rule::AlwaysSample,
    }
}

pub(super) fn composite(keys: &mut Keys<'_>) -> Rule {
    let total = keys.require("max_total_spans_per_second");
    let total = total.and_then(|at| at.whole(0..=i64::MAX as u64)).unwrap_or(0);
    let policies = parts(keys, "composite_sub_policy");
    let names: Vec<&str> = policies.iter().map(|policy| &*policy.name).collect();
    if let Some(at) = keys.value("policy_order") {
        check_order(&at, &names);
    }
    let percents = keys.value("rate_allocation").map(|at| allocations(&at, &names));
    let percents = percents.unwrap_or_default();
    let equal_share = total as f64 / policies.len().max(1) as f64;
    let parts = policies.into_iter().map(|policy| {
        // The last one counts, and what is below a whole span is cut, as in the Collector.
        let percent = percents.iter().rev().find(|(name, _)| *name == policy.name);
        let percent = percent.map(|&(_, percent)| percent).filter(|&percent| percent > 0);
        let share = percent.map_or(equal_share, |percent| percent as f64 / 100.0 * total as f64);
        Part { policy, spans_per_second: share as u64 }
    });
    Rule::Composite(Composite { max_spans_per_second: total, parts: parts.collect() })
}

/// The order is that of the parts: the Collector takes the key and does nothing with it.
fn check_order(at: &At<'_>, names: &[&str]) {
    let items = at.items();
    let order: Vec<&str> = items.iter().filter_map(|item| named(item, names)).collect();
    if order.len() == items.len() && order != names {
        let path = at.path();
        let message = format!(
            "{path} has no effect, as in the Collector: the order is that of composite_sub_policy"
        );
        at.report.warn(at.value_at(), message);
    }
}

fn allocations<'a>(at: &At<'a>, names: &[&str]) -> Vec<(&'a str, u64)> {
    let items = at.items();
    let read = items.iter().map(|item| {
        item.section(&[], |keys| {
            let policy = keys.require("policy").and_then(|at| named(&at, names));
            let percent = keys.require("percent").and_then(|at| at.whole(0..=100));
            Some((policy?, percent?))
        })
    });
    read.flatten().collect()
}

/// The name of one of the parts.
fn named<'a>(at: &At<'a>, names: &[&str]) -> Option<&'a str> {
    let name = at.text_that_is_not_empty()?;
    if names.contains(&name) {
        return Some(name);
    }
    let known = format!("defined: {}", names.join(", "));
    let hint = did_you_mean(name, names.iter().copied(), known);
    let (path, shown) = (at.path(), at.describe());
    let message = format!("{path} is {shown}, which composite_sub_policy does not define");
    at.report.error_with_hint(at.value_at(), message, hint);
    None
}
