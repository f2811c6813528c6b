//! The whole state as bytes.
//!
//! Documents, bundles and shards stand in a snapshot as they were signed, and are verified again when it is read, each
//! as of the moment at which the log took it. What is derived from them is derived anew. Clauses C-70 to C-72.

use std::sync::Arc;

use remit_common::bundle::HighWater;
use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, KeyId, LogIndex, RevocationEpoch, TenantId};
use remit_common::planted::{Bug, planted};
use remit_common::relation_log::{Head, RelationLog};
use remit_common::revocation::Revocations;
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, RING_ALL, RING_STAGED};
use serde::{Deserialize, Serialize};

use super::bundles;
use super::credentials::Credential;
use super::enrolment::Enrolment;
use super::envelopes::Commission;
use super::rollouts::Rollout;
use super::state::{EpochFact, Genesis, Spent, State};
use super::ticks::TickFact;
use super::trust::{Accepted, Trust};
use super::voters::VoterPlan;
use crate::entry::{self, Kind};

/// Bytes of a snapshot. Eight bundles of 8 MiB for each of a dozen tenants, and a hundred thousand revocations.
const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A snapshot is not one of ours, or of another mesh.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotUnusable {
    /// Not a snapshot of this version.
    #[error("not a registry snapshot")]
    Malformed(#[from] entry::Malformed),
    /// Of a mesh that started from something else.
    #[error("the snapshot is of another mesh")]
    OtherGenesis,
    /// A document in it does not verify any more.
    #[error("a trust document does not verify")]
    Trust(#[from] remit_common::trust::root::TrustRefused),
    /// A bundle in it does not verify or compile any more.
    #[error("the active bundle of tenant `{tenant}` is unusable")]
    Bundle {
        /// Whose.
        tenant: TenantId,
        /// Why.
        #[source]
        source: remit_common::bundle::BundleRejected,
    },
    /// The rollouts in it cannot be read.
    #[error("the rollouts are unusable")]
    Rollouts,
    /// The join tokens and certificates in it cannot be read.
    #[error("the join tokens and certificates are unusable")]
    Enrolment,
    /// The relations in it do not follow on each other.
    #[error("the relations of tenant `{tenant}` are unusable")]
    Relations {
        /// Whose.
        tenant: TenantId,
        /// Why.
        #[source]
        source: remit_common::relation_log::BatchRefused,
    },
}

/// Version 5: the fourth, and the join tokens and certificates. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct SnapshotV5 {
    fourth: SnapshotV4,
    /// As JSON; nothing where there are none.
    enrolment: Vec<u8>,
}

/// Version 4: the third, and the rollouts. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct SnapshotV4 {
    third: SnapshotV3,
    /// As JSON, whose shape does not hang on the order of fields.
    rollouts: Vec<Vec<u8>>,
}

/// Version 3: the second, and the relations. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct SnapshotV3 {
    second: SnapshotV2,
    relations: Vec<(TenantId, Vec<Vec<u8>>)>,
    tick_relations: Vec<(TenantId, Head)>,
}

/// Version 2: the first, and what is under way with the voters. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct SnapshotV2 {
    first: SnapshotV1,
    plan: Option<VoterPlan>,
}

/// Version 1. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct SnapshotV1 {
    genesis: Genesis,
    applied: LogIndex,
    clock: Timestamp,
    trust: Option<(Vec<Accepted>, Accepted)>,
    spent_nonces: Vec<(KeyId, String, Spent)>,
    epochs: Vec<(RevocationEpoch, EpochFact)>,
    tick: Option<TickFact>,
    bundles: Vec<(TenantId, LogIndex, Timestamp, Vec<u8>)>,
    activations: Vec<Activation>,
    high_water: Vec<(TenantId, HighWater)>,
    credentials: Vec<(TenantId, CredentialId, Credential)>,
    revocations: Revocations,
    commissions: Vec<(TenantId, Digest, Commission)>,
}

impl State {
    /// The state as bytes: equal states give equal bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        let Self {
            genesis,
            applied,
            clock,
            trust,
            spent_nonces,
            epochs,
            tick,
            plan,
            seats: _,
            enrolment,
            bundles,
            activations,
            high_water,
            credentials,
            revocations,
            commissions,
            relations,
            tick_relations,
            rollouts,
            candidates: _,
            active: _,
            revocations_digest: _,
            evicted: _,
        } = self;
        let first = SnapshotV1 {
            genesis: genesis.clone(),
            applied: *applied,
            clock: *clock,
            trust: trust.as_ref().map(|trust| (trust.root_chain.clone(), trust.signed_directory.clone())),
            spent_nonces: spent_nonces
                .iter()
                .map(|((key, nonce), spent)| (*key, nonce.clone(), spent.clone()))
                .collect(),
            epochs: epochs.iter().map(|(epoch, fact)| (*epoch, fact.clone())).collect(),
            tick: tick.clone(),
            bundles: bundles
                .iter()
                .map(|((tenant, _), bundle)| (tenant.clone(), bundle.index, bundle.accepted_at, bundle.to_kept()))
                .collect(),
            activations: activations.values().cloned().collect(),
            high_water: high_water.iter().map(|(tenant, high)| (tenant.clone(), high.clone())).collect(),
            credentials: credentials
                .iter()
                .map(|((tenant, name), credential)| (tenant.clone(), name.clone(), credential.clone()))
                .collect(),
            revocations: if planted(Bug::SnapshotDropsRevocations) {
                Revocations::new()
            } else {
                Revocations::clone(revocations)
            },
            commissions: commissions
                .iter()
                .map(|((tenant, evidence), commission)| (tenant.clone(), *evidence, commission.clone()))
                .collect(),
        };
        let batches = |log: &RelationLog| log.kept().iter().map(|kept| kept.bytes.to_vec()).collect();
        let third = SnapshotV3 {
            second: SnapshotV2 { first, plan: *plan },
            relations: relations.iter().map(|(tenant, log)| (tenant.clone(), batches(log))).collect(),
            tick_relations: tick_relations.iter().map(|(tenant, head)| (tenant.clone(), *head)).collect(),
        };
        // INVARIANT: numbers, texts and lists always serialise.
        let rollouts = rollouts.values().filter_map(|rollout| serde_json::to_vec(&**rollout).ok()).collect();
        let enrolment =
            if enrolment.is_empty() { Vec::new() } else { serde_json::to_vec(&**enrolment).unwrap_or_default() };
        entry::encode(Kind::Snapshot, &SnapshotV5 { fourth: SnapshotV4 { third, rollouts }, enrolment })
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// [`SnapshotUnusable`].
    pub fn from_snapshot(genesis: &Genesis, bytes: &[u8]) -> Result<Self, SnapshotUnusable> {
        let fourth = |fourth| SnapshotV5 { fourth, enrolment: Vec::new() };
        let third = |third| fourth(SnapshotV4 { third, rollouts: Vec::new() });
        let before = |second| third(SnapshotV3 { second, relations: Vec::new(), tick_relations: Vec::new() });
        let SnapshotV5 { fourth: SnapshotV4 { third, rollouts }, enrolment } = match entry::version_of(bytes) {
            Some(1) => {
                let first = entry::decode_version::<SNAPSHOT_BYTES_MAX, _>(Kind::Snapshot, 1, bytes)?;
                before(SnapshotV2 { first, plan: None })
            }
            Some(2) => before(entry::decode_version::<SNAPSHOT_BYTES_MAX, _>(Kind::Snapshot, 2, bytes)?),
            Some(3) => third(entry::decode_version::<SNAPSHOT_BYTES_MAX, _>(Kind::Snapshot, 3, bytes)?),
            Some(4) => fourth(entry::decode_version::<SNAPSHOT_BYTES_MAX, _>(Kind::Snapshot, 4, bytes)?),
            _ => entry::decode::<SNAPSHOT_BYTES_MAX, _>(Kind::Snapshot, bytes)?,
        };
        let SnapshotV3 { second, relations, tick_relations } = third;
        let SnapshotV2 { first: snapshot, plan } = second;
        if snapshot.genesis != *genesis {
            return Err(SnapshotUnusable::OtherGenesis);
        }
        let mut state = Self::new(snapshot.genesis);
        state.applied = snapshot.applied;
        state.clock = snapshot.clock;
        if let Some((root_chain, directory)) = snapshot.trust {
            state.trust = Some(Arc::new(Trust::restore(&state, root_chain, directory)?));
        }
        state.spent_nonces =
            Arc::new(snapshot.spent_nonces.into_iter().map(|(key, nonce, spent)| ((key, nonce), spent)).collect());
        state.epochs = Arc::new(snapshot.epochs.into_iter().collect());
        state.tick = snapshot.tick;
        state.plan = plan;
        state.activations =
            Arc::new(snapshot.activations.into_iter().map(|fact| ((fact.tenant.clone(), fact.ring), fact)).collect());
        state.high_water = Arc::new(snapshot.high_water.into_iter().collect());
        state.credentials =
            Arc::new(snapshot.credentials.into_iter().map(|(tenant, name, value)| ((tenant, name), value)).collect());
        state.revocations_digest = snapshot.revocations.digest();
        state.revocations = Arc::new(snapshot.revocations);
        state.commissions = Arc::new(
            snapshot.commissions.into_iter().map(|(tenant, evidence, value)| ((tenant, evidence), value)).collect(),
        );
        state.restore_bundles(snapshot.bundles)?;
        state.restore_relations(relations)?;
        state.tick_relations = Arc::new(tick_relations.into_iter().collect());
        let rollouts: Result<Vec<Rollout>, _> = rollouts.iter().map(|json| serde_json::from_slice(json)).collect();
        let rollouts = rollouts.map_err(|_| SnapshotUnusable::Rollouts)?.into_iter();
        state.rollouts =
            Arc::new(rollouts.map(|rollout| ((rollout.tenant.clone(), rollout.id), Arc::new(rollout))).collect());
        if !enrolment.is_empty() {
            let enrolment: Enrolment = serde_json::from_slice(&enrolment).map_err(|_| SnapshotUnusable::Enrolment)?;
            state.enrolment = Arc::new(enrolment);
        }
        state.find_evicted();
        Ok(state)
    }

    /// The batches were verified when the log took them. Those whose writers are still named are verified again; what a
    /// writer signed that is named no more is kept for its numbers, and counts for nothing (C-84).
    fn restore_relations(&mut self, tenants: Vec<(TenantId, Vec<Vec<u8>>)>) -> Result<(), SnapshotUnusable> {
        let mesh = self.genesis.mesh;
        for (tenant, batches) in tenants {
            let writers = self.active.get(&tenant).map(|active| active.writers().clone()).unwrap_or_default();
            let log = RelationLog::restore(mesh, tenant.clone(), batches.iter().map(Vec::as_slice), &writers);
            let log = log.map_err(|source| SnapshotUnusable::Relations { tenant: tenant.clone(), source })?;
            Arc::make_mut(&mut self.relations).insert(tenant, Arc::new(log));
        }
        Ok(())
    }

    fn restore_bundles(
        &mut self,
        containers: Vec<(TenantId, LogIndex, Timestamp, Vec<u8>)>,
    ) -> Result<(), SnapshotUnusable> {
        let Some(trust) = self.trust.clone() else { return Ok(()) };
        for (tenant, index, accepted_at, kept) in containers {
            let named = |ring| self.activations.get(&(tenant.clone(), ring)).map(|fact| fact.manifest);
            let (active, staged) = (named(RING_ALL), named(RING_STAGED));
            let runs = |digest: &Digest| [active, staged].contains(&Some(*digest));
            let (digest, stored, compiled) =
                bundles::restore(&self.genesis, &trust, &tenant, &kept, index, accepted_at, runs)
                    .map_err(|source| SnapshotUnusable::Bundle { tenant: tenant.clone(), source })?;
            Arc::make_mut(&mut self.bundles).insert((tenant.clone(), digest), Arc::new(stored));
            if let Some(compiled) = compiled.map(Arc::new) {
                let table = if active == Some(digest) { &mut self.active } else { &mut self.candidates };
                Arc::make_mut(table).insert(tenant, compiled);
            }
        }
        Ok(())
    }
}
