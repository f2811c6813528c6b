//! A voter that reaches no majority does not want to lead.
//!
//! Raft without a pre-vote has a weakness: a voter that is cut off counts up its term with each election that it cannot
//! win, and deposes a healthy leader when it comes back. So a voter that hears no leader first asks the others whether
//! they are there, and stands for election only while a majority answers (C-26).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::Raft;
use remit_common::id::VoterId;
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;

use super::config::RaftTimings;
use super::members::Members;
use super::transport::link::Link;
use super::transport::links::Links;
use super::transport::message::{Body as _, Kind, ProbedV1};
use super::types::Types;

/// When a leader was last heard, on the boot clock. Cloning gives the same memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicU64>);

impl Heard {
    /// A leader has just spoken.
    pub(crate) fn now(&self, env: &Env) {
        self.0.store(env.now().boot.as_millis(), Ordering::Relaxed);
    }

    fn since(&self, env: &Env) -> Duration {
        Duration::from_millis(env.now().boot.as_millis().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

/// Stands for election only while a majority answers.
pub(crate) struct Reach {
    pub(crate) own: VoterId,
    pub(crate) raft: Raft<Types>,
    pub(crate) links: Links,
    pub(crate) heard: Heard,
    pub(crate) timings: RaftTimings,
    pub(crate) env: Env,
}

impl Reach {
    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        // Well before anybody may be elected: an election comes a lease and a timeout after the leader's last word.
        let round = self.timings.election_min / 2;
        let mut may_elect = None;
        loop {
            let leader = self.raft.metrics().borrow().current_leader;
            let has_leader = leader == Some(self.own.0) || self.heard.since(&self.env) < self.timings.election_min;
            if let Some(leader) = leader.filter(|_| has_leader) {
                self.links.led_by(leader);
            }
            let may = !has_leader && self.reaches_a_majority(round).await;
            if may_elect != Some(may) {
                self.raft.runtime_config().elect(may);
                if !has_leader {
                    tracing::info!(voter = %self.own, may, "no leader is heard; a majority answers: {may}");
                }
                may_elect = Some(may);
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = tokio::time::sleep(round) => {}
            }
        }
    }

    async fn reaches_a_majority(&self, within: Duration) -> bool {
        let members = Members::of(&self.raft.metrics().borrow().membership_config);
        let asking = self.links.all().into_iter().map(|(id, link)| async move { (id, probe(&link, within).await) });
        let mut there = BTreeSet::from([self.own]);
        for (id, answer) in futures::future::join_all(asking).await {
            if let Some(answer) = answer {
                there.insert(id);
                self.links.told(id, answer.into());
            }
        }
        members.is_majority(&there)
    }
}

async fn probe(link: &Link, within: Duration) -> Option<ProbedV1> {
    let answer = link.call(Kind::Probe, &[], Kind::Probed, within).await.ok()?;
    ProbedV1::from_bytes(&answer).ok()
}
