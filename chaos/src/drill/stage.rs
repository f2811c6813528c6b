//! The steps of a drill under way: who is hit, who watches, and what has become of each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use remit_common::net::tasks::Shutdown;

use super::action::Fault;
use super::backend::{Access, Backend};
use super::crew::{Crew, Done};
use super::engine::{LOOK_EVERY, Watcher};
use super::file::{Drill, Hypothesis};
use super::outcome::{
    ActivityKind, ActivityRun, ActivityStatus, DrillOutcome, Fired, ProbeReading, RunStatus, Section,
};
use super::pulse::{Pulse, micros};
use super::radius::{Held, change};
use super::select::{Now, Selector, resolve_all};
use super::step::{Came, Does, Expected, FaultPlan, Step, Task};
use crate::history::{History, Kind, What};
use crate::node::Node;

/// How long the operator tries again what must be acknowledged.
const INSIST_FOR: Duration = Duration::from_secs(30);
/// How long a step that needs a leader waits until somebody says that there is one.
const LEADER_WITHIN: Duration = Duration::from_secs(15);

impl Step {
    /// Whether it does something or looks.
    #[must_use]
    pub fn kind(&self) -> ActivityKind {
        match self.does {
            Does::Look(..) => ActivityKind::Probe,
            Does::Fault(_) | Does::Task(..) | Does::Wait => ActivityKind::Action,
        }
    }
}

/// What changes while steps are played.
#[derive(Default)]
struct State {
    pulse: Pulse,
    held: Held<Node>,
    runs: BTreeMap<usize, ActivityRun>,
    failed: Option<String>,
    aborted: Option<String>,
    fired: Option<Fired>,
    deviations: Vec<String>,
}

/// A drill under way.
pub(super) struct Stage<'a> {
    drill: &'a Drill,
    backend: tokio::sync::Mutex<&'a mut dyn Backend>,
    access: Arc<dyn Access>,
    crew: &'a dyn Crew,
    history: &'a History,
    watcher: &'a dyn Watcher,
    /// Asked for from outside, or by a step.
    halt: Shutdown,
    interrupt: &'a Shutdown,
    state: Mutex<State>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        drill: &'a Drill,
        backend: &'a mut dyn Backend,
        crew: &'a dyn Crew,
        history: &'a History,
        watcher: &'a dyn Watcher,
        interrupt: &'a Shutdown,
    ) -> Self {
        let access = backend.access();
        let (backend, halt, state) = (tokio::sync::Mutex::new(backend), Shutdown::new(), Mutex::default());
        Self { drill, backend, access, crew, history, watcher, halt, interrupt, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: What) {
        self.history.note(self.access.now(), "drill", Kind::Info, what);
    }

    pub(super) fn phase(&self, name: &str) {
        self.watcher.phase(name);
        self.note(What::Phase { name: name.to_owned() });
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halt.is_requested() || self.interrupt.is_requested()
    }

    /// The drill ends before it has touched anything.
    pub(super) fn fail(&self, why: &str) {
        self.watcher.note(why);
        self.state().failed.get_or_insert(why.to_owned());
        self.halt.trigger();
    }

    /// The drill is broken off.
    fn abort(&self, why: String) {
        self.watcher.note(&why);
        self.state().aborted.get_or_insert(why);
        self.halt.trigger();
    }

    /// Waits, unless the run is to come to its end. Gives whether it waited for all of it.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.halt.requested() => false,
            () = self.interrupt.requested() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Gives the mesh its time to become well again, and goes on even after an abort.
    pub(super) async fn recover(&self, time: Duration) {
        tokio::select! {
            biased;
            () = self.interrupt.requested() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Takes in what everybody has seen.
    fn refresh(&self) {
        let mut state = self.state();
        let events = self.history.since(state.pulse.seen);
        state.pulse.absorb(&events);
    }

    /// Asks what the steady state is.
    pub(super) fn readings(&self, hypothesis: &[Hypothesis]) -> Vec<ProbeReading> {
        self.refresh();
        let (state, now) = (self.state(), self.access.now());
        let reading = |asked: &Hypothesis| {
            let value = state.pulse.measure(asked.probe, now, asked.window);
            ProbeReading {
                name: asked.name.clone(),
                probe: asked.probe.name().to_owned(),
                value,
                unit: asked.probe.unit(),
                tolerance: asked.tolerance.to_string(),
                within: asked.tolerance.admits(value),
            }
        };
        hypothesis.iter().map(reading).collect()
    }

    pub(super) fn note_readings(&self, readings: &[ProbeReading]) {
        for ProbeReading { name, value, within, .. } in readings {
            self.note(What::Probe { name: name.clone(), value: *value, within: *within });
        }
        self.watcher.readings(readings);
    }

    /// Every step of the method, while abort conditions are watched.
    pub(super) async fn play_method(&self) {
        let over = Shutdown::new();
        let steps = async {
            self.play(&self.drill.method, 0).await;
            over.trigger();
        };
        futures::join!(steps, self.watch(&over));
    }

    async fn play(&self, steps: &[Step], offset: usize) {
        let mut background = FuturesUnordered::new();
        for (number, step) in steps.iter().enumerate() {
            let one = self.step(offset + number, step);
            if step.background {
                background.push(one);
                continue;
            }
            tokio::pin!(one);
            loop {
                tokio::select! {
                    biased;
                    () = &mut one => break,
                    Some(()) = background.next(), if !background.is_empty() => {}
                }
            }
        }
        while background.next().await.is_some() {}
    }

    /// One step with its pauses; a halted drill goes on only with its rollbacks, and without pauses.
    async fn step(&self, number: usize, step: &Step) {
        let is_rollback = step.section == Section::Rollback;
        self.pause(step.before).await;
        if self.is_halted() && !is_rollback {
            return;
        }
        self.watcher.begins(step);
        let mut run = ActivityRun {
            name: step.name.clone(),
            section: step.section,
            kind: step.kind(),
            does: step.does.to_string(),
            targets: Vec::new(),
            fault: None,
            status: ActivityStatus::Succeeded,
            start_us: Some(micros(self.access.now())),
            end_us: None,
            background: step.background,
            message: None,
        };
        match &step.does {
            Does::Fault(plan) => self.fault(step, plan, &mut run).await,
            Does::Task(task, expected) => self.task(step, task, *expected, &mut run).await,
            Does::Look(probe, window, tolerance) => {
                let asked =
                    Hypothesis { name: step.name.clone(), probe: *probe, window: *window, tolerance: *tolerance };
                let readings = self.readings(&[asked]);
                self.note_readings(&readings);
                for reading in readings {
                    let value =
                        reading.value.map_or_else(|| "nothing to measure".to_owned(), |value| format!("{value:.3}"));
                    let message = format!("{value}; it should be {}", reading.tolerance);
                    if !reading.within {
                        run.status = ActivityStatus::Failed;
                        self.deviate(format!("{}: {message}", step.name));
                    }
                    run.message = Some(message);
                }
            }
            Does::Wait => {}
        }
        run.end_us = Some(micros(self.access.now()));
        self.watcher.ended(&run);
        self.state().runs.insert(number, run);
        self.pause(step.after).await;
    }

    fn deviate(&self, why: String) {
        self.watcher.note(&why);
        self.state().deviations.push(why);
    }

    async fn fault(&self, step: &Step, plan: &FaultPlan, run: &mut ActivityRun) {
        let is_rollback = step.section == Section::Rollback;
        let failed = match self.aim(plan).await {
            Ok((target, to)) => self.bring_about(plan, &target, &to, run).await.err().map(|fault| format!("{fault:#}")),
            Err(why) => Some(why),
        };
        if let Some(why) = failed {
            run.status = ActivityStatus::Failed;
            run.message = Some(why.clone());
            // Whatever a rollback leaves, the backend undoes.
            if is_rollback {
                self.watcher.note(&format!("{}: {why}", step.name));
            } else {
                self.abort(format!("`{}` could not be carried out: {why}", step.name));
            }
        }
    }

    /// Finds the targets as of now, and refuses those that are out of reach.
    async fn aim(&self, plan: &FaultPlan) -> Result<(Vec<Node>, Vec<Node>), String> {
        let needs_leader = plan.target.iter().chain(&plan.to).any(Selector::needs_leader);
        let until = self.access.now() + LEADER_WITHIN;
        loop {
            self.refresh();
            let roster = self.access.roster();
            let aimed = {
                let state = self.state();
                let leader = state.pulse.leader(self.access.now());
                let hit = plan.hit_of(&state.held);
                let now = Now { roster: &roster, leader, hit: &hit };
                let target = resolve_all(&plan.target, &now);
                target.and_then(|target| Ok((target, resolve_all(&plan.to, &now)?)))
            };
            let (target, to) = match aimed {
                Err(_) if needs_leader && self.access.now() < until && !self.is_halted() => {
                    tokio::time::sleep(LOOK_EVERY / 2).await;
                    continue;
                }
                other => other?,
            };
            if !plan.kind.is_cure() {
                if target.is_empty() {
                    return Err("it would hit nobody".to_owned());
                }
                let aimed: BTreeSet<Node> = target.iter().cloned().collect();
                let hit: BTreeSet<Node> = self.state().held.keys().chain(&aimed).cloned().collect();
                let reach = self.drill.radius.admits(&hit, hit.len(), &aimed, &roster);
                reach.map_err(|reason| format!("this reaches beyond the blast radius: {reason}"))?;
            }
            return Ok((target, to));
        }
    }

    async fn bring_about(
        &self,
        plan: &FaultPlan,
        target: &[Node],
        to: &[Node],
        run: &mut ActivityRun,
    ) -> anyhow::Result<()> {
        run.targets = target.to_vec();
        for fault in plan.with(target, to) {
            run.fault = Some(fault.clone());
            let mut backend = self.backend.lock().await;
            self.note_fault(&fault, true);
            let nodes = if plan.target.is_empty() {
                self.state().held.keys().cloned().collect()
            } else {
                target.iter().cloned().collect()
            };
            change(&mut self.state().held, plan, &nodes, plan.target.is_empty());
            if let Err(why) = backend.apply(fault.clone()).await {
                self.note_fault(&fault, false);
                return Err(why);
            }
        }
        Ok(())
    }

    fn note_fault(&self, fault: &Fault, begins: bool) {
        self.note(fault.told(begins));
    }

    async fn task(&self, step: &Step, task: &Task, expected: Expected, run: &mut ActivityRun) {
        let mut done = self.act(task).await;
        // Like anybody at a keyboard: a voter that is cut off, or an election, takes an answer away, not the intention.
        let until = self.access.now() + INSIST_FOR;
        let insists = !matches!(expected, Expected::Refused | Expected::Anything);
        while insists && done.as_ref().is_some_and(|done| done.came == Came::Refused) && self.access.now() < until {
            if !self.pause(LOOK_EVERY).await {
                break;
            }
            done = self.act(task).await;
        }
        let Some(done) = done else {
            run.status = ActivityStatus::Failed;
            run.message = Some("broken off".to_owned());
            return;
        };
        if !expected.is_met_by(done.came) {
            run.status = ActivityStatus::Failed;
            self.deviate(format!("{}: {}", step.name, done.told));
        }
        run.message = Some(done.told);
    }

    /// Has the operator do something. None if the drill is broken off while he looks on for long.
    async fn act(&self, task: &Task) -> Option<Done> {
        let acting = self.crew.act(task.clone());
        if !matches!(task, Task::RollOut(_)) {
            return Some(acting.await);
        }
        tokio::select! {
            biased;
            done = acting => Some(done),
            () = self.halt.requested() => None,
            () = self.interrupt.requested() => None,
        }
    }

    /// Looks at the abort conditions, and at a continuous hypothesis, until the method is over.
    async fn watch(&self, over: &Shutdown) {
        let mut since: BTreeMap<usize, Duration> = BTreeMap::new();
        let mut lost: BTreeSet<String> = BTreeSet::new();
        loop {
            tokio::select! {
                biased;
                () = over.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.refresh();
            let now = self.access.now();
            for (number, condition) in self.drill.abort_when.iter().enumerate() {
                let value = self.state().pulse.measure(condition.probe, now, condition.window);
                if !condition.is_met(value) {
                    since.remove(&number);
                    continue;
                }
                let began = *since.entry(number).or_insert(now);
                if now.saturating_sub(began) < condition.lasts || self.is_halted() {
                    continue;
                }
                let (probe, condition) = (condition.probe.name().to_owned(), condition.text());
                let why = format!("abort condition: {probe} was {condition}");
                self.state().fired.get_or_insert(Fired { probe, condition, value, at_us: micros(now) });
                self.abort(why);
            }
            if self.drill.strategy.during() {
                let readings = self.readings(&self.drill.hypothesis);
                for reading in readings.iter().filter(|reading| !reading.within) {
                    if lost.insert(reading.name.clone()) {
                        self.note_readings(std::slice::from_ref(reading));
                        self.deviate(format!("the steady state was lost: {}", reading.name));
                    }
                }
            }
        }
    }

    /// Rollbacks, then everything that is left. Says what could not be undone.
    pub(super) async fn undo(&self) -> Option<String> {
        self.play(&self.drill.rollbacks, self.drill.method.len()).await;
        for (fault, begins) in self.left() {
            self.note_fault(&fault, begins);
        }
        self.state().held.clear();
        let undone = self.backend.lock().await.undo_all().await;
        // What is known of the end of faults is known now, not when the undoing began.
        self.note(What::Phase { name: "heal".to_owned() });
        let left = undone.err().map(|why| format!("not everything could be undone: {why:#}"));
        left.inspect(|why| self.watcher.note(why))
    }

    /// What ends the faults that are still there.
    fn left(&self) -> Vec<(Fault, bool)> {
        let mut by_fault: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
        for (node, faults) in &self.state().held {
            for fault in faults {
                by_fault.entry(fault.fault).or_default().push(node.clone());
            }
        }
        let mut down: BTreeSet<Node> = BTreeSet::new();
        let mut left = Vec::new();
        let mut cut = false;
        for (fault, nodes) in by_fault {
            match fault {
                "kill" | "power-cut" | "stop" | "fsync-error" | "lie" => down.extend(nodes),
                "pause" => left.push((Fault::Resume(nodes), true)),
                "partition" | "link" => cut = true,
                "disk-full" => left.push((Fault::DiskFree(nodes), true)),
                "cpu-limit" => left.push((Fault::CpuLimit { nodes, percent: 100 }, true)),
                _ => {}
            }
        }
        if cut {
            left.push((Fault::HealNetwork, true));
        }
        if !down.is_empty() {
            left.push((Fault::Start(down.into_iter().collect()), true));
        }
        left
    }

    /// What has become of it all.
    pub(super) fn finish(self, outcome: &mut DrillOutcome) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, run) in state.runs {
            if let Some(slot) = outcome.activities.get_mut(number) {
                *slot = run;
            }
        }
        outcome.abort = state.fired;
        outcome.deviated = !state.deviations.is_empty();
        if let Some(why) = state.failed {
            outcome.status = RunStatus::Failed;
            outcome.why = Some(why);
        } else if let Some(why) = state.aborted {
            outcome.status = RunStatus::Aborted;
            outcome.why = Some(why);
        } else if !state.deviations.is_empty() {
            outcome.why = Some(state.deviations.join("; "));
        }
    }
}
