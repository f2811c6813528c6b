//! Gives what happened its place: number, hash of the record before, encoding.
//!
//! The chain goes on in memory whatever the disk does; a number that was given is never given again. Clauses R-1 to
//! R-7 say what a record is.

use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{BootId, DecisionId, EdgeId, MeshId, TenantId};
use remit_common::lattice::Effects;
use remit_common::record::{CannotRecord, Detail, Gap, GapCause, Public, Record, RecordHead, RecordKind};
use remit_common::time::Now;

use super::spool::Link;
use crate::pdp::Basis;

/// Something that happened, without a place in the chain yet.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) at: Now,
    pub(crate) kind: RecordKind,
    pub(crate) decision: DecisionId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) effects: Effects,
    pub(crate) reason: &'static str,
    pub(crate) basis: Basis,
    pub(crate) detail: Detail,
}

/// Whose chain it is.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) mesh: MeshId,
    pub(crate) edge: EdgeId,
    pub(crate) boot: BootId,
    /// Signs gaps.
    pub(crate) key: Arc<SigningKey>,
}

/// The end of the chain, in memory.
#[derive(Debug)]
pub(super) struct Chain {
    author: Author,
    seq: u64,
    head: Digest,
}

impl Chain {
    /// A chain of a new process, which goes on after `head`.
    pub(super) fn new(author: Author, head: Digest) -> Self {
        Self { author, seq: 0, head }
    }

    pub(super) fn boot(&self) -> BootId {
        self.author.boot
    }

    /// The hash that a record on this disk has.
    pub(super) fn hash_of(author: &Author, record: &[u8]) -> Option<Digest> {
        Record::parse(record).ok().map(|record| record.hash(&author.mesh))
    }

    /// Puts a record at the end. One that is too long loses its lists, then its whole detail: that it happened is
    /// never lost.
    pub(super) fn push(&mut self, draft: Draft) -> Result<Link, CannotRecord> {
        let public = self.public(&draft);
        let detail = draft.detail;
        let shorter = || Detail {
            resources: Vec::new(),
            ids: Vec::new(),
            amounts: Vec::new(),
            policies: Vec::new(),
            note: Some("shortened: the record was too long".to_owned()),
            ..detail.clone()
        };
        let bare = || Detail { salt: detail.salt, tool: detail.tool.clone(), ..Detail::default() };
        let record = Record::new(public.clone(), detail.clone())
            .or_else(|_| Record::new(public.clone(), shorter()))
            .or_else(|_| Record::new(public.clone(), bare()))?;
        Ok(self.append(&record))
    }

    /// Puts a gap at the end.
    pub(super) fn push_gap(&mut self, at: Now, basis: Basis, salt: [u8; 16], gap: Gap) -> Result<Link, CannotRecord> {
        let (mesh, key) = (self.author.mesh, Arc::clone(&self.author.key));
        let public = Public {
            kind: RecordKind::Gap,
            decision: None,
            reason: gap.cause.as_str().to_owned(),
            gap: Some(gap),
            ..self.public_at(at, basis)
        };
        let record = Record::new_gap(public, Detail { salt, ..Detail::default() }, &mesh, &key)?;
        Ok(self.append(&record))
    }

    /// A gap in this process, after the newest record.
    pub(super) fn gap_here(&self, cause: GapCause, records: u64) -> Gap {
        Gap { cause, boot: self.author.boot, after: self.seq, records: Some(records) }
    }

    fn public(&self, draft: &Draft) -> Public {
        Public {
            kind: draft.kind,
            decision: Some(draft.decision),
            tenant: draft.tenant.clone(),
            effects: draft.effects,
            reason: draft.reason.to_owned(),
            ..self.public_at(draft.at, draft.basis)
        }
    }

    fn public_at(&self, at: Now, basis: Basis) -> Public {
        let Basis { tick, epoch, manifest, age } = basis;
        Public {
            edge: self.author.edge.clone(),
            boot: self.author.boot,
            seq: self.seq.saturating_add(1),
            prev: self.head,
            wall: at.wall,
            mono: at.boot,
            kind: RecordKind::Decision,
            decision: None,
            tenant: None,
            effects: Effects::default(),
            reason: String::new(),
            tick,
            epoch,
            manifest: manifest.map(|(digest, _)| digest),
            age_millis: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            gap: None,
        }
    }

    fn append(&mut self, record: &Record) -> Link {
        let RecordHead { boot: _, seq, hash } = record.head(&self.author.mesh);
        let link = Link { seq, before: self.head, hash, bytes: record.to_bytes().into() };
        self.seq = seq;
        self.head = hash;
        link
    }
}
