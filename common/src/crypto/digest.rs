//! SHA-256 (FIPS 180-4).

use aws_lc_rs::digest::{Context, SHA256};

pub use crate::id::Digest;

impl Digest {
    /// Hashes the parts one after the other, without separators: callers give parts of fixed length, or prefix
    /// lengths themselves.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::default();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }

    /// Whether both are the same, in a time that tells nothing about where they differ: for the digest of a secret.
    #[must_use]
    pub fn is_same_secret(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// Hashes what arrives in pieces.
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Digest(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_the_standards_example() {
        // FIPS 180-4, appendix B.1 of its predecessor: "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(&[b"a", b"bc"]).to_string(), expected);
        assert_eq!(expected.parse(), Ok(Digest::of(&[b"abc"])));
    }

    #[test]
    fn the_digest_of_another_secret_is_not_the_same() {
        let digest = Digest::of(&[b"abc"]);
        assert!(digest.is_same_secret(&Digest::of(&[b"a", b"bc"])));
        let mut other = digest;
        other.0[31] ^= 1;
        assert!(!digest.is_same_secret(&other));
    }
}
