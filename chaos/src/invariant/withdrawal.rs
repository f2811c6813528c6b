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
//! What a bundle in waves forbids counts when it is everybody's; what it permits may be permitted where it has come to.
//!
//! Source: promises I-1 and I-2 of docs/ARCHITECTURE.md; docs/PROTOCOL.md D-11, F-7, F-13, Q-36.

use std::collections::BTreeMap;

use remit_common::id::BundleVersion;

use super::context::{Context, RESOLUTION_US, micros};
use super::rollouts::Rollout;
use super::story::{Operation, Returned, Story};
use super::turned_away::TurnedAway;
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
struct Change<'r> {
    allows: bool,
    invoked: Witness,
    acknowledged: Option<Witness>,
    /// It certainly was not carried out.
    failed: bool,
    /// It came in waves: what it allows it allows only where it may have come to.
    rollout: Option<&'r Rollout<'r>>,
}

/// What changed, and what came in waves.
pub(super) struct Grounds<'a, 'r> {
    changes: BTreeMap<Ground<'a>, Vec<Change<'r>>>,
    rollouts: &'r [Rollout<'r>],
    /// When bundles for everybody were acknowledged.
    published: Vec<(Witness, BundleVersion)>,
    context: &'r Context,
}

/// Looks at every answered call that depends on something that administrators change.
pub(super) fn check(grounds: &Grounds<'_, '_>, story: &Story<'_>, turned_away: &TurnedAway) -> Verdict {
    let mut findings = Findings::default();
    for call in &story.calls {
        let Some((answered, _)) = call.outcome() else { continue };
        if call.asked.rests_on.is_some() && call.permit().is_some() {
            findings.saw("permits that rest on a relation", 1);
        }
        if let Some(relation) = &call.asked.rests_on {
            if grounds.is_free(call, answered) {
                findings.saw("calls that a bundle in waves may permit without their relation", 1);
            } else {
                judge(&mut findings, call, Ground::Relation(relation), grounds.unrelated(call, answered));
            }
        }
        // One whose process died with its bundle decides by what that bundle names, and may permit what it permits.
        if turned_away.touches(&call.asked.edge, call.invoked.time_us, answered.time_us) {
            continue;
        }
        let ground = Ground::Tool(&call.asked.tool);
        if let Some(changes) = grounds.changes.get(&ground) {
            let last_us = grounds.last_us(call);
            judge(&mut findings, call, ground, withdrawn(changes, true, (call, last_us), answered));
        }
    }
    findings.verdict(Invariant::Withdrawal)
}

impl<'a, 'r> Grounds<'a, 'r> {
    /// Every change of everything, in the order in which they were asked for.
    pub(super) fn of(story: &Story<'a>, rollouts: &'r [Rollout<'r>], context: &'r Context) -> Self {
        let mut changes: BTreeMap<Ground<'_>, Vec<Change<'r>>> = BTreeMap::new();
        let mut published = Vec::new();
        for write in &story.writes {
            match &write.asked.write {
                WriteKind::Relate { relation, holds } => {
                    changes.entry(Ground::Relation(relation)).or_default().push(change(write, *holds));
                }
                WriteKind::Publish { good: true, without, version, .. } => {
                    published.extend(write.acknowledged().map(|(at, _)| (at, *version)));
                    for tool in without {
                        changes.entry(Ground::Tool(tool)).or_default();
                    }
                }
                WriteKind::RollOut { without, .. } => {
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
            let goes_without = |without: &[String]| without.iter().any(|other| other == tool);
            for write in &story.writes {
                match &write.asked.write {
                    WriteKind::Publish { good: true, without, .. } => {
                        changes.push(change(write, !goes_without(without)))
                    }
                    WriteKind::RollOut { digest, without, .. } => {
                        let rollout = rollouts.iter().find(|rollout| rollout.digest == *digest);
                        changes.extend(rollout.map(|rollout| in_waves(rollout, !goes_without(without))));
                    }
                    _ => {}
                }
            }
        }
        Self { changes, rollouts, published, context }
    }

    /// What was acknowledged before this, an edge knows when it answers a call.
    fn last_us(&self, call: &Operation<'_, Call>) -> u64 {
        let bound_us = micros(self.context.bounds.of(call.asked.effect)).saturating_add(micros(self.context.epsilon));
        call.invoked.time_us.saturating_sub(bound_us.saturating_add(RESOLUTION_US))
    }

    /// Why the relation that a call rests on surely does not hold.
    fn unrelated(&self, call: &Operation<'_, Call>, answered: Witness) -> Option<Withdrawn> {
        let relation = Ground::Relation(call.asked.rests_on.as_deref()?);
        let changes = self.changes.get(&relation).map(Vec::as_slice).unwrap_or_default();
        withdrawn(changes, false, (call, self.last_us(call)), answered)
    }

    /// Whether a bundle in waves may permit a call whether its relation holds or not: one that may have come to this
    /// edge, and that was not taken back, or replaced, so long ago that the edge knows.
    fn is_free(&self, call: &Operation<'_, Call>, answered: Witness) -> bool {
        self.rollouts.iter().any(|rollout| self.frees(rollout, call, answered))
    }

    fn frees(&self, rollout: &Rollout<'_>, call: &Operation<'_, Call>, answered: Witness) -> bool {
        let last_us = self.last_us(call);
        let mut later = self.published.iter().filter(|(_, version)| *version > rollout.version);
        rollout.freely.contains(&call.asked.tool)
            && rollout.may_decide(&call.asked.edge, last_us)
            && rollout.invoked.index < answered.index
            && !later.any(|(at, _)| at.time_us < last_us)
    }

    /// When a call was permitted by nothing but a bundle in waves: its relation surely did not hold.
    pub(super) fn permitted_freely(&self, rollout: &Rollout<'_>, call: &Operation<'_, Call>) -> Option<Witness> {
        let permit = call.permit()?;
        (self.frees(rollout, call, permit) && self.unrelated(call, permit).is_some()).then_some(permit)
    }
}

fn change<'r>(write: &Operation<'_, Write>, allows: bool) -> Change<'r> {
    Change {
        allows,
        invoked: write.invoked,
        acknowledged: write.acknowledged().map(|(at, _)| at),
        failed: matches!(write.returned, Returned::Fail),
        rollout: None,
    }
}

/// What a bundle in waves changes, it changes for everybody when it has got to the end, and not before.
fn in_waves<'r>(rollout: &'r Rollout<'r>, allows: bool) -> Change<'r> {
    Change {
        allows,
        invoked: rollout.invoked,
        acknowledged: rollout.completed().map(|(_, at)| at),
        failed: rollout.failed,
        rollout: Some(rollout),
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
fn withdrawn(
    changes: &[Change<'_>],
    first: bool,
    (call, last_us): (&Operation<'_, Call>, u64),
    answered: Witness,
) -> Option<Withdrawn> {
    let settled = changes.iter().rposition(|change| change.acknowledged.is_some_and(|at| at.time_us < last_us));
    let of = settled.and_then(|place| changes.get(place));
    if of.map_or(first, |change| change.allows) {
        return None;
    }
    let later = changes.get(settled.map_or(0, |place| place + 1)..).unwrap_or_default();
    let may_hold = |change: &Change<'_>| {
        let is_here = change.rollout.is_none_or(|rollout| rollout.may_decide(&call.asked.edge, last_us));
        change.allows && !change.failed && change.invoked.index < answered.index && is_here
    };
    if later.iter().any(may_hold) {
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
