//! What comes of the documents that a voter sends: taken, refused, or looked at again; and what the edge says back.

use std::collections::{BTreeMap, VecDeque};

use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, LogIndex, TenantId};
use remit_common::revocation::{RevocationRefused, RevocationUpdate};
use remit_common::shard::ShardRefused;
use remit_common::trust::activation::Activation;
use remit_common::wire::message::{ShardOffer, Stage};
use remit_common::wire::proof::{Attestation, Covered};

use super::super::Greeting;
use super::{Conversation, Followed, Follower, Left};
use crate::active::{Accepted, Refused, State};
use crate::telemetry::chain_text;

/// Documents that a voter may send in vain before it is left for another one.
const REFUSALS_MAX: u32 = 64;
/// Shards that wait for a directory: every credential of some tenants.
const SHARDS_EARLY_MAX: usize = 256;
/// Changes of the revocations that wait for a directory.
const UPDATES_EARLY_MAX: usize = 64;

/// What came before the directory that it hangs on.
///
/// Lanes overtake one another: a shard or a cut can arrive while the directory that lists its sealer or its
/// administrator is still being fetched. What is refused for that is looked at again when a directory has been
/// accepted. It dies with the connection.
#[derive(Default)]
pub(super) struct TooEarly {
    shards: BTreeMap<(TenantId, CredentialId), ShardOffer>,
    updates: VecDeque<RevocationUpdate>,
}

impl Follower {
    pub(super) async fn take_shard(&mut self, conversation: &mut Conversation, offer: ShardOffer) -> Result<(), Left> {
        let digest = Digest::of(&[&offer.bytes]);
        let kept = offer.clone();
        let accepted = self.with_state(move |state, now| state.accept_shard(&offer.bytes, now)).await?;
        if hangs_on_directory(&accepted) && conversation.too_early.shards.len() < SHARDS_EARLY_MAX {
            conversation.too_early.shards.insert((kept.tenant.clone(), kept.credential.clone()), kept);
        }
        if self.settle(conversation, "shard", digest, accepted)?.is_some() {
            self.refresh();
        }
        Ok(())
    }

    pub(super) async fn take_revocations(
        &mut self,
        conversation: &mut Conversation,
        update: RevocationUpdate,
    ) -> Result<(), Left> {
        let digest = update.digest;
        let kept = update.clone();
        let accepted = self.with_state(move |state, now| state.accept_revocations(update, now)).await?;
        if hangs_on_directory(&accepted) && conversation.too_early.updates.len() < UPDATES_EARLY_MAX {
            conversation.too_early.updates.push_back(kept);
        }
        if self.settle(conversation, "revocations", digest, accepted)?.is_some() {
            self.refresh();
            self.cover(conversation).await?;
        }
        Ok(())
    }

    /// Looks again at what came before its directory.
    pub(super) async fn take_again(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        let TooEarly { shards, updates } = std::mem::take(&mut conversation.too_early);
        for update in updates {
            self.take_revocations(conversation, update).await?;
        }
        for offer in shards.into_values() {
            self.take_shard(conversation, offer).await?;
        }
        Ok(())
    }

    /// Says what runs here, and what is enforced.
    pub(super) async fn introduce(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        tracing::info!(voter = %conversation.voter, "following");
        self.followed.send_replace(Followed { voter: Some(conversation.voter) });
        let view = self.views.load_full();
        for (tenant, active) in view.bundles.iter() {
            let attestation = self.attestation(tenant, active.number, *active.bundle.digest());
            conversation.subscriber.attest(attestation);
        }
        self.cover(conversation).await
    }

    pub(super) fn attestation(&self, tenant: &TenantId, number: LogIndex, manifest: Digest) -> Attestation {
        let Greeting { mesh, edge, boot: _ } = &self.greeting;
        Attestation::sign(mesh, &self.key, edge.clone(), tenant.clone(), number, manifest)
    }

    /// Acknowledges the revocations that are on the disk: whoever reads this may rely on it over restarts.
    pub(super) async fn cover(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        let (epoch, digest) = self
            .with_state(|state, _| {
                let stored = state.stored_revocations();
                (stored.epoch(), stored.digest())
            })
            .await?;
        let Greeting { mesh, edge, boot: _ } = &self.greeting;
        conversation.subscriber.cover(Covered::sign(mesh, &self.key, edge.clone(), epoch, digest));
        Ok(())
    }

    /// Tries again to put on the disk the revocations that it did not take. Says whether it has them now.
    pub(super) async fn store_owed(&mut self) -> Result<bool, Left> {
        if !self.state.as_ref().is_some_and(State::owes_revocations) {
            return Ok(false);
        }
        let stored = self.with_state(|state, now| state.store_revocations(now)).await?;
        if let Err(error) = &stored {
            tracing::error!(error = %chain_text(error), "the disk still does not take the revocations");
            return Ok(false);
        }
        self.refresh();
        Ok(true)
    }

    /// Tells of activations that took effect.
    pub(super) fn activated(&mut self, conversation: &mut Conversation, accepted: Option<Accepted>) {
        let (Some(Accepted::Activated(activations)) | Some(Accepted::Younger(activations))) = accepted else { return };
        if activations.is_empty() {
            return;
        }
        let view = self.views.load_full();
        for Activation { number, tenant, ring: _, manifest } in activations {
            let version = view.bundles.get(&tenant).map(|active| active.bundle.manifest().version);
            tracing::info!(%tenant, version = version.map(|version| version.0), %number, "a bundle is active");
            conversation.subscriber.acknowledge(tenant.clone(), manifest, Stage::Active);
            conversation.subscriber.attest(self.attestation(&tenant, number, manifest));
        }
        self.refresh();
    }

    /// A document was taken or not. What the disk refused says nothing about the voter.
    pub(super) fn settle(
        &mut self,
        conversation: &mut Conversation,
        what: &'static str,
        digest: Digest,
        accepted: Result<Accepted, Refused>,
    ) -> Result<Option<Accepted>, Left> {
        match accepted {
            Ok(Accepted::Nothing) => Ok(None),
            Ok(accepted) => Ok(Some(accepted)),
            Err(Refused::Store(error)) => {
                tracing::error!(what, error = %chain_text(&error), "the disk does not take what arrived");
                Ok(None)
            }
            // Not the voter's fault, and looked at again.
            Err(Refused::NoDirectory) => Ok(None),
            Err(refused) => {
                conversation.refusals += 1;
                if conversation.refusals > REFUSALS_MAX {
                    return Err(Left::NotBelieved(refused));
                }
                self.not_believed(what);
                tracing::warn!(
                    voter = %conversation.voter, what, error = %chain_text(&refused), "what the voter sent is refused"
                );
                conversation.subscriber.refuse(digest, refused.reason_code(), &nack_text(&refused));
                Ok(None)
            }
        }
    }

    pub(super) fn refuse_bundle(
        &mut self,
        conversation: &mut Conversation,
        manifest: Digest,
        refused: &Refused,
    ) -> Result<(), Left> {
        let code = refused.reason_code();
        self.metrics.bundles_refused.get_or_create(&[("reason", code)]).inc();
        tracing::error!(
            voter = %conversation.voter, %manifest, error = %chain_text(refused), "a bundle is refused"
        );
        conversation.subscriber.refuse_bundle(manifest, code, &nack_text(refused), self.env.now().boot);
        Ok(())
    }
}

/// Whether a directory that is still on its way may make it good.
fn hangs_on_directory(accepted: &Result<Accepted, Refused>) -> bool {
    matches!(
        accepted,
        Err(Refused::NoDirectory
            | Refused::Shard(ShardRefused::UnknownSealer { .. })
            | Refused::Revocation(RevocationRefused::NotPermitted(_)))
    )
}

/// What a voter passes on to people: bounded, because it may quote what somebody else wrote.
fn nack_text(refused: &Refused) -> String {
    chain_text(refused).chars().take(200).collect()
}
