//! Cuts, and the epoch that they raise.

use std::sync::Arc;

use remit_common::id::LogIndex;
use remit_common::identity::SignedRequest;
use remit_common::revocation::{Revocation, RevocationRefused};

use super::apply::Applied;
use super::authenticate::{not_permitted, request_refused};
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Clause C-60: the entry keeps what its requester signed, so that an edge can take it from anyone.
pub(super) fn revoke(state: &mut State, index: LogIndex, request: SignedRequest) -> Result<Applied, Refusal> {
    let trust = state.trust()?;
    let entry = Revocation::from_request(index, request, &trust.directory.authorities());
    let entry = entry.map_err(|error| refused(&error))?;
    let tenant = entry.cut.tenant.tenant().cloned();
    let until = state.revocations.in_force(&entry).unwrap_or(entry.until);
    let before = state.revocations.epoch();
    let epoch = Arc::make_mut(&mut state.revocations).cut(entry).map_err(|error| refused(&error))?;
    if epoch > before {
        state.note_epoch(index, tenant);
    }
    Ok(Applied::Revoked { epoch, until })
}

/// Clause C-61: nothing ends but by an entry, and the entry raises the epoch.
pub(super) fn expire(state: &mut State, index: LogIndex) -> Applied {
    let now = state.clock;
    let mut count = 0;
    if state.revocations.iter().any(|entry| entry.until <= now) {
        count = Arc::make_mut(&mut state.revocations).expire(now);
    }
    if count > 0 {
        state.note_epoch(index, None);
    }
    Applied::Expired { count: u64::try_from(count).unwrap_or(u64::MAX), epoch: state.revocations.epoch() }
}

pub(super) fn refused(error: &RevocationRefused) -> Refusal {
    match error {
        RevocationRefused::Malformed { .. } => Refusal::malformed(error),
        RevocationRefused::NotTheirs { .. } => Refusal::new(RefusalKind::Forbidden, error.reason_code(), error),
        RevocationRefused::ChainMalformed(why) => Refusal::new(RefusalKind::Malformed, error.reason_code(), why),
        RevocationRefused::Chain(why) => Refusal::new(RefusalKind::Unauthenticated, error.reason_code(), why),
        RevocationRefused::Ended => Refusal::new(RefusalKind::Conflict, "ended", error),
        RevocationRefused::Request(request) => request_refused(request),
        RevocationRefused::NotPermitted(error) => not_permitted(error),
        RevocationRefused::NotJoined { .. } => Refusal::new(RefusalKind::Forbidden, error.reason_code(), error),
        RevocationRefused::ForbidsFull { .. } => Refusal::new(RefusalKind::Full, error.reason_code(), error),
        RevocationRefused::Full { .. } => Refusal::new(RefusalKind::Full, "revocations_full", error),
        RevocationRefused::HoldersFull => Refusal::new(RefusalKind::Full, "holders_full", error),
        RevocationRefused::RootFull { .. } => Refusal::new(RefusalKind::Full, "root_full", error),
        RevocationRefused::Differs
        | RevocationRefused::Gap { .. }
        | RevocationRefused::EpochNotRising { .. }
        | RevocationRefused::Digest => Refusal::new(RefusalKind::Conflict, "revocation_conflict", error),
    }
}
