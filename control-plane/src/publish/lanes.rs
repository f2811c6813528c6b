//! The streams on which a voter sends to one edge.
//!
//! Each carries one message at a time, and the next is made only when that one has been taken, so that what is superseded
//! meanwhile is never sent (D-2). They are written by the task that has the connection: a task and a queue for each lane
//! weighed more than all else that a voter keeps of an idle edge, and every message went through both.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use remit_common::net::env::deadline;
use remit_common::net::framed::StreamFailed;
use remit_common::sync::Lane;
use remit_common::sync::publisher::Publisher;
use remit_common::time::BootTime;
use remit_common::wire::message::WireMessage as _;
use tokio::io::AsyncWrite;

/// Time for a message to be taken by the peer.
const FRAME_WITHIN: Duration = Duration::from_secs(20);

/// The lanes of one connection, the most urgent first.
pub(super) struct Lanes<W = quinn::SendStream>([Outgoing<W>; 3]);

struct Outgoing<W> {
    lane: Lane,
    /// Opened with the first message: most connections never need some.
    stream: Option<W>,
    /// The message under way, and how much of it has been taken.
    frame: Vec<u8>,
    taken: usize,
    until: BootTime,
}

impl<W: AsyncWrite + Unpin> Lanes<W> {
    /// With the stream that the edge has opened.
    pub(super) fn new(control: W) -> Self {
        let lane = |lane, stream| Outgoing { lane, stream, frame: Vec::new(), taken: 0, until: BootTime::default() };
        Self([lane(Lane::Revocations, None), lane(Lane::Control, Some(control)), lane(Lane::Objects, None)])
    }

    /// Gives every lane that has none the message that the publisher has for it.
    pub(super) fn fill(&mut self, publisher: &mut Publisher, now: BootTime) -> Result<(), StreamFailed> {
        for lane in self.0.iter_mut().filter(|lane| lane.frame.is_empty()) {
            if publisher.has_output(lane.lane)
                && let Some(message) = publisher.poll(lane.lane)
            {
                (lane.frame, lane.taken, lane.until) = (message.to_frame()?, 0, now.plus(FRAME_WITHIN));
            }
        }
        Ok(())
    }

    /// Whether a message is under way.
    pub(super) fn are_busy(&self) -> bool {
        self.0.iter().any(|lane| !lane.frame.is_empty())
    }

    /// Whether this lane carries no message.
    pub(super) fn is_idle(&self, lane: Lane) -> bool {
        self.0.iter().filter(|of| of.lane == lane).all(|of| of.frame.is_empty())
    }

    /// When the peer has been too slow.
    pub(super) fn until(&self) -> Option<BootTime> {
        self.0.iter().filter(|lane| !lane.frame.is_empty()).map(|lane| lane.until).min()
    }

    /// Whether a lane waits for its stream.
    pub(super) fn lack_stream(&self) -> bool {
        self.0.iter().any(Outgoing::lacks_stream)
    }

    /// Gives a stream to the first lane that waits for one, and says to which.
    pub(super) fn open(&mut self, stream: W) -> Option<(Lane, &mut W)> {
        let lane = self.0.iter_mut().find(|lane| lane.lacks_stream())?;
        Some((lane.lane, lane.stream.insert(stream)))
    }

    /// Returns once a message has been taken, or a stream is gone. Cancelling loses nothing.
    pub(super) async fn write(&mut self) -> Result<(), StreamFailed> {
        poll_fn(|cx| {
            let mut poll = Poll::Pending;
            for lane in &mut self.0 {
                match lane.poll_write(cx) {
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Ready(Ok(())) => poll = Poll::Ready(Ok(())),
                    Poll::Pending => {}
                }
            }
            poll
        })
        .await
    }
}

impl Lanes {
    /// Ends the control stream, and waits until the edge has what it carried, no longer than `within`.
    pub(super) async fn end(self, within: Duration) {
        for lane in self.0 {
            if let (Lane::Control, Some(mut stream)) = (lane.lane, lane.stream) {
                // One that is gone takes nothing any more.
                let _ = stream.finish();
                let _ = deadline(within, stream.stopped()).await;
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    fn lacks_stream(&self) -> bool {
        !self.frame.is_empty() && self.stream.is_none()
    }

    /// Ready when the message under way has been taken.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        while let Some(rest) = self.frame.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => self.taken = self.taken.saturating_add(more),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            if self.taken >= self.frame.len() {
                // Let go of, rather than kept for the next: most lanes are idle most of the time.
                (self.frame, self.taken) = (Vec::new(), 0);
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use remit_common::id::{BootId, EdgeId, MeshId, VoterId};
    use remit_common::net::framed::FramedRecv;
    use remit_common::revocation::Revocations;
    use remit_common::sync::published::{PublishedObject, PublishedRevocations, PublishedState};
    use remit_common::wire::message::{EdgeMessage, Fetch, Have, Hello, VoterMessage};
    use remit_common::wire::version::SPOKEN;
    use tokio::io::DuplexStream;

    use super::*;

    const MESH: MeshId = MeshId([1; 16]);
    const NOW: BootTime = BootTime::from_millis(1_000);

    /// A publisher whose edge has greeted and asks for this object.
    fn publisher(object: &PublishedObject) -> Publisher {
        let mut state = PublishedState::new(PublishedRevocations::new(Revocations::new()), Vec::new());
        state.set_directory(7, object);
        let edge = EdgeId::new("e1").unwrap();
        let mut publisher = Publisher::new(MESH, edge.clone(), VoterId(1), Arc::new(state), NOW);
        let hello = Hello { versions: SPOKEN.to_vec(), mesh: MESH, edge, boot: BootId([2; 16]) };
        publisher.handle_message(EdgeMessage::Hello(hello)).unwrap();
        publisher.handle_message(EdgeMessage::Subscribe(Have::default())).unwrap();
        publisher.handle_message(EdgeMessage::Fetch(Fetch { digests: vec![object.object.digest] })).unwrap();
        publisher
    }

    #[tokio::test]
    async fn a_lane_makes_a_message_when_the_one_before_has_been_taken() {
        // Clause D-2.
        let object = PublishedObject::new(vec![7; 100]);
        let mut publisher = publisher(&object);
        let (near, far) = tokio::io::duplex(4);
        let mut lanes = Lanes::new(near);
        assert_eq!((lanes.are_busy(), lanes.until()), (false, None));
        for _ in 0..2 {
            lanes.fill(&mut publisher, NOW).unwrap();
            assert!(publisher.has_output(Lane::Control), "the directory waits until the greeting has been taken");
            assert!(futures::poll!(std::pin::pin!(lanes.write())).is_pending());
        }
        assert!(!lanes.is_idle(Lane::Control) && !lanes.is_idle(Lane::Objects));
        assert_eq!(lanes.until(), Some(NOW.plus(FRAME_WITHIN)));

        // The object's lane has a message, and no stream until it is given one.
        assert!(lanes.lack_stream());
        let (objects_near, objects_far) = tokio::io::duplex(1024);
        assert!(matches!(lanes.open(objects_near), Some((Lane::Objects, _))));
        assert!(!lanes.lack_stream());
        let reading = async {
            let (mut control, mut objects) = (FramedRecv::new(far), FramedRecv::new(objects_far));
            async fn next(stream: &mut FramedRecv<DuplexStream>) -> VoterMessage {
                stream.recv(FRAME_WITHIN).await.unwrap().unwrap()
            }
            [next(&mut control).await, next(&mut control).await, next(&mut objects).await]
        };
        let writing = async {
            while lanes.are_busy() {
                lanes.write().await.unwrap();
                lanes.fill(&mut publisher, NOW).unwrap();
            }
        };
        let (heard, ()) = tokio::join!(reading, writing);
        let [VoterMessage::HelloAck(_), VoterMessage::Directory(directory), VoterMessage::Object(chunk)] = heard else {
            panic!("{heard:?}");
        };
        assert_eq!((directory.version, chunk.bytes), (7, object.bytes.to_vec()));
    }

    #[tokio::test]
    async fn a_stream_that_is_gone_says_so() {
        let mut publisher = publisher(&PublishedObject::new(vec![7; 100]));
        let (near, far) = tokio::io::duplex(4);
        let mut lanes = Lanes::new(near);
        lanes.fill(&mut publisher, NOW).unwrap();
        drop(far);
        assert!(matches!(lanes.write().await, Err(StreamFailed::Broken(_))));
    }
}
