//! Bundles in waves: who begins them, how they move, and what is seen of them.

use rand::RngExt as _;
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, EdgeId, LogIndex};
use remit_control_plane::registry::RolloutStatus;

use super::operate::{OFFER, TICKETS};
use super::{Entry, Later, MILLI, SECOND, World, edge_ids};
use crate::history::{Kind, RolloutSeen, RolloutStep, What, WriteKind, Written};

/// How long a wave bakes, and how long it takes until a gate has closed.
const BAKES: u64 = 3 * SECOND;
const HURTS: u64 = 4 * SECOND;

/// What a bundle decides otherwise than others.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) without: Vec<String>,
    pub(super) freely: Vec<String>,
}

/// A rollout that has begun.
pub(super) struct Rolling {
    version: BundleVersion,
    digest: Digest,
    base: (BundleVersion, Digest),
    waves: Vec<Vec<EdgeId>>,
    hurts: bool,
    steps: Vec<RolloutStep>,
}

impl Rolling {
    fn is_under_way(&self) -> bool {
        self.steps.last().is_some_and(|step| step.status.is_under_way())
    }
}

impl World {
    pub(super) fn is_rolling(&self) -> bool {
        self.rollouts.last().is_some_and(Rolling::is_under_way)
    }

    /// What a bundle is asked for.
    pub(super) fn rules(&self, version: BundleVersion) -> Rules {
        self.rules.get(&version).cloned().unwrap_or_default()
    }

    pub(super) fn invoke_rollout(&mut self) {
        if !self.ready || self.is_rolling() {
            return;
        }
        self.version += 1;
        let version = BundleVersion(self.version);
        let edges: Vec<EdgeId> = edge_ids().collect();
        let first = edges[self.random.random_range(0..edges.len())].clone();
        let rules = match self.random.random_range(0..3_u8) {
            0 => Rules { without: vec![TICKETS.to_owned()], ..Rules::default() },
            1 => Rules { freely: vec![OFFER.to_owned()], ..Rules::default() },
            _ => Rules::default(),
        };
        self.rules.insert(version, rules.clone());
        let kind = WriteKind::RollOut {
            version,
            digest: Digest::of(&[&version.0.to_be_bytes()]),
            fallback: self.bundle_at(self.log.len()).map(|(.., digest)| digest),
            waves: vec![vec![first], edges],
            without: rules.without,
            freely: rules.freely,
            newly_permitted: Some(0),
        };
        self.ask_for(kind);
    }

    /// The first wave, if it may begin.
    pub(super) fn begin_rollout(&mut self, kind: &WriteKind) -> Option<Written> {
        let WriteKind::RollOut { version, digest, fallback, waves, without, freely, .. } = kind else { return None };
        let (_, base, base_digest) = self.bundle_at(self.log.len())?;
        if self.is_rolling() || base >= *version || *fallback != Some(base_digest) {
            return None;
        }
        self.rollouts.push(Rolling {
            version: *version,
            digest: *digest,
            base: (base, base_digest),
            waves: waves.clone(),
            hurts: !without.is_empty() || !freely.is_empty(),
            steps: Vec::new(),
        });
        let index = self.wave(0);
        Some(Written { index, epoch: None, activation: Some(index), revision: None })
    }

    /// An entry: the rollout has come to a wave.
    fn wave(&mut self, wave: u32) -> LogIndex {
        let of = self.rollouts.len() - 1;
        self.log.push(Entry::Wave(of, wave));
        let hurts = self.rollouts[of].hurts;
        let later = if hurts { Later::Do(Self::end_rollout) } else { Later::Do(Self::next_wave) };
        self.at(self.now + if hurts { HURTS } else { BAKES }, later);
        self.step_rollout(wave, RolloutStatus::Baking)
    }

    fn step_rollout(&mut self, wave: u32, status: RolloutStatus) -> LogIndex {
        let index = LogIndex(u64::try_from(self.log.len()).unwrap());
        self.rollouts.last_mut().unwrap().steps.push(RolloutStep { index, wave, status });
        index
    }

    fn next_wave(&mut self) {
        let rolling = self.rollouts.last().unwrap();
        let wave = rolling.steps.last().unwrap().wave + 1;
        if !self.has_majority() {
            self.at(self.now + SECOND, Later::Do(Self::next_wave));
        } else if usize::try_from(wave).unwrap() < rolling.waves.len() {
            self.wave(wave);
        } else {
            self.end_rollout();
        }
    }

    fn end_rollout(&mut self) {
        if !self.has_majority() {
            self.at(self.now + SECOND, Later::Do(Self::end_rollout));
            return;
        }
        let of = self.rollouts.len() - 1;
        let status = if self.rollouts[of].hurts { RolloutStatus::TakenBack } else { RolloutStatus::Completed };
        self.log.push(Entry::Over(of, status));
        let wave = self.rollouts[of].steps.last().unwrap().wave;
        self.step_rollout(wave, status);
    }

    /// What the log has of it up to an entry: which bundle it makes the one of the whole mesh.
    pub(super) fn settled(&self, of: usize, status: RolloutStatus) -> (BundleVersion, Digest) {
        let rolling = &self.rollouts[of];
        if status == RolloutStatus::Completed { (rolling.version, rolling.digest) } else { rolling.base }
    }

    /// The bundle that decides at an edge that knows the log up to there.
    pub(super) fn decides_at(&self, length: usize, edge: &EdgeId) -> Option<(LogIndex, BundleVersion, Digest)> {
        for (at, entry) in self.log.iter().enumerate().take(length).rev() {
            match entry {
                Entry::Wave(of, wave) => {
                    let (rolling, until) = (&self.rollouts[*of], usize::try_from(*wave).unwrap() + 1);
                    if rolling.waves.iter().take(until).flatten().any(|other| other == edge) {
                        return Some((LogIndex(u64::try_from(at).unwrap() + 1), rolling.version, rolling.digest));
                    }
                }
                Entry::Bundle(..) | Entry::Over(..) => return self.bundle_at(at + 1),
                _ => {}
            }
        }
        None
    }

    /// Somebody looks at what is kept of rollouts.
    pub(super) fn look_at_rollouts(&mut self, all: bool) {
        let applied = LogIndex(u64::try_from(self.log.len()).unwrap());
        let from = if all { 0 } else { self.rollouts.len().saturating_sub(2) };
        let seen = |rolling: &Rolling| RolloutSeen {
            applied,
            rollout: rolling.steps[0].index,
            version: rolling.version,
            digest: rolling.digest,
            base: rolling.base.1,
            steps: rolling.steps.clone(),
            reason: String::new(),
        };
        let seen: Vec<_> = self.rollouts[from..].iter().map(seen).collect();
        for seen in seen {
            self.note("operator", Kind::Info, What::Rollout(seen));
        }
    }

    pub(super) fn watch_rollouts(&mut self) {
        self.look_at_rollouts(false);
        let wait = self.random.random_range(900..1_100) * MILLI;
        if self.now < 70 * SECOND {
            self.at(self.now + wait, Later::Do(Self::watch_rollouts));
        }
    }
}
