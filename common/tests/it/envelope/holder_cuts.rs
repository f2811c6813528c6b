//! What holders may have cut, of what they hold or handed on, and how much of it there may be. Clauses T-50 to T-54.

use std::collections::BTreeSet;

use remit_common::envelope::{Effective, RawPresentation, delegate};
use remit_common::id::{KeyId, LinkId, LogIndex, MeshId, RevocationEpoch};
use remit_common::identity::{Administrator, Administrators, SignedRequest, Verb};
use remit_common::limits::{
    HOLDER_REVOCATIONS_MAX, HOLDER_REVOCATIONS_PER_ROOT_MAX, REVOCATIONS_FOLD_AT, REVOCATIONS_MAX,
};
use remit_common::revocation::{
    Asked, Authorities, Cut, CutKind, REVOCATIONS_PATH, Revocation, RevocationRefused, Revocations, Subject,
};
use remit_common::text;
use remit_common::time::Timestamp;

use super::countersignatures::countersigned;
use super::fixture::{HOLDERS, ISSUED, MESH, STRANGER, chain, issuers, key, restriction, tenant, verify};

const NOW: u64 = ISSUED + 10;
const ADMINISTRATOR: u8 = 200;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn authorities<T>(use_them: impl FnOnce(&Authorities<'_>) -> T) -> T {
    let administrator = Administrator {
        name: "ops".to_owned(),
        key: *key(ADMINISTRATOR).public(),
        tenants: BTreeSet::from([tenant("acme")]),
        verbs: BTreeSet::from([Verb::Revoke]),
        expires: at(ISSUED + 1_000_000),
    };
    let administrators = Administrators::from([(administrator.key.id(), administrator)]);
    use_them(&Authorities { mesh: &MESH, administrators: &administrators, issuers: &issuers() })
}

fn made(request: SignedRequest) -> Result<Revocation, RevocationRefused> {
    authorities(|by| Revocation::from_request(LogIndex(7), request, by))
}

fn effective(chain: &[u8]) -> Effective {
    verify(chain).unwrap().effective()
}

fn links(chain: &[u8]) -> Vec<LinkId> {
    effective(chain).links().to_vec()
}

/// What the holder of this key signs to have a link of this chain cut.
fn ask(chain: &[u8], link: &LinkId, by: u8) -> SignedRequest {
    Asked::link(chain, &MESH, link).unwrap().sign(&MESH, &key(by), at(NOW), [1; 16])
}

fn by_administrator(kind: CutKind, id: String) -> Revocation {
    let body = Cut { tenant: tenant("acme").into(), kind, id }.to_body();
    made(SignedRequest::sign(&MESH, &key(ADMINISTRATOR), "POST", REVOCATIONS_PATH, body, NOW, NOW + 60, [2; 16]))
        .unwrap()
}

fn is_cut(set: &Revocations, chain: &[u8]) -> bool {
    let effective = effective(chain);
    let subjects = effective.links().iter().map(Subject::Link).chain(effective.holders().iter().map(Subject::Holder));
    set.check(&tenant("acme"), subjects).is_err()
}

/// Another child of the same parent.
fn sibling(parent: &[u8], parent_key: u8, nonce: u8) -> Vec<u8> {
    let child = key(nonce.wrapping_add(100));
    delegate(parent, &key(parent_key), &MESH, &restriction(), child.public(), at(ISSUED + 1), [nonce; 16]).unwrap()
}

#[test]
fn whoever_holds_a_link_cuts_it_and_everything_below_and_nothing_else() {
    let chain = chain(4);
    let ids = links(&chain);
    let code = |link: &LinkId, by| made(ask(&chain, link, by)).map(|_| ()).map_err(|refused| refused.reason_code());
    for (place, link) in ids.iter().enumerate() {
        for (holder, seed) in HOLDERS.iter().enumerate().take(4) {
            let expected = if holder <= place { Ok(()) } else { Err("not_theirs_to_cut") };
            assert_eq!(code(link, *seed), expected, "link {place} by the holder of link {holder}");
        }
        assert_eq!(code(link, STRANGER), Err("not_theirs_to_cut"));
    }
    let middle = made(ask(&chain, &ids[1], HOLDERS[0])).unwrap();
    let mut set = Revocations::new();
    set.cut(middle).unwrap();
    let aside = sibling(&RawPresentation::parse(&chain).unwrap().up_to(&MESH, &ids[0]).unwrap(), HOLDERS[0], 50);
    assert!(is_cut(&set, &chain) && !is_cut(&set, &aside));
}

#[test]
fn a_cut_lives_as_long_as_the_link_can_and_ten_minutes_however_short_what_is_shown_below_it() {
    // The root lives an hour, its child ten minutes.
    let chain = chain(2);
    let ids = links(&chain);
    let until = |link: &LinkId| made(ask(&chain, link, HOLDERS[0])).unwrap().until;
    assert_eq!(until(&ids[0]), at(ISSUED + 3_600 + 600));
    assert_eq!(until(&ids[1]), at(ISSUED + 1 + 600 + 600));
    let late = |now| {
        let asked = Asked::link(&chain, &MESH, &ids[1]).unwrap().sign(&MESH, &key(HOLDERS[0]), at(now), [1; 16]);
        made(asked).map(|_| ()).map_err(|refused| refused.reason_code())
    };
    assert_eq!((late(ISSUED + 600), late(ISSUED + 601)), (Ok(()), Err("ended")));
}

#[test]
fn a_holder_gives_up_its_own_key_in_every_chain_and_nobody_elses() {
    let chain = chain(3);
    let own = |seed: u8| key(seed).public().id();
    let give_up =
        |of: KeyId, by| made(Asked::own_key(&chain, &MESH, &of).unwrap().sign(&MESH, &key(by), at(NOW), [1; 16]));
    let given_up = give_up(own(HOLDERS[1]), HOLDERS[1]).unwrap();
    assert_eq!(given_up.until, at(NOW + 300 + 3_600 + 600), "the key may hold chains that end later");
    let mut set = Revocations::new();
    set.cut(given_up).unwrap();
    let root = RawPresentation::parse(&chain).unwrap().up_to(&MESH, &links(&chain)[0]).unwrap();
    assert!(is_cut(&set, &chain) && !is_cut(&set, &root));
    for (of, by) in [(HOLDERS[1], HOLDERS[0]), (HOLDERS[0], HOLDERS[1]), (STRANGER, STRANGER)] {
        assert_eq!(give_up(own(of), by).unwrap_err().reason_code(), "not_theirs_to_cut");
    }
}

#[test]
fn nobody_on_the_way_can_forge_change_or_shorten_a_holders_cut() {
    let chain = chain(3);
    let ids = links(&chain);
    let good = made(ask(&chain, &ids[1], HOLDERS[0])).unwrap();
    authorities(|by| assert_eq!(good.verify(by), Ok(())));
    let code = |entry: &Revocation| authorities(|by| entry.verify(by)).map_err(|refused| refused.reason_code());
    let changed = |change: &dyn Fn(&mut Revocation)| {
        let mut entry = good.clone();
        change(&mut entry);
        code(&entry)
    };
    assert_eq!(
        changed(&|entry| entry.until = entry.until.minus(std::time::Duration::from_secs(1))),
        Err("differs_from_request")
    );
    assert_eq!(changed(&|entry| entry.cut.id = ids[0].to_string()), Err("differs_from_request"));
    assert_eq!(changed(&|entry| entry.request.expires += 1), Err("bad_signature"));
    assert_eq!(changed(&|entry| entry.request.nonce = "00".repeat(16)), Err("bad_signature"));
    // Another chain under the same words.
    let mut asked = Asked::from_body(&good.request.body).unwrap();
    let wrong_ids = Asked {
        shown: asked.shown.clone().map(|mut shown| {
            shown.links[0] = LinkId(remit_common::crypto::digest::Digest([9; 32]));
            shown
        }),
        ..asked.clone()
    };
    let request = |asked: &Asked, by| asked.sign(&MESH, &key(by), at(NOW), [1; 16]);
    assert_eq!(made(request(&wrong_ids, HOLDERS[0])).unwrap_err().reason_code(), "differs_from_request");
    let other_tenant = Asked { cut: Cut { tenant: tenant("globex").into(), ..asked.cut.clone() }, ..asked.clone() };
    assert_eq!(made(request(&other_tenant, HOLDERS[0])).unwrap_err().reason_code(), "differs_from_request");
    for kind in [CutKind::Tenant, CutKind::Session, CutKind::Tool] {
        let id = if kind == CutKind::Tenant { "acme" } else { "s" };
        let wider = Asked { cut: Cut { tenant: tenant("acme").into(), kind, id: id.to_owned() }, ..asked.clone() };
        assert_eq!(made(request(&wider, HOLDERS[0])).unwrap_err().reason_code(), "not_theirs_to_cut");
    }
    // A chain that nobody issued here.
    let last = asked.shown.as_mut().unwrap().chain.last_mut().unwrap();
    *last ^= 1;
    assert_eq!(made(request(&asked, HOLDERS[0])).unwrap_err().reason_code(), "bad_chain");
    // For another mesh.
    let elsewhere = MeshId([0x12; 16]);
    let request = Asked::link(&chain, &MESH, &ids[1]).unwrap().sign(&elsewhere, &key(HOLDERS[0]), at(NOW), [1; 16]);
    assert_eq!(made(request).unwrap_err().reason_code(), "bad_signature");
}

/// The room for chains is shared by all tenants: none is padded.
#[test]
fn a_chain_that_is_padded_with_countersignatures_is_malformed() {
    let chain = chain(3);
    let mut asked = Asked::link(&countersigned(&chain, 1), &MESH, &links(&chain)[2]).unwrap();
    let request = |asked: &Asked| asked.sign(&MESH, &key(HOLDERS[1]), at(NOW), [1; 16]);
    let entry = made(request(&asked)).unwrap();
    asked.shown.as_mut().unwrap().chain = countersigned(&chain, 1);
    assert!(verify(&countersigned(&chain, 1)).is_ok());
    assert_eq!(made(request(&asked)).unwrap_err().reason_code(), "malformed");
    let padded = Revocation { request: request(&asked), ..entry };
    assert_eq!(authorities(|by| padded.verify(by)).unwrap_err().reason_code(), "malformed");
}

#[test]
fn what_a_holder_cuts_again_within_five_minutes_changes_nothing() {
    let chain = chain(3);
    let id = key(HOLDERS[1]).public().id();
    let own = |now| {
        made(Asked::own_key(&chain, &MESH, &id).unwrap().sign(&MESH, &key(HOLDERS[1]), at(now), [1; 16])).unwrap()
    };
    let mut set = Revocations::new();
    let first = own(NOW - 1);
    assert_eq!(set.in_force(&first), None);
    set.cut(first.clone()).unwrap();
    for now in [NOW, NOW + 299] {
        assert_eq!(set.in_force(&own(now)), Some(first.until), "what is in force is what is told");
        assert_eq!(set.cut(own(now)), Ok(RevocationEpoch(1)));
    }
    assert_eq!(set.clone().cut(own(NOW + 300)), Ok(RevocationEpoch(2)));
    // An administrator's word stands as it is.
    assert_eq!(set.cut(by_administrator(CutKind::Holder, id.to_string())), Ok(RevocationEpoch(2)));
}

#[test]
fn the_body_of_a_holders_request_is_golden_and_has_one_reading() {
    let chain = chain(1);
    let asked = Asked::link(&chain, &MESH, &links(&chain)[0]).unwrap();
    let body = String::from_utf8(asked.to_body()).unwrap();
    let id = links(&chain)[0];
    let expected = format!(
        "{{\"tenant\":\"acme\",\"kind\":\"link\",\"id\":\"{id}\",\"links\":[\"{id}\"],\"chain\":\"{}\"}}",
        text::base64url(&chain)
    );
    assert_eq!(body, expected);
    assert_eq!(Asked::from_body(body.as_bytes()), Ok(asked));
    for (from, to) in [
        (",\"chain\"", ",\"chain\":\"AA\",\"chain\""),
        ("\"links\"", "\"more\":1,\"links\""),
        (&format!("\"links\":[\"{id}\"],"), ""),
        ("[\"", "[],\"a\":[\""),
        (&format!("[\"{id}\"]"), "[]"),
    ] {
        assert_ne!(body.replace(from, to), body);
        assert!(Asked::from_body(body.replace(from, to).as_bytes()).is_err(), "{from}");
    }
}

#[test]
fn holders_of_one_root_have_cut_enough_after_sixty_two_and_may_still_give_up_their_own() {
    let root = chain(1);
    let mut set = Revocations::new();
    let cut = |number: usize| {
        let child = sibling(&root, HOLDERS[0], u8::try_from(number).unwrap());
        made(ask(&child, links(&child).last().unwrap(), HOLDERS[0])).unwrap()
    };
    let max = HOLDER_REVOCATIONS_PER_ROOT_MAX - 2;
    for number in 0..max {
        set.cut(cut(number)).unwrap();
    }
    let epoch = set.epoch();
    assert_eq!(set.cut(cut(3)), Ok(epoch), "what is cut is cut");
    assert_eq!(set.cut(cut(100)), Err(RevocationRefused::RootFull { max }));
    // An administrator still can, and the count survives a snapshot.
    set.cut(by_administrator(CutKind::Session, "s".to_owned())).unwrap();
    let mut again: Revocations = serde_json::from_slice(&serde_json::to_vec(&set).unwrap()).unwrap();
    assert_eq!(again, set);
    assert!(again.cut(cut(100)).is_err());
    // Whoever has stolen the key has used up all that it may: the owner gives up both, one after the other.
    let mut given_up = set.clone();
    let id = key(HOLDERS[0]).public().id();
    let own = Asked::own_key(&root, &MESH, &id).unwrap().sign(&MESH, &key(HOLDERS[0]), at(NOW), [1; 16]);
    given_up.cut(made(own).unwrap()).unwrap();
    given_up.cut(made(ask(&root, &links(&root)[0], HOLDERS[0])).unwrap()).unwrap();
    assert!(is_cut(&given_up, &root));
    // Room comes back when cuts end.
    again.expire(at(ISSUED + 1 + 600 + 600));
    assert!(again.cut(cut(100)).is_ok());
}

#[test]
fn a_thief_of_keys_further_down_never_blocks_its_owners_cut() {
    let root = chain(1);
    let hops = |parent: &[u8], by, nonces: [u8; 3]| nonces.map(|nonce| (sibling(parent, by, nonce), nonce + 100));
    // Whoever has the key of a link cuts what it hands on for no other purpose, as long as it may.
    let fill = |set: &mut Revocations, (stolen, by): &(Vec<u8>, u8)| {
        let below = |nonce| {
            let hop = sibling(stolen, *by, nonce);
            made(ask(&hop, links(&hop).last().unwrap(), *by)).unwrap()
        };
        (0..70).take_while(|nonce| set.cut(below(*nonce)).is_ok()).count()
    };
    let children = hops(&root, HOLDERS[0], [50, 51, 52]);
    let (child, by) = &children[0];
    let grandchildren = hops(child, *by, [60, 61, 62]);
    for (stolen, taken, owner, chain) in
        [(&children, [30, 16, 0], HOLDERS[0], &root), (&grandchildren, [14, 8, 0], *by, child)]
    {
        let mut set = Revocations::new();
        assert_eq!(stolen.each_ref().map(|one| fill(&mut set, one)), taken);
        // Whose key is stolen gives it up, and so does one beside it.
        for (one, by) in &stolen[1..] {
            let mut given_up = set.clone();
            given_up.cut(made(ask(one, links(one).last().unwrap(), *by)).unwrap()).unwrap();
            assert!(is_cut(&given_up, one));
        }
        for (stolen, _) in stolen {
            set.cut(made(ask(stolen, links(stolen).last().unwrap(), owner)).unwrap()).unwrap();
            assert!(is_cut(&set, stolen));
        }
        set.cut(made(ask(chain, links(chain).last().unwrap(), owner)).unwrap()).unwrap();
    }
}

/// A set of so many entries that administrators asked for: copies of one that verifies, under other ids.
fn filled(entries: usize) -> Revocations {
    let pattern = by_administrator(CutKind::Session, "s-0".to_owned());
    let mut set = Revocations::new();
    for number in 0..entries {
        let mut entry = pattern.clone();
        entry.cut.id = format!("s-{number}");
        set.cut(entry).unwrap();
    }
    set
}

#[test]
fn where_room_is_short_a_cut_further_up_stands_for_those_below_it() {
    let chain = chain(3);
    let ids = links(&chain);
    let leaf = made(ask(&chain, &ids[2], HOLDERS[1])).unwrap();
    let other = made(Asked::own_key(&chain, &MESH, &key(HOLDERS[2]).public().id()).unwrap().sign(
        &MESH,
        &key(HOLDERS[2]),
        at(NOW),
        [1; 16],
    ))
    .unwrap();
    let above = made(ask(&chain, &ids[0], HOLDERS[0])).unwrap();
    for (filling, kept) in [(REVOCATIONS_FOLD_AT - 3, 1), (REVOCATIONS_FOLD_AT - 2, 0)] {
        let mut set = filled(filling);
        set.cut(leaf.clone()).unwrap();
        set.cut(other.clone()).unwrap();
        let before = set.clone();
        set.cut(above.clone()).unwrap();
        assert_eq!(set.len(), filling + 2 + kept, "the own key of a holder is no link and stays");
        assert!(is_cut(&set, &chain));
        // An edge that follows forgets what is covered, at once.
        let updated = authorities(|by| before.updated(set.update_from(Some(&before)), by, at(NOW))).unwrap();
        assert_eq!(updated, set);
        let epoch = set.epoch();
        assert_eq!(set.cut(leaf.clone()), Ok(epoch), "nothing new");
    }
}

#[test]
fn holders_never_take_the_room_of_administrators() {
    let chain = chain(2);
    let ids = links(&chain);
    let entry = made(ask(&chain, &ids[1], HOLDERS[0])).unwrap();
    let mut full = filled(REVOCATIONS_MAX);
    assert_eq!(full.cut(entry), Err(RevocationRefused::HoldersFull));
    assert_eq!(
        full.cut(by_administrator(CutKind::Task, "t".to_owned())),
        Ok(RevocationEpoch(u64::try_from(REVOCATIONS_MAX).unwrap() + 1))
    );
    const { assert!(HOLDER_REVOCATIONS_MAX <= REVOCATIONS_MAX / 2) };
}
