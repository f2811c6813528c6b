//! HPKE (RFC 9180), base mode, X-Wing (draft-connolly-cfrg-xwing-kem: X25519 with ML-KEM-768), HKDF-SHA256,
//! AES-256-GCM. One message per encapsulation.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem as _, XWing};
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::digest::Digest;
use super::secret::Secret;
use crate::id::KeyId;
use crate::text;

type PrivateKey = <XWing as hpke::Kem>::PrivateKey;

/// The suite as sealed shards name it.
pub const SUITE: &str = "X-Wing/HKDF-SHA256/AES-256-GCM";

/// Bytes of a public sealing key: ML-KEM-768's 1 184 and X25519's 32.
pub const PUBLIC_KEY_BYTES: usize = 1216;

/// A message did not seal or open: a wrong key, other associated data, changed bytes. Which, it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed message does not open")]
pub struct HpkeFailed;

/// The public half of an edge's sealing key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingPublicKey(Box<[u8]>);

impl SealingPublicKey {
    /// Checks the length and that the KEM takes the key.
    ///
    /// # Errors
    /// [`HpkeFailed`] when it does not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeFailed> {
        <XWing as hpke::Kem>::PublicKey::from_bytes(bytes).map_err(|_| HpkeFailed)?;
        Ok(Self(bytes.into()))
    }

    /// The encoded key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&[&self.0]))
    }
}

impl fmt::Debug for SealingPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingPublicKey({})", self.id())
    }
}

impl Serialize for SealingPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&text::base64(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for SealingPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            text::from_base64(&String::deserialize(deserializer)?).unwrap_or_default()
        } else {
            Vec::deserialize(deserializer)?
        };
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// The private half. It does not print and does not leave the edge.
pub struct SealingKey {
    seed: Zeroizing<[u8; 32]>,
    private: PrivateKey,
    public: SealingPublicKey,
}

impl SealingKey {
    /// Derives a key pair from 32 random bytes (RFC 9180 section 7.1.3).
    #[must_use]
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let (private, public) = XWing::derive_keypair(seed.as_slice());
        let public = SealingPublicKey(public.to_bytes().as_slice().into());
        Self { seed, private, public }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// The seed, for the file that keeps it.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey(public {})", self.public.id())
    }
}

/// What [`seal`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key.
    pub enc: Vec<u8>,
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Seals `plaintext` to `to`, bound to `info` and `aad`. `random` is 64 fresh random bytes, as many
/// as X-Wing takes.
///
/// # Errors
/// [`HpkeFailed`] when the key is unusable.
pub fn seal(
    to: &SealingPublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &Zeroizing<[u8; 64]>,
) -> Result<Sealed, HpkeFailed> {
    let public = <XWing as hpke::Kem>::PublicKey::from_bytes(&to.0).map_err(|_| HpkeFailed)?;
    let mut bytes = HandedIn { bytes: random.as_slice(), ran_short: false };
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        info,
        plaintext,
        aad,
        &mut bytes,
    )
    .map_err(|_| HpkeFailed)?;
    if bytes.ran_short {
        return Err(HpkeFailed);
    }
    Ok(Sealed { enc: enc.to_bytes().to_vec(), ciphertext })
}

/// Opens what was sealed to `key` with the same `info` and `aad`.
///
/// # Errors
/// [`HpkeFailed`], without saying why.
pub fn open(key: &SealingKey, info: &[u8], aad: &[u8], sealed: &Sealed) -> Result<Secret, HpkeFailed> {
    let enc = <XWing as hpke::Kem>::EncappedKey::from_bytes(&sealed.enc).map_err(|_| HpkeFailed)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        &key.private,
        &enc,
        info,
        &sealed.ciphertext,
        aad,
    )
    .map(Secret::new)
    .map_err(|_| HpkeFailed)
}

/// The generator that the library asks for, over bytes that were handed in. It cannot refuse, so it notes that it
/// ran short, and the caller throws the result away.
struct HandedIn<'a> {
    bytes: &'a [u8],
    ran_short: bool,
}

impl TryRng for HandedIn<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match self.bytes.split_at_checked(out.len()) {
            Some((taken, rest)) => {
                out.copy_from_slice(taken);
                self.bytes = rest;
            }
            None => self.ran_short = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for HandedIn<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_key_the_info_and_the_aad() -> Result<(), HpkeFailed> {
        let key = SealingKey::from_seed(Zeroizing::new([1; 32]));
        let other = SealingKey::from_seed(Zeroizing::new([2; 32]));
        assert_eq!(key.public().as_bytes().len(), PUBLIC_KEY_BYTES);
        let sealed = seal(key.public(), b"info", b"aad", b"api key", &Zeroizing::new([3; 64]))?;
        assert_eq!(open(&key, b"info", b"aad", &sealed)?.expose(), b"api key");
        assert!(open(&other, b"info", b"aad", &sealed).is_err());
        assert!(open(&key, b"info2", b"aad", &sealed).is_err());
        assert!(open(&key, b"info", b"aad2", &sealed).is_err());
        for field in [0, 1] {
            let mut changed = sealed.clone();
            let bytes = if field == 0 { &mut changed.enc } else { &mut changed.ciphertext };
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            assert!(open(&key, b"info", b"aad", &changed).is_err());
        }
        Ok(())
    }

    #[test]
    fn two_messages_under_other_randomness_share_nothing() -> Result<(), HpkeFailed> {
        let key = SealingKey::from_seed(Zeroizing::new([1; 32]));
        let first = seal(key.public(), b"", b"", b"x", &Zeroizing::new([3; 64]))?;
        let second = seal(key.public(), b"", b"", b"x", &Zeroizing::new([4; 64]))?;
        assert_ne!(first.enc, second.enc);
        assert_ne!(first.ciphertext, second.ciphertext);
        Ok(())
    }
}
