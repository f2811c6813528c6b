//! Activations: which manifest is current, in the order of the log.
//!
//! An activation is the control plane's word about *which* of the signed bundles is current, never about what a
//! bundle says. Its number is the index of its log entry, and an edge takes it only as named by a tick answer of at
//! least that index, so that nobody can jump ahead of what the voters agreed on. Clauses F-6 and F-7.

use serde::{Deserialize, Serialize};

use super::tick::TickAnswer;
use crate::crypto::digest::{Digest, Hasher};
use crate::id::{LogIndex, TenantId};

/// First bytes under the digest of activations.
const DIGEST_LABEL: &[u8] = b"remit/activations/v1\0";

/// The manifest that a tenant's edges are to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The log entry that decided it.
    pub number: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// Which part of the mesh; 0 is all of it.
    pub ring: u32,
    /// SHA-256 of the manifest's payload.
    pub manifest: Digest,
}

/// A tick answer does not name these activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActivationRefused {
    /// One of them is from after the tick.
    #[error("activation {number} is ahead of tick {tick}")]
    Ahead {
        /// The activation's number.
        number: LogIndex,
        /// The tick's.
        tick: LogIndex,
    },
    /// The digest is another one.
    #[error("these are not the activations that tick {tick} names")]
    NotNamed {
        /// The tick's number.
        tick: LogIndex,
    },
}

/// The digest that a tick answer carries, over the newest activation of each tenant and ring, sorted by these.
#[must_use]
pub fn activations_digest<'a>(activations: impl IntoIterator<Item = &'a Activation>) -> Digest {
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
    }
    hasher.finish()
}

/// Whether a tick answer names exactly these activations, none of them from after its tick.
///
/// # Errors
/// [`ActivationRefused`].
pub fn check_named<'a>(
    answer: &TickAnswer,
    activations: impl IntoIterator<Item = &'a Activation> + Clone,
) -> Result<(), ActivationRefused> {
    let tick = answer.n;
    let ahead = activations.clone().into_iter().map(|activation| activation.number).find(|number| *number > tick);
    if let Some(number) = ahead {
        return Err(ActivationRefused::Ahead { number, tick });
    }
    if activations_digest(activations) != answer.activations {
        return Err(ActivationRefused::NotNamed { tick });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::merkle::InclusionPath;
    use super::super::tick::{Nonce, TickPath};
    use super::*;
    use crate::id::RevocationEpoch;

    fn activation(number: u64, tenant: &str, ring: u32) -> Activation {
        let tenant = tenant.parse().unwrap();
        Activation { number: LogIndex(number), tenant, ring, manifest: Digest::of(&[&number.to_be_bytes()]) }
    }

    #[test]
    fn the_digest_is_golden_and_of_the_newest_in_any_order() {
        // Clause F-6.
        let all = [activation(7, "acme", 0), activation(9, "acme", 0), activation(8, "acme", 1), activation(3, "b", 0)];
        let digest = activations_digest(&all);
        assert_eq!(digest.to_string(), "8bbc80870a03939bfffc6a154b88c95425c10f3a2df22d1daac578a872180ea4");
        assert_eq!(activations_digest(all.iter().rev()), digest);
        assert_eq!(activations_digest(&all[1..]), digest);
        assert_ne!(activations_digest(&all[..1]), digest);
        assert_ne!(activations_digest([]), digest);
    }

    fn tick(n: u64, named: &[Activation]) -> TickAnswer {
        let nothing = InclusionPath { index: 0, size: 1, siblings: Vec::new() };
        TickAnswer {
            n: LogIndex(n),
            nonce: Nonce([0; 32]),
            nonce_root: Digest::default(),
            path: TickPath { nonce: nothing.clone(), voter: nothing },
            epoch: RevocationEpoch(0),
            revocations: Digest::default(),
            activations: activations_digest(named),
            directory: 1,
            root: 1,
        }
    }

    #[test]
    fn fast_forward_beyond_the_tick_and_activations_that_it_does_not_name_are_refused() {
        // Clause F-7.
        let named = [activation(7, "acme", 0), activation(9, "other", 0)];
        assert_eq!(check_named(&tick(9, &named), &named), Ok(()));
        let (number, at) = (LogIndex(9), LogIndex(8));
        assert_eq!(check_named(&tick(8, &named), &named), Err(ActivationRefused::Ahead { number, tick: at }));
        let not_named = Err(ActivationRefused::NotNamed { tick: LogIndex(9) });
        assert_eq!(check_named(&tick(9, &named), &named[..1]), not_named);
        let mut other = named.clone();
        other[0].manifest = Digest::of(&[b"another bundle"]);
        assert_eq!(check_named(&tick(9, &named), &other), not_named);
    }
}
