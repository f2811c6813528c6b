//! What time it is, as far as the voters agree: the leader's word becomes the registry's clock, which never goes back.
//!
//! One clock that jumps ahead, for seconds, would otherwise leave every request "expired" for as long as the jump was
//! wide, cuts of sessions included. So a leader gives commands the median of the clocks that it knows, its own among
//! them, and none without those of a majority (C-52). Of an even number it takes the lower in the middle: a clock that
//! stands still for a while is made good, one that ran ahead is not. So with one voter of three silent, another whose
//! clock is behind holds the registry's back until the third is heard again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use remit_common::id::VoterId;
use remit_common::net::tasks::Shutdown;
use remit_common::time::{BootTime, Timestamp};

use super::Cluster;
use super::protocol::{PeerReply, PeerRequest};

/// Between two rounds of asking. Clocks that are not set run apart by milliseconds in this time.
const EVERY: Duration = Duration::from_secs(5);
/// The same as long as a majority has not been heard.
const SOON: Duration = Duration::from_millis(500);
/// An answer counts for so long: a few rounds may be lost.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// What other voters' clocks showed. Cloning gives the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clocks(Arc<Mutex<BTreeMap<VoterId, Shown>>>);

/// A clock, and when it was read, on the boot clock here: that one is never set.
#[derive(Debug, Clone, Copy)]
struct Shown {
    wall: Timestamp,
    at: BootTime,
}

impl Clocks {
    fn note(&self, voter: VoterId, shown: Shown) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(voter, shown);
    }

    /// What the clocks of these voters show by now, as far as they were heard lately.
    fn of(&self, voters: &[VoterId], now: BootTime) -> Vec<Timestamp> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = voters.iter().filter_map(|voter| shown.get(voter));
        let ages = known.map(|shown| (shown.wall, now.since(shown.at)));
        ages.filter(|(_, age)| *age <= HEARD_WITHIN).map(|(wall, age)| wall.plus(age)).collect()
    }
}

/// The lower one in the middle, if these are the clocks of a majority of so many voters.
fn median(mut clocks: Vec<Timestamp>, voters: usize) -> Option<Timestamp> {
    if clocks.len().saturating_mul(2) <= voters {
        return None;
    }
    clocks.sort_unstable();
    clocks.get(clocks.len().saturating_sub(1) / 2).copied()
}

impl Cluster {
    /// The time that commands of this voter carry; `None` while it does not know the clocks of a majority.
    pub(crate) fn agreed_time(&self) -> Option<Timestamp> {
        let now = self.env.now();
        let mut voters = self.status().map(|status| status.voters).unwrap_or_default();
        let count = voters.len();
        voters.retain(|voter| *voter != self.id);
        let mut clocks = self.clocks.of(&voters, now.boot);
        clocks.push(now.wall);
        median(clocks, count)
    }
}

/// Asks the other voters for their clocks, also while this one does not lead: it may have to the next moment. Runs
/// until shutdown.
pub(crate) async fn compare_clocks(cluster: Cluster, shutdown: Shutdown) {
    loop {
        let round = async {
            let asked = cluster.env.now().boot;
            let mut answers = cluster.ask_each(&PeerRequest::Clock);
            while let Some((voter, answer)) = answers.next().await {
                if let Ok(PeerReply::Clock(wall)) = answer {
                    // Read about half way between question and answer.
                    let at = asked.plus(cluster.env.now().boot.since(asked) / 2);
                    cluster.clocks.note(voter, Shown { wall, at });
                }
            }
            let pause = if cluster.agreed_time().is_some() { EVERY } else { SOON };
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = round => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(clocks: &[u64], voters: usize, expected: Option<u64>) {
        let clocks = clocks.iter().copied().map(Timestamp::from_secs).collect();
        assert_eq!(median(clocks, voters), expected.map(Timestamp::from_secs));
    }

    /// C-52: one clock out of three, two out of five, move nobody, as long as the others are heard.
    #[test]
    fn a_minority_of_wrong_clocks_changes_nothing() {
        check(&[100, 9_000, 101], 3, Some(101));
        check(&[100, 3, 101], 3, Some(100));
        check(&[9_000, 100, 9_001, 102, 101], 5, Some(102));
        check(&[100, 9_000, 101, 102], 5, Some(101));
    }

    #[test]
    fn of_two_clocks_the_lower_counts_and_one_of_three_does_not() {
        check(&[9_000, 100], 3, Some(100));
        check(&[3, 100], 3, Some(3));
        check(&[100], 3, None);
        check(&[100, 101], 5, None);
        check(&[100], 1, Some(100));
        check(&[100, 9_000], 2, Some(100));
    }

    #[test]
    fn a_clock_goes_on_after_it_was_read_and_is_forgotten() {
        let clocks = Clocks::default();
        let at = BootTime::from_millis(1_000);
        clocks.note(VoterId(2), Shown { wall: Timestamp::from_secs(50), at });
        let seen = |after| clocks.of(&[VoterId(2), VoterId(3)], at.plus(Duration::from_secs(after)));
        assert_eq!(seen(7), [Timestamp::from_secs(57)]);
        assert_eq!(seen(21), []);
    }
}
