//! What a drill does, step by step: faults, what the operator does, and looks at the mesh.

use std::fmt;
use std::time::Duration;

use serde_saphyr::Location;

use super::action::{Fault, Lie, LinkQuality};
use super::outcome::Section;
use super::probe::{Probe, Tolerance};
use super::select::Selector;
use crate::node::Node;
use crate::workload::{Poison, RollOut};

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// In a few words.
    pub name: String,
    /// In which part of the file it stands.
    pub section: Section,
    /// What it does.
    pub does: Does,
    /// Whether the next step begins at once.
    pub background: bool,
    /// Waits before it.
    pub before: Duration,
    /// Waits after it.
    pub after: Duration,
    /// Where its targets stand in the file.
    pub(super) at: Location,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// Brings a fault about, or ends one.
    Fault(FaultPlan),
    /// Has the operator do something.
    Task(Task, Expected),
    /// Looks.
    Look(Probe, Duration, Tolerance),
    /// Nothing: its pauses are what it is for.
    Wait,
}

/// A fault whose targets are not resolved yet.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// Which.
    pub kind: FaultKind,
    /// Whom it hits; of a partition or link, the one side.
    pub target: Vec<Selector>,
    /// The other side.
    pub to: Vec<Selector>,
}

/// The faults, without their targets.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "each is the fault of its name")]
pub enum FaultKind {
    Kill,
    PowerCut,
    Stop,
    Start,
    Pause,
    Resume,
    Partition { one_way: bool },
    Link(LinkQuality),
    HealNetwork,
    DiskFull,
    DiskFree,
    FsyncError,
    ClockJump { by_ms: i64 },
    CpuLimit { percent: u32 },
    Lie(Lie),
    ReplaceVoter,
    ReconnectStorm,
}

/// The faults by the names of drill files.
pub(super) const FAULTS: [&str; 17] = [
    "kill",
    "power-cut",
    "stop",
    "start",
    "pause",
    "resume",
    "partition",
    "link",
    "heal-network",
    "disk-full",
    "disk-free",
    "fsync-error",
    "clock-jump",
    "cpu-limit",
    "lie",
    "replace-voter",
    "reconnect-storm",
];

/// What a fault leaves behind on whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// The fault, as drill files name it.
    pub fault: &'static str,
    /// Of a clock, how far it jumped; 0 of everything else.
    pub by_ms: i64,
}

impl Hold {
    fn of(fault: &'static str) -> Self {
        Self { fault, by_ms: 0 }
    }
}

impl FaultKind {
    /// What it leaves behind on whom it hits, until something ends it.
    #[must_use]
    pub fn holds(&self) -> Option<Hold> {
        let fault = match self {
            Self::Kill => "kill",
            Self::PowerCut => "power-cut",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Partition { .. } => "partition",
            Self::Link(_) => "link",
            Self::DiskFull => "disk-full",
            Self::FsyncError => "fsync-error",
            Self::ClockJump { by_ms } => return Some(Hold { fault: "clock-jump", by_ms: *by_ms }),
            Self::CpuLimit { percent } if *percent < 100 => "cpu-limit",
            Self::Lie(_) => "lie",
            Self::CpuLimit { .. }
            | Self::Start
            | Self::Resume
            | Self::HealNetwork
            | Self::DiskFree
            | Self::ReplaceVoter
            | Self::ReconnectStorm => return None,
        };
        Some(Hold::of(fault))
    }

    /// What it ends. A jump of a clock ends one of the same length in the other direction.
    #[must_use]
    pub fn ends(&self) -> Vec<Hold> {
        let faults: &[&'static str] = match self {
            Self::Start => &["kill", "power-cut", "stop", "fsync-error", "lie"],
            Self::Resume => &["pause"],
            Self::HealNetwork => &["partition", "link"],
            Self::DiskFree => &["disk-full"],
            Self::CpuLimit { percent } if *percent >= 100 => &["cpu-limit"],
            Self::ClockJump { by_ms } => return vec![Hold { fault: "clock-jump", by_ms: by_ms.saturating_neg() }],
            _ => &[],
        };
        faults.iter().map(|fault| Hold::of(fault)).collect()
    }

    /// Whether it only ends what other steps began.
    #[must_use]
    pub fn is_cure(&self) -> bool {
        !matches!(self, Self::ClockJump { .. }) && !self.ends().is_empty()
    }
}

impl FaultPlan {
    /// With its targets resolved. What hits one node at a time becomes one fault for each.
    #[must_use]
    pub fn with(&self, target: &[Node], to: &[Node]) -> Vec<Fault> {
        let nodes = target.to_vec();
        let other_side = || to.iter().filter(|node| !target.contains(node)).cloned().collect();
        let fault = match self.kind {
            FaultKind::HealNetwork => Fault::HealNetwork,
            _ if target.is_empty() => return Vec::new(),
            FaultKind::Kill => Fault::Kill(nodes),
            FaultKind::PowerCut => Fault::PowerCut(nodes),
            FaultKind::Stop => Fault::Stop(nodes),
            FaultKind::Start => Fault::Start(nodes),
            FaultKind::Pause => Fault::Pause(nodes),
            FaultKind::Resume => Fault::Resume(nodes),
            FaultKind::Partition { one_way } => Fault::Partition { from: nodes, to: other_side(), one_way },
            FaultKind::Link(quality) => Fault::Link { from: nodes, to: to.to_vec(), quality },
            FaultKind::DiskFull => Fault::DiskFull(nodes),
            FaultKind::DiskFree => Fault::DiskFree(nodes),
            FaultKind::FsyncError => Fault::FsyncError(nodes),
            FaultKind::ClockJump { by_ms } => Fault::ClockJump { nodes, by_ms },
            FaultKind::CpuLimit { percent } => Fault::CpuLimit { nodes, percent },
            FaultKind::Lie(lie) => return nodes.into_iter().map(|node| Fault::Lie { node, lie }).collect(),
            FaultKind::ReplaceVoter => return nodes.into_iter().map(Fault::ReplaceVoter).collect(),
            FaultKind::ReconnectStorm => Fault::ReconnectStorm(nodes),
        };
        vec![fault]
    }

    /// As drill files name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        // Every fault names itself; the node does not matter.
        self.with(&[Node::Tools], &[]).first().map_or("fault", Fault::name)
    }
}

/// What the operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Cuts the oldest open session.
    Revoke,
    /// Publishes the next bundle.
    PushBundle {
        /// By how many KiB of remarks in a policy it is longer than it need be.
        padding_kib: u32,
    },
    /// Publishes a bundle that nobody may take.
    PushPoisonedBundle(Poison),
    /// Rolls a bundle out, and looks at it until it is over.
    RollOut(RollOut),
    /// Writes who manages a contract, or that nobody does any more.
    Relate {
        /// Whether somebody does.
        holds: bool,
    },
    /// Publishes a bundle that permits nobody to make an offer, or, approved, one that permits it again.
    FreezeOffers {
        /// Whether nobody may.
        frozen: bool,
    },
    /// Seals the next version of the credential.
    Seal,
    /// Issues an envelope for a new session.
    OpenSession,
    /// Reads at every voter what is cut and what is active, with a barrier.
    Read,
    /// A session is handed on for a while: hops are made under two of its children, and used at every edge at once.
    HandOn,
    /// Cuts one of these two children, by its link.
    RevokeHop,
    /// Shows a proof that is made for one edge to another one, and then goes there as one should.
    MoveSession,
}

/// The tasks by the names of drill files.
pub(super) const TASKS: [&str; 15] = [
    "revoke",
    "push-bundle",
    "push-poisoned-bundle",
    "roll-out",
    "relate",
    "unrelate",
    "freeze-offers",
    "thaw-offers",
    "seal",
    "open-session",
    "read",
    "hand-on",
    "revoke-hop",
    "move-session",
    "wait",
];

impl Task {
    /// As drill files name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::PushBundle { .. } => "push-bundle",
            Self::PushPoisonedBundle(_) => "push-poisoned-bundle",
            Self::RollOut(_) => "roll-out",
            Self::Relate { holds: true } => "relate",
            Self::Relate { holds: false } => "unrelate",
            Self::FreezeOffers { frozen: true } => "freeze-offers",
            Self::FreezeOffers { frozen: false } => "thaw-offers",
            Self::Seal => "seal",
            Self::OpenSession => "open-session",
            Self::Read => "read",
            Self::HandOn => "hand-on",
            Self::RevokeHop => "revoke-hop",
            Self::MoveSession => "move-session",
        }
    }
}

/// What must come of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The control plane acknowledges it.
    Acknowledged,
    /// It does not.
    Refused,
    /// Of a rollout: the bundle becomes everybody's.
    Finished,
    /// Of a rollout: it is taken back by itself.
    TakenBack,
    /// Whatever.
    Anything,
}

impl Expected {
    pub(super) const ALL: [(&str, Self); 5] = [
        ("acknowledged", Self::Acknowledged),
        ("refused", Self::Refused),
        ("finished", Self::Finished),
        ("taken-back", Self::TakenBack),
        ("anything", Self::Anything),
    ];

    /// Whether it is about the end of a rollout.
    pub(super) fn is_of_rollouts(self) -> bool {
        matches!(self, Self::Finished | Self::TakenBack)
    }

    /// Whether this is what must have come of it.
    pub(super) fn is_met_by(self, came: Came) -> bool {
        match self {
            Self::Acknowledged => came != Came::Refused,
            Self::Refused => came == Came::Refused,
            Self::Finished => came == Came::Finished,
            Self::TakenBack => came == Came::TakenBack,
            Self::Anything => true,
        }
    }
}

/// What came of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// The control plane acknowledged it.
    Acknowledged,
    /// It did not.
    Refused,
    /// Of a rollout: the bundle is everybody's.
    Finished,
    /// Of a rollout: it was taken back.
    TakenBack,
}

impl fmt::Display for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(plan) => f.write_str(plan.name()),
            Self::Task(task, _) => f.write_str(task.name()),
            Self::Look(probe, ..) => f.write_str(probe.name()),
            Self::Wait => f.write_str("wait"),
        }
    }
}
