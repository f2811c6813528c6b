//! Tool servers that are programs of this machine: started when a call needs one, and talked to in lines over their
//! standard input and output.
//!
//! What runs stands in the edge's configuration; a bundle only names it. One program serves one tenant. It can say what it
//! likes, within bounds: an answer to nothing is dropped, a request of its own refused, a line that is too long or no
//! message ends it, and one that ends comes back after a pause that grows. What it writes to standard error is thrown
//! away, because nothing has declared what may be in it. Clause G-88.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remit_common::id::{TenantId, UpstreamName};
use remit_common::limits::TOOL_BODY_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::mcp::Code;
use remit_common::net::programs::{Program, Started};
use remit_common::net::progress::Progress;
use remit_common::policy::json::{self, Json, Mode};
use remit_common::time::BootTime;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::reply::{Reply, UnusableReply, message};
use super::session::{NoSession, agreed, initialize_message, initialized_message};
use crate::config::ProgramEntry;

/// For a program to begin to talk.
const BEGIN_WITHIN: Duration = Duration::from_secs(20);
/// For a program to take a line.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Before one that ended is started again; twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// One that ran this long has not ended because it was started.
const STEADY: Duration = Duration::from_secs(60);
/// Lines that wait to be taken by a program.
const LINES_MAX: usize = 64;

/// A program gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramFailed {
    #[error("the configuration of this edge has no program of this name")]
    Unknown,
    #[error("the program ended, and is started again after a pause")]
    Pausing,
    #[error("the program cannot be started")]
    NotStarted,
    #[error("the program does not begin to talk: {0}")]
    NoSession(NoSession),
    #[error("the program does not begin to talk in time, or talks nonsense")]
    NotBegun,
    #[error("the program takes no lines")]
    Deaf,
    #[error("the program ended before it answered")]
    Ended,
}

impl ProgramFailed {
    /// Whether the call can have been made.
    pub(crate) fn is_unsent(&self) -> bool {
        !matches!(self, Self::Deaf | Self::Ended)
    }
}

/// The programs of this edge.
#[derive(Debug)]
pub(super) struct ToolPrograms {
    env: Env,
    configured: BTreeMap<UpstreamName, Program>,
    slots: Mutex<Slots>,
}

type Slots = BTreeMap<(TenantId, UpstreamName), Arc<AsyncMutex<Slot>>>;

/// Where one program runs, or will.
#[derive(Debug, Default)]
struct Slot {
    talk: Option<Arc<Talk>>,
    started: Option<BootTime>,
    pause: Duration,
}

impl ToolPrograms {
    pub(super) fn new(env: &Env, entries: &[ProgramEntry]) -> Self {
        let program = |entry: &ProgramEntry| Program {
            executable: entry.executable.clone(),
            arguments: entry.arguments.clone(),
            environment: entry.environment.clone(),
            folder: entry.folder.clone(),
        };
        let configured = entries.iter().map(|entry| (entry.name.clone(), program(entry))).collect();
        Self { env: env.clone(), configured, slots: Mutex::default() }
    }

    /// The program of this tenant, running.
    ///
    /// # Errors
    /// Why it does not run.
    pub(super) async fn running(&self, tenant: &TenantId, name: &str) -> Result<Arc<Talk>, ProgramFailed> {
        let name = UpstreamName::new(name).map_err(|_| ProgramFailed::Unknown)?;
        let program = self.configured.get(&name).ok_or(ProgramFailed::Unknown)?;
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((tenant.clone(), name.clone())).or_default())
        };
        // Others wait meanwhile: it is started once.
        let mut slot = slot.lock().await;
        if let Some(talk) = slot.talk.as_ref().filter(|talk| !talk.has_ended()) {
            return Ok(Arc::clone(talk));
        }
        let now = self.env.now().boot;
        let ran = slot.started.map(|started| now.since(started));
        if ran.is_some_and(|ran| ran < slot.pause) {
            return Err(ProgramFailed::Pausing);
        }
        slot.pause = match ran {
            Some(ran) if ran < STEADY.max(slot.pause * 2) => (slot.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX),
            _ => PAUSE_FIRST,
        };
        (slot.talk, slot.started) = (None, Some(now));
        let started = self.env.programs.start(program).map_err(|error| {
            tracing::warn!(program = name.as_str(), %error, "a program cannot be started");
            ProgramFailed::NotStarted
        })?;
        let talk = Talk::begin(&self.env, started).await.inspect_err(|failed| {
            tracing::warn!(program = name.as_str(), %failed, "a program does not begin to talk");
        })?;
        tracing::info!(program = name.as_str(), %tenant, "a program runs");
        slot.talk = Some(Arc::clone(&talk));
        Ok(talk)
    }
}

/// A conversation with a program that runs.
pub(super) struct Talk {
    /// Whole lines: who stops waiting while one is written does not tear it.
    lines: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<BTreeMap<i64, Waiting>>,
    next: AtomicI64,
    has_ended: AtomicBool,
    /// The program is killed with it.
    running: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// Who waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Result<Reply, UnusableReply>>,
    told: Option<mpsc::Sender<Progress>>,
    left: usize,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Talk({} waiting)", self.waiting().len())
    }
}

impl Talk {
    async fn begin(env: &Env, started: Started) -> Result<Arc<Self>, ProgramFailed> {
        let Started { input, output, errors, running } = started;
        let (lines, to_write) = mpsc::channel(LINES_MAX);
        let talk = Arc::new(Self {
            lines,
            waiting: Mutex::default(),
            next: AtomicI64::new(1),
            has_ended: AtomicBool::new(false),
            running: Mutex::new(Some(running)),
        });
        // All three end with the program, which ends with the last that holds the conversation.
        let weak = Arc::downgrade(&talk);
        drop(env.spawn_named("program's output", async move {
            let mut lines = BufReader::new(output);
            while let Some(line) = line(&mut lines).await {
                let Some(talk) = weak.upgrade() else { return };
                if talk.hear(&line).is_err() {
                    break;
                }
            }
            if let Some(talk) = weak.upgrade() {
                talk.end();
            }
        }));
        drop(env.spawn_named("program's errors", swallow(errors)));
        let weak = Arc::downgrade(&talk);
        drop(env.spawn_named("program's input", async move {
            write_lines(input, to_write).await;
            if let Some(talk) = weak.upgrade() {
                talk.end();
            }
        }));
        let greeting = async {
            let reply = talk.ask(initialize_message, None).await?;
            let reply = reply.map_err(|_| ProgramFailed::NotBegun)?;
            agreed(&reply).map_err(ProgramFailed::NoSession)?;
            talk.write(initialized_message()).await
        };
        match deadline(BEGIN_WITHIN, greeting).await {
            Ok(Ok(())) => Ok(talk),
            Ok(Err(failed)) => {
                talk.end();
                Err(failed)
            }
            Err(_) => {
                talk.end();
                Err(ProgramFailed::NotBegun)
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Asks, with a message that is made for an id, and waits. Whoever waits no longer has it called off.
    ///
    /// # Errors
    /// [`ProgramFailed`].
    pub(super) async fn ask(
        self: &Arc<Self>,
        message: impl FnOnce(i64) -> Vec<u8>,
        told: Option<(mpsc::Sender<Progress>, usize)>,
    ) -> Result<Result<Reply, UnusableReply>, ProgramFailed> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let (told, left) = told.map_or((None, 0), |(told, left)| (Some(told), left));
        self.waiting().insert(id, Waiting { answer, told, left });
        let mut asked = Asked { talk: self, id, is_under_way: false };
        if self.has_ended() {
            return Err(ProgramFailed::Ended);
        }
        self.write(message(id)).await?;
        asked.is_under_way = true;
        let reply = answered.await;
        asked.is_under_way = false;
        reply.map_err(|_| ProgramFailed::Ended)
    }

    /// Has a line written, after those that wait.
    async fn write(&self, line: Vec<u8>) -> Result<(), ProgramFailed> {
        let taken = deadline(WRITE_WITHIN, self.lines.send(line)).await;
        taken.ok().and_then(Result::ok).ok_or(ProgramFailed::Deaf)
    }

    /// Takes what the program says.
    fn hear(&self, line: &[u8]) -> Result<(), NoLine> {
        let said = json::parse(line, Mode::Protocol).map_err(|_| NoLine)?;
        let id = said.get("id");
        match (said.get("method").and_then(Json::as_text), id) {
            (Some(_), Some(id @ (Json::Int(_) | Json::Text(_)))) => {
                // Who asks faster than it reads is not answered.
                let _ = self.lines.try_send(refusal(id));
            }
            (Some(_), _) => self.tell(line, &said),
            (None, Some(Json::Int(id))) => {
                let waiting = self.waiting().remove(id);
                if let Some(waiting) = waiting {
                    let reply = message(line, *id).and_then(|reply| reply.ok_or(UnusableReply::NoResponse));
                    let _ = waiting.answer.send(reply);
                }
            }
            (None, _) => return Err(NoLine),
        }
        Ok(())
    }

    /// Passes a word of progress on, to whom it is about.
    fn tell(&self, line: &[u8], said: &Json) {
        let token = said.get("params").and_then(|params| params.get("progressToken"));
        let Some(token @ Json::Int(id)) = token else { return };
        let mut waiting = self.waiting();
        let Some(Waiting { told: Some(told), left, .. }) = waiting.get_mut(id) else { return };
        if let Some(progress) = Progress::read(line, token).filter(|_| *left > 0) {
            *left -= 1;
            let _ = told.try_send(progress);
        }
    }

    /// Ends the program; nobody waits any longer.
    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<i64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
struct Asked<'t> {
    talk: &'t Arc<Talk>,
    id: i64,
    is_under_way: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.talk.waiting().remove(&self.id);
        if !self.is_under_way || self.talk.has_ended() {
            return;
        }
        let message = Json::object([
            ("jsonrpc", Json::text("2.0")),
            ("method", Json::text("notifications/cancelled")),
            ("params", Json::object([("requestId", Json::Int(self.id))])),
        ]);
        let _ = self.talk.lines.try_send(json::encode(&message));
    }
}

/// What a program is told that asks for something.
fn refusal(id: &Json) -> Vec<u8> {
    let error = Json::object([
        ("code", Json::Int(Code::MethodNotFound.number())),
        ("message", Json::text("nothing is offered here")),
    ]);
    json::encode(&Json::object([("jsonrpc", Json::text("2.0")), ("id", id.clone()), ("error", error)]))
}

/// What a program said is no message of the protocol.
struct NoLine;

/// Writes lines to the end, or until one is not taken in time.
async fn write_lines(mut input: Box<dyn AsyncWrite + Send + Unpin>, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        let writing = async {
            input.write_all(&line).await?;
            input.flush().await
        };
        if !matches!(deadline(WRITE_WITHIN, writing).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next line; `None` at the end, and for one that is too long.
async fn line(lines: &mut BufReader<Box<dyn AsyncRead + Send + Unpin>>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let bytes_max = u64::try_from(TOOL_BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let read = lines.take(bytes_max.saturating_add(1)).read_until(b'\n', &mut line).await.ok()?;
    (read > 0 && line.pop() == Some(b'\n')).then_some(line)
}

/// Reads to the end, and keeps nothing.
async fn swallow(mut errors: Box<dyn AsyncRead + Send + Unpin>) {
    let mut buffer = vec![0; 4_096];
    while errors.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
