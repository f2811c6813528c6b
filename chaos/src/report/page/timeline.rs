//! Everything over time, lane by lane, on one axis.

use std::collections::BTreeMap;

use maud::{Markup, html};
use remit_common::id::{EdgeId, VoterId};

use crate::drill::backend::BackendKind;
use crate::drill::outcome::DrillOutcome;
use crate::history::figures::Staleness;
use crate::history::outages::Outage;
use crate::history::{Event, What};
use crate::report::broken::Broken;
use crate::report::chart::{self, Axis, EdgeSeen, Lane, Stretch, VoterSeen, silence, stretches};
use crate::report::view::View;

/// Breaches on the axis at most.
const BREACHES_MAX: usize = 60;

/// The lanes.
pub(super) fn timeline(view: &View<'_>) -> Markup {
    let (drill, figures) = (view.drill, &view.figures);
    if drill.events.is_empty() {
        return html! {};
    }
    let to_us = drill.events.last().map_or(1, |event| event.time_us).max(1);
    let axis = Axis { to_us, shades: shades(&figures.outages, to_us) };
    let broken = Broken::all(&figures.outages, &drill.events, &drill.roster);
    let voters = voters(drill);
    let bundles = bundles(drill);
    let phases = phases(&drill.events, to_us);
    let edges: Vec<(EdgeId, &[Staleness])> = order(drill, figures.staleness.keys())
        .into_iter()
        .filter_map(|edge| figures.staleness.get(&edge).map(|ages| (edge.clone(), ages.as_slice())))
        .collect();
    let silence_us = silence(figures.staleness.values().next().into_iter().flatten().map(|seen| seen.time_us));
    let breaches: Vec<_> = view
        .verdicts
        .iter()
        .flat_map(|verdict| {
            verdict.breaches.iter().filter_map(|breach| {
                breach.events.last().map(|witness| (verdict.id.as_str(), witness.time_us, breach.sentence.as_str()))
            })
        })
        .take(BREACHES_MAX)
        .collect();
    let refused = chart::refused(&drill.events);
    let simulated = drill.backend == BackendKind::Sim;
    let mut lanes: Vec<Lane<'_>> = vec![chart::faults(&broken, &phases)];
    if !breaches.is_empty() {
        lanes.push(chart::breaches(breaches));
    }
    lanes.push(chart::voters(&voters, &figures.reigns, &broken));
    lanes.push(chart::bundles(&bundles, &broken));
    lanes.push(chart::staleness(&edges, &view.bounds, silence_us));
    lanes.push(chart::decisions(&figures.decisions, figures.bucket_secs));
    lanes.push(chart::refusals(&refused));
    lanes.push(chart::latency(&figures.decisions, figures.latency.as_ref(), simulated));
    html! {
        section #timeline {
            h2 { "What happened, over time" }
            p.intro {
                "Every picture has the same axis, in seconds from the beginning of the run. Where the ground is tinted, at "
                "least one fault lasted."
            }
            @for lane in &lanes { (lane.render(&axis)) }
        }
    }
}

/// Spans in which at least one fault lasted, joined where they touch.
fn shades(outages: &[Outage], to_us: u64) -> Vec<(u64, u64)> {
    let mut spans: Vec<_> = outages.iter().map(|outage| (outage.from_us, outage.to_us.unwrap_or(to_us))).collect();
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined.truncate(400);
    joined
}

fn phases(events: &[Event], to_us: u64) -> Vec<Stretch<String>> {
    let mut phases: Vec<Stretch<String>> = Vec::new();
    for event in events {
        let What::Phase { name } = &event.what else { continue };
        if let Some(last) = phases.last_mut() {
            last.to_us = event.time_us;
        }
        phases.push(Stretch { from_us: event.time_us, to_us, value: name.clone() });
    }
    phases
}

/// Edges in the order of the roster, then those that it does not name.
fn order<'a>(drill: &'a DrillOutcome, seen: impl Iterator<Item = &'a EdgeId>) -> Vec<EdgeId> {
    let mut order: Vec<EdgeId> = drill.roster.edges().cloned().collect();
    let more: Vec<EdgeId> = seen.filter(|edge| !order.contains(edge)).cloned().collect();
    order.extend(more);
    order
}

/// What each of them was seen to be, in this order.
fn seen_as<K: Ord, T: PartialEq>(order: Vec<K>, mut seen: BTreeMap<K, Vec<(u64, T)>>) -> Vec<(K, Vec<Stretch<T>>)> {
    let row = |who: K| {
        let said = seen.remove(&who).unwrap_or_default();
        let silence_us = silence(said.iter().map(|(time, _)| *time));
        (who, stretches(said, silence_us))
    };
    order.into_iter().map(row).collect()
}

fn voters(drill: &DrillOutcome) -> Vec<VoterSeen> {
    let mut seen: BTreeMap<VoterId, Vec<_>> = drill.roster.voters().map(|id| (id, Vec::new())).collect();
    for event in &drill.events {
        if let What::Voter(voter) = &event.what {
            seen.entry(voter.voter).or_default().push((event.time_us, (voter.role.clone(), voter.term)));
        }
    }
    seen_as(seen.keys().copied().collect(), seen)
}

fn bundles(drill: &DrillOutcome) -> Vec<EdgeSeen> {
    let mut seen: BTreeMap<EdgeId, Vec<_>> = BTreeMap::new();
    for event in &drill.events {
        if let What::Edge(edge) = &event.what {
            seen.entry(edge.edge.clone()).or_default().push((event.time_us, edge.bundle));
        }
    }
    seen_as(order(drill, seen.keys()), seen)
}
