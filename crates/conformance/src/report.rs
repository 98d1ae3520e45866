//! The outcomes, as a table of rules.

use std::fmt::Write;

use crate::rule::{Level, Outcome, Rule, Side, Verdict};
use crate::rules::RULES;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were made.
    pub outcomes: Vec<Outcome>,
}

/// What a rule's checks come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// At least one check passed and none failed.
    Kept,
    /// Only checks of a milder word than the rule's strictest failed, or a SHOULD.
    Lacking,
    /// What must be is not.
    Broken,
    /// No check could tell.
    Unseen,
}

// === impl Report ===

impl Report {
    /// How many checks of this level failed.
    pub fn failed(&self, level: Level) -> usize {
        let failed = |outcome: &&Outcome| outcome.level == level && outcome.verdict.failed();
        self.outcomes.iter().filter(failed).count()
    }

    /// What the checks of this rule come to; `None` where none was made.
    pub fn standing(&self, rule: u8) -> Option<Standing> {
        let mut standing = None;
        for outcome in self.outcomes.iter().filter(|outcome| outcome.rule == rule) {
            let one = match (&outcome.verdict, outcome.level) {
                (Verdict::Pass, _) => Standing::Kept,
                (Verdict::NotApplicable(_), _) => Standing::Unseen,
                (Verdict::Fail(_), Level::Must) => Standing::Broken,
                (Verdict::Fail(_), Level::Should) => Standing::Lacking,
                // What may be is no debt.
                (Verdict::Fail(_), Level::May) => Standing::Unseen,
            };
            standing = Some(standing.map_or(one, |other| worse(other, one)));
        }
        standing
    }

    /// A line for each rule of these sides, each failure below it, and a summary.
    pub fn table(&self, sides: &[Side]) -> String {
        let mut text = String::new();
        for rule in RULES.iter().filter(|rule| sides.contains(&rule.side)) {
            self.line(rule, &mut text);
        }
        let count = |wanted: Standing| {
            let rules = RULES.iter().filter(|rule| sides.contains(&rule.side));
            rules.filter(|rule| self.standing(rule.number) == Some(wanted)).count()
        };
        _ = writeln!(
            text,
            "\nrules: {} kept, {} broken (MUST), {} lacking (SHOULD), {} not to be seen",
            count(Standing::Kept),
            count(Standing::Broken),
            count(Standing::Lacking),
            count(Standing::Unseen),
        );
        let passed = self.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Pass);
        _ = writeln!(
            text,
            "checks: {} of {} passed; failed: {} MUST, {} SHOULD, {} MAY",
            passed.count(),
            self.outcomes.len(),
            self.failed(Level::Must),
            self.failed(Level::Should),
            self.failed(Level::May),
        );
        text
    }

    fn line(&self, rule: &Rule, text: &mut String) {
        let word = match self.standing(rule.number) {
            Some(Standing::Kept) => "kept",
            Some(Standing::Lacking) => "LACKING",
            Some(Standing::Broken) => "BROKEN",
            Some(Standing::Unseen) => "unseen",
            None => return,
        };
        _ = writeln!(text, "{:>3}  {:<6} {word:<8} {}", rule.number, rule.level, rule.text);
        for outcome in self.outcomes.iter().filter(|outcome| outcome.rule == rule.number) {
            if let Verdict::Fail(seen) = &outcome.verdict {
                let seen: String = seen.chars().take(300).collect();
                _ = writeln!(text, "     {:<6} failed   {}: {seen}", outcome.level, outcome.name);
            }
        }
    }
}

/// Failures count most, then what was seen.
fn worse(a: Standing, b: Standing) -> Standing {
    let order = [Standing::Broken, Standing::Lacking, Standing::Kept, Standing::Unseen];
    order.into_iter().find(|&standing| standing == a || standing == b).unwrap_or(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, level: Level, verdict: Verdict) -> Outcome {
        Outcome { rule: 1, name: name.to_owned(), level, verdict }
    }

    #[test]
    fn a_failed_must_breaks_the_rule_and_a_failed_may_does_not() {
        let check = |outcomes: &[(Level, Verdict)], standing, must| {
            let outcomes = outcomes.iter().enumerate();
            let outcomes = outcomes
                .map(|(n, (level, verdict))| outcome(&format!("1.{n}"), *level, verdict.clone()));
            let report = Report { outcomes: outcomes.collect() };
            assert_eq!(report.standing(1), Some(standing));
            assert_eq!(report.failed(Level::Must), must);
        };
        let fail = || Verdict::Fail("seen".to_owned());
        let none = || Verdict::NotApplicable("why".to_owned());
        check(&[(Level::Must, Verdict::Pass), (Level::Must, none())], Standing::Kept, 0);
        check(&[(Level::Must, Verdict::Pass), (Level::May, fail())], Standing::Kept, 0);
        check(&[(Level::Must, Verdict::Pass), (Level::Should, fail())], Standing::Lacking, 0);
        check(&[(Level::Must, fail()), (Level::Should, Verdict::Pass)], Standing::Broken, 1);
        check(&[(Level::Must, none())], Standing::Unseen, 0);
    }

    #[test]
    fn a_failure_is_shown_below_its_rule() {
        let fail = Verdict::Fail("saw this".to_owned());
        let report = Report { outcomes: vec![outcome("1.http", Level::Must, fail)] };
        let table = report.table(&[Side::Receiver]);
        assert!(table.contains("1.http: saw this"), "{table}");
        assert!(table.contains("1 broken (MUST)"), "{table}");
        assert_eq!(report.standing(2), None);
    }
}
