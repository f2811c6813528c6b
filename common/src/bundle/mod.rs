//! Policy as a signed unit.
//!
//! Sources become an unsigned container ([`source`]), administrators sign its manifest ([`container`]), and only
//! [`SignedBundle::verify`] leads to a bundle that may be compiled and activated ([`verified`]).

pub mod container;
pub mod high_water;
pub mod manifest;
pub mod source;
pub mod verified;

pub use container::{MalformedBundle, SignedBundle};
pub use high_water::{HighManifest, HighWater};
pub use manifest::{Fallback, FileEntry, MANIFEST_TYPE, Manifest};
pub use source::{BuildOverrides, BundleSource, SourceFault, UnsignedBundle};
pub use verified::{BundleRejected, CompiledBundle, VerifiedBundle, verify_manifest};
