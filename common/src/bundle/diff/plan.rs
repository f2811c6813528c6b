//! Requests that one policy decides, from which others are varied.

use std::collections::BTreeSet;

use super::generate::Blame;
use super::question::Expects;
use super::scene::{Draft, Scene};
use crate::policy::engines::cedar::steer::{Edit, Path, RuleView, Value};

/// Requests from which others are varied, for one policy: each is held in memory.
const SEEDS_MAX: usize = 256;
/// Permits that are tried together with one forbid.
const PERMITS_MAX: usize = 64;
/// The same where a forbid holds in one bundle and not in the other.
const APART_PERMITS_MAX: usize = 4;

/// A policy around which requests are made up.
pub(super) struct Around {
    /// How many of the same bundle and tool come before it.
    pub(super) turn: usize,
    /// Which bundle's: 0 is the earlier one.
    pub(super) side: usize,
    pub(super) rule: RuleView,
    /// Whether it changed itself.
    pub(super) own: bool,
    /// The changes of which it is said if not everything near it can be asked.
    pub(super) blames: Vec<Blame>,
}

/// What is asked around it.
pub(super) struct Plan {
    pub(super) of: Around,
    pub(super) seeds: Vec<Draft>,
    /// How many of them are varied: behind them stand those that hold in one bundle and not in the other.
    pub(super) varied: usize,
    /// Which of them are made for a way in which the policy may hold, and are no guess.
    ways: BTreeSet<usize>,
    /// The values around its own constants.
    pub(super) values: BTreeSet<(Path, Value)>,
    paths: BTreeSet<Path>,
    /// Whether its condition was understood, and every way in which it can hold is among the seeds.
    pub(super) clear: bool,
}

impl Plan {
    pub(super) fn new(scene: &Scene<'_>, of: Around) -> Self {
        let steered = scene.steered(of.side, &of.rule);
        let values = scene.boundaries(of.side, &of.rule);
        let paths = values.iter().map(|(path, _)| path.clone()).collect();
        let mut drafting =
            Drafting { scene, drafts: Vec::new(), ways: BTreeSet::new(), seen: BTreeSet::new(), clear: steered.whole };
        let plain = drafting.unforbidden(&of.rule);
        for way in &steered.holds {
            if of.rule.permits {
                drafting.way(&plain, &[way]);
            } else {
                drafting.with_permits(&plain, way);
            }
        }
        let varied = drafting.drafts.len();
        if of.own {
            drafting.apart(&plain, &of);
        }
        let Drafting { drafts, ways, clear, .. } = drafting;
        Self { of, seeds: drafts, varied, ways, values, paths, clear }
    }

    /// The seeds that are varied.
    pub(super) fn varied(&self) -> impl Iterator<Item = &Draft> {
        self.seeds.iter().take(self.varied)
    }

    /// What the policy should do with a seed, where it changed and could be wider: a permit in the later bundle, a forbid in
    /// the earlier one.
    pub(super) fn expects(&self, seed: usize) -> Expects {
        match (self.of.rule.permits, self.of.side) {
            (true, 1) if self.of.own && self.ways.contains(&seed) => Expects::Permit,
            (false, 0) if self.of.own && self.ways.contains(&seed) => Expects::Forbid,
            _ => Expects::Anything,
        }
    }

    /// Whether the policy looks at this.
    pub(super) fn looks_at(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }
}

struct Drafting<'s, 'b> {
    scene: &'s Scene<'b>,
    drafts: Vec<Draft>,
    ways: BTreeSet<usize>,
    seen: BTreeSet<Draft>,
    clear: bool,
}

impl Drafting<'_, '_> {
    /// A draft for which the policy should hold.
    fn way(&mut self, plain: &Draft, ways: &[&Vec<Edit>]) {
        let place = self.drafts.len();
        self.draft(plain, ways);
        if self.drafts.len() > place {
            self.ways.insert(place);
        }
    }

    fn draft(&mut self, plain: &Draft, ways: &[&Vec<Edit>]) {
        let steps = ways.iter().fold(plain.len(), |sum, way| sum.saturating_add(way.len()));
        if self.drafts.len() >= SEEDS_MAX || !self.scene.work.spend(steps) {
            self.scene.work.leave(1);
            self.clear = false;
            return;
        }
        let mut draft = plain.clone();
        for way in ways {
            self.clear &= self.scene.edit(&mut draft, way);
        }
        if self.seen.insert(draft.clone()) {
            self.drafts.push(draft);
        }
    }

    /// A forbid shows only where something would be permitted, and each permit may be the one that it holds back.
    fn with_permits(&mut self, plain: &Draft, way: &Vec<Edit>) {
        let scene = self.scene;
        let sides = scene.sides.iter().enumerate();
        let permits: Vec<_> = sides
            .flat_map(|(side, sides)| sides.rules.iter().filter(|rule| rule.permits).map(move |rule| (side, rule)))
            .collect();
        let more = permits.len().saturating_sub(PERMITS_MAX);
        scene.work.leave(more);
        self.clear &= more == 0;
        for (side, permit) in permits.iter().take(PERMITS_MAX) {
            let other = scene.steered(*side, permit);
            self.clear &= other.whole;
            for other in &other.holds {
                self.way(plain, &[other, way]);
            }
        }
        // In the other order, for what one takes from the other; guesses on top.
        let clear = self.clear;
        for (side, permit) in permits.iter().take(APART_PERMITS_MAX) {
            for other in scene.steered(*side, permit).holds.iter().take(1) {
                self.draft(plain, &[way, other]);
            }
        }
        self.clear = clear;
    }

    /// Requests for which a policy holds here and not in the other bundle. Guesses on top: whatever comes of them, what has to be asked is asked without them.
    fn apart(&mut self, plain: &Draft, of: &Around) {
        let (scene, clear) = (self.scene, self.clear);
        let other = if of.side == 0 { 1usize } else { 0 };
        let twin = scene.sides.get(other).and_then(|side| side.rules.iter().find(|rule| rule.id == of.rule.id));
        let Some(twin) = twin.filter(|twin| twin.permits == of.rule.permits) else {
            return;
        };
        let (here, there) = (scene.steered(of.side, &of.rule), scene.steered(other, twin));
        let permits = scene
            .sides
            .iter()
            .enumerate()
            .flat_map(|(side, sides)| sides.rules.iter().filter(|rule| rule.permits).map(move |rule| (side, rule)));
        let permits: Vec<_> = permits.take(APART_PERMITS_MAX).map(|(side, rule)| scene.steered(side, rule)).collect();
        for (way, miss) in here.holds.iter().flat_map(|way| there.fails.iter().map(move |miss| (way, miss))) {
            for (first, second) in [(way, miss), (miss, way)] {
                if self.drafts.len() >= SEEDS_MAX {
                    scene.work.leave(1);
                } else if of.rule.permits {
                    self.draft(plain, &[first, second]);
                } else {
                    for permit in permits.iter().filter_map(|permit| permit.holds.first()) {
                        self.draft(plain, &[permit, first, second]);
                    }
                }
            }
        }
        self.clear = clear;
    }

    /// A plain request, steered around the forbids of both bundles other than this policy.
    fn unforbidden(&mut self, but: &RuleView) -> Draft {
        let mut draft = self.scene.plain.clone();
        for (side, sides) in self.scene.sides.iter().enumerate() {
            for forbid in sides.rules.iter().filter(|rule| !rule.permits && rule.id != but.id) {
                let steered = self.scene.steered(side, forbid);
                let steps = steered.fails.iter().fold(1usize, |sum, way| sum.saturating_add(way.len()));
                if !self.scene.work.spend(steps) {
                    self.clear = false;
                    return draft;
                }
                let followed = steered.fails.iter().find_map(|way| {
                    let mut next = draft.clone();
                    self.scene.edit(&mut next, way).then_some(next)
                });
                // What a forbid holds back that is not understood, nobody sees a permit let through.
                self.clear &= !but.permits || side == 0 || (steered.whole && followed.is_some());
                draft = followed.unwrap_or(draft);
            }
        }
        draft
    }
}
