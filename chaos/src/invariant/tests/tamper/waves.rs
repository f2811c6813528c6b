//! Places in a history that have to do with bundles in waves.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::EdgeId;
use remit_control_plane::registry::RolloutStatus;

use super::{Tampered, second};
use crate::history::{Call, Edge, Event, Kind, RolloutSeen, RolloutStep, Verdict, What, WriteKind};

impl Tampered {
    /// Whether a bundle came in waves.
    pub(in super::super) fn came_in_waves(&self, digest: Option<Digest>) -> bool {
        let is_it =
            |kind: &WriteKind| matches!(kind, WriteKind::RollOut { digest: other, .. } if Some(*other) == digest);
        self.events.iter().any(|event| matches!(&event.what, What::Write(write) if is_it(&write.write)))
    }

    /// Every rollout that was begun: its invocation, and what the last look showed.
    fn rollouts(&self) -> Vec<(usize, WriteKind, RolloutSeen)> {
        let mut last: BTreeMap<Digest, RolloutSeen> = BTreeMap::new();
        for event in &self.events {
            if let What::Rollout(seen) = &event.what {
                last.insert(seen.digest, seen.clone());
            }
        }
        let begun = |(place, event): (usize, &Event)| match (&event.what, event.kind) {
            (What::Write(write), Kind::Invoke) => match &write.write {
                WriteKind::RollOut { digest, .. } => Some((place, write.write.clone(), last.get(digest)?.clone())),
                _ => None,
            },
            _ => None,
        };
        self.events.iter().enumerate().filter_map(begun).collect()
    }

    /// The last look at an edge before its number rises beyond that of a first wave that is not for it, and a look at an
    /// edge that the wave is for.
    pub(in super::super) fn before_the_next_wave(&self) -> Option<(usize, usize)> {
        let mut found = Vec::new();
        for (_, _, seen) in self.rollouts() {
            let number = seen.rollout;
            let at = |event: &Event| match &event.what {
                What::Edge(edge) => edge.activation.map(|activation| (edge.edge.clone(), activation)),
                _ => None,
            };
            let runs = self.places(|event| at(event).is_some_and(|(_, activation)| activation == number));
            let Some(from) = runs.first() else { continue };
            let mut last: BTreeMap<EdgeId, usize> = BTreeMap::new();
            for (place, event) in self.events.iter().enumerate() {
                let Some((edge, activation)) = at(event) else { continue };
                if activation < number {
                    last.insert(edge, place);
                } else if activation > number
                    && let Some(before) = last.remove(&edge)
                    && before > *from
                {
                    found.push((before, *from));
                }
            }
        }
        self.choose(&found)
    }

    /// The first look that shows that a rollout was taken back while nothing was broken, and a look at an edge that ran it.
    pub(in super::super) fn taken_back(&self) -> Option<(usize, usize)> {
        let mut found = Vec::new();
        for (_, _, seen) in self.rollouts() {
            let shows = |event: &Event| match &event.what {
                What::Rollout(other) => {
                    let is_back = |step: &RolloutStep| step.status == RolloutStatus::TakenBack;
                    other.digest == seen.digest && other.steps.last().is_some_and(is_back)
                }
                _ => false,
            };
            let runs =
                self.places(|event| matches!(&event.what, What::Edge(edge) if edge.activation == Some(seen.rollout)));
            let first = self.places(|event| shows(event)).first().copied();
            if let (Some(place), Some(from)) = (first, runs.first())
                && second(self.events[place].time_us, 0, 14)
            {
                found.push((place, *from));
            }
        }
        self.choose(&found)
    }

    /// A look at an edge that runs, as it did at the look before, a bundle that came to everybody at once, and the first
    /// look at what it ran earlier.
    pub(in super::super) fn ran_something_newer_than_its_first(&self) -> Option<(usize, Edge)> {
        let mut first: BTreeMap<&EdgeId, &Edge> = BTreeMap::new();
        let mut before: BTreeMap<&EdgeId, &Edge> = BTreeMap::new();
        let mut found = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            let What::Edge(edge) = &event.what else { continue };
            if edge.bundle.is_none() {
                continue;
            }
            let earliest = *first.entry(&edge.edge).or_insert(edge);
            let stays = before.insert(&edge.edge, edge).is_some_and(|before| before.activation == edge.activation);
            if stays && earliest.bundle < edge.bundle && !self.came_in_waves(edge.digest) {
                found.push((place, earliest.clone()));
            }
        }
        self.choose(&found)
    }

    /// A permit of what a bundle in waves forbids, at an edge that it never came to.
    pub(in super::super) fn permitted_outside(&self) -> Option<usize> {
        let mut found = Vec::new();
        for (begun, kind, seen) in self.rollouts() {
            let WriteKind::RollOut { waves, without, .. } = kind else { continue };
            if seen.steps.last().is_none_or(|step| step.status != RolloutStatus::TakenBack) {
                continue;
            }
            let is_it = |(place, call, _): &(usize, &Call, &Event)| {
                let permitted = call.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Permit);
                *place > begun && permitted && without.contains(&call.tool) && !waves[0].contains(&call.edge)
            };
            found.extend(self.answered_calls().into_iter().filter(is_it).map(|(place, ..)| place));
        }
        // One that a later bundle brings to the same edge is no breach.
        let reached = |place: &usize| {
            let What::Call(call) = &self.events[*place].what else { return false };
            let seen: Vec<usize> = self.rollouts().iter().map(|(begun, ..)| *begun).collect();
            self.events.iter().enumerate().take(*place).any(|(begun, event)| match &event.what {
                What::Write(write) => match &write.write {
                    WriteKind::RollOut { waves, without, .. } if event.kind == Kind::Invoke => {
                        without.contains(&call.tool) && (waves[0].contains(&call.edge) || !seen.contains(&begun))
                    }
                    _ => false,
                },
                _ => false,
            })
        };
        found.retain(|place| !reached(place));
        self.choose(&found)
    }

    /// A look at an edge, while nothing was broken, that runs a bundle in waves which permits some tool to anybody, and
    /// that is taken back; and the tool.
    pub(in super::super) fn runs_freely(&self) -> Option<(usize, String)> {
        let mut found = Vec::new();
        for (_, kind, seen) in self.rollouts() {
            let WriteKind::RollOut { freely, .. } = kind else { continue };
            let Some(tool) = freely.first() else { continue };
            let runs = self.places(|event| match &event.what {
                What::Edge(edge) => {
                    let quiet = second(event.time_us, 0, 14) || second(event.time_us, 46, 62);
                    edge.activation == Some(seen.rollout) && quiet
                }
                _ => false,
            });
            found.extend(runs.first().map(|place| (*place, tool.clone())));
        }
        self.choose(&found)
    }
}
