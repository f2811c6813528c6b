//! R2: a read with a barrier shows every write that was acknowledged before it was asked for; reads never go back, never
//! show what nobody wrote; and nothing that was acknowledged is ever lost.
//!
//! Revocations are a set that only grows, whose elements are written once each. A history of such a set is linearizable
//! exactly if: what any read shows is ordered by inclusion; a read shows what was acknowledged, or shown, before it was
//! asked for; it shows nothing that was asked for after it returned; and who shows a write shows all that were
//! acknowledged before that one was asked for. (Put the reads in the order of what they show, and each write before the
//! first that shows it.) So the check needs no search; a search is its oracle in tests. A read without a barrier shows
//! some state of the past, for which all of that holds but the second.
//!
//! The active bundle is a register whose values are numbered by their activations.
//!
//! Source: Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (1990); promise I-9 of
//! docs/ARCHITECTURE.md; docs/PROTOCOL.md, C-25.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, micros};
use super::cuts::{cuts, revoked};
use super::published::{Publication, activations, publications};
use super::rollouts::{Rollout, rollouts};
use super::story::{Operation, Returned, Story};
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::outages::healed_at;
use crate::history::{Event, ReadState};

/// A read that was answered.
struct Read<'a> {
    invoked: Witness,
    returned: Witness,
    state: &'a ReadState,
}

/// Looks at every read of revocations and bundles.
pub(super) fn check(events: &[Event], story: &Story<'_>, context: &Context) -> Verdict {
    let mut findings = Findings::default();
    let mut reads: Vec<Read<'_>> = Vec::new();
    for read in &story.reads {
        if let Some((returned, state)) = read.answer() {
            reads.push(Read { invoked: read.invoked, returned, state });
        }
    }
    // From when on even a read without a barrier must show what had been acknowledged a while before.
    let settled_us = healed_at(events).map(|healed| healed.saturating_add(micros(context.heal_within)));
    let late = Late { settled_us, settle_us: micros(context.settle) };
    progress(&mut findings, story, &reads);
    revocations(&mut findings, story, &reads, &late);
    bundles(&mut findings, events, story, &reads, &late);
    findings.verdict(Invariant::Linearizable)
}

/// Which acknowledgements a read must show.
struct Late {
    settled_us: Option<u64>,
    settle_us: u64,
}

impl Late {
    /// A read shows what `known` before this; none of it if that cannot be said.
    fn cutoff(&self, read: &Read<'_>) -> Option<Cutoff> {
        if read.state.linearizable {
            return Some(Cutoff::Index(read.invoked.index));
        }
        let settled = self.settled_us.is_some_and(|settled| read.invoked.time_us >= settled);
        settled.then(|| Cutoff::Time(read.invoked.time_us.saturating_sub(self.settle_us)))
    }
}

/// A moment: before an event, or before a time.
#[derive(Clone, Copy)]
enum Cutoff {
    Index(u64),
    Time(u64),
}

impl Cutoff {
    fn is_after(self, known: Witness) -> bool {
        match self {
            Self::Index(index) => known.index < index,
            Self::Time(time_us) => known.time_us < time_us,
        }
    }
}

/// The entry as of which a read is: not before any that was acknowledged, or read, before it was asked for.
fn progress(findings: &mut Findings, story: &Story<'_>, reads: &[Read<'_>]) {
    let written = story.writes.iter().filter_map(Operation::acknowledged);
    let mut known: Vec<(Witness, u64)> = written.map(|(at, written)| (at, written.index.0)).collect();
    let with_barrier = || reads.iter().filter(|read| read.state.linearizable);
    known.extend(with_barrier().filter_map(|read| Some((read.returned, read.state.applied?.0))));
    known.sort_by_key(|(at, _)| at.index);
    let mut highest: Option<(Witness, u64)> = None;
    let mut rest = known.into_iter().peekable();
    let mut asked: Vec<_> = with_barrier().collect();
    asked.sort_by_key(|read| read.invoked.index);
    for read in asked {
        while let Some((at, index)) = rest.next_if(|(at, _)| at.index < read.invoked.index) {
            if highest.is_none_or(|(_, before)| before < index) {
                highest = Some((at, index));
            }
        }
        findings.compared("reads with a barrier");
        let (Some((before_at, before)), Some(applied)) = (highest, read.state.applied) else { continue };
        if applied.0 < before {
            findings.breach(&[before_at, read.invoked, read.returned], || {
                format!(
                    "Entry {before} was known at {}; voter {} answered a read that was asked for at {} as of entry {applied}.",
                    at(before_at.time_us),
                    read.state.voter,
                    at(read.invoked.time_us),
                )
            });
        }
    }
}

/// What is known of a session somebody asked to cut.
struct Asked {
    invoked: Witness,
    failed: bool,
}

fn revocations(findings: &mut Findings, story: &Story<'_>, reads: &[Read<'_>], late: &Late) {
    let mut asked: BTreeMap<&str, Asked> = BTreeMap::new();
    for write in &story.writes {
        if let Some(session) = revoked(write) {
            let failed = matches!(write.returned, Returned::Fail);
            asked.entry(session).or_insert(Asked { invoked: write.invoked, failed }).failed &= failed;
        }
    }
    let cuts = cuts(story);
    let mut known: Vec<(Witness, &str)> = cuts.iter().map(|(session, cut)| (cut.known, *session)).collect();
    known.sort_by_key(|(at, _)| at.index);
    let mut shown: Vec<(&Read<'_>, BTreeSet<&str>)> = Vec::new();
    // What has no epoch was a read of the bundle alone.
    for read in reads.iter().filter(|read| read.state.epoch.is_some()) {
        findings.compared("reads of what is revoked");
        let sessions: BTreeSet<&str> = read.state.sessions.iter().map(String::as_str).collect();
        invented(findings, &asked, read, &sessions);
        missing(findings, &asked, &known, read, &sessions, late);
        shown.push((read, sessions));
    }
    chain(findings, shown);
}

fn invented(findings: &mut Findings, asked: &BTreeMap<&str, Asked>, read: &Read<'_>, sessions: &BTreeSet<&str>) {
    for session in sessions {
        let asked = asked.get(session).filter(|asked| asked.invoked.index < read.returned.index);
        let why = match asked {
            None => "nobody had asked to revoke it",
            Some(asked) if asked.failed => "its revocation had been refused",
            Some(_) => continue,
        };
        findings.breach(&[read.invoked, read.returned], || {
            format!(
                "At {} voter {} showed session {session} as revoked, and {why}.",
                at(read.returned.time_us),
                read.state.voter
            )
        });
    }
}

fn missing(
    findings: &mut Findings,
    asked: &BTreeMap<&str, Asked>,
    known: &[(Witness, &str)],
    read: &Read<'_>,
    sessions: &BTreeSet<&str>,
    late: &Late,
) {
    // Who shows a write shows all that were acknowledged before it was asked for.
    let newest = sessions.iter().filter_map(|session| asked.get(session)).map(|asked| asked.invoked.index).max();
    let implied = newest.map(Cutoff::Index);
    let demanded = |at: &Witness| late.cutoff(read).into_iter().chain(implied).any(|cutoff| cutoff.is_after(*at));
    let least = known.partition_point(|(at, _)| demanded(at));
    let Some((known_at, session)) = known.iter().take(least).find(|(_, session)| !sessions.contains(session)) else {
        return;
    };
    findings.breach(&[*known_at, read.invoked, read.returned], || {
        format!(
            "Session {session} was certainly revoked at {}; voter {} did not show it in a {} asked for at {}.",
            at(known_at.time_us),
            read.state.voter,
            if read.state.linearizable { "read with a barrier" } else { "read" },
            at(read.invoked.time_us),
        )
    });
}

/// What reads show, ordered by entry, only grows; and one entry has one state.
fn chain(findings: &mut Findings, mut shown: Vec<(&Read<'_>, BTreeSet<&str>)>) {
    shown.sort_by_key(|(read, sessions)| (sessions.len(), read.state.applied, read.returned.index));
    for ((before, fewer), (after, more)) in shown.iter().zip(shown.iter().skip(1)) {
        let witnesses = [before.returned, after.returned];
        let both = || {
            let (first, second) = (before.state, after.state);
            format!(
                "voter {} and voter {} (at {} and {})",
                first.voter,
                second.voter,
                at(before.returned.time_us),
                at(after.returned.time_us)
            )
        };
        if !fewer.is_subset(more) {
            findings.breach(&witnesses, || {
                format!("Reads of {} each showed a revocation that the other did not: their logs have parted.", both())
            });
            continue;
        }
        let (Some(first), Some(second)) = (before.state.applied, after.state.applied) else { continue };
        if first > second && fewer.len() < more.len() {
            findings
                .breach(&witnesses, || format!("Of reads of {} the one as of the later entry showed less.", both()));
        } else if first < second && before.state.epoch > after.state.epoch {
            findings.breach(&witnesses, || format!("Between reads of {} the revocation epoch went back.", both()));
        } else if first == second && (fewer.len() != more.len() || before.state.epoch != after.state.epoch) {
            findings.breach(&witnesses, || format!("Reads of {} as of the same entry differ.", both()));
        }
    }
}

fn bundles(findings: &mut Findings, events: &[Event], story: &Story<'_>, reads: &[Read<'_>], late: &Late) {
    let published = publications(story);
    let rollouts = rollouts(events, story);
    let numbers = activations(&published, &rollouts, events);
    let number_of = |read: &Read<'_>| Some(*numbers.get(&read.state.bundle?)?.last()?);
    let mut known: Vec<(Witness, u64)> = Vec::new();
    let at_once = published.iter().filter(|of| !of.in_waves);
    known.extend(at_once.filter_map(|of| of.acknowledged.and_then(|(at, number)| Some((at, number?)))));
    known.extend(rollouts.iter().filter_map(Rollout::end).map(|(_, number, at)| (at, number)));
    // What was activated twice may have been read under either number.
    let is_once = |read: &&Read<'_>| {
        read.state.bundle.and_then(|version| numbers.get(&version)).is_some_and(|numbers| numbers.len() == 1)
    };
    known.extend(reads.iter().filter(is_once).filter_map(|read| Some((read.returned, number_of(read)?))));
    known.sort_by_key(|(at, _)| at.index);
    // The highest so far, for each place.
    let mut highest: Option<(Witness, u64)> = None;
    for entry in &mut known {
        match highest {
            Some(before) if before.1 >= entry.1 => *entry = (entry.0, before.1),
            _ => highest = Some(*entry),
        }
    }
    for read in reads.iter().filter(|read| read.state.bundle.is_some() || read.state.epoch.is_none()) {
        findings.compared("reads of the active bundle");
        unpublished(findings, &published, read);
        let Some(cutoff) = late.cutoff(read) else { continue };
        let place = known.partition_point(|(at, _)| cutoff.is_after(*at));
        let Some((known_at, number)) = place.checked_sub(1).and_then(|place| known.get(place)).copied() else {
            continue;
        };
        let is_old = match read.state.bundle {
            None => true,
            Some(_) => number_of(read).is_some_and(|shown| shown < number),
        };
        if is_old {
            findings.breach(&[known_at, read.invoked, read.returned], || {
                let shown = read.state.bundle.map_or("no bundle".to_owned(), |version| format!("bundle {version}"));
                format!(
                    "Activation {number} was known at {}; voter {} showed {shown} in a {} asked for at {}.",
                    at(known_at.time_us),
                    read.state.voter,
                    if read.state.linearizable { "read with a barrier" } else { "read" },
                    at(read.invoked.time_us),
                )
            });
        }
    }
}

fn unpublished(findings: &mut Findings, published: &[Publication], read: &Read<'_>) {
    let Some(version) = read.state.bundle else { return };
    let mut asked = published.iter().filter(|of| of.version == version && of.invoked.index < read.returned.index);
    // Poisoned ones are judged with B1, whoever shows them.
    if !asked.any(|of| !of.failed || !of.good) {
        findings.breach(&[read.invoked, read.returned], || {
            format!(
                "At {} voter {} showed bundle {version} as active, which nobody had published or the voters had refused.",
                at(read.returned.time_us),
                read.state.voter
            )
        });
    }
}
