//! Whom tuples that expire put somewhere. The closure holds what lasts; for everybody else than these it is all there is.
//! Clause Q-5.

use std::collections::HashSet;

use super::base::{How, Known, Link, Set};
use super::closure::Closure;
use super::overlay::Touched;
use super::schema::TypeId;

/// Sets among the subjects of tuples that expire; each is looked up for every question that comes near one. With more,
/// anybody may be in one.
const SETS_MAX: usize = 64;

/// The subjects of tuples that expire.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    objects: HashSet<u32>,
    /// By number.
    usersets: HashSet<u32>,
    containers: HashSet<Set>,
    /// Types of which everybody is meant.
    kinds: HashSet<u32>,
    anybody: bool,
}

impl Expiring {
    pub(super) fn add(&mut self, link: Link) {
        match link.how {
            How::Object => _ = self.objects.insert(link.subject),
            How::Everyone => _ = self.kinds.insert(link.subject),
            How::Userset => _ = self.usersets.insert(link.subject),
        }
        self.bound();
    }

    pub(super) fn add_container(&mut self, container: Set) {
        self.containers.insert(container);
        self.bound();
    }

    fn bound(&mut self) {
        if self.usersets.len() + self.containers.len() > SETS_MAX {
            self.anybody = true;
            (self.usersets, self.containers) = Default::default();
        }
    }

    /// Whether a subject that the closure knows may be somewhere by a tuple that expires. `touched` are the sets in
    /// which it may stand by a newer tuple.
    pub(super) fn reach(
        &self,
        closure: &Closure,
        known: &Known<'_>,
        touched: &Touched,
        (subject, kind): (u32, TypeId),
    ) -> bool {
        let is_touched = |set: Option<Set>| set.is_none_or(|set| touched.contains(set));
        self.anybody
            || self.objects.contains(&subject)
            || self.kinds.contains(&u32::from(kind))
            || self
                .usersets
                .iter()
                .any(|number| is_touched(known.userset(*number)) || closure.is_member(subject, kind, *number))
            || self.containers.iter().any(|container| {
                is_touched(Some(*container)) || closure.is_inside(subject, kind, *container).unwrap_or(true)
            })
    }
}
