//! What an edge needs to start without a voter, as voters signed it at one tick.
//!
//! Nothing of it is believed because it is there. Roots, directory, bundles, revocations and relations carry their own
//! signatures; which of them belong together, and that none is left out, says the statement that a majority of voters
//! signed about the tick. Sealed credentials carry signatures as well, and a version that an edge never lets fall. What it does not say is how long ago that was: a bootstrap gives
//! policy, and never freshness. Clauses D-15 to D-17, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{EdgeId, MeshId, TenantId};
use crate::relation_log::{Head, RelationHeads};
use crate::revocation::RevocationUpdate;
use crate::trust::activation::{Activation, activations_digest};
use crate::trust::beacon::{BeaconRefused, SignedStatement};
use crate::trust::directory::Directory;
use crate::trust::root::Root;
use crate::trust::scope::Scope;

/// The version of the format.
pub const BOOTSTRAP_VERSION: u32 = 1;

/// Everything of one tick but the bundles and the relations, which are long and lie beside it, as sealed credentials do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// [`BOOTSTRAP_VERSION`].
    pub v: u32,
    /// The mesh.
    pub mesh_id: MeshId,
    /// Every root from the first on, as it was signed.
    pub roots: Vec<Box<RawValue>>,
    /// The directory, as it was signed.
    pub directory: Box<RawValue>,
    /// What a majority of the voters signed.
    pub beacon: SignedStatement,
    /// Which bundles are current, of every tenant and ring.
    pub activations: Vec<Activation>,
    /// Whom the staged ones are for.
    pub scopes: BTreeMap<TenantId, Scope>,
    /// The newest batch of every tenant that has relations.
    pub relations: BTreeMap<TenantId, Head>,
    /// The whole set.
    pub revocations: RevocationUpdate,
    /// The edges for which credentials are sealed. These lie beside it, too; their versions only rise, and no tick names
    /// them.
    pub sealed_for: BTreeSet<EdgeId>,
}

/// Why a bootstrap is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapRefused {
    /// Not such a document.
    #[error("it is not a bootstrap: {0}")]
    Malformed(String),
    /// Of a version that this reader does not know.
    #[error("it is of version {found}; this reader knows {BOOTSTRAP_VERSION}")]
    Version {
        /// What it says.
        found: u64,
    },
    /// Another mesh's.
    #[error("it belongs to another mesh")]
    WrongMesh,
    /// The directory lists no beacon keys, so nobody has signed what belongs together.
    #[error("the voters of this mesh sign no ticks: its directory lists no beacon keys for them")]
    Unsigned,
    /// No majority has signed it.
    #[error(transparent)]
    Beacon(#[from] BeaconRefused),
    /// A part is not what the voters signed.
    #[error("its {part} are not those that the voters signed at tick {tick}")]
    NotSigned {
        /// Which part.
        part: &'static str,
        /// The tick.
        tick: u64,
    },
}

impl BootstrapRefused {
    /// A fixed word for logs and for programs.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Version { .. } => "bootstrap_version",
            Self::WrongMesh => "wrong_mesh",
            Self::Unsigned => "beacon_missing",
            Self::Beacon(refused) => refused.reason_code(),
            Self::NotSigned { .. } => "not_as_signed",
        }
    }
}

impl Bootstrap {
    /// Reads the document; verifies nothing.
    ///
    /// # Errors
    /// [`BootstrapRefused::Malformed`], [`BootstrapRefused::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BootstrapRefused> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u64,
        }
        let malformed = |error: serde_json::Error| BootstrapRefused::Malformed(error.to_string());
        let Versioned { v: found } = serde_json::from_slice(bytes).map_err(malformed)?;
        if found != u64::from(BOOTSTRAP_VERSION) {
            return Err(BootstrapRefused::Version { found });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }

    /// Whether it is what a majority of the directory's voters signed, under this root and this directory. The entries of
    /// the revocations are not looked at: who takes them compares their digest.
    ///
    /// # Errors
    /// [`BootstrapRefused`].
    pub fn check(&self, root: &Root, directory: &Directory) -> Result<(), BootstrapRefused> {
        if self.mesh_id != *root.mesh_id() {
            return Err(BootstrapRefused::WrongMesh);
        }
        if !directory.has_beacon_keys() {
            return Err(BootstrapRefused::Unsigned);
        }
        self.beacon.verify(directory)?;
        let signed = &self.beacon.statement;
        let revocations = (self.revocations.to, self.revocations.digest);
        let parts = [
            ("root and directory", (root.version(), directory.version()) == (signed.root, signed.directory)),
            ("activations", activations_digest(&self.activations, &self.scopes) == signed.activations),
            ("relations", RelationHeads::new(root, &self.relations).root() == signed.relations),
            ("revocations", revocations == (signed.epoch, signed.revocations)),
        ];
        match parts.into_iter().find(|(_, is_signed)| !is_signed) {
            Some((part, _)) => Err(BootstrapRefused::NotSigned { part, tick: signed.n.0 }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
