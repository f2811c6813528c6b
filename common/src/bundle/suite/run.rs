//! Cells are asked and their answers compared.

use std::collections::BTreeSet;

use super::Cell;
use crate::bundle::CompiledBundle;
use crate::id::{DimensionName, PolicyId};
use crate::policy::{Decision, Reason};

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Permit, or why not.
    pub reason: Reason,
    /// The rules that decided: the first of them.
    pub policies: Vec<PolicyId>,
    /// How many decided.
    pub policies_total: u32,
    /// The dimension that a denial names.
    pub dimension: Option<DimensionName>,
    /// The denial in words; empty for a permit.
    pub detail: String,
}

/// A cell and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellResult<'c> {
    /// The cell.
    pub cell: &'c Cell,
    /// What it was answered with; the reason, if it could not even be asked.
    pub verdict: Result<Verdict, String>,
    /// How the answer differs from what was expected; empty when it does not.
    pub differences: Vec<String>,
}

impl CellResult<'_> {
    /// Whether everything is as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        let policies_total = match decision {
            Decision::Permit(permitted) => permitted.policies_total,
            Decision::Deny(denied) => denied.policies_total,
        };
        Self {
            reason: decision.reason(),
            policies: decision.policies().to_vec(),
            policies_total,
            dimension: decision.dimension().cloned(),
            detail: decision.detail().to_owned(),
        }
    }
}

/// Asks one cell.
#[must_use]
pub fn run<'c>(cell: &'c Cell, bundle: &CompiledBundle) -> CellResult<'c> {
    let at = cell.as_of.unwrap_or(bundle.manifest().created);
    let relations = cell.request.relations(bundle);
    let asked = relations.and_then(|relations| cell.request.ask(bundle, &relations, at));
    let verdict = asked.map(|decision| Verdict::from(&decision));
    let differences = match &verdict {
        Ok(verdict) => differences(cell, verdict),
        Err(fault) => vec![format!("it cannot be asked: {fault}")],
    };
    CellResult { cell, verdict, differences }
}

fn differences(cell: &Cell, verdict: &Verdict) -> Vec<String> {
    let mut differences = Vec::new();
    let expect = cell.request.expect;
    if verdict.reason != expect {
        differences.push(format!("expected {expect}, got {}", verdict.reason));
    }
    // What decided is only worth comparing where the same was decided.
    let named = |rule: &&PolicyId| verdict.policies.contains(rule);
    let unnamed = u32::try_from(verdict.policies.len()).is_ok_and(|named| named < verdict.policies_total);
    let of = if unnamed {
        format!(", and of {} the first {} are named", verdict.policies_total, verdict.policies.len())
    } else {
        String::new()
    };
    for rule in cell.because.iter().filter(|rule| !named(rule) && verdict.reason == expect) {
        differences.push(format!("`{rule}` should be among the rules that decide{of}"));
    }
    // Of a rule that is not named, nobody knows whether it decides.
    for rule in cell.not_because.iter().filter(|rule| unnamed || named(rule)) {
        differences.push(format!("`{rule}` should not be among the rules that decide{of}"));
    }
    if let Some(exactly) = cell.request.policies.as_ref().filter(|_| verdict.reason == expect) {
        let (expected, found): (BTreeSet<_>, BTreeSet<_>) =
            (exactly.iter().collect(), verdict.policies.iter().collect());
        if expected != found {
            let list = |rules: BTreeSet<&PolicyId>| {
                rules.into_iter().map(|rule| format!("`{rule}`")).collect::<Vec<_>>().join(", ")
            };
            differences.push(format!("{} should decide, and {} did", list(expected), list(found)));
        }
    }
    let dimension = cell.request.dimension.as_ref();
    if dimension.is_some() && dimension != verdict.dimension.as_ref() && verdict.reason == expect {
        let name = |dimension: Option<&DimensionName>| dimension.map_or("none", DimensionName::as_str).to_owned();
        differences.push(format!(
            "the dimension should be {}, and is {}",
            name(dimension),
            name(verdict.dimension.as_ref())
        ));
    }
    differences
}
