//! A message on a stream: a frame with the message's kind and length, and more frames while it goes on (C-20).
//!
//! The length is compared with the bound of the kind before anything is stored, and memory grows with what arrives,
//! not with what was announced.

use remit_common::limits::CHUNK_BYTES_MAX;
use remit_common::net::env::deadline;
use remit_common::net::framed::StreamFailed;
use remit_common::wire::frame::{self, HEADER_BYTES, Header, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::PIECE_DEADLINE;
use super::message::Kind;

/// The kind of a frame that continues a message.
const CONTINUED: u16 = 0x02ff;
/// Bytes of the message's length, in front of its first piece.
const LENGTH_BYTES: usize = 8;

/// Sends one message, whose body is given in parts. Cancelling leaves half of it: drop the stream then.
///
/// # Errors
/// [`StreamFailed`].
pub(super) async fn send<W: AsyncWrite + Unpin>(
    stream: &mut W,
    kind: Kind,
    parts: &[&[u8]],
) -> Result<(), StreamFailed> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let len_on_wire = u64::try_from(len).unwrap_or(u64::MAX);
    if len > kind.bytes_max() {
        return Err(PeerMisbehaved::TooLong { len: len_on_wire, max: kind.bytes_max() }.into());
    }
    let mut frame_kind = kind.number();
    let mut piece = Vec::with_capacity(len.min(CHUNK_BYTES_MAX).saturating_add(LENGTH_BYTES));
    piece.extend_from_slice(&len_on_wire.to_be_bytes());
    let mut room = CHUNK_BYTES_MAX;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            piece.extend_from_slice(now);
            room = room.saturating_sub(now.len());
            rest = later;
            if room == 0 {
                write(stream, frame_kind, &piece).await?;
                piece.clear();
                (frame_kind, room) = (CONTINUED, CHUNK_BYTES_MAX);
            }
        }
    }
    if frame_kind != CONTINUED || !piece.is_empty() {
        write(stream, frame_kind, &piece).await?;
    }
    Ok(())
}

async fn write<W: AsyncWrite + Unpin>(stream: &mut W, kind: u16, body: &[u8]) -> Result<(), StreamFailed> {
    let frame = frame::encode(kind, body)?;
    deadline(PIECE_DEADLINE, stream.write_all(&frame)).await.map_err(|_| StreamFailed::Deadline)??;
    Ok(())
}

/// Receives one message. Waits for its first byte as long as it takes, and for each further piece only so long.
///
/// # Errors
/// [`StreamFailed`].
pub(super) async fn recv<R: AsyncRead + Unpin>(stream: &mut R) -> Result<(Kind, Vec<u8>), StreamFailed> {
    let (message, _nothing) = recv_within(stream, None).await?;
    Ok(message)
}

/// What one peer may have us hold at the same time, in all its messages.
#[derive(Debug)]
pub(super) struct Budget(Semaphore);

/// The unit of a [`Budget`].
const BUDGET_UNIT_BYTES: usize = 1024;

impl Budget {
    /// Room for `bytes`; the longest message must fit, or it would wait for ever.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Semaphore::new(bytes / BUDGET_UNIT_BYTES))
    }

    /// Waits for room. The room is given back when the permit is dropped.
    async fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, StreamFailed> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX);
        // Nobody closes the budget.
        self.0.acquire_many(units).await.map_err(|_| StreamFailed::Torn)
    }
}

/// Like [`recv`], but reads the body only once the peer's budget has room for it; the room is taken as long as the
/// permit is kept.
///
/// # Errors
/// [`StreamFailed`].
pub(super) async fn recv_within<'a, R: AsyncRead + Unpin>(
    stream: &mut R,
    budget: Option<&'a Budget>,
) -> Result<((Kind, Vec<u8>), Option<SemaphorePermit<'a>>), StreamFailed> {
    let mut header = [0; HEADER_BYTES];
    let (first, rest) = header.split_at_mut(1);
    read(stream, first).await?;
    deadline(PIECE_DEADLINE, read(stream, rest)).await.map_err(|_| StreamFailed::Deadline)??;
    let Header { kind, len } = Header::decode(&header)?;
    let kind = Kind::of(kind).ok_or(OUT_OF_PLACE)?;
    let body_len = len.checked_sub(LENGTH_BYTES).ok_or(OUT_OF_PLACE)?;
    let mut length = [0; LENGTH_BYTES];
    deadline(PIECE_DEADLINE, read(stream, &mut length)).await.map_err(|_| StreamFailed::Deadline)??;
    let announced = u64::from_be_bytes(length);
    let max = kind.bytes_max();
    let len = usize::try_from(announced).ok().filter(|len| *len <= max);
    let len = len.ok_or(PeerMisbehaved::TooLong { len: announced, max })?;
    let room = match budget {
        Some(budget) => Some(budget.reserve(len).await?),
        None => None,
    };
    let mut message = Vec::new();
    piece(stream, &mut message, body_len, len).await?;
    while message.len() < len {
        deadline(PIECE_DEADLINE, read(stream, &mut header)).await.map_err(|_| StreamFailed::Deadline)??;
        let Header { kind, len: piece_len } = Header::decode(&header)?;
        if kind != CONTINUED || piece_len == 0 {
            return Err(OUT_OF_PLACE.into());
        }
        piece(stream, &mut message, piece_len, len).await?;
    }
    Ok(((kind, message), room))
}

const OUT_OF_PLACE: PeerMisbehaved =
    PeerMisbehaved::OutOfPlace { kind: "voter", why: "not the first or the next frame of a message" };

async fn read<R: AsyncRead + Unpin>(stream: &mut R, out: &mut [u8]) -> Result<(), StreamFailed> {
    match stream.read_exact(out).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(StreamFailed::Torn),
        Err(error) => Err(error.into()),
    }
}

/// Adds a piece of `piece_len` bytes to a message that will have `len`.
async fn piece<R: AsyncRead + Unpin>(
    stream: &mut R,
    message: &mut Vec<u8>,
    piece_len: usize,
    len: usize,
) -> Result<(), StreamFailed> {
    let end = message.len().saturating_add(piece_len);
    if end > len {
        return Err(OUT_OF_PLACE.into());
    }
    let wanted = u64::try_from(piece_len).unwrap_or(u64::MAX);
    let mut limited = stream.take(wanted);
    let reading = limited.read_to_end(message);
    deadline(PIECE_DEADLINE, reading).await.map_err(|_| StreamFailed::Deadline)??;
    if message.len() == end { Ok(()) } else { Err(StreamFailed::Torn) }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
