//! What the voters agree on.
//!
//! Tables stand behind [`Arc`]s: a reader takes the whole state as of one entry for the price of a dozen counters,
//! and an entry copies only the tables that it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, EdgeId, KeyId, LogIndex, MeshId, RevocationEpoch, TenantId};
use remit_common::identity::SignedRequest;
use remit_common::relation_log::{Head, RelationLog};
use remit_common::revocation::Revocations;
use remit_common::time::Timestamp;
use remit_common::trust::activation::Activation;
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::bundles::{ActiveBundle, StoredBundle};
use super::credentials::Credential;
use super::enrolment::Enrolment;
use super::envelopes::Commission;
use super::refusal::{Refusal, RefusalKind};
use super::rollouts::Rollout;
use super::ticks::TickFact;
use super::trust::Trust;
use super::voters::{Seats, VoterPlan};
use remit_common::bundle::HighWater;

/// What every voter of a mesh was installed with. Two voters with different ones never agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The mesh.
    pub mesh: MeshId,
    /// The digest of the first root.
    pub root: Digest,
}

/// How a revocation epoch came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochFact {
    /// The entry that made it.
    pub index: LogIndex,
    /// The leader's clock when it proposed that entry; the commit was later.
    pub at: Timestamp,
    /// Whose authority was cut; `None` when revocations ended.
    pub tenant: Option<TenantId>,
    /// The digest of the revocations at this epoch: an edge's ack must name it.
    pub digest: Digest,
}

/// What became of an administrator's request, kept until the request expires: whoever sent it and lost the answer can
/// still be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Until when the request could be replayed.
    pub expires: Timestamp,
    /// The entry.
    pub index: LogIndex,
    /// What it did.
    pub outcome: Applied,
}

/// Signed requests live five minutes; this many an hour is 200 a second.
pub(super) const SPENT_NONCES_MAX: usize = 65_536;

/// Epochs whose origin is remembered, for coverage. Older ones are covered or gone.
const EPOCH_FACTS_MAX: usize = 1_024;

/// The state as of one entry. Cloning is cheap.
///
/// Of the mesh, not of a tenant, are by their names: `genesis`, `applied`, `clock`, `trust`, `spent_nonces` (keyed by
/// administrator), `epochs`, `tick`, `plan`, `seats` and `enrolment`. Everything else is keyed by the tenant first.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) genesis: Genesis,
    pub(super) applied: LogIndex,
    pub(super) clock: Timestamp,
    pub(super) trust: Option<Arc<Trust>>,
    pub(super) spent_nonces: Arc<BTreeMap<(KeyId, String), Spent>>,
    pub(super) epochs: Arc<BTreeMap<RevocationEpoch, EpochFact>>,
    pub(super) tick: Option<TickFact>,
    pub(super) plan: Option<VoterPlan>,
    // The log's own word, kept beside the state: see `Machine::members`.
    pub(super) seats: Seats,
    pub(super) enrolment: Arc<Enrolment>,

    pub(super) bundles: Arc<BTreeMap<(TenantId, Digest), Arc<StoredBundle>>>,
    pub(super) activations: Arc<BTreeMap<(TenantId, u32), Activation>>,
    pub(super) high_water: Arc<BTreeMap<TenantId, HighWater>>,
    pub(super) credentials: Arc<BTreeMap<(TenantId, CredentialId), Credential>>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) commissions: Arc<BTreeMap<(TenantId, Digest), Commission>>,
    pub(super) relations: Arc<BTreeMap<TenantId, Arc<RelationLog>>>,
    /// The heads of the relations as of the newest tick.
    pub(super) tick_relations: Arc<BTreeMap<TenantId, Head>>,
    pub(super) rollouts: Arc<BTreeMap<(TenantId, LogIndex), Arc<Rollout>>>,

    // Derived from the above, kept because making it anew is dear.
    pub(super) active: Arc<BTreeMap<TenantId, Arc<ActiveBundle>>>,
    /// The bundles that are being rolled out, compiled.
    pub(super) candidates: Arc<BTreeMap<TenantId, Arc<ActiveBundle>>>,
    pub(super) revocations_digest: Digest,
    /// The edges that every tenant has cut.
    pub(super) evicted: Arc<BTreeSet<EdgeId>>,
}

impl State {
    /// The state before the first entry.
    #[must_use]
    pub fn new(genesis: Genesis) -> Self {
        let revocations = Revocations::new();
        Self {
            genesis,
            applied: LogIndex::default(),
            clock: Timestamp::default(),
            trust: None,
            spent_nonces: Arc::default(),
            epochs: Arc::default(),
            tick: None,
            plan: None,
            seats: Seats::default(),
            enrolment: Arc::default(),
            bundles: Arc::default(),
            activations: Arc::default(),
            high_water: Arc::default(),
            credentials: Arc::default(),
            revocations_digest: revocations.digest(),
            revocations: Arc::new(revocations),
            commissions: Arc::default(),
            relations: Arc::default(),
            tick_relations: Arc::default(),
            rollouts: Arc::default(),
            active: Arc::default(),
            candidates: Arc::default(),
            evicted: Arc::default(),
        }
    }

    /// What this mesh started from.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The registry's clock: the highest time that any entry carried.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        self.clock
    }

    /// Root and directory.
    ///
    /// # Errors
    /// [`Refusal`] `no_trust` before they are installed.
    pub fn trust(&self) -> Result<Arc<Trust>, Refusal> {
        let missing = || Refusal::new(RefusalKind::NotReady, "no_trust", "root and directory are not installed yet");
        self.trust.clone().ok_or_else(missing)
    }

    /// The newest tick.
    #[must_use]
    pub fn tick(&self) -> Option<&TickFact> {
        self.tick.as_ref()
    }

    /// The bundles that are kept, by tenant and manifest digest.
    #[must_use]
    pub fn bundles(&self) -> &Arc<BTreeMap<(TenantId, Digest), Arc<StoredBundle>>> {
        &self.bundles
    }

    /// What is current, by tenant and ring.
    #[must_use]
    pub fn activations(&self) -> &Arc<BTreeMap<(TenantId, u32), Activation>> {
        &self.activations
    }

    /// The bundle that a tenant's edges are to run, compiled.
    #[must_use]
    pub fn active(&self, tenant: &TenantId) -> Option<&Arc<ActiveBundle>> {
        self.active.get(tenant)
    }

    /// Every tenant's active bundle.
    pub fn all_active(&self) -> impl Iterator<Item = &Arc<ActiveBundle>> {
        self.active.values()
    }

    /// The sealed credentials, by tenant and name.
    #[must_use]
    pub fn credentials(&self) -> &Arc<BTreeMap<(TenantId, CredentialId), Credential>> {
        &self.credentials
    }

    /// The shards for one edge.
    pub fn shards_for<'a>(&'a self, edge: &'a EdgeId) -> impl Iterator<Item = &'a Arc<[u8]>> {
        self.credentials.values().filter_map(|credential| credential.shards.get(edge))
    }

    /// The relations, by tenant.
    #[must_use]
    pub fn relations(&self) -> &Arc<BTreeMap<TenantId, Arc<RelationLog>>> {
        &self.relations
    }

    /// The newest batch of each tenant's relations, as of the newest tick.
    #[must_use]
    pub fn tick_relations(&self) -> &Arc<BTreeMap<TenantId, Head>> {
        &self.tick_relations
    }

    /// The revocations.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Their digest.
    #[must_use]
    pub fn revocations_digest(&self) -> &Digest {
        &self.revocations_digest
    }

    /// How an epoch came about; `None` when it is too old, or still to come.
    #[must_use]
    pub fn epoch(&self, epoch: RevocationEpoch) -> Option<&EpochFact> {
        self.epochs.get(&epoch)
    }

    /// What became of a request whose nonce is spent, while the request lives.
    #[must_use]
    pub fn outcome_of(&self, request: &SignedRequest) -> Option<&Spent> {
        self.spent_nonces.get(&(request.key, request.nonce.clone()))
    }

    /// The root that issuers may sign for a command.
    #[must_use]
    pub fn commission(&self, tenant: &TenantId, evidence: &Digest) -> Option<&Commission> {
        self.commissions.get(&(tenant.clone(), *evidence))
    }

    pub(super) fn advance(&mut self, to: Timestamp) {
        self.clock = self.clock.max(to);
    }

    /// Clause C-54: a request counts once, whether it was carried out or refused.
    pub(super) fn make_room_for_nonce(&mut self) -> Result<(), Refusal> {
        let clock = self.clock;
        let spent_nonces = Arc::make_mut(&mut self.spent_nonces);
        spent_nonces.retain(|_, spent| spent.expires > clock);
        if spent_nonces.len() >= SPENT_NONCES_MAX {
            let detail = "too many requests in five minutes";
            return Err(Refusal::new(RefusalKind::Full, "too_many_requests", detail));
        }
        Ok(())
    }

    /// The requests whose nonces still count.
    pub(super) fn live_nonces(&self) -> impl Iterator<Item = (&(KeyId, String), &Spent)> {
        self.spent_nonces.iter().filter(|(_, spent)| spent.expires > self.clock)
    }

    /// Who is no administrator waits while half of the room is taken: the other half is the administrators'.
    pub(super) fn check_room_for_others(&self, consolation: &str) -> Result<(), Refusal> {
        let live = self.spent_nonces.values().filter(|spent| spent.expires > self.clock).count();
        if live >= SPENT_NONCES_MAX / 2 {
            let detail = format_args!("too many requests in five minutes; {consolation}");
            return Err(Refusal::new(RefusalKind::Full, "too_many_requests", detail));
        }
        Ok(())
    }

    pub(super) fn spend_nonce(&mut self, key: KeyId, nonce: String, spent: Spent) {
        Arc::make_mut(&mut self.spent_nonces).insert((key, nonce), spent);
    }

    pub(super) fn note_epoch(&mut self, index: LogIndex, tenant: Option<TenantId>) {
        let digest = self.revocations.digest();
        self.revocations_digest = digest;
        let fact = EpochFact { index, at: self.clock, tenant, digest };
        self.find_evicted();
        let epochs = Arc::make_mut(&mut self.epochs);
        epochs.insert(self.revocations.epoch(), fact);
        while epochs.len() > EPOCH_FACTS_MAX {
            epochs.pop_first();
        }
    }
}
