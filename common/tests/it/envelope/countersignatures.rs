//! Countersignatures: their bytes, what they are evidence of, and how they travel. Clauses E-1, E-30 and E-31.

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::envelope::{
    CannotCarry, Countersignature, MalformedEnvelope, NotRegistered, RawCountersignature, RawPresentation, ShapeFault,
    delegate, with_countersignature,
};
use remit_common::id::{DecisionId, EdgeId, LinkId, MeshId, Region};
use remit_common::text::hex;
use remit_common::time::Timestamp;

use super::fixture::{
    HOLDERS, ISSUED, MESH, RawLink, STRANGER, V, chain, key, m, raw_chain, restriction, root, t, verify,
};

/// The seed of the edge's identity key.
const EDGE: u8 = 31;
/// The first hop of the four links, countersigned.
const GOLDEN: &str = include_str!("golden/countersignature.hex");

fn links(bytes: &[u8]) -> Vec<LinkId> {
    RawPresentation::parse(bytes).unwrap().link_ids(&MESH).collect()
}

fn statement(link: LinkId) -> Countersignature {
    Countersignature {
        link,
        edge: "eu-west-1".parse().unwrap(),
        region: "eu-west".parse().unwrap(),
        time: Timestamp::from_secs(ISSUED + 2),
        expires: Timestamp::from_secs(ISSUED + 601),
        bundle: Digest([0xbb; 32]),
        decision: DecisionId::from_bytes([0xdd; 16]),
    }
}

pub(super) fn countersigned(bytes: &[u8], hop: usize) -> Vec<u8> {
    let signed = statement(links(bytes)[hop]).sign(&MESH, &key(EDGE));
    with_countersignature(bytes, &MESH, &signed).unwrap()
}

/// What the mesh's directory knows of edges.
fn listed(edge: &EdgeId) -> Option<(Region, PublicKey)> {
    (edge.as_str() == "eu-west-1").then(|| ("eu-west".parse().unwrap(), *key(EDGE).public()))
}

fn check(raw: &RawCountersignature, mesh: &MeshId, link: &LinkId) -> Result<(), NotRegistered> {
    let edge = listed(&raw.said().edge);
    raw.verify(mesh, link, |_| edge.as_ref().map(|(region, key)| (region, key))).map(|_| ())
}

#[test]
fn a_countersignature_has_these_bytes_by_two_writers() {
    let hop = links(&chain(4))[1];
    let signed = statement(hop).sign(&MESH, &key(EDGE));
    let lines: String = GOLDEN.lines().collect();
    assert_eq!(hex(&signed), lines);
    // Once more, from the clause alone.
    let payload = m(vec![
        (1, V::B(hop.0.0.to_vec())),
        (2, t("eu-west-1")),
        (3, t("eu-west")),
        (4, V::U(ISSUED + 2)),
        (5, V::U(ISSUED + 601)),
        (6, V::B(vec![0xbb; 32])),
        (7, V::B(vec![0xdd; 16])),
    ])
    .encode();
    let kid = key(EDGE).public().id().short().to_vec();
    let protected = m(vec![(1, V::I(-19)), (4, V::B(kid)), (16, t("remit-countersign+cbor"))]).encode();
    let aad = [b"remit/countersign/v1".as_slice(), &MESH.0].concat();
    let signing = V::A(vec![t("Signature1"), V::B(protected.clone()), V::B(aad), V::B(payload.clone())]).encode();
    let signature = key(EDGE).sign(&signing).0.to_vec();
    let whole = V::A(vec![V::B(protected), m(vec![]), V::B(payload), V::B(signature)]).encode();
    assert_eq!(hex(&whole), lines);
    let read = RawCountersignature::parse(&signed).unwrap();
    assert_eq!(*read.said(), statement(hop));
    assert_eq!(check(&read, &MESH, &hop), Ok(()));
}

#[test]
fn it_is_evidence_of_its_link_by_its_edge_on_its_mesh_and_of_nothing_else() {
    let ids = links(&chain(3));
    let raw = |said: &Countersignature, mesh: &MeshId, seed: u8| {
        RawCountersignature::parse(&said.sign(mesh, &key(seed))).unwrap()
    };
    let good = statement(ids[1]);
    assert_eq!(check(&raw(&good, &MESH, EDGE), &MESH, &ids[1]), Ok(()));
    assert_eq!(check(&raw(&good, &MESH, EDGE), &MESH, &ids[2]), Err(NotRegistered::OtherLink));
    assert_eq!(check(&raw(&good, &MESH, STRANGER), &MESH, &ids[1]), Err(NotRegistered::Signature));
    assert_eq!(check(&raw(&good, &MeshId([9; 16]), EDGE), &MESH, &ids[1]), Err(NotRegistered::Signature));
    let elsewhere = Countersignature { region: "us-east".parse().unwrap(), ..good.clone() };
    assert_eq!(check(&raw(&elsewhere, &MESH, EDGE), &MESH, &ids[1]), Err(NotRegistered::UnknownEdge));
    let unknown = Countersignature { edge: "eu-west-9".parse().unwrap(), ..good.clone() };
    assert_eq!(check(&raw(&unknown, &MESH, EDGE), &MESH, &ids[1]), Err(NotRegistered::UnknownEdge));
    // Every byte of it counts.
    let bytes = good.sign(&MESH, &key(EDGE));
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let counts = RawCountersignature::parse(&bent).is_ok_and(|raw| check(&raw, &MESH, &ids[1]).is_ok());
        assert!(!counts, "byte {at} changed, and nobody minds");
    }
}

#[test]
fn it_travels_with_the_chain_and_changes_nothing_of_it() {
    let bare = chain(3);
    let carried = countersigned(&countersigned(&bare, 2), 1);
    let raw = RawPresentation::parse(&carried).unwrap();
    assert_eq!(raw.countersignatures().map(|(hop, _)| hop).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(raw.countersignature(1).unwrap().said().link, links(&bare)[1]);
    let (with, without) = (verify(&carried).unwrap().effective(), verify(&bare).unwrap().effective());
    assert_eq!(with.authority(), without.authority());
    assert_eq!(with.links(), without.links());
    assert_ne!(raw.to_bytes(), bare);
    // The next holder takes them along, and one that comes later replaces the one before.
    let now = Timestamp::from_secs(ISSUED + 1);
    let next = key(HOLDERS[3]);
    let child = delegate(&carried, &key(HOLDERS[2]), &MESH, &restriction(), next.public(), now, [3; 16]).unwrap();
    let child = RawPresentation::parse(&child).unwrap();
    assert_eq!((child.links().count(), child.countersignatures().count()), (4, 2));
    let later = Countersignature { decision: DecisionId::from_bytes([1; 16]), ..statement(links(&bare)[1]) };
    let again = with_countersignature(&carried, &MESH, &later.sign(&MESH, &key(EDGE))).unwrap();
    let again = RawPresentation::parse(&again).unwrap();
    assert_eq!(again.countersignatures().count(), 2);
    assert_eq!(again.countersignature(1).unwrap().said().decision, DecisionId::from_bytes([1; 16]));
}

#[test]
fn what_is_about_no_hop_is_not_carried() {
    let bare = chain(2);
    for link in [links(&bare)[0], LinkId(Digest([5; 32]))] {
        let signed = statement(link).sign(&MESH, &key(EDGE));
        assert_eq!(with_countersignature(&bare, &MESH, &signed), Err(CannotCarry::NoSuchHop));
    }
    assert!(matches!(with_countersignature(&root(), &MESH, b"?"), Err(CannotCarry::Countersignature(_))));
    assert!(matches!(with_countersignature(b"?", &MESH, b"?"), Err(CannotCarry::Presentation(_))));
}

#[test]
fn a_third_item_has_one_shape() {
    let hop = links(&chain(2))[1];
    let whole = statement(hop).sign(&MESH, &key(EDGE));
    let bytes = |third: V| {
        let links = V::A(raw_chain(2).iter().map(RawLink::value).collect());
        V::A(vec![V::U(1), links, third]).encode()
    };
    let refused = |third: V, source: ShapeFault| {
        let refusal = RawPresentation::parse(&bytes(third)).map(|_| ()).unwrap_err();
        assert_eq!(refusal, MalformedEnvelope::Frame { source });
    };
    assert!(RawPresentation::parse(&bytes(m(vec![(1, V::Raw(whole.clone()))]))).is_ok());
    const AT: &str = "countersignatures";
    for index in [0, 2, 300] {
        refused(m(vec![(index, V::Raw(whole.clone()))]), ShapeFault::Value { at: AT });
    }
    refused(m(vec![]), ShapeFault::Count { at: AT });
    // A link's signature is none.
    let link = raw_chain(2)[1].value();
    refused(m(vec![(1, link)]), ShapeFault::Misplaced { at: "countersignature" });
    let mut long = whole.clone();
    long.push(0);
    assert_eq!(RawCountersignature::parse(&long), Err(ShapeFault::Trailing { at: "countersignature" }));
    for cut in 0..whole.len() {
        assert!(RawCountersignature::parse(&whole[..cut]).is_err());
    }
}
