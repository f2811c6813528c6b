//! Who stands in which relation to what: relation tuples, and the model that says what follows from them.
//!
//! A bundle brings the model; tuples travel on their own, by the minute. What an edge holds at one moment is a
//! [`Relations`]: a table and its closure, built off the way of calls, and what has changed since, which is looked at
//! first. Everything here is pure. Section Q of docs/PROTOCOL.md.

mod base;
mod closure;
mod expiring;
mod fga;
mod names;
mod overlay;
mod resolve;
pub(super) mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod tuple;
mod walk;

use std::sync::Arc;

pub use rules::{MODEL_FILE, RELATIONS_FILE, RelationRules, Writer};
pub use schema::{RelationSchema, Unfit};
pub use tuple::{MalformedTuple, Object, Subject, Tuple, TupleKey};
pub use walk::{RelationFault, STEPS_MAX, Steps};

use base::{Base, Set};
use closure::Closure;
use overlay::Overlay;
use walk::{Asked, Walk};

use crate::time::Timestamp;

/// What an edge knows of relations at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Relations(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    revision: u64,
    schema: Arc<RelationSchema>,
    table: Arc<(Base, Closure)>,
    overlay: Overlay,
}

/// Tuples that come and go together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelationChange {
    /// The number of the batch.
    pub revision: u64,
    /// Whether nothing that was there before counts any more.
    pub replace: bool,
    /// Tuples that come; one that is there already has a new expiry.
    pub add: Vec<Tuple>,
    /// Tuples that go. What is in both lists goes.
    pub remove: Vec<TupleKey>,
}

impl Relations {
    /// No relations are known: what needs some is refused as stale.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The tuples that there are at a revision, with their closure. Tuples that the model has no place for count for
    /// nothing; whoever takes them in asks [`RelationSchema::check`].
    #[must_use]
    pub fn new(schema: Arc<RelationSchema>, revision: u64, tuples: impl IntoIterator<Item = Tuple>) -> Self {
        let base = Base::build(&schema, tuples);
        let closure = Closure::build(&base, &schema);
        let overlay = Overlay::over(&base);
        Self(Some(Arc::new(Held { revision, schema, table: Arc::new((base, closure)), overlay })))
    }

    /// Whether no relations are known at all, which is another thing than that there are no tuples.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The number of the last batch of tuples that went into it; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0.as_ref().map_or(0, |held| held.revision)
    }

    /// The model that they were read with.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<RelationSchema>> {
        self.0.as_ref().map(|held| &held.schema)
    }

    /// Whether the subject stands in this relation to the object, as the only question of a decision.
    ///
    /// # Errors
    /// [`RelationFault`], which denies.
    pub fn check(
        &self,
        object: &Object,
        relation: &str,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<bool, RelationFault> {
        self.ask((object, relation, subject), now, &mut Steps::default(), true)
    }

    /// The same, as one of several questions that may cost so much together.
    ///
    /// # Errors
    /// [`RelationFault`], which denies.
    pub fn check_within(
        &self,
        question: (&Object, &str, &Subject),
        now: Timestamp,
        steps: &mut Steps,
    ) -> Result<bool, RelationFault> {
        self.ask(question, now, steps, true)
    }

    /// The same, without the closure: slower, and what the closure is compared with.
    ///
    /// # Errors
    /// [`RelationFault`].
    pub fn check_by_walking(
        &self,
        object: &Object,
        relation: &str,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<bool, RelationFault> {
        self.ask((object, relation, subject), now, &mut Steps::default(), false)
    }

    fn ask(
        &self,
        (object, relation, subject): (&Object, &str, &Subject),
        now: Timestamp,
        steps: &mut Steps,
        short_cuts: bool,
    ) -> Result<bool, RelationFault> {
        let Held { schema, table, overlay, .. } = &**self.0.as_ref().ok_or(RelationFault::Missing)?;
        let (base, closure) = &**table;
        let relation = schema.relation(&object.kind, relation)?;
        let known = overlay.known(base, schema);
        // What no tuple names has a number that no tuple has.
        let number = known.object(schema.kind(&object.kind)?, &object.id).unwrap_or(u32::MAX);
        let asked = match subject {
            Subject::Object(subject) => {
                let kind = schema.kind(&subject.kind)?;
                Asked::Object(known.object(kind, &subject.id), kind)
            }
            Subject::Everyone(kind) => Asked::Everyone(schema.kind(kind)?),
            Subject::Userset(of, id) => {
                let set: Set = (
                    known.object(schema.kind(&of.kind)?, &of.id).unwrap_or(if of == object {
                        u32::MAX
                    } else {
                        u32::MAX - 1
                    }),
                    schema.relation(&of.kind, id)?,
                );
                Asked::Set(set)
            }
        };
        let closure = Some(closure).filter(|_| short_cuts);
        Walk::new(schema, base, closure, overlay, asked, now, steps).holds((number, relation), 0)
    }

    /// After a change: what comes counts at once, and so does what goes. Gives [`Self::none`] from none.
    #[must_use]
    pub fn apply(&self, change: &RelationChange) -> Self {
        let Some(held) = &self.0 else { return Self::none() };
        if change.replace {
            let gone = |tuple: &&Tuple| !change.remove.contains(&tuple.key);
            return Self::new(held.schema.clone(), change.revision, change.add.iter().filter(gone).cloned());
        }
        let (schema, table) = (held.schema.clone(), held.table.clone());
        let mut overlay = held.overlay.clone();
        for tuple in change.add.iter().filter(|tuple| schema.check(&tuple.key).is_ok()) {
            overlay.add(&table.0, &table.1, &schema, tuple);
        }
        for key in &change.remove {
            overlay.remove(&table.0, &table.1, &schema, key);
        }
        Self(Some(Arc::new(Held { revision: change.revision, schema, table, overlay })))
    }

    /// How many tuples have come or gone since the table was built. Some thousands are worth [`Self::compacted`].
    #[must_use]
    pub fn loose(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.overlay.len())
    }

    /// The same tuples in a new table with a new closure. Takes up to seconds; not for the way of a call.
    #[must_use]
    pub fn compacted(&self) -> Self {
        match &self.0 {
            Some(held) => Self::new(held.schema.clone(), held.revision, self.tuples()),
            None => Self::none(),
        }
    }

    /// The tuples, also those that have expired.
    #[must_use]
    pub fn tuples(&self) -> Vec<Tuple> {
        let Some(held) = &self.0 else { return Vec::new() };
        let (base, overlay) = (&held.table.0, &held.overlay);
        let known = overlay.known(base, &held.schema);
        let kept = base.all().filter(|(object, entry)| !overlay.is_removed(*object, entry.link));
        let kept = kept.map(|(object, entry)| (object, entry.link, entry.expires));
        let added = overlay.added.iter().map(|((object, link), expires)| (*object, *link, *expires));
        kept.chain(added).filter_map(|(object, link, expires)| known.decode(object, link, expires)).collect()
    }

    /// How many tuples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |held: &Arc<Held>| {
            let (kept, overlay) = (held.table.0.len(), &held.overlay);
            kept.saturating_sub(overlay.removed.len()).saturating_add(overlay.added.len())
        };
        self.0.as_ref().map_or(0, count)
    }

    /// Whether there are no tuples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory of the table and of its closure, nearly.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        self.0.as_ref().map_or((0, 0), |held| (held.table.0.bytes(), held.table.1.bytes()))
    }
}
