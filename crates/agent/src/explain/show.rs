//! An explanation as text.

use std::fmt::Write as _;

use teleflow::exporter::acts_on_terminal;
use teleflow::sampler::{Explained, Explanation, Threshold, Vote};

/// A longer name moves its own line only.
const MAX_NAME: usize = 40;

/// A line for each vote, and one for what becomes of the trace.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let names = explanation.votes.iter().map(|vote| shown(&vote.rule).chars().count());
    let width = names.max().unwrap_or(0).min(MAX_NAME);
    let mut out = String::new();
    for Explained { rule, vote, why } in &explanation.votes {
        let (rule, why) = (shown(rule), shown(why));
        let _ = writeln!(out, "  {rule:width$}  {:18} {why}", word(*vote));
    }
    out.push_str(&verdict(explanation));
    out
}

const fn word(vote: Vote) -> &'static str {
    match vote {
        Vote::Dropped => "drop",
        Vote::Sampled => "keep",
        Vote::NotSampled => "-",
        Vote::InvertSampled => "keep, if all agree",
        Vote::InvertNotSampled => "leave out",
        Vote::Error => "error",
    }
}

fn verdict(explanation: &Explanation) -> String {
    let by = explanation.by.as_deref().map(shown);
    match (explanation.is_kept, by) {
        (true, by) => {
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            format!("kept{by}; {}", weight(explanation.threshold))
        }
        (false, Some(by)) => format!("left out by {by}"),
        (false, None) => "left out: nothing keeps it".to_owned(),
    }
}

fn weight(threshold: Option<Threshold>) -> String {
    match threshold {
        None => "how many traces it stands for is not known".to_owned(),
        Some(Threshold::ALL) => "it stands for itself (th:0)".to_owned(),
        Some(threshold) => {
            let count = threshold.adjusted_count();
            format!("it stands for {count:.2} traces (th:{threshold})")
        }
    }
}

/// Attributes and names are what somebody sent.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if acts_on_terminal(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(rule: &str, vote: Vote, why: &str) -> Explained {
        Explained { rule: rule.to_owned(), vote, why: why.to_owned() }
    }

    #[test]
    fn votes_are_a_table_and_the_verdict_says_what_a_trace_stands_for() {
        let tenth = Threshold::from_probability(0.1).unwrap();
        let mut shown = Explanation {
            votes: vec![
                vote("errors", Vote::NotSampled, "no span has the status error"),
                vote("all/some", Vote::Sampled, "its \u{1b}[2J randomness"),
            ],
            is_kept: true,
            threshold: Some(tenth),
            by: Some("all".to_owned()),
        };
        let text = explanation(&shown);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  errors    -                  no span has the status error");
        assert_eq!(lines[1], "  all/some  keep               its \\u{1b}[2J randomness");
        assert!(lines[2].starts_with("kept by all; it stands for 10.00 traces (th:e6"), "{text}");
        for (threshold, said) in [
            (None, "kept by all; how many traces it stands for is not known"),
            (Some(Threshold::ALL), "kept by all; it stands for itself (th:0)"),
        ] {
            shown.threshold = threshold;
            assert_eq!(verdict(&shown), said);
        }
        shown.is_kept = false;
        assert_eq!(verdict(&shown), "left out by all");
        shown.by = None;
        assert_eq!(verdict(&shown), "left out: nothing keeps it");
    }
}
