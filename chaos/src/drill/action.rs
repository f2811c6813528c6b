//! What a step of a drill does to the mesh, with its targets resolved to nodes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::history::What;
use crate::node::Node;

/// How long every connection is silent in a storm of reconnects: longer than any of them lives without a packet.
pub const STORM: Duration = Duration::from_secs(10);

/// A fault, or the end of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", content = "on", rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL: the process is gone, what its kernel holds is written later.
    Kill(Vec<Node>),
    /// The machine loses power: the process is gone, and everything it had not synced.
    PowerCut(Vec<Node>),
    /// SIGTERM, and waits for the orderly end.
    Stop(Vec<Node>),
    /// Starts a node that was killed, cut or stopped, at its old address with its old disk.
    Start(Vec<Node>),
    /// SIGSTOP.
    Pause(Vec<Node>),
    /// SIGCONT.
    Resume(Vec<Node>),
    /// Packets from the ones to the others vanish, silently; both ways unless `one_way`.
    Partition {
        /// From these.
        from: Vec<Node>,
        /// To these.
        to: Vec<Node>,
        /// Only in this direction.
        one_way: bool,
    },
    /// What the network does to packets between the ones and the others, both ways.
    Link {
        /// These.
        from: Vec<Node>,
        /// And those.
        to: Vec<Node>,
        /// From now on.
        quality: LinkQuality,
    },
    /// Every partition ends and every link is good again.
    HealNetwork,
    /// No byte fits on their disks any more.
    DiskFull(Vec<Node>),
    /// There is room again.
    DiskFree(Vec<Node>),
    /// The next sync of their disks fails.
    FsyncError(Vec<Node>),
    /// Their wall clocks jump, forwards or backwards.
    ClockJump {
        /// Whose.
        nodes: Vec<Node>,
        /// By how much, in milliseconds.
        by_ms: i64,
    },
    /// Their processes get this share of one processor; 100 lifts the limit.
    CpuLimit {
        /// Whose.
        nodes: Vec<Node>,
        /// Percent of one processor.
        percent: u32,
    },
    /// A voter that answers edges with something else than the truth: a process of its own with the voter's identity,
    /// in the voter's place.
    Lie {
        /// Which voter.
        node: Node,
        /// How.
        lie: Lie,
    },
    /// A voter is gone for good: a new one, with a new id and an empty disk, takes its place.
    ReplaceVoter(Node),
    /// Every connection of the edges to the voters is cut at once, and they all come back. It is over when it has been
    /// brought about.
    ReconnectStorm(Vec<Node>),
}

/// How a voter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// Hands out the state of long ago as if it were the newest.
    Old,
    /// Leaves out what it should hand out.
    Truncated,
    /// Hands out what nobody signed.
    Forged,
    /// Hands out what holds, and says that it is of this moment by ticks that were signed before.
    Replayed,
}

/// What happens to packets of one direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkQuality {
    /// The shortest time on the way.
    pub latency: Duration,
    /// Added at random, up to this.
    pub jitter: Duration,
    /// Share that is lost, 0 to 1.
    pub loss: f64,
    /// Share that arrives twice.
    pub duplicate: f64,
    /// Share that is held back so that later ones overtake it.
    pub reorder: f64,
    /// Share in which a bit is flipped.
    pub corrupt: f64,
    /// Bytes a second; none is no limit.
    pub rate: Option<u64>,
}

impl LinkQuality {
    /// A good local network.
    pub const GOOD: Self = Self {
        latency: Duration::from_micros(500),
        jitter: Duration::from_micros(500),
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        corrupt: 0.0,
        rate: None,
    };
}

impl Fault {
    /// As drill files and histories name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::PowerCut(_) => "power-cut",
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Partition { .. } => "partition",
            Self::Link { .. } => "link",
            Self::HealNetwork => "heal-network",
            Self::DiskFull(_) => "disk-full",
            Self::DiskFree(_) => "disk-free",
            Self::FsyncError(_) => "fsync-error",
            Self::ClockJump { .. } => "clock-jump",
            Self::CpuLimit { .. } => "cpu-limit",
            Self::Lie { .. } => "lie",
            Self::ReplaceVoter(_) => "replace-voter",
            Self::ReconnectStorm(_) => "reconnect-storm",
        }
    }
}

impl Fault {
    /// Whom it hits.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        match self {
            Self::Kill(nodes)
            | Self::PowerCut(nodes)
            | Self::Stop(nodes)
            | Self::Start(nodes)
            | Self::Pause(nodes)
            | Self::Resume(nodes)
            | Self::DiskFull(nodes)
            | Self::DiskFree(nodes)
            | Self::FsyncError(nodes)
            | Self::ReconnectStorm(nodes)
            | Self::ClockJump { nodes, .. }
            | Self::CpuLimit { nodes, .. } => nodes.clone(),
            Self::Partition { from, to, .. } | Self::Link { from, to, .. } => from.iter().chain(to).cloned().collect(),
            Self::HealNetwork => Vec::new(),
            Self::Lie { node, .. } | Self::ReplaceVoter(node) => vec![node.clone()],
        }
    }

    /// What exactly, for people.
    #[must_use]
    pub fn detail(&self) -> String {
        let list = |nodes: &[Node]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Partition { from, to, one_way } => {
                let arrow = if *one_way { "to" } else { "from and to" };
                format!("nothing of {} gets {arrow} {}", list(from), list(to))
            }
            Self::Link { from, to, quality } => {
                let LinkQuality { latency, jitter, loss, duplicate, reorder, corrupt, rate } = quality;
                let rate = rate.map_or_else(String::new, |rate| format!(", {} kB/s", rate / 1_000));
                format!(
                    "between {} and {}: {latency:?} to {:?}, {:.0} % lost, {:.0} % twice, {:.0} % late, {:.0} % damaged{rate}",
                    list(from),
                    list(to),
                    *latency + *jitter,
                    loss * 100.0,
                    duplicate * 100.0,
                    reorder * 100.0,
                    corrupt * 100.0,
                )
            }
            Self::ClockJump { nodes, by_ms } => format!("the clock of {} jumps by {by_ms} ms", list(nodes)),
            Self::CpuLimit { nodes, percent } => format!("{} get {percent} % of a processor", list(nodes)),
            Self::Lie { node, lie } => format!("{node} answers edges with {lie:?} state").to_lowercase(),
            Self::HealNetwork => "every link is good again".to_owned(),
            other => list(&other.nodes()),
        }
    }

    /// As a history tells of it.
    #[must_use]
    pub fn told(&self, begins: bool) -> What {
        What::Fault {
            name: self.name().to_owned(),
            nodes: self.nodes(),
            detail: self.detail(),
            begins,
            fault: Some(self.clone()),
        }
    }

    /// Whether something bad begins, as against ends.
    #[must_use]
    pub fn begins(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Resume(_) | Self::HealNetwork | Self::DiskFree(_))
    }
}
