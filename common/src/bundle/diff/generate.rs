//! Requests made up around what changed.
//!
//! For every changed policy: a request that it decides, by each way in which its condition can hold, then one attribute
//! at a time through the values around its own constants, then around those of the other policies about the tool, then
//! two at a time. What is asked first is what lies nearest to a changed policy, the two bundles and all policies taking
//! turns, so that a small budget loses the far corners first. What near a change could not be asked is said of the
//! change itself. Clauses B-37, B-38, B-49 and B-50.

use std::collections::{BTreeMap, BTreeSet};

use super::super::CompiledBundle;
use super::Budget;
use super::plan::{Around, Plan};
use super::question::{Expects, Question};
use super::scene::{Draft, Scene};
use super::structure::{Change, Subject};
use crate::id::{PolicyId, ToolName};
use crate::policy::compile::ENTITIES_FILE;
use crate::policy::engines::cedar::steer::{Named, Path, RuleView, Value, Work};
use crate::time::Timestamp;

/// What a change is called.
pub(super) type Blame = (Subject, String);

/// What was made up.
#[derive(Default)]
pub(super) struct Made {
    pub(super) questions: Vec<Question>,
    /// Why not everything near a change is asked.
    pub(super) unasked: BTreeMap<Blame, &'static str>,
    /// Policies that changed and that speak of some tool.
    pub(super) about: BTreeSet<PolicyId>,
    /// Ways, values, entities and requests that were left out.
    pub(super) left_out: u64,
}

/// The budget ended before what is nearest was asked.
const ENDED: &str = "the budget ended before the requests nearest to it were asked";
/// What policies compare with something that is not read here.
const UNCLEAR: &str = "a part of its condition is not understood, or has more ways to hold than are followed";
/// An entity that no request names.
const UNNAMED: &str = "no request is about it, and policies may look at it through something else";

/// What is to be asked about, and by whom it was changed.
struct Cause<'a> {
    changes: &'a [Change],
    entities: BTreeSet<Named>,
    /// Files that every policy is read with.
    files: Vec<Blame>,
    everything: bool,
}

impl<'a> Cause<'a> {
    fn of(old: &CompiledBundle, new: &CompiledBundle, changes: &'a [Change]) -> Self {
        let shared = |change: &&Change| change.subject == Subject::File && change.name != ENTITIES_FILE;
        let files: Vec<Blame> =
            changes.iter().filter(shared).map(|change| (Subject::File, change.name.clone())).collect();
        let entities = old.policy().engine().entities_that_differ(new.policy().engine());
        let manifest = changes.iter().any(|change| change.subject == Subject::Manifest);
        let everything = manifest || !files.is_empty() || !entities.is_empty();
        Self { changes, entities, files, everything }
    }

    fn is(&self, subject: Subject, name: &str) -> bool {
        self.changes.iter().any(|change| change.subject == subject && change.name == name)
    }
}

/// Makes requests up.
pub(super) fn questions(
    old: &CompiledBundle,
    new: &CompiledBundle,
    changes: &[Change],
    now: Timestamp,
    budget: Budget,
) -> Made {
    let cause = Cause::of(old, new, changes);
    let work = Work::new(budget.work);
    let mut made = Made::default();
    let names: BTreeSet<&str> =
        changes.iter().filter(|change| change.subject == Subject::Policy).map(|change| change.name.as_str()).collect();
    let changed = |bundle: &CompiledBundle| -> Vec<RuleView> {
        bundle.policy().engine().rules().filter(|rule| names.contains(rule.id.as_str())).collect()
    };
    let changed = [changed(old), changed(new)];
    let tools: BTreeSet<&ToolName> =
        [old, new].into_iter().flat_map(|bundle| bundle.policy().catalogue().tools.keys()).collect();
    let mut scenes: Vec<Scene<'_>> = Vec::new();
    let mut around: Vec<(usize, Around)> = Vec::new();
    for tool in tools {
        let this = cause.is(Subject::Tool, tool.as_str());
        let wanted = this || cause.everything || speaks(old, new, &changed, tool, &work);
        if !wanted {
            continue;
        }
        let shared: Vec<Blame> =
            cause.files.iter().cloned().chain(this.then(|| (Subject::Tool, tool.to_string()))).collect();
        let Some(scene) = Scene::new(old, new, tool, now, (&cause.entities, &work)) else {
            // Nothing is known of what policies say about it.
            let all = changes.iter().filter(|change| change.subject == Subject::Policy);
            let all = all.map(|change| (change.subject, change.name.clone()));
            made.blame(all.chain(shared), ENDED);
            continue;
        };
        for (side, rules) in scene.sides.iter().map(|side| &side.rules).enumerate() {
            let mut turn = 0usize;
            for rule in rules {
                let own = names.contains(rule.id.as_str());
                if own || this || cause.everything {
                    let blames = if own { vec![(Subject::Policy, rule.id.to_string())] } else { shared.clone() };
                    made.about.extend(own.then(|| rule.id.clone()));
                    around.push((scenes.len(), Around { turn, side, rule: rule.clone(), own, blames }));
                    turn = turn.saturating_add(1);
                }
            }
        }
        scenes.push(scene);
    }
    // What changed comes before what merely speaks of the same tool; tools and bundles take turns.
    around.sort_by_key(|(scene, of)| (!of.own, of.turn, *scene, of.side));
    let plans: Vec<(&Scene<'_>, Plan)> = around
        .into_iter()
        .filter_map(|(scene, of)| scenes.get(scene).map(|scene| (scene, Plan::new(scene, of))))
        .collect();
    for (_, plan) in plans.iter().filter(|(_, plan)| !plan.clear) {
        made.blame(plan.of.blames.iter().cloned(), UNCLEAR);
    }
    let mut asking = Asking { max: budget.generated, seen: BTreeSet::new(), made, work: &work };
    asking.seeds(&plans);
    asking.entities(&plans, &cause.entities);
    asking.own_values(&plans);
    asking.other_values(&plans, true);
    asking.other_values(&plans, false);
    asking.two_at_a_time(&plans);
    let mut made = asking.made;
    made.left_out = work.left_out();
    made
}

/// Whether a policy that changed speaks of a tool.
fn speaks(
    old: &CompiledBundle,
    new: &CompiledBundle,
    changed: &[Vec<RuleView>; 2],
    tool: &ToolName,
    work: &Work,
) -> bool {
    [old, new].into_iter().zip(changed).any(|(bundle, rules)| {
        let engine = bundle.policy().engine();
        let action = engine.subject(&bundle.policy().kinds().action, tool.as_str());
        // Without steps to look it up it counts as one that does, and is said not to have been asked about.
        rules.iter().any(|rule| !work.spend(1) || engine.speaks_of(rule.number, &action))
    })
}

impl Made {
    fn blame(&mut self, changes: impl IntoIterator<Item = Blame>, why: &'static str) {
        for change in changes {
            self.unasked.entry(change).or_insert(why);
        }
    }
}

struct Asking<'w> {
    max: usize,
    seen: BTreeSet<(ToolName, Draft)>,
    made: Made,
    work: &'w Work,
}

type Plans<'p, 's> = [(&'p Scene<'s>, Plan)];

impl Asking<'_> {
    /// Whether it is among the requests now.
    fn add(&mut self, scene: &Scene<'_>, draft: &Draft, about: &PolicyId) -> bool {
        self.add_way(scene, draft, about, Expects::Anything)
    }

    /// The same of a request with which the policy should do something.
    fn add_way(&mut self, scene: &Scene<'_>, draft: &Draft, about: &PolicyId, expects: Expects) -> bool {
        // Putting a request together costs something, too, also one that is asked already.
        if !self.work.spend(draft.len().saturating_add(1)) {
            return false;
        }
        let key = (scene.tool.clone(), draft.clone());
        if self.seen.contains(&key) {
            return true;
        }
        if self.is_full() || !self.work.spend(scene.cost) {
            self.work.leave(1);
            return false;
        }
        self.seen.insert(key);
        self.made.questions.extend(scene.question(draft, Some(about), expects));
        true
    }

    /// Whether nothing more can be asked: then what is left is counted, and not made up.
    fn is_full(&self) -> bool {
        self.made.questions.len() >= self.max || self.work.is_spent()
    }

    /// The requests that each policy decides, all policies taking turns.
    fn seeds(&mut self, plans: &Plans<'_, '_>) {
        let most = plans.iter().map(|(_, plan)| plan.seeds.len()).max().unwrap_or_default();
        for turn in 0..most {
            for (scene, plan) in plans {
                let Some(seed) = plan.seeds.get(turn) else { continue };
                let expects = plan.expects(turn);
                if !self.add_way(scene, seed, &plan.of.rule.id, expects) {
                    self.made.blame(plan.of.blames.iter().cloned(), ENDED);
                }
            }
        }
    }

    /// Each entity that is not what it was, wherever a request can name it.
    fn entities(&mut self, plans: &Plans<'_, '_>, changed: &BTreeSet<Named>) {
        for (kind, id) in changed {
            let blame = (Subject::Entity, super::structure::entity_name(kind, id));
            let mut named = false;
            for (scene, plan) in plans {
                for path in scene.paths_of(kind) {
                    named = true;
                    for seed in plan.varied() {
                        let mut draft = seed.clone();
                        draft.insert(path.clone(), Value::Text(id.clone()));
                        if !self.add(scene, &draft, &plan.of.rule.id) {
                            self.made.blame([blame.clone()], ENDED);
                            break;
                        }
                    }
                }
                if self.is_full() {
                    self.made.blame([blame.clone()], ENDED);
                    break;
                }
            }
            if !named {
                self.made.blame([blame], UNNAMED);
            }
        }
    }

    /// Each policy's own constants, one at a time.
    fn own_values(&mut self, plans: &Plans<'_, '_>) {
        let most = plans.iter().map(|(_, plan)| plan.varied).max().unwrap_or_default();
        for turn in 0..most {
            for (scene, plan) in plans.iter().filter(|(_, plan)| plan.of.own) {
                let Some(seed) = plan.varied().nth(turn) else { continue };
                for (path, value) in &plan.values {
                    let mut draft = seed.clone();
                    draft.insert(path.clone(), value.clone());
                    if !self.add(scene, &draft, &plan.of.rule.id) {
                        self.made.blame(plan.of.blames.iter().cloned(), ENDED);
                        break;
                    }
                }
            }
        }
    }

    /// What other policies compare with, one at a time: first of the attributes that a policy looks at.
    fn other_values(&mut self, plans: &Plans<'_, '_>, near: bool) {
        for (scene, plan) in plans {
            for (path, values) in scene.values.iter().filter(|(path, _)| plan.looks_at(path) == near) {
                for seed in plan.varied() {
                    let mut asked = true;
                    for (place, value) in values.iter().enumerate() {
                        if self.is_full() {
                            self.work.leave(values.len().saturating_sub(place));
                            asked = false;
                            break;
                        }
                        let mut draft = seed.clone();
                        draft.insert(path.clone(), value.clone());
                        asked &= self.add(scene, &draft, &plan.of.rule.id);
                    }
                    // What a shared file or a descriptor means shows in these values, and nowhere else.
                    if !asked && !plan.of.own {
                        self.made.blame(plan.of.blames.iter().cloned(), ENDED);
                    }
                }
            }
        }
    }

    fn two_at_a_time(&mut self, plans: &Plans<'_, '_>) {
        for (scene, plan) in plans {
            let near: Vec<(&Path, &BTreeSet<Value>)> =
                scene.values.iter().filter(|(path, _)| plan.looks_at(path)).collect();
            for (index, (first, values)) in near.iter().enumerate() {
                for (second, others) in near.iter().skip(index.saturating_add(1)) {
                    for seed in plan.varied() {
                        if self.is_full() {
                            // Counted without being made up: there may be very many.
                            self.work.leave(values.len().saturating_mul(others.len()));
                            continue;
                        }
                        for value in *values {
                            for other in *others {
                                let mut draft = seed.clone();
                                draft.insert((*first).clone(), value.clone());
                                draft.insert((*second).clone(), other.clone());
                                self.add(scene, &draft, &plan.of.rule.id);
                            }
                        }
                    }
                }
            }
        }
    }
}
