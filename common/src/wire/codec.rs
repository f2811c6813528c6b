//! Values as bytes, for frame bodies and log entries: the only file that names bincode.
//!
//! bincode 2's standard configuration: positional, without names, so that a type that is written must never change
//! shape: one frozen type per message type and version, enums only grow at the end, golden bytes hold it (W-5). The
//! crate is complete and no longer maintained; what replaces it will be written in here and nowhere else. Nothing is
//! ever signed in this encoding.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::FRAME_BYTES_MAX;

/// A value cannot be written: its type uses what a positional format has no place for, or it exceeds the bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be encoded: {0}")]
pub struct Unencodable(String);

impl Unencodable {
    /// For a message of a type that this build does not know, which it can receive but not send.
    pub(super) fn unknown() -> Self {
        Self("a message of an unknown type is not ours to send".to_owned())
    }

    /// For a body that fits no frame.
    pub(super) fn too_long(len: usize) -> Self {
        Self(format!("{len} bytes do not fit a frame"))
    }
}

/// Bytes are not the value that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a value of this type")]
pub struct Undecodable;

/// Encodes a value of at most `BYTES_MAX` bytes.
///
/// # Errors
/// [`Unencodable`].
pub fn encode<const BYTES_MAX: usize>(value: &impl Serialize) -> Result<Vec<u8>, Unencodable> {
    let bytes = bincode::serde::encode_to_vec(value, config::standard()).map_err(|e| Unencodable(e.to_string()))?;
    if bytes.len() > BYTES_MAX {
        return Err(Unencodable(format!("{} bytes exceed {BYTES_MAX}", bytes.len())));
    }
    Ok(bytes)
}

/// Decodes a value that takes up all of `bytes`, of which there are at most `BYTES_MAX`.
///
/// What a length inside claims is compared with the size of the input before memory is spent on it: a hostile input
/// makes us reserve some dozens of times its own size, and only for as long as it takes to refuse it.
///
/// # Errors
/// [`Undecodable`], without saying why.
pub fn decode<const BYTES_MAX: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    if bytes.len() > BYTES_MAX {
        return Err(Undecodable);
    }
    // The library counts a number by its width in memory, and one byte may stand for sixteen.
    match bytes.len() {
        len if len <= 0x1000 => claiming::<0x1_0000, T>(bytes),
        len if len <= 0x1_0000 => claiming::<0x10_0000, T>(bytes),
        len if len <= FRAME_BYTES_MAX => claiming::<{ 16 * FRAME_BYTES_MAX }, T>(bytes),
        len if len <= 0x40_0000 => claiming::<0x400_0000, T>(bytes),
        len if len <= 0x400_0000 => claiming::<0x4000_0000, T>(bytes),
        _ => claiming::<0x1_0000_0000, T>(bytes),
    }
}

fn claiming<const CLAIM_MAX: usize, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let bounded = config::standard().with_limit::<CLAIM_MAX>();
    match bincode::serde::decode_from_slice(bytes, bounded) {
        Ok((value, taken)) if taken == bytes.len() => Ok(value),
        _ => Err(Undecodable),
    }
}

/// Bytes as one run instead of element by element: `#[serde(with = "…codec::bytes")]`. The encoding is the same.
pub mod bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::Serializer;

    /// Writes a length and the bytes.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads a length and the bytes.
    ///
    /// # Errors
    /// What the deserializer says.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_encodes_within_the_bound_decodes_within_it() {
        // Numbers take one byte each and sixteen in memory.
        let numbers = vec![1u128; FRAME_BYTES_MAX - 5];
        let bytes = encode::<FRAME_BYTES_MAX>(&numbers).expect("fits");
        assert_eq!(decode::<FRAME_BYTES_MAX, Vec<u128>>(&bytes), Ok(numbers));
        for len in [0, 1, 0xfff, 0x1000, 0xffff, 0x1_0000, 0x3f_ffff, 0x40_0000] {
            let text = "x".repeat(len);
            let bytes = encode::<0x80_0000>(&text).expect("fits");
            assert_eq!(decode::<0x80_0000, String>(&bytes), Ok(text), "{len}");
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_refused() {
        assert!(encode::<3>(&"text").is_err());
        assert_eq!(decode::<3, String>(&[4, b't', b'e', b'x', b't']), Err(Undecodable));
        let claims_much = [[253].as_slice(), &(1u64 << 40).to_le_bytes(), b"text"].concat();
        assert_eq!(decode::<0x1000, String>(&claims_much), Err(Undecodable));
    }
}
