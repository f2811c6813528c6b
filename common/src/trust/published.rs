//! The trust documents as an edge gives them to whoever asks (`GET /v1/directory`), and the way from a pinned first root
//! to the newest directory.
//!
//! Nothing of the answer is believed: whoever asks has the digest of a root, and everything else follows from signatures.
//! Clause G-34.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::directory::{Directory, SignedDirectory};
use super::refused::TrustRefused;
use super::root::{Root, SignedRoot};
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, MeshId};
use crate::time::Timestamp;

/// Roots of one answer. A mesh signs a few in a year.
const ROOTS_MAX: usize = 64;

/// What an edge gives; nothing of it is verified.
#[derive(Debug, Clone)]
pub struct Published {
    /// Which edge says so; edges of earlier versions do not say.
    pub edge: Option<EdgeId>,
    roots: Vec<SignedRoot>,
    directory: Option<SignedDirectory>,
}

/// Why there is no directory in an edge's answer that this reader can trust.
#[derive(Debug, thiserror::Error)]
pub enum NotTrusted {
    /// Not such an answer.
    #[error("the answer is not what an edge answers")]
    Shape(#[source] serde_json::Error),
    /// More roots than anybody signs.
    #[error("the answer has more than {ROOTS_MAX} roots")]
    TooManyRoots,
    /// The pinned root is not among them: another mesh, or one that began anew.
    #[error("the root with the digest {pin} is not among the edge's")]
    Unknown {
        /// The pinned root.
        pin: Digest,
    },
    /// The edge itself has no directory yet.
    #[error("the edge has no directory yet")]
    NoDirectory,
    /// A document does not hold.
    #[error("a document of the edge's does not hold")]
    Refused(#[from] TrustRefused),
}

#[derive(Deserialize)]
struct Answer<'a> {
    edge: Option<EdgeId>,
    #[serde(borrow)]
    roots: Vec<&'a RawValue>,
    #[serde(borrow)]
    directory: Option<&'a RawValue>,
}

impl Published {
    /// Reads an edge's answer.
    ///
    /// # Errors
    /// [`NotTrusted`].
    pub fn parse(body: &[u8]) -> Result<Self, NotTrusted> {
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(NotTrusted::Shape)?;
        if answer.roots.len() > ROOTS_MAX {
            return Err(NotTrusted::TooManyRoots);
        }
        let roots =
            answer.roots.iter().map(|root| SignedRoot::parse(root.get().as_bytes())).collect::<Result<_, _>>()?;
        let directory = answer.directory.map(|raw| SignedDirectory::parse(raw.get().as_bytes())).transpose()?;
        Ok(Self { edge: answer.edge, roots, directory })
    }

    /// From the root with this digest to the newest root and its directory.
    ///
    /// # Errors
    /// [`NotTrusted`].
    pub fn verify(self, pin: &Digest, mesh: &MeshId, now: Timestamp) -> Result<(Root, Directory), NotTrusted> {
        let (root, directory) = self.way(pin, mesh)?;
        root.check_time(now)?;
        let directory = directory.ok_or(NotTrusted::NoDirectory)?.verify(&root, now)?;
        Ok((root, directory))
    }

    /// As [`Self::verify`], and says nothing about time: for whoever tells people when the two end, or that they have.
    ///
    /// # Errors
    /// [`NotTrusted`].
    pub fn verify_signatures(self, pin: &Digest, mesh: &MeshId) -> Result<(Root, Directory), NotTrusted> {
        let (root, directory) = self.way(pin, mesh)?;
        let directory = directory.ok_or(NotTrusted::NoDirectory)?.verify_signatures(&root)?;
        Ok((root, directory))
    }

    /// The newest root, and the directory that it is asked to vouch for.
    fn way(self, pin: &Digest, mesh: &MeshId) -> Result<(Root, Option<SignedDirectory>), NotTrusted> {
        let mut roots = self.roots.into_iter().skip_while(|root| root.digest() != *pin);
        let first = roots.next().ok_or(NotTrusted::Unknown { pin: *pin })?;
        let mut root = first.verify_pinned(pin, mesh)?;
        for next in roots {
            root = next.verify_next(&root)?;
        }
        Ok((root, self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{MESH, NOW, directory_content, root_content, signed_directory, signed_root};
    use super::*;

    fn answer(roots: &[&SignedRoot], directory: &str) -> Vec<u8> {
        let roots: Vec<_> = roots.iter().map(|root| String::from_utf8(root.to_bytes()).unwrap()).collect();
        let roots = roots.join(",");
        format!(r#"{{"mesh_id":"{MESH}","edge":"eu-west-1","roots":[{roots}],"directory":{directory}}}"#).into_bytes()
    }

    fn directory() -> String {
        String::from_utf8(signed_directory(&directory_content(), &[4, 5]).to_bytes()).unwrap()
    }

    fn verified(body: &[u8], pin: &Digest) -> Result<(Root, Directory), NotTrusted> {
        Published::parse(body).and_then(|published| published.verify(pin, &MESH, NOW))
    }

    /// Clause G-34.
    #[test]
    fn a_pinned_root_leads_to_the_directory_and_nothing_else_does() {
        let first = signed_root(&root_content(), &[1, 2]);
        let mut content = root_content();
        content.version = 2;
        let second = signed_root(&content, &[1, 2]);
        let pin = first.digest();
        let (root, found) = verified(&answer(&[&first, &second], &directory()), &pin).unwrap();
        assert_eq!((root.version(), found.edges().count()), (2, 2));
        // A later root can be pinned as well.
        assert!(verified(&answer(&[&first, &second], &directory()), &second.digest()).is_ok());
        // Whoever only tells when they end asks for signatures, and for nothing else.
        let late = crate::time::Timestamp::MAX;
        let published = || Published::parse(&answer(&[&first], &directory())).unwrap();
        assert!(published().verify(&pin, &MESH, late).is_err());
        assert!(published().verify_signatures(&pin, &MESH).is_ok());
        assert!(published().verify_signatures(&second.digest(), &MESH).is_err());
        assert!(matches!(verified(&answer(&[&second], &directory()), &pin), Err(NotTrusted::Unknown { .. })));
        assert!(matches!(verified(&answer(&[&first], "null"), &pin), Err(NotTrusted::NoDirectory)));
        let strangers = signed_root(&content, &[6, 7]);
        assert!(matches!(verified(&answer(&[&first, &strangers], &directory()), &pin), Err(NotTrusted::Refused(_))));
        let forged = String::from_utf8(signed_directory(&directory_content(), &[6, 7]).to_bytes()).unwrap();
        assert!(matches!(verified(&answer(&[&first], &forged), &pin), Err(NotTrusted::Refused(_))));
        let many: Vec<_> = std::iter::repeat_n(&first, ROOTS_MAX + 1).collect();
        assert!(matches!(verified(&answer(&many, &directory()), &pin), Err(NotTrusted::TooManyRoots)));
        for bytes in [&b""[..], b"{}", b"[]", br#"{"roots":[{}],"directory":null}"#] {
            assert!(verified(bytes, &pin).is_err());
        }
    }
}
