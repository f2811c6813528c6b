//! The header of everything a voter keeps or sends to another voter: what it is, and of which version.
//!
//! `magic "RMTC" | kind: u16 | version: u16 | body`, numbers big-endian, body in the codec's encoding (Clause C-50).
//! A kind and version name one frozen type; golden bytes in the tests hold it.

use remit_common::wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 4] = *b"RMTC";
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

    /// The version that is written; each kind counts its own.
    fn version(self) -> u16 {
        match self {
            Self::Snapshot => 5,
            Self::Command | Self::Applied | Self::PeerRequest | Self::PeerReply | Self::StoredRecord => 1,
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
    out.extend_from_slice(&kind.version().to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// The version in a header, whatever kind it names.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u16> {
    let ([_, _, _, _, _, _, v0, v1], _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    Some(u16::from_be_bytes([*v0, *v1]))
}

/// Decodes a value of the version that is written today, whose body is at most `BYTES_MAX` bytes.
pub(crate) fn decode<const BYTES_MAX: usize, T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, Malformed> {
    decode_version::<BYTES_MAX, T>(kind, kind.version(), bytes)
}

/// Decodes a value of one version.
pub(crate) fn decode_version<const BYTES_MAX: usize, T: DeserializeOwned>(
    kind: Kind,
    version: u16,
    bytes: &[u8],
) -> Result<T, Malformed> {
    let Some(([m0, m1, m2, m3, k0, k1, v0, v1], body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Malformed::Kind);
    };
    if [*m0, *m1, *m2, *m3] != MAGIC || u16::from_be_bytes([*k0, *k1]) != kind.number() {
        return Err(Malformed::Kind);
    }
    let found = u16::from_be_bytes([*v0, *v1]);
    if found != version {
        return Err(Malformed::Version { found });
    }
    if body.len() > BYTES_MAX {
        return Err(Malformed::Body);
    }
    codec::decode::<BYTES_MAX, T>(body).map_err(|codec::Undecodable| Malformed::Body)
}
