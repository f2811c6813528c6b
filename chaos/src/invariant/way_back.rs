//! B4: an edge goes back only where the newest bundle that it has run says, and never again to what it turned away.
//!
//! (a) A lower version than one that it was seen to run decides at an edge only if that one, or a higher one that somebody
//! had asked to publish, names it as its fallback: fallbacks do not chain, whoever says that it go back, the voters or its
//! own process that died. (b) What it has turned away, because its process died with it, does not decide by that
//! activation, nor by an earlier one, any more.
//!
//! Source: docs/PROTOCOL.md B-10, B-11, B-31 to B-33.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, EdgeId, LogIndex};

use super::story::Story;
use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Event, TurnedAway, What, WriteKind};

/// A version that was asked for, and what it may be taken back to.
struct Asked {
    at: Witness,
    version: BundleVersion,
    digest: Digest,
    names: Names,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Nothing,
    This(Digest),
    /// Something that the history does not say.
    Something,
}

/// What an edge has shown.
#[derive(Default)]
struct Known<'e> {
    /// The highest version, of those that were published to be run, by which number, and where.
    highest: Option<(BundleVersion, LogIndex, Witness)>,
    turned_away: Vec<(&'e TurnedAway, Witness)>,
}

/// Looks at every bundle that every edge runs.
pub(super) fn check(events: &[Event], story: &Story<'_>) -> Verdict {
    let mut findings = Findings::default();
    let asked = asked(story);
    let mut known: BTreeMap<&EdgeId, Known<'_>> = BTreeMap::new();
    for event in events {
        let What::Edge(edge) = &event.what else { continue };
        let (now, known) = (Witness::from(event), known.entry(&edge.edge).or_default());
        if let (Some(digest), Some(number)) = (edge.digest, edge.activation) {
            for (away, seen_at) in &known.turned_away {
                findings.compared("looks at an edge after it had turned a bundle away");
                if away.digest == digest && number <= away.activation {
                    findings.breach(&[*seen_at, now], || {
                        format!(
                            "At {} edge {} ran a bundle by activation {number} that it had turned away at {}, because its \
                             process had died with it.",
                            at(now.time_us),
                            edge.edge,
                            at(seen_at.time_us),
                        )
                    });
                }
            }
        }
        for away in &edge.turned_away {
            if known.turned_away.iter().all(|(other, _)| *other != away) {
                known.turned_away.push((away, now));
            }
        }
        let (Some(version), Some(digest), Some(number)) = (edge.bundle, edge.digest, edge.activation) else { continue };
        // What nobody published, to be run, is B1's.
        if asked.iter().all(|of| (of.version, of.digest) != (version, digest)) {
            continue;
        }
        match known.highest {
            // A number that falls is M1's.
            Some((highest, since, seen_at)) if version < highest && number >= since => {
                findings.compared("looks at an edge that had gone back");
                let may = |of: &&Asked| of.version >= highest && of.at.index < now.index;
                let names = |of: &Asked| matches!(of.names, Names::Something) || of.names == Names::This(digest);
                if !asked.iter().filter(may).any(names) {
                    findings.breach(&[seen_at, now], || {
                        format!(
                            "At {} edge {} ran bundle {version}, although it had run bundle {highest} at {}, which does not \
                             name it as its fallback.",
                            at(now.time_us),
                            edge.edge,
                            at(seen_at.time_us),
                        )
                    });
                }
            }
            Some((highest, ..)) if version <= highest => {}
            _ => known.highest = Some((version, number, now)),
        }
    }
    findings.verdict(Invariant::WayBack)
}

fn asked(story: &Story<'_>) -> Vec<Asked> {
    let asked = story.writes.iter().filter_map(|write| {
        let (version, digest, names) = match &write.asked.write {
            // One for everybody names nothing here; one in waves always names what it began from (O-6).
            WriteKind::Publish { version, digest, good: true, .. } => (version, digest, Names::Nothing),
            WriteKind::RollOut { version, digest, fallback, .. } => {
                (version, digest, fallback.map_or(Names::Something, Names::This))
            }
            _ => return None,
        };
        Some(Asked { at: write.invoked, version: *version, digest: *digest, names })
    });
    asked.collect()
}
