//! Entries in the order of their keys, found without building a key, and counted by who asked for them.
//!
//! A set is copied with every change, because readers hold the one before. So a copy shares its entries, and of the
//! kinds that did not change the trees as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::ask::{Asked, Shown};
use super::sketch::Sketch;
use super::{Called, Cut, CutKind, Forbid, Reach, Revocation};
use crate::crypto::digest::Digest;
use crate::envelope::RawPresentation;
use crate::id::{LinkId, TenantId};
use crate::time::Timestamp;

/// Entries of one kind in one tenant, by id.
pub(super) type ById = BTreeMap<Arc<str>, Arc<Revocation>>;
/// Entries with the same reach.
pub(super) type Kinds = BTreeMap<CutKind, Arc<ById>>;

/// How many entries, and with how many bytes they were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Taken {
    pub(super) fn with(self, entry: &Revocation) -> Self {
        let bytes = self.bytes.saturating_add(entry.request.body.len());
        Self { entries: self.entries.saturating_add(1), bytes }
    }

    fn without(self, entry: &Revocation) -> Self {
        let bytes = self.bytes.saturating_sub(entry.request.body.len());
        Self { entries: self.entries.saturating_sub(1), bytes }
    }
}

// INVARIANT: `count`, `by_holders`, `by_holders_of` and `below` say of `tenants` what their names do; `digests` holds every id in
// it that is a digest, and perhaps some that are gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    /// What reaches every tenant.
    mesh: Kinds,
    tenants: BTreeMap<TenantId, Kinds>,
    /// The rules that forbid, read once; of one that does not read, which the form of its kind rules out, nothing.
    rules: BTreeMap<Reach, BTreeMap<String, Option<Forbid>>>,
    count: usize,
    /// What holders asked for.
    by_holders: Taken,
    by_holders_of: BTreeMap<Reach, Taken>,
    /// What holders asked for, by each link of the chain that they showed.
    below: Arc<BTreeMap<LinkId, BTreeSet<Cut>>>,
    digests: Sketch,
}

/// All else follows from the entries.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        (&self.mesh, &self.tenants) == (&other.mesh, &other.tenants)
    }
}

impl Eq for Entries {}

/// What a holder showed; `None` for everybody else.
fn of_holder(entry: &Revocation) -> Option<Shown> {
    // An administrator's body never needs to be read for this.
    let is_short =
        entry.request.body.len() <= 512 && !entry.request.body.windows(8).any(|window| window == b"\"chain\":");
    if is_short {
        return None;
    }
    Asked::from_body(&entry.request.body).ok()?.shown
}

/// The links of the chain that a holder showed; `None` for everybody else.
pub(super) fn shown(entry: &Revocation) -> Option<Vec<LinkId>> {
    of_holder(entry).map(|shown| shown.links)
}

/// The same links from the root to the first that the holder itself holds: what is further down is below it.
pub(super) fn shown_to_own(entry: &Revocation) -> Option<Vec<LinkId>> {
    let Shown { mut links, chain } = of_holder(entry)?;
    let raw = RawPresentation::parse(&chain).ok();
    let own = raw.and_then(|raw| raw.links().position(|link| link.holder.id() == entry.request.key));
    links.truncate(own.map_or(links.len(), |own| own + 1));
    Some(links)
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What all holders asked for, and what those of this tenant did.
    pub(super) fn by_holders(&self, reach: &Reach) -> [Taken; 2] {
        [self.by_holders, self.by_holders_of.get(reach).copied().unwrap_or_default()]
    }

    /// How many entries besides the one of `cut` holders asked for who showed a chain with this link.
    pub(super) fn others_below(&self, link: &LinkId, cut: &Cut) -> usize {
        self.below.get(link).map_or(0, |cuts| cuts.len() - usize::from(cuts.contains(cut)))
    }

    /// What reaches a tenant: what was cut in it, and what was cut everywhere.
    pub(super) fn reaching(&self, tenant: &TenantId) -> [Option<&Kinds>; 2] {
        [self.tenants.get(tenant), Some(&self.mesh).filter(|mesh| !mesh.is_empty())]
    }

    fn kinds(&self, reach: &Reach) -> Option<&Kinds> {
        match reach {
            Reach::Mesh => Some(&self.mesh),
            Reach::Tenant(tenant) => self.tenants.get(tenant),
        }
    }

    /// The entries whose rule forbids a call in a tenant, its own before those of the whole mesh.
    pub(super) fn forbidding(&self, tenant: &TenantId, called: &Called<'_>) -> impl Iterator<Item = &Revocation> {
        let reaching = self.rules.iter().rev().filter(|(reach, _)| reach.covers(tenant));
        let rules = reaching.flat_map(|(reach, rules)| rules.iter().map(move |(id, rule)| (reach, id, rule)));
        let forbid = rules.filter(|(.., rule)| rule.as_ref().is_none_or(|rule| rule.forbids(called)));
        forbid.filter_map(|(reach, id, _)| self.get(reach, CutKind::Forbid, id).map(Arc::as_ref))
    }

    /// Every reach that there may be entries of.
    pub(super) fn reaches(&self) -> impl Iterator<Item = Reach> {
        std::iter::once(Reach::Mesh).chain(self.tenants.keys().cloned().map(Reach::Tenant))
    }

    /// How many entries of a kind have a reach.
    pub(super) fn count_of(&self, reach: &Reach, kind: CutKind) -> usize {
        self.kinds(reach).and_then(|kinds| kinds.get(&kind)).map_or(0, |by_id| by_id.len())
    }

    /// Whether an entry may be about this digest, of whatever kind and tenant; `false` is certain.
    pub(super) fn may_name(&self, digest: &Digest) -> bool {
        self.digests.may_hold(digest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.shared().map(Arc::as_ref)
    }

    /// The same as copies of the set share them: comparing two that are one costs nothing.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        // In the order of the texts: `*` comes before every name.
        let kinds = std::iter::once(&self.mesh).chain(self.tenants.values());
        kinds.flat_map(BTreeMap::values).flat_map(|by_id| by_id.values())
    }

    fn get(&self, reach: &Reach, kind: CutKind, id: &str) -> Option<&Arc<Revocation>> {
        self.kinds(reach)?.get(&kind)?.get(id)
    }

    pub(super) fn get_cut(&self, cut: &Cut) -> Option<&Arc<Revocation>> {
        self.get(&cut.tenant, cut.kind, &cut.id)
    }

    pub(super) fn insert(&mut self, entry: Arc<Revocation>) {
        self.remove(&entry.cut);
        if let Some(links) = shown(&entry) {
            self.by_holders = self.by_holders.with(&entry);
            let of_tenant = self.by_holders_of.entry(entry.cut.tenant.clone()).or_default();
            *of_tenant = of_tenant.with(&entry);
            let below = Arc::make_mut(&mut self.below);
            for link in links {
                below.entry(link).or_default().insert(entry.cut.clone());
            }
        }
        if let Ok(digest) = entry.cut.id.parse() {
            if self.digests.is_full() {
                self.digests = Sketch::of(self.count, self.iter().filter_map(|entry| entry.cut.id.parse().ok()));
            }
            self.digests.note(&digest);
        }
        let Cut { tenant, kind, id } = &entry.cut;
        if *kind == CutKind::Forbid {
            self.rules.entry(tenant.clone()).or_default().insert(id.clone(), Forbid::parse(id));
        }
        let kinds = match tenant {
            Reach::Mesh => &mut self.mesh,
            Reach::Tenant(tenant) => self.tenants.entry(tenant.clone()).or_default(),
        };
        let by_id = kinds.entry(*kind).or_default();
        Arc::make_mut(by_id).insert(id.as_str().into(), entry);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, cut: &Cut) -> Option<Arc<Revocation>> {
        // What is not there leaves shared trees as they are.
        self.get_cut(cut)?;
        let kinds = match &cut.tenant {
            Reach::Mesh => &mut self.mesh,
            Reach::Tenant(tenant) => self.tenants.get_mut(tenant)?,
        };
        let by_id = kinds.get_mut(&cut.kind)?;
        let removed = Arc::make_mut(by_id).remove(cut.id.as_str())?;
        if let Some(rules) = self.rules.get_mut(&cut.tenant).filter(|_| cut.kind == CutKind::Forbid) {
            rules.remove(&cut.id);
            if rules.is_empty() {
                self.rules.remove(&cut.tenant);
            }
        }
        self.count -= 1;
        if by_id.is_empty() {
            kinds.remove(&cut.kind);
        }
        if let Reach::Tenant(tenant) = &cut.tenant
            && kinds.is_empty()
        {
            self.tenants.remove(tenant);
        }
        if let Some(links) = shown(&removed) {
            self.by_holders = self.by_holders.without(&removed);
            if let Some(of_tenant) = self.by_holders_of.get_mut(&cut.tenant) {
                *of_tenant = of_tenant.without(&removed);
                if of_tenant.entries == 0 {
                    self.by_holders_of.remove(&cut.tenant);
                }
            }
            let below = Arc::make_mut(&mut self.below);
            for link in links {
                if let Some(cuts) = below.get_mut(&link) {
                    cuts.remove(cut);
                    if cuts.is_empty() {
                        below.remove(&link);
                    }
                }
            }
        }
        Some(removed)
    }

    pub(super) fn ended(&self, now: Timestamp) -> Vec<Cut> {
        self.iter().filter(|entry| entry.until <= now).map(|entry| entry.cut.clone()).collect()
    }

    /// Whether a link above what a holder had cut is cut itself, for at least as long: then the entry adds nothing.
    pub(super) fn covers(&self, entry: &Revocation) -> bool {
        let is_cut = |link: &LinkId| {
            let above = self.get(&entry.cut.tenant, CutKind::Link, &link.to_string());
            above.is_some_and(|above| above.cut != entry.cut && above.until >= entry.until)
        };
        entry.cut.kind == CutKind::Link && shown(entry).is_some_and(|links| links.iter().any(is_cut))
    }

    /// What holders had cut below a link and what the cut of that link covers.
    pub(super) fn covered_by(&self, above: &Revocation) -> Vec<Cut> {
        let link = above.cut.id.parse().map(LinkId).ok().filter(|_| above.cut.kind == CutKind::Link);
        let below = link.and_then(|link| self.below.get(&link)).into_iter().flatten();
        let is_covered = |cut: &&Cut| {
            cut.kind == CutKind::Link
                && cut.tenant == above.cut.tenant
                && **cut != above.cut
                && self.get_cut(cut).is_some_and(|entry| entry.until <= above.until)
        };
        below.filter(is_covered).cloned().collect()
    }
}

impl FromIterator<Revocation> for Entries {
    fn from_iter<I: IntoIterator<Item = Revocation>>(entries: I) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.insert(Arc::new(entry));
        }
        all
    }
}

/// The entry of an issuer's cut that reaches what it signed at `issued`. The ids of one key follow each other.
pub(super) fn issuer_cut<'e>(by_id: &'e ById, kid: &str, issued_secs: u64) -> Option<&'e Revocation> {
    by_id
        .range::<str, _>((Bound::Included(kid), Bound::Unbounded))
        .take_while(|(id, _)| id.starts_with(kid))
        .map(|(_, entry)| entry.as_ref())
        .find(|entry| entry.cut.issued_before().is_some_and(|(_, before)| issued_secs < before))
}
