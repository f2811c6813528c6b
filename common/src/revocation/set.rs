//! The set of revocations, its epoch and its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::{Cut, CutKind, Revocation, RevocationRefused, Revoked, Subject};
use crate::crypto::digest::{Digest, Hasher};
use crate::id::{MeshId, RevocationEpoch, TenantId};
use crate::identity::Administrators;
use crate::limits::{REVOCATIONS_MAX, REVOCATIONS_RESERVE};
use crate::time::Timestamp;

/// First bytes under the digest of the set.
const DIGEST_LABEL: &[u8] = b"remit/revocations/v1\0";
/// Entries of a set: only administrators cut so far, and they may use their reserve.
pub const REVOCATIONS_TOTAL_MAX: usize = REVOCATIONS_MAX + REVOCATIONS_RESERVE;

/// What changes one set into a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationUpdate {
    /// The epoch that it starts from; zero: from nothing, `added` is the whole set.
    pub from: RevocationEpoch,
    /// The epoch that it leads to.
    pub to: RevocationEpoch,
    /// The digest that the set has then.
    pub digest: Digest,
    /// New entries, and entries that live longer.
    pub added: Vec<Revocation>,
    /// Entries that the log has let go.
    pub removed: Vec<Cut>,
}

/// Entries of one kind in one tenant, by id.
type ById = BTreeMap<String, Revocation>;

/// Entries in the order of their keys, and found without building a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entries {
    tenants: BTreeMap<TenantId, BTreeMap<CutKind, ById>>,
    count: usize,
}

/// The set. Cheap to look into; cloned when it changes, because readers hold the old one meanwhile.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Revocations {
    epoch: RevocationEpoch,
    entries: Entries,
    /// What the log has let go before its end by the clock here: still in force, no longer in the digest. A voter
    /// whose clock runs ahead, or who lies, cannot end a cut early.
    lingering: Entries,
    digest: OnceLock<Digest>,
}

/// The set on disk and in snapshots.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    epoch: RevocationEpoch,
    entries: Vec<Revocation>,
    lingering: Vec<Revocation>,
}

impl PartialEq for Revocations {
    fn eq(&self, other: &Self) -> bool {
        (self.epoch, &self.entries, &self.lingering) == (other.epoch, &other.entries, &other.lingering)
    }
}

impl Eq for Revocations {}

impl Entries {
    fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.tenants.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values)
    }

    fn get(&self, tenant: &TenantId, kind: CutKind, id: &str) -> Option<&Revocation> {
        self.tenants.get(tenant)?.get(&kind)?.get(id)
    }

    fn get_cut(&self, cut: &Cut) -> Option<&Revocation> {
        self.get(&cut.tenant, cut.kind, &cut.id)
    }

    fn insert(&mut self, entry: Revocation) {
        let Cut { tenant, kind, id } = entry.cut.clone();
        let by_id = self.tenants.entry(tenant).or_default().entry(kind).or_default();
        if by_id.insert(id, entry).is_none() {
            self.count += 1;
        }
    }

    fn remove(&mut self, cut: &Cut) -> Option<Revocation> {
        let kinds = self.tenants.get_mut(&cut.tenant)?;
        let by_id = kinds.get_mut(&cut.kind)?;
        let removed = by_id.remove(&cut.id)?;
        self.count -= 1;
        if by_id.is_empty() {
            kinds.remove(&cut.kind);
        }
        if kinds.is_empty() {
            self.tenants.remove(&cut.tenant);
        }
        Some(removed)
    }

    fn ended(&self, now: Timestamp) -> Vec<Cut> {
        self.iter().filter(|entry| entry.until <= now).map(|entry| entry.cut.clone()).collect()
    }
}

impl FromIterator<Revocation> for Entries {
    fn from_iter<I: IntoIterator<Item = Revocation>>(entries: I) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.insert(entry);
        }
        all
    }
}

impl From<Revocations> for Written {
    fn from(set: Revocations) -> Self {
        let list = |entries: &Entries| entries.iter().cloned().collect();
        Self { epoch: set.epoch, entries: list(&set.entries), lingering: list(&set.lingering) }
    }
}

impl TryFrom<Written> for Revocations {
    type Error = RevocationRefused;

    fn try_from(written: Written) -> Result<Self, RevocationRefused> {
        let Written { epoch, entries, lingering } = written;
        for list in [&entries, &lingering] {
            if list.len() > REVOCATIONS_TOTAL_MAX {
                return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
            }
            if !list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.cut < b.cut) {
                return Err(RevocationRefused::Malformed { rule: "entries are sorted and distinct" });
            }
        }
        let (entries, lingering) = (entries.into_iter().collect(), lingering.into_iter().collect());
        Ok(Self { epoch, entries, lingering, digest: OnceLock::new() })
    }
}

impl Revocations {
    /// The set before the first revocation: epoch 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> RevocationEpoch {
        self.epoch
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry of the log's set, in the order of its key.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.entries.iter()
    }

    /// SHA-256 over the epoch and the entries, sorted by key (Clause T-44). Hashed once.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let number = |len: usize| u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes();
            let mut hasher = Hasher::default();
            hasher.update(DIGEST_LABEL);
            hasher.update(&self.epoch.0.to_be_bytes());
            hasher.update(&number(self.len()));
            for Revocation { cut: Cut { tenant, kind, id }, until, index: _, request: _ } in self.iter() {
                hasher.update(&number(tenant.as_str().len()));
                hasher.update(tenant.as_str().as_bytes());
                hasher.update(&[kind.number()]);
                hasher.update(&number(id.len()));
                hasher.update(id.as_bytes());
                hasher.update(&until.as_millis().to_be_bytes());
            }
            hasher.finish()
        })
    }

    fn raise(&mut self) {
        self.epoch = RevocationEpoch(self.epoch.0.saturating_add(1));
        self.digest = OnceLock::new();
    }

    /// Adds an entry and raises the epoch. What is cut already, and for at least as long, stays as it is, and so
    /// does the epoch. Only the log calls this, with an entry that was verified.
    ///
    /// # Errors
    /// [`RevocationRefused::Full`].
    pub fn cut(&mut self, entry: Revocation) -> Result<RevocationEpoch, RevocationRefused> {
        match self.entries.get_cut(&entry.cut) {
            Some(already) if already.until >= entry.until => return Ok(self.epoch),
            None if self.len() >= REVOCATIONS_TOTAL_MAX => {
                return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
            }
            _ => self.entries.insert(entry),
        }
        self.raise();
        Ok(self.epoch)
    }

    /// Lets go of what has ended at `now` and says how many; raises the epoch if that was any. Only the log calls
    /// this: what an edge enforces must not depend on the edge's clock.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let ended = self.entries.ended(now);
        for cut in &ended {
            self.entries.remove(cut);
        }
        if !ended.is_empty() {
            self.raise();
        }
        ended.len()
    }

    /// What leads from `old` to this set; from nothing, if `old` is `None`.
    #[must_use]
    pub fn update_from(&self, old: Option<&Self>) -> RevocationUpdate {
        let before = |cut: &Cut| old.and_then(|old| old.entries.get_cut(cut));
        let removed = old.into_iter().flat_map(Self::iter).filter(|entry| self.entries.get_cut(&entry.cut).is_none());
        RevocationUpdate {
            from: old.map_or(RevocationEpoch(0), Self::epoch),
            to: self.epoch,
            digest: self.digest(),
            added: self.iter().filter(|entry| before(&entry.cut) != Some(*entry)).cloned().collect(),
            removed: removed.map(|entry| entry.cut.clone()).collect(),
        }
    }

    /// The set after an update: each entry that is new here verified, the digest compared. What the update drops
    /// before its end by `now` stays in force here.
    ///
    /// # Errors
    /// [`RevocationRefused`]; this set is unchanged.
    pub fn updated(
        &self,
        update: RevocationUpdate,
        mesh: &MeshId,
        administrators: &Administrators,
        now: Timestamp,
    ) -> Result<Self, RevocationRefused> {
        let RevocationUpdate { from, to, digest, added, removed } = update;
        if to <= self.epoch {
            return Err(RevocationRefused::EpochNotRising { offered: to, have: self.epoch });
        }
        let whole = from == RevocationEpoch(0);
        if !whole && from != self.epoch {
            return Err(RevocationRefused::Gap { from, have: self.epoch });
        }
        if added.len() > REVOCATIONS_TOTAL_MAX || removed.len() > REVOCATIONS_TOTAL_MAX {
            return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
        }
        for entry in added.iter().filter(|entry| !self.holds(entry)) {
            entry.verify(mesh, administrators)?;
        }
        let kept: BTreeSet<&Cut> = if whole { added.iter().map(|entry| &entry.cut).collect() } else { BTreeSet::new() };
        let dropped: Vec<Cut> = if whole {
            self.iter().map(|entry| &entry.cut).filter(|cut| !kept.contains(cut)).cloned().collect()
        } else {
            removed
        };
        let mut next = Self { epoch: to, digest: OnceLock::new(), ..self.clone() };
        for cut in &dropped {
            if let Some(entry) = next.entries.remove(cut) {
                next.lingering.insert(entry);
            }
        }
        for entry in added {
            next.lingering.remove(&entry.cut);
            next.entries.insert(entry);
        }
        for cut in next.lingering.ended(now) {
            next.lingering.remove(&cut);
        }
        if next.len() > REVOCATIONS_TOTAL_MAX || next.lingering.count > REVOCATIONS_TOTAL_MAX {
            return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
        }
        if next.digest() != digest {
            return Err(RevocationRefused::Digest);
        }
        Ok(next)
    }

    /// Whether exactly this entry was verified here before.
    fn holds(&self, entry: &Revocation) -> bool {
        [&self.entries, &self.lingering].iter().any(|entries| entries.get_cut(&entry.cut) == Some(entry))
    }

    /// Whether the tenant or anything that the call hangs on has been cut. An entry holds until the log lets it go,
    /// whatever the clock here says.
    ///
    /// # Errors
    /// [`Revoked`] names the first entry found.
    pub fn check<'a>(&self, tenant: &TenantId, subjects: impl IntoIterator<Item = Subject<'a>>) -> Result<(), Revoked> {
        // Nearly always there is nothing for the tenant, and then no subject is even looked at.
        let sets = [&self.entries, &self.lingering];
        let [entries, lingering] = sets.map(|entries| entries.tenants.get(tenant));
        if entries.is_none() && lingering.is_none() {
            return Ok(());
        }
        let find = |kind: CutKind, id: &str| {
            let found = |kinds: &'_ BTreeMap<CutKind, ById>| kinds.get(&kind)?.get(id).map(|entry| entry.cut.clone());
            entries.and_then(found).or_else(|| lingering.and_then(found)).map_or(Ok(()), |cut| Err(Revoked { cut }))
        };
        find(CutKind::Tenant, tenant.as_str())?;
        for subject in subjects {
            match subject {
                Subject::Link(id) => find(CutKind::Link, Hex::of(&id.0).as_str())?,
                Subject::Holder(id) => find(CutKind::Holder, Hex::of(&id.0).as_str())?,
                Subject::Delegator(id) => find(CutKind::Delegator, id.as_str())?,
                Subject::Session(id) => find(CutKind::Session, id.as_str())?,
                Subject::Task(id) => find(CutKind::Task, id.as_str())?,
                Subject::Agent(id) => find(CutKind::Agent, id.as_str())?,
                Subject::Credential(id, version) => {
                    find(CutKind::Credential, id.as_str())?;
                    find(CutKind::Credential, &format!("{id}@{version}"))?;
                }
                Subject::Tool(id) => find(CutKind::Tool, id.as_str())?,
                Subject::Edge(id) => find(CutKind::Edge, id.as_str())?,
            }
        }
        Ok(())
    }
}

/// A digest as text, without an allocation: this is looked up for every link of every call.
struct Hex([u8; 64]);

impl Hex {
    fn of(digest: &Digest) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(digest.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // INVARIANT: hex digits are UTF-8
    }
}
