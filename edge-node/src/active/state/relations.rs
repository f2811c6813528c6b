//! Relation tuples: batches verified under the active bundle, on the disk, and then in the view.
//!
//! A removal counts as soon as it is shown; what proves that nothing newer is missing is a tick that names the newest
//! batch. A tenant whose relations lag behind costs its own calls their freshness, and nobody else's. Clauses N-17 to
//! N-19.

use std::collections::VecDeque;
use std::sync::Arc;

use remit_common::id::{LogIndex, TenantId};
use remit_common::policy::relations::Relations;
use remit_common::relation_log::{
    BatchRefused, Head, RelationLog, SignedBatch, Writers, check_tuples, has_model, relations_after, relations_of,
    tidied,
};
use remit_common::time::Now;
use remit_common::wire::message::{RelationsHead, TickRelations};

use super::{Accepted, Refused, State};
use crate::active::store::Stored;
use crate::active::view::TenantRelations;

/// Ticks whose newest batch has not arrived yet: two minutes of them. Older ones would prove an age that no effect
/// allows.
const PENDING_MAX: usize = 64;

/// One tenant's relations.
#[derive(Debug)]
pub(super) struct Held {
    log: RelationLog,
    /// Where the batches lie, in their order.
    stored: Vec<Stored>,
    relations: Relations,
    /// When the newest nonce was sent whose tick names nothing that is not here.
    proven: Option<Now>,
    /// Ticks that name what is not here yet, oldest first.
    pending: VecDeque<(Head, Now)>,
}

impl Held {
    fn new(log: RelationLog) -> Self {
        let relations = Relations::none();
        Self { log, stored: Vec::new(), relations, proven: None, pending: VecDeque::new() }
    }

    pub(super) fn shown(&self) -> TenantRelations {
        TenantRelations { head: self.log.head(), relations: self.relations.clone(), proven: self.proven }
    }

    /// Whether nothing is missing of what a tick named. A digest that is not kept any more was replaced by a statement
    /// of the whole set, and cannot be compared.
    fn has(&self, named: &Head) -> bool {
        let here = self.log.head();
        let same = self.log.digest_at(named.revision).is_none_or(|digest| *digest == named.digest);
        named.revision <= here.revision && same
    }

    fn name(&mut self, named: Head, at: Now) {
        if !self.has(&named) {
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
            }
            self.pending.push_back((named, at));
        } else if self.proven.is_none_or(|proven| proven.boot < at.boot) {
            self.proven = Some(at);
        }
    }

    fn catch_up(&mut self) {
        for (named, at) in std::mem::take(&mut self.pending) {
            self.name(named, at);
        }
    }
}

impl State {
    /// Reads a tenant's batches from the disk, under the bundle that has become active, and verifies all of them again
    /// (N-18). What its writers no longer vouch for is not used, until one of them states the whole set anew.
    pub(super) fn load_relations(&mut self, tenant: &TenantId) -> Result<(), Refused> {
        let Some((writers, policy)) = self.model_of(tenant) else {
            self.relations.remove(tenant);
            return Ok(());
        };
        let stored = self.index.tenants.get(tenant).map(|entry| entry.relations.clone()).unwrap_or_default();
        let batches = stored.iter().map(|stored| self.store.content(stored)).collect::<Result<Vec<_>, _>>()?;
        let mesh = self.config.mesh;
        let read = RelationLog::verify(mesh, tenant.clone(), batches.iter().map(Vec::as_slice), &writers);
        let mut held = match read {
            Ok(log) => Held { stored, relations: relations_of(policy.policy(), &log), ..Held::new(log) },
            Err(refused) => {
                tracing::warn!(%tenant, error = %refused, "the stored relations are not used");
                Held::new(RelationLog::new(mesh, tenant.clone()))
            }
        };
        // What the last ticks named is still so.
        if let Some(before) = self.relations.remove(tenant) {
            let proven = before.proven.map(|at| (before.log.head(), at));
            proven.into_iter().chain(before.pending).for_each(|(named, at)| held.name(named, at));
        }
        self.relations.insert(tenant.clone(), held);
        Ok(())
    }

    fn model_of(&self, tenant: &TenantId) -> Option<(Writers, Arc<remit_common::bundle::CompiledBundle>)> {
        let active = self.tenants.get(tenant)?.active.as_ref()?;
        let bundle = Arc::clone(&active.bundle);
        has_model(bundle.policy()).then(|| (Writers::of(bundle.policy()), bundle))
    }

    /// The relations that this edge follows, and how far it has them.
    pub(crate) fn relation_heads(&self) -> Vec<RelationsHead> {
        let head = |(tenant, held): (&TenantId, &Held)| {
            let Head { revision, digest } = held.log.head();
            RelationsHead { tenant: tenant.clone(), revision, digest }
        };
        self.relations.iter().map(head).collect()
    }

    /// Batches arrived that follow on each other. Those that hold are on the disk when this returns, and effective.
    ///
    /// # Errors
    /// [`Refused`] names why the first was not taken that was not; what came before it holds.
    pub(crate) fn accept_relations(
        &mut self,
        tenant: &TenantId,
        batches: &[Vec<u8>],
        now: Now,
    ) -> Result<Accepted, Refused> {
        let Some((writers, policy)) = self.model_of(tenant) else { return Ok(Accepted::Nothing) };
        let Some(held) = self.relations.get(tenant) else { return Ok(Accepted::Nothing) };
        let (mut log, mut relations, mut stored) = (held.log.clone(), held.relations.clone(), held.stored.clone());
        let mut refused = None;
        for bytes in batches {
            let mut take = || -> Result<_, BatchRefused> {
                let batch = SignedBatch::parse(bytes)?.verify(&self.config.mesh, tenant, &writers)?;
                check_tuples(policy.policy(), batch.content().add.iter().map(|tuple| &tuple.key))?;
                log.catch_up(batch)
            };
            match take() {
                Ok(change) => {
                    if change.replace {
                        stored.clear();
                        relations = relations_of(policy.policy(), &log);
                    } else {
                        relations = relations_after(&relations, log.head().revision, &change);
                    }
                    stored.push(self.store.put_content(bytes, now.wall)?);
                }
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        if log.head() != held.log.head() {
            let mut index = self.index.clone();
            index.tenants.entry(tenant.clone()).or_default().relations.clone_from(&stored);
            self.commit(index)?;
            if let Some(held) = self.relations.get_mut(tenant) {
                (held.log, held.relations, held.stored) = (log, relations, stored);
                held.catch_up();
            }
            self.show();
            self.tidy_relations(tenant);
        }
        refused.map_or(Ok(Accepted::Changed), |error| Err(Refused::Relations(error)))
    }

    /// Builds the table anew when much has come and gone. Calls go on by what was shown.
    fn tidy_relations(&mut self, tenant: &TenantId) {
        let Some(held) = self.relations.get_mut(tenant) else { return };
        if let Some(tidy) = tidied(&held.relations) {
            held.relations = tidy;
            self.show();
        }
    }

    /// The voter says which batches were the newest at a tick whose answer follows.
    pub(crate) fn name_relations(&mut self, named: TickRelations) {
        self.told_relations = Some(named);
    }

    /// A tick counts: what it named is the newest that there was when the nonce was sent. Of a tenant that it did not
    /// name it says nothing (W-27).
    pub(super) fn prove_relations(&mut self, n: LogIndex, at: Now) {
        let Some(TickRelations { heads, .. }) = self.told_relations.take_if(|named| named.n == n) else { return };
        for RelationsHead { tenant, revision, digest } in heads {
            if let Some(held) = self.relations.get_mut(&tenant) {
                held.name(Head { revision, digest }, at);
            }
        }
    }
}
