//! Takes a message of the agent and gives the answer to it.

use std::sync::Arc;

use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use remit_common::net::mcp::{Code, Message, RequestId};
use remit_common::policy::json::{self, Json, Mode};

use super::children::{NoChild, Nursery};
use super::edges::{Answer, Edges, NoAnswer};
use super::eras::{Asked, EdgeRequest, Incoming, Reply, answered};
use super::hearing::Notes;

/// The envelope's holder, between its agent and the edges.
pub(crate) struct Sidecar {
    edges: Edges,
    nursery: Nursery,
}

/// What a message asks for, and what the sidecar does about it.
pub(super) enum Work {
    /// Nobody waits for an answer.
    Done,
    /// Nobody waits for the answer to that request any more.
    Cancel(RequestId),
    /// An answer will come; to this request, if it is one.
    Answer(Option<RequestId>, Job),
}

/// What is left to do for an answer.
pub(super) enum Job {
    One(Box<Asked>),
    Batch(Vec<Result<Asked, Reply>>),
    Told(Reply),
}

impl Job {
    /// How many requests are under way while it is: each message of a batch is one.
    pub(super) fn requests(&self) -> usize {
        match self {
            Self::Batch(all) => all.len(),
            Self::One(_) | Self::Told(_) => 1,
        }
    }
}

impl Sidecar {
    pub(crate) fn new(edges: Edges, nursery: Nursery) -> Arc<Self> {
        Arc::new(Self { edges, nursery })
    }

    /// Meets an edge early.
    pub(crate) async fn warm(&self) {
        self.edges.warm().await;
    }

    /// Makes an envelope for another agent; gives the JSON that its parent is told.
    pub(super) async fn child(&self, request: &[u8]) -> Result<Vec<u8>, NoChild> {
        self.nursery.child(&self.edges, request).await
    }

    /// Does it. What a tool says of its progress meanwhile goes to `notes`, before the answer is there.
    pub(super) async fn answer(&self, job: Job, notes: &Notes) -> Option<Reply> {
        match job {
            Job::Told(reply) => Some(reply),
            Job::One(asked) => self.answer_one(*asked, notes).await,
            Job::Batch(all) => {
                let each = all.into_iter().map(|asked| async {
                    match asked {
                        Ok(asked) => self.answer_one(asked, notes).await,
                        Err(reply) => Some(reply),
                    }
                });
                let replies: Vec<_> = join_all(each).await.into_iter().flatten().map(|reply| reply.body).collect();
                let body = [&b"["[..], &replies.join(&b","[..]), b"]"].concat();
                (!replies.is_empty()).then_some(Reply { status: StatusCode::OK, body })
            }
        }
    }

    async fn answer_one(&self, asked: Asked, notes: &Notes) -> Option<Reply> {
        match asked {
            Asked::Nothing | Asked::Cancel(_) => None,
            Asked::Here(id, result) => Some(Reply::result(&id, result)),
            Asked::Unknown(id) => Some(Reply::error(Some(&id), Code::MethodNotFound, "method not found", None)),
            Asked::Delegate(id, params) => Some(self.delegate(&id, params).await),
            Asked::Edge(id, request) => Some(self.ask(&id, &request, notes).await),
        }
    }

    async fn delegate(&self, id: &RequestId, params: Json) -> Reply {
        let params = match params {
            Json::Object(members) => Json::Object(members.into_iter().filter(|(key, _)| key != "_meta").collect()),
            other => other,
        };
        let child = match self.child(&json::encode(&params)).await {
            Ok(child) => json::parse(&child, Mode::Protocol).map_err(|error| NoChild::Failed(error.to_string())),
            Err(no) => Err(no),
        };
        match child {
            Ok(child) => Reply::result(id, child),
            Err(NoChild::Asked(why)) => Reply::error(Some(id), Code::InvalidParams, &why, None),
            Err(NoChild::Failed(why)) => Reply::error(Some(id), Code::Internal, &why, None),
        }
    }

    async fn ask(&self, id: &RequestId, request: &EdgeRequest, notes: &Notes) -> Reply {
        match self.edges.ask(request, notes).await {
            Ok(Answer::Document(status, body)) => answered(request.era, id, status, &body).unwrap_or_else(|| {
                let text = format!("the edge's answer is none to this request: HTTP {}", status.as_u16());
                internal(id, &text, "edge_answer")
            }),
            Ok(Answer::NoChannel(body)) => no_channel(id, &body),
            Err(no) => internal(id, &no.to_string(), NoAnswer::reason(&no)),
        }
    }
}

/// A channel that is refused is refused for what is wrong with the envelope, and reads like any such refusal.
fn no_channel(id: &RequestId, body: &[u8]) -> Reply {
    let data = json::parse(body, Mode::Protocol).ok().filter(|data| data.get("reason").is_some());
    match data.as_ref().and_then(|data| data.get("reason")).and_then(Json::as_text) {
        Some(reason) => {
            let text = format!("denied: {reason}");
            Reply::error(Some(id), Code::Denied, &text, data)
        }
        None => internal(id, "the edge opens no channel, and does not say why", "edge_answer"),
    }
}

fn internal(id: &RequestId, text: &str, reason: &str) -> Reply {
    Reply::error(Some(id), Code::Internal, text, Some(Json::object([("reason", Json::text(reason))])))
}

impl Work {
    /// Reads what came in a line of its own.
    pub(super) fn by_line(bytes: &[u8]) -> Self {
        Self::of(bytes, Asked::by_line)
    }

    /// Reads what came as the body of a POST.
    pub(super) fn by_http(bytes: &[u8], headers: &HeaderMap) -> Self {
        Self::of(bytes, |message| Asked::by_http(message, headers))
    }

    fn of(bytes: &[u8], read: impl Fn(Message) -> Asked) -> Self {
        match Incoming::parse(bytes) {
            Err(fault) => Self::Answer(None, Job::Told(Reply::no_message(&fault))),
            Ok(Incoming::One(message)) => {
                let id = message.id.clone();
                match read(message) {
                    Asked::Nothing => Self::Done,
                    Asked::Cancel(id) => Self::Cancel(id),
                    asked => Self::Answer(id, Job::One(Box::new(asked))),
                }
            }
            Ok(Incoming::Batch(messages)) => {
                let each = messages.into_iter();
                let all = each.map(|message| message.map(&read).map_err(|fault| Reply::no_message(&fault)));
                Self::Answer(None, Job::Batch(all.collect()))
            }
        }
    }
}
