//! A private key as one line of a file: `<kind> <base64 of the 32-byte seed>`.
//!
//! One form for every key of a mesh: administrators', holders', issuers', node identities, sealing keys. The kind
//! stands in the line, so that a sealing key given where a signing key belongs is refused instead of tried. Clause U-1.

use zeroize::Zeroizing;

use super::hpke::SealingKey;
use super::sign::{KeyInvalid, SigningKey};
use crate::text;

/// Bytes that a key file may have: a kind, a space, 44 characters and a line end are less.
pub const KEY_FILE_BYTES_MAX: usize = 128;

const SIGNING: &str = "remit-ed25519-seed";
const SEALING: &str = "remit-xwing-seed";

/// The bytes are not a key file of the kind that was asked for. Says nothing of what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKeyFile {
    /// Too long, not text, or not `<kind> <base64>`.
    #[error("not one line of a kind and a base64 seed")]
    Shape,
    /// A key of another kind, or of none we know.
    #[error("not a `{expected}` file")]
    Kind {
        /// The kind that was asked for.
        expected: &'static str,
    },
    /// The seed is not 32 bytes of canonical base64.
    #[error("the seed is not 32 bytes of base64")]
    Seed,
    /// The library refused the seed.
    #[error("the seed makes no key")]
    Key(#[from] KeyInvalid),
}

/// The file of a signing key.
#[must_use]
pub fn encode_signing(key: &SigningKey) -> Zeroizing<String> {
    encode(SIGNING, key.expose_seed())
}

/// Reads the file of a signing key.
///
/// # Errors
/// [`MalformedKeyFile`].
pub fn parse_signing(bytes: &[u8]) -> Result<SigningKey, MalformedKeyFile> {
    Ok(SigningKey::from_seed(parse(SIGNING, bytes)?)?)
}

/// The file of a sealing key.
#[must_use]
pub fn encode_sealing(key: &SealingKey) -> Zeroizing<String> {
    encode(SEALING, key.expose_seed())
}

/// Reads the file of a sealing key.
///
/// # Errors
/// [`MalformedKeyFile`].
pub fn parse_sealing(bytes: &[u8]) -> Result<SealingKey, MalformedKeyFile> {
    Ok(SealingKey::from_seed(parse(SEALING, bytes)?))
}

fn encode(kind: &str, seed: &[u8; 32]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(text::base64(seed));
    Zeroizing::new(format!("{kind} {}\n", base64.as_str()))
}

fn parse(expected: &'static str, bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, MalformedKeyFile> {
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(MalformedKeyFile::Shape);
    }
    let line = str::from_utf8(bytes).map_err(|_| MalformedKeyFile::Shape)?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (kind, seed) = line.split_once(' ').ok_or(MalformedKeyFile::Shape)?;
    if kind != expected {
        return Err(MalformedKeyFile::Kind { expected });
    }
    let bytes = Zeroizing::new(text::from_base64(seed).ok_or(MalformedKeyFile::Seed)?);
    Ok(Zeroizing::new(bytes.as_slice().try_into().map_err(|_| MalformedKeyFile::Seed)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Clause U-1.
    #[test]
    fn a_key_file_is_this_line() {
        let seed = || Zeroizing::new([7; 32]);
        let signing = SigningKey::from_seed(seed()).unwrap();
        let line = "remit-ed25519-seed BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        assert_eq!(encode_signing(&signing).as_str(), line);
        assert_eq!(parse_signing(line.as_bytes()).unwrap().public(), signing.public());
        let sealing = SealingKey::from_seed(seed());
        let line = "remit-xwing-seed BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        assert_eq!(encode_sealing(&sealing).as_str(), line);
        assert_eq!(parse_sealing(line.as_bytes()).unwrap().public().id(), sealing.public().id());
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let line = b"remit-xwing-seed BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        assert_eq!(parse_signing(line).unwrap_err(), MalformedKeyFile::Kind { expected: SIGNING });
        for bad in ["", "remit-ed25519-seed", "remit-ed25519-seed \n", "remit-ed25519-seed BwcH\n", "x y z"] {
            assert!(parse_signing(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_signing(&bytes);
            let _ = parse_sealing(&bytes);
        }
    }
}
