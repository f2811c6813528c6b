//! The container: one file with the manifest, its signatures and the content.
//!
//! ```text
//! "REMITBDL" | format u16 | len u32 | DSSE envelope of the manifest | count u32 | count × (len u32 | content)
//! ```
//!
//! Numbers are big-endian. Taking it apart looks at lengths only; the manifest inside is read after its signatures
//! have been verified. Clauses B-1 and B-2, docs/PROTOCOL.md.

use super::manifest::Manifest;
use super::rejected::BundleRejected;
use crate::crypto::digest::Digest;
use crate::crypto::sign::SigningKey;
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX, DOCUMENT_BYTES_MAX};
use crate::trust::dsse::{Envelope, MalformedDocument};

const MAGIC: &[u8; 8] = b"REMITBDL";
const FORMAT: u16 = 1;

/// A bundle whose signatures are not checked; it may have none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    pub(super) envelope: Envelope,
    pub(super) files: Vec<Vec<u8>>,
}

/// Bytes are not a bundle container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a bundle: {rule}")]
pub struct MalformedBundle {
    /// The rule that is broken.
    pub rule: &'static str,
}

impl From<MalformedDocument> for MalformedBundle {
    fn from(MalformedDocument { rule }: MalformedDocument) -> Self {
        Self { rule }
    }
}

/// Takes parts off the front; nothing is copied before its length has been compared.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedBundle> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MalformedBundle { rule: "it ends early" })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], MalformedBundle> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(MalformedBundle { rule: "it ends early" })?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn len(&mut self, max: usize, rule: &'static str) -> Result<usize, MalformedBundle> {
        let len = u32::from_be_bytes(self.number()?);
        usize::try_from(len).ok().filter(|len| *len <= max).ok_or(MalformedBundle { rule })
    }
}

impl SignedBundle {
    /// Takes the container apart. Looks at lengths only.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedBundle> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(MalformedBundle { rule: "a bundle has at most 8 MiB" });
        }
        let mut rest = Rest(bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(MalformedBundle { rule: "it does not begin like one" });
        }
        if u16::from_be_bytes(rest.number()?) != FORMAT {
            return Err(MalformedBundle { rule: "its format is not known" });
        }
        let len = rest.len(DOCUMENT_BYTES_MAX, "the manifest has at most 1 MiB")?;
        let envelope = Envelope::parse(rest.take(len)?)?;
        let count = rest.len(BUNDLE_FILES_MAX, "a bundle has at most 512 files")?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let len = rest.len(BUNDLE_FILE_BYTES_MAX, "a file has at most 4 MiB")?;
            files.push(rest.take(len)?.to_vec());
        }
        if !rest.0.is_empty() {
            return Err(MalformedBundle { rule: "something follows the last file" });
        }
        Ok(Self { envelope, files })
    }

    /// The container.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let envelope = self.envelope.to_bytes();
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        for part in [&len(envelope.len()), envelope.as_slice(), &len(self.files.len())] {
            out.extend_from_slice(part);
        }
        for file in &self.files {
            out.extend_from_slice(&len(file.len()));
            out.extend_from_slice(file);
        }
        out
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
    /// [`BundleRejected::Manifest`].
    pub fn dangerous_unverified_manifest(&self) -> Result<Manifest, BundleRejected> {
        Manifest::parse(&self.envelope.payload)
    }
}
