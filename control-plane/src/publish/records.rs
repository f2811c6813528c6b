//! The record stream of one edge: batches in, acknowledgements out, one batch at a time. The stream's window is the
//! credit: an edge that is faster than this voter's disk waits. In between the edge hears where voters are that joined
//! later (K-17).

use std::time::Duration;

use remit_common::crypto::sign::PublicKey;
use remit_common::id::EdgeId;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::sync::Lane;
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::{
    EdgeMessage, RecordAck, RecordFork, Refused, VoterAddresses, VoterMessage, WireMessage as _,
};
use tokio::sync::watch;

use crate::collect::{Collected, Collector, NotCollected};

/// Time for the rest of a batch once it has begun, and for an acknowledgement to be taken.
const FRAME_WITHIN: Duration = Duration::from_secs(20);

/// Serves the stream until the edge ends it.
pub(super) async fn serve(
    edge: EdgeId,
    key: PublicKey,
    collector: Collector,
    mut addresses: watch::Receiver<VoterAddresses>,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
) -> Result<(), StreamFailed> {
    let (mut send, mut recv) = (FramedSend::new(send), FramedRecv::new(recv));
    // A stream that is gone already says so at the first write.
    let _ = send.get_mut().set_priority(Lane::Control.priority());
    let mut told = VoterAddresses { voters: Vec::new() };
    loop {
        let known = addresses.borrow_and_update().clone();
        if known != told {
            told = known.clone();
            send.send(&VoterMessage::Voters(known), FRAME_WITHIN).await?;
        }
        let message = tokio::select! {
            biased;
            message = recv.recv::<EdgeMessage>(FRAME_WITHIN) => message?,
            Ok(()) = addresses.changed() => continue,
        };
        let Some(message) = message else { return Ok(()) };
        let batch = match message {
            EdgeMessage::RecordBatch(batch) => batch,
            EdgeMessage::Unknown { .. } => continue,
            other => {
                let why = "this stream carries records";
                return Err(PeerMisbehaved::OutOfPlace { kind: other.name(), why }.into());
            }
        };
        let boot = batch.boot;
        // Boxed: an idle edge's task need not have room for it.
        let answer = match Box::pin(collector.store(edge.clone(), &key, batch)).await {
            Ok(Collected::Stored { seq }) => VoterMessage::RecordAck(RecordAck { boot, seq }),
            Ok(Collected::Fork { seq, stored }) => VoterMessage::RecordFork(RecordFork { boot, seq, stored }),
            Err(NotCollected::Malformed(error)) => return Err(error.into()),
            Err(NotCollected::Unusable { reason, detail }) => {
                VoterMessage::Refused(Refused { code: reason.to_owned(), detail })
            }
            Err(NotCollected::Stopping) => return Ok(()),
        };
        send.send(&answer, FRAME_WITHIN).await?;
    }
}
