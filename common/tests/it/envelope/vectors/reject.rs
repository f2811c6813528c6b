//! Chains that are of the right shape and do not stand: one fault each.

use serde_json::json;

use super::super::fixture::*;
use super::accept::{chain_of, cut, deleg};
use super::vector::{Vector, refused};
use remit_common::id::MeshId;

const BAD: &str = "bad_signature";

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = structure();
    all.extend(signers());
    all.extend(roots());
    all.extend(meaning());
    all.extend(time_and_place());
    all.extend(revoked());
    all
}

/// Splice, reorder, cut out and graft, at each position of a chain of four.
fn structure() -> Vec<Vector> {
    let mut all = Vec::new();
    for at in 1..4usize {
        // The link's parent is that of another chain: signed by the right key, over a parent that is not here.
        let other = chain_of(4, |_, fields| {
            let Some(V::B(nonce)) = fields.get(&15).cloned() else { return };
            fields.insert(15, V::B(nonce.iter().map(|byte| byte ^ 0x80).collect()));
        });
        let mut links = raw_chain(4);
        links.truncate(at);
        links.extend_from_slice(&other[at..]);
        all.push(refused(
            &format!("splice-{at}"),
            "E-12",
            &format!("From link {at} on, the links are those of another chain by the same holders."),
            &presentation(&links),
            BAD,
            Some(at),
        ));
        let mut links = raw_chain(4);
        links.swap(at - 1, at);
        let (reason, hop) = if at == 1 { ("malformed", 0) } else { (BAD, at - 1) };
        all.push(refused(
            &format!("reorder-{at}"),
            "E-12",
            &format!("Links {} and {at} have changed places.", at - 1),
            &presentation(&links),
            reason,
            Some(hop),
        ));
        // The last link names a parent that has its bytes and another signer's key.
        let mut links = raw_chain(4);
        links.truncate(at);
        let graft = hop_fields(&links[at - 1], at);
        links.push(sign_hop(payload(&graft), STRANGER));
        all.push(refused(
            &format!("graft-{at}"),
            "E-11 E-13",
            &format!("Link {at} names its parent, and a key of its own as signer."),
            &presentation(&links),
            BAD,
            Some(at),
        ));
    }
    for at in 1..3usize {
        let mut links = raw_chain(4);
        links.remove(at);
        all.push(refused(
            &format!("cut-out-{at}"),
            "E-12",
            &format!("Link {at} of four is left out."),
            &presentation(&links),
            BAD,
            Some(at),
        ));
    }
    all.push(refused(
        "no-root",
        "E-3",
        "The root is left out.",
        &presentation(&raw_chain(3)[1..]),
        "malformed",
        Some(0),
    ));
    let root = raw_chain(1).remove(0);
    let twice = presentation(&[root.clone(), root]);
    all.push(refused("two-roots", "E-3", "The root comes twice.", &twice, "malformed", Some(1)));
    all
}

fn signers() -> Vec<Vector> {
    let mut all = Vec::new();
    for at in 1..4usize {
        let mut links = raw_chain(4);
        let payload = links[at].payload.clone();
        links[at] = sign_hop_as(hop_header(-19, kid(HOLDERS[at - 1])), payload, HOLDERS[at]);
        let description = format!("Link {at} names its parent's holder as signer, and another key signed.");
        all.push(refused(&format!("wrong-signer-{at}"), "E-11", &description, &presentation(&links), BAD, Some(at)));
        let mut links = raw_chain(4);
        links[at].signature[40] ^= 0x10;
        let description = format!("A bit of the signature of link {at} is changed.");
        all.push(refused(&format!("forged-{at}"), "E-11 E-21", &description, &presentation(&links), BAD, Some(at)));
    }
    let hop = payload(&hop_fields(&raw_chain(1)[0], 1));
    for (alg, what) in [(-9, "ESP256"), (-7, "ES256"), (-8, "EdDSA"), (-48, "ML-DSA-44")] {
        let mut links = raw_chain(1);
        links.push(sign_hop_as(hop_header(alg, kid(HOLDERS[0])), hop.clone(), HOLDERS[0]));
        all.push(refused(
            &format!("wrong-alg-{}", what.to_lowercase()),
            "E-13",
            &format!("The header says {what}; the parent's holder is an Ed25519 key, and signed with it."),
            &presentation(&links),
            BAD,
            Some(1),
        ));
    }
    let mut links = raw_chain(2);
    links[1] = sign_hop_as(hop_header(-19, vec![0; 8]), hop.clone(), HOLDERS[0]);
    all.push(refused(
        "wrong-kid",
        "E-13",
        "The header names no key that there is; the parent's holder signed.",
        &presentation(&links),
        BAD,
        Some(1),
    ));
    let mut links = raw_chain(2);
    add_order(&mut links[1].signature[32..]);
    all.push(refused(
        "s-not-reduced",
        "E-11",
        "The group order is added to S (RFC 8032 section 5.1.7).",
        &presentation(&links),
        BAD,
        Some(1),
    ));
    all
}

/// The same point equation, another byte string.
fn add_order(scalar: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0u16;
    for (byte, add) in scalar.iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(add);
        [*byte, _] = carry.to_le_bytes();
        carry >>= 8;
    }
}

fn roots() -> Vec<Vector> {
    let by = |seeds: &[u8]| presentation(&[sign_root(payload(&root_fields()), seeds)]);
    let tenant = |name: &str| {
        with_root(|fields| {
            let mut context = context_fields();
            context.insert(1, t(name));
            fields.insert(5, m(context.into_iter().collect()));
        })
    };
    let mut forged = sign_root(payload(&root_fields()), &ISSUERS[..2]);
    *forged.signature.last_mut().expect("not empty") ^= 1;
    let mut unreduced = sign_root(payload(&root_fields()), &ISSUERS[..2]);
    let end = unreduced.signature.len();
    add_order(&mut unreduced.signature[end - 32..]);
    let elsewhere = sign_root_on(&MeshId([0x4e; 16]), payload(&root_fields()), &ISSUERS[..2]);
    let no_deleg = {
        let mut fields = root_fields();
        fields.remove(&11);
        let root = sign_root(payload(&fields), &ISSUERS[..2]);
        let hop = sign_hop(payload(&hop_fields(&root, 1)), HOLDERS[0]);
        presentation(&[root, hop])
    };
    let (root, e10) = (Some(0), "E-10");
    vec![
        refused("minority", e10, "One of three issuers signed.", &by(&ISSUERS[..1]), BAD, root),
        refused(
            "issuer-of-another-tenant",
            e10,
            "One issuer, and one that is listed for another tenant.",
            &by(&[ISSUERS[0], FOREIGN_ISSUER]),
            BAD,
            root,
        ),
        refused(
            "former-issuer",
            e10,
            "One issuer, and one that was listed until a minute before.",
            &by(&[ISSUERS[0], EXPIRED_ISSUER]),
            BAD,
            root,
        ),
        refused(
            "stranger-beside-a-minority",
            e10,
            "One issuer, and a key that is not listed.",
            &by(&[ISSUERS[0], STRANGER]),
            BAD,
            root,
        ),
        refused(
            "root-for-another-tenant",
            e10,
            "The tenant that is claimed has other issuers.",
            &tenant("globex"),
            BAD,
            root,
        ),
        refused("root-without-issuers", e10, "Nobody is listed for the tenant.", &tenant("initech"), BAD, root),
        refused(
            "forged-root",
            e10,
            "One signature of the majority does not verify.",
            &presentation(&[forged]),
            BAD,
            root,
        ),
        refused(
            "root-s-not-reduced",
            e10,
            "The group order is added to S of a root's signature.",
            &presentation(&[unreduced]),
            BAD,
            root,
        ),
        refused("wrong-mesh", "E-6", "The root was signed for another mesh.", &presentation(&[elsewhere]), BAD, root),
        refused(
            "depth-of-a-silent-root",
            "E-18",
            "A hop behind a root that says nothing of delegation.",
            &no_deleg,
            "out_of_scope",
            Some(1),
        ),
    ]
}

fn meaning() -> Vec<Vector> {
    let mut exhausted = raw_chain(4);
    let mut fields = hop_fields(&exhausted[3], 4);
    fields.insert(11, deleg(255, 1, true));
    exhausted.push(sign_hop(payload(&fields), HOLDERS[3]));
    let mut all = vec![
        refused(
            "depth-0",
            "E-18 L-10",
            "A fifth link where four may be.",
            &presentation(&exhausted),
            "out_of_scope",
            Some(4),
        ),
        refused(
            "empty-window",
            "E-17 E-27",
            "A hop that begins when its parent has ended.",
            &with_hop(|hop| {
                hop.insert(9, V::U(ISSUED + 3_600));
                hop.insert(10, V::U(ISSUED + 3_660));
                hop.insert(16, V::U(ISSUED + 3_600));
            }),
            "expired",
            Some(1),
        ),
    ];
    let purposes = [
        ("sibling", vec![V::U(1), V::U(5)]),
        ("elsewhere", vec![V::U(2)]),
        ("longer-sibling", [1, 5, 4].map(V::U).into()),
    ];
    for (name, purpose) in purposes {
        let bytes = with_hop(|hop| drop(hop.insert(6, V::A(purpose))));
        let description = "The hop's purpose is neither above nor below its parent's.";
        all.push(refused(&format!("purpose-{name}"), "E-16", description, &bytes, "purpose_mismatch", Some(1)));
    }
    let of = |of: u64| V::A(vec![m(vec![(1, V::U(of)), (2, V::A(vec![t("**")]))])]);
    for (at, index) in [(1usize, 2u64), (1, 65_535), (2, 1)] {
        let links = chain_of(at + 1, |hop, fields| {
            if hop == at {
                drop(fields.insert(8, of(index)))
            }
        });
        let description = format!("Link {at} narrows grant {index}, which its parent does not have.");
        all.push(refused(
            &format!("bad-of-{at}-{index}"),
            "L-6",
            &description,
            &presentation(&links),
            "malformed",
            Some(at),
        ));
    }
    all
}

fn time_and_place() -> Vec<Vector> {
    let at = |name: &str, description: &str, millis: u64, reason, hop| {
        refused(name, "E-20", description, &presentation(&raw_chain(2)), reason, Some(hop))
            .with("now_ms", json!(millis))
    };
    let aud = |key: u64, name: &str| with_hop(|hop| drop(hop.insert(12, m(vec![(key, V::A(vec![t(name)]))]))));
    let nowhere = presentation(&chain_of(3, |hop, fields| {
        if hop > 0 {
            let region = if hop == 1 { "eu-west" } else { "us-east" };
            fields.insert(12, m(vec![(1, V::A(vec![t(region)]))]));
        }
    }));
    let place = "wrong_audience";
    vec![
        at("hop-expired", "The first moment at which the hop has ended.", (ISSUED + 601) * 1_000, "expired", 1),
        at(
            "root-expired",
            "The first moment at which the root has ended, too.",
            (ISSUED + 3_600) * 1_000,
            "expired",
            0,
        ),
        at(
            "early",
            "A millisecond more than thirty seconds before the root begins.",
            (ISSUED - 30) * 1_000 - 1,
            "not_yet_valid",
            0,
        ),
        at(
            "hop-early",
            "Thirty-one seconds before the hop begins, thirty before the root does.",
            (ISSUED - 30) * 1_000,
            "not_yet_valid",
            1,
        ),
        refused("other-region", "E-28", "The hop names another region.", &aud(1, "us-east"), place, Some(1)),
        refused("other-edge", "E-28", "The hop names another edge.", &aud(2, "eu-west-2"), place, Some(1)),
        refused("nowhere", "E-28", "Two hops name two regions: the chain holds nowhere.", &nowhere, place, Some(2)),
    ]
}

fn revoked() -> Vec<Vector> {
    let links = raw_chain(4);
    let bytes = presentation(&links);
    let with = |name: String, description: &str, kind: &str, id: &str| {
        refused(&name, "T-40 T-41", description, &bytes, "revoked", None).with("revoked", json!([cut(kind, id)]))
    };
    let mut all = Vec::new();
    for (at, link) in links.iter().enumerate() {
        let description = format!("Link {at} of four is cut.");
        all.push(with(format!("revoked-link-{at}"), &description, "link", &link.id().to_string()));
        let description = format!("The holder key of link {at} is cut.");
        let holder = key(HOLDERS[at]).public().id().to_string();
        all.push(with(format!("revoked-holder-{at}"), &description, "holder", &holder));
    }
    for (kind, id) in [
        ("delegator", "maya@acme.example"),
        ("session", "sess-4711"),
        ("task", "renewal-risk-acme"),
        ("agent", "spiffe://acme.example/agent/clause-classifier"),
        ("class", "clause-classifier"),
        ("tenant", "acme"),
    ] {
        all.push(with(format!("revoked-{kind}"), &format!("The {kind} is cut."), kind, id));
    }
    let issuer = format!("{}@{}", key(ISSUERS[0]).public().id(), ISSUED + 1);
    let description = "One of the two issuers that signed the root is cut, and one of three is no majority.";
    let by_issuer = with("revoked-issuer".to_owned(), description, "issuer", &issuer);
    all.push(by_issuer.with("clauses", json!(["T-40", "T-41", "T-49"])));
    all
}
