//! A run in which too little happened proves nothing, and must not look like one that proves something.
//!
//! Source: etcd's robustness suite ran without a single test for two weeks and passed (etcd issue 21033).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::context::Minimums;
use crate::history::outages::outages;
use crate::history::{Event, Kind, Verdict, What, Write, WriteKind};

/// Too little happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuous {
    /// What there was too little of.
    pub missing: Vec<Missing>,
}

/// Something of which there was too little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Of what.
    pub what: String,
    /// How much there was.
    pub seen: u64,
    /// How much there must be.
    pub least: u64,
}

/// Counts what happened.
#[must_use]
pub(super) fn count(events: &[Event]) -> Minimums {
    let mut seen = Minimums { faults: u64::try_from(outages(events).len()).unwrap_or(u64::MAX), ..Minimums::NONE };
    // The bundles that are in waves now, and the rollouts that were seen to end.
    let (mut staged, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        match (&event.what, event.kind) {
            (What::Call(_), Kind::Invoke) => seen.calls += 1,
            (What::Call(call), Kind::Ok) => {
                seen.not_admitted += u64::from(!call.admitted);
                match call.outcome.as_ref().map(|outcome| outcome.verdict) {
                    Some(Verdict::Permit) => {
                        seen.permits += 1;
                        seen.relation_permits += u64::from(call.rests_on.is_some());
                    }
                    Some(Verdict::Deny) => seen.denials += 1,
                    None => {}
                }
            }
            (What::Write(Write { write: WriteKind::RollOut { digest, .. }, .. }), Kind::Invoke) => {
                staged.insert(*digest);
            }
            (What::Rollout(rollout), _) if rollout.steps.last().is_some_and(|step| !step.status.is_under_way()) => {
                staged.remove(&rollout.digest);
                seen.rollouts += u64::from(ended.insert(rollout.digest));
            }
            (What::Write(write), Kind::Ok) => {
                seen.acknowledged += 1;
                match write.write {
                    WriteKind::Revoke { .. } => seen.revocations += 1,
                    WriteKind::Publish { .. } => seen.bundles += 1,
                    WriteKind::Relate { .. } => seen.relations += 1,
                    _ => {}
                }
            }
            (What::Read(read), Kind::Ok) => seen.reads += u64::from(read.linearizable),
            (What::Voter(_), _) => seen.voter_polls += 1,
            (What::Edge(edge), _) => {
                seen.edge_polls += 1;
                seen.staged_polls += u64::from(edge.digest.is_some_and(|digest| staged.contains(&digest)));
            }
            (What::Record(_), _) => seen.records += 1,
            _ => {}
        }
    }
    seen
}

/// What there was too little of, if anything.
#[must_use]
pub(super) fn check(events: &[Event], least: &Minimums) -> Option<Vacuous> {
    let seen = named(&count(events));
    let missing = named(least).into_iter().filter_map(|(what, least)| {
        let seen = seen.get(what).copied().unwrap_or_default();
        (seen < least).then(|| Missing { what: what.to_owned(), seen, least })
    });
    let missing: Vec<Missing> = missing.collect();
    (!missing.is_empty()).then_some(Vacuous { missing })
}

/// The numbers with their names.
fn named(numbers: &Minimums) -> BTreeMap<&'static str, u64> {
    let Minimums {
        calls,
        permits,
        denials,
        not_admitted,
        acknowledged,
        revocations,
        bundles,
        rollouts,
        staged_polls,
        relations,
        relation_permits,
        reads,
        voter_polls,
        edge_polls,
        records,
        faults,
    } = *numbers;
    BTreeMap::from([
        ("calls", calls),
        ("permits", permits),
        ("denials", denials),
        ("calls that nothing admits", not_admitted),
        ("acknowledged writes", acknowledged),
        ("acknowledged revocations", revocations),
        ("acknowledged bundles", bundles),
        ("rollouts that ended", rollouts),
        ("polls of edges that ran a bundle in waves", staged_polls),
        ("acknowledged relations", relations),
        ("permits that rest on a relation", relation_permits),
        ("linearizable reads", reads),
        ("polls of voters", voter_polls),
        ("polls of edges", edge_polls),
        ("records seen", records),
        ("faults", faults),
    ])
}
