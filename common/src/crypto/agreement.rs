//! X25519 (RFC 7748) between two ephemeral keys, and HKDF-SHA256 (RFC 5869) over what comes out.
//!
//! An agreement is worth nothing by itself: whoever uses one has checked a signature over both public halves before.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use super::digest::Digest;

/// Bytes of a public half.
pub const EPHEMERAL_BYTES: usize = 32;

/// Nothing was agreed: the other side's half is a point of small order, with which everybody agrees on the same
/// secret, or the library refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side's ephemeral key is not usable")]
pub struct AgreementRefused;

/// The private half of a key that is used once. It does not print.
pub struct EphemeralKey {
    private: PrivateKey,
    public: [u8; EPHEMERAL_BYTES],
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey")
    }
}

/// A secret that two sides have agreed on. It does not print and is wiped on drop.
pub struct Agreed(Zeroizing<[u8; 32]>);

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agreed")
    }
}

impl EphemeralKey {
    /// Makes a key from 32 random bytes.
    ///
    /// # Errors
    /// [`AgreementRefused`] when the library refuses them; it has no reason to.
    pub fn from_random(bytes: &Zeroizing<[u8; 32]>) -> Result<Self, AgreementRefused> {
        let private = PrivateKey::from_private_key(&X25519, bytes.as_slice()).map_err(|_| AgreementRefused)?;
        let public = private.compute_public_key().map_err(|_| AgreementRefused)?;
        let public = public.as_ref().try_into().map_err(|_| AgreementRefused)?;
        Ok(Self { private, public })
    }

    /// The half that is shown.
    #[must_use]
    pub fn public(&self) -> [u8; EPHEMERAL_BYTES] {
        self.public
    }

    /// Agrees with the owner of `peer`. Consumes `self`: an ephemeral key is used once.
    ///
    /// # Errors
    /// [`AgreementRefused`].
    pub fn agree(self, peer: &[u8; EPHEMERAL_BYTES]) -> Result<Agreed, AgreementRefused> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let agreed: Zeroizing<[u8; 32]> = agree(&self.private, peer, AgreementRefused, |secret| {
            let mut out = Zeroizing::new([0; 32]);
            for (to, from) in out.iter_mut().zip(secret) {
                *to = *from;
            }
            Ok(out)
        })?;
        // RFC 7748 section 6.1: what a point of small order gives. The library refuses it as well.
        if agreed.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(AgreementRefused);
        }
        Ok(Agreed(agreed))
    }
}

/// So many bytes of output.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl Agreed {
    /// A key derived from the secret: HKDF-SHA256 with this salt and info. `info` is one byte string, so callers
    /// prefix lengths themselves.
    ///
    /// # Errors
    /// [`AgreementRefused`] when the library refuses; it has no reason to.
    pub fn derive(&self, salt: &Digest, info: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgreementRefused> {
        let mut out = Zeroizing::new([0; 32]);
        let extracted = Salt::new(HKDF_SHA256, &salt.0).extract(self.0.as_slice());
        let info = [info];
        let expanded = extracted.expand(&info, Bytes32).map_err(|_| AgreementRefused)?;
        expanded.fill(out.as_mut_slice()).map_err(|_| AgreementRefused)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn key(hex: &str) -> EphemeralKey {
        EphemeralKey::from_random(&Zeroizing::new(bytes(hex))).unwrap()
    }

    fn bytes(hex: &str) -> [u8; 32] {
        text::from_hex(hex).unwrap().try_into().unwrap()
    }

    #[test]
    fn agrees_on_the_standards_example() {
        // RFC 7748 section 6.1.
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let (alice_public, bob_public) = (alice.public(), bob.public());
        assert_eq!(text::hex(&alice_public), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(text::hex(&bob_public), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        assert_eq!(text::hex(alice.agree(&bob_public).unwrap().0.as_slice()), shared);
        assert_eq!(text::hex(bob.agree(&alice_public).unwrap().0.as_slice()), shared);
    }

    #[test]
    fn points_of_small_order_are_refused() {
        // The seven of https://cr.yp.to/ecdh.html, each also with the bit that X25519 ignores.
        let points = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for point in points {
            let mut point = bytes(point);
            for _ in 0..2 {
                let refused = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").agree(&point);
                assert_eq!(refused.map(|_| ()), Err(AgreementRefused), "{}", text::hex(&point));
                point[31] ^= 0x80;
            }
        }
    }

    #[test]
    fn the_derived_key_is_that_of_hkdf() {
        // Written a second time with HMAC alone: extract, then the first block of expand (RFC 5869 section 2).
        use crate::crypto::mac::MacKey;
        let secret = Agreed(Zeroizing::new([7; 32]));
        let salt = Digest::of(&[b"salt"]);
        let extracted = MacKey::from_random(&Zeroizing::new(salt.0)).tag(&[7; 32]);
        let expanded = MacKey::from_random(&Zeroizing::new(extracted)).tag(b"info\x01");
        assert_eq!(*secret.derive(&salt, b"info").unwrap(), expanded);
        assert_ne!(*secret.derive(&salt, b"info2").unwrap(), expanded);
        assert!(!format!("{secret:?}").contains('7'));
    }
}
