//! Every revocation in force, under one number and one digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Cut, CutKind, Revocation, RevocationRefused, Revoked, Subject};
use crate::crypto::digest::{Digest, Hasher};
use crate::id::{MeshId, RevocationEpoch, TenantId};
use crate::identity::Administrators;
use crate::limits::REVOCATIONS_MAX;
use crate::time::Timestamp;

/// Entries of a set, the administrators' reserve included: they are never refused for space that others took.
pub const REVOCATIONS_TOTAL_MAX: usize = REVOCATIONS_MAX + REVOCATIONS_MAX / 10;

/// What a digest is of.
const DIGEST_LABEL: &[u8] = b"remit/revocations/v1\0";

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

/// The set.
///
/// `agreed` is what the log says at this epoch, and what the digest covers. `kept` is what the log has let go while
/// our own clock had not reached its end: no reason to permit again (T-45).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Revocations {
    epoch: RevocationEpoch,
    digest: Digest,
    agreed: Entries,
    kept: Entries,
}

type Entries = BTreeMap<TenantId, BTreeMap<CutKind, BTreeMap<String, Revocation>>>;

/// The set as it is stored: lists, in the order of the digest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    epoch: RevocationEpoch,
    agreed: Vec<Revocation>,
    kept: Vec<Revocation>,
}

impl From<Revocations> for Stored {
    fn from(set: Revocations) -> Self {
        let Revocations { epoch, digest: _, agreed, kept } = set;
        Self { epoch, agreed: iter(&agreed).cloned().collect(), kept: iter(&kept).cloned().collect() }
    }
}

impl TryFrom<Stored> for Revocations {
    type Error = RevocationRefused;

    /// Takes entries as verified: this is for our own disk and our own log.
    fn try_from(stored: Stored) -> Result<Self, RevocationRefused> {
        let Stored { epoch, agreed, kept } = stored;
        let full = RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX };
        if agreed.len() > REVOCATIONS_TOTAL_MAX || kept.len() > REVOCATIONS_TOTAL_MAX {
            return Err(full);
        }
        let collect = |list: Vec<Revocation>| {
            let mut entries = Entries::new();
            list.into_iter().for_each(|entry| insert(&mut entries, entry));
            entries
        };
        let (agreed, kept) = (collect(agreed), collect(kept));
        Ok(Self { epoch, digest: digest(epoch, &agreed), agreed, kept })
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl Revocations {
    /// The set before the first revocation: epoch 0.
    #[must_use]
    pub fn new() -> Self {
        let (epoch, agreed) = (RevocationEpoch(0), Entries::new());
        Self { epoch, digest: digest(epoch, &agreed), agreed, kept: Entries::new() }
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> RevocationEpoch {
        self.epoch
    }

    /// How many entries the log holds.
    #[must_use]
    pub fn len(&self) -> usize {
        len(&self.agreed)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agreed.is_empty()
    }

    /// Every entry of the log, in the order of its key.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        iter(&self.agreed)
    }

    /// SHA-256 over the epoch and the entries, sorted by key (T-44).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Adds an entry and raises the epoch. A cut that is there already keeps the later end.
    ///
    /// # Errors
    /// [`RevocationRefused::Full`].
    pub fn cut(&mut self, entry: Revocation) -> Result<RevocationEpoch, RevocationRefused> {
        let known = find(&self.agreed, &entry.cut.tenant, entry.cut.kind, &entry.cut.id);
        let known_until = known.map(|known| known.until);
        if known_until.is_none() && self.len() >= REVOCATIONS_TOTAL_MAX {
            return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
        }
        if known_until.is_none_or(|until| until < entry.until) {
            insert(&mut self.agreed, entry);
        }
        self.raise();
        Ok(self.epoch)
    }

    /// Lets go of what has ended at `now`; raises the epoch if that was anything. Only the log calls this.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let before = self.len();
        retain(&mut self.agreed, |entry| entry.until > now);
        let gone = before - self.len();
        if gone > 0 {
            self.raise();
        }
        gone
    }

    fn raise(&mut self) {
        self.epoch = RevocationEpoch(self.epoch.0.saturating_add(1));
        self.digest = digest(self.epoch, &self.agreed);
    }

    /// What leads from `old` to this set; from nothing, if `old` is `None`.
    #[must_use]
    pub fn update_from(&self, old: Option<&Self>) -> RevocationUpdate {
        let nothing = Self::new();
        let old = old.unwrap_or(&nothing);
        let in_old = |entry: &Revocation| find(&old.agreed, &entry.cut.tenant, entry.cut.kind, &entry.cut.id);
        let in_new = |entry: &Revocation| find(&self.agreed, &entry.cut.tenant, entry.cut.kind, &entry.cut.id);
        RevocationUpdate {
            from: old.epoch,
            to: self.epoch,
            digest: self.digest,
            added: self.iter().filter(|entry| in_old(entry) != Some(*entry)).cloned().collect(),
            removed: old.iter().filter(|entry| in_new(entry).is_none()).map(|entry| entry.cut.clone()).collect(),
        }
    }

    /// The set after an update, every new entry verified, the digest compared. What the update drops before its end
    /// by `now` stays in force here.
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
        let RevocationUpdate { from, to, digest: promised, added, removed } = update;
        if to <= self.epoch {
            return Err(RevocationRefused::EpochNotRising { offered: to, have: self.epoch });
        }
        let mut agreed = match from {
            RevocationEpoch(0) => Entries::new(),
            from if from == self.epoch => self.agreed.clone(),
            from => return Err(RevocationRefused::Gap { from, have: self.epoch }),
        };
        for cut in &removed {
            remove(&mut agreed, cut);
        }
        if len(&agreed).saturating_add(added.len()) > REVOCATIONS_TOTAL_MAX {
            return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
        }
        for entry in added {
            let Cut { tenant, kind, id } = &entry.cut;
            // What was verified once need not be again: the request inside is the same to the byte.
            if find(&self.agreed, tenant, *kind, id) != Some(&entry) {
                entry.verify(mesh, administrators)?;
            }
            insert(&mut agreed, entry);
        }
        if digest(to, &agreed) != promised {
            return Err(RevocationRefused::Digest);
        }
        let mut kept = self.kept.clone();
        for entry in iter(&self.agreed) {
            insert(&mut kept, entry.clone());
        }
        retain(&mut kept, |entry| {
            entry.until > now && find(&agreed, &entry.cut.tenant, entry.cut.kind, &entry.cut.id).is_none()
        });
        Ok(Self { epoch: to, digest: promised, agreed, kept })
    }

    /// Whether the tenant or anything that the call hangs on has been cut.
    ///
    /// # Errors
    /// [`Revoked`] names the first entry found.
    pub fn check<'a>(&self, tenant: &TenantId, subjects: impl IntoIterator<Item = Subject<'a>>) -> Result<(), Revoked> {
        let of_tenant: Vec<_> = [&self.agreed, &self.kept].into_iter().filter_map(|set| set.get(tenant)).collect();
        if of_tenant.is_empty() {
            return Ok(());
        }
        let cut = |kind: CutKind, id: &dyn Fn() -> String| {
            let kinds = of_tenant.iter().filter_map(|kinds| kinds.get(&kind));
            let mut ids = kinds.peekable();
            // Most kinds have no entry at all: the id is written out only where there is something to compare with.
            ids.peek()?;
            let id = id();
            ids.find_map(|ids| ids.get(&id)).map(|entry| entry.cut.clone())
        };
        let found = |cut: Option<Cut>| cut.map_or(Ok(()), |cut| Err(Revoked { cut }));
        found(cut(CutKind::Tenant, &|| tenant.to_string()))?;
        for subject in subjects {
            found(match subject {
                Subject::Link(id) => cut(CutKind::Link, &|| id.to_string()),
                Subject::Holder(id) => cut(CutKind::Holder, &|| id.to_string()),
                Subject::Delegator(id) => cut(CutKind::Delegator, &|| id.to_string()),
                Subject::Session(id) => cut(CutKind::Session, &|| id.to_string()),
                Subject::Task(id) => cut(CutKind::Task, &|| id.to_string()),
                Subject::Agent(id) => cut(CutKind::Agent, &|| id.to_string()),
                Subject::Credential(id, version) => cut(CutKind::Credential, &|| id.to_string())
                    .or_else(|| cut(CutKind::Credential, &|| format!("{id}@{version}"))),
                Subject::Tool(id) => cut(CutKind::Tool, &|| id.to_string()),
                Subject::Edge(id) => cut(CutKind::Edge, &|| id.to_string()),
            })?;
        }
        Ok(())
    }
}

fn iter(entries: &Entries) -> impl Iterator<Item = &Revocation> {
    entries.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values)
}

fn len(entries: &Entries) -> usize {
    entries.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
}

fn find<'a>(entries: &'a Entries, tenant: &TenantId, kind: CutKind, id: &str) -> Option<&'a Revocation> {
    entries.get(tenant)?.get(&kind)?.get(id)
}

fn insert(entries: &mut Entries, entry: Revocation) {
    let Cut { tenant, kind, id } = entry.cut.clone();
    entries.entry(tenant).or_default().entry(kind).or_default().insert(id, entry);
}

fn remove(entries: &mut Entries, cut: &Cut) {
    if let Some(ids) = entries.get_mut(&cut.tenant).and_then(|kinds| kinds.get_mut(&cut.kind)) {
        ids.remove(&cut.id);
    }
    retain(entries, |_| true);
}

fn retain(entries: &mut Entries, mut keep: impl FnMut(&Revocation) -> bool) {
    entries.retain(|_, kinds| {
        kinds.retain(|_, ids| {
            ids.retain(|_, entry| keep(entry));
            !ids.is_empty()
        });
        !kinds.is_empty()
    });
}

/// T-44: label, epoch, then per entry: tenant, kind, id, end, log index; texts behind their length.
fn digest(epoch: RevocationEpoch, entries: &Entries) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(DIGEST_LABEL);
    hasher.update(&epoch.0.to_be_bytes());
    let text = |hasher: &mut Hasher, text: &str| {
        hasher.update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    for Revocation { cut: Cut { tenant, kind, id }, until, index, request: _ } in iter(entries) {
        text(&mut hasher, tenant.as_str());
        hasher.update(&[kind.number()]);
        text(&mut hasher, id);
        hasher.update(&until.as_millis().to_be_bytes());
        hasher.update(&index.0.to_be_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
