//! The few shapes of CBOR that channels and proofs are made of: one array of definite length with unsigned integers,
//! byte strings and texts in it.
//!
//! Deterministic (RFC 8949 section 4.2.1) and nothing else. What has a second encoding is refused in one place: what
//! was read is written again, and has to be the same bytes.

use minicbor::Decoder;

use super::refused::MalformedProof;
use crate::envelope::Writer;

/// Reads the items of one array, in order.
pub(super) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    /// An array of exactly `items`, of which the first is the version.
    pub(super) fn new(bytes: &'b [u8], bytes_max: usize, items: usize, version: u64) -> Result<Self, MalformedProof> {
        if bytes.len() > bytes_max {
            return Err(MalformedProof::TooLong { bytes_max });
        }
        let mut decoder = Decoder::new(bytes);
        let found = decoder.array().ok().flatten().and_then(|count| usize::try_from(count).ok());
        if found != Some(items) {
            return Err(MalformedProof::Shape { at: "array" });
        }
        let mut reader = Self(decoder);
        if reader.uint("version")? != version {
            return Err(MalformedProof::Shape { at: "version" });
        }
        Ok(reader)
    }

    pub(super) fn uint(&mut self, at: &'static str) -> Result<u64, MalformedProof> {
        self.0.u64().map_err(|_| MalformedProof::Shape { at })
    }

    pub(super) fn bytes(&mut self, at: &'static str) -> Result<&'b [u8], MalformedProof> {
        self.0.bytes().map_err(|_| MalformedProof::Shape { at })
    }

    /// A byte string of fixed length.
    pub(super) fn exactly<const N: usize>(&mut self, at: &'static str) -> Result<[u8; N], MalformedProof> {
        self.bytes(at)?.try_into().map_err(|_| MalformedProof::Shape { at })
    }

    /// A text that is something more particular, such as an id.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, at: &'static str) -> Result<T, MalformedProof> {
        let text = self.0.str().map_err(|_| MalformedProof::Shape { at })?;
        text.parse().map_err(|_| MalformedProof::Shape { at })
    }

    /// That nothing follows, and that `again`, the one encoding of what was read, is what was read.
    pub(super) fn end(self, again: &[u8]) -> Result<(), MalformedProof> {
        if self.0.position() != self.0.input().len() {
            return Err(MalformedProof::Shape { at: "end" });
        }
        if self.0.input() == again { Ok(()) } else { Err(MalformedProof::NotDeterministic) }
    }
}

/// A writer for an array of `items`, of which the first is the version.
pub(super) fn array(items: usize, version: u64) -> Writer {
    let mut out = Writer::sized(192);
    out.array(items).uint(version);
    out
}

/// Each part behind its length (u32, big-endian): two different lists of parts are never the same bytes.
pub(super) fn prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len().saturating_add(4)).sum());
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}
