//! The body of a request of an agent, within its bound.

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt as _;
use remit_common::limits::AGENT_BODY_BYTES_MAX;

/// Bytes of a body that are read at all.
pub(crate) const BODY_BYTES_READ_MAX: usize = 8 * AGENT_BODY_BYTES_MAX;

/// A body that is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("a body of more than {AGENT_BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("a body that broke off")]
    Broken,
}

impl Unread {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body. Of one that is too long the rest is thrown away up to a bound, so that a client that writes first and
/// reads then gets to see why.
///
/// # Errors
/// [`Unread`].
pub(super) async fn read(mut body: Body) -> Result<Vec<u8>, Unread> {
    let (mut bytes, mut seen) = (Vec::new(), 0usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= AGENT_BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if seen > BODY_BYTES_READ_MAX / 2 {
            break;
        }
    }
    if seen > AGENT_BODY_BYTES_MAX { Err(Unread::TooLong) } else { Ok(bytes) }
}
