//! Bytes that are refused before any signature is looked at: second encodings, keys that are not of the format, limits,
//! keys that are none, and restrictions that this version cannot enforce.

use remit_common::limits::PRESENTATION_BYTES_MAX;

use super::super::fixture::*;
use super::accept::{chain_of, deep, deleg};
use super::vector::{Vector, refused};

fn malformed(name: &str, clauses: &str, description: &str, bytes: &[u8], hop: impl Into<Option<usize>>) -> Vector {
    refused(name, clauses, description, bytes, "malformed", hop.into())
}

fn root_of(payload: Vec<u8>) -> Vec<u8> {
    presentation(&[sign_root(payload, &ISSUERS[..2])])
}

/// The root's payload with one more entry behind the last.
fn root_and(key: u64, value: V) -> Vec<u8> {
    let mut entries: Vec<(u64, V)> = root_fields().into_iter().collect();
    entries.push((key, value));
    root_of(m(entries).encode())
}

fn in_root(key: u64, value: V) -> Vec<u8> {
    with_root(|root| drop(root.insert(key, value)))
}

fn in_hop(key: u64, value: V) -> Vec<u8> {
    with_hop(|hop| drop(hop.insert(key, value)))
}

fn grant_with(key: u64, value: V) -> Vec<u8> {
    with_hop(|hop| {
        let mut grant = Fields::from([(1, V::U(0)), (2, V::A(vec![t("**")]))]);
        grant.insert(key, value);
        hop.insert(8, V::A(vec![m(grant.into_iter().collect())]));
    })
}

fn names(count: usize, prefix: &str) -> Vec<V> {
    (100..100 + count).map(|n| t(&format!("{prefix}{n}"))).collect()
}

fn contract(kind: u64, ids: Vec<V>) -> V {
    V::M(vec![(t("contract"), V::A(vec![V::U(kind), V::A(ids)]))])
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = encodings();
    all.extend(keys());
    all.extend(limits());
    all.extend(holders());
    all.extend(kinds());
    all.extend(unenforceable());
    all
}

fn encodings() -> Vec<Vector> {
    let body = payload(&root_fields());
    let e4 = "E-4";
    let mut header = raw_chain(1).remove(0);
    header.protected.push(0);
    let mut signature = raw_chain(1).remove(0);
    signature.signature.push(0);
    let long_frame = [&[0x98, 2], &presentation(&raw_chain(1))[1..]].concat();
    vec![
        malformed("encoding-long-integer", e4, "`kind` in two bytes.", &in_root(1, V::Raw(vec![0x18, 0])), 0),
        malformed(
            "encoding-longer-integer",
            e4,
            "`nbf` in nine bytes where five do.",
            &in_root(9, V::Raw([&[0x1b], &ISSUED.to_be_bytes()[..]].concat())),
            0,
        ),
        malformed(
            "encoding-long-length",
            e4,
            "The length of `nonce` in two bytes.",
            &in_root(15, V::Raw([&[0x59, 0, 16], &[7; 16][..]].concat())),
            0,
        ),
        malformed(
            "encoding-indefinite-map",
            e4,
            "A payload of indefinite length.",
            &root_of([&[0xbf], &body[1..], &[0xff]].concat()),
            0,
        ),
        malformed(
            "encoding-indefinite-array",
            e4,
            "A purpose of indefinite length.",
            &in_root(6, V::Raw(vec![0x9f, 1, 4, 0xff])),
            0,
        ),
        malformed(
            "encoding-indefinite-text",
            e4,
            "A text of indefinite length.",
            &in_root(20, V::Raw(vec![0x7f, 0x61, b'a', 0xff])),
            0,
        ),
        malformed("encoding-tag", e4, "A tagged time.", &in_root(9, V::Raw(vec![0xc1, 0x1a, 0x6b, 0, 0, 0])), 0),
        malformed(
            "encoding-float",
            e4,
            "A time with a fraction.",
            &in_root(9, V::Raw(vec![0xfb, 0x41, 0xda, 0, 0, 0, 0, 0, 0])),
            0,
        ),
        malformed("encoding-null", e4, "A time that is null.", &in_root(9, V::Raw(vec![0xf6])), 0),
        malformed("encoding-key-order", e4, "A key behind a greater one.", &root_and(7, t("late")), 0),
        malformed(
            "encoding-set-order",
            e4,
            "Patterns out of order: by length first, then by bytes.",
            &grant_with(2, V::A(vec![t("aaa.b"), t("b.c")])),
            1,
        ),
        malformed("encoding-set-twice", e4, "An id twice.", &grant_with(4, contract(0, vec![t("a"), t("a")])), 1),
        malformed("encoding-false", "E-4 E-5", "`future` said to be false.", &grant_with(9, V::Bool(false)), 1),
        malformed("encoding-empty-map", e4, "Maxima of nothing.", &grant_with(5, V::M(Vec::new())), 1),
        malformed(
            "encoding-class-zeros",
            "L-7",
            "A class set that ends in a zero byte.",
            &grant_with(6, V::B(vec![1, 0])),
            1,
        ),
        malformed(
            "trailing-payload",
            e4,
            "A byte behind the payload's map.",
            &root_of([body.clone(), vec![0]].concat()),
            0,
        ),
        malformed("trailing-header", e4, "A byte behind the protected header's map.", &presentation(&[header]), 0),
        malformed("trailing-signature", e4, "A byte behind the issuers' signatures.", &presentation(&[signature]), 0),
        malformed(
            "trailing-presentation",
            e4,
            "A byte behind the presentation.",
            &[presentation(&raw_chain(1)), vec![0]].concat(),
            None,
        ),
        malformed("encoding-long-frame", e4, "The outer array's length in two bytes.", &long_frame, None),
    ]
}

fn keys() -> Vec<Vector> {
    let mut context = context_fields();
    context.insert(13, V::U(1));
    let link = |unprotected: V| {
        let mut link = raw_chain(1).remove(0);
        link.unprotected = unprotected;
        presentation(&[link])
    };
    let mut without_iat = root_fields();
    without_iat.remove(&16);
    let typ = sign_hop_as(
        m(vec![(1, V::I(-19)), (4, V::B(kid(HOLDERS[0]))), (16, t("application/cwt"))]).encode(),
        payload(&hop_fields(&raw_chain(1)[0], 1)),
        HOLDERS[0],
    );
    vec![
        malformed("duplicate-key", "E-8", "`intent` twice.", &root_and(20, t("again")), 0),
        malformed("unknown-key", "E-8", "Key 17 in a payload.", &in_root(17, V::U(0)), 0),
        malformed("unknown-key-64", "E-8", "Key 64 in a payload.", &in_root(64, V::U(0)), 0),
        malformed("unknown-key-grant", "E-8", "Key 10 in a grant.", &grant_with(10, V::U(1)), 1),
        malformed("unknown-key-ctx", "E-8", "Key 13 in `ctx`.", &in_root(5, m(context.into_iter().collect())), 0),
        malformed("unknown-key-aud", "E-8", "Key 3 in `aud`.", &in_hop(12, m(vec![(3, V::A(Vec::new()))])), 1),
        malformed(
            "text-key",
            "E-8",
            "A payload whose key is a text.",
            &root_of(V::M(vec![(t("1"), V::U(0))]).encode()),
            0,
        ),
        malformed(
            "unprotected",
            "E-2",
            "An algorithm in the unprotected header.",
            &link(V::M(vec![(V::I(1), V::I(-19))])),
            0,
        ),
        malformed(
            "unprotected-key",
            "E-2",
            "A long holder key in the unprotected header, which is for algorithms to come.",
            &link(V::M(vec![(V::I(-70_001), V::B(vec![1; 1_312]))])),
            0,
        ),
        malformed("wrong-typ", "E-2", "A header of another type.", &presentation(&[raw_chain(1).remove(0), typ]), 1),
        malformed("missing-iat", "E-3", "A root without `iat`.", &root_of(payload(&without_iat)), 0),
        malformed("unknown-effect", "L-8", "An effect that there is not.", &grant_with(7, V::U(64)), 1),
        malformed("bad-pattern", "L-3", "A star inside a segment.", &grant_with(2, V::A(vec![t("a*")])), 1),
        malformed(
            "bad-pattern-spelling",
            "L-3",
            "`*.**` is a second spelling of `**`.",
            &grant_with(2, V::A(vec![t("*.**")])),
            1,
        ),
        malformed("control-character", "E-22", "A line break in a text.", &in_hop(20, t("line\nbreak")), 1),
    ]
}

fn limits() -> Vec<Vector> {
    let e22 = "E-22";
    let grant = || m(vec![(1, V::U(0)), (2, V::A(vec![t("a")]))]);
    let many_patterns = m(vec![(1, V::U(0)), (2, V::A(names(52, "a")))]);
    let ids = (0..128).map(|n| t(&format!("{n:0>30}"))).collect();
    let mut nine = deep(8);
    let mut ninth = hop_fields(&nine[7], 1);
    ninth.insert(11, deleg(255, 1, false));
    nine.push(sign_hop(payload(&ninth), HOLDERS[7]));
    let six = [101, 102, 103, 107, 108, 109];
    let maxima = names(33, "d").into_iter().map(|name| (name, V::U(1))).collect();
    let extension = V::M(vec![(t("k"), V::B(vec![0; 512]))]);
    vec![
        malformed(
            "limit-presentation",
            e22,
            "A presentation of 32 833 bytes.",
            &vec![0; PRESENTATION_BYTES_MAX + 1],
            None,
        ),
        malformed("limit-link", e22, "A link of more than 4 096 bytes.", &grant_with(4, contract(0, ids)), 1),
        malformed("limit-chain", e22, "Nine links.", &presentation(&nine), None),
        malformed("limit-no-links", e22, "No link.", &presentation(&[]), None),
        malformed("limit-grants", e22, "Seventeen grants.", &in_hop(8, V::A(vec![grant(); 17])), 1),
        malformed("limit-no-grants", e22, "No grant.", &in_hop(8, V::A(Vec::new())), 1),
        malformed("limit-patterns", e22, "Sixty-five patterns of a grant.", &grant_with(2, V::A(names(65, "a"))), 1),
        malformed(
            "limit-patterns-of-a-link",
            e22,
            "260 patterns of a link.",
            &in_hop(8, V::A(vec![many_patterns; 5])),
            1,
        ),
        malformed("limit-ids", e22, "257 ids.", &grant_with(4, contract(0, names(257, "c"))), 1),
        malformed("limit-dimensions", e22, "Thirty-three dimensions.", &grant_with(5, V::M(maxima)), 1),
        malformed("limit-text", e22, "A text of 129 bytes.", &in_hop(20, t(&"x".repeat(129))), 1),
        malformed("limit-empty-text", e22, "A text of no bytes.", &in_hop(20, t("")), 1),
        malformed("limit-ext", e22, "513 bytes of names and values in `ext`.", &in_hop(63, extension), 1),
        malformed("limit-purpose", e22, "A purpose of nine numbers.", &in_root(6, V::A(vec![V::U(1); 9])), 0),
        malformed(
            "limit-audience",
            e22,
            "Sixty-five edges of an audience.",
            &in_hop(12, m(vec![(2, V::A(names(65, "e")))])),
            1,
        ),
        malformed(
            "limit-signatures",
            e22,
            "Six issuers' signatures.",
            &presentation(&[sign_root(payload(&root_fields()), &six)]),
            0,
        ),
        malformed(
            "one-issuer-twice",
            "E-2",
            "The same issuer's signature twice.",
            &presentation(&[sign_root(payload(&root_fields()), &[ISSUERS[0], ISSUERS[0]])]),
            0,
        ),
        malformed("limit-root-life", "E-17", "A root that lives 3 601 seconds.", &in_root(10, V::U(ISSUED + 3_601)), 0),
        malformed("limit-hop-life", "E-17", "A hop that lives 901 seconds.", &in_hop(10, V::U(ISSUED + 902)), 1),
        malformed("backward-window", "E-17", "A hop that ends when it begins.", &in_hop(10, V::U(ISSUED + 1)), 1),
        malformed("issued-later", "E-17", "A hop issued after it begins.", &in_hop(16, V::U(ISSUED + 2)), 1),
    ]
}

fn holders() -> Vec<Vector> {
    let with_last = |first: u8, middle: u8, last: u8| [&[first], &[middle; 30][..], &[last]].concat();
    let order_8 = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    let other_order_8 = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let mut all = Vec::new();
    for (name, description, key) in [
        ("small-order-1", "The identity.", with_last(1, 0, 0)),
        ("small-order-2", "The point of order 2.", with_last(0xec, 0xff, 0x7f)),
        ("small-order-4", "A point of order 4.", vec![0; 32]),
        ("small-order-4-sign", "The other point of order 4.", with_last(0, 0, 0x80)),
        ("small-order-8", "A point of order 8.", order_8.to_vec()),
        ("small-order-8-other", "Another point of order 8.", other_order_8.to_vec()),
        ("not-canonical-identity", "The identity, its y coordinate not reduced.", with_last(0xee, 0xff, 0x7f)),
        ("not-canonical-zero", "The y coordinate 0, not reduced.", with_last(0xed, 0xff, 0x7f)),
        ("not-canonical-all", "The greatest number of 255 bits as a y coordinate.", with_last(0xff, 0xff, 0x7f)),
        ("short", "A key of 31 bytes.", vec![7; 31]),
    ] {
        let holder = V::A(vec![V::I(-19), V::B(key)]);
        all.push(malformed(&format!("holder-{name}"), "E-14", description, &in_hop(3, holder.clone()), 1));
        if name.starts_with("small-order-1") || name.starts_with("not-canonical-zero") {
            let name = format!("root-holder-{name}");
            all.push(malformed(&name, "E-14", &format!("In a root. {description}"), &in_root(3, holder), 0));
        }
    }
    for (alg, length, name) in [(-9, 33, "esp256"), (-48, 32, "ml-dsa-44"), (-7, 32, "es256")] {
        let holder = V::A(vec![V::I(alg), V::B(vec![7; length])]);
        let description = format!("A holder of algorithm {alg}: the number is known, keys of it are not supported.");
        all.push(malformed(&format!("holder-{name}"), "E-9", &description, &in_hop(3, holder), 1));
    }
    all
}

fn kinds() -> Vec<Vector> {
    let context = m(context_fields().into_iter().collect());
    let grant = |fields: Vec<(u64, V)>| V::A(vec![m(fields)]);
    let star = grant(vec![(1, V::U(0)), (2, V::A(vec![t("crm.*")])), (6, V::B(Vec::new())), (7, V::U(1))]);
    let of_1 = grant(vec![(1, V::U(1)), (2, V::A(vec![t("a")])), (6, V::B(Vec::new())), (7, V::U(1))]);
    let no_classes = grant(vec![(1, V::U(0)), (2, V::A(vec![t("a")])), (7, V::U(1))]);
    let links = || V::A(raw_chain(1).iter().map(RawLink::value).collect());
    vec![
        malformed("hop-with-ctx", "E-3", "A hop with a context of its own.", &in_hop(5, context), 1),
        malformed("root-without-ctx", "E-3", "A root without a context.", &with_root(|root| drop(root.remove(&5))), 0),
        malformed("root-with-parent", "E-3", "A root that names a parent.", &in_root(2, V::B(vec![1; 32])), 0),
        malformed("root-with-subtask", "E-3", "A root with a subtask.", &in_root(7, t("part")), 0),
        malformed(
            "root-without-purpose",
            "E-3",
            "A root without a purpose.",
            &with_root(|root| drop(root.remove(&6))),
            0,
        ),
        malformed(
            "root-with-wildcard",
            "L-16",
            "A wildcard in a root that does not say `future`.",
            &in_root(8, star),
            0,
        ),
        malformed("root-of-1", "E-5", "A root's grant that narrows another one.", &in_root(8, of_1), 0),
        malformed("root-without-classes", "E-5", "A root's grant without classes.", &in_root(8, no_classes), 0),
        malformed(
            "hop-header-on-a-root",
            "E-2",
            "A root with a hop's header, signed by one issuer.",
            &presentation(&[sign_hop(payload(&root_fields()), ISSUERS[0])]),
            0,
        ),
        malformed(
            "root-header-on-a-hop",
            "E-2",
            "A hop with a root's header, signed by all issuers.",
            &presentation(&[raw_chain(1).remove(0), sign_root(payload(&hop_fields(&raw_chain(1)[0], 1)), &ISSUERS)]),
            1,
        ),
        malformed("version-3", "E-1", "A presentation of version 3.", &V::A(vec![V::U(3), links()]).encode(), None),
        malformed(
            "reference",
            "E-1 X-8",
            "The reference form, which counts beside a proof only.",
            &V::A(vec![V::U(2), V::B(vec![7; 32])]).encode(),
            None,
        ),
        malformed("empty", "E-1", "No bytes at all.", &[], None),
    ]
}

/// Clause E-9: well formed, and refused, because to ignore a restriction is to widen.
fn unenforceable() -> Vec<Vector> {
    let approvals = m(vec![(2, V::A(vec![V::B(vec![1; 32])]))]);
    let budgets = V::M(vec![(t("calls"), V::U(10))]);
    let exclusive = m(vec![(1, V::U(1)), (2, V::U(1)), (3, V::Bool(false)), (4, V::U(1))]);
    let kind = |kind: u64| {
        let mut context = context_fields();
        context.insert(5, V::U(kind));
        m(context.into_iter().collect())
    };
    let e9 = "E-9";
    let later = chain_of(3, |hop, fields| {
        if hop == 2 {
            drop(fields.insert(14, budgets.clone()))
        }
    });
    vec![
        malformed("unenforceable-budgets", e9, "Budgets.", &in_hop(14, budgets.clone()), 1),
        malformed("unenforceable-budgets-root", e9, "Budgets in a root.", &in_root(14, budgets.clone()), 0),
        malformed("unenforceable-budgets-third", e9, "Budgets in the third link.", &presentation(&later), 2),
        malformed("unenforceable-approvals", e9, "Approvals.", &in_hop(13, approvals), 1),
        malformed("unenforceable-redact", e9, "A redaction that there is not.", &in_hop(13, m(vec![(3, V::U(2))])), 1),
        malformed("unenforceable-log", e9, "A log level that there is not.", &in_hop(13, m(vec![(4, V::U(2))])), 1),
        malformed("unenforceable-exclusive", e9, "An exclusive hand-off.", &in_hop(11, exclusive), 1),
        malformed("unenforceable-all-but", e9, "All ids but one.", &grant_with(4, contract(1, vec![t("c1")])), 1),
        malformed(
            "unenforceable-id-token",
            e9,
            "Evidence that no issuer of this version checks.",
            &in_root(5, kind(1)),
            0,
        ),
    ]
}
