//! What the other bundle would have decided, while one is rolled out.
//!
//! Each call that is decided is put into a short queue; a task of its own decides it once more, by both bundles, and
//! counts where they differ. Nothing here answers anybody: a full queue drops what comes and says how much, and no
//! verdict leads back to a call. Clauses N-20 and N-21.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::bundle::CompiledBundle;
use remit_common::envelope::Effective;
use remit_common::id::{LogIndex, TenantId, ToolName};
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::call::ToolCall;
use remit_common::policy::decision::{Decision, Reason};
use remit_common::policy::json::Json;
use remit_common::sync::publisher::EXAMPLES_MAX;
use remit_common::time::Now;
use remit_common::wire::message::{RolloutExample, RolloutReport};
use tokio::sync::mpsc;

use crate::active::View;

/// Calls that wait to be decided once more.
const QUEUE_MAX: usize = 256;
/// Values and characters of the arguments of a call that is decided once more.
const ARGUMENTS_MAX: usize = 4_096;
/// Decisions by how many milliseconds they took; the last takes all that took longer.
const MILLIS_MAX: usize = 256;
/// Characters of a class or rule that is shown as an example.
const WORD_CHARS_MAX: usize = 128;

/// A call that was decided.
#[derive(Debug)]
struct Decided {
    view: Arc<View>,
    effective: Arc<Effective>,
    call: ToolCall,
    at: Now,
}

/// Where calls are put that are to be decided once more.
#[derive(Debug, Clone)]
pub(crate) struct Shadows {
    queue: mpsc::Sender<Decided>,
    dropped: Arc<AtomicU64>,
    tallies: Arc<Mutex<BTreeMap<TenantId, Tally>>>,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct ShadowQueue(mpsc::Receiver<Decided>);

/// One rollout, as this edge has seen it.
#[derive(Debug, Clone)]
struct Tally {
    report: RolloutReport,
    millis: Vec<u64>,
    /// What had been dropped before it began.
    dropped_before: u64,
}

/// What two bundles say to one call.
#[derive(Debug)]
struct Verdicts {
    before: Decision,
    after: Decision,
    millis: u64,
}

impl Shadows {
    pub(crate) fn new() -> (Self, ShadowQueue) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { queue, dropped: Arc::default(), tallies: Arc::default() }, ShadowQueue(receiver))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Tally>> {
        // Counts of one call may be missing after a panic; nothing else hangs on them.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has come to where policy decides. Costs a look at a table while nothing is rolled out.
    pub(crate) fn decided(&self, view: &Arc<View>, effective: &Arc<Effective>, call: &ToolCall, at: Now) {
        if !view.shadows.contains_key(&effective.tenant) {
            return;
        }
        let mut left = ARGUMENTS_MAX;
        if !is_small(&call.arguments, &mut left) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.queue.try_reserve() {
            Ok(place) => {
                place.send(Decided { view: Arc::clone(view), effective: Arc::clone(effective), call: call.clone(), at })
            }
            Err(_) => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// What this edge has seen of the rollouts that `view` has. One that is not under way any more is forgotten.
    pub(crate) fn reports(&self, view: &View) -> Vec<RolloutReport> {
        let mut tallies = self.lock();
        let dropped = self.dropped.load(Ordering::Relaxed);
        for (tenant, shadow) in view.shadows.iter() {
            let tally = tally_of(&mut tallies, tenant, shadow.rollout, dropped);
            tally.report.runs = shadow.runs;
            tally.report.dropped = dropped.saturating_sub(tally.dropped_before);
            tally.report.p99_ms = tally.p99_ms();
        }
        // While a connection begins, nothing is staged for a moment: what was counted counts on after it.
        let under_way = tallies.iter().filter(|(tenant, _)| view.shadows.contains_key(*tenant));
        under_way.map(|(_, tally)| tally.report.clone()).collect()
    }

    /// A call could not be decided once more: the new bundle's fault, as far as anybody knows.
    fn note_lost(&self, tenant: &TenantId) {
        if let Some(tally) = self.lock().get_mut(tenant) {
            tally.report.compared = tally.report.compared.saturating_add(1);
            tally.report.failed = tally.report.failed.saturating_add(1);
        }
    }

    fn note(&self, tenant: &TenantId, rollout: LogIndex, decided: &Decided, verdicts: &Verdicts) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let mut tallies = self.lock();
        let tally = tally_of(&mut tallies, tenant, rollout, dropped);
        tally.note(&decided.call.tool, &decided.effective, verdicts);
    }
}

/// The tally of a rollout; that of an earlier one of the same tenant is over.
fn tally_of<'t>(
    tallies: &'t mut BTreeMap<TenantId, Tally>,
    tenant: &TenantId,
    rollout: LogIndex,
    dropped: u64,
) -> &'t mut Tally {
    let begun = || Tally::new(tenant, rollout, dropped);
    let tally = tallies.entry(tenant.clone()).or_insert_with(begun);
    if tally.report.rollout != rollout {
        *tally = begun();
    }
    tally
}

impl ShadowQueue {
    /// Decides what comes, until shutdown.
    pub(crate) async fn run(mut self, env: Env, shadows: Shadows, shutdown: Shutdown) {
        loop {
            let decided = tokio::select! {
                biased;
                () = shutdown.requested() => return,
                decided = self.0.recv() => match decided {
                    Some(decided) => decided,
                    None => return,
                },
            };
            let (here, counted, tenant) = (env.clone(), shadows.clone(), decided.effective.tenant.clone());
            // Where it keeps nobody waiting.
            if env.run_blocking(move || compare(&here, &counted, &decided)).await.is_err() {
                shadows.note_lost(&tenant);
            }
        }
    }
}

fn compare(env: &Env, shadows: &Shadows, decided: &Decided) {
    let Decided { view, effective, call, at } = decided;
    let tenant = &effective.tenant;
    let (Some(shadow), Some(active)) = (view.shadows.get(tenant), view.bundles.get(tenant)) else { return };
    let relations = view.relations.get(tenant).map(|known| known.relations.clone()).unwrap_or_default();
    let models =
        [&shadow.bundle, &active.bundle].map(|bundle| bundle.policy().relation_rules().map(|rules| rules.schema()));
    let [of_shadow, of_active] = models;
    let needs = |bundle: &CompiledBundle| bundle.policy().needs_relations(&call.tool);
    if of_shadow != of_active && (needs(&shadow.bundle) || needs(&active.bundle)) {
        // Tables of the other model are not built for this.
        shadows.dropped.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let (old, new) = if shadow.runs { (&shadow.bundle, &active.bundle) } else { (&active.bundle, &shadow.bundle) };
    let before = old.decide(effective.authority(), call, &relations, at.wall);
    let began = env.now().boot;
    let after = new.decide(effective.authority(), call, &relations, at.wall);
    let millis = u64::try_from(env.now().boot.since(began).as_millis()).unwrap_or(u64::MAX);
    shadows.note(tenant, shadow.rollout, decided, &Verdicts { before, after, millis });
}

impl Tally {
    fn new(tenant: &TenantId, rollout: LogIndex, dropped_before: u64) -> Self {
        let report = RolloutReport {
            tenant: tenant.clone(),
            rollout,
            runs: false,
            compared: 0,
            dropped: 0,
            permitted_before: 0,
            newly_permitted: 0,
            newly_denied: 0,
            failed: 0,
            p99_ms: 0,
            examples: Vec::new(),
        };
        Self { report, millis: vec![0; MILLIS_MAX], dropped_before }
    }

    fn note(&mut self, tool: &ToolName, effective: &Effective, Verdicts { before, after, millis }: &Verdicts) {
        let report = &mut self.report;
        report.compared = report.compared.saturating_add(1);
        let at = usize::try_from(*millis).unwrap_or(usize::MAX).min(MILLIS_MAX - 1);
        if let Some(count) = self.millis.get_mut(at) {
            *count = count.saturating_add(1);
        }
        let is_permit = |decision: &Decision| matches!(decision, Decision::Permit(_));
        let fails = |decision: &Decision| matches!(decision, Decision::Deny(denied) if denied.reason == Reason::EvaluationFailed);
        if fails(after) && !fails(before) {
            report.failed = report.failed.saturating_add(1);
        }
        report.permitted_before = report.permitted_before.saturating_add(u64::from(is_permit(before)));
        match (is_permit(before), is_permit(after)) {
            (false, true) => report.newly_permitted = report.newly_permitted.saturating_add(1),
            (true, false) => report.newly_denied = report.newly_denied.saturating_add(1),
            _ => return,
        }
        let (before, after, rules) = (word_of(before), word_of(after), rules_of(before, after));
        let class = effective.chain_agents.last().map(|agent| short(agent.class.as_str())).unwrap_or_default();
        let example = RolloutExample { action: tool.clone(), class, before, after, rules };
        let is_known = |known: &RolloutExample| {
            (&known.action, &known.before, &known.after) == (&example.action, &example.before, &example.after)
        };
        if report.examples.len() < EXAMPLES_MAX && !report.examples.iter().any(is_known) {
            report.examples.push(example);
        }
    }

    /// Milliseconds that one of a hundred decisions exceeds.
    fn p99_ms(&self) -> u64 {
        let total: u64 = self.millis.iter().sum();
        if total < 100 {
            return 0;
        }
        let mut above = total / 100;
        for (millis, count) in self.millis.iter().enumerate().rev() {
            if *count > above {
                return u64::try_from(millis).unwrap_or(u64::MAX);
            }
            above = above.saturating_sub(*count);
        }
        0
    }
}

/// Whether there is no more in it than `left`, which is used up.
fn is_small(json: &Json, left: &mut usize) -> bool {
    let own = match json {
        Json::Text(text) => text.len(),
        Json::Number(digits) => digits.len(),
        _ => 0,
    };
    let Some(rest) = left.checked_sub(own.saturating_add(1)) else { return false };
    *left = rest;
    match json {
        Json::Array(items) => items.iter().all(|item| is_small(item, left)),
        Json::Object(members) => members.iter().all(|(key, value)| {
            let rest = left.checked_sub(key.len());
            *left = rest.unwrap_or_default();
            rest.is_some() && is_small(value, left)
        }),
        _ => true,
    }
}

fn short(text: &str) -> String {
    text.chars().take(WORD_CHARS_MAX).collect()
}

fn word_of(decision: &Decision) -> String {
    match decision {
        Decision::Permit(_) => Reason::Permit.as_str().to_owned(),
        Decision::Deny(denied) => denied.reason.as_str().to_owned(),
    }
}

/// The rules that permit or forbid, whichever of the two says so.
fn rules_of(before: &Decision, after: &Decision) -> Vec<String> {
    let rules = |decision: &Decision| match decision {
        Decision::Permit(permitted) => permitted.policies.clone(),
        Decision::Deny(denied) => denied.policies.clone(),
    };
    let all = rules(after).into_iter().chain(rules(before));
    all.map(|rule| short(rule.as_str())).take(EXAMPLES_MAX).collect()
}
