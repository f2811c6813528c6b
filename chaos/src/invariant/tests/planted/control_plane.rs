//! Promises that voters keep.

use std::collections::BTreeSet;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, LogIndex, VoterId};
use remit_common::lattice::Effect;

use super::super::super::check;
use super::super::tamper::{Tampered, second};
use super::super::{broken, model};
use super::{Invariant, each};
use crate::history::{Call, Kind, Voter, What};

#[test]
fn voters_that_disagree_are_found() {
    each(
        Invariant::RaftSafety,
        &[
            ("another state at an entry that was seen before", |history| {
                let mut seen = BTreeSet::new();
                history.any_voter(
                    |_, voter| !seen.insert(voter.applied),
                    |voter| {
                        voter.applied_digest = Some(Digest::of(&[b"other"]));
                    },
                )
            }),
            ("another statement of a tick that was signed before", |history| {
                let mut seen = BTreeSet::new();
                history.any_voter(
                    |_, voter| voter.signed.is_some_and(|signed| !seen.insert(signed.tick)),
                    |voter| {
                        voter.signed.as_mut().unwrap().statement = Digest::of(&[b"other"]);
                    },
                )
            }),
            ("a term that falls", |history| {
                history.any_voter(|time, voter| second(time, 3, 39) && voter.term > 0, |voter| voter.term = 0)
            }),
            ("a leader that falls within a term", |history| {
                let led = |time, voter: &Voter| second(time, 3, 19) && voter.leader.is_some();
                history.any_voter(led, |voter| voter.leader = Some(VoterId(0)))
            }),
            ("an applied entry that falls", |history| {
                history.any_voter(
                    |time, voter| second(time, 10, 19) && voter.applied.0 > 30,
                    |voter| {
                        voter.applied = LogIndex(1);
                        voter.applied_digest = None;
                    },
                )
            }),
        ],
    );
}

#[test]
fn reads_that_miss_or_invent_are_found() {
    each(
        Invariant::Linearizable,
        &[
            ("a revocation that a read with a barrier misses", |history| {
                let (place, session) = history.read_after_revocation(true, 0)?;
                history.read_at(place).sessions.retain(|shown| *shown != session);
                Some(history.events[place].index)
            }),
            ("a revocation that no read at the end has", |history| {
                let (place, session) = history.read_after_revocation(false, 75)?;
                history.read_at(place).sessions.retain(|shown| *shown != session);
                Some(history.events[place].index)
            }),
            ("a revocation that is lost for good", |history| {
                let (place, session) = history.read_after_revocation(true, 0)?;
                let named = history.events[place].index;
                for event in history.events.iter_mut().skip(place) {
                    if let What::Read(read) = &mut event.what {
                        read.sessions.retain(|shown| *shown != session);
                    }
                }
                Some(named)
            }),
            ("a revocation that nobody asked for", |history| {
                let place = history.any_read(|_, read| read.epoch.is_some())?;
                history.read_at(place).sessions.push("session-of-nobody".to_owned());
                Some(history.events[place].index)
            }),
            ("an older bundle", |history| {
                let (place, older) = history.read_after_two_bundles()?;
                history.read_at(place).bundle = Some(older);
                Some(history.events[place].index)
            }),
            ("no bundle", |history| {
                let (place, _) = history.read_after_two_bundles()?;
                history.read_at(place).bundle = None;
                Some(history.events[place].index)
            }),
            ("a bundle that nobody published", |history| {
                let place = history.any_read(|_, read| read.bundle.is_some())?;
                history.read_at(place).bundle = Some(BundleVersion(9_999));
                Some(history.events[place].index)
            }),
            ("an entry before one that was acknowledged", |history| {
                let (place, _) = history.read_after_two_bundles()?;
                history.read_at(place).applied = Some(LogIndex(0));
                Some(history.events[place].index)
            }),
        ],
    );
}

#[test]
fn records_that_are_lost_changed_or_doubled_are_found() {
    each(
        Invariant::Records,
        &[
            ("a record that a voter no longer has", |history| {
                let place = history.any_record_read_whole()?;
                let record = history.record_at(place).clone();
                history.events.remove(place);
                history.sightings(|seen| seen == &record).first().map(|place| history.events[*place].index)
            }),
            ("a record that was changed", |history| {
                let place = history.any_record_read_whole()?;
                history.record_at(place).digest = Digest::of(&[b"other"]);
                Some(history.events[place].index)
            }),
            ("a record that stands twice", |history| {
                let place = history.any_record_read_whole()?;
                let what = history.events[place].what.clone();
                Some(history.insert_after(place, Kind::Info, what))
            }),
            ("a record that does not verify", |history| {
                let place = history.any_record_read_whole()?;
                history.record_at(place).verified = false;
                Some(history.events[place].index)
            }),
            ("a record that is missing inside a chain", |history| {
                let (key, next) = history.harmless_record(true)?;
                let next = history.events[next].index;
                history.forget(&key);
                Some(next)
            }),
            ("a record that is missing at the end of a chain", |history| {
                let (key, told) = history.harmless_record(false)?;
                let told = history.events[told].index;
                history.forget(&key);
                Some(told)
            }),
            ("two processes that continue the same chain", |history| history.fork()),
            ("a decision that is on record twice", |history| {
                let (from, _) = history.harmless_record(true)?;
                let (to, told) = history.harmless_record(false)?;
                let decision = history.decision_of(&to)?;
                history.rename_decision(&from, &decision);
                Some(history.events[told].index)
            }),
        ],
    );
    each(
        Invariant::RecordedFirst,
        &[("a change that is on no record", |history| {
            let (place, call) = history.permit_of_an_open_session()?;
            let call = Call { effect: Effect::Irreversible, ..call };
            Some(history.permit_after(place, call, Some("decision-of-nobody")))
        })],
    );
}

#[test]
fn a_mesh_that_does_not_recover_is_found() {
    each(
        Invariant::Liveness,
        &[
            ("no leader", |history| {
                for event in history.events.iter_mut().filter(|event| second(event.time_us, 40, 56)) {
                    if let What::Voter(voter) = &mut event.what {
                        (voter.leader, voter.role) = (None, "candidate".to_owned());
                    }
                }
                history.events.last().map(|last| last.index)
            }),
            ("two leaders", |history| {
                for event in history.events.iter_mut().filter(|event| second(event.time_us, 40, 56)) {
                    if let What::Voter(voter) = &mut event.what {
                        voter.leader = (voter.voter == VoterId(3)).then_some(VoterId(3)).or(voter.leader);
                        if voter.voter == VoterId(3) {
                            voter.role = "leader".to_owned();
                            voter.term += 1;
                        }
                    }
                }
                // The terms that follow would fall otherwise.
                for event in history.events.iter_mut().filter(|event| event.time_us >= 56_000_000) {
                    if let What::Voter(voter) = &mut event.what {
                        voter.term += 2;
                    }
                }
                history.events.last().map(|last| last.index)
            }),
            ("an edge that stays behind", |history| {
                for event in history.events.iter_mut().filter(|event| second(event.time_us, 40, 56)) {
                    if let What::Edge(edge) = &mut event.what
                        && edge.edge.as_str() == "us-1"
                    {
                        edge.mode = "degraded".to_owned();
                    }
                }
                history.events.last().map(|last| last.index)
            }),
            ("records that are never handed over", |history| {
                let place = history.last_edge()?;
                let What::Edge(edge) = &mut history.events[place].what else { return None };
                edge.spool = 3;
                Some(history.events[place].index)
            }),
            ("no write that is acknowledged", |history| {
                for event in history.events.iter_mut().filter(|event| event.time_us >= 40_000_000) {
                    if let (What::Write(write), Kind::Ok) = (&mut event.what, event.kind) {
                        write.written = None;
                        event.kind = Kind::Info;
                    }
                }
                history.events.last().map(|last| last.index)
            }),
        ],
    );
}

/// A record of a decision that changes nothing turns into a gap, so that its decision and one more are on no record.
fn with_a_gap_of(records: u64, seed: u64) -> Option<Vec<Invariant>> {
    let mut history = Tampered::new(model::history(seed), seed);
    let (last, _) = history.harmless_record(false)?;
    let inside = history.harmless_record_of(&last.0)?;
    history.forget(&last);
    history.become_gap(&inside, records);
    Some(broken(&check(&history.events, &model::context())))
}

#[test]
fn what_a_gap_stands_for_is_not_lost_and_what_it_does_not_is() {
    let mut occasions = 0;
    for seed in 0..6 {
        let Some(explained) = with_a_gap_of(2, seed) else { continue };
        assert_eq!(explained, [], "seed {seed}");
        assert_eq!(with_a_gap_of(1, seed), Some(vec![Invariant::Records]), "seed {seed}");
        occasions += 1;
    }
    assert!(occasions >= 2, "only {occasions} histories offered an occasion");
}
