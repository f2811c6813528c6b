//! Finds places in a history, and changes them.

mod waves;

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::id::{BootId, BundleVersion, EdgeId, LogIndex, RevocationEpoch};
use remit_common::lattice::Effect;

use crate::history::{Call, Edge, Event, Kind, Outcome, ReadState, RecordSeen, Verdict, Voter, What, WriteKind};

/// Whether a time lies between two seconds.
pub(super) fn second(time_us: u64, from: u64, to: u64) -> bool {
    (from * 1_000_000..to * 1_000_000).contains(&time_us)
}

/// A history that is being changed.
pub(super) struct Tampered {
    pub(super) events: Vec<Event>,
    /// Chooses among what fits.
    choice: usize,
}

/// The first answer of an edge to calls of a session that was revoked.
pub(super) struct Refusal {
    pub(super) call: Call,
    pub(super) reason: String,
    pub(super) invoked_us: u64,
    pub(super) answered_us: u64,
    pub(super) acknowledged_us: u64,
    /// Before the call was asked for, the edge had been reported to enforce the revocation.
    pub(super) covered: bool,
}

pub(super) type Key = (EdgeId, BootId, u64);

fn key(record: &RecordSeen) -> Key {
    (record.edge.clone(), record.boot, record.seq)
}

impl Tampered {
    pub(super) fn new(events: Vec<Event>, seed: u64) -> Self {
        Self { events, choice: usize::try_from(seed).unwrap() * 7 + 3 }
    }

    pub(super) fn places(&self, mut fits: impl FnMut(&Event) -> bool) -> Vec<usize> {
        self.events.iter().enumerate().filter(|(_, event)| fits(event)).map(|(place, _)| place).collect()
    }

    fn choose<T: Clone>(&self, among: &[T]) -> Option<T> {
        (!among.is_empty()).then(|| among[self.choice % among.len()].clone())
    }

    pub(super) fn any(&self, fits: impl FnMut(&Event) -> bool) -> Option<usize> {
        self.choose(&self.places(fits))
    }

    /// Puts an event right after another one; gives its index.
    pub(super) fn insert_after(&mut self, place: usize, kind: Kind, what: What) -> u64 {
        let before = &self.events[place];
        let event = Event { index: before.index + 1, kind, what, ..before.clone() };
        let index = event.index;
        assert!(self.events.get(place + 1).is_none_or(|next| next.index > index), "no room for another event");
        self.events.insert(place + 1, event);
        index
    }

    /// Changes what a voter said of itself.
    pub(super) fn any_voter(
        &mut self,
        mut fits: impl FnMut(u64, &Voter) -> bool,
        change: impl FnOnce(&mut Voter),
    ) -> Option<u64> {
        let fits = |event: &Event| matches!(&event.what, What::Voter(voter) if fits(event.time_us, voter));
        let place = self.any(fits)?;
        let What::Voter(voter) = &mut self.events[place].what else { return None };
        change(voter);
        Some(self.events[place].index)
    }

    /// Changes what an edge said of itself.
    pub(super) fn any_edge(
        &mut self,
        mut fits: impl FnMut(u64, &Edge) -> bool,
        change: impl FnOnce(&mut Edge),
    ) -> Option<u64> {
        let fits = |event: &Event| matches!(&event.what, What::Edge(edge) if fits(event.time_us, edge));
        let place = self.any(fits)?;
        let What::Edge(edge) = &mut self.events[place].what else { return None };
        change(edge);
        Some(self.events[place].index)
    }

    /// The last that any edge said of itself.
    pub(super) fn last_edge(&self) -> Option<usize> {
        self.places(|event| matches!(event.what, What::Edge(_))).last().copied()
    }

    pub(super) fn read_at(&mut self, place: usize) -> &mut ReadState {
        let What::Read(read) = &mut self.events[place].what else { panic!("no read") };
        read
    }

    /// Any answered read.
    pub(super) fn any_read(&self, fits: impl Fn(u64, &ReadState) -> bool) -> Option<usize> {
        self.any(|event| event.kind == Kind::Ok && matches!(&event.what, What::Read(read) if fits(event.time_us, read)))
    }

    /// Acknowledged writes: place, and what it was.
    fn acknowledged(&self) -> impl Iterator<Item = (usize, &crate::history::Write)> {
        self.events.iter().enumerate().filter_map(|(place, event)| match &event.what {
            What::Write(write) if event.kind == Kind::Ok => Some((place, write)),
            _ => None,
        })
    }

    /// A read of revocations, and a session whose revocation was acknowledged long before it.
    pub(super) fn read_after_revocation(&self, linearizable: bool, from: u64) -> Option<(usize, String)> {
        let mut found = Vec::new();
        for (acknowledged, write) in self.acknowledged() {
            let WriteKind::Revoke { session } = &write.write else { continue };
            let after_us = self.events[acknowledged].time_us + 6_000_000;
            found.extend(
                self.places(|event| {
                    let What::Read(read) = &event.what else { return false };
                    event.kind == Kind::Ok
                        && event.time_us > after_us.max(from * 1_000_000)
                        && read.linearizable == linearizable
                        && read.epoch.is_some()
                })
                .into_iter()
                .map(|place| (place, session.clone())),
            );
        }
        self.choose(&found)
    }

    /// A read of the bundle with a barrier, after two publications were acknowledged, and the older version.
    pub(super) fn read_after_two_bundles(&self) -> Option<(usize, BundleVersion)> {
        let published = |(place, write): (usize, &crate::history::Write)| match write.write {
            WriteKind::Publish { version, .. } => Some((place, version)),
            _ => None,
        };
        let [(_, older), (second, _), ..] = self.acknowledged().filter_map(published).collect::<Vec<_>>()[..] else {
            return None;
        };
        let after_us = self.events[second].time_us + 1_000_000;
        let place = self.any_read(|time, read| time > after_us && read.linearizable && read.epoch.is_none())?;
        Some((place, older))
    }

    /// A publication of a poisoned bundle.
    pub(super) fn poisoned(&self) -> Option<(usize, BundleVersion, Digest)> {
        let place = self.any(|event| {
            let What::Write(write) = &event.what else { return false };
            event.kind == Kind::Invoke && matches!(write.write, WriteKind::Publish { good: false, .. })
        })?;
        let What::Write(write) = &self.events[place].what else { return None };
        let WriteKind::Publish { version, digest, .. } = write.write else { return None };
        Some((place, version, digest))
    }

    /// The activations for everybody that were acknowledged, or seen to end a rollout: place and number, rising.
    pub(super) fn activations(&self) -> Vec<(usize, LogIndex)> {
        let mut rising: Vec<(usize, LogIndex)> = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            let number = match &event.what {
                What::Write(write) if matches!(write.write, WriteKind::Publish { .. }) => {
                    write.written.as_ref().filter(|_| event.kind == Kind::Ok).and_then(|written| written.activation)
                }
                What::Rollout(seen) => {
                    seen.steps.last().filter(|step| !step.status.is_under_way()).map(|step| step.index)
                }
                _ => None,
            };
            if let Some(number) = number
                && rising.last().is_none_or(|(_, last)| *last < number)
            {
                rising.push((place, number));
            }
        }
        rising
    }

    /// The last change of a relation that was acknowledged before a second: place and revision.
    pub(super) fn last_revision_before(&self, to: u64) -> Option<(usize, u64)> {
        let revision = |(place, write): (usize, &crate::history::Write)| {
            let revision = write.written.as_ref()?.revision?;
            second(self.events[place].time_us, 20, to).then_some((place, revision))
        };
        self.acknowledged().filter_map(revision).last()
    }

    /// The invocation of each answered call.
    fn answered_calls(&self) -> Vec<(usize, &Call, &Event)> {
        let invocations: BTreeMap<u64, &Event> = self.events.iter().map(|event| (event.index, event)).collect();
        let answered = |(place, event): (usize, &'_ Event)| match &event.what {
            What::Call(call) if event.kind == Kind::Ok => Some((place, call.of?)),
            _ => None,
        };
        let places: Vec<_> = self.events.iter().enumerate().filter_map(answered).collect();
        let call = |(place, of): (usize, u64)| match &self.events[place].what {
            What::Call(call) => Some((place, call, *invocations.get(&of)?)),
            _ => None,
        };
        places.into_iter().filter_map(call).collect()
    }

    /// The first refusal by an edge of a session whose revocation had been acknowledged.
    pub(super) fn first_refusal(&self, fits: impl Fn(&Refusal) -> bool) -> Option<usize> {
        let mut revoked: BTreeMap<&str, (usize, RevocationEpoch)> = BTreeMap::new();
        for (place, write) in self.acknowledged() {
            if let (WriteKind::Revoke { session }, Some(written)) = (&write.write, &write.written) {
                revoked.insert(session, (place, written.epoch.unwrap()));
            }
        }
        let mut found = Vec::new();
        let mut refused: BTreeMap<(&EdgeId, &str), u64> = BTreeMap::new();
        let calls = self.answered_calls();
        for (place, call, _) in &calls {
            let index = self.events[*place].index;
            if call.outcome.as_ref().unwrap().reason == "revoked" {
                refused.entry((&call.edge, &call.session)).or_insert(index);
            }
        }
        for (place, call, invoked) in calls {
            let outcome = call.outcome.as_ref().unwrap();
            let Some((acknowledged, epoch)) = revoked.get(call.session.as_str()).copied() else { continue };
            let later = refused.get(&(&call.edge, call.session.as_str())).is_some_and(|first| *first < invoked.index);
            if outcome.verdict == Verdict::Permit || later || self.events[acknowledged].index > invoked.index {
                continue;
            }
            let covered = self.events.iter().take_while(|event| event.index < invoked.index).any(|event| {
                matches!(&event.what, What::Coverage { epoch: asked, covered } if *asked >= epoch && covered.contains(&call.edge))
            });
            let refusal = Refusal {
                call: call.clone(),
                reason: outcome.reason.clone(),
                invoked_us: invoked.time_us,
                answered_us: self.events[place].time_us,
                acknowledged_us: self.events[acknowledged].time_us,
                covered,
            };
            if fits(&refusal) {
                found.push(place);
            }
        }
        self.choose(&found)
    }

    /// A place later than a bound after a change was acknowledged that was not asked to be undone since, and the change.
    pub(super) fn bound_after(
        &self,
        is_it: impl Fn(&WriteKind) -> bool,
        undoes: impl Fn(&WriteKind) -> bool,
    ) -> Option<(usize, WriteKind)> {
        const BOUND_US: u64 = 6_000_000;
        let mut found = Vec::new();
        for (place, write) in self.acknowledged().filter(|(_, write)| is_it(&write.write)) {
            let (asked, from_us) = (write.of?, self.events[place].time_us + BOUND_US);
            let undone = self.events.iter().find(|event| {
                let What::Write(later) = &event.what else { return false };
                event.index > asked && event.kind == Kind::Invoke && undoes(&later.write)
            });
            let until = undone.map_or(u64::MAX, |event| event.index);
            let after = |event: &Event| event.time_us > from_us && event.time_us < 70_000_000 && event.index < until;
            found.extend(self.places(|event| after(event)).first().map(|place| (*place, write.write.clone())));
        }
        self.choose(&found)
    }

    /// Gives an answer another verdict.
    pub(super) fn turn(&mut self, place: usize, verdict: Verdict, reason: &str) {
        let What::Call(call) = &mut self.events[place].what else { panic!("no call") };
        let decision = call.outcome.take().and_then(|outcome| outcome.decision);
        call.outcome = Some(Outcome { verdict, reason: reason.to_owned(), decision });
    }

    /// Puts a permitted call right after an event; gives the index of its answer.
    pub(super) fn permit_after(&mut self, place: usize, call: Call, decision: Option<&str>) -> u64 {
        let decision = decision.map(str::to_owned);
        let permit = Outcome { verdict: Verdict::Permit, reason: "permit".to_owned(), decision };
        let asked = Call { of: None, outcome: None, ..call.clone() };
        let of = self.insert_after(place, Kind::Invoke, What::Call(asked));
        self.insert_after(place + 1, Kind::Ok, What::Call(Call { of: Some(of), outcome: Some(permit), ..call }))
    }

    /// The sessions that somebody asked to revoke, by where they did.
    fn cut(&self) -> BTreeMap<&str, usize> {
        let mut cut = BTreeMap::new();
        for (place, event) in self.events.iter().enumerate() {
            if let What::Write(crate::history::Write { write: WriteKind::Revoke { session }, .. }) = &event.what {
                cut.entry(session.as_str()).or_insert(place);
            }
        }
        cut
    }

    /// A permit under a session that nobody ever asked to revoke, while nothing was broken.
    pub(super) fn permit_of_an_open_session(&self) -> Option<(usize, Call)> {
        let cut = self.cut();
        let permits: Vec<_> = self
            .answered_calls()
            .into_iter()
            .filter(|(_, call, _)| call.outcome.as_ref().unwrap().verdict == Verdict::Permit)
            .filter(|(place, call, _)| {
                !cut.contains_key(call.session.as_str()) && second(self.events[*place].time_us, 5, 70)
            })
            .map(|(place, call, _)| (place, call.clone()))
            .collect();
        self.choose(&permits)
    }

    /// A permitted read between two seconds, at an edge that has permitted one before, while something was broken or not.
    pub(super) fn admitted_read(&self, from: u64, to: u64) -> Option<usize> {
        let (mut seen, cut) = (BTreeSet::new(), self.cut());
        let mut found = Vec::new();
        for (place, call, _) in self.answered_calls() {
            let is_permit = call.outcome.as_ref().unwrap().verdict == Verdict::Permit;
            let is_cut = cut.get(call.session.as_str()).is_some_and(|from| *from < place);
            if !is_permit || is_cut || call.effect != Effect::Read {
                continue;
            }
            if !seen.insert(call.edge.clone()) && second(self.events[place].time_us, from, to) {
                found.push(place);
            }
        }
        self.choose(&found)
    }

    pub(super) fn record_at(&mut self, place: usize) -> &mut RecordSeen {
        let What::Record(record) = &mut self.events[place].what else { panic!("no record") };
        record
    }

    pub(super) fn sightings(&self, fits: impl Fn(&RecordSeen) -> bool) -> Vec<usize> {
        self.places(|event| matches!(&event.what, What::Record(record) if fits(record)))
    }

    /// A record in the reading of a whole store, which was also seen before.
    pub(super) fn any_record_read_whole(&self) -> Option<usize> {
        let whole = self.places(|event| matches!(event.what, What::Record(_)) && event.time_us >= 75_000_000);
        let before = |place: &usize| {
            let What::Record(record) = &self.events[*place].what else { return false };
            self.sightings(|seen| seen == record).len() == 2
        };
        // Looking at each of them would take long.
        let few: Vec<_> = whole.iter().copied().skip(self.choice).take(20).filter(before).collect();
        self.choose(&few)
    }

    /// Every record, and the answers that name a decision and change nothing.
    fn union(&self) -> (BTreeMap<Key, RecordSeen>, BTreeMap<String, usize>) {
        let mut union = BTreeMap::new();
        for event in &self.events {
            if let What::Record(record) = &event.what {
                union.entry(key(record)).or_insert_with(|| record.clone());
            }
        }
        let harmless = |(place, call, _): (usize, &Call, &Event)| {
            let outcome = call.outcome.as_ref()?;
            let harmless = call.effect == Effect::Read || outcome.verdict == Verdict::Deny;
            Some((outcome.decision.clone().filter(|_| harmless)?, place))
        };
        (union, self.answered_calls().into_iter().filter_map(harmless).collect())
    }

    /// A record of a decision that changes nothing: inside a chain, with the first sighting of the next one; or the last
    /// of its edge, with the answer that told of it.
    pub(super) fn harmless_record(&self, inside: bool) -> Option<(Key, usize)> {
        let (union, told) = self.union();
        let mut found = Vec::new();
        for (key, record) in &union {
            let Some(answer) = record.decision.as_ref().and_then(|decision| told.get(decision)) else { continue };
            let next = (key.0.clone(), key.1, key.2 + 1);
            let has_next = union.contains_key(&next);
            let has_later = union.values().any(|later| later.previous == record.digest && later.edge == record.edge);
            if inside && has_next {
                let sighting = self.sightings(|seen| self::key(seen) == next);
                found.push((key.clone(), sighting[0]));
                if found.len() > 5 {
                    break;
                }
            } else if !inside && !has_later {
                found.push((key.clone(), *answer));
            }
        }
        self.choose(&found)
    }

    /// A record of this edge of a decision that changes nothing, inside a chain.
    pub(super) fn harmless_record_of(&self, edge: &EdgeId) -> Option<Key> {
        let (union, told) = self.union();
        let mut records = union.iter().filter(|(key, _)| key.0 == *edge && key.2 > 3);
        let harmless =
            |record: &RecordSeen| record.decision.as_ref().is_some_and(|decision| told.contains_key(decision));
        records.find(|(_, record)| harmless(record)).map(|(key, _)| key.clone())
    }

    pub(super) fn decision_of(&self, key: &Key) -> Option<String> {
        self.union().0.get(key)?.decision.clone()
    }

    /// Nobody has ever seen this record.
    pub(super) fn forget(&mut self, gone: &Key) {
        self.events.retain(|event| !matches!(&event.what, What::Record(record) if key(record) == *gone));
    }

    /// Everybody sees this record tell of another decision.
    pub(super) fn rename_decision(&mut self, of: &Key, decision: &str) {
        for event in &mut self.events {
            if let What::Record(record) = &mut event.what
                && key(record) == *of
            {
                record.decision = Some(decision.to_owned());
            }
        }
    }

    /// Everybody sees a gap of so many records in the place of this one.
    pub(super) fn become_gap(&mut self, of: &Key, records: u64) {
        for event in &mut self.events {
            if let What::Record(record) = &mut event.what
                && key(record) == *of
            {
                (record.kind, record.decision, record.gap) = ("gap".to_owned(), None, records);
            }
        }
    }

    /// The second process of an edge begins where the first did.
    pub(super) fn fork(&mut self) -> Option<u64> {
        let firsts = self.places(|event| matches!(&event.what, What::Record(record) if record.seq == 1));
        let other = |place: &usize| {
            let What::Record(record) = &self.events[*place].what else { return false };
            record.previous != Digest::default()
        };
        let (edge, boot) = match &self.events[*firsts.iter().find(|place| other(place))?].what {
            What::Record(record) => (record.edge.clone(), record.boot),
            _ => return None,
        };
        let mut named = None;
        for place in firsts {
            let index = self.events[place].index;
            let record = self.record_at(place);
            if record.edge == edge && record.boot == boot {
                record.previous = Digest::default();
                named.get_or_insert(index);
            }
        }
        named
    }
}
