//! What a voter's Raft needs to be told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use remit_common::id::{MeshId, VoterId};
use remit_common::net::tls::{Identity, Peers};

/// Everything [`super::RaftNode::start`] has to know.
pub struct RaftConfig {
    /// The mesh; its id is part of the disk's identity.
    pub mesh: MeshId,
    /// This voter. Must be among [`Self::voters`].
    pub id: VoterId,
    /// The first voters and where their Raft endpoints are, this one included: the same on every one of them. For one
    /// that joins later, the voters that there are, and itself.
    pub voters: BTreeMap<VoterId, SocketAddr>,
    /// Whether this voter comes to a mesh that is there already: it waits until the others take it in.
    pub joins: bool,
    /// Where this voter listens; usually its own entry of [`Self::voters`].
    pub listen: SocketAddr,
    /// The folder of the log and the snapshot. Nobody else writes in there.
    pub data_dir: PathBuf,
    /// Heartbeats, elections and compaction.
    pub timings: RaftTimings,
    /// Our certificate, and whose certificates we accept.
    pub tls: RaftTls,
}

/// How a voter proves who it is, and who may be at the other end.
pub struct RaftTls {
    /// Our certificate chain and key.
    pub identity: Identity,
    /// The anchor for the other voters' certificates.
    pub voters: Peers,
}

/// Heartbeats, elections and compaction. The defaults are for voters within a few milliseconds of each other, on a
/// machine that is busy with other things; for voters 70 ms apart an election takes one to two seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftTimings {
    /// The leader speaks up at least this often. Also the deadline of one replication call.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for this long, and up to [`Self::election_max`], wants to lead.
    pub election_min: Duration,
    /// The upper end of the random election timeout, and the lease that a leader's sign of life gives it.
    pub election_max: Duration,
    /// A snapshot is built after this many entries.
    pub snapshot_every_entries: u64,
    /// A snapshot is also built, and the log in front of it let go, when the entries since the last one have this
    /// many bytes: a log of few but large entries must not fill the disk.
    pub snapshot_every_bytes: u64,
    /// Entries that stay in the log although a snapshot has them, for followers that are a little behind.
    pub keep_entries: u64,
}

impl Default for RaftTimings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1_000),
            snapshot_every_entries: 5_000,
            snapshot_every_bytes: 256 * 1024 * 1024,
            keep_entries: 1_000,
        }
    }
}
