//! One frame: a fixed header that names version, type and length, then the body.
//!
//! Every message of the mesh and every persistent entry that we frame has this header, so that a reader of any age
//! can tell what it holds, step over what it does not know, and refuse a length before it spends memory on it.
//! Clauses W-1 to W-4, docs/PROTOCOL.md. There is no checksum: on a QUIC stream the AEAD tag of each packet already
//! covers every byte, so a checksum of ours could only repeat that. Files that need one add it outside.

use crate::limits::FRAME_BYTES_MAX;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"RMT1";
/// The version of the frame header and of the rules for bodies.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of the header: magic, format version, type and length, big-endian (W-1).
pub const HEADER_BYTES: usize = 12;

/// A peer did what no peer of ours does. The connection to it is dropped, and nothing it said since counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    /// These bytes begin no frame.
    #[error("not a frame")]
    NotAFrame,
    /// The header has a format that this version cannot step over.
    #[error("frame format {found} is not known")]
    UnknownFormat {
        /// The format version found.
        found: u16,
    },
    /// The body is longer than anything that is sent.
    #[error("a frame body of {len} bytes exceeds {max}")]
    TooLong {
        /// The length that the header states.
        len: u64,
        /// The bound.
        max: usize,
    },
    /// The body is no message of the type that the header names.
    #[error("the body is no `{kind}` message")]
    Malformed {
        /// The message type.
        kind: &'static str,
    },
    /// A message that has no place in the conversation at this point.
    #[error("`{kind}` is out of place: {why}")]
    OutOfPlace {
        /// The message type.
        kind: &'static str,
        /// Why it is out of place.
        why: &'static str,
    },
    /// A number that only rises did not.
    #[error("the {what} went back from {from} to {to}")]
    WentBack {
        /// What the number counts.
        what: &'static str,
        /// What it was.
        from: u64,
        /// What it would be.
        to: u64,
    },
    /// More of something than anybody needs.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// It did not do in time what it had to.
    #[error("the peer is too slow: {what}")]
    TooSlow {
        /// What it had to do.
        what: &'static str,
    },
    /// It belongs to another mesh, or is somebody else than its certificate says.
    #[error("the peer is not who it should be")]
    WrongPeer,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type of the message in the body.
    pub kind: u16,
    /// Bytes of the body; not more than [`FRAME_BYTES_MAX`].
    pub len: usize,
}

/// A frame in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type of the message in the body.
    pub kind: u16,
    /// The body.
    pub body: &'a [u8],
}

/// What the front of a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame, and how many bytes it takes up.
    Frame(Frame<'a>, usize),
    /// The beginning of one. This many bytes are missing at least.
    NeedMore(usize),
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when it is none, or states a length beyond the bound.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, PeerMisbehaved> {
        let [m0, m1, m2, m3, f0, f1, k0, k1, l0, l1, l2, l3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(PeerMisbehaved::NotAFrame);
        }
        let found = u16::from_be_bytes([f0, f1]);
        if found != FORMAT_VERSION {
            return Err(PeerMisbehaved::UnknownFormat { found });
        }
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        match usize::try_from(len) {
            Ok(len) if len <= FRAME_BYTES_MAX => Ok(Self { kind: u16::from_be_bytes([k0, k1]), len }),
            _ => Err(PeerMisbehaved::TooLong { len: len.into(), max: FRAME_BYTES_MAX }),
        }
    }
}

/// Makes a frame.
///
/// # Errors
/// [`PeerMisbehaved::TooLong`] when the body exceeds the bound: the fault is ours, and no peer gets to see it.
pub fn encode(kind: u16, body: &[u8]) -> Result<Vec<u8>, PeerMisbehaved> {
    let too_long =
        || PeerMisbehaved::TooLong { len: u64::try_from(body.len()).unwrap_or(u64::MAX), max: FRAME_BYTES_MAX };
    if body.len() > FRAME_BYTES_MAX {
        return Err(too_long());
    }
    let len = u32::try_from(body.len()).map_err(|_| too_long())?;
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

/// Looks at the front of a buffer. The length is checked as soon as the header is there, before the body is.
///
/// # Errors
/// [`PeerMisbehaved`] when no frame of ours begins like this.
pub fn decode(buffer: &[u8]) -> Result<Decoded<'_>, PeerMisbehaved> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        let begins_right = buffer.iter().zip(MAGIC).all(|(found, magic)| *found == magic);
        return if begins_right {
            Ok(Decoded::NeedMore(HEADER_BYTES - buffer.len()))
        } else {
            Err(PeerMisbehaved::NotAFrame)
        };
    };
    let Header { kind, len } = Header::decode(header)?;
    Ok(match rest.get(..len) {
        Some(body) => Decoded::Frame(Frame { kind, body }, HEADER_BYTES + len),
        None => Decoded::NeedMore(len - rest.len()),
    })
}
