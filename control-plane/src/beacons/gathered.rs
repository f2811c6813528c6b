//! Signatures of voters under the newest ticks.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::crypto::sign::Signature;
use remit_common::id::{LogIndex, VoterId};
use remit_common::limits::VOTERS_MAX;
use remit_common::planted::{Bug, planted};
use remit_common::relation_log::RelationHeads;
use remit_common::revocation::Revocations;
use remit_common::sync::published::PublishedBeacon;
use remit_common::trust::beacon::{SignedStatement, Statement, majority_of};

use super::{Complete, NewestSigned};
use crate::registry::Trust;

/// Ticks that are kept: a tick a second, and whoever asks for signatures asks within seconds.
const TICKS_MAX: usize = 16;

/// Signatures of one voter under ticks that are still to be applied here. An honest voter is a few ahead.
const EARLY_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Applied here.
    ticks: BTreeMap<LogIndex, Tick>,
    /// Not applied here yet, and not verified: what they are about is not known. At most [`EARLY_MAX`] of each of
    /// [`VOTERS_MAX`].
    early: BTreeMap<VoterId, BTreeMap<LogIndex, Signature>>,
    /// The newest statement under each voter's signature.
    newest: BTreeMap<VoterId, (Statement, Signature)>,
    /// Handed out up to here.
    released: LogIndex,
}

#[derive(Debug)]
struct Tick {
    signed: SignedStatement,
    relations: RelationHeads,
    /// The set that the statement names, unless it has changed before the tick was looked at.
    revocations: Option<Arc<Revocations>>,
    /// More than half of the voters.
    majority: usize,
}

impl Tick {
    /// Whether a majority has signed it.
    fn is_complete(&self) -> bool {
        self.signed.signatures.len() >= self.majority
    }
}

impl Gathered {
    /// A tick has been applied here: this is what is to be signed.
    pub(super) fn begin(
        &mut self,
        statement: Statement,
        relations: RelationHeads,
        trust: &Trust,
        revocations: &Arc<Revocations>,
    ) {
        let is_of_tick = revocations.epoch() == statement.epoch;
        let revocations = is_of_tick.then(|| Arc::clone(revocations));
        let n = statement.n;
        let majority = majority_of(trust.directory.voters().count());
        let signed = SignedStatement { statement, signatures: BTreeMap::new() };
        self.ticks.insert(n, Tick { signed, relations, revocations, majority });
        while self.ticks.len() > TICKS_MAX {
            self.ticks.pop_first();
        }
        let early: Vec<_> = self.early.iter_mut().filter_map(|(voter, of)| Some((*voter, of.remove(&n)?))).collect();
        for (voter, signature) in early {
            self.add(trust, voter, n, signature);
        }
        self.early.retain(|_, of| {
            of.retain(|early, _| *early > n);
            !of.is_empty()
        });
    }

    /// A voter's signature under a tick: verified if the tick has been applied here, kept until then otherwise.
    pub(super) fn add(&mut self, trust: &Trust, voter: VoterId, n: LogIndex, signature: Signature) {
        let Some(key) = trust.directory.voter(voter).and_then(|voter| voter.beacon) else { return };
        let Some(tick) = self.ticks.get_mut(&n) else {
            let is_ahead = self.ticks.keys().next_back().is_none_or(|newest| n > *newest);
            if is_ahead && (self.early.contains_key(&voter) || self.early.len() < VOTERS_MAX) {
                let of = self.early.entry(voter).or_default();
                of.insert(n, signature);
                // The lowest is the next that is applied here.
                while of.len() > EARLY_MAX {
                    of.pop_last();
                }
            }
            return;
        };
        if tick.signed.statement.verify(&trust.root.content().mesh_id, &key, &signature).is_err() {
            // Signed under another directory's key, or about another state.
            tracing::warn!(%voter, tick = %n, "a voter's signature is not under what this voter has applied");
            return;
        }
        tick.signed.signatures.insert(voter, signature);
        let is_complete = tick.is_complete();
        if self.newest.get(&voter).is_none_or(|(known, _)| known.n < n || planted(Bug::TwoAnswersForOneTick)) {
            self.newest.insert(voter, (tick.signed.statement.clone(), signature));
        }
        self.newest.retain(|voter, _| trust.directory.voter(*voter).is_some());
        if is_complete {
            // Each is a set of its own when much is cut; that of the newest signed tick is enough.
            self.ticks.range_mut(..n).for_each(|(_, older)| older.revocations = None);
        }
    }

    /// The newest tick that a majority has signed, once.
    pub(super) fn take_complete(&mut self) -> Option<Complete> {
        let released = self.released;
        let mut newer = self.ticks.iter().rev().take_while(|(n, _)| **n > released);
        let (n, Tick { signed, relations, .. }) = newer.find(|(_, tick)| tick.is_complete())?;
        self.released = *n;
        Some((*n, PublishedBeacon { relations: relations.clone(), signatures: signed.signatures.clone() }))
    }

    /// The set of the newest tick that a majority has signed: cuts may come faster than ticks.
    pub(super) fn signed_set(&self) -> Option<Arc<Revocations>> {
        let mut signed = self.ticks.values().rev().filter(|tick| tick.is_complete());
        signed.find_map(|tick| tick.revocations.clone())
    }

    /// The newest tick that a majority has signed, and what it names, if that is still here.
    pub(super) fn newest_signed(&self) -> Option<NewestSigned> {
        let Tick { signed, relations, revocations, .. } = self.ticks.values().rev().find(|tick| tick.is_complete())?;
        let (signed, relations) = (signed.clone(), relations.clone());
        Some(NewestSigned { signed, relations, revocations: revocations.clone()? })
    }

    /// The newest statement under a voter's signature.
    pub(super) fn newest_of(&self, voter: VoterId) -> Option<(Statement, Signature)> {
        self.newest.get(&voter).cloned()
    }

    /// Every tick that is kept, with its signatures, oldest first.
    pub(super) fn signed(&self) -> Vec<SignedStatement> {
        self.ticks.values().map(|tick| tick.signed.clone()).collect()
    }
}
