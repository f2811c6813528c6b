//! Whatever the bytes: no panic, and no change of a signed chain that is both accepted and different.

use proptest::prelude::*;
use remit_common::envelope::{Authority, RawPresentation};
use remit_common::id::LinkId;

use super::fixture::*;

fn outcome(bytes: &[u8]) -> Option<(Vec<LinkId>, Authority)> {
    let effective = RawPresentation::parse(bytes).ok()?.verify(&MESH, &issuers()).ok()?.effective();
    Some((effective.links().to_vec(), effective.authority().clone()))
}

/// Clause E-8. Every byte of a three-link presentation, and of one that says everything there is to say, changed in
/// three ways.
#[test]
fn any_changed_byte_rejects_or_changes_nothing() {
    for honest in [raw_chain(3), full_chain()] {
        check_every_byte(&presentation(&honest));
    }
}

/// The same before anybody signs: whatever a holder's own decoder makes of a changed link, it is what the link says now,
/// byte by byte.
#[test]
fn what_a_holder_signs_is_what_is_read() {
    let [root, hop] = [0, 1].map(|link| full_chain().remove(link));
    let mut accepted = 0u32;
    for position in 0..hop.payload.len() {
        for flip in [0x01, 0x02, 0x20, 0x80] {
            let mut bytes = hop.payload.clone();
            bytes[position] ^= flip;
            let changed = sign_hop(bytes, HOLDERS[0]);
            let read = |hop: &RawLink| RawPresentation::parse(&presentation(&[root.clone(), hop.clone()]));
            if let Ok(read_anew) = read(&changed) {
                let honest = read(&hop).expect("it is what it says");
                assert_ne!(read_anew.links().last(), honest.links().last(), "byte {position} ^ {flip:#x} is not read");
                accepted += 1;
            }
        }
    }
    assert!(accepted > 500, "{accepted} changed links were accepted");
}

fn check_every_byte(honest: &[u8]) {
    let expected = outcome(honest);
    assert!(expected.is_some());
    let mut accepted = 0;
    for position in 0..honest.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = honest.to_vec();
            bytes[position] ^= flip;
            if let Some(found) = outcome(&bytes) {
                assert_eq!(Some(found), expected, "byte {position} ^ {flip:#x}");
                accepted += 1;
            }
        }
    }
    // Two of two signatures are needed and every other byte is signed, or has one encoding.
    assert_eq!(accepted, 0);
}

/// With more signatures than a majority one may be made unknown, which counts for nothing.
#[test]
fn a_surplus_signature_may_be_defaced_and_changes_nothing() {
    let honest = presentation(&[sign_root(payload(&root_fields()), &ISSUERS)]);
    let expected = outcome(&honest);
    let length = honest.len();
    let mut accepted = 0;
    for position in length - 240..length {
        let mut bytes = honest.clone();
        bytes[position] ^= 0x01;
        if let Some(found) = outcome(&bytes) {
            assert_eq!(Some(found), expected, "byte {position}");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "a defaced kid is an unknown issuer's");
}

/// One change to a byte string.
#[derive(Clone, Debug)]
enum Edit {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index, u8),
    Cut(prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        index().prop_map(Edit::Remove),
        (index(), index(), any::<u8>()).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
        index().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match edit {
        Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
        Edit::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        Edit::Remove(at) => drop(bytes.remove(at.index(length))),
        Edit::Copy(from, to, count) => {
            let from = from.index(length);
            let slice = bytes[from..length.min(from + usize::from(*count))].to_vec();
            let to = to.index(length);
            drop(bytes.splice(to..to, slice));
        }
        Edit::Cut(at) => bytes.truncate(at.index(length)),
    }
}

/// Some CBOR, often malformed.
fn item() -> impl Strategy<Value = V> {
    let leaf = prop_oneof![
        prop_oneof![0..70u64, any::<u64>()].prop_map(V::U),
        any::<i64>().prop_map(V::I),
        prop_oneof![Just(8usize), Just(16), Just(32), Just(64), 0..40usize].prop_map(|length| V::B(vec![9; length])),
        "[a-z.*]{0,12}".prop_map(V::T),
        any::<bool>().prop_map(V::Bool),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(V::Raw),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(V::A),
            prop::collection::btree_map(0..21u64, inner.clone(), 0..6).prop_map(|map| m(map.into_iter().collect())),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(V::M),
        ]
    })
}

/// The fields of an honest payload, and what takes the place of some of them.
fn with_fields_replaced(mut fields: Fields, replaced: &[(u64, Option<V>)]) -> Vec<u8> {
    for (key, value) in replaced {
        match value {
            Some(value) => fields.insert(*key, value.clone()),
            None => fields.remove(key),
        };
    }
    payload(&fields)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_048)) {
        prop_assert!(outcome(&bytes).is_none());
    }

    #[test]
    fn arbitrary_cbor_never_panics(value in item()) {
        prop_assert!(outcome(&value.encode()).is_none());
        let in_place = presentation(&[sign_root(value.encode(), &ISSUERS[..2])]);
        prop_assert!(outcome(&in_place).is_none());
    }

    #[test]
    fn edited_presentations_never_panic(edits in prop::collection::vec(edit(), 1..6)) {
        let mut bytes = presentation(&raw_chain(2));
        let expected = outcome(&bytes);
        for edit in &edits {
            apply(&mut bytes, edit);
        }
        if let Some(found) = outcome(&bytes) {
            prop_assert_eq!(Some(found), expected);
        }
    }

    /// The signatures are good, so the decoder is all that stands between a hostile holder and the edge.
    #[test]
    fn hostile_holders_never_panic_an_edge(
        replaced in prop::collection::vec((1..21u64, prop::option::weighted(0.8, item())), 1..4)
    ) {
        let root = raw_chain(1).remove(0);
        let hop = sign_hop(with_fields_replaced(hop_fields(&root, 1), &replaced), HOLDERS[0]);
        drop(outcome(&presentation(&[root, hop])));
        drop(outcome(&presentation(&[sign_root(with_fields_replaced(root_fields(), &replaced), &ISSUERS)])));
    }
}
