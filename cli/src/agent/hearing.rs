//! What an edge says while a tool works.
//!
//! Whoever asked for progress is told the numbers of each notification about that request, written anew; the last event
//! is the answer. What nobody takes in time is left out, because the next one says it anew. Clause G-81.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use remit_common::net::progress::{self, Progress};
use remit_common::net::sse::Events;
use remit_common::policy::json::Json;
use tokio::sync::mpsc;

/// Notifications on their way to the agent.
pub(super) type Notes = mpsc::Sender<Vec<u8>>;

/// Notifications of one request that go on, as an edge has it.
const NOTES_MAX: usize = 1_000;

/// One answer, as it arrives.
pub(super) struct Hearing<'a> {
    notes: &'a Notes,
    /// `None`: nobody wants to hear.
    token: Option<&'a Json>,
    events: Events,
    left: usize,
    /// The newest event that is none of progress.
    last: Option<Vec<u8>>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(notes: &'a Notes, token: Option<&'a Json>) -> Self {
        Self { notes, token, events: Events::default(), left: NOTES_MAX, last: None }
    }

    /// The next piece of the answer.
    pub(super) fn hear(&mut self, head: &Parts, piece: &Bytes) {
        let Some(token) = self.token.filter(|_| is_stream(head)) else { return };
        for event in self.events.push(piece) {
            match Progress::read(&event, token) {
                Some(progress) if self.left > 0 => {
                    self.left -= 1;
                    let _ = self.notes.try_send(progress.note(token));
                }
                Some(_) => {}
                None => self.last = Some(event),
            }
        }
    }

    /// The answer, when all of it is there. `None`: the stream had none.
    pub(super) fn answer(self, head: &Parts, body: Bytes) -> Option<Bytes> {
        if is_stream(head) { self.last.map(Bytes::from) } else { Some(body) }
    }
}

fn is_stream(head: &Parts) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|kind| progress::is_stream(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: &str) -> Parts {
        http::Response::builder().header(CONTENT_TYPE, kind).body(()).unwrap().into_parts().0
    }

    fn note(token: &str, done: u32) -> String {
        format!(
            r#"data: {{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{done}}}}}"#
        ) + "\n\n"
    }

    /// Clause G-81.
    #[tokio::test]
    async fn notes_about_the_request_go_on_and_the_last_event_is_the_answer() {
        let (notes, mut told) = mpsc::channel(4);
        let token = Json::Int(7);
        let stream = head("text/event-stream");
        let mut hearing = Hearing::new(&notes, Some(&token));
        let text = [note("7", 1), note("8", 2), note("7", 3), "data: {\"id\":1}\n\n".to_owned()].concat();
        for piece in text.as_bytes().chunks(9) {
            hearing.hear(&stream, &Bytes::copy_from_slice(piece));
        }
        for done in [1, 3] {
            let note = String::from_utf8(told.recv().await.unwrap()).unwrap();
            assert!(note.contains(&format!("\"progress\":{done}")) && note.contains("\"progressToken\":7"), "{note}");
        }
        assert!(told.try_recv().is_err());
        assert_eq!(hearing.answer(&stream, Bytes::new()).unwrap(), "{\"id\":1}");
    }

    #[tokio::test]
    async fn a_document_is_an_answer_and_an_agent_that_does_not_keep_up_misses_some() {
        let (notes, mut told) = mpsc::channel(2);
        let (token, stream) = (Json::text("a"), head("text/event-stream;charset=utf-8"));
        let mut hearing = Hearing::new(&notes, Some(&token));
        hearing.hear(&stream, &Bytes::from((0..NOTES_MAX * 2).map(|_| note("\"a\"", 1)).collect::<String>()));
        assert_eq!(hearing.left, 0);
        assert!(told.try_recv().is_ok() && told.try_recv().is_ok() && told.try_recv().is_err());
        assert_eq!(hearing.answer(&stream, Bytes::new()), None, "a stream without an answer is none");
        let mut hearing = Hearing::new(&notes, Some(&token));
        hearing.hear(&head("application/json"), &Bytes::from("{}"));
        assert_eq!(hearing.answer(&head("application/json"), Bytes::from("{}")).unwrap(), "{}");
    }
}
