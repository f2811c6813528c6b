//! Nonces of edges on their way into a tick, and the answers on their way back. Clauses K-1 to K-4.
//!
//! A nonce waits until a tick contains it or it is too old to be of use. Each voter hands the root over all that wait
//! to the leader once a tick; whoever has applied the tick can prove to each edge that its nonce was in the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, LogIndex, TenantId, VoterId};
use remit_common::relation_log::Head;
use remit_common::sync::published::PublishedBeacon;
use remit_common::time::BootTime;
use remit_common::trust::tick::{Nonce, NonceTree, TickAnswer, TickRoots};
use tokio::sync::watch;

use crate::registry::TickFact;
use crate::telemetry::Metrics;

/// An edge sends a nonce every two seconds; after this one has been replaced several times over.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Trees whose root may still turn up in a tick: a tick a second, and a change of leaders in between.
const TREES_MAX: usize = 16;

/// A tick that contains nonces received here.
#[derive(Debug)]
pub(crate) struct AnsweredTick {
    fact: TickFact,
    /// The relations as of it.
    pub(crate) relations: Arc<BTreeMap<TenantId, Head>>,
    /// What a majority of voters has signed about it, where they do.
    pub(crate) beacon: Option<PublishedBeacon>,
    tree: Arc<NonceTree>,
}

impl AnsweredTick {
    /// The answer for an edge, if its nonce was in it.
    pub(crate) fn answer_for(&self, edge: &EdgeId, voter: VoterId) -> Option<TickAnswer> {
        let nonce = self.tree.nonce(edge)?;
        let path = self.tree.path(edge, voter, &self.fact.roots)?;
        let TickFact { n, at: _, roots, epoch, revocations, activations, directory, root } = &self.fact;
        Some(TickAnswer {
            n: *n,
            nonce,
            nonce_root: roots.nonce_root(),
            path,
            epoch: *epoch,
            revocations: *revocations,
            activations: *activations,
            directory: *directory,
            root: *root,
        })
    }
}

#[derive(Debug, Default)]
struct Desk {
    waiting: BTreeMap<EdgeId, (Nonce, BootTime)>,
    trees: VecDeque<(Digest, Arc<NonceTree>)>,
    roots: BTreeMap<VoterId, Digest>,
    /// Ticks with nonces of this voter's edges that wait for signatures, oldest first.
    unsigned: VecDeque<AnsweredTick>,
}

/// Ticks that wait for signatures. What a majority does not sign within seconds it will not sign.
const UNSIGNED_MAX: usize = 8;

/// Where nonces wait.
#[derive(Debug)]
pub(crate) struct NonceDesk {
    id: VoterId,
    desk: Mutex<Desk>,
    answered: watch::Sender<Option<Arc<AnsweredTick>>>,
    metrics: Metrics,
}

impl NonceDesk {
    pub(crate) fn new(id: VoterId, metrics: &Metrics) -> Self {
        Self { id, desk: Mutex::default(), answered: watch::Sender::new(None), metrics: metrics.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        // A panic in between loses nonces at worst; edges send new ones.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge has sent a nonce. It replaces the one before.
    pub(crate) fn receive(&self, edge: &EdgeId, nonce: Nonce, now: BootTime) {
        self.lock().waiting.insert(edge.clone(), (nonce, now));
    }

    /// The root over all nonces that wait, for the leader; `None` when none does.
    pub(crate) fn cut(&self, now: BootTime) -> Option<Digest> {
        let mut desk = self.lock();
        let before = desk.waiting.len();
        desk.waiting.retain(|_, (_, received)| now.since(*received) < WAIT_MAX);
        let dropped = before.saturating_sub(desk.waiting.len());
        self.metrics.nonces_unanswered.inc_by(u64::try_from(dropped).unwrap_or(u64::MAX));
        if desk.waiting.is_empty() {
            return None;
        }
        let tree = NonceTree::new(desk.waiting.iter().map(|(edge, (nonce, _))| (edge.clone(), *nonce)));
        let root = tree.root();
        if desk.trees.back().is_none_or(|(known, _)| *known != root) {
            desk.trees.push_back((root, Arc::new(tree)));
            if desk.trees.len() > TREES_MAX {
                desk.trees.pop_front();
            }
        }
        Some(root)
    }

    /// At the leader: a voter has sent its root. The newest counts.
    pub(crate) fn note_root(&self, from: VoterId, root: Digest) {
        self.lock().roots.insert(from, root);
    }

    /// At the leader: the roots for the next tick.
    pub(crate) fn take_roots(&self) -> TickRoots {
        TickRoots { roots: std::mem::take(&mut self.lock().roots).into_iter().collect() }
    }

    /// This voter has applied a tick. What it contains of ours is answered by [`Self::release`], and waits for the next
    /// tick as well until then: this one may never be signed by enough.
    pub(crate) fn applied(&self, fact: &TickFact, relations: &Arc<BTreeMap<TenantId, Head>>) {
        let Some((_, root)) = fact.roots.roots.iter().find(|(voter, _)| *voter == self.id) else { return };
        let mut desk = self.lock();
        let Some(place) = desk.trees.iter().position(|(known, _)| known == root) else { return };
        // Later trees contain what still waits, so earlier ones are of no more use.
        let Some((_, tree)) = desk.trees.drain(..=place).next_back() else { return };
        let (fact, relations) = (fact.clone(), Arc::clone(relations));
        desk.unsigned.push_back(AnsweredTick { fact, relations, beacon: None, tree });
        if desk.unsigned.len() > UNSIGNED_MAX {
            desk.unsigned.pop_front();
        }
    }

    /// A majority has signed a tick, or nobody signs any: its nonces need not wait any more. Whatever an earlier tick
    /// contains that still waits is in this one, too, or has been replaced.
    pub(crate) fn release(&self, n: LogIndex, beacon: Option<PublishedBeacon>) {
        let mut desk = self.lock();
        let place = desk.unsigned.iter().position(|tick| tick.fact.n == n);
        let Some(mut tick) = place.and_then(|place| desk.unsigned.drain(..=place).next_back()) else { return };
        for (edge, nonce) in tick.tree.iter() {
            if desk.waiting.get(edge).is_some_and(|(waiting, _)| waiting == nonce) {
                desk.waiting.remove(edge);
            }
        }
        tick.beacon = beacon;
        // Under the lock, so that of two ticks the newer is the last to be said.
        self.answered.send_if_modified(|answered| {
            let is_newer = answered.as_ref().is_none_or(|answered| answered.fact.n < n);
            if is_newer {
                *answered = Some(Arc::new(tick));
            }
            is_newer
        });
    }

    /// The newest tick that contains nonces received here.
    pub(crate) fn answered(&self) -> watch::Receiver<Option<Arc<AnsweredTick>>> {
        self.answered.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use remit_common::id::RevocationEpoch;
    use remit_common::time::Timestamp;

    use super::*;
    use crate::telemetry::Telemetry;

    const VOTER: VoterId = VoterId(2);

    fn desk() -> (NonceDesk, Telemetry) {
        let telemetry = Telemetry::new();
        (NonceDesk::new(VOTER, &telemetry.metrics), telemetry)
    }

    fn edge(name: &str) -> EdgeId {
        EdgeId::new(name).unwrap()
    }

    fn tick(n: u64, roots: Vec<(VoterId, Digest)>) -> TickFact {
        TickFact {
            n: LogIndex(n),
            at: Timestamp::default(),
            roots: TickRoots { roots },
            epoch: RevocationEpoch(4),
            revocations: Digest::default(),
            activations: Digest::default(),
            directory: 1,
            root: 1,
        }
    }

    fn secs(secs: u64) -> BootTime {
        BootTime::from_millis(secs * 1_000)
    }

    #[test]
    fn an_answer_leads_from_the_edges_nonce_to_the_tick() {
        let (desk, _telemetry) = desk();
        desk.receive(&edge("a"), Nonce([1; 32]), secs(0));
        desk.receive(&edge("b"), Nonce([2; 32]), secs(0));
        let root = desk.cut(secs(0)).unwrap();
        let mut answered = desk.answered();
        desk.applied(&tick(7, vec![(VoterId(1), Digest::of(&[b"other"])), (VOTER, root)]), &Arc::default());
        assert!(answered.borrow().is_none(), "not before a majority has signed it, or nobody signs");
        desk.release(LogIndex(7), None);
        let answered = answered.borrow_and_update().clone().unwrap();
        for (name, nonce) in [("a", 1), ("b", 2)] {
            let answer = answered.answer_for(&edge(name), VOTER).unwrap();
            assert_eq!((answer.n, answer.nonce, answer.epoch), (LogIndex(7), Nonce([nonce; 32]), RevocationEpoch(4)));
            answer.verify_includes(&edge(name), VOTER).unwrap();
        }
        assert!(answered.answer_for(&edge("c"), VOTER).is_none());
        assert_eq!(desk.cut(secs(0)), None, "nobody waits any more");
    }

    #[test]
    fn a_nonce_waits_until_a_tick_contains_it() {
        let (desk, telemetry) = desk();
        desk.receive(&edge("a"), Nonce([1; 32]), secs(0));
        let lost = desk.cut(secs(0)).unwrap();
        // The tick that followed was another leader's, and did not have our root.
        desk.applied(&tick(1, vec![(VoterId(1), Digest::of(&[b"other"]))]), &Arc::default());
        assert!(desk.answered().borrow().is_none());
        desk.receive(&edge("b"), Nonce([2; 32]), secs(1));
        let again = desk.cut(secs(1)).unwrap();
        assert_ne!(lost, again);
        // A newer nonce of the same edge replaces the one that waits; the older tree is in a tick all the same.
        desk.receive(&edge("a"), Nonce([3; 32]), secs(2));
        desk.applied(&tick(2, vec![(VOTER, again)]), &Arc::default());
        desk.release(LogIndex(2), None);
        let answer = desk.answered().borrow().clone().unwrap();
        assert_eq!(answer.answer_for(&edge("a"), VOTER).unwrap().nonce, Nonce([1; 32]));
        assert!(desk.cut(secs(2)).is_some(), "the newer one still waits");
        assert_eq!(desk.cut(secs(12)), None, "an old one is of no use");
        assert_eq!(telemetry.metrics.nonces_unanswered.get(), 1);
    }

    #[test]
    fn a_nonce_outlives_a_tick_that_nobody_signs() {
        let (desk, _telemetry) = desk();
        desk.receive(&edge("a"), Nonce([1; 32]), secs(0));
        let first = desk.cut(secs(0)).unwrap();
        desk.applied(&tick(1, vec![(VOTER, first)]), &Arc::default());
        desk.receive(&edge("b"), Nonce([2; 32]), secs(1));
        let second = desk.cut(secs(1)).unwrap();
        desk.applied(&tick(2, vec![(VOTER, second)]), &Arc::default());
        desk.release(LogIndex(2), None);
        let answered = desk.answered().borrow().clone().unwrap();
        for (name, nonce) in [("a", 1), ("b", 2)] {
            assert_eq!(answered.answer_for(&edge(name), VOTER).unwrap().nonce, Nonce([nonce; 32]));
        }
        // The earlier one comes too late to be said after it.
        desk.release(LogIndex(1), None);
        assert_eq!(desk.answered().borrow().as_ref().unwrap().fact.n, LogIndex(2));
    }

    #[test]
    fn a_leader_hands_each_root_to_one_tick() {
        let (desk, _telemetry) = desk();
        desk.note_root(VoterId(3), Digest::of(&[b"old"]));
        desk.note_root(VoterId(3), Digest::of(&[b"new"]));
        desk.note_root(VoterId(1), Digest::of(&[b"one"]));
        let roots = desk.take_roots();
        assert_eq!(roots.roots, [(VoterId(1), Digest::of(&[b"one"])), (VoterId(3), Digest::of(&[b"new"]))]);
        roots.check().unwrap();
        assert!(desk.take_roots().roots.is_empty());
    }
}
