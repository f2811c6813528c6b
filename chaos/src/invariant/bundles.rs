//! B1: an edge runs nothing but what an administrator published, whole, under the number at which it became active.
//!
//! Never what nobody asked to publish, never what was refused, never a poisoned one, never other contents under the same
//! version; and what one number activates is the same everywhere. That numbers do not fall is M1.
//!
//! Source: promise I-4 of docs/ARCHITECTURE.md; docs/PROTOCOL.md B-5, B-12, C-57, C-58, N-3.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::BundleVersion;

use super::published::{Publication, publications};
use super::rollouts::{Rollout, rollouts};
use super::story::{Operation, Story};
use super::turned_away::runs_instead;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Edge, Event, What};

/// A bundle, by version and digest.
type Name = (BundleVersion, Digest);

#[derive(Default)]
struct Seen {
    /// What each number activates, and where that was seen first.
    by_number: BTreeMap<u64, (Name, Witness)>,
    /// Under which number each bundle became active, and where that was seen first.
    by_name: BTreeMap<Name, (u64, Witness)>,
    /// The latest entry that anybody had.
    latest: u64,
}

/// Looks at every acknowledged publication, every read, and everything that edges run.
pub(super) fn check(events: &[Event], story: &Story<'_>) -> Verdict {
    let mut findings = Findings::default();
    let (published, rollouts) = (publications(story), rollouts(events, story));
    let mut seen = Seen::default();
    let mut by_version: BTreeMap<BundleVersion, Vec<&Publication>> = BTreeMap::new();
    for publication in &published {
        by_version.entry(publication.version).or_default().push(publication);
        acknowledged(&mut findings, &mut seen, publication);
    }
    for (read_at, read) in story.reads.iter().filter_map(Operation::answer) {
        let Some(candidates) = read.bundle.and_then(|version| by_version.get(&version)) else { continue };
        findings.compared("reads of the active bundle");
        if candidates.iter().all(|publication| !publication.good) {
            findings.breach(&[read_at], || {
                let version = candidates.first().map_or(BundleVersion(0), |publication| publication.version);
                format!(
                    "At {} voter {} showed the poisoned bundle {version} as active.",
                    at(read_at.time_us),
                    read.voter
                )
            });
        }
    }
    for event in events {
        if let What::Voter(voter) = &event.what {
            seen.latest = seen.latest.max(voter.applied.0);
        }
        let What::Edge(edge) = &event.what else { continue };
        seen.latest = seen.latest.max(edge.tick.0);
        let Some(version) = edge.bundle else { continue };
        findings.compared("looks at the bundle of an edge");
        let candidates = by_version.get(&version).map(Vec::as_slice).unwrap_or_default();
        runs(&mut findings, &mut seen, (candidates, &rollouts), event, edge, version);
    }
    findings.verdict(Invariant::Bundles)
}

fn acknowledged(findings: &mut Findings, seen: &mut Seen, publication: &Publication) {
    let Some((acknowledged_at, number)) = publication.acknowledged else { return };
    findings.compared("acknowledged publications");
    let name = (publication.version, publication.digest);
    if let Some(number) = number {
        seen.by_number.entry(number).or_insert((name, acknowledged_at));
        seen.by_name.entry(name).or_insert((number, acknowledged_at));
    }
    if !publication.good {
        findings.breach(&[publication.invoked, acknowledged_at], || {
            format!("At {} the voters took the poisoned bundle {}.", at(acknowledged_at.time_us), publication.version)
        });
    }
}

fn runs(
    findings: &mut Findings,
    seen: &mut Seen,
    (candidates, rollouts): (&[&Publication], &[Rollout<'_>]),
    event: &Event,
    edge: &Edge,
    version: BundleVersion,
) {
    let now = Witness::from(event);
    let says = |what: &str| format!("At {} edge {} ran bundle {version}, {what}.", at(now.time_us), edge.edge);
    let asked: Vec<_> = candidates.iter().filter(|publication| publication.invoked.index < now.index).collect();
    let same: Vec<_> = asked.iter().filter(|of| edge.digest.is_none_or(|digest| digest == of.digest)).collect();
    let Some(first) = asked.first() else {
        return findings.breach(&[now], || says("which nobody had published"));
    };
    if same.is_empty() {
        return findings.breach(&[first.invoked, now], || says("with other contents than were published"));
    }
    if same.iter().all(|publication| !publication.good) {
        return findings.breach(&[first.invoked, now], || says("which is poisoned"));
    }
    if same.iter().all(|publication| publication.failed) {
        return findings.breach(&[first.invoked, now], || says("whose publication the voters had refused"));
    }
    // That one says what was named, this edge what takes its place: judged with B4.
    if runs_instead(edge) {
        return;
    }
    let (Some(number), Some(digest)) = (edge.activation, edge.digest) else { return };
    let name = (version, digest);
    let (other, seen_at) = *seen.by_number.entry(number.0).or_insert((name, now));
    if other != name {
        return findings.breach(&[seen_at, now], || {
            says(&format!("active by number {number}, under which bundle {} had become active elsewhere", other.0))
        });
    }
    let (first, seen_at) = *seen.by_name.entry(name).or_insert((number.0, now));
    // One that was published again, as a fallback, has become active again; so has one that a rollout went back to, and one
    // in waves has a number for each: those are judged with B3.
    let exists = number.0 <= seen.latest;
    let goes_back = |rollout: &Rollout<'_>| exists && rollout.may_go_back_to(&digest, number.0);
    let again = same.len() > 1 || rollouts.iter().any(|rollout| rollout.digest == digest || goes_back(rollout));
    if first != number.0 && !again {
        findings.breach(&[seen_at, now], || says(&format!("active by number {number}, elsewhere by number {first}")));
    }
}
