//! Agents and administrators: what they ask for, and what comes of it.

use std::time::Duration;

use rand::RngExt as _;
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, LogIndex, RevocationEpoch, VoterId};
use remit_common::lattice::Effect;

use super::roll::Rules;
use super::{EdgeState, Entry, Later, MILLI, World, context};
use crate::history::{Call, Kind, Outcome, ReadState, RecordSeen, Verdict, What, Write, WriteKind, Written};

/// The tool that rests on a relation, and that some bundles permit nobody.
pub(super) const OFFER: &str = "renewals.propose";
/// The tool that some bundles in waves permit nobody.
pub(super) const TICKETS: &str = "tickets.create";
const RELATION: &str = "contract:7781#assigned_manager@user:maya";

fn goes_without(version: BundleVersion) -> bool {
    version.0.is_multiple_of(3)
}

impl World {
    pub(super) fn work(&mut self) {
        // Nobody works before every edge has permitted something.
        self.ready |= self.edges.iter().all(|edge| edge.proven);
        if !self.ready {
            return;
        }
        if self.one_in(3) {
            self.invoke_call();
        }
        if self.one_in(24) {
            self.invoke_write();
        }
        if self.one_in(12) {
            self.invoke_read();
        }
    }

    pub(super) fn invoke_call(&mut self) {
        let wants_cut = self.one_in(3) && !self.cut.is_empty();
        let session = if wants_cut {
            let from = self.cut.len().saturating_sub(6);
            self.cut[self.random.random_range(from..self.cut.len())].clone()
        } else {
            self.sessions[self.random.random_range(0..self.sessions.len())].clone()
        };
        let (effect, tool, rests_on) = match self.random.random_range(0..6_u8) {
            0 => (Effect::Irreversible, TICKETS, None),
            1 => (Effect::Irreversible, OFFER, Some(RELATION.to_owned())),
            _ => (Effect::Read, "contracts.read", None),
        };
        let edge = self.edges[self.random.random_range(0..self.edges.len())].id.clone();
        let admitted = !self.one_in(6);
        let call = Call {
            of: None,
            edge,
            session,
            tool: tool.to_owned(),
            effect,
            admitted,
            rests_on,
            leaks: false,
            outcome: None,
        };
        let of = self.note("agent/1", Kind::Invoke, What::Call(call.clone()));
        let most = if self.one_in(10) { 400 } else { 30 };
        self.soon(most, Later::Decide(of, call));
    }

    pub(super) fn invoke_write(&mut self) {
        let kind = match self.random.random_range(0..6_u8) {
            0 | 1 => {
                let Some(session) = self.sessions.pop_front() else { return };
                self.cut.push(session.clone());
                self.open_session();
                WriteKind::Revoke { session }
            }
            2 => return self.invoke_publication(),
            // Whoever writes relations does one thing after the other.
            3 | 4 if !self.relating => {
                self.relating = true;
                self.related = !self.related;
                WriteKind::Relate { relation: RELATION.to_owned(), holds: self.related }
            }
            _ => WriteKind::Seal { version: self.opened },
        };
        self.ask_for(kind);
    }

    pub(super) fn invoke_publication(&mut self) {
        self.version += 1;
        let version = BundleVersion(self.version);
        let without = if goes_without(version) { vec![OFFER.to_owned()] } else { Vec::new() };
        self.rules.insert(version, Rules { without: without.clone(), ..Rules::default() });
        let digest = Digest::of(&[&self.version.to_be_bytes()]);
        // The first is good: without one nothing can be rolled out.
        let good = self.version == 1 || !self.one_in(5);
        self.ask_for(WriteKind::Publish { version, digest, good, without });
    }

    pub(super) fn ask_for(&mut self, kind: WriteKind) {
        let write = Write { of: None, write: kind.clone(), written: None };
        let of = self.note("operator", Kind::Invoke, What::Write(write));
        self.soon(40, Later::Commit(kind, of));
    }

    pub(super) fn invoke_read(&mut self) {
        let up: Vec<_> = self.voters.iter().filter(|voter| voter.up).map(|voter| voter.id).collect();
        let voter = up[self.random.random_range(0..up.len())];
        let linearizable = !self.one_in(4);
        self.begin_read(voter, linearizable, 60);
    }

    pub(super) fn begin_read(&mut self, voter: VoterId, linearizable: bool, most_millis: u64) {
        let (applied, epoch, bundle, sessions) = (None, None, None, Vec::new());
        let read = ReadState { of: None, voter, linearizable, applied, epoch, sessions, bundle };
        let of = self.note("operator", Kind::Invoke, What::Read(read.clone()));
        self.soon(most_millis, Later::TakeRead(ReadState { of: Some(of), ..read }));
    }

    pub(super) fn happen(&mut self, later: Later) {
        match later {
            Later::Do(action) => action(self),
            Later::Decide(of, call) => self.decide(of, call),
            Later::Answer(of, boot, call) => {
                // Nobody answers for a process that is gone.
                let edge = self.edges.iter().find(|edge| edge.id == call.edge).unwrap();
                let gone = boot.is_none_or(|boot| !edge.up || u64::from(edge.boots) != boot);
                let call = if gone || self.one_in(20) { Call { outcome: None, ..call } } else { call };
                let kind = if call.outcome.is_some() { Kind::Ok } else { Kind::Info };
                self.note("agent/1", kind, What::Call(Call { of: Some(of), ..call }));
            }
            Later::Commit(kind, of) => {
                let written = self.commit(&kind);
                let poisoned = matches!(kind, WriteKind::Publish { good: false, .. });
                let lost = self.one_in(8);
                let most = if written.is_some() || poisoned { 40 } else { 3_000 };
                self.soon(most, Later::Acknowledge(of, kind, written.filter(|_| !lost)));
            }
            Later::Acknowledge(of, kind, written) => {
                self.relating &= !matches!(kind, WriteKind::Relate { .. });
                let poisoned = matches!(kind, WriteKind::Publish { good: false, .. });
                let answer = match (&written, poisoned) {
                    (Some(_), _) => Kind::Ok,
                    (None, true) => Kind::Fail,
                    (None, false) => Kind::Info,
                };
                self.note("operator", answer, What::Write(Write { of: Some(of), write: kind, written }));
            }
            Later::TakeRead(read) => self.take_read(read),
        }
    }

    pub(super) fn commit(&mut self, kind: &WriteKind) -> Option<Written> {
        if !self.has_majority() {
            return None;
        }
        if let WriteKind::RollOut { .. } = kind {
            return self.begin_rollout(kind);
        }
        let (mut epoch, mut activation, mut revision) = (None, None, None);
        let index = LogIndex(u64::try_from(self.log.len()).unwrap() + 1);
        self.log.push(match kind {
            WriteKind::Revoke { session } => {
                epoch = Some(RevocationEpoch(self.epoch_at(self.log.len()) + 1));
                Entry::Cut(session.clone())
            }
            WriteKind::Publish { good: false, .. } => return None,
            WriteKind::Publish { version, digest, .. } => {
                // A publication that was overtaken while it was under way is refused, and nobody hears of it.
                let newest = self.bundle_at(self.log.len());
                if self.is_rolling() || newest.is_some_and(|(_, newest, _)| newest >= *version) {
                    return None;
                }
                activation = Some(index);
                Entry::Bundle(*version, *digest)
            }
            WriteKind::Relate { holds, .. } => {
                revision = Some(self.relations_at(self.log.len()).0 + 1);
                Entry::Relation(*holds)
            }
            _ => Entry::Other,
        });
        let leader = self.voters.iter_mut().find(|voter| voter.id == self.leader).unwrap();
        leader.applied = self.log.len();
        if epoch.is_some() && self.one_in(2) {
            let wait = self.random.random_range(100..2_000) * MILLI;
            self.at(self.now + wait, Later::Do(Self::read_coverage));
        }
        Some(Written { index, epoch, activation, revision })
    }

    pub(super) fn read_coverage(&mut self) {
        let epoch = self.epoch_at(self.log.len());
        let enforce = |edge: &&EdgeState| self.epoch_at(edge.tick) >= epoch;
        let covered = self.edges.iter().filter(enforce).map(|edge| edge.id.clone()).collect();
        self.note("operator", Kind::Ok, What::Coverage { epoch: RevocationEpoch(epoch), covered });
    }

    pub(super) fn cuts_at(&self, length: usize) -> Vec<String> {
        let cut = |entry: &Entry| if let Entry::Cut(session) = entry { Some(session.clone()) } else { None };
        self.log.iter().take(length).filter_map(cut).collect()
    }

    pub(super) fn epoch_at(&self, length: usize) -> u64 {
        u64::try_from(self.cuts_at(length).len()).unwrap()
    }

    pub(super) fn bundle_at(&self, length: usize) -> Option<(LogIndex, BundleVersion, Digest)> {
        let bundle = |(at, entry): (usize, &Entry)| match entry {
            Entry::Bundle(version, digest) => Some((LogIndex(u64::try_from(at).unwrap() + 1), *version, *digest)),
            Entry::Over(of, status) => {
                let (version, digest) = self.settled(*of, *status);
                Some((LogIndex(u64::try_from(at).unwrap() + 1), version, digest))
            }
            _ => None,
        };
        self.log.iter().enumerate().take(length).rev().find_map(bundle)
    }

    /// The revision of the relations, and whether the one that there is holds.
    pub(super) fn relations_at(&self, length: usize) -> (u64, bool) {
        let holds = |entry: &Entry| if let Entry::Relation(holds) = entry { Some(*holds) } else { None };
        let changes: Vec<bool> = self.log.iter().take(length).filter_map(holds).collect();
        (u64::try_from(changes.len()).unwrap(), changes.last().copied().unwrap_or_default())
    }

    pub(super) fn decide(&mut self, of: u64, mut call: Call) {
        let place = self.edges.iter().position(|edge| edge.id == call.edge).unwrap();
        let bound = context().bounds.of(call.effect);
        let tick = self.edges[place].tick;
        let cuts = self.cuts_at(tick);
        let decides = self.decides_at(tick, &call.edge);
        let rules = decides.map(|(_, version, _)| self.rules(version)).unwrap_or_default();
        let forbids = rules.without.contains(&call.tool);
        let is_free = rules.freely.contains(&call.tool);
        let is_related = call.rests_on.is_none() || is_free || self.relations_at(tick).1;
        let edge = &mut self.edges[place];
        if !edge.up {
            return self.soon(900, Later::Answer(of, None, call));
        }
        let age = Duration::from_micros(self.now - edge.proof);
        let is_proven = edge.proven || (call.effect == Effect::Read && edge.tick > 0);
        let (verdict, reason) = if cuts.contains(&call.session) {
            (Verdict::Deny, "revoked")
        } else if !call.admitted {
            (Verdict::Deny, "out_of_scope")
        } else if age >= bound || !is_proven {
            (Verdict::Deny, "stale")
        } else if forbids {
            (Verdict::Deny, "forbidden")
        } else if !is_related {
            (Verdict::Deny, "no_matching_policy")
        } else {
            (Verdict::Permit, "permit")
        };
        self.decisions += 1;
        let decision = format!("decision-{}", self.decisions);
        edge.seq += 1;
        let digest = Digest::of(&[edge.id.as_str().as_bytes(), &self.decisions.to_be_bytes()]);
        edge.memory.push(RecordSeen {
            voter: VoterId(0),
            edge: edge.id.clone(),
            boot: edge.boot,
            seq: edge.seq,
            previous: std::mem::replace(&mut edge.head, digest),
            digest,
            kind: "decision".to_owned(),
            decision: Some(decision.clone()),
            verified: true,
            gap: 0,
        });
        match verdict {
            Verdict::Permit => edge.permits += 1,
            Verdict::Deny => edge.denials += 1,
        }
        if verdict == Verdict::Permit && call.effect != Effect::Read {
            edge.disk.append(&mut edge.memory);
        }
        let boot = u64::from(edge.boots);
        call.outcome = Some(Outcome { verdict, reason: reason.to_owned(), decision: Some(decision) });
        self.soon(30, Later::Answer(of, Some(boot), call));
    }

    pub(super) fn take_read(&mut self, mut read: ReadState) {
        let voter = self.voters.iter().find(|voter| voter.id == read.voter).unwrap();
        let can = voter.up && (!read.linearizable || self.has_majority());
        if !can || self.one_in(15) {
            self.note("operator", Kind::Info, What::Read(read));
            return;
        }
        let voter = self.voters.iter_mut().find(|voter| voter.id == read.voter).unwrap();
        if read.linearizable {
            voter.applied = self.log.len();
        }
        let applied = voter.applied;
        read.applied = Some(LogIndex(u64::try_from(applied).unwrap()));
        if self.one_in(2) {
            read.epoch = Some(RevocationEpoch(self.epoch_at(applied)));
            read.sessions = self.cuts_at(applied);
        } else {
            read.bundle = self.bundle_at(applied).map(|(_, version, _)| version);
        }
        self.note("operator", Kind::Ok, What::Read(read));
    }
}
