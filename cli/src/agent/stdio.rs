//! The sidecar over standard input and output: one JSON text in each line, answers as they come.
//!
//! Between them stands what tools say of their progress, to whom asked for it. Nothing else is ever written to standard output; what there is to tell goes to standard error. The end of input
//! means that no more will be asked: what is under way is answered, and the process ends. Clause G-63.

use std::collections::BTreeMap;
use std::io::{BufRead, Write as _};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use remit_common::limits::AGENT_BODY_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::mcp::{Code, RequestId};
use remit_common::net::tasks::Shutdown;
use remit_common::policy::json::Json;
use tokio::sync::mpsc;

use super::eras::Reply;
use super::hearing::Notes;
use super::listener::UNDER_WAY_MAX;
use super::sidecar::{Job, Sidecar, Work};

/// Lines that wait to be looked at, and answers and notes that wait to be written.
const LINES_MAX: usize = 16;
/// For an agent that reads no more to take the last answers.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// What came on standard input.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Text(Vec<u8>),
    /// More than a message may have; thrown away.
    TooLong,
}

/// What is under way: which request it is, and what it gives.
type Waiting<'a> = FuturesUnordered<BoxFuture<'a, (Option<RequestId>, usize, Option<Reply>)>>;

/// All that is under way.
#[derive(Default)]
struct UnderWay<'a> {
    waiting: Waiting<'a>,
    /// How many requests that is: a batch is several.
    requests: usize,
    /// How to call each off.
    cancels: BTreeMap<RequestId, AbortHandle>,
}

/// Talks until the input ends or shutdown is requested.
pub(crate) async fn talk(env: &Env, sidecar: &Sidecar, shutdown: &Shutdown) {
    let (lines, mut arriving) = mpsc::channel(LINES_MAX);
    let (answers, leaving) = mpsc::channel(LINES_MAX);
    // It ends with the input, or with the process: nothing interrupts a read of standard input.
    drop(env.spawn_named("standard input", {
        let env = env.clone();
        async move {
            let _ = env.run_blocking(move || read_lines(std::io::stdin().lock(), &lines)).await;
        }
    }));
    let writing = env.spawn_named("standard output", {
        let env = env.clone();
        async move {
            let _ = env.run_blocking(move || write_lines(leaving)).await;
        }
    });
    tokio::select! {
        biased;
        () = shutdown.requested() => {}
        () = converse(sidecar, &mut arriving, &answers) => {}
    }
    drop(answers);
    if deadline(WRITTEN_WITHIN, writing.join()).await.is_err() {
        tracing::warn!("the agent did not read all answers");
    }
}

async fn converse(sidecar: &Sidecar, arriving: &mut mpsc::Receiver<Line>, answers: &Notes) {
    let mut under_way = UnderWay::default();
    let mut is_open = true;
    while is_open || !under_way.waiting.is_empty() {
        let reply = tokio::select! {
            line = arriving.recv(), if is_open => match line {
                Some(line) => begin(sidecar, line, &mut under_way, answers),
                None => {
                    is_open = false;
                    None
                }
            },
            Some((id, requests, reply)) = under_way.waiting.next(), if !under_way.waiting.is_empty() => {
                under_way.requests = under_way.requests.saturating_sub(requests);
                if let Some(id) = id {
                    under_way.cancels.remove(&id);
                }
                reply
            }
        };
        if let Some(reply) = reply
            && answers.send(reply.body).await.is_err()
        {
            // Nobody reads any more.
            return;
        }
    }
}

/// Begins what a line asks for; gives what can be said at once.
fn begin<'a>(sidecar: &'a Sidecar, line: Line, under_way: &mut UnderWay<'a>, notes: &'a Notes) -> Option<Reply> {
    let text = match line {
        Line::Text(text) => text,
        Line::TooLong => {
            let told = format!("a message of more than {AGENT_BODY_BYTES_MAX} bytes");
            return Some(Reply::error(None, Code::InvalidRequest, &told, None));
        }
    };
    let (id, job) = match Work::by_line(&text) {
        Work::Done => return None,
        Work::Cancel(id) => {
            // The edge may have called the tool all the same; nobody is told what came of it.
            if let Some(cancel) = under_way.cancels.remove(&id) {
                cancel.abort();
            }
            return None;
        }
        Work::Answer(id, job) => (id, job),
    };
    if let Job::Told(reply) = job {
        return Some(reply);
    }
    let requests = job.requests();
    let in_all = under_way.requests.saturating_add(requests);
    if in_all > UNDER_WAY_MAX {
        let data = Json::object([("reason", Json::text("busy"))]);
        return Some(Reply::error(id.as_ref(), Code::Internal, "too many requests at the same time", Some(data)));
    }
    if let Some(id) = id.as_ref().filter(|id| under_way.cancels.contains_key(id)) {
        return Some(Reply::error(Some(id), Code::InvalidRequest, "a request with this id is under way", None));
    }
    let (cancel, registration) = AbortHandle::new_pair();
    under_way.cancels.extend(id.clone().map(|id| (id, cancel)));
    let answer = Abortable::new(async move { sidecar.answer(job, notes).await }, registration);
    under_way.requests = in_all;
    under_way.waiting.push(answer.map(move |answer| (id, requests, answer.ok().flatten())).boxed());
    None
}

/// Reads line after line, without keeping more of one than a message may have.
fn read_lines(mut input: impl BufRead, lines: &mpsc::Sender<Line>) {
    while let Some(line) = read_line(&mut input) {
        let is_blank = matches!(&line, Line::Text(text) if text.trim_ascii().is_empty());
        if !is_blank && lines.blocking_send(line).is_err() {
            return;
        }
    }
}

fn read_line(input: &mut impl BufRead) -> Option<Line> {
    let (mut text, mut length, mut is_any) = (Vec::new(), 0usize, false);
    loop {
        let chunk = match input.fill_buf() {
            Ok([]) | Err(_) => break,
            Ok(chunk) => chunk,
        };
        is_any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        length = length.saturating_add(part.len());
        if length <= AGENT_BODY_BYTES_MAX {
            text.extend_from_slice(part);
        } else {
            text = Vec::new();
        }
        let used = end.map_or(chunk.len(), |end| end.saturating_add(1));
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    let line = if length > AGENT_BODY_BYTES_MAX { Line::TooLong } else { Line::Text(text) };
    is_any.then_some(line)
}

fn write_lines(mut answers: mpsc::Receiver<Vec<u8>>) {
    let mut output = std::io::stdout().lock();
    while let Some(mut body) = answers.blocking_recv() {
        body.push(b'\n');
        if output.write_all(&body).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Line> {
        let mut input = std::io::BufReader::with_capacity(7, input);
        std::iter::from_fn(|| read_line(&mut input)).collect()
    }

    #[test]
    fn a_line_is_a_message_and_a_long_one_is_thrown_away() {
        let text = |text: &[u8]| Line::Text(text.to_vec());
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"{\"a\":1}\n\n{}"), [text(b"{\"a\":1}"), text(b""), text(b"{}")]);
        let mut long = vec![b'x'; AGENT_BODY_BYTES_MAX + 1];
        long.extend_from_slice(b"\nnext\n");
        assert_eq!(lines(&long), [Line::TooLong, text(b"next")]);
        let longest = vec![b'x'; AGENT_BODY_BYTES_MAX];
        assert_eq!(lines(&longest), [Line::Text(longest.clone())]);
    }
}
