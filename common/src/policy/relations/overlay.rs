//! What has changed since the table was built: tuples that were added, tuples that are gone, and the sets whose
//! closure is no longer right because of either. Clause Q-6.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;

use super::base::{Base, How, Known, Link, Set, Usersets, lookup};
use super::closure::Closure;
use super::names::Names;
use super::schema::{RelationId, RelationSchema};
use super::tuple::{NEVER, Subject, Tuple, TupleKey};

/// Sets that may be remembered as touched; beyond it every one counts as touched until the next tidying.
pub(super) const TOUCHED_MAX: usize = 32_768;

#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    pub(super) names: Names,
    pub(super) usersets: Usersets,
    /// With their expiry.
    pub(super) added: BTreeMap<(u32, Link), u32>,
    /// Of the table.
    pub(super) removed: BTreeSet<(u32, Link)>,
    pub(super) touched: Touched,
}

/// Sets for which the closure may be wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    sets: HashSet<Set>,
    all: bool,
}

impl Touched {
    pub(super) fn contains(&self, set: Set) -> bool {
        self.all || (!self.sets.is_empty() && self.sets.contains(&set))
    }

    /// Adds a set; `false` if it was there.
    pub(super) fn add(&mut self, set: Set) -> bool {
        if self.sets.len() >= TOUCHED_MAX {
            self.all = true;
        }
        !self.all && self.sets.insert(set)
    }
}

impl Overlay {
    pub(super) fn over(base: &Base) -> Self {
        Self { names: Names::after(&base.names), usersets: Usersets::after(&base.usersets), ..Self::default() }
    }

    pub(super) fn known<'k>(&'k self, base: &'k Base, schema: &'k RelationSchema) -> Known<'k> {
        Known { schema, names: [&base.names, &self.names], usersets: [&base.usersets, &self.usersets] }
    }

    pub(super) fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }

    pub(super) fn add(&mut self, base: &Base, closure: &Closure, schema: &RelationSchema, tuple: &Tuple) {
        let expires = tuple.expires.unwrap_or(NEVER);
        let Some((object, link)) = self.intern(base, schema, &tuple.key) else { return };
        match base.find(object, link) {
            Some(entry) if entry.expires == expires => {
                let was_gone = self.removed.remove(&(object, link));
                let was_changed = self.added.remove(&(object, link)).is_some();
                if !was_gone && !was_changed {
                    return;
                }
            }
            Some(_) => {
                self.removed.insert((object, link));
                self.added.insert((object, link), expires);
            }
            None => _ = self.added.insert((object, link), expires),
        }
        closure.touch(base, (object, link.relation), &mut self.touched);
    }

    pub(super) fn remove(&mut self, base: &Base, closure: &Closure, schema: &RelationSchema, key: &TupleKey) {
        let Some((object, link)) = lookup(&self.known(base, schema), key) else { return };
        let was_added = self.added.remove(&(object, link)).is_some();
        let is_gone = base.find(object, link).is_some() && self.removed.insert((object, link));
        if was_added || is_gone {
            closure.touch(base, (object, link.relation), &mut self.touched);
        }
    }

    fn intern(&mut self, base: &Base, schema: &RelationSchema, key: &TupleKey) -> Option<(u32, Link)> {
        if let Some(found) = lookup(&self.known(base, schema), key) {
            return Some(found);
        }
        let relation = schema.relation(&key.object.kind, &key.relation).ok()?;
        let mut name = |kind: &str, id: &str| {
            let kind = schema.kind(kind).ok()?;
            Some(base.names.get(kind, id).unwrap_or_else(|| self.names.intern(kind, id)))
        };
        let object = name(&key.object.kind, &key.object.id)?;
        let (how, subject) = match &key.subject {
            Subject::Object(subject) => (How::Object, name(&subject.kind, &subject.id)?),
            Subject::Userset(of, in_relation) => {
                let set = (name(&of.kind, &of.id)?, schema.relation(&of.kind, in_relation).ok()?);
                (How::Userset, base.usersets.find(set).unwrap_or_else(|| self.usersets.intern(set)))
            }
            Subject::Everyone(kind) => (How::Everyone, u32::from(schema.kind(kind).ok()?)),
        };
        Some((object, Link { relation, how, subject }))
    }

    /// What was added to a set, sorted.
    pub(super) fn added_to(&self, (object, relation): Set) -> impl Iterator<Item = (Link, u32)> {
        let ends: RangeInclusive<(u32, Link)> = (object, first(relation))..=(object, last(relation));
        let added = (!self.added.is_empty()).then(|| self.added.range(ends));
        added.into_iter().flatten().map(|((_, link), expires)| (*link, *expires))
    }

    /// When a tuple of the table ends: at once, if it is gone. So it is looked at, and counted, like any other.
    pub(super) fn expiry(&self, object: u32, link: Link, expires: u32) -> u32 {
        if self.is_removed(object, link) { 0 } else { expires }
    }

    pub(super) fn is_removed(&self, object: u32, link: Link) -> bool {
        !self.removed.is_empty() && self.removed.contains(&(object, link))
    }
}

fn first(relation: RelationId) -> Link {
    Link { relation, how: How::Object, subject: 0 }
}

fn last(relation: RelationId) -> Link {
    Link { relation, how: How::Everyone, subject: u32::MAX }
}
