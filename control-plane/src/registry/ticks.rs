//! The tick: one entry a second that proves to edges how fresh a voter is.

use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, RevocationEpoch};
use remit_common::time::Timestamp;
use remit_common::trust::activation::activations_digest;
use remit_common::trust::tick::TickRoots;
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::refusal::{Refusal, RefusalKind};
use super::relations;
use super::state::State;

/// What a voter that has applied a tick may say about it, all as of that entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickFact {
    /// The entry.
    pub n: LogIndex,
    /// The leader's clock then.
    pub at: Timestamp,
    /// The voters' roots.
    pub roots: TickRoots,
    /// The revocation epoch.
    pub epoch: RevocationEpoch,
    /// The digest of the revocations.
    pub revocations: Digest,
    /// The digest of the activations.
    pub activations: Digest,
    /// The directory's version.
    pub directory: u64,
    /// The root's version.
    pub root: u64,
}

/// Clause K-2: roots of voters that the directory lists, sorted, each once.
pub(super) fn tick(state: &mut State, index: LogIndex, roots: TickRoots) -> Result<Applied, Refusal> {
    let trust = state.trust()?;
    roots.check().map_err(Refusal::malformed)?;
    if let Some((voter, _)) = roots.roots.iter().find(|(voter, _)| trust.directory.voter(*voter).is_none()) {
        let detail = format_args!("voter {voter} is not in the directory");
        return Err(Refusal::new(RefusalKind::Unacceptable, "unknown_voter", detail));
    }
    state.tick = Some(TickFact {
        n: index,
        at: state.clock,
        epoch: state.revocations.epoch(),
        revocations: state.revocations_digest,
        activations: activations_digest(state.activations.values(), &state.scopes()),
        directory: trust.directory.version(),
        root: trust.root.version(),
        roots,
    });
    if *state.tick_relations != relations::heads(state) {
        state.tick_relations = Arc::new(relations::heads(state));
    }
    state.expire_enrolment();
    Ok(Applied::Tick)
}
