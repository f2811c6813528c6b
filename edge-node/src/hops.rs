//! The hops that this edge knows: those registered with it, and every other child that it has seen, so that no link has
//! more children here than it may have.
//!
//! A hop counts from when it is first seen until it ends; below one root at most so many count in all until the root
//! ends. What the edge has room for is shared by tenants ([`Room`]). In memory, and lost with the process: then
//! countersignatures say which hops were registered, and counting begins anew. Clauses E-32 to E-34 and E-38.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::id::{LinkId, TenantId};
use remit_common::limits::{FANOUT_MAX, ROOT_LINKS_MAX};
use remit_common::time::Timestamp;

use crate::room::{Room, TenantFull};

/// Hops, and roots, in all. Each takes some hundred bytes.
const HOPS_MAX: usize = 32_768;

/// How often the registration of one hop is put on record. More than once is for callers whose connection broke before
/// it was signed; without a bound, whoever hangs up each time would fill the disk with a single hop.
const ATTEMPTS_MAX: u8 = 8;

/// A hop that wants to be counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) link: LinkId,
    /// When it ends.
    pub(crate) ends: Timestamp,
    pub(crate) parent: LinkId,
    /// How many children the parent may have, by its own words and those above it.
    pub(crate) fanout_max: u16,
    pub(crate) root: LinkId,
    pub(crate) root_ends: Timestamp,
}

/// There is no room for a hop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// The parent has its children.
    #[error("the parent has {most} children here, and may have no more at a time")]
    Fanout {
        /// As many as it may have.
        most: u16,
    },
    /// The root has its links.
    #[error("{ROOT_LINKS_MAX} hops below this root have come here")]
    Root,
    /// Its registration was broken off again and again.
    #[error(
        "registering this hop was begun {ATTEMPTS_MAX} times and not finished; if that was just now, ask again in a moment, \
         otherwise make another hop"
    )]
    Attempts,
    /// The tenant has its hops, or its roots.
    #[error("no room for another {what}: {full}; wait until some have ended, or use another edge")]
    Tenant {
        /// Of what there are too many.
        what: &'static str,
        /// Whose room is full.
        full: TenantFull,
    },
}

/// Every hop that counts.
#[derive(Debug)]
pub(crate) struct Hops(Mutex<Table>);

// INVARIANT: `children` and `links_room` count exactly what is in `links`, `roots_room` what is in `roots`; `ends` and
// `roots_end` hold each link and root once.
#[derive(Debug)]
struct Table {
    links: BTreeMap<LinkId, Known>,
    links_room: Room,
    ends: BTreeSet<(Timestamp, LinkId)>,
    children: BTreeMap<LinkId, u16>,
    roots: BTreeMap<LinkId, Root>,
    roots_room: Room,
    roots_end: BTreeSet<(Timestamp, LinkId)>,
}

#[derive(Debug)]
struct Root {
    tenant: TenantId,
    links: usize,
}

#[derive(Debug)]
struct Known {
    tenant: TenantId,
    parent: LinkId,
    /// How often its registration was put on record.
    attempts: u8,
    /// What this edge signed, if it was registered here.
    countersignature: Option<Arc<[u8]>>,
}

impl Hops {
    /// None yet, at an edge of so many tenants.
    pub(crate) fn new(tenants: usize) -> Self {
        Self(Mutex::new(Table {
            links: BTreeMap::new(),
            links_room: Room::new(HOPS_MAX, tenants),
            ends: BTreeSet::new(),
            children: BTreeMap::new(),
            roots: BTreeMap::new(),
            roots_room: Room::new(HOPS_MAX, tenants),
            roots_end: BTreeSet::new(),
        }))
    }

    /// Counts a hop; one that counts already is no second one.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(crate) fn count(&self, child: &Child<'_>, now: Timestamp) -> Result<(), NoRoom> {
        let mut table = self.lock();
        table.forget(now);
        table.count(child)
    }

    /// Whether it would be counted now: asked before anything is spent on it.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub(crate) fn check(&self, child: &Child<'_>, now: Timestamp) -> Result<(), NoRoom> {
        let mut table = self.lock();
        table.forget(now);
        table.check(child)
    }

    /// What this edge signed about a hop; `None` if it was not registered here.
    pub(crate) fn countersignature(&self, link: &LinkId) -> Option<Arc<[u8]>> {
        self.lock().links.get(link).and_then(|known| known.countersignature.clone())
    }

    /// Begins to register a hop that counts: it is about to be put on record.
    ///
    /// # Errors
    /// [`NoRoom::Attempts`].
    pub(crate) fn attempt(&self, link: &LinkId) -> Result<(), NoRoom> {
        let mut table = self.lock();
        let Some(known) = table.links.get_mut(link) else { return Ok(()) };
        if known.attempts >= ATTEMPTS_MAX {
            return Err(NoRoom::Attempts);
        }
        known.attempts = known.attempts.saturating_add(1);
        Ok(())
    }

    /// An attempt that left no record.
    pub(crate) fn attempt_failed(&self, link: &LinkId) {
        if let Some(known) = self.lock().links.get_mut(link) {
            known.attempts = known.attempts.saturating_sub(1);
        }
    }

    /// Keeps what was signed about a hop that counts, and gives what was signed first.
    pub(crate) fn sign(&self, link: &LinkId, countersignature: Vec<u8>) -> Arc<[u8]> {
        let signed: Arc<[u8]> = countersignature.into();
        match self.lock().links.get_mut(link) {
            Some(known) => Arc::clone(known.countersignature.get_or_insert(signed)),
            None => signed,
        }
    }

    /// Hops that count.
    pub(crate) fn len(&self) -> usize {
        self.lock().links.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while it was held has miscounted by one at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn check(&self, child: &Child<'_>) -> Result<(), NoRoom> {
        if self.links.contains_key(&child.link) {
            return Ok(());
        }
        let most = child.fanout_max.min(FANOUT_MAX);
        if self.children.get(&child.parent).copied().unwrap_or_default() >= most {
            return Err(NoRoom::Fanout { most });
        }
        match self.roots.get(&child.root) {
            Some(root) if root.links >= ROOT_LINKS_MAX => return Err(NoRoom::Root),
            Some(_) => {}
            None => {
                let full = |full| NoRoom::Tenant { what: "root", full };
                self.roots_room.check(child.tenant).map_err(full)?;
            }
        }
        self.links_room.check(child.tenant).map_err(|full| NoRoom::Tenant { what: "hop", full })
    }

    fn count(&mut self, child: &Child<'_>) -> Result<(), NoRoom> {
        self.check(child)?;
        let Entry::Vacant(link) = self.links.entry(child.link) else { return Ok(()) };
        link.insert(Known { tenant: child.tenant.clone(), parent: child.parent, attempts: 0, countersignature: None });
        // INVARIANT: there is room, it has been asked for.
        let _ = self.links_room.take(child.tenant);
        let children = self.children.entry(child.parent).or_default();
        *children = children.saturating_add(1);
        match self.roots.entry(child.root) {
            Entry::Occupied(mut root) => root.get_mut().links = root.get().links.saturating_add(1),
            Entry::Vacant(root) => {
                let _ = self.roots_room.take(child.tenant);
                root.insert(Root { tenant: child.tenant.clone(), links: 1 });
                self.roots_end.insert((child.root_ends, child.root));
            }
        }
        self.ends.insert((child.ends, child.link));
        Ok(())
    }

    /// What has ended counts no longer.
    fn forget(&mut self, now: Timestamp) {
        while self.ends.first().is_some_and(|(ends, _)| *ends <= now) {
            let Some(known) = self.ends.pop_first().and_then(|(_, link)| self.links.remove(&link)) else { continue };
            self.links_room.give_back(&known.tenant);
            if let Some(children) = self.children.get_mut(&known.parent) {
                *children = children.saturating_sub(1);
                if *children == 0 {
                    self.children.remove(&known.parent);
                }
            }
        }
        while self.roots_end.first().is_some_and(|(ends, _)| *ends <= now) {
            if let Some(root) = self.roots_end.pop_first().and_then(|(_, root)| self.roots.remove(&root)) {
                self.roots_room.give_back(&root.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use remit_common::crypto::digest::Digest;

    use super::*;

    fn id(number: usize) -> LinkId {
        LinkId(Digest::of(&[&number.to_be_bytes()]))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    static ACME: LazyLock<TenantId> = LazyLock::new(|| TenantId::new("acme").unwrap());
    static GLOBEX: LazyLock<TenantId> = LazyLock::new(|| TenantId::new("globex").unwrap());

    fn child(link: usize, parent: usize, ends: u64) -> Child<'static> {
        let (link, parent, root) = (id(link), id(parent), id(0));
        Child { tenant: &ACME, link, ends: at(ends), parent, fanout_max: 2, root, root_ends: at(3_600) }
    }

    #[test]
    fn a_link_has_so_many_children_at_a_time_and_one_twice_is_one() {
        let hops = Hops::new(1);
        for link in [1, 1, 2, 2] {
            let ends = 10 + u64::try_from(link).unwrap();
            assert_eq!(hops.count(&child(link, 0, ends), at(1)), Ok(()));
        }
        assert_eq!(hops.count(&child(3, 0, 20), at(1)), Err(NoRoom::Fanout { most: 2 }));
        assert_eq!(hops.count(&child(3, 1, 20), at(1)), Ok(()), "another parent has room");
        assert_eq!(hops.count(&child(4, 0, 20), at(11)), Ok(()), "the first has ended");
        assert_eq!(hops.count(&child(5, 0, 20), at(11)), Err(NoRoom::Fanout { most: 2 }));
        let many = |link| Child { fanout_max: u16::MAX, ..child(link, 9, 20) };
        let taken = (100..300).take_while(|link| hops.count(&many(*link), at(11)).is_ok()).count();
        assert_eq!(taken, usize::from(FANOUT_MAX));
    }

    #[test]
    fn a_swarm_meets_the_bound_of_its_root_however_short_its_hops_live() {
        let hops = Hops::new(1);
        let mut taken = 0;
        for link in 1..2 * ROOT_LINKS_MAX {
            let now = u64::try_from(link).unwrap();
            match hops.count(&child(link, 0, now + 1), at(now)) {
                Ok(()) => taken += 1,
                Err(why) => assert_eq!(why, NoRoom::Root),
            }
            assert!(hops.len() <= 2);
        }
        assert_eq!(taken, ROOT_LINKS_MAX);
        let later = Child { root_ends: at(9_000), ends: at(4_000), ..child(1, 0, 0) };
        assert_eq!(hops.count(&later, at(3_601)), Ok(()), "the root has ended, and nothing is kept of it");
    }

    #[test]
    fn a_tenant_that_fills_its_room_with_hops_or_roots_leaves_the_others_theirs() {
        let hops = Hops::new(2);
        let of = |tenant: &'static TenantId, root: usize, link: usize| {
            let (root, link) = (id(1_000_000 + root), id(link));
            Child { tenant, root, link, parent: link, ..child(0, 0, 20) }
        };
        let fill = |tenant: &'static TenantId, from: usize, per_root: usize| {
            let next = |link: &usize| hops.count(&of(tenant, link / per_root, *link), at(1));
            let taken = (from..).take_while(|link| next(link).is_ok()).count();
            (taken, next(&(from + taken)).unwrap_err())
        };
        let (own, shared) = (HOPS_MAX / 4, HOPS_MAX / 2);
        let (taken, why) = fill(&ACME, 0, ROOT_LINKS_MAX);
        assert_eq!(taken, own + shared);
        let said = why.to_string();
        assert!(said.contains("another hop") && said.contains("`acme` has 24576") && said.contains("wait"), "{said}");
        assert_eq!(fill(&GLOBEX, HOPS_MAX, ROOT_LINKS_MAX).0, own);
        // The hops end, and their roots still count: a root for every hop fills that room, and no other tenant's.
        let roots = |tenant: &'static TenantId, from: usize| {
            let next = |link: &usize| hops.count(&of(tenant, 2 * HOPS_MAX + link, *link), at(20));
            (from..).take_while(|link| next(link).is_ok()).count()
        };
        assert!(roots(&ACME, 0) > shared);
        assert!(roots(&GLOBEX, HOPS_MAX) > own / 2);
    }

    #[test]
    fn whoever_begins_to_register_a_hop_and_hangs_up_each_time_runs_out_of_attempts() {
        let hops = Hops::new(1);
        assert_eq!(hops.count(&child(1, 0, 10), at(1)), Ok(()));
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(hops.attempt(&id(1)), Ok(()));
            hops.attempt_failed(&id(1));
        }
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(hops.attempt(&id(1)), Ok(()), "what left no record is not counted");
        }
        assert_eq!(hops.attempt(&id(1)), Err(NoRoom::Attempts));
        assert_eq!(hops.count(&child(2, 0, 10), at(1)), Ok(()));
        assert_eq!(hops.attempt(&id(2)), Ok(()), "another hop has its own");
    }

    #[test]
    fn what_was_signed_first_is_what_is_given() {
        let hops = Hops::new(1);
        assert_eq!(hops.count(&child(1, 0, 10), at(1)), Ok(()));
        assert_eq!(hops.countersignature(&id(1)), None);
        assert_eq!(&*hops.sign(&id(1), vec![1]), [1]);
        assert_eq!(&*hops.sign(&id(1), vec![2]), [1]);
        assert_eq!(hops.countersignature(&id(1)).as_deref(), Some(&[1][..]));
    }
}
