//! A holder's request, passed on to a voter.
//!
//! It has been looked at here, so that strangers cost the voters nothing; what it is worth the voters find out by
//! themselves. It is safe to ask a second voter when the first one falls silent, because the same request does the same
//! once. Clauses G-41 and W-11.

use std::time::Duration;

use remit_common::identity::SignedRequest;
use remit_common::net::env::deadline;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::wire::message::{EdgeMessage, RevokeAnswer, RevokeAsked, VoterMessage};
use tokio::sync::{Semaphore, watch};

use super::{Link, Links};

/// Requests under way at the same time; there are voters to whom each is a moment's work, and an agent can wait.
const UNDER_WAY_MAX: usize = 16;
/// For one voter: a commit, and the loss of a leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// The status of an answer that says that this voter cannot act now.
const UNAVAILABLE: u16 = 503;

/// A request was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAsked {
    #[error("too many requests are under way at this edge")]
    Busy,
    #[error("this edge has no voter that answers; whether it was carried out is unknown, so ask again")]
    NoVoter,
}

/// The way to the voters.
#[derive(Debug)]
pub(crate) struct Asking {
    links: watch::Receiver<Links>,
    under_way: Semaphore,
}

impl Asking {
    pub(crate) fn new(links: watch::Receiver<Links>) -> Self {
        Self { links, under_way: Semaphore::new(UNDER_WAY_MAX) }
    }

    /// Has a voter commit what a holder signed.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub(crate) async fn revoke(&self, request: SignedRequest) -> Result<RevokeAnswer, NotAsked> {
        let _slot = self.under_way.try_acquire().map_err(|_| NotAsked::Busy)?;
        let links = self.links.borrow().clone();
        let mut unavailable = None;
        for cell in links.iter() {
            let Some(link) = cell.borrow().clone() else { continue };
            let asked = EdgeMessage::Revoke(RevokeAsked { request: request.clone() });
            match deadline(ANSWER_WITHIN, ask(&link, &asked)).await {
                Ok(Ok(Some(answer @ RevokeAnswer::Refused { status: UNAVAILABLE, .. }))) => unavailable = Some(answer),
                Ok(Ok(Some(answer))) => return Ok(answer),
                Ok(Ok(None)) => tracing::warn!(voter = %link.voter, "the voter does not answer holders' requests"),
                Ok(Err(error)) => tracing::warn!(voter = %link.voter, %error, "a holder's request got no answer"),
                Err(_) => tracing::warn!(voter = %link.voter, "a holder's request got no answer in time"),
            }
        }
        unavailable.ok_or(NotAsked::NoVoter)
    }
}

async fn ask(link: &Link, asked: &EdgeMessage) -> Result<Option<RevokeAnswer>, StreamFailed> {
    let (send, recv) = link.connection.quic.open_bi().await.map_err(std::io::Error::from)?;
    let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
    send.send(asked, ANSWER_WITHIN).await?;
    Ok(match recv.recv::<VoterMessage>(ANSWER_WITHIN).await? {
        Some(VoterMessage::Revoked(answer)) => Some(answer),
        Some(_) | None => None,
    })
}
