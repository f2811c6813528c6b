//! Sealed: so many voters have signed that they have applied a set of revocations that no later beacon, with at most one
//! liar in its majority, can be older. Clause F-24.
//!
//! Whoever asks looks itself: at the set, whose every entry it has verified; at the voters' signatures under it; and at
//! what edges have signed. No voter's word enters.

use std::collections::BTreeSet;

use super::proof::Covered;
use crate::crypto::digest::Digest;
use crate::id::{MeshId, RevocationEpoch, VoterId};
use crate::trust::beacon::{SignedStatement, sealing_quorum};
use crate::trust::directory::Directory;

/// Voters who must have signed the very set before others may have signed a later one instead: so one of them does not
/// lie, and this set is one that there was.
const EXACT_MIN: usize = 2;

/// Who has sealed a set of revocations so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The voters whose signatures count.
    pub by: BTreeSet<VoterId>,
    /// How many it takes.
    pub needed: usize,
}

impl Seal {
    /// Whether they are enough.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.needed > 0 && self.by.len() >= self.needed
    }
}

/// Who has signed the set with this epoch and digest, or a later one.
#[must_use]
pub fn seal_of(epoch: RevocationEpoch, digest: &Digest, ticks: &[SignedStatement], directory: &Directory) -> Seal {
    let (mut exact, mut later) = (BTreeSet::new(), BTreeSet::new());
    for tick in ticks.iter().filter(|tick| is_under(tick, directory)) {
        let knew = (tick.statement.epoch, &tick.statement.revocations);
        if knew == (epoch, digest) {
            exact.extend(tick.signers(directory));
        } else if knew.0 > epoch {
            later.extend(tick.signers(directory));
        }
    }
    if exact.len() >= EXACT_MIN {
        exact.extend(later);
    }
    Seal { by: exact, needed: sealing_quorum(directory.voters().count()) }
}

/// Keys of another directory say nothing here: those that were retired since, least of all.
fn is_under(tick: &SignedStatement, directory: &Directory) -> bool {
    tick.statement.directory == directory.version()
}

/// Whether the edge has signed that it enforces an epoch: by the set with this epoch and digest, or by one of at least
/// `floor` that a majority of voters has signed, too.
#[must_use]
pub fn is_covered(
    ack: &Covered,
    floor: RevocationEpoch,
    (epoch, digest): (RevocationEpoch, &Digest),
    ticks: &[SignedStatement],
    directory: &Directory,
) -> bool {
    let mesh: &MeshId = &directory.content().mesh_id;
    let signed = directory.edge(&ack.edge).is_some_and(|edge| ack.verify(mesh, &edge.identity).is_ok());
    let vouched = |tick: &SignedStatement| {
        is_under(tick, directory)
            && (tick.statement.epoch, tick.statement.revocations) == (ack.epoch, ack.digest)
            && tick.verify(directory).is_ok()
    };
    let is_this = (ack.epoch, &ack.digest) == (epoch, digest);
    signed && ack.epoch >= floor && (is_this || ticks.iter().any(vouched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LogIndex;
    use crate::trust::beacon::Statement;
    use crate::trust::directory::Voter;
    use crate::trust::fixture::{MESH, NOW, directory_content, key, root, signed_directory};

    fn directory(voters: u8) -> Directory {
        let mut content = directory_content();
        let voter = |n: u8| Voter {
            id: VoterId(n.into()),
            identity: *key(10 + n).public(),
            beacon: Some(*key(60 + n).public()),
        };
        content.voters = (1..=voters).map(voter).collect();
        signed_directory(&content, &[4, 5]).verify(&root(), NOW).unwrap()
    }

    fn digest(epoch: u64) -> Digest {
        Digest::of(&[b"set", &epoch.to_be_bytes()])
    }

    fn tick(n: u64, epoch: u64, revocations: Digest, by: &[u8]) -> SignedStatement {
        let none = Digest::default();
        let statement = Statement {
            n: LogIndex(n),
            nonce_root: none,
            epoch: RevocationEpoch(epoch),
            revocations,
            activations: none,
            relations: none,
            directory: 1,
            root: 1,
        };
        let signatures = by.iter().map(|n| (VoterId((*n).into()), statement.sign(&MESH, &key(60 + n)))).collect();
        SignedStatement { statement, signatures }
    }

    #[test]
    fn all_of_three_and_four_of_five_seal() {
        for (voters, by, closed) in
            [(3, &[1, 2][..], false), (3, &[1, 2, 3], true), (5, &[1, 2, 3], false), (5, &[1, 2, 4, 5], true)]
        {
            let seal = seal_of(RevocationEpoch(4), &digest(4), &[tick(9, 4, digest(4), by)], &directory(voters));
            assert_eq!((seal.by.len(), seal.is_closed()), (by.len(), closed), "{voters} {by:?}");
        }
    }

    #[test]
    fn one_voter_that_lies_about_a_set_seals_nothing() {
        let directory = directory(3);
        let of = |ticks: &[SignedStatement]| seal_of(RevocationEpoch(4), &digest(4), ticks, &directory);
        // Another set under the same number, an older one, and a later one while nobody else has the set at all.
        let other = tick(9, 4, Digest::default(), &[1]);
        let older = tick(10, 3, digest(3), &[2]);
        let ahead = tick(11, 99, Digest::default(), &[1, 3]);
        assert_eq!(of(&[other, older, ahead.clone()]).by.len(), 0);
        assert_eq!(of(&[tick(9, 4, digest(4), &[1]), ahead]).by.len(), 1, "nobody but the liar shows this set");
        // Two of them under keys of an earlier directory, one of which may have been stolen since.
        let mut before = tick(9, 4, digest(4), &[1, 2, 3]);
        before.statement.directory = 0;
        assert_eq!(of(&[before]).by.len(), 0);
        // Two have signed it, so that there was such a set; the third went on.
        let ticks = [tick(9, 4, digest(4), &[1, 2]), tick(10, 5, digest(5), &[3])];
        assert!(of(&ticks).is_closed());
    }

    #[test]
    fn an_edge_covers_what_voters_have_signed_and_nothing_that_one_made_up() {
        let directory = directory(3);
        let edge: crate::id::EdgeId = "eu-west-1".parse().unwrap();
        let ack = |epoch, digest| Covered::sign(&MESH, &key(31), edge.clone(), RevocationEpoch(epoch), digest);
        let ticks = [tick(9, 6, digest(6), &[1, 2]), tick(10, 7, digest(7), &[1])];
        let floor = RevocationEpoch(4);
        let covers = |ack: &Covered| is_covered(ack, floor, (floor, &digest(4)), &ticks, &directory);
        assert!(covers(&ack(4, digest(4))));
        assert!(covers(&ack(6, digest(6))));
        assert!(!covers(&ack(4, digest(3))), "another set under the same number");
        assert!(!covers(&ack(3, digest(3))), "an earlier one");
        assert!(!covers(&ack(7, digest(7))), "one voter's word");
        assert!(!covers(&Covered::sign(&MESH, &key(32), edge.clone(), RevocationEpoch(4), digest(4))), "another's key");
    }
}
