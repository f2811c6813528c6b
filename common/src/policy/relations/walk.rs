//! The walk from an object to a subject, with the closure's short cuts where those are still right.
//!
//! A pure relation is a search: every set is entered once. An intersection or an exclusion is evaluated part by part;
//! a way that leads back into a set on it adds nothing, unless it went through the part that takes away: then there
//! is no answer, and no answer denies. Depth and the number of sets are bounded. Clause Q-4.

use std::collections::HashSet;

use super::base::{Base, Entry, How, Known, Link, Set, is_live, usize_of};
use super::closure::Closure;
use super::overlay::Overlay;
use super::schema::{Direct, Expr, RelationDef, RelationId, RelationSchema, TypeId, Unfit};
use crate::time::Timestamp;

/// Sets inside sets, as in OpenFGA.
pub(super) const DEPTH_MAX: u32 = 25;
/// Sets that are entered and tuples that are looked at for all questions of one decision: some milliseconds.
pub const STEPS_MAX: u32 = 20_000;
/// Sets that are remembered in a row before a table is worth it.
const FEW: usize = 16;

/// A question about relations has no answer, and that denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelationFault {
    /// No relations are known.
    #[error("there are no relations here")]
    Missing,
    /// The model has no place for the question.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The way is too long.
    #[error("relations lead deeper than {DEPTH_MAX} sets")]
    TooDeep,
    /// There is too much to look at.
    #[error("one decision looks at more than {STEPS_MAX} sets and tuples")]
    TooMany,
    /// An arrow leads through a relation that is more than a list of types.
    #[error("`{relation}` leads on by more than its tuples")]
    Indirect {
        /// The relation, `type#relation`.
        relation: String,
    },
    /// Somebody is in a set because they are not in it.
    #[error("`{relation}` follows from its own absence here")]
    Circular {
        /// The relation, `type#relation`.
        relation: String,
    },
}

/// What all questions of one decision may cost together. Once it is spent, no question has an answer.
#[derive(Debug)]
pub struct Steps(u32);

impl Default for Steps {
    fn default() -> Self {
        Self(STEPS_MAX)
    }
}

impl Steps {
    fn take(&mut self) -> Result<(), RelationFault> {
        self.0 = self.0.checked_sub(1).ok_or(RelationFault::TooMany)?;
        Ok(())
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.0
    }
}

/// Whom a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// An object; without a number if no tuple names it.
    Object(Option<u32>, TypeId),
    /// A set, or [`u32::MAX`] and its relation if no tuple names its object.
    Set(Set),
    /// Every object of a type.
    Everyone(TypeId),
}

pub(super) struct Walk<'w> {
    pub(super) schema: &'w RelationSchema,
    pub(super) base: &'w Base,
    pub(super) closure: Option<&'w Closure>,
    pub(super) overlay: &'w Overlay,
    pub(super) asked: Asked,
    pub(super) now: Timestamp,
    known: Known<'w>,
    steps: &'w mut Steps,
    /// Whether tuples that expire put the subject somewhere, once it was asked.
    expires: Option<bool>,
    searching: bool,
    seen: Seen,
    /// Sets that are being evaluated, and through how many exclusions the way to them led.
    path: Vec<(Set, u32)>,
    exclusions: u32,
}

/// Sets that a search has entered.
#[derive(Default)]
struct Seen {
    few: [Set; FEW],
    count: usize,
    many: HashSet<Set>,
}

impl Seen {
    fn add(&mut self, set: Set) -> bool {
        if self.few.iter().take(self.count).any(|seen| *seen == set) {
            return false;
        }
        match self.few.get_mut(self.count) {
            Some(free) => {
                *free = set;
                self.count += 1;
                true
            }
            None => self.many.insert(set),
        }
    }
}

type Answer = Result<bool, RelationFault>;

/// Whether one of these holds; a part without an answer counts only if none does.
fn any(parts: impl Iterator<Item = Answer>) -> Answer {
    let mut fault = None;
    for part in parts {
        match part {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(RelationFault::TooMany) => return Err(RelationFault::TooMany),
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    fault.map_or(Ok(false), Err)
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        schema: &'w RelationSchema,
        base: &'w Base,
        closure: Option<&'w Closure>,
        overlay: &'w Overlay,
        asked: Asked,
        now: Timestamp,
        steps: &'w mut Steps,
    ) -> Self {
        // Only what is asked about one object is answered by the closure.
        let closure = closure.filter(|closure| match asked {
            Asked::Object(Some(subject), _) => closure.knows(subject),
            Asked::Object(None, _) => closure.knows(u32::MAX),
            Asked::Set(_) | Asked::Everyone(_) => false,
        });
        let known = overlay.known(base, schema);
        Self {
            schema,
            base,
            closure,
            overlay,
            asked,
            now,
            known,
            steps,
            expires: None,
            searching: false,
            seen: Seen::default(),
            path: Vec::new(),
            exclusions: 0,
        }
    }

    /// Whether the subject is in a set.
    pub(super) fn holds(&mut self, set: Set, depth: u32) -> Answer {
        if matches!(self.asked, Asked::Set(asked) if asked == set) {
            return Ok(true);
        }
        if depth > DEPTH_MAX {
            return Err(RelationFault::TooDeep);
        }
        self.steps.take()?;
        let schema = self.schema;
        let Some(def) = schema.def(set.1) else { return Ok(false) };
        if def.pure {
            let outermost = !std::mem::replace(&mut self.searching, true);
            if outermost {
                self.seen = Seen::default();
            }
            let answer = if self.seen.add(set) { self.expr(&def.expr, set, depth) } else { Ok(false) };
            self.searching = !outermost;
            return answer;
        }
        if let Some((_, exclusions)) = self.path.iter().find(|(on, _)| *on == set) {
            if *exclusions < self.exclusions {
                return Err(RelationFault::Circular { relation: schema.relation_name(set.1) });
            }
            return Ok(false);
        }
        self.path.push((set, self.exclusions));
        let answer = self.expr(&def.expr, set, depth);
        self.path.pop();
        answer
    }

    fn expr(&mut self, expr: &'w Expr, set: Set, depth: u32) -> Answer {
        match expr {
            Expr::This => self.by_tuple(set, depth),
            Expr::Computed(relation) => self.holds((set.0, *relation), depth + 1),
            Expr::Arrow { via, to } => self.by_arrow(set.0, *via, to, depth),
            Expr::Union(parts) => any(parts.iter().map(|part| self.expr(part, set, depth))),
            Expr::Intersection(parts) => {
                // The opposite of a union: one that does not hold settles it.
                let mut fault = None;
                for part in parts {
                    match self.expr(part, set, depth) {
                        Ok(true) => {}
                        Ok(false) => return Ok(false),
                        Err(RelationFault::TooMany) => return Err(RelationFault::TooMany),
                        Err(found) => fault = fault.or(Some(found)),
                    }
                }
                fault.map_or(Ok(true), Err)
            }
            Expr::Exclusion(base, without) => {
                let holds = self.expr(base, set, depth);
                if matches!(holds, Ok(false) | Err(RelationFault::TooMany)) {
                    return holds;
                }
                self.exclusions += 1;
                let is_out = self.expr(without, set, depth);
                self.exclusions -= 1;
                match is_out {
                    Ok(true) => Ok(false),
                    Ok(false) => holds,
                    Err(fault) => Err(fault),
                }
            }
        }
    }

    /// Whether a tuple that names no set puts the subject into this one. `kept` are the table's tuples of the set.
    fn is_named(&self, (object, relation): Set, kept: &[Entry]) -> bool {
        let named = |how, subject| {
            let link = Link { relation, how, subject };
            let entry = kept.binary_search_by_key(&(how, subject), |entry| (entry.link.how, entry.link.subject));
            let entry = entry.ok().and_then(|at| kept.get(at));
            let is_kept = |entry: &Entry| is_live(entry.expires, self.now) && !self.overlay.is_removed(object, link);
            let added = || self.overlay.added.get(&(object, link)).is_some_and(|expires| is_live(*expires, self.now));
            entry.is_some_and(is_kept) || (!self.overlay.added.is_empty() && added())
        };
        match self.asked {
            Asked::Object(subject, kind) => {
                subject.is_some_and(|subject| named(How::Object, subject)) || named(How::Everyone, u32::from(kind))
            }
            Asked::Everyone(kind) => named(How::Everyone, u32::from(kind)),
            Asked::Set(_) => false,
        }
    }

    fn by_tuple(&mut self, set: Set, depth: u32) -> Answer {
        let (object, relation) = set;
        let (base, overlay) = (self.base, self.overlay);
        let entries = base.in_relation(object, relation);
        if self.is_named(set, entries) {
            return Ok(true);
        }
        let entries = entries.get(entries.partition_point(|entry| entry.link.how < How::Userset)..).unwrap_or_default();
        let kept = entries.iter().take_while(|entry| entry.link.how == How::Userset);
        let kept = kept.map(|entry| (entry.link, entry.expires));
        let added = overlay.added_to(set).filter(|(link, _)| link.how == How::Userset);
        let mut fault = None;
        for (link, expires) in added.chain(kept.map(|(link, expires)| (link, overlay.expiry(object, link, expires)))) {
            self.steps.take()?;
            if !is_live(expires, self.now) {
                continue;
            }
            match self.by_userset(link.subject, depth) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(RelationFault::TooMany) => return Err(RelationFault::TooMany),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        fault.map_or(Ok(false), Err)
    }

    fn by_userset(&mut self, number: u32, depth: u32) -> Answer {
        let Some(set) = self.known.userset(number) else { return Ok(false) };
        if let (Some(closure), Asked::Object(subject, kind)) = (self.closure, self.asked) {
            let is_old = usize_of(number) < usize_of(self.base.usersets.end());
            if is_old && self.schema.is_pure(set.1) && !self.overlay.touched.contains(set) {
                let answer = closure.is_member(subject.unwrap_or(u32::MAX), kind, number);
                if answer || !self.may_expire(closure, set) {
                    return Ok(answer);
                }
            }
        }
        self.holds(set, depth + 1)
    }

    /// Whether a set that the subject is not in by what lasts may hold it by what expires. What expires only adds to
    /// a set that the closure knows, and only those whom it names, or who are in what it names.
    fn may_expire(&mut self, closure: &Closure, set: Set) -> bool {
        let Asked::Object(subject, kind) = self.asked else { return true };
        if !closure.unfolded.contains(set) {
            return false;
        }
        let (subject, touched) = (subject.unwrap_or(u32::MAX), &self.overlay.touched);
        *self.expires.get_or_insert_with(|| closure.expiring.reach(closure, &self.known, touched, (subject, kind)))
    }

    fn by_arrow(&mut self, object: u32, via: RelationId, to: &[(TypeId, RelationId)], depth: u32) -> Answer {
        let (base, overlay, now, schema) = (self.base, self.overlay, self.now, self.schema);
        if !schema.def(via).is_some_and(RelationDef::is_plain) {
            return Err(RelationFault::Indirect { relation: schema.relation_name(via) });
        }
        let kept = base.in_relation(object, via).iter().map(|entry| (entry.link, entry.expires));
        let kept = kept.map(|(link, expires)| (link, overlay.expiry(object, link, expires)));
        let leads = overlay.added_to((object, via)).chain(kept);
        // Where the way leads to one type alone, nobody has to look up which it is.
        let only = match (self.schema.def(via).map(|def| def.direct.as_slice()), to) {
            (Some([Direct::Object(kind)]), [(of, _)]) if kind == of => Some(*kind),
            _ => None,
        };
        any(leads.map(|(link, expires)| {
            self.steps.take()?;
            if !is_live(expires, now) {
                return Ok(false);
            }
            let kind = only.or_else(|| self.known.kind(link.subject));
            match to.iter().find(|(of, _)| Some(*of) == kind) {
                Some((_, relation)) => self.by_container((link.subject, *relation), depth),
                None => Ok(false),
            }
        }))
    }

    fn by_container(&mut self, set: Set, depth: u32) -> Answer {
        if let (Some(closure), Asked::Object(subject, kind)) = (self.closure, self.asked)
            && !self.overlay.touched.contains(set)
            && let Some(answer) = closure.is_inside(subject.unwrap_or(u32::MAX), kind, set)
            && (answer || !self.may_expire(closure, set))
        {
            return Ok(answer);
        }
        self.holds(set, depth + 1)
    }
}
