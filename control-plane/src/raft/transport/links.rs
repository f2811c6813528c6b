//! The links to the other members, as the membership changes.
//!
//! Who is a member is what this voter's log says. A voter that has been away may have missed a change, and then know
//! neither those who came nor where they are, so that it could turn away the very leader that would tell it. So voters
//! that hear no leader ask those they know. An answer names voters that this one does not know, and nothing more: it
//! moves nobody whom this voter knows, counts only while who gave it is a member itself, and is forgotten once a member
//! leads (C-26). Whoever it names still needs a voter's certificate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::Raft;
use remit_common::id::VoterId;
use remit_common::net::env::Env;
use remit_common::net::quic::MeshEndpoint;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use tokio::sync::watch;

use super::link::{Dialer, Link};
use super::serve::Inbound;
use super::{Acquaintances, CLOSE_DEADLINE, Own};
use crate::raft::types::{StoredMembership, Types};

/// All links. Cloning gives the same.
#[derive(Clone)]
pub(crate) struct Links(Arc<Shared>);

struct Shared {
    own: Own,
    endpoint: MeshEndpoint,
    acquaintances: Acquaintances,
    /// Whether this voter waits to be called instead of calling, until the mesh has taken it in.
    joins: bool,
    known: Mutex<Known>,
    /// Counts what makes other links necessary.
    changes: watch::Sender<u64>,
}

/// Members of which one answer to a probe may name so many: two sets of nine, half way from one to the other.
const TOLD_MEMBERS_MAX: usize = 18;

#[derive(Default)]
struct Known {
    /// The voters of the configuration: who they are counts until there is a membership, where they are always.
    configured: BTreeMap<u64, SocketAddr>,
    membership: StoredMembership,
    /// What each member that was asked has said last.
    told: BTreeMap<u64, StoredMembership>,
    open: BTreeMap<u64, Open>,
}

fn names(stored: &StoredMembership, id: u64) -> bool {
    stored.membership().get_node(&id).is_some()
}

struct Open {
    link: Arc<Link>,
    addr: SocketAddr,
    /// Ends its dialling.
    stop: Shutdown,
}

impl Known {
    /// Who takes part by this voter's own log, or else by its configuration.
    fn is_member(&self, id: u64) -> bool {
        match self.membership.nodes().next() {
            Some(_) => names(&self.membership, id),
            None => self.configured.contains_key(&id),
        }
    }

    /// What others have said that this voter's log does not say yet: members of its own, and those whom they name, in
    /// turn. Whoever is no member any more, and named by nobody else, has no say.
    fn hints(&self) -> Vec<&StoredMembership> {
        let mut waiting: Vec<_> =
            self.told.iter().filter(|(_, said)| said.log_id() > self.membership.log_id()).collect();
        let mut heard: Vec<&StoredMembership> = Vec::new();
        loop {
            let has_a_say = |by: &u64| self.is_member(*by) || heard.iter().any(|said| names(said, *by));
            let (say, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(by, _)| has_a_say(by));
            if say.is_empty() {
                return heard;
            }
            heard.extend(say.into_iter().map(|(_, said)| said));
            waiting = rest;
        }
    }

    fn is_welcome(&self, id: u64) -> bool {
        self.is_member(id) || self.hints().into_iter().any(|said| names(said, id))
    }

    /// Who is to be called, and where each of them is, if that is known. What others have said comes last: it must not
    /// lead away from somebody whom this voter knows.
    fn wanted(&self, joins: bool) -> BTreeMap<u64, Option<SocketAddr>> {
        let mut wanted: BTreeMap<u64, Option<SocketAddr>> = self
            .membership
            .nodes()
            .map(|(id, at)| (*id, at.raft.or_else(|| self.configured.get(id).copied())))
            .collect();
        if wanted.is_empty() && !joins {
            wanted.extend(self.configured.iter().map(|(id, addr)| (*id, Some(*addr))));
        }
        for (id, at) in self.hints().into_iter().flat_map(StoredMembership::nodes) {
            wanted.entry(*id).or_insert_with(|| self.configured.get(id).copied().or(at.raft));
        }
        wanted
    }
}

impl Links {
    pub(crate) fn new(
        own: Own,
        endpoint: MeshEndpoint,
        acquaintances: Acquaintances,
        configured: BTreeMap<u64, SocketAddr>,
        joins: bool,
    ) -> Self {
        let known = Mutex::new(Known { configured, ..Known::default() });
        Self(Arc::new(Shared { own, endpoint, acquaintances, joins, known, changes: watch::Sender::new(0) }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link to a member.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Link>> {
        self.known().open.get(&id).map(|open| Arc::clone(&open.link))
    }

    /// Every link.
    pub(crate) fn all(&self) -> Vec<(VoterId, Arc<Link>)> {
        self.known().open.iter().map(|(id, open)| (VoterId(*id), Arc::clone(&open.link))).collect()
    }

    /// Whether this voter may be at the other end of a connection.
    pub(crate) fn is_welcome(&self, id: VoterId) -> bool {
        id != self.0.own.voter && self.known().is_welcome(id.0)
    }

    /// Where a voter of the configuration is.
    pub(crate) fn configured(&self, id: VoterId) -> Option<SocketAddr> {
        self.known().configured.get(&id.0).copied()
    }

    /// What this voter's log says now.
    fn set_membership(&self, membership: &StoredMembership) {
        let mut known = self.known();
        if known.membership == *membership {
            return;
        }
        known.membership = membership.clone();
        drop(known);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// What another member's log says, as it claims; its last word replaces the one before.
    pub(crate) fn told(&self, by: VoterId, said: StoredMembership) {
        let mut known = self.known();
        if said.nodes().count() > TOLD_MEMBERS_MAX || known.told.get(&by.0) == Some(&said) {
            return;
        }
        known.told.insert(by.0, said);
        drop(known);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// A voter leads. If it is a member by this voter's own log, that log will say the rest.
    pub(crate) fn led_by(&self, leader: u64) {
        let mut known = self.known();
        if known.told.is_empty() || !known.is_member(leader) {
            return;
        }
        known.told.clear();
        drop(known);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Opens the links that are missing, closes those that lead to nobody any more, and gives the new ones' dialling.
    fn adjust(&self) -> Vec<Dialer> {
        let mut known = self.known();
        let wanted: BTreeMap<u64, SocketAddr> = known
            .wanted(self.0.joins)
            .into_iter()
            .filter(|(id, _)| *id != self.0.own.voter.0)
            .filter_map(|(id, addr)| {
                if addr.is_none() {
                    tracing::warn!(voter = id, "neither the membership nor the configuration says where this voter is");
                }
                Some((id, addr?))
            })
            .collect();
        known.open.retain(|id, open| {
            let stays = wanted.get(id) == Some(&open.addr);
            if !stays {
                open.stop.trigger();
            }
            stays
        });
        let mut dialers = Vec::new();
        for (id, addr) in wanted {
            if known.open.contains_key(&id) {
                continue;
            }
            let stop = Shutdown::new();
            let (endpoint, acquaintances) = (self.0.endpoint.clone(), self.0.acquaintances.clone());
            let (link, dialer) = Link::new(VoterId(id), addr, self.0.own, endpoint, acquaintances, stop.clone());
            known.open.insert(id, Open { link, addr, stop });
            dialers.push(dialer);
        }
        dialers
    }

    /// Follows the membership until shutdown.
    pub(crate) async fn keep(self, raft: Raft<Types>, inbound: Inbound, env: Env, shutdown: Shutdown) {
        let mut dialling = TaskGroup::new(&env);
        let mut metrics = raft.metrics();
        let mut changes = self.0.changes.subscribe();
        loop {
            let membership = Arc::clone(&metrics.borrow_and_update().membership_config);
            self.set_membership(&membership);
            if changes.has_changed().unwrap_or(false) || dialling.is_empty() {
                changes.mark_unchanged();
                for dialer in self.adjust() {
                    dialling.spawn("raft-dial", dialer.run());
                }
                inbound.close_strangers(&self);
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(_ended) = dialling.next_finished() => {}
                _seen = changes.changed() => changes.mark_changed(),
                changed = metrics.changed() => if changed.is_err() { break },
            }
        }
        for open in self.known().open.values() {
            open.stop.trigger();
        }
        drop(dialling.join_all(CLOSE_DEADLINE).await);
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
