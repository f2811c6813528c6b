//! What a shard is bound to.

use minicbor::Encoder;

use crate::crypto::digest::Digest;
use crate::id::{CredentialId, EdgeId, KeyId, MeshId, TenantId};

/// The version of the encoding below. A new field needs a new one.
pub const AAD_VERSION: u8 = 1;

/// Everything a shard is bound to, in the order in which it is encoded (S-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardAad<'a> {
    /// The mesh.
    pub mesh: &'a MeshId,
    /// The tenant whose credential it is.
    pub tenant: &'a TenantId,
    /// The edge that may open it.
    pub edge: &'a EdgeId,
    /// The key it is sealed to.
    pub sealing_key: KeyId,
    /// The credential.
    pub credential: &'a CredentialId,
    /// Only rises, per tenant and credential.
    pub version: u64,
    /// The digest of the injection profile: to which server, in which header, the credential may go.
    pub profile: Digest,
}

impl ShardAad<'_> {
    /// A CBOR array of the version and the seven fields, each in its shortest form (RFC 8949 section 4.2.1).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { mesh, tenant, edge, sealing_key, credential, version, profile } = self;
        let mut bytes = Vec::new();
        let mut out = Encoder::new(&mut bytes);
        let mut write = || {
            out.array(8)?.u8(AAD_VERSION)?.bytes(&mesh.0)?;
            out.str(tenant.as_str())?.str(edge.as_str())?.bytes(&sealing_key.0.0)?;
            out.str(credential.as_str())?.u64(*version)?.bytes(&profile.0)?.ok()
        };
        let written: Result<(), minicbor::encode::Error<std::convert::Infallible>> = write();
        // A vector takes everything, so the only failure that the type allows for cannot come up.
        debug_assert!(written.is_ok(), "a vector takes everything");
        bytes
    }
}
