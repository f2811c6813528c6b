//! A folder in the place of a voter: taken as what a voter sends is taken, and no further.
//!
//! Everything goes the way that it would go from a voter, so it can neither go back nor be mixed. What a voter's answers
//! to nonces would say of its age, nothing says: only an offline authorization lets effects go on, until the first such answer
//! counts. Clauses N-27 to N-29.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::bundle::{BundleRejected, SignedBundle};
use remit_common::id::{LogIndex, RevocationEpoch, TenantId};
use remit_common::limits::CLOCK_AHEAD_MAX;
use remit_common::net::bootstrap::{BootstrapFolder, FolderUnusable};
use remit_common::relation_log::Head;
use remit_common::revocation::RevocationUpdate;
use remit_common::sync::bootstrap::{Bootstrap, BootstrapRefused};
use remit_common::time::{Now, Timestamp};
use remit_common::trust::TrustRefused;
use remit_common::trust::activation::{Activation, RING_STAGED, Staged};
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::freshness::AnswerRefused;
use remit_common::trust::offline::{OfflineAuthorization, SignedOffline};
use remit_common::trust::root::{Root, SignedRoot};

use super::{Refused, State};
use crate::active::view::Offline;
use crate::telemetry::chain_text;

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
    #[error("its {part} is refused")]
    Refused {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: Refused,
    },
}

fn refused<E: Into<Refused>>(part: &'static str) -> impl Fn(E) -> NotBootstrapped {
    move |source| NotBootstrapped::Refused { part, source: source.into() }
}

/// Why a tenant's offline authorization is not used.
#[derive(Debug, thiserror::Error)]
enum NotAuthorized {
    #[error(transparent)]
    Folder(#[from] FolderUnusable),
    #[error(transparent)]
    Trust(#[from] TrustRefused),
    #[error("the folder is older than what is here: take a newer one, and have an authorization signed for it")]
    OlderFolder,
    #[error(
        "it is for those who have what was there at tick {tick} and revocation epoch {epoch}, and this edge has not"
    )]
    Outdated { tick: LogIndex, epoch: RevocationEpoch },
    #[error("this edge has stored something at {stored}, and its clock says that this is still to come")]
    ClockSetBack { stored: Timestamp },
}

impl State {
    /// Takes what is newer in the folder than what is here, and gives the tick that it is of; none of one that is older than
    /// the documents here.
    ///
    /// # Errors
    /// [`NotBootstrapped`]. Nothing has changed, but for cuts that were verified one by one.
    pub(crate) fn take_bootstrap(
        &mut self,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<Option<LogIndex>, NotBootstrapped> {
        let bootstrap = folder.index()?;
        if bootstrap.mesh_id != self.config.mesh {
            return Err(BootstrapRefused::WrongMesh.into());
        }
        let is_current = self.take_current(&bootstrap, folder, now)?;
        if !is_current {
            tracing::info!("the bootstrap folder is older than what is here, or has expired, and is not used");
        }
        for tenant in self.config.tenants.clone() {
            // Of a tick that cannot be verified any more nothing is believed, not even its number.
            let taken = self.take_authorization(&tenant, is_current.then_some(&bootstrap), folder, now);
            if let Err(error) = taken {
                let error = chain_text(&error);
                tracing::error!(%tenant, error, "the offline authorization of the bootstrap folder is not used");
            }
        }
        self.show();
        Ok(is_current.then_some(bootstrap.beacon.statement.n))
    }

    /// Verifies documents and statement together before any of it is stored, and then takes all that follows from them.
    /// `false` when the folder is older than what is here.
    fn take_current(
        &mut self,
        bootstrap: &Bootstrap,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<bool, NotBootstrapped> {
        let parse = |root: &[u8]| SignedRoot::parse(root).map_err(refused("root"));
        let offered = bootstrap.roots.iter().map(|root| parse(root.get().as_bytes()));
        let offered = offered.collect::<Result<Vec<_>, _>>()?;
        let Some(newest_here) = offered.iter().position(|offered| offered.digest() == *self.root.digest()) else {
            // The folder's chain ends before the newest root here, or it is another one.
            let known = self.documents.roots.iter().map(|root| parse(root).map(|root| root.digest()));
            let known = known.collect::<Result<Vec<_>, _>>()?;
            let is_older = offered.last().is_some_and(|last| known.contains(&last.digest()));
            return if is_older { Ok(false) } else { Err(refused("root")(TrustRefused::WrongMesh)) };
        };
        let mut root = Root::clone(&self.root);
        for next in offered.into_iter().skip(newest_here + 1) {
            root = next.verify_next(&root).map_err(refused("root"))?;
        }
        let directory = SignedDirectory::parse(bootstrap.directory.get().as_bytes()).map_err(refused("directory"))?;
        let directory = directory.verify(&root, now.wall).and_then(|directory| {
            let has_changed = self.directory.as_ref().filter(|here| here.digest() != directory.digest());
            has_changed.map_or(Ok(()), |here| directory.check_succeeds(here)).map(|()| directory)
        });
        let directory = match directory {
            Ok(directory) => directory,
            Err(TrustRefused::Rollback { .. } | TrustRefused::Expired { .. }) => return Ok(false),
            Err(error) => return Err(refused("directory")(error)),
        };
        bootstrap.check(&root, &directory)?;
        for root in bootstrap.roots.iter().skip(newest_here + 1) {
            self.accept_root(root.get().as_bytes(), now).map_err(refused("root"))?;
        }
        self.accept_directory(bootstrap.directory.get().as_bytes(), now).map_err(refused("directory"))?;
        self.take_signed(bootstrap, folder, now)?;
        Ok(true)
    }

    fn take_signed(
        &mut self,
        bootstrap: &Bootstrap,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotBootstrapped> {
        let RevocationUpdate { to, digest, .. } = &bootstrap.revocations;
        if *to > self.heard.epoch() {
            self.accept_revocations(bootstrap.revocations.clone(), now).map_err(refused("set of revocations"))?;
        } else if *to == self.heard.epoch() && *digest != self.heard.digest() {
            let other = AnswerRefused::OtherRevocations { epoch: *to };
            return Err(refused("set of revocations")(other));
        }
        self.begin_connection();
        for activation in &bootstrap.activations {
            let told = match bootstrap.scopes.get(&activation.tenant) {
                Some(scope) if activation.ring == RING_STAGED => {
                    self.offer_staged(Staged { activation: activation.clone(), scope: scope.clone() }, now)
                }
                _ => self.offer_activation(activation.clone(), now),
            };
            told.map_err(refused("list of activations"))?;
        }
        let ours: Vec<_> = self.meant().filter(|told| self.config.tenants.contains(&told.tenant)).cloned().collect();
        for activation in ours {
            // What does not succeed what is here, or is broken, is no fault of the other tenants'.
            if let Err(error) = self.take_bundle(&activation, folder, now) {
                let (tenant, error) = (&activation.tenant, chain_text(&error));
                tracing::error!(%tenant, error, "a bundle of the bootstrap folder is not taken");
            }
        }
        let signed = &bootstrap.beacon.statement;
        self.told.name(signed.n, signed.activations);
        if let Err(error) = self.activate(now) {
            tracing::warn!(%error, "an activation of the bootstrap folder does not take effect");
        }
        for (tenant, head) in &bootstrap.relations {
            if let Err(error) = self.take_relations(tenant, head, folder, now) {
                let error = chain_text(&error);
                tracing::error!(%tenant, error, "relations of the bootstrap folder are not taken");
            }
        }
        if bootstrap.sealed_for.contains(&self.config.edge) {
            for shard in folder.shards(&self.config.edge)? {
                match self.accept_shard(&shard, now) {
                    Ok(_) | Err(Refused::NotOurs(_) | Refused::ShardNotRising(_)) => {}
                    Err(error) => tracing::error!(%error, "a credential of the bootstrap folder is not taken"),
                }
            }
        }
        Ok(())
    }

    fn take_bundle(
        &mut self,
        activation: &Activation,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotBootstrapped> {
        let container = folder.bundle(&activation.manifest)?;
        let bundle = SignedBundle::parse(&container).map_err(BundleRejected::from).map_err(refused("bundle"))?;
        if bundle.digest() != activation.manifest {
            return Err(BootstrapRefused::Malformed(format!("another bundle than {}", activation.manifest)).into());
        }
        self.accept_bundle(&activation.tenant, activation.number, bundle, now).map(drop).map_err(refused("bundle"))
    }

    fn take_relations(
        &mut self,
        tenant: &TenantId,
        head: &Head,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotBootstrapped> {
        if self.relations.get(tenant).is_none_or(|held| held.has(head)) {
            return Ok(());
        }
        let batches = folder.relations(tenant)?;
        let taken = self.accept_relations(tenant, &batches, now).map_err(refused("log of relations"))?;
        taken.refused.map_or(Ok(()), |error| Err(refused("log of relations")(error)))
    }

    /// The tenant's offline authorization, if the folder has one. `current` is the folder, if its tick counts here.
    fn take_authorization(
        &mut self,
        tenant: &TenantId,
        current: Option<&Bootstrap>,
        folder: &BootstrapFolder,
        now: Now,
    ) -> Result<(), NotAuthorized> {
        let Some(bytes) = folder.authorization(tenant)? else { return Ok(()) };
        let signed = SignedOffline::parse(&bytes)?;
        let authorization = signed.verify(&self.root, tenant, now.wall)?;
        let stored = self.newest_stored();
        if stored > now.wall.plus(CLOCK_AHEAD_MAX) {
            return Err(NotAuthorized::ClockSetBack { stored });
        }
        let content = authorization.content();
        let bootstrap = current.ok_or(NotAuthorized::OlderFolder)?;
        let has_seen = bootstrap.beacon.statement.n >= content.tick && self.stored_epoch() >= content.epoch;
        if !has_seen || !self.runs_what_is_meant(tenant) {
            return Err(NotAuthorized::Outdated { tick: content.tick, epoch: content.epoch });
        }
        tracing::warn!(%tenant, expires = %content.expires, "an offline authorization lets calls go on without voters");
        let relations = bootstrap.relations.get(tenant).copied().unwrap_or_default();
        self.offline.insert(tenant.clone(), HeldOffline { signed, authorization, taken: now, relations });
        Ok(())
    }

    /// Whether the folder's bundle of this tenant, or a later one, is in force.
    fn runs_what_is_meant(&self, tenant: &TenantId) -> bool {
        let meant = self.meant().find(|meant| meant.tenant == *tenant).map(|meant| meant.number);
        let active = self.tenants.get(tenant).and_then(|tenant| tenant.active.as_ref()).map(|active| active.number);
        active.is_some() && active >= meant
    }

    /// The latest moment at which this edge has stored anything, as its clock said then.
    fn newest_stored(&self) -> Timestamp {
        let proof = self.store.proof().ok().flatten().map(|proof| proof.stored);
        self.index.accepted().chain(proof).max().unwrap_or_default()
    }

    /// An authorization is only as good as the root that lists its signers.
    pub(super) fn recheck_offline(&mut self, now: Now) {
        let root = Arc::clone(&self.root);
        self.offline.retain(|tenant, offline| offline.signed.verify(&root, tenant, now.wall).is_ok());
    }

    /// What readers see of the authorizations.
    pub(super) fn shown_offline(&self) -> BTreeMap<TenantId, Offline> {
        let shown = self.offline.iter().map(|(tenant, offline)| {
            let has_relations = self.relations.get(tenant).is_some_and(|held| held.has(&offline.relations));
            let (authorization, taken) = (offline.authorization.clone(), offline.taken);
            (tenant.clone(), Offline { authorization, taken, has_relations })
        });
        shown.collect()
    }
}

/// An offline authorization that this edge has taken.
#[derive(Debug)]
pub(super) struct HeldOffline {
    /// As it was signed: a later root may list other signers.
    signed: SignedOffline,
    authorization: OfflineAuthorization,
    /// When it was taken.
    taken: Now,
    /// The newest batch of the tenant's relations at the folder's tick.
    relations: Head,
}
