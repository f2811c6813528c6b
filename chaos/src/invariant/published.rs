//! What administrators asked to publish, and under which numbers it became active.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::id::BundleVersion;

use super::rollouts::Rollout;
use super::story::{Operation, Returned, Story};
use super::turned_away::runs_instead;
use super::verdict::Witness;
use crate::history::{Event, What, Write, WriteKind};

/// One publication.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publication {
    pub(super) version: BundleVersion,
    pub(super) digest: Digest,
    /// Whether it is one that must be taken.
    pub(super) good: bool,
    pub(super) invoked: Witness,
    /// The acknowledgement, and the number of the activation.
    pub(super) acknowledged: Option<(Witness, Option<u64>)>,
    /// It certainly was not carried out.
    pub(super) failed: bool,
    /// It came in waves: its number is not everybody's.
    pub(super) in_waves: bool,
}

/// Every publication, in the order in which they were asked for.
pub(super) fn publications(story: &Story<'_>) -> Vec<Publication> {
    let publication = |write: &Operation<'_, Write>| {
        let (version, digest, good, in_waves) = match &write.asked.write {
            WriteKind::Publish { version, digest, good, .. } => (version, digest, *good, false),
            WriteKind::RollOut { version, digest, .. } => (version, digest, true, true),
            _ => return None,
        };
        let acknowledged = write.acknowledged();
        Some(Publication {
            version: *version,
            digest: *digest,
            good,
            invoked: write.invoked,
            acknowledged: acknowledged.map(|(at, written)| (at, written.activation.map(|number| number.0))),
            failed: matches!(write.returned, Returned::Fail),
            in_waves,
        })
    };
    story.writes.iter().filter_map(publication).collect()
}

/// Under which numbers each version became active, as acknowledgements and edges say: a publication that timed out may
/// still be placed by an edge that runs it.
pub(super) fn activations(
    publications: &[Publication],
    rollouts: &[Rollout<'_>],
    events: &[Event],
) -> BTreeMap<BundleVersion, BTreeSet<u64>> {
    let mut numbers: BTreeMap<BundleVersion, BTreeSet<u64>> = BTreeMap::new();
    for publication in publications {
        let number = publication.acknowledged.and_then(|(_, number)| number);
        numbers.entry(publication.version).or_default().extend(number);
    }
    for (digest, number, _) in rollouts.iter().filter_map(Rollout::end) {
        let version = publications.iter().find(|publication| publication.digest == digest);
        if let Some(version) = version.map(|publication| publication.version) {
            numbers.entry(version).or_default().insert(number);
        }
    }
    for event in events {
        let What::Edge(edge) = &event.what else { continue };
        if runs_instead(edge) {
            continue;
        }
        if let (Some(version), Some(number)) = (edge.bundle, edge.activation) {
            numbers.entry(version).or_default().insert(number.0);
        }
    }
    numbers
}
