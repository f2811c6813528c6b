//! Promises that edges keep.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, LogIndex, RevocationEpoch};
use remit_common::lattice::Effect;

use super::super::tamper::second;
use super::{Invariant, each, model};
use crate::history::{Call, Edge, Event, Kind, TurnedAway, Verdict, What, WriteKind, Written};

#[test]
fn bundles_that_nobody_published_are_found() {
    each(
        Invariant::Bundles,
        &[
            ("a version that nobody published", |history| {
                history.any_edge(|_, edge| edge.bundle.is_some(), |edge| edge.bundle = Some(BundleVersion(9_999)))
            }),
            ("other contents", |history| {
                let other = |edge: &mut Edge| edge.digest = Some(Digest::of(&[b"other"]));
                history.any_edge(|_, edge| edge.bundle.is_some(), other)
            }),
            ("a poisoned bundle at an edge", |history| {
                let (asked, version, digest) = history.poisoned()?;
                let after = history.events[asked].time_us;
                history.any_edge(
                    |time, edge| time > after && edge.bundle.is_some(),
                    |edge| {
                        edge.bundle = Some(version);
                        edge.digest = Some(digest);
                    },
                )
            }),
            ("a poisoned bundle that voters take", |history| {
                let is_refusal = |event: &Event| {
                    let What::Write(write) = &event.what else { return false };
                    event.kind == Kind::Fail && matches!(write.write, WriteKind::Publish { good: false, .. })
                };
                let place = history.any(is_refusal)?;
                let event = &mut history.events[place];
                let What::Write(write) = &mut event.what else { return None };
                write.written = Some(Written { index: LogIndex(1), epoch: None, activation: None, revision: None });
                event.kind = Kind::Ok;
                Some(event.index)
            }),
            ("another number for the same bundle", |history| {
                let place = history.last_edge()?;
                let What::Edge(edge) = history.events[place].what.clone() else { return None };
                // One that came in waves has several.
                if history.came_in_waves(edge.digest) {
                    return None;
                }
                let What::Edge(edge) = &mut history.events[place].what else { return None };
                edge.activation = Some(LogIndex(edge.activation?.0 + 100_000));
                Some(history.events[place].index)
            }),
        ],
    );
}

#[test]
fn edges_that_stay_behind_are_found() {
    each(
        Invariant::Convergence,
        &[("an edge that stays at an older bundle", |history| {
            let activations = history.activations();
            let is_before_58 = |(place, _): &&(usize, LogIndex)| second(history.events[*place].time_us, 20, 58);
            let (from, number) = *activations.iter().rfind(is_before_58)?;
            let last = history.last_edge()?;
            let What::Edge(edge) = &history.events[last].what else { return None };
            let id = edge.edge.clone();
            // What it ran before somebody was told of the newer one, which it may have run already.
            let older = history.places(|event| {
                matches!(&event.what, What::Edge(edge) if edge.edge == id && edge.activation.is_some_and(|has| has < number))
            });
            let before = *older.iter().rfind(|place| **place < from)?;
            let What::Edge(before) = history.events[before].what.clone() else { return None };
            // One that stays where it was taken back breaks another promise, too.
            if history.came_in_waves(before.digest) {
                return None;
            }
            for event in history.events.iter_mut().skip(from) {
                let What::Edge(edge) = &mut event.what else { continue };
                if edge.edge == id {
                    (edge.activation, edge.bundle, edge.digest) = (before.activation, before.bundle, before.digest);
                }
            }
            // The first look for which something newer was due, and the newest that was.
            let due = |place: usize| history.events[place].time_us.max(40_000_000) + 15_000_000;
            let newer: Vec<usize> =
                activations.iter().filter(|(_, has)| Some(*has) > before.activation).map(|(place, _)| *place).collect();
            let first = due(*newer.first()?);
            let looks = history.places(|event| matches!(&event.what, What::Edge(edge) if edge.edge == id));
            let look = looks.iter().map(|place| history.events[*place].time_us).find(|time| *time > first)?;
            let named = newer.iter().rfind(|place| due(**place) < look)?;
            Some(history.events[*named].index)
        })],
    );
    each(
        Invariant::Convergence,
        &[("an edge that stays at older relations", |history| {
            let (place, revision) = history.last_revision_before(58)?;
            let last = history.last_edge()?;
            let What::Edge(edge) = &history.events[last].what else { return None };
            let id = edge.edge.clone();
            for event in &mut history.events {
                let What::Edge(edge) = &mut event.what else { continue };
                if edge.edge == id {
                    edge.relations = edge.relations.min(Some(revision - 1));
                }
            }
            Some(history.events[place].index)
        })],
    );
}

#[test]
fn permits_of_what_was_revoked_are_found() {
    each(
        Invariant::Revocation,
        &[
            ("a permit after the edge acknowledged the revocation", |history| {
                let place = history.first_refusal(|refusal| {
                    refusal.covered && refusal.call.admitted && refusal.call.rests_on.is_none()
                })?;
                history.turn(place, Verdict::Permit, "permit");
                Some(history.events[place].index)
            }),
            ("a permit after the bound", |history| {
                let bounds = model::context().bounds;
                let place = history.first_refusal(|refusal| {
                    let bound = u64::try_from(bounds.of(refusal.call.effect).as_micros()).unwrap();
                    refusal.call.rests_on.is_none()
                        && refusal.call.admitted
                        && refusal.invoked_us > refusal.acknowledged_us + bound
                })?;
                history.turn(place, Verdict::Permit, "permit");
                Some(history.events[place].index)
            }),
        ],
    );
    each(
        Invariant::Resurrection,
        &[("a permit after a refusal, while nothing else forbids it yet", |history| {
            let bounds = model::context().bounds;
            let place = history.first_refusal(|refusal| {
                let bound = u64::try_from(bounds.of(Effect::Read).as_micros()).unwrap();
                !refusal.covered && refusal.reason == "revoked" && refusal.answered_us < refusal.acknowledged_us + bound
            })?;
            let What::Call(call) = history.events[place].what.clone() else { return None };
            let tool = "contracts.read".to_owned();
            let call = Call { tool, effect: Effect::Read, admitted: true, rests_on: None, ..call };
            Some(history.permit_after(place, call, None))
        })],
    );
}

#[test]
fn bundles_in_waves_that_are_not_where_they_belong_are_found() {
    each(
        Invariant::Waves,
        &[
            ("a bundle at an edge that it had not come to", |history| {
                let (place, from) = history.before_the_next_wave()?;
                let What::Edge(Edge { bundle, digest, activation, .. }) = history.events[from].what.clone() else {
                    return None;
                };
                let What::Edge(edge) = &mut history.events[place].what else { return None };
                (edge.bundle, edge.digest, edge.activation) = (bundle, digest, activation);
                Some(history.events[place].index)
            }),
            ("a bundle that stays where it was taken back", |history| {
                let (seen_at, from) = history.taken_back()?;
                let What::Edge(ran) = history.events[from].what.clone() else { return None };
                let (number, after) = (ran.activation, history.events[seen_at].time_us);
                for event in &mut history.events {
                    let What::Edge(edge) = &mut event.what else { continue };
                    if edge.edge == ran.edge && edge.activation > number && event.time_us < after + 9_000_000 {
                        (edge.bundle, edge.digest, edge.activation) = (ran.bundle, ran.digest, number);
                    }
                }
                Some(history.events[seen_at].index)
            }),
            ("a call that is forbidden where the bundle that does so had not come to", |history| {
                let place = history.permitted_outside()?;
                history.turn(place, Verdict::Deny, "forbidden");
                Some(history.events[place].index)
            }),
            ("a gate that lets everything through", |history| {
                let (place, tool) = history.runs_freely()?;
                let What::Edge(Edge { edge, digest, .. }) = history.events[place].what.clone() else { return None };
                let (_, call) = history.permit_of_an_open_session()?;
                let rests_on = Some("contract:1#assigned_manager@user:nobody".to_owned());
                let call = Call { edge, tool, rests_on, admitted: true, effect: Effect::Irreversible, ..call };
                let permit = history.permit_after(place, call, None);
                // It goes on for long enough that the gate must have been closed.
                let until_us = history.events[place].time_us + 8_000_000;
                for event in history.events.iter_mut().filter(|event| event.time_us < until_us) {
                    if let What::Rollout(seen) = &mut event.what
                        && Some(seen.digest) == digest
                    {
                        seen.steps.retain(|step| step.status.is_under_way());
                    }
                }
                Some(permit)
            }),
        ],
    );
}

#[test]
fn ways_back_that_nobody_named_are_found() {
    each(
        Invariant::WayBack,
        &[
            ("a process that died and goes back further than its bundle says", |history| {
                let (place, first) = history.ran_something_newer_than_its_first()?;
                let What::Edge(edge) = &mut history.events[place].what else { return None };
                edge.turned_away = vec![TurnedAway { activation: edge.activation?, digest: edge.digest? }];
                (edge.bundle, edge.digest) = (first.bundle, first.digest);
                Some(history.events[place].index)
            }),
            ("a bundle that decides again after it was turned away", |history| {
                let (place, _) = history.ran_something_newer_than_its_first()?;
                let What::Edge(mut edge) = history.events[place].what.clone() else { return None };
                let is_next = |event: &Event| matches!(&event.what, What::Edge(next) if (&next.edge, next.activation) == (&edge.edge, edge.activation));
                let next = history.places(is_next).into_iter().find(|next| *next > place)?;
                edge.turned_away = vec![TurnedAway { activation: edge.activation?, digest: edge.digest? }];
                (edge.bundle, edge.digest, edge.activation) = (None, None, None);
                history.events[place].what = What::Edge(edge);
                Some(history.events[next].index)
            }),
        ],
    );
}

#[test]
fn permits_that_nothing_admits_are_found() {
    each(
        Invariant::Authority,
        &[("a permit that nothing admits", |history| {
            let (place, call) = history.permit_of_an_open_session()?;
            let call = Call { admitted: false, ..call };
            Some(history.permit_after(place, call, None))
        })],
    );
}

#[test]
fn permits_of_what_was_withdrawn_are_found() {
    fn ended(write: &WriteKind) -> bool {
        matches!(write, WriteKind::Relate { holds: false, .. })
    }
    fn began(write: &WriteKind) -> bool {
        let frees = matches!(write, WriteKind::RollOut { freely, .. } if !freely.is_empty());
        frees || matches!(write, WriteKind::Relate { holds: true, .. })
    }
    fn narrowed(write: &WriteKind) -> bool {
        matches!(write, WriteKind::Publish { good: true, without, .. } if !without.is_empty())
    }
    fn widened(write: &WriteKind) -> bool {
        matches!(write, WriteKind::RollOut { .. })
            || matches!(write, WriteKind::Publish { good: true, without, .. } if without.is_empty())
    }
    each(
        Invariant::Withdrawal,
        &[
            ("a permit that rests on a relation which nobody wrote", |history| {
                let (place, call) = history.permit_of_an_open_session()?;
                let rests_on = Some("contract:1#assigned_manager@user:nobody".to_owned());
                Some(history.permit_after(place, Call { admitted: true, rests_on, ..call }, None))
            }),
            ("a permit after the end of the relation and the bound", |history| {
                let (place, write) = history.bound_after(ended, began)?;
                let WriteKind::Relate { relation, .. } = write else { return None };
                let (_, call) = history.permit_of_an_open_session()?;
                let rests_on = Some(relation);
                let call = Call { admitted: true, effect: Effect::Irreversible, rests_on, ..call };
                Some(history.permit_after(place, call, None))
            }),
            ("a permit after the bundle that permits it no more and the bound", |history| {
                let (place, write) = history.bound_after(narrowed, widened)?;
                let WriteKind::Publish { without, .. } = write else { return None };
                let (_, call) = history.permit_of_an_open_session()?;
                let tool = without.first()?.clone();
                let call = Call { admitted: true, effect: Effect::Irreversible, tool, rests_on: None, ..call };
                Some(history.permit_after(place, call, None))
            }),
        ],
    );
}

#[test]
fn a_secret_outside_its_place_is_found() {
    each(
        Invariant::Secrecy,
        &[("a secret in a log", |history| {
            let place = history.any(|_| true)?;
            Some(history.insert_after(place, Kind::Info, What::Canary { place: "a log".to_owned() }))
        })],
    );
}

#[test]
fn reads_that_are_refused_too_early_are_found() {
    each(
        Invariant::Availability,
        &[
            ("a read refused while the control plane was away", |history| {
                let place = history.admitted_read(21, 39)?;
                history.turn(place, Verdict::Deny, "stale");
                Some(history.events[place].index)
            }),
            ("a read refused while nothing was broken", |history| {
                let place = history.admitted_read(10, 20)?;
                history.turn(place, Verdict::Deny, "quarantined");
                Some(history.events[place].index)
            }),
        ],
    );
}

#[test]
fn edges_that_forget_are_found() {
    each(
        Invariant::Monotone,
        &[
            ("a tick that falls", |history| {
                history.any_edge(|time, edge| second(time, 5, 80) && edge.tick.0 > 0, |edge| edge.tick = LogIndex(0))
            }),
            ("an epoch that falls", |history| {
                let some = |time, edge: &Edge| second(time, 20, 80) && edge.epoch.0 > 0;
                history.any_edge(some, |edge| edge.epoch = RevocationEpoch(0))
            }),
            ("a revision of relations that falls", |history| {
                let some = |time, edge: &Edge| second(time, 30, 80) && edge.relations > Some(0);
                history.any_edge(some, |edge| edge.relations = Some(0))
            }),
            ("an activation that falls", |history| {
                let mut runs = BTreeMap::new();
                let mut older = None;
                let back = |time, edge: &Edge| {
                    let now = (edge.activation, edge.bundle, edge.digest);
                    let (first, last) = *runs.entry(edge.edge.clone()).or_insert((now, now));
                    let is_back = second(time, 1, 39)
                        && first.0.is_some()
                        && first.0 < edge.activation
                        && last.0 == edge.activation;
                    runs.insert(edge.edge.clone(), (if first.0.is_none() { now } else { first }, now));
                    if is_back && older.is_none() {
                        older = Some((edge.edge.clone(), first));
                    }
                    is_back && older.as_ref().is_some_and(|(id, _)| *id == edge.edge)
                };
                let mut back = back;
                let place = history.places(|event| match &event.what {
                    What::Edge(edge) => back(event.time_us, edge),
                    _ => false,
                });
                let place = *place.first()?;
                let (_, first) = older?;
                let What::Edge(edge) = &mut history.events[place].what else { return None };
                (edge.activation, edge.bundle, edge.digest) = first;
                Some(history.events[place].index)
            }),
        ],
    );
}

#[test]
fn edges_that_think_they_know_more_recent_things_are_found() {
    each(
        Invariant::HonestAge,
        &[
            ("an age that begins at zero with a restart", |history| {
                // What it was before is lost: the next look at the same tick.
                let mut before = BTreeMap::new();
                let again = |edge: &Edge| before.insert(edge.edge.clone(), edge.tick) == Some(edge.tick);
                let mut again = again;
                history.any_edge(|_, edge| again(edge) && edge.tick.0 > 0, |edge| edge.staleness_ms = Some(0))
            }),
            ("an age that counts from the arrival of an answer", |history| {
                let late = |_, edge: &Edge| edge.tick.0 > 0 && edge.staleness_ms.is_some_and(|age| age > 2_500);
                history.any_edge(late, |edge| edge.staleness_ms = Some(90))
            }),
        ],
    );
}
