//! What is known of each revocation: since when it certainly holds, and at which epoch at the latest.

use std::collections::BTreeMap;

use remit_common::id::RevocationEpoch;

use super::story::{Operation, Story};
use super::verdict::Witness;
use crate::history::{Call, Write, WriteKind};

/// The reason with which an edge refuses what was cut.
pub(super) const REVOKED: &str = "revoked";

/// A session that the control plane has certainly cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// The first moment at which somebody could know: the acknowledgement, a read that shows it, or an edge's refusal.
    pub(super) known: Witness,
    /// The epoch of the revocation, or a later one; none if nobody saw it.
    pub(super) epoch: Option<RevocationEpoch>,
}

impl Cut {
    fn learn(&mut self, known: Witness, epoch: Option<RevocationEpoch>) {
        if known.index < self.known.index {
            self.known = known;
        }
        self.epoch = self.epoch.into_iter().chain(epoch).min();
    }
}

/// Every session that was certainly cut. One whose revocation timed out is, once a read or an edge has shown it.
pub(super) fn cuts<'a>(story: &Story<'a>) -> BTreeMap<&'a str, Cut> {
    let mut cuts: BTreeMap<&str, Cut> = BTreeMap::new();
    let mut learn = |session: &'a str, known: Witness, epoch| {
        cuts.entry(session).or_insert(Cut { known, epoch }).learn(known, epoch);
    };
    for write in &story.writes {
        if let (Some(session), Some((known, written))) = (revoked(write), write.acknowledged()) {
            learn(session, known, written.epoch);
        }
    }
    for (known, read) in story.reads.iter().filter_map(Operation::answer) {
        for session in &read.sessions {
            learn(session, known, read.epoch);
        }
    }
    for call in &story.calls {
        // Of a hop it says that something is cut, and not what.
        if let Some(known) = refused_as_revoked(call).filter(|_| !is_hop(&call.asked.session)) {
            learn(&call.asked.session, known, None);
        }
    }
    cuts
}

/// Whether a name is that of a hop: the name of its parent, and which of its children it is.
pub(crate) fn is_hop(name: &str) -> bool {
    name.contains('/')
}

/// A name, and the names of everything above it.
pub(crate) fn lineage(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.rsplit_once('/')?.0))
}

/// The cut that reaches a session or hop: its own, or one further up; the one that was known first.
pub(super) fn cut_of<'c>(cuts: &'c BTreeMap<&str, Cut>, name: &str) -> Option<&'c Cut> {
    lineage(name).filter_map(|name| cuts.get(name)).min_by_key(|cut| cut.known.index)
}

/// The session or hop that a write asks to cut.
pub(super) fn revoked<'a>(write: &Operation<'a, Write>) -> Option<&'a str> {
    if let WriteKind::Revoke { session } = &write.asked.write { Some(session) } else { None }
}

/// When a call was refused because its session is cut.
pub(super) fn refused_as_revoked(call: &Operation<'_, Call>) -> Option<Witness> {
    call.denial().filter(|(_, reason)| *reason == REVOKED).map(|(at, _)| at)
}
