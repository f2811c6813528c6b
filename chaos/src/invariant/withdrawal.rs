//! P2: what a relation or a policy no longer allows is refused by every edge, within the bound of the call's effect.
//!
//! No permit at any edge, in contact or not, of a call that rests on a relation, or whose tool a bundle permits, and that
//! was asked for later than the acknowledgement of the end of that relation, or of a bundle that permits it no more, and
//! the bound, unless somebody had asked to allow it again before the answer was there. Before a relation was first asked
//! for, nothing that rests on it is permitted at all.
//!
//! An acknowledged change overtakes every one that was asked for before it, also one whose answer was lost: a batch of
//! relations names the one it follows on, and versions of bundles rise.
//!
//! Source: promises I-1 and I-2 of docs/ARCHITECTURE.md; docs/PROTOCOL.md D-11, F-7, F-13, Q-36.

use std::collections::BTreeMap;

use super::context::{Context, RESOLUTION_US, micros};
use super::story::{Operation, Returned, Story};
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Call, Write, WriteKind};

/// On what a call depends besides its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ground<'a> {
    Relation(&'a str),
    /// That the policy permits this tool.
    Tool(&'a str),
}

/// A change of one of them.
struct Change {
    allows: bool,
    invoked: Witness,
    acknowledged: Option<Witness>,
    /// It certainly was not carried out.
    failed: bool,
}

/// Looks at every answered call that depends on something that administrators change.
pub(super) fn check(story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let changes = changes(story);
    for call in &story.calls {
        let Some((answered, _)) = call.outcome() else { continue };
        if call.asked.rests_on.is_some() && call.permit().is_some() {
            findings.saw("permits that rest on a relation", 1);
        }
        let bound_us = micros(context.bounds.of(call.asked.effect)).saturating_add(micros(context.epsilon));
        let last_us = call.invoked.time_us.saturating_sub(bound_us.saturating_add(RESOLUTION_US));
        if let Some(relation) = &call.asked.rests_on {
            let ground = Ground::Relation(relation);
            let changes = changes.get(&ground).map(Vec::as_slice).unwrap_or_default();
            judge(&mut findings, call, ground, withdrawn(changes, false, last_us, answered));
        }
        let ground = Ground::Tool(&call.asked.tool);
        if let Some(changes) = changes.get(&ground) {
            judge(&mut findings, call, ground, withdrawn(changes, true, last_us, answered));
        }
    }
    findings.verdict(Invariant::Withdrawal)
}

/// Every change of everything, in the order in which they were asked for.
fn changes<'a>(story: &Story<'a>) -> BTreeMap<Ground<'a>, Vec<Change>> {
    let mut changes: BTreeMap<Ground<'_>, Vec<Change>> = BTreeMap::new();
    for write in &story.writes {
        match &write.asked.write {
            WriteKind::Relate { relation, holds } => {
                changes.entry(Ground::Relation(relation)).or_default().push(change(write, *holds));
            }
            WriteKind::Publish { good: true, without, .. } => {
                for tool in without {
                    changes.entry(Ground::Tool(tool)).or_default();
                }
            }
            _ => {}
        }
    }
    // Which tools some version goes without is known only now.
    for (ground, changes) in &mut changes {
        let Ground::Tool(tool) = ground else { continue };
        for write in &story.writes {
            if let WriteKind::Publish { good: true, without, .. } = &write.asked.write {
                changes.push(change(write, !without.iter().any(|other| other == tool)));
            }
        }
    }
    changes
}

fn change(write: &Operation<'_, Write>, allows: bool) -> Change {
    Change {
        allows,
        invoked: write.invoked,
        acknowledged: write.acknowledged().map(|(at, _)| at),
        failed: matches!(write.returned, Returned::Fail),
    }
}

/// Why a call must be refused, if it must.
enum Withdrawn {
    /// Nobody had ever allowed it.
    Never,
    /// At this moment it was acknowledged that it is allowed no more.
    Since(Witness),
}

/// What holds surely for a call that was asked for a bound after `last_us`. `first` is what holds before any change.
fn withdrawn(changes: &[Change], first: bool, last_us: u64, answered: Witness) -> Option<Withdrawn> {
    let settled = changes.iter().rposition(|change| change.acknowledged.is_some_and(|at| at.time_us < last_us));
    let of = settled.and_then(|place| changes.get(place));
    if of.map_or(first, |change| change.allows) {
        return None;
    }
    let later = changes.get(settled.map_or(0, |place| place + 1)..).unwrap_or_default();
    if later.iter().any(|change| change.allows && !change.failed && change.invoked.index < answered.index) {
        return None;
    }
    Some(of.and_then(|change| change.acknowledged).map_or(Withdrawn::Never, Withdrawn::Since))
}

fn judge(findings: &mut Findings, call: &Operation<'_, Call>, ground: Ground<'_>, withdrawn: Option<Withdrawn>) {
    let Some(withdrawn) = withdrawn else { return };
    findings.compared(match (ground, &withdrawn) {
        (_, Withdrawn::Never) => "calls before anybody wrote the relation they rest on",
        (Ground::Relation(_), Withdrawn::Since(_)) => "calls after the relation they rest on had ended",
        (Ground::Tool(_), Withdrawn::Since(_)) => "calls after a bundle that permits them no more",
    });
    let Some(permit) = call.permit() else { return };
    let (edge, tool, asked) = (&call.asked.edge, &call.asked.tool, at(call.invoked.time_us));
    let what = || match ground {
        Ground::Relation(relation) => format!("it rests on the relation `{relation}`"),
        Ground::Tool(_) => "it rests on the policy".to_owned(),
    };
    match withdrawn {
        Withdrawn::Never => findings.breach(&[call.invoked, permit], || {
            format!("Edge {edge} permitted `{tool}` that was asked for at {asked}; {}, which nobody had written.", what())
        }),
        Withdrawn::Since(since) => findings.breach(&[since, call.invoked, permit], || {
            let since = at(since.time_us);
            format!(
                "Edge {edge} permitted `{tool}` that was asked for at {asked}, later than the bound; {}, whose end was acknowledged at {since}.",
                what()
            )
        }),
    }
}
