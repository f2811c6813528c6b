//! One command at a time, on every voter the same.

use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleName, BundleVersion, CredentialId, EdgeId, LogIndex, RevocationEpoch, TenantId, VoterId};
use remit_common::identity::{Administrator, SignedRequest};
use remit_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::authenticate::{Operation, Requester, authenticate};
use super::command::Command;
use super::refusal::Refusal;
use super::rollouts::RolloutStatus;
use super::state::{Spent, State};
use super::{bundles, credentials, enrolment, envelopes, relations, revocations, rollouts, ticks, trust, voters};

/// What a command did: the proposer's answer. It stays out of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Nothing, and why.
    Refused(Refusal),
    /// Root and directory are these now.
    Trust {
        /// The root's version.
        root: u64,
        /// The directory's version.
        directory: u64,
    },
    /// The bundle is stored and active.
    Bundle {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: BundleName,
        /// Its version.
        version: BundleVersion,
        /// The digest of its manifest.
        digest: Digest,
        /// The number of its activation.
        number: LogIndex,
    },
    /// The shards are stored.
    Credential {
        /// Whose.
        tenant: TenantId,
        /// Which.
        credential: CredentialId,
        /// Its version.
        version: u64,
        /// For which edges.
        edges: Vec<EdgeId>,
    },
    /// The cut holds.
    Revoked {
        /// The epoch that it made.
        epoch: RevocationEpoch,
        /// Until when.
        until: Timestamp,
    },
    /// The issuers may sign this root.
    Envelope {
        /// Whose.
        tenant: TenantId,
        /// What names it: the digest of the command's signature base.
        evidence: Digest,
    },
    /// The tick is this entry.
    Tick,
    /// Ended revocations are gone.
    Expired {
        /// How many.
        count: u64,
        /// The epoch, raised if any were.
        epoch: RevocationEpoch,
    },
    /// Who is to vote is written down; the leader sees to it.
    VoterPlan {
        /// Whom it concerns.
        id: VoterId,
        /// Whether it is to vote.
        votes: bool,
    },
    /// The leader is to hand over.
    HandOver {
        /// To whom, if anybody was named.
        to: Option<VoterId>,
    },
    /// The relations have changed.
    Relations {
        /// Whose.
        tenant: TenantId,
        /// The revision that this made.
        revision: u64,
        /// The digest of the batch.
        digest: Digest,
        /// Tuples that the batch states.
        added: u64,
        /// Tuples that it took away.
        removed: u64,
        /// Tuples that hold now.
        tuples: u64,
    },
    /// A rollout has begun, gone on, or come to its end.
    Rollout {
        /// Whose.
        tenant: TenantId,
        /// The entry that began it.
        rollout: LogIndex,
        /// The version of the bundle.
        version: BundleVersion,
        /// The digest of its manifest.
        digest: Digest,
        /// Which wave it has come to, from 0.
        wave: u32,
        /// Where it stands.
        status: RolloutStatus,
    },
    /// A join token was made, or taken back.
    JoinToken {
        /// Which: SHA-256 of its public key.
        token: Digest,
        /// Until when it counts; `None` when it was taken back.
        expires: Option<Timestamp>,
    },
    /// An edge is to have a certificate.
    Certificate {
        /// Which edge.
        edge: EdgeId,
        /// The certificate's serial number: this entry, or the earlier one that this one asks for again.
        index: LogIndex,
    },
}

impl Applied {
    /// A word out of a fixed set, for metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Trust { .. } => "trust",
            Self::Bundle { .. } => "bundle",
            Self::Credential { .. } => "credential",
            Self::Revoked { .. } => "revoked",
            Self::Envelope { .. } => "envelope",
            Self::Tick => "tick",
            Self::Expired { .. } => "expired",
            Self::VoterPlan { .. } => "voter-plan",
            Self::HandOver { .. } => "hand-over",
            Self::Relations { .. } => "relations",
            Self::Rollout { .. } => "rollout",
            Self::JoinToken { .. } => "join-token",
            Self::Certificate { .. } => "certificate",
        }
    }
}

/// Applies one command. Pure, and it never fails: what makes no sense changes nothing but the clock and, if an
/// administrator signed it, the set of spent nonces.
pub fn apply(state: &mut State, index: LogIndex, command: Command) -> Applied {
    state.applied = index;
    let outcome = match command {
        Command::Admin { request, received_at } => {
            state.advance(received_at);
            admin(state, index, request, None)
        }
        Command::Publish { request, received_at, base } => {
            state.advance(received_at);
            admin(state, index, request, Some(base))
        }
        Command::InstallTrust { documents, at } => {
            state.advance(at);
            trust::install(state, index, &documents)
        }
        Command::Tick { roots, at } => {
            state.advance(at);
            ticks::tick(state, index, roots)
        }
        Command::ExpireRevocations { at } => {
            state.advance(at);
            Ok(revocations::expire(state, index))
        }
        Command::StepRollout { tenant, rollout, wave, step, at } => {
            state.advance(at);
            rollouts::step(state, index, &tenant, (rollout, wave), step)
        }
        Command::Enrol { request, life_secs, at } => {
            state.advance(at);
            enrolment::enrol(state, index, request, life_secs)
        }
    };
    outcome.unwrap_or_else(Applied::Refused)
}

/// Who asked is settled here, for every operation alike. Whether they may ask it in this tenant is a question that
/// only the body answers, so each operation asks it itself, before it looks at anything else.
fn admin(
    state: &mut State,
    index: LogIndex,
    request: SignedRequest,
    compared: Option<Option<Digest>>,
) -> Result<Applied, Refusal> {
    let (operation, requester) = authenticate(state, &request, state.clock)?;
    state.make_room_for_nonce()?;
    let (key, nonce, expires) = (request.key, request.nonce.clone(), Timestamp::from_secs(request.expires));
    let outcome = match (operation, requester) {
        (_, Requester::Writer) => relations::write(state, &request),
        (Operation::Revoke, _) | (_, Requester::Cutter(_)) => revocations::revoke(state, index, request),
        (operation, Requester::Administrator(administrator)) => {
            administer(state, index, operation, (&administrator, &request), compared)
        }
    };
    let outcome = outcome.unwrap_or_else(Applied::Refused);
    state.spend_nonce(key, nonce, Spent { expires, index, outcome: outcome.clone() });
    Ok(outcome)
}

fn administer(
    state: &mut State,
    index: LogIndex,
    operation: Operation,
    (administrator, request): (&Administrator, &SignedRequest),
    compared: Option<Option<Digest>>,
) -> Result<Applied, Refusal> {
    match operation {
        Operation::PublishBundle => bundles::publish(state, index, administrator, request, compared),
        Operation::SealCredential => credentials::seal(state, index, administrator, request),
        Operation::Revoke => revocations::revoke(state, index, request.clone()),
        Operation::IssueEnvelope => envelopes::commission(state, index, administrator, request),
        Operation::InstallTrust => trust::install_signed(state, index, administrator, request),
        Operation::ChangeVoters => voters::change(state, index, administrator, request),
        Operation::WriteRelations => relations::write(state, request),
        Operation::ChangeRollout => rollouts::change(state, index, administrator, request),
        Operation::ChangeTokens => enrolment::change(state, index, administrator, request),
        Operation::RollBack => rollouts::roll_back(state, index, administrator, request),
    }
}
