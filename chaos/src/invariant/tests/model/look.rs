//! The observer: what nodes say of themselves, and what voters have stored.

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, RevocationEpoch};

use super::{MILLI, VOTERS, VoterState, World};
use crate::history::{Edge, Kind, SignedTick, Voter, What};

impl World {
    /// Everybody's status, and the ends of the voters' stores.
    pub(super) fn look(&mut self) {
        for place in 0..self.voters.len() {
            let voter = &self.voters[place];
            if !voter.up {
                continue;
            }
            let applied = u64::try_from(voter.applied).unwrap();
            let state = |index: u64| Digest::of(&[b"state", &index.to_be_bytes()]);
            let role = if voter.id == self.leader { "leader" } else { "follower" };
            let status = Voter {
                voter: voter.id,
                term: voter.term,
                role: role.to_owned(),
                leader: (voter.term == self.term).then_some(self.leader),
                applied: LogIndex(applied),
                applied_digest: Some(state(applied)),
                signed: Some(SignedTick { tick: LogIndex(applied), statement: state(applied) }),
            };
            let fresh: Vec<_> = voter.store.iter().skip(voter.followed).cloned().collect();
            self.note("observer", Kind::Info, What::Voter(status));
            self.voters[place].followed += fresh.len();
            for record in fresh {
                self.note("observer", Kind::Info, What::Record(record));
            }
        }
        for place in 0..self.edges.len() {
            let edge = &self.edges[place];
            if !edge.up {
                continue;
            }
            let bundle = self.decides_at(edge.tick, &edge.id);
            let age = edge.proven.then(|| (self.now - edge.proof) / MILLI);
            let mode = if age.is_some_and(|age| age < 5_000) { "fresh" } else { "degraded" };
            let has = |voter: &VoterState| voter.store.iter().filter(|record| record.edge == edge.id).count();
            // What the second of three has, two have.
            let mut counts: Vec<usize> = self.voters.iter().map(has).collect();
            counts.sort_unstable();
            let spool = edge.disk.len() + edge.memory.len() - counts[1];
            let status = Edge {
                edge: edge.id.clone(),
                asked_us: Some(self.now - 2 * MILLI),
                boot: edge.boot,
                bundle: bundle.map(|(_, version, _)| version),
                digest: bundle.map(|(.., digest)| digest),
                activation: bundle.map(|(number, ..)| number),
                epoch: RevocationEpoch(self.epoch_at(edge.tick)),
                relations: Some(self.relations_at(edge.tick).0),
                turned_away: Vec::new(),
                tick: LogIndex(u64::try_from(edge.tick).unwrap()),
                staleness_ms: age,
                mode: mode.to_owned(),
                spool: u64::try_from(spool).unwrap(),
                permits: edge.permits,
                denials: edge.denials,
            };
            self.note("observer", Kind::Info, What::Edge(status));
        }
    }

    /// The end: reads everywhere, every store from its beginning, and a search.
    pub(super) fn gather(&mut self) {
        self.look_at_rollouts(true);
        for voter in VOTERS {
            for linearizable in [true, false, true, false, false] {
                self.begin_read(voter, linearizable, 20);
            }
            let store = self.voters.iter().find(|other| other.id == voter).unwrap().store.clone();
            let of = self.note("observer", Kind::Invoke, What::Records { of: None, voter });
            for record in store {
                self.note("observer", Kind::Info, What::Record(record));
            }
            self.note("observer", Kind::Ok, What::Records { of: Some(of), voter });
        }
        self.note("drill", Kind::Info, What::Searched { found: 0 });
    }
}
