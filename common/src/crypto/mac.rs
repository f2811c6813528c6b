//! HMAC-SHA256 (RFC 2104, FIPS 198-1) for what only we check ourselves.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 32;

/// A tag is not the one that this key makes of these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tag does not match")]
pub struct TagMismatch;

/// A key that tags and checks.
pub struct MacKey(hmac::Key);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

impl MacKey {
    /// Makes a key from 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: &Zeroizing<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()))
    }

    /// The tag of `message`. With a secret that is used for nothing else, also a key derived from it.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> [u8; TAG_BYTES] {
        let mut out = [0; TAG_BYTES];
        for (to, from) in out.iter_mut().zip(hmac::sign(&self.0, message).as_ref()) {
            *to = *from;
        }
        out
    }

    /// Compares in a time that says nothing about where the tags differ.
    ///
    /// # Errors
    /// [`TagMismatch`].
    pub fn check(&self, message: &[u8], tag: &[u8]) -> Result<(), TagMismatch> {
        hmac::verify(&self.0, message, tag).map_err(|_| TagMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_the_standards_example_and_checks_it() {
        // RFC 4231 section 4.2, test case 1; its key of 20 bytes is padded with zeros to a block, so 32 bytes that end
        // in zeros are the same key.
        let mut key = [0; 32];
        key.iter_mut().take(20).for_each(|byte| *byte = 0x0b);
        let key = MacKey::from_random(&Zeroizing::new(key));
        let tag = key.tag(b"Hi There");
        assert_eq!(crate::text::hex(&tag), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_eq!(key.check(b"Hi There", &tag), Ok(()));
        assert_eq!(key.check(b"Hi there", &tag), Err(TagMismatch));
        assert_eq!(key.check(b"Hi There", &tag[..31]), Err(TagMismatch));
    }
}
