//! Policy as a signed unit.
//!
//! A folder of sources becomes a container ([`source`]) whose manifest administrators sign ([`container`]). Only
//! [`SignedBundle::verify`] makes a [`VerifiedBundle`] of it, and only what compiles and passes its own canaries
//! becomes a [`CompiledBundle`], which is what an edge activates. What may replace what, and what an edge remembers
//! for that, is in [`high_water`]. Clauses B-1 to B-28, docs/PROTOCOL.md.

pub mod approval;
pub mod canary;
pub mod container;
pub mod diff;
pub mod high_water;
pub mod manifest;
pub mod plan;
mod rejected;
pub mod source;
pub mod suite;
pub mod verified;

pub use approval::{Approval, Approved};
pub use canary::Canary;
pub use container::{MalformedBundle, SignedBundle};
pub use high_water::{HighManifest, HighWater};
pub use manifest::{Fallback, FileEntry, Limits, MANIFEST_TYPE, Manifest};
pub use plan::{Gates, Posted, RolloutPlan, Wave};
pub use rejected::BundleRejected;
pub use source::{BuildOverrides, BundleSource, SourceFault, UnsignedBundle};
pub use verified::{CompiledBundle, VerifiedBundle, verify_manifest};
