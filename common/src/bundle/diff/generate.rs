//! Requests made up around what changed.
//!
//! For every changed policy: a request that it decides, by each permit that it meets, then one attribute at a time
//! through the values around every constant that any policy about the tool compares it with, then two at a time. What
//! is asked first is what lies nearest to a changed policy, so that a small budget loses the far corners first.
//! Clauses B-37 and B-38.

use std::collections::BTreeSet;

use super::super::CompiledBundle;
use super::question::Question;
use super::scene::{Draft, Scene};
use super::structure::{Change, Subject};
use crate::id::{PolicyId, ToolName};
use crate::policy::engines::cedar::steer::{Path, RuleView};
use crate::time::Timestamp;

/// Policies around which requests are made up, for one tool.
const RULES_MAX: usize = 64;
/// Permits that are tried together with one forbid.
const PERMITS_MAX: usize = 4;
/// Ways that are followed for one policy.
const WAYS_MAX: usize = 12;
/// Requests from which others are varied, for one tool: each is held in memory.
const SEEDS_MAX: usize = 256;
/// Forbids that a plain request is steered around.
const FORBIDS_MAX: usize = 32;

/// A policy of one of the two bundles: 0 is the earlier one.
struct Focus {
    side: usize,
    rule: RuleView,
}

/// A request that a changed policy decides, from which others are varied.
struct Seed {
    draft: Draft,
    about: PolicyId,
    paths: BTreeSet<Path>,
}

/// Makes requests up, at most `max`; says what was left out.
pub(super) fn questions(
    old: &CompiledBundle,
    new: &CompiledBundle,
    changes: &[Change],
    now: Timestamp,
    max: usize,
    uncovered: &mut Vec<String>,
) -> Vec<Question> {
    let everything = changes.iter().any(|change| matches!(change.subject, Subject::File | Subject::Manifest));
    let changed =
        |subject: Subject, name: &str| changes.iter().any(|change| change.subject == subject && change.name == name);
    let tools: BTreeSet<&ToolName> =
        [old, new].into_iter().flat_map(|bundle| bundle.policy().catalogue().tools.keys()).collect();
    let mut scenes = Vec::new();
    for tool in tools {
        let Some(scene) = Scene::new(old, new, tool, now) else { continue };
        let all = everything || changed(Subject::Tool, tool.as_str());
        let mut focus = Vec::new();
        for (side, rules) in scene.sides.iter().map(|side| &side.rules).enumerate() {
            let wanted = rules.iter().filter(|rule| all || changed(Subject::Policy, rule.id.as_str()));
            focus.extend(wanted.map(|rule| Focus { side, rule: rule.clone() }));
        }
        // What changed comes before what merely speaks of the same tool.
        focus.sort_by_key(|focus| !changed(Subject::Policy, focus.rule.id.as_str()));
        if focus.len() > RULES_MAX {
            uncovered.push(format!("`{tool}`: {} policies around which nothing was made up", focus.len() - RULES_MAX));
            focus.truncate(RULES_MAX);
        }
        if !focus.is_empty() {
            scenes.push((scene, focus));
        }
    }
    let mut asked = Asked { max, seen: BTreeSet::new(), questions: Vec::new(), left_out: 0 };
    let mut seeded: Vec<(&Scene<'_>, Vec<Seed>)> = Vec::new();
    for (scene, focus) in &scenes {
        let (seeds, barren) = seeds(scene, focus);
        if barren > 0 {
            uncovered
                .push(format!("`{}`: {barren} policies around which fewer or no requests were made up", scene.tool));
        }
        seeded.push((scene, seeds));
    }
    for (scene, seeds) in &seeded {
        for seed in seeds {
            asked.add(scene, &seed.draft, &seed.about);
        }
    }
    // The attributes that a changed policy looks at come first, for every tool, and the others of all tools after them.
    for near in [true, false] {
        for (scene, seeds) in &seeded {
            for seed in seeds {
                asked.one_at_a_time(scene, seed, near);
            }
        }
    }
    for (scene, seeds) in &seeded {
        for seed in seeds {
            asked.two_at_a_time(scene, seed);
        }
    }
    if asked.left_out > 0 {
        uncovered.push(format!("{} more requests could have been made up; the budget is {max}", asked.left_out));
    }
    asked.questions
}

struct Asked {
    max: usize,
    seen: BTreeSet<(ToolName, Draft)>,
    questions: Vec<Question>,
    left_out: u64,
}

impl Asked {
    fn add(&mut self, scene: &Scene<'_>, draft: &Draft, about: &PolicyId) {
        if self.questions.len() >= self.max {
            self.left_out = self.left_out.saturating_add(1);
        } else if self.seen.insert((scene.tool.clone(), draft.clone())) {
            self.questions.extend(scene.question(draft, Some(about)));
        }
    }

    fn one_at_a_time(&mut self, scene: &Scene<'_>, seed: &Seed, near: bool) {
        for (path, values) in scene.values.iter().filter(|(path, _)| seed.paths.contains(*path) == near) {
            for value in values {
                let mut draft = seed.draft.clone();
                draft.insert(path.clone(), value.clone());
                self.add(scene, &draft, &seed.about);
            }
        }
    }

    fn two_at_a_time(&mut self, scene: &Scene<'_>, seed: &Seed) {
        let near: Vec<_> = scene.values.iter().filter(|(path, _)| seed.paths.contains(*path)).collect();
        for (index, (first, values)) in near.iter().enumerate() {
            for (second, others) in near.iter().skip(index.saturating_add(1)) {
                if self.questions.len() >= self.max {
                    // Counted without being made up: there may be very many.
                    let pairs = u64::try_from(values.len().saturating_mul(others.len())).unwrap_or(u64::MAX);
                    self.left_out = self.left_out.saturating_add(pairs);
                    continue;
                }
                for value in *values {
                    for other in *others {
                        let mut draft = seed.draft.clone();
                        draft.insert((*first).clone(), value.clone());
                        draft.insert((*second).clone(), other.clone());
                        self.add(scene, &draft, &seed.about);
                    }
                }
            }
        }
    }
}

/// Requests that the policies in focus decide, at most [`SEEDS_MAX`]; and for how many policies there was no room.
fn seeds(scene: &Scene<'_>, focus: &[Focus]) -> (Vec<Seed>, usize) {
    let mut seeds = Vec::new();
    let mut barren = 0usize;
    for Focus { side, rule } in focus {
        if seeds.len() >= SEEDS_MAX {
            barren = barren.saturating_add(1);
            continue;
        }
        let plain = unforbidden(scene, rule);
        let paths = scene.paths(*side, rule);
        let mut drafts = Vec::new();
        for way in scene.ways(*side, rule, true).iter().take(WAYS_MAX) {
            if rule.permits {
                let mut draft = plain.clone();
                scene.edit(&mut draft, way);
                drafts.push(draft);
                continue;
            }
            // A forbid shows only where something would be permitted.
            for (side, sides) in scene.sides.iter().enumerate() {
                for permit in sides.rules.iter().filter(|rule| rule.permits).take(PERMITS_MAX) {
                    for other in scene.ways(side, permit, true).iter().take(2) {
                        for order in [[other, way], [way, other]] {
                            let mut draft = plain.clone();
                            order.into_iter().for_each(|edits| scene.edit(&mut draft, edits));
                            drafts.push(draft);
                        }
                    }
                }
            }
        }
        let room = SEEDS_MAX.saturating_sub(seeds.len());
        if drafts.len() > room {
            barren = barren.saturating_add(1);
        }
        let seed = |draft| Seed { draft, about: rule.id.clone(), paths: paths.clone() };
        seeds.extend(drafts.into_iter().take(room).map(seed));
    }
    (seeds, barren)
}

/// A plain request, steered around the forbids of both bundles other than this policy.
fn unforbidden(scene: &Scene<'_>, but: &RuleView) -> Draft {
    let mut draft = scene.plain.clone();
    for (side, sides) in scene.sides.iter().enumerate() {
        for forbid in sides.rules.iter().filter(|rule| !rule.permits && rule.id != but.id).take(FORBIDS_MAX) {
            if let Some(way) = scene.ways(side, forbid, false).first() {
                scene.edit(&mut draft, way);
            }
        }
    }
    draft
}
