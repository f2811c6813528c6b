//! What is known of each rollout: whom its bundle may have come to under which number, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, EdgeId};
use remit_control_plane::registry::RolloutStatus;

use super::story::{Operation, Returned, Story};
use super::verdict::Witness;
use crate::history::{Event, RolloutSeen, RolloutStep, What, Write, WriteKind};

/// One rollout that somebody asked for.
pub(super) struct Rollout<'a> {
    pub(super) version: BundleVersion,
    pub(super) digest: Digest,
    pub(super) waves: &'a [Vec<EdgeId>],
    pub(super) without: &'a [String],
    pub(super) freely: &'a [String],
    /// How many calls it may permit anew.
    pub(super) newly_permitted: Option<u64>,
    pub(super) invoked: Witness,
    /// It certainly did not begin.
    pub(super) failed: bool,
    /// The number under which it began, where the answer came.
    pub(super) begun: Option<(Witness, u64)>,
    /// What was seen as of the latest entry.
    seen: Option<&'a RolloutSeen>,
    /// Everything that was seen of it.
    looks: Vec<(Witness, &'a RolloutSeen)>,
    /// When each step was seen first.
    steps: BTreeMap<u64, (Witness, &'a RolloutStep)>,
}

/// For whom a number makes a bundle the one that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Activates<'a> {
    /// For these, with the waves up to one.
    These(BTreeSet<&'a EdgeId>),
    Everybody,
    /// It activates something else, or nothing.
    Nobody,
    /// Nobody has looked since.
    Unknown,
}

impl<'a> Rollout<'a> {
    /// Whom it has come to with a wave.
    fn scope(&self, wave: u32) -> BTreeSet<&'a EdgeId> {
        let until = usize::try_from(wave).unwrap_or(usize::MAX).saturating_add(1);
        self.waves.iter().take(until).flatten().collect()
    }

    /// For whom this number makes its bundle the one that decides.
    pub(super) fn activates(&self, number: u64) -> Activates<'a> {
        if let Some((_, step)) = self.steps.get(&number) {
            return match step.status {
                RolloutStatus::Baking => Activates::These(self.scope(step.wave)),
                RolloutStatus::Completed => Activates::Everybody,
                RolloutStatus::Paused | RolloutStatus::TakenBack | RolloutStatus::Aborted => Activates::Nobody,
            };
        }
        match (self.seen, self.begun) {
            (_, Some((_, begun))) if begun == number => Activates::These(self.scope(0)),
            (Some(seen), _) if number <= seen.applied.0 => Activates::Nobody,
            _ => Activates::Unknown,
        }
    }

    /// Whether its bundle may have decided at an edge, ever.
    pub(super) fn may_reach(&self, edge: &EdgeId) -> bool {
        if self.failed && self.seen.is_none() {
            return false;
        }
        let Some(seen) = self.seen else { return true };
        let is_over = seen.steps.last().is_some_and(|step| !step.status.is_under_way());
        // A wave that began after somebody looked last is one, too.
        let furthest = seen.steps.iter().map(|step| step.wave).max().unwrap_or_default();
        !is_over || self.completed().is_some() || self.scope(furthest).contains(edge)
    }

    /// Whether its bundle may decide at an edge that knows what was acknowledged before this time.
    pub(super) fn may_decide(&self, edge: &EdgeId, knows_us: u64) -> bool {
        self.may_reach(edge) && self.taken_back().is_none_or(|(_, at)| at.time_us >= knows_us)
    }

    /// Everything that was seen of it, and when.
    pub(super) fn looks(&self) -> &[(Witness, &'a RolloutSeen)] {
        &self.looks
    }

    fn first(&self, is_it: impl Fn(RolloutStatus) -> bool) -> Option<(u64, Witness)> {
        self.steps.iter().find(|(_, (_, step))| is_it(step.status)).map(|(number, (at, _))| (*number, *at))
    }

    /// Under which number it became everybody's, and when somebody saw that.
    pub(super) fn completed(&self) -> Option<(u64, Witness)> {
        self.first(|status| status == RolloutStatus::Completed)
    }

    /// Under which number the bundle from before was everybody's again, and when somebody saw that.
    pub(super) fn taken_back(&self) -> Option<(u64, Witness)> {
        self.first(|status| matches!(status, RolloutStatus::TakenBack | RolloutStatus::Aborted))
    }

    /// The bundle from before.
    pub(super) fn base(&self) -> Option<Digest> {
        self.seen.map(|seen| seen.base)
    }

    /// Whether this number may be that under which a bundle was everybody's again.
    pub(super) fn may_go_back_to(&self, digest: &Digest, number: u64) -> bool {
        match (self.taken_back(), self.base()) {
            (Some((taken_back, _)), Some(base)) => base == *digest && taken_back == number,
            _ if self.failed || self.completed().is_some() => false,
            (_, base) => {
                base.is_none_or(|base| base == *digest) && self.seen.is_none_or(|seen| number > seen.applied.0)
            }
        }
    }

    /// What it ended with: which bundle is everybody's under which number, and when somebody saw that.
    pub(super) fn end(&self) -> Option<(Digest, u64, Witness)> {
        let completed = self.completed().map(|(number, at)| (self.digest, number, at));
        completed.or_else(|| self.taken_back().and_then(|(number, at)| Some((self.base()?, number, at))))
    }
}

/// Every rollout, in the order in which they were asked for.
pub(super) fn rollouts<'a>(events: &'a [Event], story: &Story<'a>) -> Vec<Rollout<'a>> {
    let mut looks: BTreeMap<Digest, Vec<(Witness, &RolloutSeen)>> = BTreeMap::new();
    for event in events {
        if let What::Rollout(seen) = &event.what {
            looks.entry(seen.digest).or_default().push((Witness::from(event), seen));
        }
    }
    let rollout = |write: &Operation<'a, Write>| {
        let WriteKind::RollOut { version, digest, fallback: _, waves, without, freely, newly_permitted } =
            &write.asked.write
        else {
            return None;
        };
        let looks = looks.get(digest).map(Vec::as_slice).unwrap_or_default();
        let mut steps: BTreeMap<u64, (Witness, &RolloutStep)> = BTreeMap::new();
        for (at, seen) in looks {
            for step in &seen.steps {
                steps.entry(step.index.0).or_insert((*at, step));
            }
        }
        Some(Rollout {
            version: *version,
            digest: *digest,
            waves,
            without,
            freely,
            newly_permitted: *newly_permitted,
            invoked: write.invoked,
            failed: matches!(write.returned, Returned::Fail) && looks.is_empty(),
            begun: write.acknowledged().and_then(|(at, written)| Some((at, written.activation?.0))),
            seen: looks.iter().map(|(_, seen)| *seen).max_by_key(|seen| seen.applied),
            looks: looks.to_vec(),
            steps,
        })
    };
    story.writes.iter().filter_map(rollout).collect()
}
