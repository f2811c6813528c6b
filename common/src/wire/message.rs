//! The messages of the mesh's streams.

use super::codec::Unencodable;
use super::frame::{Frame, PeerMisbehaved};

/// A value that travels as one frame.
pub trait WireMessage: Sized + Send + Sync {
    /// The whole frame, header included.
    ///
    /// # Errors
    /// [`Unencodable`] when it exceeds the bound of a frame; the fault is ours.
    fn to_frame(&self) -> Result<Vec<u8>, Unencodable>;

    /// Reads the body of a frame. A type that is not known is a value of its own, never an error (W-6).
    ///
    /// # Errors
    /// [`PeerMisbehaved`] when the body is no message of the type that the header names.
    fn from_frame(frame: Frame<'_>) -> Result<Self, PeerMisbehaved>;
}
