//! Nonces of edges on their way into a tick, and the answers on their way back. Clauses K-1 to K-4.
//!
//! A nonce waits until a tick contains it or it is too old to be of use. Each voter hands the root over all that wait
//! to the leader once a tick; whoever has applied the tick can prove to each edge that its nonce was in the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EdgeId, VoterId};
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
    tree: Arc<NonceTree>,
}

impl AnsweredTick {
    /// The answer for an edge, if its nonce was in it.
    pub(crate) fn answer_for(&self, edge: &EdgeId, voter: VoterId) -> Option<TickAnswer> {
        let (_, nonce) = self.tree.iter().find(|(id, _)| *id == edge)?;
        let path = self.tree.path(edge, voter, &self.fact.roots)?;
        let TickFact { n, at: _, roots, epoch, revocations, activations, directory, root } = &self.fact;
        Some(TickAnswer {
            n: *n,
            nonce: *nonce,
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
}

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

    /// This voter has applied a tick: what it contains of ours need not wait any more.
    pub(crate) fn applied(&self, fact: &TickFact) {
        let Some((_, root)) = fact.roots.roots.iter().find(|(voter, _)| *voter == self.id) else { return };
        let mut desk = self.lock();
        let Some(place) = desk.trees.iter().position(|(known, _)| known == root) else { return };
        // Later trees contain what still waits, so earlier ones are of no more use.
        let Some((_, tree)) = desk.trees.drain(..=place).next_back() else { return };
        for (edge, nonce) in tree.iter() {
            if desk.waiting.get(edge).is_some_and(|(waiting, _)| waiting == nonce) {
                desk.waiting.remove(edge);
            }
        }
        drop(desk);
        self.answered.send_replace(Some(Arc::new(AnsweredTick { fact: fact.clone(), tree })));
    }

    /// The newest tick that contains nonces received here.
    pub(crate) fn answered(&self) -> watch::Receiver<Option<Arc<AnsweredTick>>> {
        self.answered.subscribe()
    }
}
