//! Shapes that are refused: second encodings, keys that are not of the format, limits, and restrictions that this
//! version cannot enforce.

use remit_common::envelope::{MalformedEnvelope, RawPresentation, ShapeFault};
use remit_common::limits::{LINK_BYTES_MAX, PRESENTATION_BYTES_MAX};

use super::fixture::*;

fn parse(bytes: &[u8]) -> Result<(), MalformedEnvelope> {
    RawPresentation::parse(bytes).map(drop)
}

#[track_caller]
fn refused(bytes: &[u8], hop: u8, source: ShapeFault) {
    assert_eq!(parse(bytes), Err(MalformedEnvelope::Link { hop, source }));
}

/// A root whose payload is these bytes, properly signed.
fn root_of(payload: Vec<u8>) -> Vec<u8> {
    presentation(&[sign_root(payload, &ISSUERS[..2])])
}

fn root_bytes() -> Vec<u8> {
    payload(&root_fields())
}

/// The root's payload with a key and its value put in behind the last, whatever the order.
fn root_and(key: u64, value: &V) -> Vec<u8> {
    let mut entries: Vec<(u64, V)> = root_fields().into_iter().collect();
    entries.push((key, value.clone()));
    root_of(m(entries).encode())
}

// --- one encoding

#[test]
fn unknown_key() {
    for key in [0, 17, 19, 21, 62, 64, 1_000] {
        let bytes = with_root(|root| drop(root.insert(key, V::U(0))));
        refused(&bytes, 0, ShapeFault::UnknownKey { at: "payload" });
    }
    let grant = m(vec![(1, V::U(0)), (2, V::A(vec![t("**")])), (10, V::U(1))]);
    refused(&with_hop(|hop| drop(hop.insert(8, V::A(vec![grant])))), 1, ShapeFault::UnknownKey { at: "grant" });
    let mut context = context_fields();
    context.insert(13, V::U(1));
    let bytes = with_root(|root| drop(root.insert(5, m(context.into_iter().collect()))));
    refused(&bytes, 0, ShapeFault::UnknownKey { at: "ctx" });
}

#[test]
fn duplicate_key() {
    refused(&root_and(20, &t("again")), 0, ShapeFault::KeyOrder { at: "payload" });
}

#[test]
fn keys_out_of_order() {
    refused(&root_and(7, &t("late")), 0, ShapeFault::KeyOrder { at: "payload" });
}

#[test]
fn keys_that_are_texts() {
    let entries = vec![(t("1"), V::U(0))];
    refused(&root_of(V::M(entries).encode()), 0, ShapeFault::Cbor { at: "payload" });
}

#[test]
fn integer_that_is_not_the_shortest() {
    let long_kind = with_root(|root| drop(root.insert(1, V::Raw(vec![0x18, 0]))));
    refused(&long_kind, 0, ShapeFault::NotDeterministic { at: "kind" });
    let time = V::Raw([&[0x1b], &ISSUED.to_be_bytes()[..]].concat());
    refused(&with_root(|root| drop(root.insert(9, time))), 0, ShapeFault::NotDeterministic { at: "nbf" });
}

#[test]
fn length_that_is_not_the_shortest() {
    let nonce = [&[0x59, 0, 16], &[7; 16][..]].concat();
    let bytes = with_root(|root| drop(root.insert(15, V::Raw(nonce))));
    refused(&bytes, 0, ShapeFault::NotDeterministic { at: "nonce" });
}

#[test]
fn indefinite_length() {
    let body = root_bytes();
    let payload = [&[0xbf], &body[1..], &[0xff]].concat();
    refused(&root_of(payload), 0, ShapeFault::Indefinite { at: "payload" });
    let purpose = V::Raw(vec![0x9f, 1, 4, 0xff]);
    refused(&with_root(|root| drop(root.insert(6, purpose))), 0, ShapeFault::Indefinite { at: "purpose" });
    let intent = V::Raw(vec![0x7f, 0x61, b'a', 0xff]);
    refused(&with_root(|root| drop(root.insert(20, intent))), 0, ShapeFault::Indefinite { at: "intent" });
}

#[test]
fn trailing_bytes() {
    refused(&root_of([root_bytes(), vec![0]].concat()), 0, ShapeFault::Trailing { at: "payload" });
    let after = [presentation(&raw_chain(1)), vec![0]].concat();
    let source = ShapeFault::Trailing { at: "presentation" };
    assert_eq!(parse(&after), Err(MalformedEnvelope::Frame { source }));
    let mut link = raw_chain(1).remove(0);
    link.protected.push(0);
    refused(&presentation(&[link]), 0, ShapeFault::Trailing { at: "protected" });
    let mut link = raw_chain(1).remove(0);
    link.signature.push(0);
    refused(&presentation(&[link]), 0, ShapeFault::Trailing { at: "signature" });
}

#[test]
fn truncated_anywhere() {
    let bytes = presentation(&raw_chain(2));
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn tags_and_floats() {
    for value in [vec![0xc1, 0x1a, 0x6b, 0, 0, 0], vec![0xfb, 0x41, 0xda, 0, 0, 0, 0, 0, 0], vec![0xf6]] {
        let bytes = with_root(|root| drop(root.insert(9, V::Raw(value))));
        refused(&bytes, 0, ShapeFault::Cbor { at: "nbf" });
    }
}

fn grants_with(key: u64, value: V) -> Vec<u8> {
    with_hop(|hop| {
        let mut grant = Fields::from([(1, V::U(0)), (2, V::A(vec![t("**")]))]);
        grant.insert(key, value);
        hop.insert(8, V::A(vec![m(grant.into_iter().collect())]));
    })
}

#[test]
fn unsorted_set() {
    for tools in [vec![t("b.c"), t("a.b")], vec![t("a.b"), t("a.b")], vec![t("aaa.b"), t("b.c")]] {
        refused(&grants_with(2, V::A(tools)), 1, ShapeFault::Unsorted { at: "grant.tools" });
    }
    for ids in [vec![t("b"), t("a")], vec![t("a"), t("a")], vec![t("aa"), t("b")]] {
        let sets = V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(ids)]))]);
        refused(&grants_with(4, sets), 1, ShapeFault::Unsorted { at: "grant.ids" });
    }
    let maxima = V::M(vec![(t("records"), V::U(1)), (t("bytes"), V::U(1))]);
    refused(&grants_with(5, maxima), 1, ShapeFault::KeyOrder { at: "grant.maxima" });
}

#[test]
fn values_with_a_second_meaning() {
    let check = |key, value, at| refused(&grants_with(key, value), 1, ShapeFault::Value { at });
    check(6, V::B(vec![1, 0]), "grant.classes");
    check(7, V::U(64), "grant.effects");
    check(9, V::Bool(false), "grant.future");
    check(2, V::A(vec![t("a*")]), "grant.tools");
    check(2, V::A(vec![t("**.a")]), "grant.tools");
    check(4, V::M(vec![(t("contract"), V::A(vec![V::U(2), V::A(Vec::new())]))]), "grant.ids");
    check(4, V::M(vec![(t("Contract"), V::A(vec![V::U(0), V::A(Vec::new())]))]), "grant.ids");
    check(4, V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(vec![t("a b")])]))]), "grant.ids");
    let bytes = with_hop(|hop| drop(hop.insert(20, t("line\nbreak"))));
    refused(&bytes, 1, ShapeFault::Value { at: "intent" });
}

#[test]
fn missing_field() {
    for (key, at) in [(1, "kind"), (2, "parent"), (3, "holder"), (4, "agent"), (8, "grants"), (9, "nbf"), (10, "exp")] {
        refused(&with_hop(|hop| drop(hop.remove(&key))), 1, ShapeFault::Missing { at });
    }
    for (key, at) in [(5, "ctx"), (6, "purpose"), (15, "nonce"), (16, "iat")] {
        refused(&with_root(|root| drop(root.remove(&key))), 0, ShapeFault::Missing { at });
    }
    for (key, at) in [(6, "grant.classes"), (7, "grant.effects")] {
        let mut grant = Fields::from([(1, V::U(0)), (2, V::A(vec![t("a")])), (6, V::B(Vec::new())), (7, V::U(1))]);
        grant.remove(&key);
        let bytes = with_root(|root| drop(root.insert(8, V::A(vec![m(grant.into_iter().collect())]))));
        refused(&bytes, 0, ShapeFault::Missing { at });
    }
}

#[test]
fn what_hops_say_in_a_root() {
    refused(&with_root(|root| drop(root.insert(7, t("part")))), 0, ShapeFault::Misplaced { at: "subtask" });
    let grant = m(vec![(1, V::U(1)), (2, V::A(vec![t("a")])), (6, V::B(Vec::new())), (7, V::U(1))]);
    let bytes = with_root(|root| drop(root.insert(8, V::A(vec![grant]))));
    refused(&bytes, 0, ShapeFault::Value { at: "grant.of" });
}

// --- headers

#[test]
fn unprotected_header() {
    let with = |unprotected| {
        let mut link = raw_chain(1).remove(0);
        link.unprotected = unprotected;
        presentation(&[link])
    };
    let long_key = V::M(vec![(V::I(-70_001), V::B(vec![1; 1_312]))]);
    refused(&with(long_key), 0, ShapeFault::Misplaced { at: "unprotected" });
    let alg = V::M(vec![(V::I(1), V::I(-19))]);
    refused(&with(alg), 0, ShapeFault::UnknownKey { at: "unprotected" });
}

#[test]
fn protected_header_of_another_type() {
    let link = sign_hop_as(
        m(vec![(1, V::I(-19)), (4, V::B(kid(HOLDERS[0]))), (16, t("application/cwt"))]).encode(),
        payload(&hop_fields(&raw_chain(1)[0], 1)),
        HOLDERS[0],
    );
    let bytes = presentation(&[raw_chain(1).remove(0), link]);
    refused(&bytes, 1, ShapeFault::Value { at: "protected.typ" });
}

// --- limits, each checked on the announced size

#[test]
fn limits() {
    let long = vec![0; PRESENTATION_BYTES_MAX + 1];
    let expected = MalformedEnvelope::TooLong { found: long.len(), max: PRESENTATION_BYTES_MAX };
    assert_eq!(parse(&long), Err(expected));

    let check = |key, value, at| refused(&grants_with(key, value), 1, ShapeFault::Count { at });
    let names = |count: usize, prefix: &str| (100..100 + count).map(|n| t(&format!("{prefix}{n}"))).collect::<Vec<_>>();
    check(2, V::A(Vec::new()), "grant.tools");
    check(2, V::A(names(65, "a")), "grant.tools");
    check(4, V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(names(257, "c"))]))]), "grant.ids");
    check(5, V::M(names(33, "d").into_iter().map(|name| (name, V::U(1))).collect()), "grant.maxima");
    check(5, V::M(Vec::new()), "grant.maxima");

    let grant = m(vec![(1, V::U(0)), (2, V::A(vec![t("a")]))]);
    let bytes = with_hop(|hop| drop(hop.insert(8, V::A(vec![grant.clone(); 17]))));
    refused(&bytes, 1, ShapeFault::Count { at: "grants" });
    refused(&with_hop(|hop| drop(hop.insert(8, V::A(Vec::new())))), 1, ShapeFault::Count { at: "grants" });
    let grant = m(vec![(1, V::U(0)), (2, V::A(names(52, "a")))]);
    let bytes = with_hop(|hop| drop(hop.insert(8, V::A(vec![grant; 5]))));
    refused(&bytes, 1, ShapeFault::Count { at: "grant.tools" });
    let bytes = with_root(|root| drop(root.insert(6, V::A(vec![V::U(1); 9]))));
    refused(&bytes, 0, ShapeFault::Count { at: "purpose" });

    let too_long = |found, max| ShapeFault::TooLong { found, max };
    refused(&with_hop(|hop| drop(hop.insert(20, t(&"x".repeat(129))))), 1, too_long(129, 128));
    let extension = V::M(vec![(t("k"), V::B(vec![0; 512]))]);
    refused(&with_hop(|hop| drop(hop.insert(63, extension))), 1, too_long(513, 512));

    let ids = |count| {
        let ids = (0..count).map(|n: usize| t(&format!("{n:0>30}"))).collect();
        with_hop(|hop| {
            let sets = V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(ids)]))]);
            let grant = m(vec![(1, V::U(0)), (2, V::A(vec![t("a")])), (4, sets)]);
            hop.insert(8, V::A(vec![grant]));
        })
    };
    assert_eq!(parse(&ids(110)), Ok(()));
    let found = parse(&ids(128));
    let too_long = matches!(
        found,
        Err(MalformedEnvelope::Link { hop: 1, source: ShapeFault::TooLong { max: LINK_BYTES_MAX, .. } })
    );
    assert!(too_long, "{found:?}");
}

// --- what is understood and cannot be enforced

#[track_caller]
fn unenforceable(bytes: &[u8], hop: u8, key: &'static str) {
    assert_eq!(parse(bytes), Err(MalformedEnvelope::Unenforceable { hop, key }));
}

#[test]
fn restrictions_that_cannot_be_enforced_are_refused_by_name() {
    let approvals = (2, V::A(vec![V::B(vec![1; 32]), V::B(vec![2; 32])]));
    let budgets = V::M(vec![(t("calls"), V::U(10)), (t("records"), V::U(50))]);
    for (key, value, name) in [
        (13, m(vec![(1, V::U(2)), approvals, (3, V::U(1)), (4, V::U(1))]), "obligations.approvals"),
        (13, m(vec![(3, V::U(2))]), "obligations.redact"),
        (13, m(vec![(3, V::U(3))]), "obligations.redact"),
        (13, m(vec![(4, V::U(2))]), "obligations.log"),
        (14, budgets, "budgets"),
    ] {
        unenforceable(&with_hop(|hop| drop(hop.insert(key, value.clone()))), 1, name);
        unenforceable(&with_root(|root| drop(root.insert(key, value))), 0, name);
    }
    let all_but = V::M(vec![(t("contract"), V::A(vec![V::U(1), V::A(vec![t("contract_1")])]))]);
    unenforceable(&grants_with(4, all_but), 1, "grant.ids all-but");
    let exclusive = m(vec![(1, V::U(1)), (2, V::U(1)), (3, V::Bool(false)), (4, V::U(1))]);
    unenforceable(&with_hop(|hop| drop(hop.insert(11, exclusive))), 1, "deleg.handoff exclusive");
    for kind in 1..=3 {
        let mut context = context_fields();
        context.insert(5, V::U(kind));
        context.insert(7, t("https://idp.example"));
        context.insert(8, V::U(ISSUED));
        context.insert(9, t("phr"));
        let bytes = with_root(|root| drop(root.insert(5, m(context.into_iter().collect()))));
        unenforceable(&bytes, 0, "evidence_kind");
    }
}

/// Each key that narrows, alone, in a hop and in a root: accepted.
#[test]
fn every_restriction_is_read() {
    let regions = m(vec![(1, V::A(vec![t("eu-west")])), (2, V::A(vec![t("eu-west-1")]))]);
    let obligations = m(vec![(1, V::U(2)), (3, V::U(1)), (4, V::U(1))]);
    for (key, value) in [(12, regions), (13, obligations)] {
        assert_eq!(parse(&with_hop(|hop| drop(hop.insert(key, value.clone())))), Ok(()));
        assert_eq!(parse(&with_root(|root| drop(root.insert(key, value)))), Ok(()));
    }
    let pins = V::M(vec![(t("contracts.read"), V::B(vec![3; 32]))]);
    let arguments = V::M(vec![
        (t("/a"), V::A(vec![V::U(0), t("x")])),
        (t("/b"), V::A(vec![V::U(1), V::A(vec![V::U(1), V::I(-1), t("x"), V::Bool(true)])])),
        (t("/c"), V::A(vec![V::U(2), V::I(-5), V::U(5)])),
        (t("/d"), V::A(vec![V::U(3), t("/srv/")])),
        (t("/e"), V::A(vec![V::U(4), V::U(80)])),
    ]);
    for (key, value) in [(3, pins), (8, arguments), (9, V::Bool(true))] {
        assert_eq!(parse(&grants_with(key, value)), Ok(()), "grant key {key}");
    }
}

/// What the catalogue gains tomorrow is covered only where the root says that it may be.
#[test]
fn wildcards_in_a_root_need_future() {
    let root = |tool: &str, future| {
        let mut grant = vec![(1, V::U(0)), (2, V::A(vec![t("a"), t(tool)])), (6, V::B(Vec::new())), (7, V::U(1))];
        if future {
            grant.push((9, V::Bool(true)));
        }
        with_root(|root| drop(root.insert(8, V::A(vec![m(grant)]))))
    };
    for pattern in ["**", "a.*", "a.**", "*.b"] {
        refused(&root(pattern, false), 0, ShapeFault::Misplaced { at: "grant.tools" });
        assert_eq!(parse(&root(pattern, true)), Ok(()));
    }
    assert_eq!(parse(&root("a.b", false)), Ok(()));
}

/// What is malformed is called malformed, also beside what would be refused anyway.
#[test]
fn malformed_restrictions() {
    let check = |key, value, fault| refused(&with_hop(|hop| drop(hop.insert(key, value))), 1, fault);
    check(12, m(vec![(3, V::A(Vec::new()))]), ShapeFault::UnknownKey { at: "aud" });
    check(12, m(vec![]), ShapeFault::Count { at: "aud" });
    check(12, m(vec![(1, V::A(vec![t("b"), t("a")]))]), ShapeFault::Unsorted { at: "aud.regions" });
    check(12, m(vec![(2, V::A(vec![t("a"), t("a")]))]), ShapeFault::Unsorted { at: "aud.edges" });
    check(12, m(vec![(1, V::A(vec![t("EU")]))]), ShapeFault::Value { at: "aud.regions" });
    let many = (100..165).map(|n| t(&format!("e{n}"))).collect();
    check(12, m(vec![(2, V::A(many))]), ShapeFault::Count { at: "aud.edges" });
    check(13, m(vec![]), ShapeFault::Count { at: "obligations" });
    check(13, m(vec![(5, V::U(1))]), ShapeFault::UnknownKey { at: "obligations" });
    // A demand of nothing is left out; what cannot be enforced does not hide it.
    for (key, at) in [(1, "obligations.min_pop"), (3, "obligations.redact"), (4, "obligations.log")] {
        check(13, m(vec![(key, V::U(0))]), ShapeFault::Value { at });
    }
    check(13, m(vec![(1, V::U(4))]), ShapeFault::Value { at: "obligations.min_pop" });
    check(13, m(vec![(3, V::U(2)), (4, V::U(0))]), ShapeFault::Value { at: "obligations.log" });
    check(13, m(vec![(2, V::A(Vec::new()))]), ShapeFault::Count { at: "obligations.approvals" });
    check(13, m(vec![(2, V::A(vec![V::B(vec![1; 32]); 2]))]), ShapeFault::Unsorted { at: "obligations.approvals" });
    check(14, V::M(vec![(t("calls"), V::I(-1))]), ShapeFault::Cbor { at: "budgets" });
    let pins = |name, bytes| V::M(vec![(t(name), V::B(vec![3; bytes]))]);
    refused(&grants_with(3, pins("contracts.read", 31)), 1, ShapeFault::Value { at: "grant.pins" });
    refused(&grants_with(3, pins("a b", 32)), 1, ShapeFault::Value { at: "grant.pins" });
    refused(&grants_with(3, V::M(Vec::new())), 1, ShapeFault::Count { at: "grant.pins" });
}

#[test]
fn malformed_constraints() {
    const AT: &str = "grant.args";
    let check = |value, fault| refused(&grants_with(8, V::M(vec![(t("/a"), value)])), 1, fault);
    let list = |values: Vec<V>| V::A(vec![V::U(1), V::A(values)]);
    check(V::A(vec![V::U(5), V::U(1)]), ShapeFault::Value { at: AT });
    check(V::A(vec![V::U(0)]), ShapeFault::Count { at: AT });
    check(V::A(vec![V::U(0), V::U(1), V::U(1)]), ShapeFault::Value { at: AT });
    check(V::A(vec![V::U(0), V::B(vec![1])]), ShapeFault::Cbor { at: AT });
    check(V::A(vec![V::U(2), V::U(5), V::U(1)]), ShapeFault::Value { at: AT });
    check(V::A(vec![V::U(3), t("/srv/../etc")]), ShapeFault::Value { at: AT });
    check(V::A(vec![V::U(3), t("%2e")]), ShapeFault::Value { at: AT });
    check(V::A(vec![V::U(4), V::U(1 << 32)]), ShapeFault::Value { at: AT });
    check(list(vec![t("b"), t("a")]), ShapeFault::Unsorted { at: AT });
    check(list(vec![t("bb"), t("c")]), ShapeFault::Unsorted { at: AT });
    check(list(vec![V::I(-1), V::U(0)]), ShapeFault::Unsorted { at: AT });
    check(list(vec![V::I(-2), V::I(-1)]), ShapeFault::Unsorted { at: AT });
    check(list(vec![V::Bool(true), V::Bool(false)]), ShapeFault::Unsorted { at: AT });
    // A single value has an encoding of its own.
    check(list(vec![t("a")]), ShapeFault::Count { at: AT });
    check(list((0..257).map(V::U).collect()), ShapeFault::Count { at: AT });
    let pointers = |pointers: &[&str]| {
        let entries = pointers.iter().map(|at| (t(at), V::A(vec![V::U(4), V::U(1)]))).collect();
        grants_with(8, V::M(entries))
    };
    refused(&pointers(&["a"]), 1, ShapeFault::Value { at: AT });
    refused(&pointers(&["/a~2"]), 1, ShapeFault::Value { at: AT });
    refused(&pointers(&["/b", "/a"]), 1, ShapeFault::KeyOrder { at: AT });
    refused(&pointers(&[]), 1, ShapeFault::Count { at: AT });
}

/// Room for others is carried and changes nothing.
#[test]
fn extensions_and_intent_are_carried() -> anyhow::Result<()> {
    let extensions = V::M(vec![(t("b"), V::B(vec![1])), (t("aa"), V::B(Vec::new()))]);
    let plain = verify(&with_hop(|_| ()))?.effective();
    let carried = verify(&with_hop(|hop| {
        hop.insert(63, extensions);
        hop.insert(20, t("to see what happens"));
    }))?;
    assert_eq!(plain.authority(), carried.effective().authority());
    assert_ne!(plain.links()[1], carried.effective().links()[1]);
    Ok(())
}
