//! Tuples as a sorted table: what an edge held when it last tidied up.

use std::collections::HashMap;

use super::names::Names;
use super::schema::{Direct, RelationId, RelationSchema, TypeId};
use super::tuple::{NEVER, Object, Subject, Tuple, TupleKey};
use crate::time::Timestamp;

/// A number as an index. Every machine that this runs on has at least 32 bits.
pub(super) fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How a subject is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum How {
    /// The object of this number.
    Object,
    /// Everybody of the set of this number.
    Userset,
    /// Every object of the type of this number.
    Everyone,
}

/// A tuple of a known object, as numbers. The order is the one in which tuples stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Link {
    pub(super) relation: RelationId,
    pub(super) how: How,
    pub(super) subject: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) link: Link,
    /// In seconds; [`NEVER`] if it does not expire.
    pub(super) expires: u32,
}

/// A set of subjects: those who stand in a relation to an object.
pub(super) type Set = (u32, RelationId);

/// Sets that tuples name as their subject, by number, from a first number on.
#[derive(Debug, Clone, Default)]
pub(super) struct Usersets {
    first: u32,
    list: Vec<Set>,
    index: HashMap<Set, u32>,
}

impl Usersets {
    pub(super) fn after(earlier: &Self) -> Self {
        Self { first: earlier.end(), ..Self::default() }
    }

    pub(super) fn end(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.list.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, number: u32) -> Option<Set> {
        self.list.get(usize_of(number.checked_sub(self.first)?)).copied()
    }

    pub(super) fn find(&self, set: Set) -> Option<u32> {
        self.index.get(&set).copied()
    }

    pub(super) fn intern(&mut self, set: Set) -> u32 {
        let next = self.end();
        let list = &mut self.list;
        *self.index.entry(set).or_insert_with(|| {
            list.push(set);
            next
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Set>() + self.index.capacity() * (size_of::<Set>() + 5)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Base {
    pub(super) names: Names,
    pub(super) usersets: Usersets,
    /// Where the tuples of each object begin.
    offsets: Vec<u32>,
    entries: Vec<Entry>,
}

impl Base {
    /// Puts tuples into the table. Those that the model has no place for are left out; of two that differ in their
    /// expiry alone the later one counts.
    pub(super) fn build(schema: &RelationSchema, tuples: impl IntoIterator<Item = Tuple>) -> Self {
        let (mut names, mut usersets, mut all) = (Names::default(), Usersets::default(), Vec::new());
        for Tuple { key, expires } in tuples {
            if schema.check(&key).is_err() {
                continue;
            }
            let Some((object, link)) = encode(schema, &key, &mut names, &mut usersets) else { continue };
            all.push((object, Entry { link, expires: expires.unwrap_or(NEVER) }));
        }
        all.sort_by_key(|(object, entry)| (*object, entry.link));
        // The last of equal links counts.
        all.reverse();
        all.dedup_by_key(|(object, entry)| (*object, entry.link));
        all.reverse();
        let mut offsets = vec![0_u32; usize_of(names.end()) + 1];
        for (object, _) in &all {
            if let Some(count) = offsets.get_mut(usize_of(*object) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0_u32;
        for offset in &mut offsets {
            sum = sum.saturating_add(*offset);
            *offset = sum;
        }
        names.shrink();
        Self { names, usersets, offsets, entries: all.into_iter().map(|(_, entry)| entry).collect() }
    }

    /// The tuples of an object, sorted.
    pub(super) fn of(&self, object: u32) -> &[Entry] {
        let at = usize_of(object);
        let range = self.offsets.get(at).zip(self.offsets.get(at.saturating_add(1)));
        range.and_then(|(start, end)| self.entries.get(usize_of(*start)..usize_of(*end))).unwrap_or_default()
    }

    /// The tuples of an object in one relation, sorted.
    pub(super) fn in_relation(&self, object: u32, relation: RelationId) -> &[Entry] {
        let all = self.of(object);
        let start = all.partition_point(|entry| entry.link.relation < relation);
        let rest = all.get(start..).unwrap_or_default();
        let end = rest.partition_point(|entry| entry.link.relation == relation);
        rest.get(..end).unwrap_or_default()
    }

    pub(super) fn find(&self, object: u32, link: Link) -> Option<&Entry> {
        let all = self.of(object);
        all.binary_search_by_key(&link, |entry| entry.link).ok().and_then(|at| all.get(at))
    }

    /// Every tuple with its object.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..self.names.end()).flat_map(|object| self.of(object).iter().map(move |entry| (object, entry)))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let (offsets, entries) = (self.offsets.capacity() * 4, self.entries.capacity() * size_of::<Entry>());
        self.names.bytes() + self.usersets.bytes() + offsets + entries
    }
}

/// Whether a tuple still says something.
pub(super) fn is_live(expires: u32, now: Timestamp) -> bool {
    expires == NEVER || now.as_secs() < u64::from(expires)
}

fn encode(schema: &RelationSchema, key: &TupleKey, names: &mut Names, usersets: &mut Usersets) -> Option<(u32, Link)> {
    let relation = schema.relation(&key.object.kind, &key.relation).ok()?;
    let object = names.intern(schema.kind(&key.object.kind).ok()?, &key.object.id);
    let (how, subject) = match (&key.subject, schema.direct_of(&key.subject).ok()?) {
        (Subject::Object(subject), Direct::Object(kind)) => (How::Object, names.intern(kind, &subject.id)),
        (Subject::Userset(of, _), Direct::Userset(id)) => {
            let set = (names.intern(schema.def(id)?.kind, &of.id), id);
            (How::Userset, usersets.intern(set))
        }
        (_, Direct::Everyone(kind)) => (How::Everyone, u32::from(kind)),
        _ => return None,
    };
    Some((object, Link { relation, how, subject }))
}

/// Names and sets of a table and of what came after it.
pub(super) struct Known<'k> {
    pub(super) schema: &'k RelationSchema,
    pub(super) names: [&'k Names; 2],
    pub(super) usersets: [&'k Usersets; 2],
}

impl Known<'_> {
    pub(super) fn object(&self, kind: TypeId, id: &str) -> Option<u32> {
        self.names.iter().find_map(|names| names.get(kind, id))
    }

    pub(super) fn kind(&self, number: u32) -> Option<TypeId> {
        self.names.iter().find_map(|names| names.kind(number))
    }

    pub(super) fn userset(&self, number: u32) -> Option<Set> {
        self.usersets.iter().find_map(|usersets| usersets.get(number))
    }

    fn named(&self, number: u32) -> Option<Object> {
        let id = self.names.iter().find_map(|names| names.id(number))?;
        Some(Object { kind: self.schema.type_name(self.kind(number)?).to_owned(), id: id.to_owned() })
    }

    /// A link as a tuple again.
    pub(super) fn decode(&self, object: u32, link: Link, expires: u32) -> Option<Tuple> {
        let subject = match link.how {
            How::Object => Subject::Object(self.named(link.subject)?),
            How::Userset => {
                let (of, relation) = self.userset(link.subject)?;
                Subject::Userset(self.named(of)?, self.schema.def(relation)?.name.clone())
            }
            How::Everyone => Subject::Everyone(self.schema.type_name(TypeId::try_from(link.subject).ok()?).to_owned()),
        };
        let relation = self.schema.def(link.relation)?.name.clone();
        let key = TupleKey { object: self.named(object)?, relation, subject };
        Some(Tuple { key, expires: (expires != NEVER).then_some(expires) })
    }
}

/// Finds a key in a table and in what came after it, without naming anything anew.
pub(super) fn lookup(known: &Known<'_>, key: &TupleKey) -> Option<(u32, Link)> {
    let schema = known.schema;
    let relation = schema.relation(&key.object.kind, &key.relation).ok()?;
    let object = known.object(schema.kind(&key.object.kind).ok()?, &key.object.id)?;
    let (how, subject) = match (&key.subject, schema.direct_of(&key.subject).ok()?) {
        (Subject::Object(subject), Direct::Object(kind)) => (How::Object, known.object(kind, &subject.id)?),
        (Subject::Userset(of, _), Direct::Userset(id)) => {
            let set = (known.object(schema.def(id)?.kind, &of.id)?, id);
            (How::Userset, known.usersets.iter().find_map(|usersets| usersets.find(set))?)
        }
        (_, Direct::Everyone(kind)) => (How::Everyone, u32::from(kind)),
        _ => return None,
    };
    Some((object, Link { relation, how, subject }))
}
