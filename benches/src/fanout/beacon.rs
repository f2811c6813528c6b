//! What an edge pays for one beacon: the signatures of a majority of three voters, and the way from its nonce to the tick.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, LogIndex, MeshId, RevocationEpoch, VoterId};
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::beacon::{SignedStatement, Statement};
use remit_common::trust::directory::{Directory, DirectoryContent, SignedDirectory, Voter};
use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
use remit_common::trust::tick::{Nonce, NonceTree, TickAnswer, TickRoots};
use zeroize::Zeroizing;

use crate::measure::{Figures, measure};

const MESH: MeshId = MeshId([7; 16]);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Beacons that are verified in turn.
const INPUTS: u64 = 50;
/// How often each.
const ROUNDS: usize = 40;

/// A beacon as an edge has it before it believes anything.
struct Beacon {
    answer: TickAnswer,
    signed: SignedStatement,
}

/// Verifies beacons of a mesh with so many edges.
///
/// # Errors
/// When a good beacon is refused, or one with a voter less is not.
pub fn verifying(edges: u32) -> Result<Figures> {
    let keys: Vec<SigningKey> = (1..=3).map(key).collect::<Result<_>>()?;
    let directory = directory(&keys)?;
    let names: Vec<EdgeId> = (1..=edges).map(|n| EdgeId::new(&format!("lab-{n:05}"))).collect::<Result<_, _>>()?;
    let edge = names.get(names.len() / 2).context("no edge")?.clone();
    let beacons: Vec<Beacon> = (1..=INPUTS).map(|n| beacon(n, &names, &edge, &keys)).collect::<Result<_>>()?;
    let verify = |beacon: &Beacon| {
        beacon.answer.verify_includes(&edge, VoterId(1)).is_ok() && beacon.signed.verify(&directory).is_ok()
    };
    for Beacon { answer, signed } in &beacons {
        ensure!(verify(&Beacon { answer: answer.clone(), signed: signed.clone() }), "a good beacon is refused");
        let mut fewer = signed.clone();
        fewer.signatures.pop_last();
        ensure!(fewer.verify(&directory).is_err(), "one signature of three voters is no majority");
    }
    Ok(measure(&beacons, ROUNDS, verify))
}

fn key(seed: u8) -> Result<SigningKey> {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).context("a seed")
}

/// Two of the three voters have signed: a majority, and no more travels.
fn beacon(n: u64, names: &[EdgeId], edge: &EdgeId, keys: &[SigningKey]) -> Result<Beacon> {
    let salt = u8::try_from(n % 251)?;
    let tree = NonceTree::new(names.iter().map(|name| (name.clone(), Nonce([salt; 32]))));
    let of = |voter: u64| (VoterId(voter), Digest::of(&[&voter.to_be_bytes(), &n.to_be_bytes()]));
    let roots = TickRoots { roots: vec![(VoterId(1), tree.root()), of(2), of(3)] };
    let answer = TickAnswer {
        n: LogIndex(n),
        nonce: tree.nonce(edge).context("its nonce")?,
        nonce_root: roots.nonce_root(),
        path: tree.path(edge, VoterId(1), &roots).context("its path")?,
        epoch: RevocationEpoch(n),
        revocations: Digest::of(&[b"revocations"]),
        activations: Digest::of(&[b"activations"]),
        directory: 1,
        root: 1,
    };
    let statement = Statement::of_answer(&answer, Digest::of(&[b"relations"]));
    let signatures = (1..).map(VoterId).zip(keys).take(2);
    let signatures: BTreeMap<_, _> = signatures.map(|(voter, key)| (voter, statement.sign(&MESH, key))).collect();
    Ok(Beacon { answer, signed: SignedStatement { statement, signatures } })
}

fn directory(beacons: &[SigningKey]) -> Result<Directory> {
    let (root_key, directory_key, policy) = (key(11)?, key(12)?, key(13)?);
    let one = |key: &SigningKey| RoleContent { keys: vec![*key.public()], threshold: 1 };
    let until = NOW.plus(Duration::from_secs(86_400));
    let root = RootContent {
        mesh_id: MESH,
        version: 1,
        dev: true,
        expires: until,
        root: one(&root_key),
        directory: one(&directory_key),
        policy: BTreeMap::from([("acme".parse()?, one(&policy))]),
        bounds_max: Bounds::MOST,
    };
    let root = SignedRoot::make(&root, &[&root_key])?;
    let voters = (1..).zip(beacons).map(|(n, beacon)| {
        Ok(Voter { id: VoterId(n), identity: *key(20 + u8::try_from(n)?)?.public(), beacon: Some(*beacon.public()) })
    });
    let content = DirectoryContent {
        mesh_id: MESH,
        version: 1,
        created: NOW,
        expires: until,
        voters: voters.collect::<Result<_>>()?,
        edges: Vec::new(),
        issuers: Vec::new(),
        administrators: Vec::new(),
        sealers: Vec::new(),
    };
    let pin = root.digest();
    let root = root.verify_pinned(&pin, &MESH)?;
    Ok(SignedDirectory::make(&content, &[&directory_key])?.verify(&root, NOW)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn good_beacons_are_believed_and_others_are_not() {
        assert!(super::verifying(5).is_ok());
    }
}
