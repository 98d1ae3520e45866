//! Which rule a trace matches first.

use std::ops::ControlFlow;

use super::{MatchRule, MatchScope, Shape};
use crate::ottl::{Condition, EvalError};
use crate::{SpanView, Trace, TraceSummary};

/// The conditions of all rules.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Vec<Conditions>,
    /// The first rule that matches every trace; those after it are never reached.
    catch_all: Option<usize>,
    /// Whether a rule before that asks what a trace is as a whole.
    asks_for_shape: bool,
}

#[derive(Debug)]
struct Conditions {
    shape: Shape,
    scope: MatchScope,
    all: Vec<Condition>,
    /// The texts, for people.
    texts: Vec<String>,
    /// The place of the first in [`Marks::met`].
    first: usize,
}

/// What was found of a trace; kept for the next one, so that nothing has to be allocated.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Which conditions some span met, rule by rule.
    met: Vec<bool>,
    /// The first that could not be evaluated, of each rule, and why.
    errors: Vec<Option<(usize, EvalError)>>,
}

// === impl Matcher ===

impl Matcher {
    /// Reads the conditions; of one that cannot be read the rule's place and the problem.
    pub(super) fn new(rules: &[MatchRule]) -> Result<Self, (usize, String)> {
        let mut first = 0;
        let mut all = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let conditions = Conditions::new(rule, first).map_err(|problem| (index, problem))?;
            first += conditions.all.len();
            all.push(conditions);
        }
        let catch_all = all.iter().position(|rule| rule.all.is_empty() && rule.shape.is_any());
        let before = &all[..catch_all.unwrap_or(all.len())];
        let asks_for_shape = before.iter().any(|rule| !rule.shape.is_any());
        Ok(Self { rules: all, catch_all, asks_for_shape })
    }

    /// The place of the first rule that matches. It looks at each span at most once, and at none that
    /// cannot change the answer.
    pub(super) fn first(&self, trace: &Trace<'_>, marks: &mut Marks) -> Option<usize> {
        marks.clear(self);
        let mut found = self.catch_all;
        if self.asks_for_shape {
            let is_so = |rule: &Conditions| rule.shape.is_of(&trace.summary);
            found = self.rules.iter().position(|rule| rule.all.is_empty() && is_so(rule));
            if !self.rules[..found.unwrap_or(self.rules.len())].iter().any(is_so) {
                return found;
            }
        }
        if found == Some(0) || self.rules.is_empty() {
            return found;
        }
        let mut visit = |span: SpanView<'_>| {
            let before = &self.rules[..found.unwrap_or(self.rules.len())];
            let matches = |(index, rule): (usize, &Conditions)| {
                rule.shape.is_of(&trace.summary) && rule.is_met(index, &span, marks)
            };
            found = before.iter().enumerate().position(matches).or(found);
            if found == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let _ = trace.spans.visit(&mut visit);
        found
    }

    /// Why a rule matches, or does not.
    pub(super) fn why(
        &self,
        rule: usize,
        is_match: bool,
        trace: &TraceSummary,
        marks: &Marks,
    ) -> String {
        let rule_marks = &marks.errors[rule];
        let rule = &self.rules[rule];
        if !rule.shape.is_of(trace) {
            return rule.shape.why_not(trace);
        }
        let mut why = match (rule.scope, is_match) {
            _ if rule.all.is_empty() && rule.shape.is_any() => "matches every trace".to_owned(),
            _ if rule.all.is_empty() => "matches every such trace".to_owned(),
            (MatchScope::AnySpan, true) => "some span meets each condition".to_owned(),
            (MatchScope::SameSpan, true) => "one span meets all conditions".to_owned(),
            (MatchScope::AnySpan, false) => {
                let met = &marks.met[rule.first..];
                let missed = rule.texts.iter().zip(met).find(|(_, met)| !**met);
                format!("no span meets `{}`", missed.map_or("", |(text, _)| text))
            }
            (MatchScope::SameSpan, false) => {
                format!("no span meets all of `{}`", rule.texts.join("`, `"))
            }
        };
        if let Some((condition, error)) = rule_marks {
            let text = &rule.texts[*condition];
            why.push_str(&format!("; of some span `{text}` could not be evaluated: {error}"));
        }
        why
    }
}

// === impl Conditions ===

impl Conditions {
    fn new(rule: &MatchRule, first: usize) -> Result<Self, String> {
        let read = |text: &String| {
            Condition::span(text).map_err(|error| format!("condition `{text}`: {error}"))
        };
        rule.shape.check()?;
        let all = rule.conditions.iter().map(read).collect::<Result<_, _>>()?;
        let MatchRule { shape, scope, .. } = *rule;
        Ok(Self { shape, scope, all, texts: rule.conditions.clone(), first })
    }

    /// Whether the rule matches, now that this span was seen, too.
    fn is_met(&self, index: usize, span: &SpanView<'_>, marks: &mut Marks) -> bool {
        let Marks { met, errors } = marks;
        let met = &mut met[self.first..][..self.all.len()];
        let mut is_true = |at: usize, condition: &Condition| match condition.eval(span, None) {
            Ok(is_true) => is_true,
            // What cannot be evaluated is not met.
            Err(error) => {
                errors[index].get_or_insert((at, error));
                false
            }
        };
        let mut conditions = self.all.iter().enumerate();
        match self.scope {
            MatchScope::SameSpan => conditions.all(|(at, condition)| is_true(at, condition)),
            MatchScope::AnySpan => {
                for (at, condition) in conditions {
                    met[at] = met[at] || is_true(at, condition);
                }
                met.iter().all(|met| *met)
            }
        }
    }
}

// === impl Marks ===

impl Marks {
    fn clear(&mut self, matcher: &Matcher) {
        let conditions = matcher.rules.iter().map(|rule| rule.all.len()).sum();
        self.met.clear();
        self.met.resize(conditions, false);
        self.errors.clear();
        self.errors.resize_with(matcher.rules.len(), || None);
    }

    /// Whether a condition of a rule could not be evaluated.
    pub(super) fn has_error(&self, rule: usize) -> bool {
        self.errors[rule].is_some()
    }
}
