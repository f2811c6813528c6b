//! The set of revocations, its epoch and its digest.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::entries::{Entries, issuer_cut, shown, shown_to_own};
use super::kind::AGAIN_WITHIN;
use super::{Authorities, Cut, CutKind, Reach, Revocation, RevocationRefused, Revoked, Subject};
use crate::crypto::digest::{Digest, Hasher};
use crate::envelope::RootSigners;
use crate::id::{LinkId, RevocationEpoch, TenantId};
use crate::limits::{
    HOLDER_REVOCATIONS_BYTES_MAX, HOLDER_REVOCATIONS_MAX, HOLDER_REVOCATIONS_PER_ROOT_MAX, REVOCATIONS_FOLD_AT,
    REVOCATIONS_MAX, REVOCATIONS_RESERVE,
};
use crate::time::Timestamp;

/// First bytes under the digest of the set.
const DIGEST_LABEL: &[u8] = b"remit/revocations/v1\0";
/// Rules that forbid, in a tenant and for the whole mesh: every call is held against each.
pub const FORBIDS_MAX: usize = 64;
/// Entries of a set, the administrators' reserve included.
pub const REVOCATIONS_TOTAL_MAX: usize = REVOCATIONS_MAX + REVOCATIONS_RESERVE;

/// Entries below a link that are kept for the link itself and its holder's key.
const OWN_RESERVE: usize = 2;
/// Entries below a link that there is always room for, however far down it is.
const ROOM_BELOW_MIN: usize = 8;

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
        self.entries.len()
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
    /// When room gets short, what a cut of a link further up covers is not kept besides (clause T-54).
    ///
    /// # Errors
    /// [`RevocationRefused::Full`], [`RevocationRefused::HoldersFull`] or [`RevocationRefused::RootFull`].
    pub fn cut(&mut self, entry: Revocation) -> Result<RevocationEpoch, RevocationRefused> {
        if self.in_force(&entry).is_some() {
            return Ok(self.epoch);
        }
        self.check_room(&entry)?;
        let is_short = self.len() >= REVOCATIONS_FOLD_AT;
        let covered = if is_short { self.entries.covered_by(&entry) } else { Vec::new() };
        for cut in covered {
            self.entries.remove(&cut);
        }
        self.entries.insert(Arc::new(entry));
        self.raise();
        Ok(self.epoch)
    }

    /// Of an entry that would change nothing, until when at least what it asks for is cut already (clause T-55).
    #[must_use]
    pub fn in_force(&self, entry: &Revocation) -> Option<Timestamp> {
        let already = self.entries.get_cut(&entry.cut).map(|already| already.until);
        let is_enough = |already: &Timestamp| {
            *already >= entry.until || already.plus(AGAIN_WITHIN) >= entry.until && is_of_cutters(entry)
        };
        if let Some(already) = already.filter(is_enough) {
            return Some(already.min(entry.until));
        }
        (self.len() >= REVOCATIONS_FOLD_AT && self.entries.covers(entry)).then_some(entry.until)
    }

    /// Whether there is room for an entry. Holders never take what administrators need (clause T-53).
    ///
    /// # Errors
    /// [`RevocationRefused::Full`], [`RevocationRefused::HoldersFull`] or [`RevocationRefused::RootFull`].
    pub fn check_room(&self, entry: &Revocation) -> Result<(), RevocationRefused> {
        let replaced = usize::from(self.entries.get_cut(&entry.cut).is_some());
        if entry.cut.kind == CutKind::Forbid
            && self.entries.count_of(&entry.cut.tenant, CutKind::Forbid) - replaced >= FORBIDS_MAX
        {
            return Err(RevocationRefused::ForbidsFull { max: FORBIDS_MAX });
        }
        let len = self.len() - replaced;
        let Some(links) = shown_to_own(entry) else {
            let full = RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX };
            return if len < REVOCATIONS_TOTAL_MAX { Ok(()) } else { Err(full) };
        };
        // No tenant's holders have more than what they leave free, so that there is room for those of another.
        let [all, own] = self.entries.by_holders(&entry.cut.tenant).map(|taken| taken.with(entry));
        if len >= REVOCATIONS_MAX
            || all.entries.saturating_add(own.entries) > HOLDER_REVOCATIONS_MAX
            || all.bytes.saturating_add(own.bytes) > HOLDER_REVOCATIONS_BYTES_MAX
        {
            return Err(RevocationRefused::HoldersFull);
        }
        let gives_up = links.last().is_some_and(|own| gives_up_own(entry, own));
        for (place, link) in links.iter().enumerate() {
            let max = room_below(place, place + 1 == links.len(), gives_up);
            if self.entries.others_below(link, &entry.cut) >= max {
                return Err(RevocationRefused::RootFull { max });
            }
        }
        Ok(())
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
        let of_shared = |entry: &Arc<Revocation>| Revocation::clone(entry);
        let removed = old.into_iter().flat_map(Self::iter).filter(|entry| self.entries.get_cut(&entry.cut).is_none());
        RevocationUpdate {
            from: old.map_or(RevocationEpoch(0), Self::epoch),
            to: self.epoch,
            digest: self.digest(),
            added: self.entries.shared().filter(|entry| before(&entry.cut) != Some(*entry)).map(of_shared).collect(),
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
        authorities: &Authorities<'_>,
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
            entry.verify(authorities)?;
        }
        let kept: BTreeSet<&Cut> = if whole { added.iter().map(|entry| &entry.cut).collect() } else { BTreeSet::new() };
        let dropped: Vec<Cut> = if whole {
            self.iter().map(|entry| &entry.cut).filter(|cut| !kept.contains(cut)).cloned().collect()
        } else {
            removed
        };
        let mut next = Self { epoch: to, digest: OnceLock::new(), ..self.clone() };
        let mut gone: Vec<Arc<Revocation>> = dropped.iter().filter_map(|cut| next.entries.remove(cut)).collect();
        for entry in added {
            // What was asked for long ago, and is shown again, does not shorten what is in force.
            gone.extend(next.entries.remove(&entry.cut).filter(|before| before.until > entry.until));
            if next.lingering.get_cut(&entry.cut).is_some_and(|kept| kept.until <= entry.until) {
                next.lingering.remove(&entry.cut);
            }
            next.entries.insert(Arc::new(entry));
        }
        // What a cut further up covers goes at once: it has been taken in there, and adds nothing.
        for entry in gone.into_iter().filter(|entry| !next.entries.covers(entry)) {
            if next.lingering.get_cut(&entry.cut).is_none_or(|kept| kept.until < entry.until) {
                next.lingering.insert(entry);
            }
        }
        for cut in next.lingering.ended(now) {
            next.lingering.remove(&cut);
        }
        if next.len() > REVOCATIONS_TOTAL_MAX || next.lingering.len() > REVOCATIONS_TOTAL_MAX {
            return Err(RevocationRefused::Full { max: REVOCATIONS_TOTAL_MAX });
        }
        let is_full =
            |entries: &Entries| entries.reaches().any(|reach| entries.count_of(&reach, CutKind::Forbid) > FORBIDS_MAX);
        // What lingers refuses no update: it was in an update before, or was brought here, where it is bounded.
        if is_full(&next.entries) {
            return Err(RevocationRefused::ForbidsFull { max: FORBIDS_MAX });
        }
        if next.digest() != digest {
            return Err(RevocationRefused::Digest);
        }
        Ok(next)
    }

    /// Takes a verified entry that has not come by the log: it is in force here until its end, and in no digest. `false`
    /// when it is in force already for as long.
    ///
    /// # Errors
    /// [`RevocationRefused::Full`] beyond `most` entries that the log does not have.
    pub fn hold(&mut self, entry: Revocation, most: usize) -> Result<bool, RevocationRefused> {
        let known = |entries: &Entries| entries.get_cut(&entry.cut).is_some_and(|kept| kept.until >= entry.until);
        if known(&self.entries) || known(&self.lingering) {
            return Ok(false);
        }
        if self.lingering.len() >= most && self.lingering.get_cut(&entry.cut).is_none() {
            return Err(RevocationRefused::Full { max: most });
        }
        if entry.cut.kind == CutKind::Forbid
            && self.lingering.count_of(&entry.cut.tenant, CutKind::Forbid) >= FORBIDS_MAX
        {
            return Err(RevocationRefused::ForbidsFull { max: FORBIDS_MAX });
        }
        self.lingering.remove(&entry.cut);
        self.lingering.insert(Arc::new(entry));
        Ok(true)
    }

    /// Whether something that the log does not have has ended by `now`: see [`Self::end_held`].
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        !self.lingering.ended(now).is_empty()
    }

    /// Lets go what the log does not have and what has ended by the clock here.
    pub fn end_held(&mut self, now: Timestamp) {
        for cut in self.lingering.ended(now) {
            self.lingering.remove(&cut);
        }
    }

    /// Whether exactly this entry was verified here before.
    fn holds(&self, entry: &Revocation) -> bool {
        [&self.entries, &self.lingering]
            .iter()
            .any(|entries| entries.get_cut(&entry.cut).is_some_and(|held| **held == *entry))
    }

    /// Whether the tenant or anything that the call hangs on has been cut. An entry holds until the log lets it go,
    /// whatever the clock here says.
    ///
    /// # Errors
    /// [`Revoked`] names the first entry found.
    pub fn check<'a>(&self, tenant: &TenantId, subjects: impl IntoIterator<Item = Subject<'a>>) -> Result<(), Revoked> {
        self.check_unless_lifted(tenant, &BTreeSet::new(), subjects)
    }

    /// The same, but that of brakes those do not hold that `lifted` names (clause T-61).
    ///
    /// # Errors
    /// [`Revoked`] names the first entry found.
    pub fn check_unless_lifted<'a>(
        &self,
        tenant: &TenantId,
        lifted: &BTreeSet<Digest>,
        subjects: impl IntoIterator<Item = Subject<'a>>,
    ) -> Result<(), Revoked> {
        let [[entries, everywhere], [lingering, lingering_everywhere]] =
            [&self.entries, &self.lingering].map(|set| set.reaching(tenant));
        let all = [entries, everywhere, lingering, lingering_everywhere];
        // Nearly always there is nothing for the tenant, and then no subject is even looked at.
        if all.iter().all(Option::is_none) {
            return Ok(());
        }
        let of_kind = |kind: CutKind| all.into_iter().flatten().filter_map(move |kinds| kinds.get(&kind));
        let holds =
            |entry: &&Revocation| !entry.cut.kind.is_brake() || lifted.is_empty() || !lifted.contains(&entry.name());
        let refuse = |found: Option<&Revocation>| found.map_or(Ok(()), |entry| Err(Revoked { cut: entry.cut.clone() }));
        let find = |kind: CutKind, id: &str| {
            refuse(of_kind(kind).filter_map(|by_id| by_id.get(id)).map(Arc::as_ref).find(holds))
        };
        let find_digest = |kind: CutKind, digest: &Digest| {
            let may_be_there = [&self.entries, &self.lingering].iter().any(|set| set.may_name(digest));
            if may_be_there { find(kind, Hex::of(digest).as_str()) } else { Ok(()) }
        };
        find(CutKind::Tenant, tenant.as_str())?;
        find(CutKind::Tenant, Reach::Mesh.as_str())?;
        for subject in subjects {
            match subject {
                Subject::Link(id) => find_digest(CutKind::Link, &id.0)?,
                Subject::Holder(id) => find_digest(CutKind::Holder, &id.0)?,
                Subject::Delegator(id) => find(CutKind::Delegator, id.as_str())?,
                Subject::Session(id) => find(CutKind::Session, id.as_str())?,
                Subject::Task(id) => find(CutKind::Task, id.as_str())?,
                Subject::Agent(id) => find(CutKind::Agent, id.as_str())?,
                Subject::Class(id) => find(CutKind::Class, id.as_str())?,
                Subject::Issuers(signers) => {
                    if of_kind(CutKind::Issuer).next().is_some() {
                        let cut =
                            |by_id, kid: &str, issued| issuer_cut(by_id, kid, issued).map(|entry| entry.cut.clone());
                        check_issuers(signers, |kid, issued| {
                            of_kind(CutKind::Issuer).find_map(|by_id| cut(by_id, kid, issued))
                        })?;
                    }
                }
                Subject::Credential(id, version) => {
                    find(CutKind::Credential, id.as_str())?;
                    find(CutKind::Credential, &format!("{id}@{version}"))?;
                }
                Subject::Tool(id) => find(CutKind::Tool, id.as_str())?,
                Subject::Definition(id) => find_digest(CutKind::Definition, id)?,
                Subject::Edge(id) => find(CutKind::Edge, id.as_str())?,
                Subject::Call(called) => {
                    for set in [&self.entries, &self.lingering] {
                        refuse(set.forbidding(tenant, &called).find(holds))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether it is of the kind that holders or issuers ask for, again and again if they like. What issuers cut is signed
/// and has its end, so nothing is lost if an administrator asks.
fn is_of_cutters(entry: &Revocation) -> bool {
    matches!(entry.cut.kind, CutKind::Link | CutKind::Issuer) || shown(entry).is_some()
}

/// Whether a holder gives up what is its own: the link, or the key.
fn gives_up_own(entry: &Revocation, own: &LinkId) -> bool {
    match entry.cut.kind {
        CutKind::Link => entry.cut.id == own.to_string(),
        // A holder gives up no other key than its own.
        _ => true,
    }
}

/// How many entries there may be below the link at a place (0 is the root) for one more by a holder. Half as many with
/// every link further down; of that, who does not hold the link itself leaves a quarter to who does, and who does not give
/// up its own link or key leaves two to who does. So nobody who has the keys further down uses up the room of whoever
/// stands above them, and nobody who has stolen a key keeps its owner from giving it up (clause T-53).
fn room_below(place: usize, is_own: bool, gives_up_own: bool) -> usize {
    let all = (HOLDER_REVOCATIONS_PER_ROOT_MAX >> place).max(ROOM_BELOW_MIN);
    let left_to_holder = if is_own { 0 } else { all.div_ceil(4) };
    let left_to_owners = if gives_up_own { 0 } else { OWN_RESERVE };
    all - left_to_holder - left_to_owners
}

/// What a cut issuer signed counts for nothing; the root stands if enough others signed it (clause T-49).
fn check_issuers(signers: &RootSigners, find: impl Fn(&str, u64) -> Option<Cut>) -> Result<(), Revoked> {
    let (mut first, mut left) = (None, 0);
    for kid in &signers.kids {
        match find(&crate::text::hex(kid), signers.issued_secs) {
            Some(cut) => first = first.or(Some(cut)),
            None => left += 1,
        }
    }
    match first {
        Some(cut) if left < signers.needed => Err(Revoked { cut }),
        _ => Ok(()),
    }
}

/// A digest as text, without an allocation.
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
