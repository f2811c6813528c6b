//! Would the cases notice a mistake? Each rule is changed in each way in which a hand slips, and some case must fail.
//! Clause B-28.

use std::collections::{BTreeMap, BTreeSet};

use super::Cell;
use super::run::run;
use crate::bundle::CompiledBundle;
use crate::id::PolicyId;
use crate::policy::Mutant;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A case failed: this one.
    Noticed(String),
    /// Strict validation refuses it, so it could not have been shipped.
    Refused,
    /// Every case passed.
    Survived,
    /// Every case passed, and the author of the rule says why that is right.
    Excused(String),
}

/// Every mutant of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MutantsRun {
    /// In the order of the sources.
    pub mutants: Vec<(Mutant, Fate)>,
}

impl MutantsRun {
    /// Mutants that no case notices.
    pub fn survivors(&self) -> impl Iterator<Item = &Mutant> {
        self.mutants.iter().filter(|(_, fate)| *fate == Fate::Survived).map(|(mutant, _)| mutant)
    }

    /// How many had this fate.
    pub fn count(&self, is: impl Fn(&Fate) -> bool) -> usize {
        self.mutants.iter().filter(|(_, fate)| is(fate)).count()
    }
}

/// Judges every mutant by every cell; `tell` hears how many of how many are done.
///
/// A mutant can only be noticed by cells that pass without it, so cells should all pass before this is asked.
pub fn mutate(
    cells: &[Cell],
    bundle: &CompiledBundle,
    files: &BTreeMap<String, Vec<u8>>,
    mut tell: impl FnMut(usize, usize),
) -> MutantsRun {
    let policy = bundle.policy();
    let mutants = policy.mutants(files);
    let excused: BTreeMap<PolicyId, String> =
        policy.rules(files).into_iter().filter_map(|rule| Some((rule.id, rule.untested?))).collect();
    let passing: Vec<&Cell> = cells.iter().filter(|cell| run(cell, bundle).passed()).collect();
    // Cells that the rule decides are likely to notice first.
    let mut deciders: BTreeMap<PolicyId, Vec<usize>> = BTreeMap::new();
    for (number, cell) in passing.iter().enumerate() {
        for rule in run(cell, bundle).verdict.into_iter().flat_map(|verdict| verdict.policies) {
            deciders.entry(rule).or_default().push(number);
        }
    }
    let total = mutants.len();
    let mut done = MutantsRun::default();
    for (number, mutant) in mutants.into_iter().enumerate() {
        tell(number, total);
        let fate = match policy.mutated(&mutant, files) {
            Err(_) => Fate::Refused,
            Ok(changed) => {
                let changed = bundle.with_policy(changed);
                let first = deciders.get(&mutant.policy).map(Vec::as_slice).unwrap_or_default();
                let known: BTreeSet<usize> = first.iter().copied().collect();
                let rest = (0..passing.len()).filter(|number| !known.contains(number));
                let order = first.iter().copied().chain(rest).filter_map(|number| passing.get(number));
                let mut noticed = order.filter(|cell| !run(cell, &changed).passed());
                match (noticed.next(), excused.get(&mutant.policy)) {
                    (Some(cell), _) => Fate::Noticed(cell.request.name.clone()),
                    (None, Some(why)) => Fate::Excused(why.clone()),
                    (None, None) => Fate::Survived,
                }
            }
        };
        done.mutants.push((mutant, fate));
    }
    tell(total, total);
    done
}
