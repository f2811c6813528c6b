//! What comes of the documents that a voter sends: taken, refused, or looked at again; and what the edge says back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, LogIndex, TenantId};
use remit_common::identity::SignedRequest;
use remit_common::revocation::{RevocationRefused, RevocationUpdate};
use remit_common::shard::ShardRefused;
use remit_common::trust::activation::Activation;
use remit_common::wire::message::{ShardOffer, Stage};
use remit_common::wire::proof::{Attestation, Covered};

use super::super::Greeting;
use super::{Conversation, Followed, Follower, Left};
use crate::active::{Accepted, CRASH_LOOP, Lost, Refused, State, TakenRelations};
use crate::telemetry::chain_text;

/// Documents that a voter may send in vain before it is left for another one.
const REFUSALS_MAX: u32 = 64;
/// Shards that wait for a directory: every credential of some tenants.
const SHARDS_EARLY_MAX: usize = 256;
/// Changes of the revocations that wait for a directory.
const UPDATES_EARLY_MAX: usize = 64;
/// Bytes of all that waits: shards of every tenant, or the cuts of days. What needs more is asked for again.
const EARLY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a cut or a shard takes besides the texts in it.
const ITEM_BYTES: usize = 512;

/// What came before the directory that it hangs on.
///
/// Lanes overtake one another: a shard or a cut can arrive while the directory that lists its sealer or its
/// administrator is still being fetched. What is refused for that is looked at again when a directory has been
/// accepted. It dies with the connection. When it is more than may wait, all of it is dropped, and the edge subscribes
/// anew once there is a directory.
#[derive(Default)]
pub(super) struct TooEarly {
    shards: BTreeMap<(TenantId, CredentialId), ShardOffer>,
    updates: VecDeque<RevocationUpdate>,
    bytes: usize,
    /// More came than may wait.
    has_dropped: bool,
}

impl TooEarly {
    /// Whether so much more may wait.
    fn has_room(&self, bytes: usize) -> bool {
        !self.has_dropped && self.bytes.saturating_add(bytes) <= EARLY_BYTES_MAX
    }

    fn keep_shard(&mut self, offer: ShardOffer) {
        let key = (offer.tenant.clone(), offer.credential.clone());
        let before = self.shards.get(&key).map_or(0, shard_bytes);
        self.bytes = self.bytes.saturating_sub(before);
        if self.has_room(shard_bytes(&offer)) && (before > 0 || self.shards.len() < SHARDS_EARLY_MAX) {
            self.bytes = self.bytes.saturating_add(shard_bytes(&offer));
            self.shards.insert(key, offer);
        } else {
            self.drop_all();
        }
    }

    fn keep_update(&mut self, update: RevocationUpdate) {
        let bytes = update_bytes(&update);
        if self.has_room(bytes) && self.updates.len() < UPDATES_EARLY_MAX {
            self.bytes = self.bytes.saturating_add(bytes);
            self.updates.push_back(update);
        } else {
            self.drop_all();
        }
    }

    fn drop_all(&mut self) {
        *self = Self { has_dropped: true, ..Self::default() };
    }
}

fn shard_bytes(offer: &ShardOffer) -> usize {
    offer.bytes.len().saturating_add(ITEM_BYTES)
}

fn update_bytes(update: &RevocationUpdate) -> usize {
    let added = update.added.iter().map(|entry| {
        let SignedRequest { method, path, body, nonce, .. } = &entry.request;
        [method.len(), path.len(), body.len(), nonce.len(), entry.cut.id.len()].iter().sum::<usize>()
    });
    let removed = update.removed.iter().map(|cut| cut.id.len());
    added.chain(removed).fold(ITEM_BYTES, |sum, texts| sum.saturating_add(texts).saturating_add(ITEM_BYTES))
}

impl Follower {
    pub(super) async fn take_shard(&mut self, conversation: &mut Conversation, offer: ShardOffer) -> Result<(), Left> {
        let digest = Digest::of(&[&offer.bytes]);
        let (offer, accepted) = self
            .with_state(move |state, now| {
                let accepted = state.accept_shard(&offer.bytes, now);
                (offer, accepted)
            })
            .await?;
        if hangs_on_directory(&accepted) {
            conversation.too_early.keep_shard(offer);
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
        // What may not wait anyway is not copied.
        let kept = conversation.too_early.has_room(update_bytes(&update)).then(|| update.clone());
        let accepted = self.with_state(move |state, now| state.accept_revocations(update, now)).await?;
        if hangs_on_directory(&accepted) {
            match kept {
                Some(update) => conversation.too_early.keep_update(update),
                None => conversation.too_early.drop_all(),
            }
        }
        if self.settle(conversation, "revocations", digest, accepted)?.is_some() {
            self.refresh();
            self.cover(conversation).await?;
        }
        Ok(())
    }

    /// Looks again at what came before its directory.
    pub(super) async fn take_again(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        let TooEarly { shards, updates, bytes: _, has_dropped } = std::mem::take(&mut conversation.too_early);
        if has_dropped {
            return Err(Left::TooEarly);
        }
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
        self.tell_crashes(conversation);
        self.follow_relations(conversation, |_| true).await?;
        self.cover(conversation).await
    }

    /// Says which bundles this edge has turned away because the process ended by them. A voter keeps one refusal of an
    /// edge, and forgets it when a bundle arrives: so it is said again after each that does (clause B-33).
    pub(super) fn tell_crashes(&self, conversation: &mut Conversation) {
        let view = self.views.load_full();
        for (tenant, lost) in view.lost.iter() {
            let instead = match view.bundles.get(tenant) {
                Some(active) => format!("version {} decides instead", active.bundle.manifest().version),
                None => "everything of this tenant is refused: there is nothing to go back to".to_owned(),
            };
            for Lost { number, manifest } in lost {
                let detail = format!("the process died twice within a minute of activation {number}; {instead}");
                conversation.subscriber.refuse(*manifest, CRASH_LOOP, &detail);
            }
        }
    }

    /// Says which relations of these tenants are followed here, and how far they have come. What follows on them is
    /// offered from then on; nothing is said where no active bundle has any.
    pub(super) async fn follow_relations(
        &mut self,
        conversation: &mut Conversation,
        of: impl Fn(&TenantId) -> bool,
    ) -> Result<(), Left> {
        let mut heads = self.with_state(|state, _| state.relation_heads()).await?;
        heads.retain(|head| of(&head.tenant));
        if !heads.is_empty() {
            conversation.subscriber.follow_relations(heads);
        }
        Ok(())
    }

    pub(super) async fn take_relations(
        &mut self,
        conversation: &mut Conversation,
        tenant: TenantId,
        first: u64,
        batches: Vec<Vec<u8>>,
    ) -> Result<(), Left> {
        let digest = batches.first().map(|batch| Digest::of(&[batch])).unwrap_or_default();
        let of = tenant.clone();
        let (taken, heads) = self
            .with_state(move |state, now| {
                let taken = state.accept_relations(&of, &batches, now);
                (taken, state.relation_heads())
            })
            .await?;
        let TakenRelations { has_changed, is_ahead, refused } = match taken {
            Ok(taken) => taken,
            Err(refused) => return self.settle(conversation, "relations", digest, Err(refused)).map(drop),
        };
        let is_refused = refused.is_some();
        if let Some(error) = refused {
            // A voter keeps what a writer signed that the bundle names no more, and has to offer it: it is not the
            // voter's fault, and concerns this tenant alone.
            let refused = Refused::Relations(error);
            tracing::warn!(%tenant, first, error = %refused, "relations are refused");
            conversation.subscriber.refuse(digest, refused.reason_code(), &nack_text(&refused));
            if is_ahead {
                // A statement came in between, perhaps. Who makes a habit of it does not mean well.
                conversation.refusals += 1;
                if conversation.refusals > REFUSALS_MAX {
                    return Err(Left::NotBelieved(refused));
                }
                return self.follow_relations(conversation, |of| *of == tenant).await;
            }
        }
        // Whoever has taken what was offered is offered what follows on it; the voter hears nothing of what can only
        // be made good by something else (D-13).
        if has_changed || !is_refused {
            tracing::debug!(%tenant, first, "relations have been accepted");
            let of_tenant: Vec<_> = heads.into_iter().filter(|head| head.tenant == tenant).collect();
            if !of_tenant.is_empty() {
                conversation.subscriber.acknowledge_relations(of_tenant);
            }
        }
        if has_changed { self.tidy_relations().await } else { Ok(()) }
    }

    /// Has tables built anew in which much has come and gone. It may take a second, so nothing waits for it; should it
    /// fail, calls go on by what there is.
    pub(super) async fn tidy_relations(&mut self) -> Result<(), Left> {
        for (tenant, relations) in self.with_state(|state, _| state.untidy_relations()).await? {
            let (env, sender) = (self.env.clone(), self.tidied.sender.clone());
            self.env.spawn_named("relations", async move {
                if let Ok(tidied) = env.run_blocking(move || relations.compacted()).await {
                    // The follower may have ended.
                    let _ = sender.send((tenant, tidied)).await;
                }
            });
        }
        Ok(())
    }

    /// Asks again for relations that the disk did not take.
    pub(super) async fn ask_owed_relations(&mut self, conversation: &mut Conversation) -> Result<(), Left> {
        let owed = self.with_state(|state, _| state.owed_relations()).await?;
        if !owed.is_empty() {
            conversation.subscriber.follow_relations(owed);
        }
        Ok(())
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
    pub(super) async fn activated(
        &mut self,
        conversation: &mut Conversation,
        accepted: Option<Accepted>,
    ) -> Result<(), Left> {
        let (Some(Accepted::Activated(activations)) | Some(Accepted::Younger(activations))) = accepted else {
            return Ok(());
        };
        if activations.is_empty() {
            return Ok(());
        }
        let view = self.views.load_full();
        let mut tenants = BTreeSet::new();
        for Activation { number, tenant, ring: _, manifest } in activations {
            tenants.insert(tenant.clone());
            let version = view.bundles.get(&tenant).map(|active| active.bundle.manifest().version);
            tracing::info!(%tenant, version = version.map(|version| version.0), %number, "a bundle is active");
            conversation.subscriber.acknowledge(tenant.clone(), manifest, Stage::Active);
            conversation.subscriber.attest(self.attestation(&tenant, number, manifest));
        }
        self.tell_crashes(conversation);
        self.refresh();
        // Other writers may vouch for other batches from now on.
        self.follow_relations(conversation, |tenant| tenants.contains(tenant)).await
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

#[cfg(test)]
mod tests {
    use remit_common::crypto::sign::Signature;
    use remit_common::id::{KeyId, RevocationEpoch};
    use remit_common::revocation::{Cut, CutKind, Revocation};
    use remit_common::time::Timestamp;

    use super::*;

    fn update(entries: usize, body: usize) -> RevocationUpdate {
        let request = SignedRequest {
            method: "POST".to_owned(),
            path: "/v1/revocations".to_owned(),
            body: vec![0; body],
            created: 1,
            expires: 2,
            nonce: String::new(),
            key: KeyId(Digest([1; 32])),
            signature: Signature([2; 64]),
        };
        let cut =
            Cut { tenant: TenantId::new("acme").unwrap().into(), kind: CutKind::Session, id: "sess-1".to_owned() };
        let entry = Revocation { cut, until: Timestamp::from_millis(1), index: LogIndex(1), request };
        RevocationUpdate {
            from: RevocationEpoch(0),
            to: RevocationEpoch(1),
            digest: Digest::default(),
            added: vec![entry; entries],
            removed: Vec::new(),
        }
    }

    fn shard(credential: usize, bytes: usize) -> ShardOffer {
        ShardOffer {
            tenant: TenantId::new("acme").unwrap(),
            credential: CredentialId::new(&format!("c{credential}")).unwrap(),
            version: 1,
            bytes: vec![0; bytes],
        }
    }

    #[test]
    fn a_voter_that_withholds_the_directory_does_not_fill_the_memory() {
        type Fill = fn(&mut TooEarly, usize);
        let mut early = TooEarly::default();
        for _ in 0..8 {
            early.keep_update(update(1, 1_000));
        }
        assert!(!early.has_dropped && early.updates.len() == 8);
        // One that is too large, and small ones afterwards, which alone would have gaps.
        early.keep_update(update(5, 1024 * 1024));
        assert!(early.has_dropped && early.updates.is_empty());
        early.keep_update(update(1, 10));
        early.keep_shard(shard(1, 10));
        assert!(early.updates.is_empty() && early.shards.is_empty() && early.bytes == 0);

        let fills: [(&str, Fill); 4] = [
            ("updates", |early, _| early.keep_update(update(10_000, 0))),
            ("many updates", |early, _| early.keep_update(update(0, 0))),
            ("shards", |early, n| early.keep_shard(shard(n, 100_000))),
            ("many shards", |early, n| early.keep_shard(shard(n, 1))),
        ];
        for (name, fill) in fills {
            let mut early = TooEarly::default();
            for n in 0..300 {
                fill(&mut early, n);
                assert!(early.bytes <= EARLY_BYTES_MAX, "{name}");
            }
            assert!(early.has_dropped, "{name}: what was dropped is asked for again");
        }
    }

    #[test]
    fn a_shard_that_is_sent_again_waits_once() {
        let mut early = TooEarly::default();
        for _ in 0..300 {
            early.keep_shard(shard(1, 100_000));
        }
        assert!(!early.has_dropped);
        assert_eq!(early.shards.len(), 1);
    }
}
