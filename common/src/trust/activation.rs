//! Activations: which manifest is current, in the order of the log.
//!
//! An activation is the control plane's word about *which* of the signed bundles is current, never about what a
//! bundle says. Its number is the index of its log entry, and an edge takes it only as named by a tick answer of at
//! least that index, so that nobody can jump ahead of what the voters agreed on. Clauses F-6, F-7 and O-2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::crypto::digest::{Digest, Hasher};
use crate::id::{LogIndex, TenantId};

/// First bytes under the digest of activations.
const DIGEST_LABEL: &[u8] = b"remit/activations/v1\0";

/// The whole mesh.
pub const RING_ALL: u32 = 0;
/// The edges that a rollout has come to.
pub const RING_STAGED: u32 = 1;

/// The manifest that a tenant's edges are to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The log entry that decided it.
    pub number: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// [`RING_ALL`], or [`RING_STAGED`] while a bundle is rolled out.
    pub ring: u32,
    /// SHA-256 of the manifest's payload.
    pub manifest: Digest,
}

/// The manifest that some of a tenant's edges are to run instead, while it is rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    /// The activation, of [`RING_STAGED`].
    pub activation: Activation,
    /// Whom it is for.
    pub scope: Scope,
}

/// The digest that a tick answer carries, over the newest activation of each tenant and ring, sorted by these, and over
/// whom a staged one is for.
#[must_use]
pub fn activations_digest<'a>(
    activations: impl IntoIterator<Item = &'a Activation>,
    scopes: &BTreeMap<TenantId, Scope>,
) -> Digest {
    let mut newest: Vec<&Activation> = activations.into_iter().collect();
    newest.sort_by(|a, b| (&a.tenant, a.ring, b.number).cmp(&(&b.tenant, b.ring, a.number)));
    newest.dedup_by(|later, kept| (&later.tenant, later.ring) == (&kept.tenant, kept.ring));
    let mut hasher = Hasher::default();
    hasher.update(DIGEST_LABEL);
    hasher.update(&u64::try_from(newest.len()).unwrap_or(u64::MAX).to_be_bytes());
    for Activation { number, tenant, ring, manifest } in newest {
        hasher.update(&number.0.to_be_bytes());
        hasher.update(&u64::try_from(tenant.as_str().len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(tenant.as_str().as_bytes());
        hasher.update(&ring.to_be_bytes());
        hasher.update(&manifest.0);
        if *ring != RING_ALL {
            scopes.get(tenant).cloned().unwrap_or_default().hash_into(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(number: u64, tenant: &str, ring: u32) -> Activation {
        let tenant = tenant.parse().unwrap();
        Activation { number: LogIndex(number), tenant, ring, manifest: Digest::of(&[&number.to_be_bytes()]) }
    }

    fn everybody<'a>(activations: impl IntoIterator<Item = &'a Activation>) -> Digest {
        activations_digest(activations, &BTreeMap::new())
    }

    #[test]
    fn the_digest_is_golden_and_of_the_newest_in_any_order() {
        // Clause F-6.
        let all = [activation(7, "acme", 0), activation(9, "acme", 0), activation(3, "b", 0)];
        let digest = everybody(&all);
        assert_eq!(digest.to_string(), "95108d341af8804730ae76fa2a8972b6ce27c60a0062349410c3d76a75bc5a27");
        assert_eq!(everybody(all.iter().rev()), digest);
        assert_eq!(everybody(&all[1..]), digest);
        assert_ne!(everybody(&all[..1]), digest);
        assert_ne!(everybody([]), digest);
    }

    /// Clause O-2.
    #[test]
    fn the_digest_says_whom_a_staged_activation_is_for() {
        let all = [activation(7, "acme", RING_ALL), activation(9, "acme", RING_STAGED), activation(3, "b", RING_ALL)];
        let of = |scope| activations_digest(&all, &BTreeMap::from([("acme".parse().unwrap(), scope)]));
        let scope = Scope {
            salt: 9,
            edges: ["e1", "e2"].map(|id| id.parse().unwrap()).into(),
            regions: ["eu-west".parse().unwrap()].into(),
            per_mille: 250,
        };
        assert_eq!(of(scope.clone()).to_string(), "345f460d55563d8ec61506e7598269ebda7a4929f18a6ac96150e2e4a51ede7c");
        assert_ne!(of(Scope { salt: 8, ..scope.clone() }), of(scope.clone()));
        assert_ne!(of(Scope { per_mille: 251, ..scope.clone() }), of(scope.clone()));
        assert_ne!(
            of(Scope { regions: scope.edges.iter().map(|id| id.as_str().parse().unwrap()).collect(), ..scope.clone() }),
            of(scope.clone())
        );
        assert_ne!(of(Scope { edges: ["e1e2".parse().unwrap()].into(), ..scope.clone() }), of(scope));
    }
}
