//! Messages over a stream: one frame each, its length checked before memory is spent, each wait with a deadline.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::env::deadline;
use crate::wire::codec::Unencodable;
use crate::wire::frame::{Frame, HEADER_BYTES, Header, PeerMisbehaved};
use crate::wire::message::WireMessage;

/// A stream gave out.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailed {
    /// The peer did not take or send in time.
    #[error("the peer is too slow")]
    Deadline,
    /// The connection is gone.
    #[error("the stream broke")]
    Broken(#[from] io::Error),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Torn,
    /// The peer sent what no peer of ours sends.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
    /// Our own message does not fit a frame; the stream is as it was.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
}

/// The sending side.
#[derive(Debug)]
pub struct FramedSend<W = quinn::SendStream> {
    stream: W,
}

/// The receiving side. What has arrived of a frame stays here when a wait is cancelled.
#[derive(Debug)]
pub struct FramedRecv<R = quinn::RecvStream> {
    stream: R,
    /// The header, as far as it has arrived, then the body.
    partial: Vec<u8>,
    header: Option<Header>,
}

impl<W: AsyncWrite + Unpin> FramedSend<W> {
    /// Over a stream that carries nothing else.
    pub fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Sends one message. Cancelling, or the deadline, may leave half a frame: drop the stream then.
    ///
    /// # Errors
    /// [`StreamFailed`].
    pub async fn send<M: WireMessage>(&mut self, message: &M, within: Duration) -> Result<(), StreamFailed> {
        self.send_frame(&message.to_frame()?, within).await
    }

    /// Sends a frame that is encoded already, as when many peers get the same. Cancelling is as for [`Self::send`].
    ///
    /// # Errors
    /// [`StreamFailed`].
    pub async fn send_frame(&mut self, frame: &[u8], within: Duration) -> Result<(), StreamFailed> {
        deadline(within, self.stream.write_all(frame)).await.map_err(|_| StreamFailed::Deadline)??;
        Ok(())
    }

    /// The stream itself, to set its priority or finish it.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.stream
    }
}

impl<R: AsyncRead + Unpin> FramedRecv<R> {
    /// Over a stream that carries nothing else.
    pub fn new(stream: R) -> Self {
        Self { stream, partial: Vec::new(), header: None }
    }

    /// The next message; `None` when the peer has ended the stream between two. Waits for the first byte as long as
    /// it takes, then for the rest of the frame no longer than `within`. Cancelling loses nothing.
    ///
    /// # Errors
    /// [`StreamFailed`].
    pub async fn recv<M: WireMessage>(&mut self, within: Duration) -> Result<Option<M>, StreamFailed> {
        if self.partial.is_empty() && self.header.is_none() && self.fill(1).await? == Filled::Ended {
            return Ok(None);
        }
        deadline(within, self.frame()).await.map_err(|_| StreamFailed::Deadline)??;
        let (Some(header), body) = (self.header.take(), std::mem::take(&mut self.partial)) else {
            return Err(StreamFailed::Torn);
        };
        Ok(Some(M::from_frame(Frame { kind: header.kind, body: &body })?))
    }

    /// The stream itself, to stop it.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Completes `header`, then `partial` as the body.
    async fn frame(&mut self) -> Result<(), StreamFailed> {
        let header = match self.header {
            Some(header) => header,
            None => {
                if self.fill(HEADER_BYTES).await? == Filled::Ended {
                    return Err(StreamFailed::Torn);
                }
                let Some(bytes) = self.partial.first_chunk::<HEADER_BYTES>() else { return Err(StreamFailed::Torn) };
                let header = Header::decode(bytes)?;
                self.partial = Vec::new();
                *self.header.insert(header)
            }
        };
        match self.fill(header.len).await? {
            Filled::Enough => Ok(()),
            Filled::Ended => Err(StreamFailed::Torn),
        }
    }

    /// Reads until `partial` has `len` bytes, and never more. Memory grows with what arrives, not with what the
    /// header promises.
    async fn fill(&mut self, len: usize) -> Result<Filled, StreamFailed> {
        while self.partial.len() < len {
            let missing = u64::try_from(len - self.partial.len()).unwrap_or(u64::MAX);
            if (&mut self.stream).take(missing).read_buf(&mut self.partial).await? == 0 {
                return Ok(Filled::Ended);
            }
        }
        Ok(Filled::Enough)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Enough,
    Ended,
}
