//! Where a cut is in force: what voters and edges have signed about it, verified here.
//!
//! A voter's answer is taken for what it is: a hint where to look. The cut must be in a set of revocations whose every
//! entry verifies, enough voters must have signed that set or a later one (*sealed*), and each edge must have signed it
//! (*covered*), or must have stopped by itself. Clauses F-24 and K-7 to K-9.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::id::{EdgeId, RevocationEpoch, VoterId};
use remit_common::lattice::Effect;
use remit_common::policy::Bounds;
use remit_common::revocation::{Cut, RevocationUpdate, Revocations};
use remit_common::time::Timestamp;
use remit_common::trust::beacon::SignedStatement;
use remit_common::trust::directory::Directory;
use remit_common::trust::freshness::stopped_after;
use remit_common::trust::root::Root;
use remit_common::wire::seal;
use remit_control_plane::admin::model::{Coverage, EdgeCoverage, RevocationList};
use serde::Serialize;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Between two questions while waiting.
const POLL: Duration = Duration::from_millis(100);
/// The longest wait for a commit, and then for the voters' seal.
const VOTERS_WITHIN: Duration = Duration::from_secs(30);

/// What is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// As the voters gave it.
    pub(crate) epoch: RevocationEpoch,
    /// What was cut, where that is known: then it has to be in the set.
    pub(crate) cut: Option<Cut>,
}

/// What is proven about an epoch.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Proven {
    /// As the voter says, with what is not proven taken out.
    #[serde(flatten)]
    pub(crate) coverage: Coverage,
    /// Absent in a mesh whose directory lists no beacon keys.
    pub(crate) seal: Option<Seal>,
}

/// Who has signed that they have applied it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seal {
    /// Whether they are enough.
    pub(crate) sealed: bool,
    /// The voters.
    pub(crate) by: Vec<VoterId>,
    /// How many it takes.
    pub(crate) needed: usize,
    /// This machine's clock when that was seen first.
    pub(crate) seen: Option<Timestamp>,
}

impl Seal {
    /// For people.
    pub(crate) fn words(&self) -> String {
        let word = if self.sealed { "sealed" } else { "not sealed" };
        format!("{word} by {} of the {} voters that it takes", self.by.len(), self.needed)
    }
}

impl Proven {
    /// Whether nothing is permitted any more under what was cut, whatever one voter says.
    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        let sealed = self.seal.as_ref().is_none_or(|seal| seal.sealed);
        sealed && (self.coverage.covered || self.coverage.everywhere_by.is_some_and(|by| now >= by))
    }
}

/// What the voters say about an epoch, and what of it is proven.
pub(crate) async fn ask_coverage(
    context: &Context,
    admin: &Admin,
    trust: &(Root, Directory),
    asked: &Asked,
) -> Result<Proven, Failure> {
    ask_since(context, admin, trust, asked, None).await
}

async fn ask_since(
    context: &Context,
    admin: &Admin,
    (root, directory): &(Root, Directory),
    asked: &Asked,
    sealed_since: Option<Timestamp>,
) -> Result<Proven, Failure> {
    // Before the ticks: one of them is of the moment at which this was the set.
    let set = verified_set(context, admin, directory).await?;
    let coverage: Coverage = admin.get(&format!("/v1/revocations/{}/coverage", asked.epoch)).await?;
    if let Some(cut) = &asked.cut
        && set.epoch() >= asked.epoch
        && !set.iter().any(|entry| entry.cut == *cut)
    {
        let message = format!("the revocations of epoch {} do not have the cut", set.epoch());
        return Err(Failure::new(Exit::Failed, message).reason("not_committed").hint(
            "it may have ended, or be covered by one further up: `remit revocation ls` shows what is cut; otherwise the \
             voter that answered does not say the truth",
        ));
    }
    Ok(prove(coverage, asked.epoch, &set, (root, directory), sealed_since, context.now()))
}

/// Every entry verified, and the digest of all.
async fn verified_set(context: &Context, admin: &Admin, directory: &Directory) -> Result<Revocations, Failure> {
    let list: RevocationList = admin.get("/v1/revocations?signed=true").await?;
    if list.epoch == RevocationEpoch(0) {
        return Ok(Revocations::new());
    }
    let whole = RevocationUpdate {
        from: RevocationEpoch(0),
        to: list.epoch,
        digest: list.digest,
        added: list.revocations,
        removed: Vec::new(),
    };
    Revocations::new().updated(whole, &directory.authorities(), context.now()).map_err(|refused| {
        Failure::new(Exit::Failed, format!("the voter's revocations do not verify: {refused}"))
            .reason(refused.reason_code())
            .hint("the directory here may be older than the voter's: try again")
    })
}

/// What of the answer stands. Where voters sign, nothing of it is believed but what is signed: whom it leaves out is not
/// covered, and when an edge stops by itself is counted here.
fn prove(
    told: Coverage,
    epoch: RevocationEpoch,
    set: &Revocations,
    (root, directory): (&Root, &Directory),
    sealed_since: Option<Timestamp>,
    now: Timestamp,
) -> Proven {
    if !directory.has_beacon_keys() {
        return Proven { coverage: believe(told, epoch, directory), seal: None };
    }
    let shown = set.epoch() >= epoch;
    let digest = set.digest();
    let ticks: &[SignedStatement] = if shown { &told.ticks } else { &[] };
    let seal = seal::seal_of(set.epoch(), &digest, ticks, directory);
    let sealed = seal.is_closed();
    let seen = sealed.then(|| sealed_since.unwrap_or(now));
    let bounds = &root.content().bounds_max;
    let edges: Vec<EdgeCoverage> = directory
        .edges()
        .map(|listed| {
            let said = told.edges.iter().find(|edge| edge.edge == listed.id);
            let ack = said.and_then(|edge| edge.ack.clone()).filter(|ack| ack.edge == listed.id);
            let covered = shown
                && ack
                    .as_ref()
                    .is_some_and(|ack| seal::is_covered(ack, epoch, (set.epoch(), &digest), ticks, directory));
            let stops = match seen.filter(|_| !covered) {
                Some(seen) => stops(seen, bounds),
                None => BTreeMap::new(),
            };
            let heard = said.and_then(|edge| edge.heard);
            EdgeCoverage { edge: listed.id.clone(), region: listed.region.clone(), covered, ack, heard, stops }
        })
        .collect();
    let last = edges.iter().flat_map(|edge| edge.stops.values().copied()).max();
    let coverage = Coverage {
        committed: shown && !seal.by.is_empty(),
        covered: sealed && edges.iter().all(|edge| edge.covered),
        everywhere_by: seen.map(|seen| last.unwrap_or(seen).max(seen)),
        edges,
        ..told
    };
    let seal = Seal { sealed, by: seal.by.into_iter().collect(), needed: seal.needed, seen };
    Proven { coverage, seal: Some(seal) }
}

/// In a mesh in which nobody signs ticks: as the voter says, but for the acknowledgements of edges.
fn believe(mut told: Coverage, epoch: RevocationEpoch, directory: &Directory) -> Coverage {
    let mesh = &directory.content().mesh_id;
    for edge in &mut told.edges {
        let own = edge.ack.as_ref().filter(|ack| ack.edge == edge.edge && ack.epoch >= epoch);
        let listed = directory.edge(&edge.edge);
        edge.covered =
            edge.covered && own.zip(listed).is_some_and(|(ack, listed)| ack.verify(mesh, &listed.identity).is_ok());
    }
    let is_there = |id: &EdgeId| told.edges.iter().any(|edge| edge.covered && edge.edge == *id);
    told.covered = told.committed && directory.edges().all(|edge| is_there(&edge.id));
    told
}

/// When an edge that has not signed has stopped, whatever it runs: by the longest bounds that the root allows.
fn stops(sealed: Timestamp, most: &Bounds) -> BTreeMap<Effect, Timestamp> {
    let stop = |effect: Effect| (effect, sealed.plus(stopped_after(most.of(effect))));
    Effect::ALL.iter().copied().map(stop).collect()
}

/// Waits until the epoch is committed and sealed, and every edge is covered or has stopped by itself. Calls `tell` with
/// each answer.
pub(crate) async fn wait_coverage(
    context: &Context,
    admin: &Admin,
    trust: &(Root, Directory),
    asked: &Asked,
    mut tell: impl FnMut(&Proven),
) -> Result<Proven, Failure> {
    let started = context.now();
    let mut sealed_at = None;
    loop {
        let proven = ask_since(context, admin, trust, asked, sealed_at).await?;
        sealed_at = proven.seal.as_ref().and_then(|seal| seal.seen);
        tell(&proven);
        let now = context.now();
        if proven.is_in_force(now) {
            return Ok(proven);
        }
        let is_missing = !proven.coverage.committed || proven.seal.as_ref().is_some_and(|seal| !seal.sealed);
        if is_missing && now.since(started) > VOTERS_WITHIN {
            return Err(missing(&proven, asked.epoch));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn missing(proven: &Proven, epoch: RevocationEpoch) -> Failure {
    let within = VOTERS_WITHIN.as_secs();
    let hint = "`remit status` shows whether the voters run";
    match &proven.seal {
        Some(seal) if proven.coverage.committed => {
            let message = format!("epoch {epoch} is committed, and after {within} s {}", seal.words());
            Failure::new(Exit::Failed, message).reason("not_sealed").hint(hint)
        }
        _ => Failure::new(Exit::Failed, format!("epoch {epoch} is not committed after {within} s"))
            .reason("not_committed")
            .hint(hint),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use remit_common::crypto::digest::Digest;
    use remit_common::crypto::hpke::SealingKey;
    use remit_common::crypto::sign::SigningKey;
    use remit_common::id::{LogIndex, MeshId};
    use remit_common::trust::beacon::Statement;
    use remit_common::trust::directory::{DirectoryContent, Edge, SignedDirectory, Voter};
    use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
    use remit_common::wire::proof::Covered;
    use zeroize::Zeroizing;

    use super::*;

    const MESH: MeshId = MeshId([7; 16]);
    const NOW: Timestamp = Timestamp::from_secs(1_793_491_200);
    const EPOCH: RevocationEpoch = RevocationEpoch(3);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn edge(n: u8) -> EdgeId {
        format!("edge-{n}").parse().unwrap()
    }

    /// Three voters with beacon keys 21 to 23, edges 1 and 2 with keys 31 and 32.
    fn trust() -> (Root, Directory) {
        let role = |seed: u8| RoleContent { keys: vec![*key(seed).public()], threshold: 1 };
        let root = RootContent {
            mesh_id: MESH,
            version: 1,
            dev: true,
            expires: NOW.plus(Duration::from_secs(86_400)),
            root: role(1),
            directory: role(2),
            policy: BTreeMap::new(),
            bounds_max: Bounds::MOST,
        };
        let root = SignedRoot::make(&root, &[&key(1)]).unwrap();
        let pin = root.digest();
        let root = root.verify_pinned(&pin, &MESH).unwrap();
        let voter = |n: u8| Voter {
            id: VoterId(n.into()),
            identity: *key(10 + n).public(),
            beacon: Some(*key(20 + n).public()),
        };
        let listed = |n: u8| Edge {
            id: edge(n),
            region: "eu-west".parse().unwrap(),
            identity: *key(30 + n).public(),
            sealing: SealingKey::from_seed(Zeroizing::new([n; 32])).public().clone(),
        };
        let content = DirectoryContent {
            mesh_id: MESH,
            version: 4,
            created: NOW,
            expires: NOW.plus(Duration::from_secs(86_400)),
            voters: (1..=3).map(voter).collect(),
            edges: (1..=2).map(listed).collect(),
            issuers: Vec::new(),
            administrators: Vec::new(),
            sealers: Vec::new(),
        };
        let directory = SignedDirectory::make(&content, &[&key(2)]).unwrap().verify(&root, NOW).unwrap();
        (root, directory)
    }

    /// The set at an epoch without entries: what is in it is not the question here.
    fn set() -> Revocations {
        let empty = Revocations::new();
        let digest = serde_json::from_value::<Revocations>(
            serde_json::json!({ "epoch": EPOCH, "entries": [], "lingering": [] }),
        );
        let set = digest.unwrap();
        assert_ne!(set.digest(), empty.digest());
        set
    }

    fn tick(by: &[u8], directory: u64) -> SignedStatement {
        let none = Digest::default();
        let statement = Statement {
            n: LogIndex(9),
            nonce_root: none,
            epoch: EPOCH,
            revocations: set().digest(),
            activations: none,
            relations: none,
            directory,
            root: 1,
        };
        let signatures = by.iter().map(|n| (VoterId((*n).into()), statement.sign(&MESH, &key(20 + n)))).collect();
        SignedStatement { statement, signatures }
    }

    fn row(n: u8, signer: Option<u8>) -> EdgeCoverage {
        let ack = signer.map(|seed| Covered::sign(&MESH, &key(seed), edge(n), EPOCH, set().digest()));
        EdgeCoverage {
            edge: edge(n),
            region: "eu-west".parse().unwrap(),
            covered: true,
            ack,
            heard: None,
            stops: BTreeMap::new(),
        }
    }

    /// What a voter says in its best words.
    fn told(ticks: Vec<SignedStatement>, edges: Vec<EdgeCoverage>) -> Coverage {
        Coverage {
            epoch: EPOCH,
            committed: true,
            index: None,
            committed_by: Some(NOW),
            covered: true,
            everywhere_by: Some(NOW),
            edges,
            ticks,
            unreachable: Vec::new(),
        }
    }

    fn proven(told: Coverage) -> Proven {
        let (root, directory) = trust();
        prove(told, EPOCH, &set(), (&root, &directory), None, NOW)
    }

    #[test]
    fn what_is_signed_by_all_is_in_force_at_once() {
        let proven = proven(told(vec![tick(&[1, 2, 3], 4)], vec![row(1, Some(31)), row(2, Some(32))]));
        assert!(proven.is_in_force(NOW) && proven.coverage.covered);
        let seal = proven.seal.unwrap();
        assert_eq!((seal.by.into_iter().collect::<BTreeSet<_>>().len(), seal.needed), (3, 3));
    }

    /// Clauses F-24 and F-25: whatever one voter says in words of its own.
    #[test]
    fn nothing_that_one_voter_leaves_out_or_makes_up_is_believed() {
        let all = || vec![row(1, Some(31)), row(2, Some(32))];
        for (lie, told) in [
            ("an edge is left out", told(vec![tick(&[1, 2, 3], 4)], vec![row(1, Some(31))])),
            ("no edge is named", told(vec![tick(&[1, 2, 3], 4)], Vec::new())),
            ("an edge has signed nothing", told(vec![tick(&[1, 2, 3], 4)], vec![row(1, Some(31)), row(2, None)])),
            ("another key has", told(vec![tick(&[1, 2, 3], 4)], vec![row(1, Some(31)), row(2, Some(31))])),
            ("two of three voters have signed", told(vec![tick(&[1, 2], 4)], all())),
            ("none has", told(Vec::new(), all())),
            ("under an older directory", told(vec![tick(&[1, 2, 3], 3)], all())),
        ] {
            let proven = proven(Coverage { committed_by: None, ..told });
            assert!(!proven.is_in_force(NOW), "{lie}");
            assert!(!proven.coverage.covered, "{lie}");
            if proven.seal.as_ref().unwrap().sealed {
                // The longest bound that the root allows, one percent and two seconds: reads, an hour.
                let by = proven.coverage.everywhere_by.unwrap();
                assert_eq!(by.since(NOW), Duration::from_secs(3_600 + 36 + 2), "{lie}");
                assert!(proven.is_in_force(by), "{lie}");
            } else {
                assert_eq!(proven.coverage.everywhere_by, None, "{lie}");
            }
        }
    }
}
