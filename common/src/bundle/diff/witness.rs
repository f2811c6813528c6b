//! Whether requests showed what a changed policy does. One that may have become wider, and that no request met, is
//! taken for wider: nobody has looked. Clauses B-50 and B-51.

use std::collections::{BTreeMap, BTreeSet};

use super::super::CompiledBundle;
use super::finding::{Answer, is_permit};
use super::generate::Blame;
use super::question::{Expects, Origin};
use super::structure::{Change, Subject};
use crate::id::PolicyId;
use crate::policy::engines::cedar::steer::RuleView;
use crate::policy::{Decision, Reason};

/// What requests showed of the policies.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Policies by which the later bundle permitted something.
    permitted: BTreeSet<PolicyId>,
    /// Policies by which the earlier bundle forbade something.
    forbade: BTreeSet<PolicyId>,
    /// Policies around which a request was made up that the later bundle permits.
    passed: BTreeSet<PolicyId>,
    /// Those of them that forbade it before.
    lifted: BTreeSet<PolicyId>,
    /// Policies that did not hold for a request that was made so that they would.
    missed: BTreeSet<PolicyId>,
}

/// Whether a policy surely did not do with a request what it was made for: others decided it, and all of them are named.
fn did_not(id: &PolicyId, expects: Expects, before: &Answer, after: &Answer) -> bool {
    let answer = match expects {
        Expects::Anything => return false,
        Expects::Permit => after,
        Expects::Forbid => before,
    };
    let Ok(decision) = answer else { return false };
    let total = match decision {
        Decision::Permit(permitted) => permitted.policies_total,
        Decision::Deny(denied) => denied.policies_total,
    };
    let all_named = u32::try_from(decision.policies().len()).is_ok_and(|named| named >= total);
    match decision.reason() {
        Reason::NoMatchingPolicy => true,
        Reason::Permit => all_named && !decision.policies().contains(id),
        // Of a permit that a forbid outweighs, nobody knows.
        Reason::Forbidden => expects == Expects::Forbid && all_named && !decision.policies().contains(id),
        _ => false,
    }
}

impl Seen {
    pub(super) fn note(&mut self, origin: &Origin, before: &Answer, after: &Answer) {
        if let Origin::Generated { about: Some(about), expects } = origin
            && did_not(about, *expects, before, after)
        {
            self.missed.insert(about.clone());
        }
        let forbidden = before.as_ref().ok().filter(|before| before.reason() == Reason::Forbidden);
        let forbade = forbidden.map(|before| before.policies()).unwrap_or_default();
        self.forbade.extend(forbade.iter().cloned());
        if is_permit(after) {
            self.permitted.extend(after.iter().flat_map(|after| after.policies().iter().cloned()));
            self.lifted.extend(forbade.iter().cloned());
            if let Origin::Generated { about: Some(about), .. } = origin {
                self.passed.insert(about.clone());
            }
        }
    }
}

/// Says of the changes that may be wider and that requests do not settle why not.
pub(super) fn judge(
    changes: &mut [Change],
    old: &CompiledBundle,
    new: &CompiledBundle,
    unasked: &BTreeMap<Blame, &'static str>,
    about: &BTreeSet<PolicyId>,
    seen: &Seen,
) {
    let by_name = |bundle: &CompiledBundle| -> BTreeMap<String, RuleView> {
        bundle.policy().engine().rules().map(|rule| (rule.id.to_string(), rule)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    for change in changes {
        let why = unasked.get(&(change.subject, change.name.clone())).copied();
        if change.subject != Subject::Policy {
            if let Some(why) = why {
                let name = change.name.clone();
                change.loosen(format!("`{name}`: {why}"));
            }
            continue;
        }
        let (was, is) = (before.get(&change.name), after.get(&change.name));
        let no_longer_forbids = was.is_some_and(|was| !was.permits);
        let permits = is.is_some_and(|is| is.permits);
        // A forbid more, or a permit less, permits nothing.
        let Some(rule) = was.or(is).filter(|_| no_longer_forbids || permits) else { continue };
        let unmet = || {
            let id = &rule.id;
            if !about.contains(id) {
                return None;
            }
            if seen.missed.contains(id) {
                return Some("for one of the ways in which it may hold no request was found for which it does");
            }
            match is {
                Some(is) if is.permits => {
                    (!seen.permitted.contains(id)).then_some("no request was found that it permits")
                }
                Some(_) => (!seen.forbade.contains(id) || !seen.passed.contains(id))
                    .then_some("no request was found that it forbade, and one near it that something permits"),
                None => None,
            }
        };
        let gone = no_longer_forbids && is.is_none_or(|is| is.permits) && !seen.lifted.contains(&rule.id);
        let gone = gone.then_some("it forbids nothing any more, and no request was found for which that matters");
        if let Some(why) = gone.or(why).or_else(unmet) {
            let name = change.name.clone();
            change.loosen(format!("`{name}`: {why}"));
        }
    }
}
