//! What a tenant's batches come to: the tuples that hold, and the batches that say so.
//!
//! Clauses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{BatchContent, SignedBatch, VerifiedBatch, Writers};
use super::live::LiveTuples;
use super::refused::BatchRefused;
use crate::crypto::digest::Digest;
use crate::id::{KeyId, MeshId, TenantId};
use crate::limits::{
    RELATION_BATCHES_MAX, RELATION_BATCHES_RESERVED, RELATION_LOG_BYTES_MAX, RELATION_LOG_BYTES_RESERVED,
    RELATION_TUPLES_MAX,
};
use crate::policy::relations::{Tuple, TupleKey};

/// Which batch is the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its revision; zero before the first.
    pub revision: u64,
    /// The digest of what was signed; zeros before the first.
    pub digest: Digest,
}

/// A batch that is kept, and what is asked about it without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBatch {
    /// Its revision and digest.
    pub head: Head,
    /// Who signed it.
    pub signer: KeyId,
    /// The signed form.
    pub bytes: Arc<[u8]>,
    /// The digest of the signed form: what it is fetched by.
    pub object: Digest,
}

/// What one batch changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether nothing from before holds any more.
    pub replace: bool,
    /// What holds from now on.
    pub added: Vec<Tuple>,
    /// What does not, and did.
    pub removed: Vec<TupleKey>,
}

/// One tenant's relations. A copy shares what did not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationLog {
    mesh: MeshId,
    tenant: TenantId,
    // INVARIANT: revisions follow each other, each batch names the one before; the first is of revision one or states
    // the whole set. `live` is what they come to.
    kept: Vec<KeptBatch>,
    bytes: usize,
    live: LiveTuples,
}

/// The next batch, and no other.
fn check_next(have: &Head, content: &BatchContent) -> Result<(), BatchRefused> {
    if have.revision.checked_add(1) != Some(content.revision) {
        return Err(BatchRefused::NotNext { have: have.revision, found: content.revision });
    }
    if content.prev != have.digest {
        return Err(BatchRefused::OtherPast { have: have.revision, head: have.digest, found: content.prev });
    }
    Ok(())
}

/// The next batch, or a later one that states the whole set.
pub(super) fn check_follows(have: &Head, content: &BatchContent) -> Result<(), BatchRefused> {
    if content.replace && have.revision.checked_add(1) < Some(content.revision) {
        return Ok(());
    }
    match check_next(have, content) {
        Err(BatchRefused::NotNext { have: 0, found }) => Err(BatchRefused::NoBeginning { found }),
        other => other,
    }
}

/// Whether one more batch fits beside so many of so many bytes, of which some are reserved.
pub(super) fn check_log_room(
    batch: &VerifiedBatch,
    (kept, kept_bytes): (usize, usize),
    (batches_reserved, bytes_reserved): (usize, usize),
) -> Result<(), BatchRefused> {
    let (kept, kept_bytes) = if batch.content().replace { (0, 0) } else { (kept, kept_bytes) };
    let (batches, bytes) = (kept.saturating_add(1), kept_bytes.saturating_add(batch.bytes().len()));
    if batches > RELATION_BATCHES_MAX - batches_reserved || bytes > RELATION_LOG_BYTES_MAX - bytes_reserved {
        return Err(BatchRefused::LogFull { batches, bytes });
    }
    Ok(())
}

impl RelationLog {
    /// Before the first batch.
    #[must_use]
    pub fn new(mesh: MeshId, tenant: TenantId) -> Self {
        Self { mesh, tenant, kept: Vec::new(), bytes: 0, live: LiveTuples::default() }
    }

    /// The newest batch.
    #[must_use]
    pub fn head(&self) -> Head {
        self.kept.last().map(|kept| kept.head).unwrap_or_default()
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The batches that are kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> &[KeptBatch] {
        &self.kept
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The tuples that hold, expired ones included: a log reads no clock.
    #[must_use]
    pub fn live(&self) -> &LiveTuples {
        &self.live
    }

    /// The digest of this revision, while it is kept.
    #[must_use]
    pub fn digest_at(&self, revision: u64) -> Option<&Digest> {
        self.kept_at(revision).map(|kept| &kept.head.digest)
    }

    /// The batch of this revision, while it is kept.
    #[must_use]
    pub fn kept_at(&self, revision: u64) -> Option<&KeptBatch> {
        let at = self.kept.binary_search_by_key(&revision, |kept| kept.head.revision).ok()?;
        self.kept.get(at)
    }

    /// Reads a whole log that somebody kept: every signature, every link, every bound.
    ///
    /// # Errors
    /// [`BatchRefused`] names the first rule that stands against it.
    pub fn verify<'a>(
        mesh: MeshId,
        tenant: TenantId,
        batches: impl IntoIterator<Item = &'a [u8]>,
        writers: &Writers,
    ) -> Result<Self, BatchRefused> {
        Self::read(mesh, tenant, batches, |signed, log| signed.verify(&log.mesh, &log.tenant, writers))
    }

    /// Reads a log that a voter kept, whose batches were verified when they came. Signatures of writers who are still
    /// named are checked again; [`Self::check_writers`] finds the others.
    ///
    /// # Errors
    /// [`BatchRefused`] names the first rule that stands against it.
    pub fn restore<'a>(
        mesh: MeshId,
        tenant: TenantId,
        batches: impl IntoIterator<Item = &'a [u8]>,
        writers: &Writers,
    ) -> Result<Self, BatchRefused> {
        Self::read(mesh, tenant, batches, |signed, log| match writers.get(signed.signer()) {
            Some(_) => signed.verify(&log.mesh, &log.tenant, writers),
            None => signed.dangerous_retired(&log.mesh, &log.tenant),
        })
    }

    fn read<'a>(
        mesh: MeshId,
        tenant: TenantId,
        batches: impl IntoIterator<Item = &'a [u8]>,
        believe: impl Fn(SignedBatch, &Self) -> Result<VerifiedBatch, BatchRefused>,
    ) -> Result<Self, BatchRefused> {
        let mut log = Self::new(mesh, tenant);
        for bytes in batches {
            let batch = believe(SignedBatch::parse(bytes)?, &log)?;
            log.catch_up(batch)?;
        }
        Ok(log)
    }

    /// Whether everybody who signed what is kept may still write.
    ///
    /// # Errors
    /// [`BatchRefused::WriterRetired`].
    pub fn check_writers(&self, writers: &Writers) -> Result<(), BatchRefused> {
        match self.kept.iter().find(|kept| writers.get(&kept.signer).is_none()) {
            Some(kept) => Err(BatchRefused::WriterRetired { key: kept.signer, revision: kept.head.revision }),
            None => Ok(()),
        }
    }

    /// Whether this is the next batch: quickly answered, before anything of what it says is looked at.
    ///
    /// # Errors
    /// [`BatchRefused`].
    pub fn check_next(&self, batch: &VerifiedBatch) -> Result<(), BatchRefused> {
        check_next(&self.head(), batch.content())
    }

    /// Takes the next batch, and nothing but the next.
    ///
    /// # Errors
    /// [`BatchRefused`]; nothing has changed.
    pub fn append(&mut self, batch: VerifiedBatch) -> Result<Change, BatchRefused> {
        check_next(&self.head(), batch.content())?;
        self.check_room(&batch)?;
        Ok(self.take(batch))
    }

    /// Takes the next batch, or a later one that states the whole set: what lay between is let go. Whoever
    /// follows a log is behind it at times; whoever keeps it uses [`Self::append`].
    ///
    /// # Errors
    /// [`BatchRefused`]; nothing has changed.
    pub fn catch_up(&mut self, batch: VerifiedBatch) -> Result<Change, BatchRefused> {
        check_follows(&self.head(), batch.content())?;
        self.check_room(&batch)?;
        Ok(self.take(batch))
    }

    fn check_room(&self, batch: &VerifiedBatch) -> Result<(), BatchRefused> {
        let BatchContent { replace, add, remove, .. } = batch.content();
        let count = if *replace {
            add.len()
        } else {
            let new = add.iter().filter(|tuple| !self.live.contains(&tuple.key)).count();
            let gone = remove.iter().filter(|tuple| self.live.contains(tuple)).count();
            self.live.len().saturating_add(new).saturating_sub(gone)
        };
        if count > RELATION_TUPLES_MAX {
            return Err(BatchRefused::TooManyTuples { count });
        }
        let reserved =
            if self.only_takes_away(batch) { (0, 0) } else { (RELATION_BATCHES_RESERVED, RELATION_LOG_BYTES_RESERVED) };
        check_log_room(batch, (self.kept.len(), self.bytes), reserved)
    }

    /// Whether a batch adds nothing, and everything that it takes away is there: such a one may take the room that is
    /// reserved for it.
    #[must_use]
    pub fn only_takes_away(&self, batch: &VerifiedBatch) -> bool {
        let BatchContent { replace, add, remove, .. } = batch.content();
        !*replace && add.is_empty() && remove.iter().all(|tuple| self.live.contains(tuple))
    }

    fn take(&mut self, batch: VerifiedBatch) -> Change {
        let (content, digest, signer, bytes) = batch.into_parts();
        let BatchContent { revision, replace, add, remove, .. } = content;
        if replace {
            *self = Self::new(self.mesh, self.tenant.clone());
        }
        for tuple in &add {
            self.live.insert(tuple.clone());
        }
        let removed = remove.into_iter().filter(|tuple| self.live.remove(tuple)).collect();
        self.bytes = self.bytes.saturating_add(bytes.len());
        let object = Digest::of(&[&bytes]);
        self.kept.push(KeptBatch { head: Head { revision, digest }, signer, bytes, object });
        Change { replace, added: add, removed }
    }
}
