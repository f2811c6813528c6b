//! What holders ask for through their edge: to cut what is theirs. Each request comes on a stream of its own, is handed
//! to the log like an administrator's, and answered once it is committed. The edge has looked at it, and nobody here
//! relies on that: every voter verifies it. Clauses T-52 and W-11.

use std::time::Duration;

use remit_common::id::EdgeId;
use remit_common::net::env::deadline;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::revocation::REVOCATIONS_PATH;
use remit_common::sync::Lane;
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::{EdgeMessage, RevokeAnswer, RevokeAsked, VoterMessage, WireMessage as _};

use crate::admin;
use crate::cluster::Cluster;
use crate::registry::Applied;

/// From the stream to the whole request, and from the answer to its being taken.
const FRAME_WITHIN: Duration = Duration::from_secs(5);

/// Answers one request. It ends by itself: the stream, the log and the answer have their times; and of an edge no more
/// are under way than it may have streams.
pub(super) fn serve(cluster: &Cluster, edge: EdgeId, send: quinn::SendStream, recv: quinn::RecvStream) {
    let answering = cluster.clone();
    drop(cluster.env.spawn_named("holder's request", async move {
        let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
        // A stream that is gone already says so at the first write.
        let _ = send.get_mut().set_priority(Lane::Control.priority());
        let answered = async {
            let Ok(message) = deadline(FRAME_WITHIN, recv.recv::<EdgeMessage>(FRAME_WITHIN)).await else {
                return Err(StreamFailed::Deadline);
            };
            let answer = match message? {
                Some(EdgeMessage::Revoke(asked)) => answer(&answering, asked).await,
                Some(EdgeMessage::Unknown { .. }) => refused(501, "unknown", "this voter does not know the request"),
                Some(other) => {
                    let why = "this stream carries a holder's request";
                    return Err(PeerMisbehaved::OutOfPlace { kind: other.name(), why }.into());
                }
                None => return Ok(()),
            };
            send.send(&VoterMessage::Revoked(answer), FRAME_WITHIN).await?;
            // One that is gone has the answer, or asks again.
            let _ = send.get_mut().finish();
            Ok(())
        };
        if let Err(error) = answered.await {
            tracing::info!(%edge, %error, "a holder's request was not answered");
        }
    }));
}

async fn answer(cluster: &Cluster, RevokeAsked { request }: RevokeAsked) -> RevokeAnswer {
    if request.path != REVOCATIONS_PATH {
        return refused(403, "not_theirs_to_cut", "edges pass on what holders want cut, and nothing else");
    }
    let problem = match cluster.submit(request).await {
        Ok(submitted) => match submitted.applied {
            Applied::Revoked { epoch, until } => return RevokeAnswer::Committed { epoch, until },
            Applied::Refused(refusal) => admin::problem_of(&refusal),
            other => return refused(500, "malformed", other.outcome()),
        },
        Err(error) => admin::problem_of_write(error),
    };
    RevokeAnswer::Refused { status: problem.status, reason: problem.reason, detail: problem.detail }
}

fn refused(status: u16, reason: &str, detail: &str) -> RevokeAnswer {
    RevokeAnswer::Refused { status, reason: reason.to_owned(), detail: detail.to_owned() }
}
