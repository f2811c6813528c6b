//! Tool servers that are programs of this machine: started when a call needs one, and talked to in lines over their
//! standard input and output.
//!
//! What runs stands in the edge's configuration; a bundle only names it. One program serves one tenant. It can say what it
//! likes, within bounds: an answer to nothing is dropped, a request of its own refused, a line that is too long or no
//! message ends it, and one that ends comes back after a pause that grows. What it writes to standard error is thrown
//! away, because nothing has declared what may be in it. Clause G-88.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use remit_common::id::{TenantId, UpstreamName};
use remit_common::limits::TOOL_BODY_BYTES_MAX;
use remit_common::net::env::{Env, deadline};
use remit_common::net::mcp::Code;
use remit_common::net::programs::{Program, Started};
use remit_common::net::progress::Progress;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::json::{self, Json, Mode};
use remit_common::time::BootTime;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::CalledOff;
use super::reply::{Reply, UnusableReply, message};
use super::session::{NoSession, agreed, initialize_message, initialized_message};
use crate::config::ProgramEntry;

/// For a program to begin to talk.
const BEGIN_WITHIN: Duration = Duration::from_secs(20);
/// For a program to take a line.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Before one that ended is started again; twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// One that ran this long has not ended because it was started.
const STEADY: Duration = Duration::from_secs(60);
/// Lines that wait to be taken by a program.
const LINES_MAX: usize = 64;
/// Characters of an id by which a program asks for something.
const THEIR_ID_MAX: usize = 128;

/// A program gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    #[error("the program ended before it was called")]
    NotTaken,
    #[error("called off: {0}")]
    CalledOff(CalledOff),
    #[error("the program ended before it answered")]
    Ended,
}

impl ProgramFailed {
    /// Whether the call can have been made.
    pub(crate) fn is_unsent(&self) -> bool {
        !matches!(self, Self::Ended)
    }
}

/// The programs of this edge.
#[derive(Debug)]
pub(super) struct ToolPrograms {
    env: Env,
    configured: BTreeMap<UpstreamName, Program>,
    slots: Mutex<Slots>,
}

impl Default for Slot {
    fn default() -> Self {
        let never = BootTime::from_millis(0);
        Self { talk: None, started: never, pause: Duration::ZERO, pauses_until: never }
    }
}

type Slots = BTreeMap<(TenantId, UpstreamName), Arc<AsyncMutex<Slot>>>;

/// Where one program runs, or will.
#[derive(Debug)]
struct Slot {
    talk: Option<Arc<Talk>>,
    /// When the last one was started.
    started: BootTime,
    pause: Duration,
    /// Until then none is.
    pauses_until: BootTime,
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
        // Others wait meanwhile: it is started once, and by no caller: whoever stops waiting does not stop it.
        let mut slot = slot.lock_owned().await;
        if let Some(talk) = slot.talk.as_ref().filter(|talk| !talk.has_ended()) {
            return Ok(Arc::clone(talk));
        }
        slot.settle(self.env.now().boot);
        if self.env.now().boot < slot.pauses_until {
            return Err(ProgramFailed::Pausing);
        }
        let (tell, told) = oneshot::channel();
        let (env, program) = (self.env.clone(), program.clone());
        drop(self.env.spawn_named("starting a program", async move {
            let started = slot.start(&env, &program).await;
            match &started {
                Ok(_) => tracing::info!(program = name.as_str(), "a program runs"),
                Err(failed) => tracing::warn!(program = name.as_str(), %failed, "a program does not run"),
            }
            drop(slot);
            let _ = tell.send(started);
        }));
        told.await.unwrap_or(Err(ProgramFailed::NotStarted))
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        for slot in self.slots.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // One that is being started ends with this process.
            if let Some(talk) = slot.try_lock().ok().and_then(|slot| slot.talk.clone()) {
                talk.end();
            }
        }
    }
}

impl Slot {
    /// Notes when the last program ended, and how long there is none.
    fn settle(&mut self, now: BootTime) {
        let Some(ended) = self.talk.take().map(|talk| talk.ended_at().unwrap_or(now)) else { return };
        self.pause_from(ended);
    }

    fn pause_from(&mut self, ended: BootTime) {
        let was_steady = ended.since(self.started) >= STEADY;
        self.pause = if was_steady { PAUSE_FIRST } else { (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX) };
        self.pauses_until = ended.plus(self.pause);
    }

    async fn start(&mut self, env: &Env, program: &Program) -> Result<Arc<Talk>, ProgramFailed> {
        self.started = env.now().boot;
        let begun = match env.programs.start(program) {
            Ok(started) => Talk::begin(env, started).await,
            Err(error) => {
                tracing::warn!(executable = %program.executable.display(), %error, "a program cannot be started");
                Err(ProgramFailed::NotStarted)
            }
        };
        match &begun {
            Ok(talk) => self.talk = Some(Arc::clone(talk)),
            Err(_) => {
                let now = env.now().boot;
                // One that never talked was not steady, however long it was silent.
                self.started = now;
                self.pause_from(now);
            }
        }
        begun
    }
}

/// A conversation with a program that runs.
pub(super) struct Talk {
    env: Env,
    lines: mpsc::Sender<Line>,
    waiting: Mutex<BTreeMap<i64, Waiting>>,
    next: AtomicI64,
    over: Shutdown,
    ended_at: OnceLock<BootTime>,
    /// The program is killed with it.
    running: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// What is to be written.
enum Line {
    /// As it stands.
    Whole(Vec<u8>),
    /// What somebody has to say when it is their turn, unless they have gone: what holds now need not hold then. Lines are
    /// written whole, whoever stops waiting meanwhile.
    Turn(oneshot::Sender<oneshot::Sender<Vec<u8>>>),
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
        let Started { input, output, errors, running, ended } = started;
        let (lines, to_write) = mpsc::channel(LINES_MAX);
        let over = Shutdown::new();
        let talk = Arc::new(Self {
            env: env.clone(),
            lines,
            waiting: Mutex::default(),
            next: AtomicI64::new(1),
            over: over.clone(),
            ended_at: OnceLock::new(),
            running: Mutex::new(Some(running)),
        });
        let weak = Arc::downgrade(&talk);
        let hear = async move {
            let mut lines = BufReader::new(output);
            while let Some(line) = line(&mut lines).await {
                if weak.upgrade().is_none_or(|talk| talk.hear(&line).is_err()) {
                    return;
                }
            }
        };
        // All of them end with the program, which ends with the last that holds the conversation.
        let parts: [(&'static str, BoxFuture<'static, ()>); 4] = [
            ("program's output", Box::pin(hear)),
            ("program's errors", Box::pin(swallow(errors))),
            ("program's input", Box::pin(write_lines(input, to_write))),
            ("program's end", ended),
        ];
        for (name, part) in parts {
            let (weak, over) = (Arc::downgrade(&talk), over.clone());
            drop(env.spawn_named(name, async move {
                tokio::select! {
                    biased;
                    () = over.requested() => {}
                    () = part => {}
                }
                // Errors end first where a program closes them, and that is all they say.
                if let Some(talk) = weak.upgrade().filter(|_| name != "program's errors") {
                    talk.end();
                }
            }));
        }
        let greeting = async {
            let reply = talk.ask(initialize_message, None, || Ok(())).await.map_err(|_| ProgramFailed::NotBegun)?;
            agreed(&reply.map_err(|_| ProgramFailed::NotBegun)?).map_err(ProgramFailed::NoSession)?;
            let understood = talk.lines.try_send(Line::Whole(initialized_message()));
            understood.map_err(|_| ProgramFailed::NotBegun)
        };
        let begun = deadline(BEGIN_WITHIN, greeting).await.unwrap_or(Err(ProgramFailed::NotBegun));
        begun.inspect_err(|_| talk.end()).map(|()| talk)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended_at.get().is_some()
    }

    fn ended_at(&self) -> Option<BootTime> {
        self.ended_at.get().copied()
    }

    /// Asks, with a message that is made for an id, and waits. `check` is asked immediately before the first byte goes to
    /// the program. Whoever waits no longer has it called off.
    ///
    /// # Errors
    /// [`ProgramFailed`].
    pub(super) async fn ask(
        self: &Arc<Self>,
        message: impl FnOnce(i64) -> Vec<u8>,
        told: Option<(mpsc::Sender<Progress>, usize)>,
        check: impl FnOnce() -> Result<(), CalledOff>,
    ) -> Result<Result<Reply, UnusableReply>, ProgramFailed> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (turn, mine) = oneshot::channel();
        self.lines.send(Line::Turn(turn)).await.map_err(|_| ProgramFailed::NotTaken)?;
        let write = mine.await.map_err(|_| ProgramFailed::NotTaken)?;
        check().map_err(ProgramFailed::CalledOff)?;
        let (answer, answered) = oneshot::channel();
        let (told, left) = told.map_or((None, 0), |(told, left)| (Some(told), left));
        self.waiting().insert(id, Waiting { answer, told, left });
        let mut asked = Asked { talk: self, id, is_under_way: true };
        if self.has_ended() || write.send(message(id)).is_err() {
            asked.is_under_way = false;
            return Err(ProgramFailed::NotTaken);
        }
        let reply = answered.await;
        asked.is_under_way = false;
        reply.map_err(|_| ProgramFailed::Ended)
    }

    /// Takes what the program says.
    fn hear(&self, line: &[u8]) -> Result<(), NoLine> {
        let said = json::parse(line, Mode::Protocol).map_err(|_| NoLine)?;
        match (said.get("method").and_then(Json::as_text), said.get("id")) {
            (Some(method), Some(id)) => self.refuse(method, id),
            (Some(_), None) => self.tell(line, &said),
            (None, Some(Json::Int(id))) => {
                let waiting = self.waiting().remove(id);
                if let Some(waiting) = waiting {
                    let reply = message(line, *id).and_then(|reply| reply.ok_or(UnusableReply::NoResponse));
                    let _ = waiting.answer.send(reply);
                }
            }
            // An answer to nothing that was asked.
            (None, _) if said.get("result").or_else(|| said.get("error")).is_some() => {}
            (None, _) => return Err(NoLine),
        }
        Ok(())
    }

    /// Answers what the program asks for: that it is there, to a ping, and nothing else. One that asks faster than it
    /// reads is not answered.
    fn refuse(&self, method: &str, id: &Json) {
        let is_id = match id {
            Json::Int(_) => true,
            Json::Text(text) => text.len() <= THEIR_ID_MAX,
            _ => false,
        };
        if is_id && self.lines.capacity() > LINES_MAX / 2 {
            let _ = self.lines.try_send(Line::Whole(answer_to(method, id)));
        }
    }

    /// Passes a word of progress on, to whom it is about.
    fn tell(&self, line: &[u8], said: &Json) {
        let token = said.get("params").and_then(|params| params.get("progressToken"));
        let Some(token @ Json::Int(id)) = token else { return };
        let Some(progress) = Progress::read(line, token) else { return };
        let mut waiting = self.waiting();
        let Some(Waiting { told: Some(told), left, .. }) = waiting.get_mut(id) else { return };
        if *left > 0 {
            *left -= 1;
            let _ = told.try_send(progress);
        }
    }

    /// Ends the program; nobody waits any longer.
    pub(super) fn end(&self) {
        let _ = self.ended_at.set(self.env.now().boot);
        self.over.trigger();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<i64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.over.trigger();
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
        let _ = self.talk.lines.try_send(Line::Whole(json::encode(&message)));
    }
}

/// What a program is told that asks for something.
fn answer_to(method: &str, id: &Json) -> Vec<u8> {
    let answer = if method == "ping" {
        ("result", Json::Object(Vec::new()))
    } else {
        let code = ("code", Json::Int(Code::MethodNotFound.number()));
        ("error", Json::object([code, ("message", Json::text("nothing is offered here"))]))
    };
    json::encode(&Json::object([("jsonrpc", Json::text("2.0")), ("id", id.clone()), answer]))
}

/// What a program said is no message of the protocol.
struct NoLine;

/// Writes lines to the end, or until one is not taken in time.
async fn write_lines(mut input: Box<dyn AsyncWrite + Send + Unpin>, mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        let mut line = match line {
            Line::Whole(line) => line,
            Line::Turn(turn) => {
                let (say, said) = oneshot::channel();
                // Whoever has gone says nothing, and drops what it would say it with.
                let Some(line) = turn.send(say).ok().map(|()| said) else { continue };
                let Ok(line) = line.await else { continue };
                line
            }
        };
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
