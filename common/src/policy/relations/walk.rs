//! The walk from an object to a subject, with the closure's short cuts where those are still right.
//!
//! A pure relation is a search: every set is entered once. An intersection or an exclusion is evaluated part by part;
//! a way that leads back into a set on it adds nothing, unless it went through the part that takes away: then there
//! is no answer, and no answer denies. Depth and the number of sets are bounded. Clause Q-4.

use std::collections::HashSet;

use super::base::{Base, How, Known, Link, Set, is_live, usize_of};
use super::closure::Closure;
use super::overlay::Overlay;
use super::schema::{Expr, RelationId, RelationSchema, TypeId, Unfit};
use crate::time::Timestamp;

/// Sets inside sets, as in OpenFGA.
pub(super) const DEPTH_MAX: u32 = 25;
/// Sets that one check may enter: some milliseconds.
pub(super) const NODES_MAX: u32 = 20_000;
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
    #[error("relations lead through more than {NODES_MAX} sets")]
    TooMany,
    /// Somebody is in a set because they are not in it.
    #[error("`{relation}` follows from its own absence here")]
    Circular {
        /// The relation, `type#relation`.
        relation: String,
    },
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
    nodes: u32,
    searching: bool,
    seen: Seen,
    /// Sets that are being evaluated, and through how many exclusions the way to them led.
    path: Vec<(Set, u32)>,
    exclusions: u32,
}

/// Sets that a search has entered.
#[derive(Default)]
struct Seen {
    few: Vec<Set>,
    many: HashSet<Set>,
}

impl Seen {
    fn add(&mut self, set: Set) -> bool {
        if self.few.len() < FEW {
            let is_new = !self.few.contains(&set);
            if is_new {
                self.few.push(set);
            }
            return is_new;
        }
        !self.few.contains(&set) && self.many.insert(set)
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
            nodes: 0,
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
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(RelationFault::TooMany);
        }
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
                        Err(found) => fault = fault.or(Some(found)),
                    }
                }
                fault.map_or(Ok(true), Err)
            }
            Expr::Exclusion(base, without) => {
                let holds = self.expr(base, set, depth);
                if holds == Ok(false) {
                    return Ok(false);
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

    fn is_live(&self, object: u32, link: Link, expires: u32) -> bool {
        is_live(expires, self.now) && !self.overlay.is_removed(object, link)
    }

    /// Whether a tuple that names no set puts the subject into this one.
    fn is_named(&self, (object, relation): Set) -> bool {
        let named = |how, subject| {
            let link = Link { relation, how, subject };
            let kept = || self.base.find(object, link).is_some_and(|entry| self.is_live(object, link, entry.expires));
            let added = || self.overlay.added.get(&(object, link)).is_some_and(|expires| is_live(*expires, self.now));
            (!self.overlay.added.is_empty() && added()) || kept()
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
        if self.is_named(set) {
            return Ok(true);
        }
        let (object, relation) = set;
        let (base, overlay) = (self.base, self.overlay);
        let entries = base.in_relation(object, relation);
        let entries = entries.get(entries.partition_point(|entry| entry.link.how < How::Userset)..).unwrap_or_default();
        let kept = entries.iter().take_while(|entry| entry.link.how == How::Userset);
        let kept = kept.map(|entry| (entry.link, entry.expires));
        let added = overlay.added_to(set).filter(|(link, _)| link.how == How::Userset);
        let mut fault = None;
        for (link, expires) in added.chain(kept.filter(|(link, _)| !overlay.is_removed(object, *link))) {
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
                self.nodes += 1;
                return Ok(closure.is_member(subject.unwrap_or(u32::MAX), kind, number));
            }
        }
        self.holds(set, depth + 1)
    }

    fn by_arrow(&mut self, object: u32, via: RelationId, to: &[(TypeId, RelationId)], depth: u32) -> Answer {
        let (base, overlay, now) = (self.base, self.overlay, self.now);
        let kept = base.in_relation(object, via).iter().map(|entry| (entry.link, entry.expires));
        let kept = kept.filter(|(link, _)| !overlay.is_removed(object, *link));
        let leads = overlay.added_to((object, via)).chain(kept);
        let leads = leads.filter(|(link, expires)| link.how == How::Object && is_live(*expires, now));
        any(leads.map(|(link, _)| {
            let kind = self.known.kind(link.subject);
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
        {
            self.nodes += 1;
            return Ok(answer);
        }
        self.holds(set, depth + 1)
    }
}
