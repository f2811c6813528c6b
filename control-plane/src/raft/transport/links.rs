//! The links to the other members, as the membership changes.
//!
//! Who is a member is what this voter's log says. A voter that has been away may have missed a change, and then know
//! neither those who came nor where they are, so that it could turn away the very leader that would tell it. So voters
//! that hear no leader ask those they know, whose word on this counts: it opens connections, for which the voters'
//! certificates are still asked, and decides nothing (C-26).

use std::collections::{BTreeMap, BTreeSet};
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
use crate::raft::types::{LogId, StoredMembership, Types};

/// All links. Cloning gives the same.
#[derive(Clone)]
pub(crate) struct Links(Arc<Shared>);

struct Shared {
    own: Own,
    endpoint: MeshEndpoint,
    acquaintances: Acquaintances,
    /// The voters of the configuration: who they are counts until there is a membership, where they are always.
    configured: BTreeMap<u64, SocketAddr>,
    /// Whether this voter waits to be called instead of calling, until the mesh has taken it in.
    joins: bool,
    known: Mutex<Known>,
    /// Counts what makes other links necessary.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    membership: StoredMembership,
    /// A newer one that another member told us.
    told: Option<StoredMembership>,
    open: BTreeMap<u64, Open>,
}

struct Open {
    link: Arc<Link>,
    addr: SocketAddr,
    /// Ends its dialling.
    stop: Shutdown,
}

impl Known {
    fn members(&self) -> BTreeSet<u64> {
        let of = |stored: &StoredMembership| stored.nodes().map(|(id, _)| *id).collect::<BTreeSet<u64>>();
        let mut members = of(&self.membership);
        members.extend(self.told.iter().flat_map(of));
        members
    }

    fn address(&self, id: u64) -> Option<SocketAddr> {
        let newest_first = self.told.iter().chain([&self.membership]);
        newest_first.filter_map(|stored| stored.membership().get_node(&id)?.raft).next()
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
        let (known, changes) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Shared { own, endpoint, acquaintances, configured, joins, known, changes }))
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
        let members = self.known().members();
        id != self.0.own.voter
            && if members.is_empty() { self.0.configured.contains_key(&id.0) } else { members.contains(&id.0) }
    }

    /// Where a voter of the configuration is.
    pub(crate) fn configured(&self, id: VoterId) -> Option<SocketAddr> {
        self.0.configured.get(&id.0).copied()
    }

    /// What this voter's log says now.
    fn set_membership(&self, membership: &StoredMembership) {
        let mut known = self.known();
        if known.membership == *membership {
            return;
        }
        known.membership = membership.clone();
        if known.told.as_ref().is_some_and(|told| told.log_id() <= membership.log_id()) {
            known.told = None;
        }
        drop(known);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// What another member's log says.
    pub(crate) fn told(&self, membership: StoredMembership) {
        let mut known = self.known();
        let newest: Option<LogId> = known.told.as_ref().map_or(*known.membership.log_id(), |told| *told.log_id());
        if *membership.log_id() <= newest {
            return;
        }
        known.told = Some(membership);
        drop(known);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Opens the links that are missing, closes those that lead to nobody any more, and gives the new ones' dialling.
    fn adjust(&self) -> Vec<Dialer> {
        let mut known = self.known();
        let members = known.members();
        let ids: BTreeSet<u64> = match (members.is_empty(), self.0.joins) {
            (true, true) => BTreeSet::new(),
            (true, false) => self.0.configured.keys().copied().collect(),
            (false, _) => members,
        };
        let address = |id: &u64| known.address(*id).or_else(|| self.0.configured.get(id).copied());
        let wanted: BTreeMap<u64, SocketAddr> = ids
            .iter()
            .filter(|id| **id != self.0.own.voter.0)
            .filter_map(|id| {
                if address(id).is_none() {
                    tracing::warn!(voter = id, "neither the membership nor the configuration says where this voter is");
                }
                Some((*id, address(id)?))
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
