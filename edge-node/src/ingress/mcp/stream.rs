//! An answer that comes in pieces: what a tool says of its progress, and its result last; and long results.
//!
//! An agent that asks for progress (`_meta.progressToken`) and takes an event stream gets one as soon as the tool says
//! the first word of it; until then, and for everybody else, the answer is one JSON document. Whatever is still to be
//! sent of an answer when something that it hangs on is cut is not sent. Clauses G-43 to G-45.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body as HttpBody, Frame};
use remit_common::envelope::Effective;
use remit_common::net::mcp::{self, Message, RequestId};
use remit_common::net::progress::{self, Progress, event};
use remit_common::policy::call::ToolCall;
use remit_common::policy::json::Json;
use tokio::sync::{mpsc, oneshot};

use super::{answer_to_call, as_json, finished};
use crate::road::{Gateway, Journey, NoResult, Released, Used};

/// Notifications that wait for a slow agent; what is more is left out, because the next one says it anew.
const WAITING_MAX: usize = 16;
/// Bytes of an answer that go out at once; before each piece it is asked whether they still may.
const PIECE_BYTES: usize = 64 * 1024;

/// The token under which a request wants to hear of progress, from an agent that takes a stream.
pub(super) fn progress_token(headers: &HeaderMap, message: &Message) -> Option<Json> {
    progress::token(message).filter(|_| progress::takes_stream(headers)).cloned()
}

/// What a call came to.
type Outcome = (Journey, Result<Released, NoResult>);

/// Makes a call, and answers with a stream once the tool tells of progress.
pub(super) async fn call(
    gateway: &Arc<Gateway>,
    journey: &mut Journey,
    effective: Arc<Effective>,
    call: ToolCall,
    headers: &HeaderMap,
    (id, token): (RequestId, Json),
) -> Response {
    let (tell, mut told) = mpsc::channel(WAITING_MAX);
    let (done, mut outcome) = oneshot::channel();
    let calling = (Arc::clone(gateway), journey.clone(), Arc::clone(&effective), headers.clone());
    gateway.env.spawn_named("call with progress", async move {
        let (gateway, mut journey, effective, headers) = calling;
        let made = gateway.call(&mut journey, &effective, call, &headers, Some(&tell)).await;
        // The agent may have gone; the call is recorded all the same.
        let _ = done.send((journey, made));
    });
    let first = tokio::select! {
        biased;
        Some(progress) = told.recv() => progress,
        outcome = &mut outcome => {
            return match outcome {
                Ok((made_on, made)) => {
                    *journey = made_on;
                    answer_to_call(gateway, journey, &effective, &id, made)
                }
                Err(_) => super::plain(http::StatusCode::INTERNAL_SERVER_ERROR),
            };
        }
    };
    let stream = EventStream {
        ready: VecDeque::from([event(&first.note(&token))]),
        told,
        outcome: Some(outcome),
        rest: None,
        gateway: Arc::clone(gateway),
        effective,
        id,
        token,
    };
    let mut response = Response::new(Body::new(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of an answer in events.
struct EventStream {
    ready: VecDeque<Bytes>,
    told: mpsc::Receiver<Progress>,
    /// `None` once it has come.
    outcome: Option<oneshot::Receiver<Outcome>>,
    /// The last event, once it is known.
    rest: Option<Guarded>,
    gateway: Arc<Gateway>,
    effective: Arc<Effective>,
    id: RequestId,
    token: Json,
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let this = &mut *self;
        if let Some(ready) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(ready))));
        }
        if let Some(rest) = &mut this.rest {
            return Pin::new(rest).poll_frame(context);
        }
        if let Poll::Ready(Some(progress)) = this.told.poll_recv(context) {
            return Poll::Ready(Some(Ok(Frame::data(event(&progress.note(&this.token))))));
        }
        let Some(outcome) = &mut this.outcome else { return Poll::Ready(None) };
        let Poll::Ready(outcome) = Pin::new(outcome).poll(context) else { return Poll::Pending };
        this.outcome = None;
        // Its task is gone only if the process ends.
        let Ok((journey, made)) = outcome else { return Poll::Ready(Some(Err(CutOff))) };
        let Released { result, used } = match made {
            Ok(released) => released,
            // A denial hangs on nothing.
            Err(none) => return Poll::Ready(Some(Ok(Frame::data(event(&as_json(&journey, &this.id, none)))))),
        };
        let message = mcp::result(&this.id, finished(&journey, result));
        let rest = this.rest.insert(Guarded::new(event(&message), &this.gateway, &this.effective, used));
        Pin::new(rest).poll_frame(context)
    }
}

/// Something that an answer hangs on was cut while it was on the way.
#[derive(Debug, thiserror::Error)]
#[error("what the answer hangs on has been cut: the rest of it is not sent")]
pub(in crate::ingress) struct CutOff;

/// The rest of an answer, which goes out as long as what it hangs on stands.
pub(in crate::ingress) struct Guarded {
    rest: Bytes,
    gateway: Arc<Gateway>,
    effective: Arc<Effective>,
    used: Used,
}

impl Guarded {
    pub(in crate::ingress) fn new(rest: Bytes, gateway: &Arc<Gateway>, effective: &Arc<Effective>, used: Used) -> Self {
        Self { rest, gateway: Arc::clone(gateway), effective: Arc::clone(effective), used }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        // Before the first piece, too: it may have waited for the agent to read.
        if !self.gateway.still_stands(&self.effective, &self.used) {
            tracing::warn!("a cut reached an answer on its way: the rest is not sent");
            return Poll::Ready(Some(Err(CutOff)));
        }
        let len = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(len)))))
    }
}
