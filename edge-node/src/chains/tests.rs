//! The cache forgets, directories and revocations change, and no decision depends on what happens to be remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{
    AgentIdentity, Delegation, EvidenceKind, Issuer, Issuers, RawPresentation, Restriction, RootPayload, RootRequest,
    RootStamp, assemble_root, delegate, sign_root_part,
};
use remit_common::id::{LinkId, LogIndex};
use remit_common::identity::SignedRequest;
use remit_common::lattice::{
    Audience, CallFacts, ClassSet, Demands, Effect, Effects, Grant, IdSet, PurposePath, SortedMap,
};
use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH, Revocation, Revocations, Subject};
use remit_common::time::Timestamp;
use zeroize::Zeroizing;

use super::*;

#[test]
fn what_is_not_used_is_forgotten_by_number_and_by_bytes() {
    let kept = |chains: &Generations<usize, ()>| chains.young.len() + chains.old.len();
    for (bytes, most) in [(1_000, 2 * GENERATION_MAX), (GENERATION_BYTES_MAX / 16, 2 * 16)] {
        let mut chains = Generations::of(GENERATION_MAX);
        for key in 0..5_000 {
            chains.insert(key, (), bytes);
            assert!(chains.get(&0).is_some(), "what is used stays, {key} later");
            assert!(kept(&chains) <= most, "{} are kept", kept(&chains));
        }
        assert!(chains.get(&1).is_none());
        assert!(kept(&chains) * 2 > most, "{} are kept", kept(&chains));
    }
}

const MESH: MeshId = MeshId([7; 16]);
const ISSUED: Timestamp = Timestamp::from_secs(1_800_000_000);
const TOOLS: [&str; 3] = ["crm.read", "crm.list", "notes.read"];
const CONTRACTS: [&str; 4] = ["c1", "c2", "c3", "c4"];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

/// What one link allows, in a form that has no meet: a call passes a chain if it passes every link.
#[derive(Clone, Debug)]
struct Said {
    tools: BTreeSet<usize>,
    contracts: BTreeSet<usize>,
}

fn said() -> impl Strategy<Value = Said> {
    let most = |all: usize| prop::collection::btree_set(0..all, all - 1..=all);
    (most(TOOLS.len()), most(CONTRACTS.len())).prop_map(|(tools, contracts)| Said { tools, contracts })
}

impl Said {
    fn grant(&self, is_root: bool) -> Grant {
        let contracts = self.contracts.iter().map(|at| CONTRACTS[*at].parse().unwrap()).collect();
        Grant {
            tools: self.tools.iter().map(|at| TOOLS[*at].parse().unwrap()).collect(),
            ids: SortedMap::from([("contract".parse().unwrap(), IdSet::In(contracts))]),
            classes: is_root.then_some(ClassSet::EMPTY),
            effects: is_root.then(|| Effects::from(Effect::Read)),
            ..Grant::default()
        }
    }
}

/// A link of a tree: its parent, what it says, and the presentation that ends with it.
struct Node {
    parent: Option<usize>,
    said: Said,
    bytes: Vec<u8>,
    id: LinkId,
}

impl Node {
    fn parsed(&self) -> RawPresentation {
        RawPresentation::parse(&self.bytes).unwrap()
    }

    /// The presentation, a bit of one link's signature changed: that of this link or of one above. A link ends where the
    /// presentation ends that it is the last of, and with its signature.
    fn shown(&self, forged: Option<&Self>) -> RawPresentation {
        let mut bytes = self.bytes.clone();
        if let Some(forged) = forged {
            bytes[forged.bytes.len() - 1] ^= 1;
        }
        RawPresentation::parse(&bytes).unwrap()
    }
}

/// Trees of links: each hangs below an earlier one, or is a root where there is none that may hand on.
fn forest(plan: &[(prop::sample::Index, Said)]) -> Vec<Node> {
    let agent = || AgentIdentity { id: "agent:a".parse().unwrap(), class: "a".parse().unwrap(), attestation: None };
    let deleg = Some(Delegation { depth_left: 8, fanout_max: 8, offline: false });
    let mut nodes: Vec<Node> = Vec::new();
    for (number, (place, said)) in (0u8..).zip(plan) {
        let above = place.index(nodes.len() + 1);
        let parent = nodes.get(above).filter(|parent| parent.parsed().links().count() < 4).map(|_| above);
        let made = match parent {
            None => {
                let request = RootRequest {
                    tenant: "acme".parse().unwrap(),
                    delegator: "maya".parse().unwrap(),
                    session: "s1".parse().unwrap(),
                    task: "t1".parse().unwrap(),
                    agent: agent(),
                    purpose: PurposePath::new(&[1]).unwrap(),
                    grants: vec![said.grant(true)],
                    life: Duration::from_secs(3_600),
                    delegation: deleg,
                    audience: Audience::EVERYWHERE,
                    demands: Demands::NONE,
                    intent: None,
                };
                let stamp = RootStamp {
                    issued: ISSUED,
                    nonce: [number; 16],
                    evidence_kind: EvidenceKind::Admin,
                    evidence: Digest([1; 32]),
                    catalogue_version: 1,
                    taxonomy_version: 1,
                    min_bundle_version: 1,
                };
                let payload = RootPayload::build(&request, key(100 + number).public(), &stamp).unwrap();
                let parts = [1, 2].map(|seed| sign_root_part(&MESH, &payload, &key(seed))).to_vec();
                assemble_root(&payload, parts).unwrap()
            }
            Some(above) => {
                let restriction = Restriction {
                    agent: agent(),
                    purpose: None,
                    subtask: None,
                    grants: vec![said.grant(false)],
                    life: Duration::from_secs(600),
                    delegation: deleg,
                    audience: Audience::EVERYWHERE,
                    demands: Demands::NONE,
                    intent: None,
                };
                let holder = key(100 + u8::try_from(above).unwrap());
                let child = key(100 + number);
                delegate(&nodes[above].bytes, &holder, &MESH, &restriction, child.public(), ISSUED, [number; 16])
                    .unwrap()
            }
        };
        let id = RawPresentation::parse(&made).unwrap().leaf_id(&MESH).unwrap();
        nodes.push(Node { parent, said: said.clone(), bytes: made, id });
    }
    nodes
}

/// The links of a chain, leaf first.
fn ancestry(nodes: &[Node], leaf: usize) -> Vec<usize> {
    std::iter::successors(Some(leaf), |at| nodes[*at].parent).collect()
}

/// Directories that come one after the other: in the first two, those who signed are a majority.
fn directory(number: usize) -> (Issuers, Digest) {
    let seeds: [u8; 3] = [[1, 2, 3], [1, 2, 4], [2, 3, 4]][number];
    let listed = seeds.map(|seed| {
        let key = *key(seed).public();
        let (from, until) = (Timestamp::from_secs(0), Timestamp::MAX);
        Issuer { kid: key.id(), key, tenants: vec!["acme".parse().unwrap()], from, until }
    });
    (Issuers::new(listed.to_vec()).unwrap(), Digest([u8::try_from(number).unwrap(); 32]))
}

/// The request is not what is looked at here; it was verified when it came.
fn entry(id: &LinkId) -> Revocation {
    let cut = Cut { tenant: "acme".parse().unwrap(), kind: CutKind::Link, id: id.to_string() };
    let created = ISSUED.as_secs();
    let body = cut.to_body();
    let request = SignedRequest::sign(&MESH, &key(9), "POST", REVOCATIONS_PATH, body, created, created + 60, [1; 16]);
    Revocation { until: cut.until(ISSUED), cut, index: LogIndex(1), request }
}

fn call(tool: usize, contract: usize) -> CallFacts {
    let ids = [("contract".parse().unwrap(), [CONTRACTS[contract].parse().unwrap()].into())].into();
    CallFacts { ids, ..CallFacts::of_tool(TOOLS[tool].parse().unwrap(), Effects::from(Effect::Read)) }
}

/// What an edge would do with the call: `None` for an envelope that does not stand, else whether scope admits it.
fn decided(
    effective: Result<impl AsRef<Effective>, Unauthenticated>,
    revocations: &Revocations,
    call: &CallFacts,
) -> Option<bool> {
    let effective = effective.ok()?;
    let effective = effective.as_ref();
    revocations.check(&effective.tenant, effective.links().iter().map(Subject::Link)).ok()?;
    Some(effective.scope.admits_any(call).is_ok())
}

#[derive(Clone, Debug)]
enum Step {
    /// Which chain, tool and contract; and which of its links is forged.
    Ask(prop::sample::Index, usize, usize, Option<prop::sample::Index>),
    Cut(prop::sample::Index),
    Directory(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        20 => (index(), 0..TOOLS.len(), 0..CONTRACTS.len(), prop::option::weighted(0.15, index()))
            .prop_map(|(leaf, tool, contract, forged)| Step::Ask(leaf, tool, contract, forged)),
        1 => index().prop_map(Step::Cut),
        1 => prop_oneof![4 => 0..2usize, 1 => Just(2)].prop_map(Step::Directory),
    ]
}

/// Clauses G-9, E-15, T-40. A cache of two generations of three chains, and of three beginnings, asked while directories
/// and epochs change and links are forged: what it answers is what a verifier without memory answers, and what the links say read one by one. Cutting a link
/// stops what hangs below it and nothing else.
#[test]
fn warm_is_cold_is_what_every_link_says() {
    let plan = prop::collection::vec((any::<prop::sample::Index>(), said()), 12..20);
    let strategy = (plan, prop::collection::vec(step(), 60..120));
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let tally = std::cell::Cell::new([0u32; 5]);
    let count = |at: usize| {
        let mut counts = tally.get();
        counts[at] += 1;
        tally.set(counts);
    };
    runner
        .run(&strategy, |(plan, steps)| {
            let nodes = forest(&plan);
            let warm = Chains {
                whole: Mutex::new(Generations::of(3)),
                beginnings: Mutex::new(Generations::of(3)),
                verified: Counter::default(),
            };
            let (mut number, mut cut) = (0, BTreeSet::new());
            let mut revocations = Revocations::new();
            for step in steps {
                let (leaf, tool, contract, forged) = match step {
                    Step::Ask(leaf, tool, contract, forged) => (leaf.index(nodes.len()), tool, contract, forged),
                    Step::Cut(link) => {
                        let link = link.index(nodes.len());
                        cut.insert(link);
                        revocations.cut(entry(&nodes[link].id)).unwrap();
                        continue;
                    }
                    Step::Directory(next) => {
                        number = next;
                        continue;
                    }
                };
                let (issuers, digest) = directory(number);
                let chain = ancestry(&nodes, leaf);
                let forged = forged.map(|at| chain[at.index(chain.len())]);
                let raw = &nodes[leaf].shown(forged.map(|at| &nodes[at]));
                let asked = call(tool, contract);
                let stands = forged.is_none() && number < 2 && !chain.iter().any(|link| cut.contains(link));
                let says = |link: &usize| {
                    nodes[*link].said.tools.contains(&tool) && nodes[*link].said.contracts.contains(&contract)
                };
                let reference = stands.then(|| chain.iter().all(says));
                let cold = raw.clone().verify(&MESH, &issuers).map(|chain| Arc::new(chain.effective()));
                let found = warm.authenticate_under(&raw.clone().into(), &MESH, (&issuers, &digest));
                let found = found.map(|chain| Arc::clone(&chain.effective));
                prop_assert_eq!(decided(cold, &revocations, &asked), reference, "without a cache");
                prop_assert_eq!(decided(found, &revocations, &asked), reference, "with a cache");
                prop_assert!(warm.len() <= 6, "{} are kept", warm.len());
                count(match reference {
                    Some(true) => 0,
                    Some(false) => 1,
                    None if number == 2 => 2,
                    None if forged.is_some() => 3,
                    None => 4,
                });
            }
            Ok(())
        })
        .unwrap();
    let counts = tally.get();
    println!("admitted, not, under a directory that lists others, forged, cut: {counts:?}");
    let all: u32 = counts.iter().sum();
    assert!(counts.iter().all(|count| count * 20 >= all), "something hardly happened: {counts:?}");
}
