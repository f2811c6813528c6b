//! By which tuples somebody stands in a relation, for people who ask why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::policy::relations::{Object, RelationFault, Relations, Subject, Tuple, TupleKey};
use crate::time::Timestamp;

/// Objects that are looked at on the way. Beyond it nobody could read the answer.
const OBJECTS_MAX: usize = 4_096;

/// Tuples, none of which can be missed: without any one of them the answer would be another. There may be another way
/// besides. Empty if the answer is no, or the way is too long to look for.
///
/// Everything that is asked goes through [`Relations::check`], so that this cannot say anything else than an edge does.
///
/// # Errors
/// [`RelationFault`], like the question itself.
pub fn because(relations: &Relations, question: &TupleKey, now: Timestamp) -> Result<Vec<Tuple>, RelationFault> {
    let TupleKey { object, relation, subject } = question;
    let Some(schema) = relations.schema() else { return Err(RelationFault::Missing) };
    let holds = |tuples: &[Tuple]| {
        let some = Relations::new(Arc::clone(schema), relations.revision(), tuples.iter().cloned());
        some.check(object, relation, subject, now).unwrap_or(false)
    };
    if !relations.check(object, relation, subject, now)? {
        return Ok(Vec::new());
    }
    let mut needed = below(relations.tuples(), object, now);
    if !holds(&needed) {
        return Ok(Vec::new());
    }
    // Leaves out ever smaller parts, as long as the answer stays.
    let mut part = needed.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < needed.len() {
            let end = at.saturating_add(part).min(needed.len());
            let without: Vec<Tuple> = needed.iter().take(at).chain(needed.iter().skip(end)).cloned().collect();
            if holds(&without) {
                needed = without;
            } else {
                at = end;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    Ok(needed)
}

/// What can be reached from an object by following tuples from object to subject, nearest first.
fn below(tuples: Vec<Tuple>, object: &Object, now: Timestamp) -> Vec<Tuple> {
    let mut of: BTreeMap<Object, Vec<Tuple>> = BTreeMap::new();
    for tuple in tuples.into_iter().filter(|tuple| tuple.is_live(now)) {
        of.entry(tuple.key.object.clone()).or_default().push(tuple);
    }
    let (mut seen, mut found, mut next) = (BTreeSet::from([object.clone()]), Vec::new(), vec![object.clone()]);
    while !next.is_empty() && seen.len() <= OBJECTS_MAX {
        let here: Vec<Tuple> = next.iter().filter_map(|object| of.remove(object)).flatten().collect();
        let subjects = here.iter().filter_map(|tuple| match &tuple.key.subject {
            Subject::Object(subject) | Subject::Userset(subject, _) => Some(subject.clone()),
            Subject::Everyone(_) => None,
        });
        next = subjects.filter(|subject| seen.insert(subject.clone())).collect();
        found.extend(here);
    }
    found
}
