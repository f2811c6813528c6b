//! The header of everything a voter keeps or sends to another voter: what it is, and of which version.
//!
//! `magic "RMTC" | kind: u16 | version: u16 | body`, numbers big-endian, body in the codec's encoding (Clause C-50).
//! A kind and version name one frozen type; golden bytes in the tests hold it.

use remit_common::wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 4] = *b"RMTC";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;

/// What the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A command of the log.
    Command,
    /// A command's answer.
    Applied,
    /// The registry.
    Snapshot,
    /// A question to another voter.
    PeerRequest,
    /// Its answer.
    PeerReply,
    /// A decision record as the collector keeps it.
    StoredRecord,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::Command => 1,
            Self::Applied => 2,
            Self::Snapshot => 3,
            Self::PeerRequest => 4,
            Self::PeerReply => 5,
            Self::StoredRecord => 6,
        }
    }
}

/// Bytes are not of the kind and version that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not one of ours, or of another kind.
    #[error("not the kind of entry that was expected")]
    Kind,
    /// From a later version of this program.
    #[error("entry version {found} is not known here")]
    Version {
        /// The version found.
        found: u16,
    },
    /// The body is not what the header says.
    #[error("the body is malformed")]
    Body,
}

/// Encodes a value of ours. Its parts were bounded when they came in; whoever sends or stores it bounds the whole.
pub(crate) fn encode(kind: Kind, value: &impl Serialize) -> Vec<u8> {
    // INVARIANT: the types of this crate have nothing that the codec cannot write. Should one come to, the empty body
    // is refused by every reader.
    let body = codec::encode::<{ usize::MAX }>(value).unwrap_or_default();
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// Decodes a value whose body is at most `BYTES_MAX` bytes.
pub(crate) fn decode<const BYTES_MAX: usize, T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, Malformed> {
    let Some(([m0, m1, m2, m3, k0, k1, v0, v1], body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Malformed::Kind);
    };
    if [*m0, *m1, *m2, *m3] != MAGIC || u16::from_be_bytes([*k0, *k1]) != kind.number() {
        return Err(Malformed::Kind);
    }
    let found = u16::from_be_bytes([*v0, *v1]);
    if found != VERSION {
        return Err(Malformed::Version { found });
    }
    if body.len() > BYTES_MAX {
        return Err(Malformed::Body);
    }
    codec::decode::<BYTES_MAX, T>(body).map_err(|codec::Undecodable| Malformed::Body)
}
