//! Pure Ed25519 (RFC 8032) and the rules for keys that others hand us.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::digest::Digest;
use crate::id::KeyId;
use crate::text;

/// A signature does not verify under the key that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

/// Bytes are not a usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyInvalid {
    /// Not 32 bytes, or refused by the library.
    #[error("not an Ed25519 public key")]
    NotAPoint,
    /// The y coordinate is not reduced modulo 2^255 - 19, so that two byte strings would be one key.
    #[error("the key is not encoded canonically")]
    NotCanonical,
    /// A point of order 1, 2, 4 or 8: everybody can sign for it.
    #[error("the key has small order")]
    SmallOrder,
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Reads 64 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", text::hex(self.0.first_chunk::<4>().map_or(&[], |c| c)))
    }
}

impl Serialize for Signature {
    /// Base64 for people, length and 64 bytes on the wire.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&text::base64(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            text::from_base64(&String::deserialize(deserializer)?)
        } else {
            Some(Vec::deserialize(deserializer)?)
        };
        bytes
            .and_then(|bytes| Self::from_slice(&bytes))
            .ok_or_else(|| serde::de::Error::custom("a signature is 64 bytes"))
    }
}

/// A public key that is encoded canonically and not of small order. Whether the bytes are a point at all shows when a
/// signature is verified: under one that is none, nothing verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// 2^255 - 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// The y coordinates of the points whose order divides 8, little-endian, without the sign bit: 0, 1, -1 and the
/// two of order 8 (RFC 8032 section 5.1 gives the curve; the points follow from doubling to the identity).
const SMALL_ORDER_Y: [[u8; 32]; 5] = {
    let mut minus_one = FIELD_PRIME;
    minus_one[0] = 0xec;
    let mut one = [0; 32];
    one[0] = 1;
    [
        [0; 32],
        one,
        minus_one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

impl PublicKey {
    /// Checks 32 bytes: encoded canonically, and none of the points whose order is small.
    ///
    /// # Errors
    /// [`KeyInvalid`] says which rule is broken.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyInvalid> {
        let key: [u8; 32] = bytes.try_into().map_err(|_| KeyInvalid::NotAPoint)?;
        let mut y = key;
        if let Some(top) = y.last_mut() {
            *top &= 0x7f;
        }
        if y.iter().rev().ge(FIELD_PRIME.iter().rev()) {
            return Err(KeyInvalid::NotCanonical);
        }
        if SMALL_ORDER_Y.contains(&y) {
            return Err(KeyInvalid::SmallOrder);
        }
        ParsedPublicKey::new(&ED25519, key).map_err(|_| KeyInvalid::NotAPoint)?;
        Ok(Self(key))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&[&self.0]))
    }

    /// Verifies a signature over exactly these bytes.
    ///
    /// # Errors
    /// [`SignatureInvalid`], without saying why.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureInvalid> {
        let key = ParsedPublicKey::new(&ED25519, self.0).map_err(|_| SignatureInvalid)?;
        key.verify_sig(message, &signature.0).map_err(|_| SignatureInvalid)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", text::hex(&self.0))
    }
}

impl Serialize for PublicKey {
    /// Hex for people, 32 bytes on the wire.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&text::hex(&self.0))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            text::from_hex(&String::deserialize(deserializer)?).unwrap_or_default()
        } else {
            <[u8; 32]>::deserialize(deserializer)?.to_vec()
        };
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// A private key. It does not print; its seed is wiped on drop.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a key from 32 random bytes (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`KeyInvalid`] when the library refuses the seed; it has no reason to.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyInvalid> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeyInvalid::NotAPoint)?;
        let public = PublicKey::from_bytes(pair.public_key().as_ref())?;
        Ok(Self { seed, pair, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs exactly these bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_slice(self.pair.sign(message).as_ref()).unwrap_or(Signature([0; 64]))
    }

    /// The seed, for the file that keeps it.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The key as PKCS#8 version 1 (RFC 8410 section 7), the form that TLS and certificates take.
    #[must_use]
    pub fn expose_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        const PREFIX: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        Zeroizing::new([PREFIX.as_slice(), self.seed.as_slice()].concat())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.public.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        text::from_hex(hex).unwrap_or_default()
    }

    #[test]
    fn signs_the_standards_example() -> Result<(), Box<dyn std::error::Error>> {
        // RFC 8032 section 7.1, test 2.
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SigningKey::from_seed(Zeroizing::new(seed.as_slice().try_into()?))?;
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(text::hex(key.public().as_bytes()), public);
        let signature = key.sign(&[0x72]);
        assert_eq!(
            text::hex(&signature.0),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        key.public().verify(&[0x72], &signature)?;
        assert_eq!(key.public().verify(&[0x73], &signature), Err(SignatureInvalid));
        Ok(())
    }

    #[test]
    fn keys_everybody_can_sign_for_are_refused() {
        let check = |hex: &str, expected| assert_eq!(PublicKey::from_bytes(&bytes(hex)), Err(expected), "{hex}");
        let zeros = "00".repeat(31);
        for (low, top) in [("00", "00"), ("00", "80"), ("01", "00"), ("01", "80")] {
            check(&format!("{low}{}{top}", "00".repeat(30)), KeyInvalid::SmallOrder);
        }
        check(&format!("ec{}7f", "ff".repeat(30)), KeyInvalid::SmallOrder);
        for top in ["05", "85"] {
            check(
                &format!("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc{top}"),
                KeyInvalid::SmallOrder,
            );
        }
        for top in ["7a", "fa"] {
            check(
                &format!("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03{top}"),
                KeyInvalid::SmallOrder,
            );
        }
        check(&format!("ed{}7f", "ff".repeat(30)), KeyInvalid::NotCanonical);
        check(&format!("ee{}ff", "ff".repeat(30)), KeyInvalid::NotCanonical);
        check(&zeros, KeyInvalid::NotAPoint);
    }

    #[test]
    fn a_private_key_does_not_print() -> Result<(), KeyInvalid> {
        let key = SigningKey::from_seed(Zeroizing::new([0x5a; 32]))?;
        assert!(!format!("{key:?}").contains("5a5a"));
        Ok(())
    }
}
