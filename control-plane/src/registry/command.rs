//! The entries of the log.

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, TenantId};
use remit_common::identity::SignedRequest;
use remit_common::limits::ADMIN_BODY_BYTES_MAX;
use remit_common::time::Timestamp;
use remit_common::trust::tick::TickRoots;
use serde::{Deserialize, Serialize};

use super::enrolment::EnrolRequest;
use super::rollouts::RolloutStep;
use super::trust::TrustDocuments;
use crate::entry::{self, Kind};

/// One entry, version 1. The order of the variants and of their fields is the format (Clause C-50): append only.
///
/// `received_at` and `at` are what the voters' clocks show, as the leader knows it (Clause C-52). The registry's clock
/// is the highest of them so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// What an administrator signed, whole.
    Admin {
        /// The request and its signature.
        request: SignedRequest,
        /// When the leader received it.
        received_at: Timestamp,
    },
    /// Roots and a directory. They carry their own roles' signatures, so that it does not matter who proposes them.
    InstallTrust {
        /// The documents.
        documents: TrustDocuments,
        /// When the leader proposed it.
        at: Timestamp,
    },
    /// The roots of the nonces that the voters have received.
    Tick {
        /// Per voter.
        roots: TickRoots,
        /// When the leader proposed it.
        at: Timestamp,
    },
    /// Lets go of revocations that have ended.
    ExpireRevocations {
        /// When the leader proposed it.
        at: Timestamp,
    },
    /// A bundle that an administrator signed and nobody approved, with what it was compared with (Clause C-95).
    Publish {
        /// The request and its signature.
        request: SignedRequest,
        /// When the leader received it.
        received_at: Timestamp,
        /// The manifest of the bundle that was active when the leader compared; `None` where there was none.
        base: Option<Digest>,
    },
    /// What is next in a rollout, by what the edges have reported (Clauses O-8 and O-9).
    StepRollout {
        /// Whose.
        tenant: TenantId,
        /// The rollout that the leader looked at.
        rollout: LogIndex,
        /// Its wave then.
        wave: u32,
        /// What is next.
        step: RolloutStep,
        /// When the leader proposed it.
        at: Timestamp,
    },
    /// A certificate for an edge (clauses J-11 to J-15).
    Enrol {
        /// What the edge asks for; a voter has checked its claim.
        request: EnrolRequest,
        /// Seconds for which the certificate is to count.
        life_secs: u32,
        /// When the leader proposed it.
        at: Timestamp,
    },
}

/// Bytes of one command: the largest signed request, and its frame.
const COMMAND_BYTES_MAX: usize = ADMIN_BODY_BYTES_MAX + 64 * 1024;

impl Command {
    /// The entry for the log.
    #[must_use]
    pub fn to_entry(&self) -> Vec<u8> {
        entry::encode(Kind::Command, self)
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// [`entry::Malformed`] when it is none of this version.
    pub fn from_entry(bytes: &[u8]) -> Result<Self, entry::Malformed> {
        entry::decode::<COMMAND_BYTES_MAX, _>(Kind::Command, bytes)
    }
}
