//! Attacks on the structure of a chain, each named for what it tries, each with the refusal it meets.

use remit_common::crypto::sign::{KeyInvalid, SignatureInvalid};
use remit_common::envelope::{MalformedEnvelope, RawPresentation, ShapeFault, Unauthenticated};
use remit_common::id::MeshId;
use remit_common::text::hex;

use super::fixture::*;

#[derive(Debug, PartialEq)]
enum Refusal {
    Malformed(MalformedEnvelope),
    Unauthenticated(Unauthenticated),
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    match RawPresentation::parse(bytes) {
        Err(malformed) => Some(Refusal::Malformed(malformed)),
        Ok(raw) => raw.verify(&MESH, &issuers()).err().map(Refusal::Unauthenticated),
    }
}

#[track_caller]
fn unauthenticated(bytes: &[u8], expected: Unauthenticated) {
    assert_eq!(refusal(bytes), Some(Refusal::Unauthenticated(expected)));
}

#[track_caller]
fn malformed(bytes: &[u8], hop: u8, source: ShapeFault) {
    assert_eq!(refusal(bytes), Some(Refusal::Malformed(MalformedEnvelope::Link { hop, source })));
}

fn bad_signature(hop: u8) -> Unauthenticated {
    Unauthenticated::Signature { hop, source: SignatureInvalid }
}

#[test]
fn an_honest_chain_is_accepted() {
    for links in 1..=4 {
        assert_eq!(refusal(&presentation(&raw_chain(links))), None, "{links} links");
    }
}

// --- the order and origin of links

/// A hop of one chain behind the root of another.
#[test]
fn splice() {
    let mut links = raw_chain(2);
    let mut other = root_fields();
    other.insert(15, V::B(vec![0xbb; 16]));
    links[0] = sign_root(payload(&other), &ISSUERS[..2]);
    unauthenticated(&presentation(&links), Unauthenticated::WrongParent { hop: 1 });
}

#[test]
fn reorder() {
    let mut links = raw_chain(4);
    links.swap(2, 3);
    unauthenticated(&presentation(&links), Unauthenticated::WrongParent { hop: 2 });
    links.swap(0, 1);
    malformed(&presentation(&links), 0, ShapeFault::Misplaced { at: "kind" });
}

#[test]
fn cut_out_the_middle() {
    for middle in 1..3 {
        let mut links = raw_chain(4);
        links.remove(middle);
        let hop = u8::try_from(middle).unwrap();
        unauthenticated(&presentation(&links), Unauthenticated::WrongParent { hop });
    }
}

/// Dropping the last links is no forgery, and no gain: what is left belongs to the key of whoever narrowed it.
#[test]
fn strip_links() -> anyhow::Result<()> {
    let mut links = raw_chain(4);
    while links.len() > 1 {
        links.pop();
        let effective = verify(&presentation(&links))?.effective();
        let owner = HOLDERS[links.len() - 1];
        assert_eq!(effective.holder_key(), Some(key(owner).public()));
    }
    links.remove(0);
    let empty = refusal(&presentation(&links));
    let source = ShapeFault::Count { at: "links" };
    assert_eq!(empty, Some(Refusal::Malformed(MalformedEnvelope::Frame { source })));
    Ok(())
}

#[test]
fn strip_the_root() {
    malformed(&presentation(&raw_chain(3)[1..]), 0, ShapeFault::Misplaced { at: "kind" });
}

#[test]
fn a_second_root() {
    let root = sign_root(payload(&root_fields()), &ISSUERS[..2]);
    malformed(&presentation(&[root.clone(), root]), 1, ShapeFault::Misplaced { at: "kind" });
}

#[test]
fn nine_links() {
    let deep = |fields: &mut Fields| {
        fields.insert(11, m(vec![(1, V::U(255)), (2, V::U(1)), (3, V::Bool(false)), (4, V::U(0))]));
    };
    let mut fields = root_fields();
    deep(&mut fields);
    let mut links = vec![sign_root(payload(&fields), &ISSUERS[..2])];
    while links.len() < 8 {
        let mut fields = hop_fields(&links[links.len() - 1], links.len());
        deep(&mut fields);
        links.push(sign_hop(payload(&fields), HOLDERS[links.len() - 1]));
    }
    assert_eq!(refusal(&presentation(&links)), None, "eight are as many as there may be");
    let mut fields = hop_fields(&links[7], 1);
    deep(&mut fields);
    links.push(sign_hop(payload(&fields), HOLDERS[7]));
    let source = ShapeFault::Count { at: "links" };
    assert_eq!(refusal(&presentation(&links)), Some(Refusal::Malformed(MalformedEnvelope::Frame { source })));
}

// --- who signed the root

fn root_by(seeds: &[u8]) -> Vec<u8> {
    presentation(&[sign_root(payload(&root_fields()), seeds)])
}

#[test]
fn wrong_mesh() {
    let root = sign_root_on(&MeshId([0x4e; 16]), payload(&root_fields()), &ISSUERS[..2]);
    let first = [101u8, 102].map(kid).into_iter().min().unwrap();
    unauthenticated(
        &presentation(&[root]),
        Unauthenticated::RootSignature { kid: hex(&first), source: SignatureInvalid },
    );
}

#[test]
fn minority_of_issuers() {
    unauthenticated(&root_by(&ISSUERS[..1]), Unauthenticated::Minority { found: 1, listed: 3 });
}

#[test]
fn all_issuers() {
    assert_eq!(refusal(&root_by(&ISSUERS)), None);
}

#[test]
fn one_issuer_twice() {
    let twice = [ISSUERS[0], ISSUERS[0]];
    malformed(&root_by(&twice), 0, ShapeFault::Unsorted { at: "signature" });
}

#[test]
fn issuer_of_another_tenant() {
    let seeds = [ISSUERS[0], FOREIGN_ISSUER];
    unauthenticated(&root_by(&seeds), Unauthenticated::Minority { found: 1, listed: 3 });
}

/// The tenant is part of what is signed, so its issuers are those of the tenant that is claimed.
#[test]
fn root_for_a_tenant_by_the_issuers_of_another() {
    let bytes = with_root(|fields| {
        let mut context = context_fields();
        context.insert(1, t("globex"));
        fields.insert(5, m(context.into_iter().collect()));
    });
    unauthenticated(&bytes, Unauthenticated::Minority { found: 0, listed: 1 });
    let bytes = with_root(|fields| {
        let mut context = context_fields();
        context.insert(1, t("initech"));
        fields.insert(5, m(context.into_iter().collect()));
    });
    unauthenticated(&bytes, Unauthenticated::NoIssuers { tenant: tenant("initech") });
}

#[test]
fn expired_issuer() {
    let seeds = [ISSUERS[0], EXPIRED_ISSUER];
    unauthenticated(&root_by(&seeds), Unauthenticated::Minority { found: 1, listed: 3 });
}

/// Who had the key of a former issuer can date a root back to its time, when one more issuer was listed.
#[test]
fn root_dated_back_to_an_expired_issuer() {
    let back = |fields: &mut Fields| {
        fields.insert(9, V::U(ISSUED - 61));
        fields.insert(10, V::U(ISSUED + 3_000));
        fields.insert(16, V::U(ISSUED - 61));
    };
    let mut fields = root_fields();
    back(&mut fields);
    let seeds = [EXPIRED_ISSUER, ISSUERS[0]];
    let bytes = presentation(&[sign_root(payload(&fields), &seeds)]);
    unauthenticated(&bytes, Unauthenticated::Minority { found: 2, listed: 4 });
    // And the life of a root bounds for how long the trick could be of use to a majority of former issuers.
    fields.insert(10, V::U(ISSUED + 3_600));
    let bytes = presentation(&[sign_root(payload(&fields), &ISSUERS)]);
    malformed(&bytes, 0, ShapeFault::LivesTooLong { found_secs: 3_661, max_secs: 3_600 });
}

#[test]
fn stranger_beside_a_minority() {
    let seeds = [ISSUERS[0], STRANGER];
    unauthenticated(&root_by(&seeds), Unauthenticated::Minority { found: 1, listed: 3 });
    assert_eq!(refusal(&root_by(&[ISSUERS[0], ISSUERS[1], STRANGER])), None);
}

#[test]
fn one_signature_of_a_majority_is_forged() {
    let mut root = sign_root(payload(&root_fields()), &ISSUERS[..2]);
    *root.signature.last_mut().unwrap() ^= 1;
    let last = [101u8, 102].map(kid).into_iter().max().unwrap();
    unauthenticated(
        &presentation(&[root]),
        Unauthenticated::RootSignature { kid: hex(&last), source: SignatureInvalid },
    );
}

#[test]
fn root_signatures_out_of_order() {
    let message = payload(&root_fields());
    let root = sign_root(message.clone(), &ISSUERS[..2]);
    let [a, b] = [101u8, 102].map(|seed| (kid(seed), sign_root(message.clone(), &[seed]).signature));
    let (first, second) = if a.0 > b.0 { (a, b) } else { (b, a) };
    // Each single signature is `81 82 kid sig`; joined, greater kid first.
    let signature = [&[0x82], &first.1[1..], &second.1[1..]].concat();
    malformed(&presentation(&[RawLink { signature, ..root }]), 0, ShapeFault::Unsorted { at: "signature" });
}

// --- who signed a hop

#[test]
fn hop_signed_by_its_own_holder() {
    let mut links = raw_chain(2);
    let fields = payload(&hop_fields(&links[0], 1));
    links[1] = sign_hop(fields.clone(), HOLDERS[1]);
    unauthenticated(&presentation(&links), Unauthenticated::WrongSigner { hop: 1 });
    links[1] = sign_hop_as(hop_header(-19, kid(HOLDERS[0])), fields, HOLDERS[1]);
    unauthenticated(&presentation(&links), bad_signature(1));
}

#[test]
fn hop_signed_by_its_grandparent() {
    let mut links = raw_chain(3);
    links[2] = sign_hop_as(hop_header(-19, kid(HOLDERS[1])), links[2].payload.clone(), HOLDERS[0]);
    unauthenticated(&presentation(&links), bad_signature(2));
}

#[test]
fn forged_signature_at_each_hop() {
    for hop in 1..4u8 {
        let mut links = raw_chain(4);
        links[usize::from(hop)].signature[40] ^= 0x10;
        unauthenticated(&presentation(&links), bad_signature(hop));
    }
}

/// The group order is added to S: the same point equation, another byte string (RFC 8032 section 5.1.7).
#[test]
fn malleated_signature() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut links = raw_chain(2);
    let mut carry = 0u16;
    for (byte, add) in links[1].signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(add);
        [*byte, _] = carry.to_le_bytes();
        carry >>= 8;
    }
    unauthenticated(&presentation(&links), bad_signature(1));
}

#[test]
fn algorithm_confusion() {
    let hop = payload(&hop_fields(&raw_chain(1)[0], 1));
    for alg in [-9, -48, -7, -8, 5, 0] {
        let mut links = raw_chain(1);
        links.push(sign_hop_as(hop_header(alg, kid(HOLDERS[0])), hop.clone(), HOLDERS[0]));
        unauthenticated(&presentation(&links), Unauthenticated::WrongAlgorithm { hop: 1 });
    }
    // A root's header over a hop, a hop's header over a root, and a root's with a kid.
    let mut links = raw_chain(2);
    links[1] = sign_root(hop.clone(), &ISSUERS);
    malformed(&presentation(&links), 1, ShapeFault::Misplaced { at: "kind" });
    let root = sign_hop(payload(&root_fields()), ISSUERS[0]);
    malformed(&presentation(&[root]), 0, ShapeFault::Misplaced { at: "kind" });
    links[1] = sign_hop_as(hop_header(-70_010, kid(HOLDERS[0])), hop, HOLDERS[0]);
    malformed(&presentation(&links), 1, ShapeFault::Misplaced { at: "protected.kid" });
}

#[test]
fn holder_of_an_algorithm_that_nobody_verifies() {
    for (alg, length) in [(-9, 33), (-48, 32), (-7, 32), (0, 0)] {
        let bytes = with_hop(|hop| drop(hop.insert(3, V::A(vec![V::I(alg), V::B(vec![7; length])]))));
        malformed(&bytes, 1, ShapeFault::Algorithm { alg });
    }
}

#[test]
fn small_order_holder() {
    let identity = [&[1][..], &[0; 31]].concat();
    let zero = vec![0; 32];
    for key in [identity, zero] {
        let holder = V::A(vec![V::I(-19), V::B(key)]);
        let fault = ShapeFault::Holder(KeyInvalid::SmallOrder);
        malformed(&with_hop(|hop| drop(hop.insert(3, holder.clone()))), 1, fault.clone());
        malformed(&with_root(|root| drop(root.insert(3, holder))), 0, fault);
    }
}

#[test]
fn holder_key_with_a_second_spelling() {
    let key = [&[0xee], &[0xff; 30][..], &[0x7f]].concat();
    let holder = V::A(vec![V::I(-19), V::B(key)]);
    let fault = ShapeFault::Holder(KeyInvalid::NotCanonical);
    malformed(&with_hop(|hop| drop(hop.insert(3, holder))), 1, fault);
}

// --- what a hop may not say

#[test]
fn hop_with_a_context() {
    let context = m(context_fields().into_iter().collect());
    malformed(&with_hop(|hop| drop(hop.insert(5, context))), 1, ShapeFault::Misplaced { at: "ctx" });
}

#[test]
fn root_that_names_a_parent() {
    let bytes = with_root(|root| drop(root.insert(2, V::B(vec![1; 32]))));
    malformed(&bytes, 0, ShapeFault::Value { at: "parent" });
}

#[test]
fn hop_behind_a_holder_that_may_not_hand_on() {
    let mut links = raw_chain(4);
    let mut fields = hop_fields(&links[3], 4);
    fields.insert(11, m(vec![(1, V::U(255)), (2, V::U(1)), (3, V::Bool(true)), (4, V::U(0))]));
    links.push(sign_hop(payload(&fields), HOLDERS[3]));
    unauthenticated(&presentation(&links), Unauthenticated::DepthExhausted { hop: 4 });
}

/// A root that says nothing of delegation is not handed on at all.
#[test]
fn hop_behind_a_root_without_delegation() {
    let mut fields = root_fields();
    fields.remove(&11);
    let root = sign_root(payload(&fields), &ISSUERS[..2]);
    let hop = sign_hop(payload(&hop_fields(&root, 1)), HOLDERS[0]);
    unauthenticated(&presentation(&[root, hop]), Unauthenticated::DepthExhausted { hop: 1 });
}

#[test]
fn hop_with_a_purpose_beside_its_parents() {
    for purpose in [vec![V::U(1), V::U(5)], vec![V::U(2)], vec![V::U(1), V::U(5), V::U(4)]] {
        let bytes = with_hop(|hop| drop(hop.insert(6, V::A(purpose))));
        unauthenticated(&bytes, Unauthenticated::PurposeMismatch { hop: 1 });
    }
}

#[test]
fn hop_that_narrows_a_grant_there_is_not() {
    let bytes = with_hop(|hop| {
        let grant = m(vec![(1, V::U(2)), (2, V::A(vec![t("**")]))]);
        hop.insert(8, V::A(vec![grant]));
    });
    let found = refusal(&bytes);
    assert!(matches!(found, Some(Refusal::Unauthenticated(Unauthenticated::Grants { hop: 1, .. }))), "{found:?}");
}

#[test]
fn hop_that_begins_when_its_parent_has_ended() {
    let bytes = with_hop(|hop| {
        hop.insert(9, V::U(ISSUED + 3_600));
        hop.insert(10, V::U(ISSUED + 3_660));
        hop.insert(16, V::U(ISSUED + 3_600));
    });
    unauthenticated(&bytes, Unauthenticated::NeverValid { hop: 1 });
}

/// A hop made ahead of time would outlive every limit, were its issue time believed.
#[test]
fn hop_issued_in_the_future() {
    let bytes = with_hop(|hop| drop(hop.insert(16, V::U(ISSUED + 590))));
    malformed(&bytes, 1, ShapeFault::Value { at: "iat, nbf, exp" });
    let bytes = with_hop(|hop| drop(hop.insert(10, V::U(ISSUED + 902))));
    malformed(&bytes, 1, ShapeFault::LivesTooLong { found_secs: 901, max_secs: 900 });
    let bytes = with_hop(|hop| drop(hop.insert(10, V::U(ISSUED + 1))));
    malformed(&bytes, 1, ShapeFault::Value { at: "iat, nbf, exp" });
}

/// A wildcard in a root would cover tools that the catalogue gains tomorrow.
#[test]
fn root_with_a_wildcard() {
    let grant = m(vec![(1, V::U(0)), (2, V::A(vec![t("crm.*")])), (6, V::B(Vec::new())), (7, V::U(1))]);
    let bytes = with_root(|root| drop(root.insert(8, V::A(vec![grant]))));
    malformed(&bytes, 0, ShapeFault::Misplaced { at: "grant.tools" });
}

// --- forms that are not taken

#[test]
fn reference_without_a_chain() {
    let reference = V::A(vec![V::U(2), V::B(vec![7; 32])]).encode();
    assert_eq!(reference.len(), 36);
    assert_eq!(refusal(&reference), Some(Refusal::Malformed(MalformedEnvelope::NeedChain)));
}

#[test]
fn version_of_the_future() {
    let links = V::A(raw_chain(1).iter().map(RawLink::value).collect());
    let source = ShapeFault::Value { at: "version" };
    let expected = Refusal::Malformed(MalformedEnvelope::Frame { source });
    assert_eq!(refusal(&V::A(vec![V::U(3), links]).encode()), Some(expected));
}
