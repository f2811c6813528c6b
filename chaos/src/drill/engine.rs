//! Plays a drill.
//!
//! Whatever was done is undone: after the last step, when an abort condition fires, when a step cannot be carried out,
//! and when somebody stops the run. Nothing is ever broken off in the middle of a fault; the run is asked to halt, and
//! halts between two steps or in a pause.

use std::time::Duration;

use remit_common::net::tasks::Shutdown;
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;

use super::backend::{Backend, BackendKind};
use super::crew::Crew;
use super::file::Drill;
use super::outcome::{ActivityRun, ActivityStatus, DrillOutcome, ProbeReading, RunStatus, Unable};
use super::select::planned;
use super::stage::Stage;
use super::step::{Does, Step};
use crate::history::{History, Kind, What};
use crate::invariant::{self, Context, Status};
use crate::node::{Node, Roster};

/// Two looks at abort conditions and at a continuous hypothesis.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For what is on its way when everybody has stopped working: an answer, the last records.
const SETTLE: Duration = Duration::from_secs(5);
/// How far two times may be wrong against each other where several processes run on one machine's clock.
const EPSILON_REAL: Duration = Duration::from_millis(50);

/// What a run is given besides the drill.
#[derive(Debug, Clone)]
pub struct Options {
    /// What its randomness grows from; for the report.
    pub seed: u64,
    /// The wall clock when it begins.
    pub wall: Timestamp,
    /// The line that plays it again.
    pub reproduce: String,
    /// Asked to stop from outside: undo everything and come to an end.
    pub interrupt: Shutdown,
}

/// Who watches a run.
pub trait Watcher: Send + Sync {
    /// The run enters a phase: `setup`, `steady`, `faults`, `heal`, `check`.
    fn phase(&self, name: &str);
    /// A step begins.
    fn begins(&self, step: &Step);
    /// A step has ended.
    fn ended(&self, run: &ActivityRun);
    /// The steady state was asked.
    fn readings(&self, readings: &[ProbeReading]);
    /// Something to know.
    fn note(&self, text: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Watcher for Nobody {
    fn phase(&self, _: &str) {}
    fn begins(&self, _: &Step) {}
    fn ended(&self, _: &ActivityRun) {}
    fn readings(&self, _: &[ProbeReading]) {}
    fn note(&self, _: &str) {}
}

/// What a backend cannot do of a drill; asked before anything is started.
pub fn unable(drill: &Drill, backend: &dyn Backend) -> Vec<Unable> {
    let mut unable = Vec::new();
    let kind = backend.kind();
    if !drill.backends.contains(&kind) {
        let reason = format!("the drill is not for this backend; its `x-remit: backend` names {:?}", drill.backends);
        unable.push(Unable { step: drill.copy.title.clone(), reason: reason.to_lowercase() });
    }
    let roster = planned(&drill.shape);
    for step in drill.steps() {
        let Does::Fault(plan) = &step.does else { continue };
        // Whoever leads later: the answer does not depend on which voter it is.
        let someone = |selectors: &[super::select::Selector]| -> Vec<Node> {
            let fixed: Vec<Node> = selectors.iter().filter_map(|one| one.fixed(&roster)).flatten().collect();
            let voter = || roster.voters().take(1).map(Node::Voter).collect();
            if fixed.is_empty() { voter() } else { fixed }
        };
        for fault in plan.with(&someone(&plan.target), &someone(&plan.to)) {
            if let Some(reason) = backend.unable(&fault) {
                unable.push(Unable { step: step.name.clone(), reason });
            }
        }
    }
    unable
}

/// Plays a drill on a backend, to whatever end, and stops the backend.
pub async fn play(
    drill: &Drill,
    backend: &mut dyn Backend,
    crew: &mut dyn Crew,
    options: &Options,
    watcher: &dyn Watcher,
) -> DrillOutcome {
    let mut outcome = blank(drill, backend.kind(), options);
    outcome.unable = unable(drill, backend);
    if !outcome.unable.is_empty() {
        outcome.status = RunStatus::Skipped;
        outcome.why = Some("this world cannot do every step; nothing was started".to_owned());
        return outcome;
    }
    let history = History::default();
    let began = tokio::select! {
        biased;
        () = options.interrupt.requested() => Begun::Interrupted,
        begun = begin(drill, backend, crew, &history, watcher) => begun,
    };
    // What is not as it was before; whoever reads that everything was undone does not look for himself.
    let mut left: Vec<String> = Vec::new();
    match began {
        Begun::Ready => left.extend(run(drill, backend, crew, options, watcher, &history, &mut outcome).await),
        Begun::Interrupted => {
            outcome.status = RunStatus::Interrupted;
            outcome.why = Some("stopped before the mesh was ready".to_owned());
        }
        Begun::Failed(why) => {
            outcome.status = RunStatus::Failed;
            outcome.why = Some(why);
            crew.stop().await;
        }
    }
    if let Err(fault) = backend.stop().await {
        let why = format!("not everything could be put away: {fault:#}");
        watcher.note(&why);
        left.push(why);
    }
    outcome.deviated |= !left.is_empty();
    if left.is_empty() && outcome.status == RunStatus::Interrupted {
        left.push("everything was undone".to_owned());
    }
    let whys: Vec<String> = outcome.why.take().into_iter().chain(left).collect();
    outcome.why = (!whys.is_empty()).then(|| whys.join("; "));
    outcome.events = history.events();
    outcome
}

enum Begun {
    Ready,
    Interrupted,
    Failed(String),
}

async fn begin(
    drill: &Drill,
    backend: &mut dyn Backend,
    crew: &mut dyn Crew,
    history: &History,
    watcher: &dyn Watcher,
) -> Begun {
    watcher.phase("setup");
    backend.will_last(drill.lasts_at_most());
    if let Err(fault) = backend.start(drill.shape.clone(), history.clone()).await {
        return Begun::Failed(format!("the mesh did not start: {fault:#}"));
    }
    if let Err(fault) = crew.prepare(backend.access(), history.clone(), drill.shape.clone()).await {
        return Begun::Failed(format!("{fault:#}"));
    }
    crew.start();
    Begun::Ready
}

/// From a mesh at work to a judgement. Says what could not be undone.
async fn run(
    drill: &Drill,
    backend: &mut dyn Backend,
    crew: &mut dyn Crew,
    options: &Options,
    watcher: &dyn Watcher,
    history: &History,
    outcome: &mut DrillOutcome,
) -> Option<String> {
    let access = backend.access();
    let kind = backend.kind();
    let left = {
        let stage = Stage::new(drill, backend, &*crew, history, watcher, &options.interrupt);
        stage.phase("steady");
        stage.pause(drill.lead_in).await;
        if drill.strategy.before() && !stage.is_halted() {
            let readings = stage.readings(&drill.hypothesis);
            stage.note_readings(&readings);
            if readings.iter().any(|reading| !reading.within) {
                stage.fail("the steady state did not hold before anything was touched");
            }
            outcome.before = Some(readings);
        }
        if !stage.is_halted() {
            stage.phase("faults");
            stage.play_method().await;
        }
        stage.phase("heal");
        let left = stage.undo().await;
        let interrupted = options.interrupt.is_requested();
        if !interrupted && outcome.before.as_ref().is_none_or(|before| before.iter().all(|reading| reading.within)) {
            stage.recover(drill.heal_within).await;
            if drill.strategy.after() {
                let readings = stage.readings(&drill.hypothesis);
                stage.note_readings(&readings);
                outcome.after = Some(readings);
            }
        }
        stage.finish(outcome);
        left
    };
    crew.stop().await;
    outcome.roster = access.roster();
    if outcome.status != RunStatus::Failed {
        let look = async {
            tokio::time::sleep(SETTLE).await;
            watcher.phase("check");
            history.note(access.now(), "drill", Kind::Info, What::Phase { name: "check".to_owned() });
            crew.gather().await;
            search(backend, crew, history, &*access, watcher).await
        };
        // A signal is heard until there is a judgement: nobody has to wait for a verdict that nobody wants.
        let looked = tokio::select! {
            biased;
            () = options.interrupt.requested() => None,
            looked = look => Some(looked),
        };
        match looked {
            Some(looked) => judge(drill, kind, crew.bounds(), history, outcome, looked.err()),
            None => {
                outcome.status = RunStatus::Interrupted;
                let earlier = outcome.why.take().map_or_else(String::new, |why| format!("{why}; "));
                outcome.why = Some(format!("{earlier}stopped by a signal"));
            }
        }
    }
    outcome.duration = access.now();
    outcome.ended = add(outcome.started, outcome.duration);
    left
}

fn add(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_secs(time.as_secs().saturating_add(by.as_secs()))
}

/// Looks for the secret where it must not be.
///
/// # Errors
/// Says why nobody could look everywhere: then nobody knows where the secret is.
async fn search(
    backend: &dyn Backend,
    crew: &dyn Crew,
    history: &History,
    access: &dyn super::backend::Access,
    watcher: &dyn Watcher,
) -> Result<(), String> {
    let note = |what| history.note(access.now(), "drill", Kind::Info, what);
    match backend.find_secret(crew.secret()).await {
        Ok(places) => {
            note(What::Searched { found: u64::try_from(places.len()).unwrap_or(u64::MAX) });
            for place in places {
                note(What::Canary { place });
            }
            Ok(())
        }
        Err(fault) => {
            let why = format!("nobody could search for the secret: {fault:#}");
            watcher.note(&why);
            Err(why)
        }
    }
}

fn judge(
    drill: &Drill,
    kind: BackendKind,
    bounds: Bounds,
    history: &History,
    outcome: &mut DrillOutcome,
    unsearched: Option<String>,
) {
    let events = history.events();
    let mut context = Context::new(bounds, outcome.roster.clone());
    context.minimums = drill.expect;
    context.heal_within = drill.heal_within;
    context.epsilon = if kind == BackendKind::Sim { Duration::ZERO } else { EPSILON_REAL };
    context.not_asserted = drill.except.clone();
    let judgement = invariant::check(&events, &context);
    let figures = &judgement.figures;
    let limited =
        |(figure, limit): (&super::limit::Figure, &f64)| figure.limited(*limit, &events, figures, &outcome.roster);
    outcome.limits = drill.limits.iter().map(limited).collect();
    let mut wrong: Vec<String> = unsearched.into_iter().collect();
    for limit in outcome.limits.iter().filter(|limit| !limit.within) {
        let measured = limit.measured.map_or_else(|| "was not measured".to_owned(), |value| format!("is {value:.0}"));
        wrong.push(format!("`{}` {measured}; the drill allows {}", limit.name, limit.limit));
    }
    for id in &drill.invariants {
        if judgement.verdict(*id).is_none_or(|verdict| verdict.status == Status::NotMeasured) {
            wrong.push(format!("{id} is what the drill is about, and nothing in the run shows whether it was kept"));
        }
    }
    for verdict in judgement.violated() {
        wrong.push(format!("{} was broken: {}", verdict.id, verdict.title));
    }
    if outcome.after.iter().flatten().any(|reading| !reading.within) {
        wrong.push("the steady state does not hold at the end".to_owned());
    }
    if !wrong.is_empty() {
        outcome.deviated = true;
        let earlier = outcome.why.take().into_iter();
        outcome.why = Some(earlier.chain(wrong).collect::<Vec<_>>().join("; "));
    }
    outcome.judgement = Some(judgement);
    outcome.context = Some(context);
}

/// An outcome in which nothing has happened.
#[must_use]
pub fn blank(drill: &Drill, backend: BackendKind, options: &Options) -> DrillOutcome {
    let not_reached = |step: &Step| ActivityRun {
        name: step.name.clone(),
        section: step.section,
        kind: step.kind(),
        does: step.does.to_string(),
        targets: Vec::new(),
        fault: None,
        status: ActivityStatus::NotReached,
        start_us: None,
        end_us: None,
        background: step.background,
        message: None,
    };
    let caveats = drill.except.iter().map(|(id, reason)| format!("{id} is not asserted: {reason}"));
    DrillOutcome {
        drill: drill.copy.clone(),
        backend,
        seed: options.seed,
        shape: drill.shape.clone(),
        roster: Roster::default(),
        status: RunStatus::Completed,
        why: None,
        deviated: false,
        started: options.wall,
        ended: options.wall,
        duration: Duration::ZERO,
        before: None,
        after: None,
        activities: drill.steps().map(not_reached).collect(),
        limits: Vec::new(),
        abort: None,
        unable: Vec::new(),
        context: None,
        invariants: drill.invariants.clone(),
        judgement: None,
        caveats: drill.caveats.iter().cloned().chain(caveats).collect(),
        events: Vec::new(),
        trace: None,
        reproduce: options.reproduce.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
