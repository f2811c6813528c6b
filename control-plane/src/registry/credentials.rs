//! Sealed shards: stored as their sealer signed them, handed to the edge that they are sealed to.
//!
//! A voter cannot open one. It checks what an edge will check, so that a mistake is found where it is made.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, KeyId, LogIndex};
use remit_common::identity::{Administrator, SignedRequest, Verb};
use remit_common::limits::SHARD_BYTES_MAX;
use remit_common::shard::{SealedShard, ShardRefused};
use remit_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Edges that one request can seal for: as many shards as fit into a body.
const SHARDS_MAX: usize = 1_024;

/// One version of one credential, sealed for a number of edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The version; only rises.
    pub version: u64,
    /// The entry that brought it.
    pub index: LogIndex,
    /// The registry's clock then.
    pub sealed_at: Timestamp,
    /// Who sealed it.
    pub sealer: KeyId,
    /// The injection profile that it is bound to.
    pub profile: Digest,
    /// The shards by edge, each in its signed form.
    pub shards: BTreeMap<EdgeId, Arc<[u8]>>,
}

/// Clause C-62: the shards of one version of one credential, each for another edge, by one sealer.
pub(super) fn seal(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    let bodies: Vec<&RawValue> = serde_json::from_slice(&request.body).map_err(Refusal::malformed)?;
    if bodies.is_empty() || bodies.len() > SHARDS_MAX {
        return Err(Refusal::malformed(format_args!("{} shards, not 1 to {SHARDS_MAX}", bodies.len())));
    }
    let trust = state.trust()?;
    let mut key = None;
    let mut shards = BTreeMap::new();
    for body in bodies {
        let bytes = body.get().as_bytes();
        if bytes.len() > SHARD_BYTES_MAX {
            return Err(Refusal::malformed("a shard is too long"));
        }
        let sealed = SealedShard::parse(bytes).map_err(|error| refused(&error))?;
        let sealer = *sealed.signer();
        let shard = sealed.verify(&trust.directory, &state.genesis.mesh).map_err(|error| refused(&error))?;
        let this = (shard.tenant().clone(), shard.credential().clone(), shard.version(), *shard.profile(), sealer);
        if *key.get_or_insert_with(|| this.clone()) != this {
            return Err(Refusal::malformed("the shards are not of one credential, version, profile and sealer"));
        }
        if shards.insert(shard.edge().clone(), Arc::from(bytes)).is_some() {
            return Err(Refusal::malformed("two shards for one edge"));
        }
    }
    let Some((tenant, credential, version, profile, sealer)) = key else {
        return Err(Refusal::malformed("no shards"));
    };
    administrator.check(Verb::SealCredential, &tenant, state.clock).map_err(|error| not_permitted(&error))?;
    let active = state.active(&tenant).ok_or_else(|| {
        Refusal::new(RefusalKind::NotReady, "no_bundle", format_args!("tenant `{tenant}` has no active bundle"))
    })?;
    if !active.profiles_of(&credential).contains(&profile) {
        let detail = format_args!("no tool of the active bundle takes `{credential}` with this injection profile");
        return Err(Refusal::new(RefusalKind::Conflict, "profile_mismatch", detail));
    }
    let place = (tenant.clone(), credential.clone());
    if let Some(current) = state.credentials.get(&place)
        && version <= current.version
    {
        let detail = format_args!("version {version} is not above {}", current.version);
        return Err(Refusal::new(RefusalKind::Conflict, "version_not_rising", detail));
    }
    let edges = shards.keys().cloned().collect();
    let stored = Credential { version, index, sealed_at: state.clock, sealer, profile, shards };
    Arc::make_mut(&mut state.credentials).insert(place, stored);
    Ok(Applied::Credential { tenant, credential, version, edges })
}

fn refused(error: &ShardRefused) -> Refusal {
    Refusal::new(RefusalKind::Unacceptable, error.reason_code(), error)
}
