//! Which rules some case depends on. Clause B-27.

use super::run::CellResult;
use crate::policy::{Reason, RuleInfo};

/// One rule, and how many cells it decided, alone or among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCoverage {
    /// The rule.
    pub rule: RuleInfo,
    /// Cells that passed and that it decided.
    pub cells: usize,
}

/// Every rule of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// In the order of the sources.
    pub rules: Vec<RuleCoverage>,
}

impl Coverage {
    /// Counts. A cell that failed shows nothing about the rule that happened to decide it.
    #[must_use]
    pub fn of(rules: Vec<RuleInfo>, results: &[CellResult<'_>]) -> Self {
        let decides = |rule: &RuleInfo, result: &&CellResult<'_>| {
            let reason = if rule.forbids { Reason::Forbidden } else { Reason::Permit };
            let verdict = result.verdict.as_ref().ok().filter(|verdict| verdict.reason == reason);
            result.passed() && verdict.is_some_and(|verdict| verdict.policies.contains(&rule.id))
        };
        let count = |rule: RuleInfo| {
            let cells = results.iter().filter(|result| decides(&rule, result)).count();
            RuleCoverage { rule, cells }
        };
        Self { rules: rules.into_iter().map(count).collect() }
    }

    /// Rules that no cell depends on, and whose author does not say why.
    pub fn uncovered(&self) -> impl Iterator<Item = &RuleInfo> {
        self.rules.iter().filter(|rule| rule.cells == 0 && rule.rule.untested.is_none()).map(|rule| &rule.rule)
    }

    /// Covered rules of a hundred, rounded down; those that are excused count neither way.
    #[must_use]
    pub fn percent(&self) -> u32 {
        let asked = self.rules.iter().filter(|rule| rule.rule.untested.is_none()).count();
        let covered = asked.saturating_sub(self.uncovered().count());
        u32::try_from((covered * 100).checked_div(asked).unwrap_or(100)).unwrap_or(100)
    }
}
