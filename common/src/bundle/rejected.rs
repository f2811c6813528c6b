//! Why a bundle is not accepted.

use super::container::MalformedBundle;
use crate::id::{BundleVersion, TenantId, ToolName};
use crate::policy::bounds::BoundOutOfRange;
use crate::policy::taxonomy::TaxonomyBroken;
use crate::policy::{PolicyFault, Reason};
use crate::time::Timestamp;
use crate::trust::dsse::NotVerified;
use crate::trust::refused::TrustRefused;

/// Why a bundle is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleRejected {
    /// Not a bundle.
    #[error(transparent)]
    Malformed(#[from] MalformedBundle),
    /// The root that should say whose signatures count does not count itself.
    #[error("the root cannot vouch for anybody")]
    Root(#[from] TrustRefused),
    /// The root has no policy role for the tenant.
    #[error("the root names nobody who signs bundles of tenant `{tenant}`")]
    NoPolicyRole {
        /// The tenant that was asked for.
        tenant: TenantId,
    },
    /// Too few of the tenant's administrators signed.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// Signed, but no manifest of this version.
    #[error("the manifest is malformed: {fault}")]
    Manifest {
        /// What the decoder says.
        fault: String,
    },
    /// Another mesh's.
    #[error("the bundle belongs to another mesh")]
    WrongMesh,
    /// Another tenant's.
    #[error("the bundle belongs to tenant `{found}`")]
    WrongTenant {
        /// Whose it is.
        found: TenantId,
    },
    /// It says that it was made in the future.
    #[error("the bundle is from {created}, which is in the future")]
    FromTheFuture {
        /// When it says it was made.
        created: Timestamp,
    },
    /// Its time has passed.
    #[error("the bundle expired at {expires}")]
    Expired {
        /// When.
        expires: Timestamp,
    },
    /// A file is not what the manifest says.
    #[error("file `{path}`: {rule}")]
    File {
        /// Which.
        path: String,
        /// The rule.
        rule: &'static str,
    },
    /// It allows an older view than the root allows it to.
    #[error(transparent)]
    Bounds(#[from] BoundOutOfRange),
    /// It asks for an engine or a combination that this version cannot evaluate. Evaluating the rest would permit
    /// what the missing part forbids.
    #[error("{what} `{found}` cannot be evaluated by this version")]
    Unsupported {
        /// Engine or combination.
        what: &'static str,
        /// What it asks for.
        found: String,
    },
    /// Below the highest floor ever seen.
    #[error("version {version} is below the floor {floor}")]
    BelowFloor {
        /// This bundle's.
        version: BundleVersion,
        /// The floor.
        floor: BundleVersion,
    },
    /// Below what was active.
    #[error("version {version} is below {high}, which does not name it as a live fallback")]
    Rollback {
        /// This bundle's.
        version: BundleVersion,
        /// The highest activated.
        high: BundleVersion,
    },
    /// Another bundle with the version of the highest activated.
    #[error("there is another bundle of version {version}")]
    SameVersion {
        /// Which version.
        version: BundleVersion,
    },
    /// The sources do not compile.
    #[error("the policy does not compile; the first of {count} faults: {first}", count = faults.len(), first = first(faults))]
    Policy {
        /// Everything that was found.
        faults: Vec<PolicyFault>,
    },
    /// A tool asks for no proof, and the manifest does not say that this is meant.
    #[error(
        "`{tool}` could be called by whoever has a copy of an envelope: set `allow_bearer = true` in `bundle.toml` if that \
         is meant, or raise the tool's `min_pop`"
    )]
    Bearer {
        /// The tool.
        tool: ToolName,
    },
    /// A canary cannot be asked.
    #[error("canary `{name}`: {fault}")]
    BadCanary {
        /// Which.
        name: String,
        /// Why not.
        fault: String,
    },
    /// A canary was answered otherwise than the manifest says.
    #[error("canary `{name}` should be `{expected}` and is `{found}`: {detail}")]
    Canary {
        /// Which.
        name: String,
        /// What the manifest says.
        expected: Reason,
        /// What was decided.
        found: Reason,
        /// What decided it.
        detail: String,
    },
    /// A number of a purpose or class changed its meaning.
    #[error(transparent)]
    Taxonomy(#[from] TaxonomyBroken),
}

fn first(faults: &[PolicyFault]) -> String {
    faults.first().map(PolicyFault::to_string).unwrap_or_default()
}

impl BundleRejected {
    /// A fixed word for metrics, nacks and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Root(refused) => refused.reason_code(),
            Self::NoPolicyRole { .. } => "no_policy_role",
            Self::NotVerified(NotVerified::WrongType) => "wrong_type",
            Self::NotVerified(NotVerified::NotEnoughSignatures { .. }) => "not_enough_signatures",
            Self::Manifest { .. } => "manifest_malformed",
            Self::WrongMesh => "wrong_mesh",
            Self::WrongTenant { .. } => "wrong_tenant",
            Self::FromTheFuture { .. } => "from_the_future",
            Self::Expired { .. } => "expired",
            Self::File { .. } => "file_mismatch",
            Self::Bounds(_) => "bounds_beyond_root",
            Self::Unsupported { .. } => "unsupported",
            Self::BelowFloor { .. } => "below_floor",
            Self::Rollback { .. } => "rollback",
            Self::SameVersion { .. } => "same_version",
            Self::Policy { .. } => "does_not_compile",
            Self::Bearer { .. } => "bearer_not_allowed",
            Self::BadCanary { .. } => "bad_canary",
            Self::Canary { .. } => "canary_failed",
            Self::Taxonomy(_) => "taxonomy_broken",
        }
    }
}
