//! Why policies vote as they do, in words.

use std::time::Instant;

use teleflow_otlp::span::StatusCode;
use teleflow_otlp::value::AnyValue;

use crate::engine::{Explained, Explanation};
use crate::policy::conditions::End;
use crate::policy::fact::{Fact, Looked};
use crate::policy::limit::Bucket;
use crate::policy::node::{Ask, Kind, Node};
use crate::policy::set::PolicySet;
use crate::policy::spans::{SpanTests, state_value};
use crate::policy::{Policy, Rule};
use crate::{StatusSet, Trace, Vote};

/// What of a span's text is shown, in characters.
const MAX_SHOWN: usize = 80;

// === impl PolicySet ===

impl PolicySet {
    /// How it decides about a trace, and why. For a set that was asked nothing so far: then it tells
    /// what its limits let through at once.
    pub(crate) fn explain(mut self, now: Instant, trace: &Trace<'_>) -> Explanation {
        let mut explainer = Explainer { now, trace, votes: Vec::new() };
        let (rules, nodes, tests) = self.parts();
        for (rule, node) in rules.iter().zip(nodes) {
            tests.clear();
            explainer.add(rule, String::new(), node, tests);
        }
        let votes = explainer.votes;
        let verdict = self.decide(now, trace);
        let by = verdict.by.map(|by| self.name(by));
        Explanation { votes, is_kept: verdict.is_kept, threshold: verdict.threshold, by }
    }
}

struct Explainer<'a, 't> {
    now: Instant,
    trace: &'a Trace<'t>,
    votes: Vec<Explained>,
}

// === impl Explainer ===

impl Explainer<'_, '_> {
    /// Adds a policy and its parts.
    fn add(&mut self, rule: &Rule, path: String, node: &Node, tests: &mut SpanTests) {
        let path = if path.is_empty() { rule.name.clone() } else { path + "/" + &rule.name };
        let vote = self.vote(node, tests);
        let place = self.votes.len();
        self.votes.push(Explained { rule: path.clone(), vote, why: String::new() });
        let rules: Vec<&Rule> = match &rule.policy {
            Policy::And(rules) | Policy::Drop(rules) => rules.iter().collect(),
            Policy::Not(rule) => vec![rule],
            Policy::Composite(composite) => composite.parts.iter().map(|part| &part.rule).collect(),
            _ => Vec::new(),
        };
        for (rule, node) in rules.iter().zip(node.inner()) {
            self.add(rule, path.clone(), node, tests);
        }
        self.votes[place].why = self.why(node, &rules, vote, tests);
    }

    /// How a policy votes by itself: what it counts meanwhile is forgotten.
    fn vote(&self, node: &Node, tests: &mut SpanTests) -> Vote {
        let Self { now, trace, .. } = *self;
        node.clone().vote(&mut Ask { now, trace, tests, had_error: false, part: None })
    }

    fn why(&self, node: &Node, rules: &[&Rule], vote: Vote, tests: &mut SpanTests) -> String {
        let summary = &self.trace.summary;
        match &node.kind {
            Kind::Fact(fact) => self.why_fact(fact, tests),
            Kind::Chance(chance) => chance.why(self.trace),
            Kind::SpanLimit(bucket) => of_burst(summary.spans, "spans", bucket),
            Kind::ByteLimit(bucket) => of_burst(summary.bytes, "bytes", bucket),
            Kind::And(nodes) | Kind::Drop(nodes) => {
                // The one that ended it: the first that does not keep it.
                let mut votes = nodes.iter().map(|node| self.vote(node, tests));
                match votes.position(|vote| !matches!(vote, Vote::Sampled | Vote::InvertSampled)) {
                    Some(at) if vote == Vote::Error => {
                        format!("`{}` cannot be asked", rules[at].name)
                    }
                    Some(at) => format!("`{}` does not keep it", rules[at].name),
                    None => "all of its parts keep it".into(),
                }
            }
            Kind::Not(_) => match vote {
                Vote::Sampled => format!("`{}` does not keep it", rules[0].name),
                Vote::NotSampled => format!("`{}` keeps it", rules[0].name),
                Vote::Error => format!("`{}` cannot be asked", rules[0].name),
                _ => format!("`{}` is inverted, and its vote stays as it is", rules[0].name),
            },
            Kind::Custom(running) => match vote {
                Vote::Sampled => format!("`{}` keeps it", running.name()),
                Vote::Error => format!("`{}` cannot tell", running.name()),
                _ => format!("`{}` does not keep it", running.name()),
            },
            Kind::Composite(nodes, window) => {
                let mut votes = nodes.iter().map(|node| self.vote(node, tests));
                match votes
                    .position(|vote| vote != Vote::NotSampled && vote != Vote::InvertNotSampled)
                {
                    Some(at) if vote == Vote::Error => {
                        format!("`{}` cannot be asked", rules[at].name)
                    }
                    Some(at) => {
                        let (most, spans) = (window.most(at), summary.spans);
                        let over = if spans > most { "more than" } else { "within" };
                        let name = &rules[at].name;
                        format!(
                            "`{name}` keeps it, and {spans} spans are {over} its {most} a second"
                        )
                    }
                    None => "no part keeps it".into(),
                }
            }
        }
    }

    fn why_fact(&self, fact: &Fact, tests: &mut SpanTests) -> String {
        let summary = &self.trace.summary;
        match fact {
            Fact::Always => "every trace is kept".into(),
            Fact::Status(statuses) if statuses.intersects(summary.statuses) => {
                let both = |status: &StatusCode| summary.statuses.contains(*status);
                format!("a span has the status {}", names(*statuses, both))
            }
            Fact::Status(statuses) => {
                format!("no span has the status {}", names(*statuses, |_| true))
            }
            Fact::Latency(over, up_to) => {
                let millis = summary.millis();
                if millis <= *over {
                    format!("{millis} ms is not longer than {over} ms")
                } else if millis > *up_to {
                    format!("{millis} ms is longer than {up_to} ms")
                } else if *up_to == u64::MAX {
                    format!("{millis} ms is longer than {over} ms")
                } else {
                    format!("{millis} ms is longer than {over} ms, and not longer than {up_to} ms")
                }
            }
            Fact::Spans(min, max) => {
                let spans = summary.spans;
                if spans < *min {
                    format!("{spans} spans are fewer than {min}")
                } else if spans > *max {
                    format!("{spans} spans are more than {max}")
                } else if *max == u64::MAX {
                    format!("{spans} spans are at least {min}")
                } else {
                    format!("{spans} spans are within {min}..={max}")
                }
            }
            Fact::Flags if summary.is_flagged => "a span has the sampled flag".into(),
            Fact::Flags => "no span has the sampled flag".into(),
            Fact::Found(looked) => self.why_found(*looked, tests),
            Fact::Search(number) => match tests.search(*number).explain(self.trace) {
                End::True(what) => format!("true: {what}"),
                End::Error(what) => format!("cannot be evaluated: {what}"),
                End::Nothing => "no condition is true".into(),
            },
        }
    }

    fn why_found(&self, looked: Looked, tests: &SpanTests) -> String {
        let Some((key, test)) = tests.attribute(looked.number) else {
            return self.why_state(looked, tests);
        };
        let mut found = None;
        self.trace.any(|span| {
            let whose = |value: Option<AnyValue<'_>>, is_span| {
                let value = value.filter(|value| test.matches(value, is_span))?;
                let whose = if is_span { "span" } else { "the resource of span" };
                let name = shorten(span.span().name);
                Some(format!("{whose} `{name}` has {key} {}", show(&value)))
            };
            found = whose(span.resource_attribute(key), false)
                .or_else(|| whose(span.attribute(key), true));
            found.is_some()
        });
        let wanted = test.describe();
        match found {
            Some(found) => format!("{found}, which is {wanted}"),
            None => format!("no span, nor its resource, has {key} that is {wanted}"),
        }
    }

    fn why_state(&self, looked: Looked, tests: &SpanTests) -> String {
        let Some((key, values)) = tests.state(looked.number) else { return String::new() };
        let mut found = None;
        self.trace.any(|view| {
            let span = view.span();
            let value = state_value(span.trace_state, key);
            let value = value.filter(|value| values.iter().any(|wanted| **wanted == **value));
            found = value.map(|value| {
                let name = shorten(span.name);
                format!("span `{name}` has {key}={} in its trace state", shorten(value))
            });
            found.is_some()
        });
        found.unwrap_or_else(|| {
            format!("no span has {key} in its trace state that is one of {values:?}")
        })
    }
}

fn of_burst(cost: u64, what: &str, bucket: &Bucket) -> String {
    let most = bucket.most();
    let are = if cost > most { "more than" } else { "within" };
    format!("{cost} {what} are {are} the {most} that may come at once")
}

fn names(statuses: StatusSet, is: impl Fn(&StatusCode) -> bool) -> String {
    let all = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    let named = all.into_iter().filter(|status| statuses.contains(*status)).filter(is);
    let named = named.map(|status| match status {
        StatusCode::Unset => "unset",
        StatusCode::Ok => "ok",
        StatusCode::Error => "error",
    });
    named.collect::<Vec<_>>().join(" or ")
}

fn show(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::String(text) => format!("`{}`", shorten(text)),
        AnyValue::Bool(value) => value.to_string(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Double(number) => number.to_string(),
        _ => "a value".into(),
    }
}

fn shorten(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_SHOWN).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
