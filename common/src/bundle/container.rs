//! The container: one file with the manifest, its signatures and the content.

use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::trust::dsse::Envelope;

use super::manifest::Manifest;

/// A bundle whose signatures are not checked; it may have none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    envelope: Envelope,
    files: Vec<Vec<u8>>,
}

/// Bytes are not a bundle container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a bundle: {rule}")]
pub struct MalformedBundle {
    /// The rule that is broken.
    pub rule: &'static str,
}

impl SignedBundle {
    /// Takes the container apart. Looks at lengths only.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedBundle> {
        todo!("{bytes:?} {:?}", std::any::type_name::<Self>())
    }

    /// The container.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!("{:?} {:?}", self.envelope, self.files)
    }

    /// The signed manifest and the files in its order, as they travel apart from each other.
    #[must_use]
    pub fn parts(&self) -> (&Envelope, &[Vec<u8>]) {
        (&self.envelope, &self.files)
    }

    /// Puts a bundle together that travelled in parts. The files must be in the manifest's order; [`Self::verify`]
    /// finds out when they are not.
    #[must_use]
    pub fn from_parts(envelope: Envelope, files: Vec<Vec<u8>>) -> Self {
        Self { envelope, files }
    }

    /// Adds one signature of the k; one by the same key is replaced.
    pub fn add_signature(&mut self, key: &SigningKey) {
        self.envelope.sign(key);
    }

    /// SHA-256 of the manifest's bytes: the name of this bundle.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[&self.envelope.payload])
    }

    /// What the manifest claims, for people who are about to sign it. Nothing is verified.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn dangerous_unverified_manifest(&self) -> Result<Manifest, MalformedBundle> {
        todo!()
    }
}
