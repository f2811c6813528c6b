//! Messages over a stream: one frame each, its length checked before memory is spent, each wait with a deadline.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::wire::frame::PeerMisbehaved;
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
    #[error("the peer broke the protocol")]
    Misbehaved(#[from] PeerMisbehaved),
}

/// The sending side.
#[derive(Debug)]
pub struct FramedSend<W = quinn::SendStream> {
    stream: W,
}

/// The receiving side.
#[derive(Debug)]
pub struct FramedRecv<R = quinn::RecvStream> {
    stream: R,
}

impl<W: AsyncWrite + Unpin> FramedSend<W> {
    /// Over a stream that carries nothing else.
    pub fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Sends one message. Cancelling leaves half a frame: drop the stream then.
    ///
    /// # Errors
    /// [`StreamFailed`].
    pub async fn send<M: WireMessage>(&mut self, _message: &M, _within: Duration) -> Result<(), StreamFailed> {
        todo!()
    }

    /// The stream itself, to set its priority or finish it.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.stream
    }
}

impl<R: AsyncRead + Unpin> FramedRecv<R> {
    /// Over a stream that carries nothing else.
    pub fn new(stream: R) -> Self {
        Self { stream }
    }

    /// The next message; `None` when the peer has ended the stream between two. Waits for the first byte as long as
    /// it takes, for the rest of the frame no longer than `within`. Cancelling loses nothing.
    ///
    /// # Errors
    /// [`StreamFailed`].
    pub async fn recv<M: WireMessage>(&mut self, _within: Duration) -> Result<Option<M>, StreamFailed> {
        todo!()
    }

    /// The stream itself, to stop it.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }
}
