//! Which disk each peer has, remembered for good.
//!
//! A voter that lost its disk has forgotten what it voted for and what it acknowledged: under its old id it could
//! help to elect two leaders, or to lose what was committed. So an id is bound to the first disk that is seen with
//! it, and one that comes back with another is turned away; it needs a new id (C-5).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::id::VoterId;

use crate::raft::format::DiskId;
use crate::raft::log_store::LogControl;

/// A peer is not who may be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotWelcome {
    #[error("voter {0} has another disk than before: it was wiped or copied, and needs a new voter id")]
    AnotherDisk(VoterId),
    #[error("the peer's greeting says voter {said}, its certificate voter {named}")]
    AnotherVoter { said: VoterId, named: VoterId },
    #[error("the peer belongs to another mesh")]
    AnotherMesh,
    #[error("voter {0} is not a member of this mesh")]
    NotAMember(VoterId),
    #[error("the peer is no voter")]
    NotAVoter,
    #[error("no protocol version in common")]
    NoCommonVersion,
    #[error("the log cannot remember the peer's disk")]
    Forgetful,
}

impl From<io::Error> for NotWelcome {
    fn from(_: io::Error) -> Self {
        // The log has raised the alarm with the details.
        Self::Forgetful
    }
}

/// The disks seen so far. Cloning gives the same memory.
#[derive(Clone)]
pub(crate) struct Acquaintances {
    known: Arc<Mutex<BTreeMap<VoterId, DiskId>>>,
    log: LogControl,
}

impl Acquaintances {
    /// Those that the log remembers.
    pub(crate) fn new(known: Vec<(VoterId, DiskId)>, log: LogControl) -> Self {
        Self { known: Arc::new(Mutex::new(known.into_iter().collect())), log }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<VoterId, DiskId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a peer's disk with the one it has always had; a first meeting is on our disk before this returns.
    pub(crate) async fn check(&self, peer: VoterId, disk: DiskId) -> Result<(), NotWelcome> {
        let met = self.known().get(&peer).copied();
        match met {
            Some(known) if known == disk => Ok(()),
            Some(_) => Err(NotWelcome::AnotherDisk(peer)),
            None => {
                self.log.remember(peer, disk).await?;
                // Two first meetings may race; the one that is entered first counts.
                let entered = *self.known().entry(peer).or_insert(disk);
                if entered == disk { Ok(()) } else { Err(NotWelcome::AnotherDisk(peer)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use remit_common::id::MeshId;
    use remit_common::net::env::Env;
    use remit_common::net::real::real;

    use super::*;
    use crate::raft::fatal::Fatal;
    use crate::raft::fault_disk::FaultDisk;
    use crate::raft::log_store::{Fresh, LogStore};

    async fn acquaintances(disk: &FaultDisk) -> Acquaintances {
        let env = Env { disk: Arc::new(disk.clone()), ..real() };
        let (mesh, voter) = (MeshId([1; 16]), VoterId(1));
        let log = LogStore::open(&env, Path::new("/raft"), mesh, voter, Fresh::Allowed, Fatal::new()).await.unwrap();
        Acquaintances::new(log.opened.met, log.control)
    }

    /// C-5, over a restart of the voter that remembers.
    #[tokio::test]
    async fn a_voter_that_comes_back_with_another_disk_is_turned_away() {
        let (peer, first, wiped) = (VoterId(2), DiskId([1; 16]), DiskId([2; 16]));
        let disk = FaultDisk::default();
        let before = acquaintances(&disk).await;
        assert_eq!(before.check(peer, first).await, Ok(()));
        assert_eq!(before.check(peer, first).await, Ok(()));
        assert_eq!(before.check(peer, wiped).await, Err(NotWelcome::AnotherDisk(peer)));
        let after = acquaintances(&disk.after_power_cut(0, 0)).await;
        assert_eq!(after.check(peer, wiped).await, Err(NotWelcome::AnotherDisk(peer)));
        assert_eq!(after.check(peer, first).await, Ok(()));
        assert_eq!(after.check(VoterId(3), wiped).await, Ok(()), "another voter, another memory");
    }

    #[tokio::test]
    async fn a_first_meeting_that_cannot_be_remembered_does_not_count() {
        let disk = FaultDisk::default();
        let acquaintances = acquaintances(&disk).await;
        disk.fail_syncs();
        assert_eq!(acquaintances.check(VoterId(2), DiskId([1; 16])).await, Err(NotWelcome::Forgetful));
    }
}
