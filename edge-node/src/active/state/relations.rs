//! Relation tuples: batches verified under the active bundle, on the disk, and then in the view.
//!
//! A removal counts as soon as it is shown; what proves that nothing newer is missing is a tick that names the newest
//! batch. A tenant whose relations lag behind costs its own calls their freshness, and nobody else's. Clauses N-17 to
//! N-19.

use std::collections::VecDeque;
use std::sync::Arc;

use remit_common::bundle::CompiledBundle;
use remit_common::id::{LogIndex, TenantId};
use remit_common::limits::RELATION_TUPLES_MAX;
use remit_common::policy::relations::{RelationChange, Relations};
use remit_common::relation_log::{
    BatchRefused, FollowedLog, Head, RelationLog, SignedBatch, Writers, check_tuples, has_model, is_untidy,
    relations_of,
};
use remit_common::time::Now;
use remit_common::wire::message::{RelationsHead, TickRelations};

use super::{Refused, State};
use crate::active::store::Stored;
use crate::active::view::TenantRelations;

/// Ticks whose newest batch has not arrived yet, each naming another one: two minutes of them. Of more the newest counts.
const PENDING_MAX: usize = 64;

/// One tenant's relations.
#[derive(Debug)]
pub(super) struct Held {
    /// Whose batches these are.
    writers: Writers,
    log: FollowedLog,
    /// Where the batches lie, in their order.
    stored: Vec<Stored>,
    relations: Relations,
    /// While somebody builds the table anew: from what, and what has come since.
    since: Option<(Relations, Vec<RelationChange>)>,
    /// When the newest nonce was sent whose tick names nothing that is not here.
    proven: Option<Now>,
    /// The newest batch that any tick has named: nothing below it proves anything (N-19).
    highest: Head,
    /// Ticks that name what is not here yet, oldest first.
    pending: VecDeque<(Head, Now)>,
    /// The next batch was refused for what it is, and would be refused again: only a statement of the whole set, another
    /// bundle or another voter makes it good.
    waits: bool,
    /// The disk did not take what arrived: it is asked for again.
    owed: bool,
}

/// What came of batches that arrived.
#[derive(Debug, Default)]
pub(crate) struct TakenRelations {
    /// Whether some of them are here and effective now.
    pub(crate) has_changed: bool,
    /// Whether what lies before them is missing: say again what is here, and it will be offered.
    pub(crate) is_ahead: bool,
    /// Why one was not taken.
    pub(crate) refused: Option<BatchRefused>,
}

impl Held {
    /// Of these writers, with nothing here yet.
    fn new(writers: Writers) -> Self {
        Self {
            writers,
            log: FollowedLog::default(),
            stored: Vec::new(),
            relations: Relations::none(),
            since: None,
            proven: None,
            highest: Head::default(),
            pending: VecDeque::new(),
            waits: false,
            owed: false,
        }
    }

    pub(super) fn shown(&self) -> TenantRelations {
        TenantRelations { head: self.log.head(), relations: self.relations.clone(), proven: self.proven }
    }

    /// A tick whose nonce was sent at `at` named a batch. Ticks rise, and so does what they name: a voter that names less
    /// than another one did withholds something, and proves nothing.
    fn name(&mut self, named: Head, at: Now) {
        if named.revision > self.highest.revision {
            self.highest = named;
        }
        if !self.log.has(&named) {
            // The same batch again is only younger.
            if self.pending.back().is_some_and(|(last, _)| *last == named) || self.pending.len() >= PENDING_MAX {
                self.pending.pop_back();
            }
            self.pending.push_back((named, at));
        } else if self.log.has(&self.highest) && self.proven.is_none_or(|proven| proven.boot < at.boot) {
            self.proven = Some(at);
        }
    }

    /// Whether this batch is here, and none is known to come after it.
    pub(super) fn has(&self, newest: &Head) -> bool {
        self.log.has(newest) && self.log.head().revision >= self.highest.revision
    }

    fn catch_up(&mut self) {
        for (named, at) in std::mem::take(&mut self.pending) {
            self.name(named, at);
        }
    }
}

fn head_of(tenant: &TenantId, held: &Held) -> RelationsHead {
    let Head { revision, digest } = held.log.head();
    RelationsHead { tenant: tenant.clone(), revision, digest }
}

impl State {
    /// Takes over a tenant's relations under the bundle that has become active. While its writers are the same, what
    /// they signed is as good as it was; otherwise all of it is read from the disk and verified again (N-18). What its
    /// writers no longer vouch for is not used, until one of them states the whole set anew.
    pub(super) fn load_relations(&mut self, tenant: &TenantId) -> Result<(), Refused> {
        let Some((writers, bundle)) = self.model_of(tenant) else {
            self.relations.remove(tenant);
            return Ok(());
        };
        let before = self.relations.get(tenant);
        let held = match before.filter(|before| before.writers == writers && !before.relations.is_none()) {
            Some(Held { log, stored, relations, .. }) => Held {
                relations: relations_of(bundle.policy(), relations.revision(), relations.tuples()),
                log: log.clone(),
                stored: stored.clone(),
                ..Held::new(writers)
            },
            None => self.read_relations(tenant, writers, &bundle)?,
        };
        self.take_over(tenant, held);
        Ok(())
    }

    fn read_relations(&self, tenant: &TenantId, writers: Writers, bundle: &CompiledBundle) -> Result<Held, Refused> {
        let stored = self.index.tenants.get(tenant).map(|entry| entry.relations.clone()).unwrap_or_default();
        let batches = stored.iter().map(|stored| self.store.content(stored)).collect::<Result<Vec<_>, _>>()?;
        let read = batches.iter().map(Vec::as_slice);
        Ok(match RelationLog::verify(self.config.mesh, tenant.clone(), read, &writers) {
            Ok(log) => Held {
                relations: relations_of(bundle.policy(), log.head().revision, log.live().to_tuples()),
                log: FollowedLog::from(&log),
                stored,
                ..Held::new(writers)
            },
            Err(refused) => {
                tracing::warn!(%tenant, error = %refused, "the stored relations are not used");
                Held::new(writers)
            }
        })
    }

    /// What the last ticks named is still so.
    fn take_over(&mut self, tenant: &TenantId, mut held: Held) {
        if let Some(before) = self.relations.remove(tenant) {
            held.highest = before.highest;
            let proven = before.proven.map(|at| (before.log.head(), at));
            proven.into_iter().chain(before.pending).for_each(|(named, at)| held.name(named, at));
        }
        self.relations.insert(tenant.clone(), held);
    }

    fn model_of(&self, tenant: &TenantId) -> Option<(Writers, Arc<CompiledBundle>)> {
        let active = self.tenants.get(tenant)?.active.as_ref()?;
        let bundle = Arc::clone(&active.bundle);
        has_model(bundle.policy()).then(|| (Writers::of(bundle.policy()), bundle))
    }

    /// What was stored cannot be read: none counts, and all of it is asked for again.
    pub(super) fn lose_relations(&mut self, tenant: &TenantId) {
        match self.model_of(tenant) {
            Some((writers, _)) => self.take_over(tenant, Held::new(writers)),
            None => drop(self.relations.remove(tenant)),
        }
    }

    /// Another voter may have what this one refused to give.
    pub(super) fn expect_relations(&mut self) {
        self.told_relations = None;
        self.told_beacon = None;
        self.relations.values_mut().for_each(|held| held.waits = false);
    }

    /// The relations that this edge follows, and how far it has them.
    pub(crate) fn relation_heads(&self) -> Vec<RelationsHead> {
        self.relations.iter().map(|(tenant, held)| head_of(tenant, held)).collect()
    }

    /// Of those that the disk did not take, once: they are to be asked for again.
    pub(crate) fn owed_relations(&mut self) -> Vec<RelationsHead> {
        let owed = self.relations.iter_mut().filter_map(|(tenant, held)| {
            let owed = std::mem::take(&mut held.owed);
            owed.then(|| head_of(tenant, held))
        });
        owed.collect()
    }

    /// Batches arrived that follow on each other. Those that hold are on the disk when this returns, and effective;
    /// those that are here already are stepped over.
    ///
    /// # Errors
    /// [`Refused`] when the disk does not take them; they are owed then.
    pub(crate) fn accept_relations(
        &mut self,
        tenant: &TenantId,
        batches: &[Vec<u8>],
        now: Now,
    ) -> Result<TakenRelations, Refused> {
        let Some((writers, bundle)) = self.model_of(tenant) else { return Ok(TakenRelations::default()) };
        let Some(held) = self.relations.get_mut(tenant) else { return Ok(TakenRelations::default()) };
        // Until the index names them.
        held.owed = true;
        let (before, mut log) = (held.log.head(), held.log.clone());
        let (mut relations, mut stored, mut since) = (held.relations.clone(), held.stored.clone(), held.since.clone());
        let mut taken = TakenRelations::default();
        for bytes in batches {
            let take = || -> Result<_, BatchRefused> {
                let batch = SignedBatch::parse(bytes)?.verify(&self.config.mesh, tenant, &writers)?;
                check_tuples(bundle.policy(), batch.content().add.iter().map(|tuple| &tuple.key))?;
                let mut next = log.clone();
                let change = next.catch_up(batch)?;
                let after = if change.replace {
                    relations_of(bundle.policy(), change.revision, change.add.clone())
                } else {
                    relations.apply(&change)
                };
                if after.len() > RELATION_TUPLES_MAX {
                    return Err(BatchRefused::TooManyTuples { count: after.len() });
                }
                Ok((next, after, change))
            };
            match take() {
                Ok((next, after, change)) => {
                    if change.replace {
                        stored.clear();
                    }
                    since = since.filter(|_| !change.replace);
                    if let Some((_, since)) = &mut since {
                        since.push(change);
                    }
                    (log, relations) = (next, after);
                    stored.push(self.store.put_content(bytes, now.wall)?);
                }
                Err(BatchRefused::NotNext { have, found }) if found <= have => {}
                Err(error) => {
                    taken.refused = Some(error);
                    break;
                }
            }
        }
        taken.has_changed = log.head() != before;
        if taken.has_changed {
            let mut index = self.index.clone();
            index.tenants.entry(tenant.clone()).or_default().relations.clone_from(&stored);
            self.commit(index)?;
        }
        let Some(held) = self.relations.get_mut(tenant) else { return Ok(taken) };
        held.owed = false;
        let is_gap = matches!(taken.refused, Some(BatchRefused::NotNext { .. } | BatchRefused::NoBeginning { .. }));
        taken.is_ahead = is_gap && !held.waits;
        held.waits = taken.refused.is_some() && (held.waits || !is_gap);
        if taken.has_changed {
            (held.log, held.relations, held.stored, held.since) = (log, relations, stored, since);
            held.catch_up();
            self.show();
        }
        Ok(taken)
    }

    /// What is worth a new table, for whoever builds it while calls and changes go on; [`Self::swap_tidied`] takes it.
    pub(crate) fn untidy_relations(&mut self) -> Vec<(TenantId, Relations)> {
        let untidy = self.relations.iter_mut().filter(|(_, held)| held.since.is_none() && is_untidy(&held.relations));
        let untidy = untidy.map(|(tenant, held)| {
            held.since = Some((held.relations.clone(), Vec::new()));
            (tenant.clone(), held.relations.clone())
        });
        untidy.collect()
    }

    /// The new table is built. What has come since is added to it; when all of it was replaced since, or the bundle was,
    /// nobody needs it.
    pub(crate) fn swap_tidied(&mut self, tenant: &TenantId, tidied: &Relations) {
        let Some(held) = self.relations.get_mut(tenant) else { return };
        let is_of = |(from, _): &mut (Relations, Vec<RelationChange>)| {
            let schemas = from.schema().zip(tidied.schema());
            from.revision() == tidied.revision() && schemas.is_some_and(|(from, new)| Arc::ptr_eq(from, new))
        };
        let Some((_, since)) = held.since.take_if(is_of) else { return };
        held.relations = since.iter().fold(tidied.clone(), |relations, change| relations.apply(change));
        self.show();
    }

    /// The voter says which batches were the newest at a tick whose answer follows.
    pub(crate) fn name_relations(&mut self, named: TickRelations) {
        self.told_relations = Some(named);
    }

    /// What the voter has named for this tick.
    pub(super) fn named_relations(&mut self, n: LogIndex) -> Vec<RelationsHead> {
        self.told_relations.take_if(|named| named.n == n).map(|named| named.heads).unwrap_or_default()
    }

    /// A tick counts: what it named is the newest that there was when the nonce was sent. Of a tenant that it did not
    /// name it says nothing (W-27).
    pub(super) fn prove_relations(&mut self, heads: Vec<RelationsHead>, at: Now) {
        for RelationsHead { tenant, revision, digest } in heads {
            if let Some(held) = self.relations.get_mut(&tenant) {
                held.name(Head { revision, digest }, at);
            }
        }
    }
}
