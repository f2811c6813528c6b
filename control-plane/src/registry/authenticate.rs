//! Who asks: the check that every administrator's command passes, at the voter that receives it and, what counts, on
//! every voter that applies it.

use std::time::Duration;

use remit_common::identity::{Administrator, RequestRefused, SignedRequest, Verb};
use remit_common::revocation::Revocation;
use remit_common::time::Timestamp;

use super::refusal::{Refusal, RefusalKind};
use super::relations;
use super::revocations::refused as revocation_refused;
use super::state::State;

/// How far an administrator's clock may be ahead of the leader's.
const CREATED_AHEAD_MAX: Duration = Duration::from_secs(5);

/// What an administrator can ask for. Method and path are signed, so they name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `POST /v1/bundles`.
    PublishBundle,
    /// `POST /v1/credentials`.
    SealCredential,
    /// `POST /v1/revocations`.
    Revoke,
    /// `POST /v1/envelopes`.
    IssueEnvelope,
    /// `POST /v1/trust`.
    InstallTrust,
    /// `POST /v1/voters`.
    ChangeVoters,
    /// `POST /v1/relations`.
    WriteRelations,
    /// `POST /v1/rollouts`.
    ChangeRollout,
    /// `POST /v1/rollbacks`.
    RollBack,
    /// `POST /v1/join-tokens`.
    ChangeTokens,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 10] = [
        Self::PublishBundle,
        Self::SealCredential,
        Self::Revoke,
        Self::IssueEnvelope,
        Self::InstallTrust,
        Self::ChangeVoters,
        Self::WriteRelations,
        Self::ChangeRollout,
        Self::RollBack,
        Self::ChangeTokens,
    ];

    /// Where it is posted.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::PublishBundle => "/v1/bundles",
            Self::SealCredential => "/v1/credentials",
            Self::Revoke => remit_common::revocation::REVOCATIONS_PATH,
            Self::IssueEnvelope => "/v1/envelopes",
            Self::InstallTrust => "/v1/trust",
            Self::ChangeVoters => "/v1/voters",
            Self::WriteRelations => "/v1/relations",
            Self::ChangeRollout => "/v1/rollouts",
            Self::RollBack => "/v1/rollbacks",
            Self::ChangeTokens => "/v1/join-tokens",
        }
    }

    /// What the directory must list for it; nothing where a bundle says who may.
    #[must_use]
    pub fn verb(self) -> Option<Verb> {
        match self {
            Self::PublishBundle | Self::ChangeRollout | Self::RollBack => Some(Verb::PublishBundle),
            Self::SealCredential => Some(Verb::SealCredential),
            Self::Revoke => Some(Verb::Revoke),
            Self::IssueEnvelope => Some(Verb::IssueEnvelope),
            Self::InstallTrust => Some(Verb::InstallTrust),
            Self::ChangeVoters => Some(Verb::ChangeVoters),
            Self::ChangeTokens => Some(Verb::EnrolEdge),
            Self::WriteRelations => None,
        }
    }

    fn of(request: &SignedRequest) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| request.method == "POST" && request.path == operation.path())
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// An administrator, as the directory lists them now.
    Administrator(Administrator),
    /// A holder or an issuer, who cuts what is theirs.
    Cutter(Box<Revocation>),
    /// Somebody whom a tenant's active bundle lets write relations.
    Writer,
}

/// Clause C-53: an administrator of the directory signed this, for this mesh, in this window, for the first time, and
/// may ask for it in some tenant. Somebody whom the directory does not list as one can cut what is theirs (clauses T-50
/// to T-53), and whom a tenant's active bundle names as a writer can write its relations (clause C-81), and nothing else.
///
/// # Errors
/// [`Refusal`] names the first rule that stands against it.
pub fn authenticate(state: &State, request: &SignedRequest, at: Timestamp) -> Result<(Operation, Requester), Refusal> {
    let unauthenticated = |reason, detail: &dyn std::fmt::Display| -> Refusal {
        Refusal::new(RefusalKind::Unauthenticated, reason, detail)
    };
    let operation = Operation::of(request)
        .ok_or_else(|| Refusal::malformed(format_args!("no operation `{} {}`", request.method, request.path)))?;
    let trust = state.trust()?;
    if operation != Operation::InstallTrust {
        // An expired directory can still be replaced, by a command and by nothing else.
        trust.check_time(at)?;
    }
    let requester = match trust.directory.administrator(&request.key) {
        _ if operation == Operation::WriteRelations => {
            let key = relations::writer(state, &request.key)
                .ok_or_else(|| unauthenticated("not_a_writer", &relations::unlisted(&request.key)))?;
            request.verify(&state.genesis.mesh, key).map_err(|refused| request_refused(&refused))?;
            Requester::Writer
        }
        Some(administrator) => {
            request.verify(&state.genesis.mesh, &administrator.key).map_err(|refused| request_refused(&refused))?;
            Requester::Administrator(administrator.clone())
        }
        None if operation == Operation::Revoke => {
            let entry = Revocation::from_request(state.applied, request.clone(), &trust.directory.authorities());
            Requester::Cutter(Box::new(entry.map_err(|refused| revocation_refused(&refused))?))
        }
        None => {
            let detail = format_args!("key {} is not an administrator's", request.key);
            return Err(unauthenticated("unknown_administrator", &detail));
        }
    };
    check_window(request, at).map_err(|(reason, detail)| unauthenticated(reason, &detail))?;
    if state.spent_nonces.contains_key(&(request.key, request.nonce.clone())) {
        return Err(unauthenticated("replayed", &"this request has been carried out or refused already"));
    }
    match &requester {
        Requester::Administrator(administrator) => {
            let verb = operation.verb().map_or(Ok(()), |verb| administrator.check_anywhere(verb, at));
            verb.map_err(|error| not_permitted(&error))?;
        }
        Requester::Cutter(entry) => check_room(state, entry)?,
        Requester::Writer => relations::check_requests(state, &request.key)?,
    }
    Ok((operation, requester))
}

/// Nothing without room gets into the log: there are more holders than administrators. What is in force already takes
/// no room in the set, but its request does among those that live (clause T-55).
fn check_room(state: &State, entry: &Revocation) -> Result<(), Refusal> {
    if state.revocations.in_force(entry).is_none() {
        state.revocations.check_room(entry).map_err(|error| revocation_refused(&error))?;
    }
    state.check_room_for_others("an administrator can still cut this")
}

/// The length of the window is a matter of the request's form, which its verification has checked.
fn check_window(request: &SignedRequest, at: Timestamp) -> Result<(), (&'static str, &'static str)> {
    let (created, expires) = (Timestamp::from_secs(request.created), Timestamp::from_secs(request.expires));
    if created > at.plus(CREATED_AHEAD_MAX) {
        return Err(("not_yet_valid", "the request was signed in the future"));
    }
    if expires <= at {
        return Err(("expired", "the request has expired"));
    }
    Ok(())
}

pub(crate) fn request_refused(refused: &RequestRefused) -> Refusal {
    let kind = match refused {
        RequestRefused::HeaderRepeated { .. }
        | RequestRefused::HeaderMalformed { .. }
        | RequestRefused::Malformed { .. } => RefusalKind::Malformed,
        RequestRefused::HeaderMissing { .. }
        | RequestRefused::WrongMesh
        | RequestRefused::ContentDigest
        | RequestRefused::WrongKey
        | RequestRefused::Signature
        | RequestRefused::NotYetValid
        | RequestRefused::Expired => RefusalKind::Unauthenticated,
    };
    Refusal::new(kind, refused.reason_code(), refused)
}

pub(super) fn not_permitted(error: &remit_common::identity::NotPermitted) -> Refusal {
    use remit_common::identity::NotPermitted as N;
    let kind = match error {
        N::Unknown { .. } | N::Expired { .. } => RefusalKind::Unauthenticated,
        N::Tenant { .. } | N::Verb { .. } => RefusalKind::Forbidden,
    };
    Refusal::new(kind, error.reason_code(), error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use remit_common::crypto::digest::Digest;
    use remit_common::crypto::sign::SigningKey;
    use remit_common::id::{LogIndex, MeshId, RevocationEpoch};
    use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH};

    use super::*;
    use crate::registry::Applied;
    use crate::registry::state::{Genesis, SPENT_NONCES_MAX, Spent};

    /// Clause T-55.
    #[test]
    fn a_stolen_edge_that_repeats_a_cut_in_force_leaves_administrators_their_room() {
        let mesh = MeshId([7; 16]);
        let key = SigningKey::from_seed([1; 32].into()).unwrap();
        let cut = Cut { tenant: "acme".parse().unwrap(), kind: CutKind::Link, id: "ab".repeat(32) };
        let request = SignedRequest::sign(&mesh, &key, "POST", REVOCATIONS_PATH, cut.to_body(), 10, 20, [1; 16]);
        let until = Timestamp::from_secs(20);
        let entry = Revocation { cut, until, index: LogIndex(1), request };
        let mut state = State::new(Genesis { mesh, root: Digest([0; 32]) });
        Arc::make_mut(&mut state.revocations).cut(entry.clone()).unwrap();
        assert!(state.revocations.in_force(&entry).is_some());
        let mut taken = 0;
        while check_room(&state, &entry).is_ok() && taken < SPENT_NONCES_MAX {
            for _ in 0..SPENT_NONCES_MAX / 4 {
                let outcome = Applied::Revoked { epoch: RevocationEpoch(1), until };
                let spent = Spent { expires: until, index: LogIndex(2), outcome };
                state.spend_nonce(key.public().id(), taken.to_string(), spent);
                taken += 1;
            }
        }
        assert_eq!(taken, SPENT_NONCES_MAX / 2);
        assert_eq!(check_room(&state, &entry).unwrap_err().reason, "too_many_requests");
        assert!(state.make_room_for_nonce().is_ok(), "an administrator's request still has room");
    }
}
