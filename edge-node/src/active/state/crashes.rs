//! What ends the process again and again is turned away, and what may take its place decides.
//!
//! Clauses B-31 to B-33 and N-26, docs/PROTOCOL.md; why so, docs/decisions/0019.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::bundle::{BundleRejected, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, LogIndex, TenantId};
use remit_common::time::{BootTime, Now, Timestamp};
use remit_common::trust::activation::{Activation, RING_ALL};

use super::{Refused, State};
use crate::active::store::{Index, Store, StoreFailed, StoredActivation};
use crate::active::trial::{Trials, Tried};
use crate::active::view::{ActiveBundle, Lost, Ready};

/// Counts the death of the process before, if it had something on trial in its hands, and takes that into its own.
///
/// # Errors
/// [`StoreFailed`], but for a disk without room: what is counted is then counted for this process alone.
pub(super) fn count(
    store: &Store,
    index: &Index,
    served: &BTreeSet<TenantId>,
    now: Now,
) -> Result<Trials, StoreFailed> {
    let (list, was_open) = store.trials()?;
    let is_new = list.is_empty();
    // What is not served is not opened, and ends nothing.
    let active = |tenant: &TenantId| index.tenants.get(tenant).filter(|_| served.contains(tenant))?.active;
    let trials = Trials::resume(list, was_open, active, now);
    for trial in trials.list().iter().filter(|trial| trial.deaths > 0) {
        let (tenant, number, deaths) = (&trial.tenant, trial.number, trial.deaths);
        tracing::warn!(%tenant, %number, deaths, "the process died with a bundle that was on trial");
    }
    if is_new {
        return Ok(trials);
    }
    match store.put_trials(trials.list(), true) {
        Err(StoreFailed::Disk { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => Ok(trials),
        done => done.map(|()| trials),
    }
}

impl State {
    /// The bundles that were turned away, oldest activation first.
    pub(super) fn lost(&self) -> BTreeMap<TenantId, Vec<Lost>> {
        let of = |tenant: &TenantId| {
            let lost = self.trials.lost(tenant).map(|trial| Lost { number: trial.number, manifest: trial.manifest });
            let mut lost: Vec<Lost> = lost.collect();
            lost.sort_by_key(|lost| lost.number);
            (!lost.is_empty()).then(|| (tenant.clone(), lost))
        };
        self.config.tenants.iter().filter_map(of).collect()
    }

    /// Of those the ones that lie here.
    pub(super) fn lost_and_kept(&self) -> impl Iterator<Item = &Digest> {
        self.index.tenants.iter().flat_map(move |(tenant, entry)| {
            let is_kept = move |content: &Digest| entry.bundles.iter().any(|stored| stored.content == *content);
            self.trials.lost(tenant).filter(move |trial| is_kept(&trial.content)).map(|trial| &trial.manifest)
        })
    }

    /// When [`Self::end_trials`] is due.
    pub(crate) fn trials_end(&self) -> Option<BootTime> {
        self.trials.next_end()
    }

    /// The process has lived long enough with what was on trial.
    pub(crate) fn end_trials(&mut self, now: Now) {
        let mut trials = self.trials.clone();
        if !trials.end(now, |tenant| self.index.tenants.get(tenant)?.active) {
            return;
        }
        match self.store.put_trials(trials.list(), !trials.list().is_empty()) {
            Ok(()) => self.trials = trials,
            Err(failure) => {
                self.trials.put_off(now);
                self.store_failure = Some(failure);
            }
        }
    }

    /// Does what may end the process with a bundle, so that the next process knows by which.
    ///
    /// # Errors
    /// [`StoreFailed`]; it was not done then.
    pub(super) fn on_trial<T>(&mut self, tried: Tried<'_>, work: impl FnOnce(&Self) -> T) -> Result<T, StoreFailed> {
        self.trials.arrive(tried);
        if let Err(failed) = self.store.put_trials(self.trials.list(), true) {
            self.trials.arrived(tried);
            return Err(failed);
        }
        let done = work(self);
        self.trials.arrived(tried);
        self.store.put_trials(self.trials.list(), !self.trials.list().is_empty())?;
        Ok(done)
    }

    /// Makes these the bundles that decide: on trial first, then in the index, then in force. They are ready.
    ///
    /// # Errors
    /// [`StoreFailed`]; nothing has changed.
    pub(super) fn take_effect(
        &mut self,
        index: Index,
        chosen: &[(TenantId, LogIndex, Digest)],
        now: Now,
    ) -> Result<(), StoreFailed> {
        let mut trials = self.trials.clone();
        let tried: Vec<Tried<'_>> = chosen
            .iter()
            .filter_map(|(tenant, number, manifest)| {
                let content = self.tenants.get(tenant)?.ready.get(manifest)?.content;
                Some(Tried { tenant, number: *number, manifest: *manifest, content })
            })
            .collect();
        for tried in &tried {
            trials.activate(*tried);
        }
        self.store.put_trials(trials.list(), true)?;
        self.commit(index)?;
        for tried in &tried {
            trials.activated(*tried, now);
        }
        self.trials = trials;
        for Tried { tenant, number, manifest, content: _ } in tried {
            if let Some(tenant) = self.tenants.get_mut(tenant)
                && let Some(ready) = tenant.ready.get(&manifest)
            {
                tenant.active = Some(ActiveBundle { number, bundle: Arc::clone(&ready.compiled) });
            }
            // Bundle and relations change together: a decision never mixes one with the other's.
            if let Err(failed) = self.load_relations(tenant) {
                // None is stale; those of another bundle's model would be wrong.
                tracing::error!(%tenant, error = %failed, "the relations cannot be read");
                self.lose_relations(tenant);
            }
        }
        Ok(())
    }

    /// Where the bundle that was active is turned away, lets one take its place that the highest manifest names, if
    /// one is here. Otherwise everything of the tenant is refused. Gives what decides instead.
    pub(super) fn retreat(&mut self, now: Now) -> Vec<Activation> {
        let mut instead = Vec::new();
        for tenant in self.config.tenants.clone() {
            let Some(active) = self.index.tenants.get(&tenant).and_then(|entry| entry.active) else { continue };
            if !self.trials.is_lost(&tenant, active.number, &active.manifest) {
                continue;
            }
            let number = active.number;
            let Some((version, manifest)) = self.way_back(&tenant, now.wall) else {
                tracing::error!(%tenant, %number, "the process died twice with its bundle, and there is nothing to go back to");
                continue;
            };
            let mut index = self.index.clone();
            if let Some(entry) = index.tenants.get_mut(&tenant) {
                entry.active = Some(StoredActivation { number, manifest });
            }
            match self.take_effect(index, &[(tenant.clone(), number, manifest)], now) {
                Ok(()) => {
                    tracing::error!(%tenant, %number, %version, "the process died twice with its bundle: back to a fallback");
                    instead.push(Activation { number, tenant, ring: RING_ALL, manifest });
                }
                Err(failed) => tracing::error!(%tenant, error = %failed, "the disk does not let this edge go back"),
            }
        }
        instead
    }

    /// The newest bundle here that the highest manifest names as its fallback, and that did not end the process. Never the
    /// highest itself: what it was taken back for is not known here.
    fn way_back(&self, tenant: &TenantId, now: Timestamp) -> Option<(BundleVersion, Digest)> {
        let water = &self.index.tenants.get(tenant)?.water;
        let may = |(digest, ready): &(&Digest, &Ready)| {
            let version = ready.verified.manifest().version;
            water.check_fallback(version, digest, now).is_ok()
                && self.trials.lost(tenant).all(|lost| lost.manifest != **digest)
        };
        let ready = self.tenants.get(tenant)?.ready.iter().filter(may);
        ready.map(|(digest, ready)| (ready.verified.manifest().version, *digest)).max()
    }

    /// A tick names a bundle by a newer activation than the one with which it was turned away: it gets another trial.
    pub(super) fn try_again(&mut self, n: LogIndex, now: Now) {
        let is_due = |tenant: &TenantId, number: LogIndex, manifest: &Digest| {
            let newer = self.index.tenants.get(tenant).is_some_and(|entry| number > entry.water.activation);
            let trial = self.trials.lost(tenant).find(|trial| trial.manifest == *manifest)?;
            (newer && !self.trials.is_lost(tenant, number, manifest)).then_some(trial.content)
        };
        let due: Vec<_> = self
            .meant()
            .filter(|of| of.number <= n)
            .filter_map(|of| {
                Some((of.tenant.clone(), of.number, of.manifest, is_due(&of.tenant, of.number, &of.manifest)?))
            })
            .collect();
        for (tenant, number, manifest, content) in due {
            if self.tenants.get(&tenant).is_some_and(|tenant| tenant.ready.contains_key(&manifest)) {
                continue;
            }
            match self.open_again(Tried { tenant: &tenant, number, manifest, content }, now) {
                Ok(Some(ready)) => {
                    if let Some(tenant) = self.tenants.get_mut(&tenant) {
                        tenant.ready.insert(manifest, ready);
                    }
                }
                // It comes with the next connection.
                Ok(None) => {}
                Err(refused) => tracing::warn!(%tenant, error = %refused, "a stored bundle is not used"),
            }
        }
    }

    fn open_again(&mut self, tried: Tried<'_>, now: Now) -> Result<Option<Ready>, Refused> {
        let entry = self.index.tenants.get(tried.tenant);
        let stored =
            entry.and_then(|entry| entry.bundles.iter().find(|stored| stored.content == tried.content)).copied();
        let Some(stored) = stored else { return Ok(None) };
        let bytes = self.store.content(&stored)?;
        self.on_trial(tried, |state| {
            let signed = SignedBundle::parse(&bytes).map_err(BundleRejected::from)?;
            state.verify_bundle(tried.tenant, signed, tried.content, now.wall).map(Some)
        })?
    }
}
