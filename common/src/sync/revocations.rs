//! A change of the revocations as messages that each fit a frame, and back (D-6).

use crate::id::RevocationEpoch;
use crate::limits::{CHUNK_BYTES_MAX, REVOCATIONS_MAX, REVOCATIONS_RESERVE};
use crate::revocation::RevocationUpdate;
use crate::wire::codec;
use crate::wire::frame::PeerMisbehaved;
use crate::wire::message::RevocationsPart;

/// Entries of one update: all that can live, with the administrators' reserve, and as many that leave.
pub const UPDATE_ENTRIES_MAX: usize = 2 * (REVOCATIONS_MAX + REVOCATIONS_RESERVE);
/// Parts of one update; with full ones the largest set there may be takes half of them.
pub const UPDATE_PARTS_MAX: u32 = 512;

/// Cuts an update into parts of at most a chunk.
#[must_use]
pub fn split(update: RevocationUpdate) -> Vec<RevocationsPart> {
    let RevocationUpdate { from, to, digest, added, removed } = update;
    let entries = u32::try_from(added.len() + removed.len()).unwrap_or(u32::MAX);
    let empty = |part| RevocationsPart { from, to, digest, entries, part, added: Vec::new(), removed: Vec::new() };
    let mut parts = Vec::new();
    let mut current = empty(0);
    let mut bytes = 0;
    let mut make_room = |current: &mut RevocationsPart, len: usize| {
        if bytes + len > CHUNK_BYTES_MAX && bytes > 0 {
            let next = empty(current.part + 1);
            parts.push(std::mem::replace(current, next));
            bytes = 0;
        }
        bytes += len;
    };
    for entry in added {
        make_room(&mut current, size(&entry));
        current.added.push(entry);
    }
    for cut in removed {
        make_room(&mut current, size(&cut));
        current.removed.push(cut);
    }
    parts.push(current);
    parts
}

/// What does not encode counts as a whole chunk: the part with it will not travel, and says so then.
fn size(value: &impl serde::Serialize) -> usize {
    codec::encode::<CHUNK_BYTES_MAX>(value).map_or(CHUNK_BYTES_MAX, |bytes| bytes.len())
}

/// Puts parts together again.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    current: Option<(RevocationUpdate, u32, u32)>,
}

impl Assembler {
    /// Takes the next part. `announced` is the epoch of the last update that was complete, or of what the edge had.
    pub(super) fn take(&mut self, part: RevocationsPart, announced: RevocationEpoch) -> Result<Taken, PeerMisbehaved> {
        let RevocationsPart { from, to, digest, entries, part, added, removed } = part;
        let out_of_place = |why| PeerMisbehaved::OutOfPlace { kind: "Revocations", why };
        let (mut update, parts, entries) = match self.current.take() {
            None if to == announced => return Ok(Taken::Known),
            None if to < announced => {
                return Err(PeerMisbehaved::WentBack { what: "revocation epoch", from: announced.0, to: to.0 });
            }
            None if from != announced && from != RevocationEpoch(0) => {
                return Err(out_of_place("it does not follow on the last epoch"));
            }
            None if usize::try_from(entries).map_or(true, |entries| entries > UPDATE_ENTRIES_MAX) => {
                return Err(PeerMisbehaved::TooMany { what: "revocations", max: UPDATE_ENTRIES_MAX });
            }
            None => (RevocationUpdate { from, to, digest, added: Vec::new(), removed: Vec::new() }, 0, entries),
            Some((update, parts, stated)) => {
                if (update.from, update.to, update.digest, stated) != (from, to, digest, entries) {
                    return Err(out_of_place("the parts of an update contradict each other"));
                }
                (update, parts, stated)
            }
        };
        if part != parts || part >= UPDATE_PARTS_MAX {
            return Err(out_of_place("the parts of an update are not in order"));
        }
        let nothing_new = added.is_empty() && removed.is_empty();
        update.added.extend(added);
        update.removed.extend(removed);
        let have = u32::try_from(update.added.len() + update.removed.len()).unwrap_or(u32::MAX);
        match have.cmp(&entries) {
            std::cmp::Ordering::Equal => Ok(Taken::Complete(update)),
            std::cmp::Ordering::Greater => Err(out_of_place("an update has more entries than it stated")),
            std::cmp::Ordering::Less if nothing_new => Err(out_of_place("a part is empty")),
            std::cmp::Ordering::Less => {
                self.current = Some((update, parts + 1, entries));
                Ok(Taken::More)
            }
        }
    }
}

/// What came of a part.
#[derive(Debug)]
pub(super) enum Taken {
    /// The update is complete.
    Complete(RevocationUpdate),
    /// More parts are to come.
    More,
    /// The epoch has been announced already.
    Known,
}
