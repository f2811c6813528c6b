//! AES-256-GCM (NIST SP 800-38D) for values that a client carries for us and must neither read nor change.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a nonce. Never use one twice with the same key; random ones are good for 2^32 messages.
pub const NONCE_BYTES: usize = 12;

/// A sealed value did not open: another key, other associated data, or changed bytes. Which, it does not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open")]
pub struct DoesNotOpen;

/// A symmetric key.
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// Makes a key from 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes.as_slice()).ok().map(LessSafeKey::new).map(Self)
    }

    /// Seals: nonce, then ciphertext and tag. `aad` is bound, not sent.
    ///
    /// # Errors
    /// [`DoesNotOpen`] when the plaintext is longer than the algorithm allows (64 GiB).
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let mut sealed = plaintext.to_vec();
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
            .map_err(|_| DoesNotOpen)?;
        Ok([nonce.as_slice(), &sealed, tag.as_ref()].concat())
    }

    /// Opens what [`Self::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// [`DoesNotOpen`], without saying why.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(DoesNotOpen)?;
        let mut buffer = rest.to_vec();
        let plaintext = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut buffer)
            .map_err(|_| DoesNotOpen)?;
        Ok(plaintext.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_for_the_same_purpose() -> Result<(), DoesNotOpen> {
        let key = AeadKey::from_random(Zeroizing::new([7; 32])).ok_or(DoesNotOpen)?;
        let sealed = key.seal([1; 12], b"page", b"cursor")?;
        assert_eq!(key.open(b"page", &sealed)?, b"cursor");
        assert_eq!(key.open(b"other", &sealed), Err(DoesNotOpen));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            assert_eq!(key.open(b"page", &changed), Err(DoesNotOpen));
        }
        assert_eq!(key.open(b"page", b"short"), Err(DoesNotOpen));
        Ok(())
    }
}
