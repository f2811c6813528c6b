//! A folder in the place of a voter: taken as what a voter sends is taken, and no further.
//!
//! Everything goes the way that it would go from a voter, so it can neither go back nor be mixed. What a voter's answers
//! to nonces would say of its age, nothing says: only an offline authorization lets effects go on. Clauses N-27 to N-29.

use std::sync::Arc;

use remit_common::bundle::{BundleRejected, SignedBundle};
use remit_common::id::{LogIndex, RevocationEpoch, TenantId};
use remit_common::net::bootstrap::{BootstrapFolder, FolderUnusable};
use remit_common::sync::bootstrap::{Bootstrap, BootstrapRefused};
use remit_common::time::Now;
use remit_common::trust::TrustRefused;
use remit_common::trust::activation::{RING_STAGED, Staged};
use remit_common::trust::offline::SignedOffline;
use remit_common::trust::root::SignedRoot;

use super::{Refused, State};
use crate::active::view::Offline;

/// Why a bootstrap folder stops the start: whoever named it has to know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotBootstrapped {
    /// A file of it.
    #[error(transparent)]
    Folder(#[from] FolderUnusable),
    /// What belongs together is not what voters signed.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapRefused),
    /// A part of it does not hold.
    #[error("its {part} are refused")]
    Refused {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: Refused,
    },
    /// A tenant's offline authorization does not hold.
    #[error("the offline authorization of tenant `{tenant}` is refused")]
    Authorization {
        /// Whose.
        tenant: TenantId,
        /// Why.
        #[source]
        source: TrustRefused,
    },
    /// The authorization is for those who have seen more.
    #[error(
        "the offline authorization of tenant `{tenant}` is for edges that have seen tick {tick} and revocation epoch \
         {epoch}, and this one has not: its folder is older than it is"
    )]
    Outdated {
        /// Whose.
        tenant: TenantId,
        /// The tick that its signers looked at.
        tick: LogIndex,
        /// The epoch then.
        epoch: RevocationEpoch,
    },
}

fn refused<E: Into<Refused>>(part: &'static str) -> impl Fn(E) -> NotBootstrapped {
    move |source| NotBootstrapped::Refused { part, source: source.into() }
}

impl State {
    /// Takes what is newer in the folder than what is here, and gives the tick that it is of.
    ///
    /// # Errors
    /// [`NotBootstrapped`]. What was taken before holds: it was verified for itself.
    pub(crate) fn take_bootstrap(&mut self, folder: &BootstrapFolder, now: Now) -> Result<LogIndex, NotBootstrapped> {
        let bootstrap = folder.index()?;
        if bootstrap.mesh_id != self.config.mesh {
            return Err(BootstrapRefused::WrongMesh.into());
        }
        self.take_documents(&bootstrap, now)?;
        let signed = &bootstrap.beacon.statement;
        let documents = (self.root.version(), self.directory.as_ref().map_or(0, |directory| directory.version()));
        if signed.root < documents.0 || signed.directory < documents.1 {
            tracing::info!(tick = %signed.n, "the bootstrap folder is older than what is here, and not used");
        } else {
            let directory = self.directory.clone().ok_or(Refused::NoDirectory).map_err(refused("documents"))?;
            bootstrap.check(&self.root, &directory)?;
            self.take_signed(&bootstrap, folder, now)?;
        }
        for tenant in self.config.tenants.clone() {
            self.take_authorization(&tenant, &bootstrap, folder, now)?;
        }
        self.show();
        Ok(bootstrap.beacon.statement.n)
    }

    fn take_documents(&mut self, bootstrap: &Bootstrap, now: Now) -> Result<(), NotBootstrapped> {
        let digest = |root: &[u8]| SignedRoot::parse(root).map(|signed| signed.digest()).map_err(refused("roots"));
        let offered = bootstrap.roots.iter().map(|root| digest(root.get().as_bytes()));
        let offered = offered.collect::<Result<Vec<_>, _>>()?;
        let Some(newest_here) = offered.iter().position(|offered| offered == self.root.digest()) else {
            // The folder's chain ends before the newest root here, or it is another one.
            let known = self.documents.roots.iter().map(|root| digest(root)).collect::<Result<Vec<_>, _>>()?;
            let is_older = offered.last().is_some_and(|last| known.contains(last));
            return if is_older { Ok(()) } else { Err(refused("roots")(TrustRefused::WrongMesh)) };
        };
        for root in bootstrap.roots.iter().skip(newest_here + 1) {
            self.accept_root(root.get().as_bytes(), now).map_err(refused("roots"))?;
        }
        match self.accept_directory(bootstrap.directory.get().as_bytes(), now) {
            // What is here is newer.
            Ok(_) | Err(Refused::Trust(TrustRefused::Rollback { .. })) => Ok(()),
            Err(error) => Err(refused("directory")(error)),
        }
    }

    fn take_signed(
        &mut self,
        bootstrap: &Bootstrap,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotBootstrapped> {
        if bootstrap.revocations.to > self.heard.epoch() {
            self.accept_revocations(bootstrap.revocations.clone(), now).map_err(refused("revocations"))?;
        }
        self.begin_connection();
        for activation in &bootstrap.activations {
            let told = match bootstrap.scopes.get(&activation.tenant) {
                Some(scope) if activation.ring == RING_STAGED => {
                    self.offer_staged(Staged { activation: activation.clone(), scope: scope.clone() }, now)
                }
                _ => self.offer_activation(activation.clone(), now),
            };
            told.map_err(refused("activations"))?;
        }
        let ours: Vec<_> = self.meant().filter(|told| self.config.tenants.contains(&told.tenant)).cloned().collect();
        for activation in ours {
            let container = folder.bundle(&activation.manifest)?;
            let bundle = SignedBundle::parse(&container).map_err(BundleRejected::from).map_err(refused("bundles"))?;
            // What went higher here does not go back; that is no fault of the others.
            if let Err(error) = self.accept_bundle(&activation.tenant, activation.number, bundle, now) {
                tracing::warn!(tenant = %activation.tenant, %error, "a bundle of the bootstrap folder is not taken");
            }
        }
        let signed = &bootstrap.beacon.statement;
        self.told.name(signed.n, signed.activations);
        if let Err(error) = self.activate(now) {
            tracing::warn!(%error, "an activation of the bootstrap folder does not take effect");
        }
        for (tenant, head) in &bootstrap.relations {
            if self.relations.get(tenant).is_some_and(|held| !held.has(head)) {
                let batches = folder.relations(tenant)?;
                let taken = self.accept_relations(tenant, &batches, now).map_err(refused("relations"))?;
                if let Some(error) = taken.refused {
                    return Err(refused("relations")(error));
                }
            }
        }
        for shard in bootstrap.shards.get(&self.config.edge).into_iter().flatten() {
            match self.accept_shard(shard.get().as_bytes(), now) {
                Ok(_) | Err(Refused::NotOurs(_) | Refused::ShardNotRising(_)) => {}
                Err(error) => tracing::warn!(%error, "a credential of the bootstrap folder is not taken"),
            }
        }
        Ok(())
    }

    /// The tenant's offline authorization, if the folder has one.
    fn take_authorization(
        &mut self,
        tenant: &TenantId,
        bootstrap: &Bootstrap,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotBootstrapped> {
        let Some(bytes) = folder.authorization(tenant)? else { return Ok(()) };
        let refuse = |source| NotBootstrapped::Authorization { tenant: tenant.clone(), source };
        let signed = SignedOffline::parse(&bytes).map_err(refuse)?;
        let authorization = signed.verify(&self.root, tenant, now.wall).map_err(refuse)?;
        let content = authorization.content();
        // INVARIANT: what the folder's tick names is here by now, unless something newer is.
        let seen = bootstrap.beacon.statement.n.max(self.freshness.view().tick());
        if seen < content.tick || self.stored_epoch() < content.epoch {
            let (tenant, tick, epoch) = (tenant.clone(), content.tick, content.epoch);
            return Err(NotBootstrapped::Outdated { tenant, tick, epoch });
        }
        let head = bootstrap.relations.get(tenant).copied().unwrap_or_default();
        let has_relations = self.relations.get(tenant).is_some_and(|held| held.has(&head));
        tracing::warn!(%tenant, expires = %content.expires, "an offline authorization lets calls go on without voters");
        let offline = Offline { signed: Arc::new(signed), authorization, taken: now, has_relations };
        self.offline.insert(tenant.clone(), offline);
        Ok(())
    }

    /// An authorization is only as good as the root that lists its signers.
    pub(super) fn recheck_offline(&mut self, now: Now) {
        let root = Arc::clone(&self.root);
        self.offline.retain(|tenant, offline| offline.signed.verify(&root, tenant, now.wall).is_ok());
    }
}
