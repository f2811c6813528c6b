//! Copies from the other voters what this one's records lack: those of a voter that joined later, or whose file was
//! damaged and set aside.
//!
//! An edge lets go of a record when a majority of the voters has it. Of that majority one may be the voter that this
//! one replaces, or this one before its disk failed; so a newcomer votes only when it has read so many others that every
//! majority is among them (Clause K-18).

mod reading;

use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::net::tasks::Shutdown;

use crate::cluster::{Cluster, PeerReply, PeerRequest};
use crate::collect::{Collector, NotCopied};

use self::reading::{Reading, Step};

/// Between two rounds while something is missing.
const EVERY: Duration = Duration::from_secs(1);
/// Between two rounds afterwards.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Rounds go on for so long after this voter votes: until then edges may count on voters that are about to go.
const OVERLAP: Duration = Duration::from_secs(120);
/// Records asked for at a time: with the longest ones a second of a slow line.
const PAGE: u32 = 100;

/// Runs until nothing is missing any more, or until shutdown.
pub(crate) async fn keep(cluster: Cluster, collector: Collector, shutdown: Shutdown) {
    let copying = async {
        let mut votes_since = None;
        while collector.lacks() {
            let round = round(&cluster, &collector).await;
            if round.is_enough {
                if !collector.is_whole() {
                    tracing::info!("the records of the other voters are copied");
                    collector.caught_up();
                }
                let votes = cluster.status().is_some_and(|status| status.voters.contains(&cluster.id));
                let now = cluster.env.now().boot;
                if votes && now.since(*votes_since.get_or_insert(now)) > OVERLAP {
                    collector.complete().await;
                }
            }
            let pause = if round.is_enough || round.has_failed { AFTERWARDS } else { EVERY };
            tokio::time::sleep(pause).await;
        }
        shutdown.requested().await;
    };
    tokio::select! {
        biased;
        () = shutdown.requested() => {}
        () = copying => {}
    }
}

/// What came of one look at every other voter.
struct Round {
    /// So many were read to their ends that no majority is without one of them.
    is_enough: bool,
    /// One of them gave what cannot be copied.
    has_failed: bool,
}

/// Reads every other voter, each as far as it gets; one that is bad keeps nobody from the others.
async fn round(cluster: &Cluster, collector: &Collector) -> Round {
    let voters = cluster.status().map(|status| status.voters).unwrap_or_default();
    let (mut read, mut has_failed) = (0usize, false);
    for from in voters.iter().copied().filter(|voter| *voter != cluster.id) {
        match copy_from(cluster, collector, from).await {
            Ok(true) => read = read.saturating_add(1),
            Ok(false) => {}
            Err(NotCopied { from, reason }) => {
                has_failed = true;
                tracing::warn!(%from, reason, "a voter's records cannot be copied, and are asked for again");
            }
        }
    }
    Round { is_enough: !voters.is_empty() && read >= enough(voters.len()), has_failed }
}

/// So many of the voters that every majority has one of them, also when one of that majority is gone.
fn enough(voters: usize) -> usize {
    voters.div_ceil(2)
}

/// Copies what another voter has by now; whether it has everything itself and was read to the end.
async fn copy_from(cluster: &Cluster, collector: &Collector, from: VoterId) -> Result<bool, NotCopied> {
    let mut reading = Reading::new(collector.copied(from).await?, cluster.env.now().boot);
    loop {
        let ask = PeerRequest::Copies { after: reading.after(), limit: PAGE };
        let Ok(PeerReply::Copies(copies)) = cluster.ask(from, &ask).await else {
            return Ok(false);
        };
        match reading.take(copies).map_err(|reason| NotCopied { from, reason: reason.to_owned() })? {
            Step::Again => {}
            Step::Store { upto, records } => collector.copy(from, upto, records).await?,
            Step::End { whole } => return Ok(whole),
        }
        if let Some(read) = reading.is_over(cluster.env.now().boot) {
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of voters that an edge may have counted on, less one of them, has one in every set of this size.
    #[test]
    fn what_is_enough_meets_every_majority_of_which_one_is_gone() {
        for voters in 2usize..=9 {
            let majority = voters / 2 + 1;
            let left_of_majority = majority - 1;
            // Read are some of the voters that are left; the majority hides as well as it can among the others.
            assert!(enough(voters) + left_of_majority > voters - 1, "{voters}");
            assert!(enough(voters) <= majority, "a mesh that works can always fill a newcomer: {voters}");
        }
    }
}
