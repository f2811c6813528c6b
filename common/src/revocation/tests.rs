use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::crypto::sign::SigningKey;
use crate::envelope::{Issuer, Issuers};
use crate::id::{MeshId, RevocationEpoch, TenantId};
use crate::identity::{Administrator, Administrators, Verb};
use crate::limits::{HOLDER_REVOCATIONS_BYTES_MAX, PRESENTATION_BYTES_MAX};

pub(super) const MESH: MeshId = MeshId([0x11; 16]);
pub(super) const CREATED: u64 = 1_800_000_000;

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(super) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn administrators() -> Administrators {
    let administrator = |seed, name: &str, tenants: &[&str], verbs: &[Verb]| Administrator {
        name: name.to_owned(),
        key: *key(seed).public(),
        tenants: tenants.iter().map(|name| tenant(name)).collect(),
        verbs: verbs.iter().copied().collect::<BTreeSet<_>>(),
        expires: at(CREATED + 1_000_000),
    };
    [
        administrator(1, "ops", &["acme"], &[Verb::Revoke]),
        administrator(2, "author", &["acme"], &[Verb::PublishBundle]),
        administrator(3, "other", &["other"], &[Verb::Revoke]),
    ]
    .into_iter()
    .map(|administrator| (administrator.key.id(), administrator))
    .collect()
}

/// Issuers 11 and 12 of acme, 13 of another tenant.
fn issuers() -> Issuers {
    let issuer = |seed, of: &str| {
        let key = *key(seed).public();
        Issuer { kid: key.id(), key, tenants: vec![tenant(of)], from: at(CREATED - 10), until: at(CREATED + 10) }
    };
    Issuers::new(vec![issuer(11, "acme"), issuer(12, "acme"), issuer(13, "other")]).unwrap()
}

fn with<T>(mesh: &MeshId, use_it: impl FnOnce(&Authorities<'_>) -> T) -> T {
    use_it(&Authorities { mesh, administrators: &administrators(), issuers: &issuers() })
}

fn made(request: SignedRequest) -> Result<Revocation, RevocationRefused> {
    with(&MESH, |authorities| Revocation::from_request(LogIndex(7), request, authorities))
}

fn cut(kind: CutKind, id: &str) -> Cut {
    Cut { tenant: tenant("acme").into(), kind, id: id.to_owned() }
}

fn request(seed: u8, cut: &Cut, created: u64) -> SignedRequest {
    let body = cut.to_body();
    SignedRequest::sign(&MESH, &key(seed), "POST", REVOCATIONS_PATH, body, created, created + 60, [1; 16])
}

fn entry(cut: &Cut, created: u64) -> Revocation {
    made(request(1, cut, created)).unwrap()
}

fn session(id: &str) -> Revocation {
    entry(&cut(CutKind::Session, id), CREATED)
}

fn updated(set: &Revocations, update: RevocationUpdate, now: u64) -> Result<Revocations, RevocationRefused> {
    with(&MESH, |authorities| set.updated(update, authorities, at(now)))
}

#[test]
fn each_kind_lives_as_long_as_what_it_cuts_may() {
    // Clause T-42.
    let check = |kind, secs| assert_eq!(cut(kind, "x").until(at(CREATED)), at(CREATED + secs), "{kind}");
    for kind in CutKind::ALL {
        check(
            kind,
            match kind {
                CutKind::Tool | CutKind::Tenant | CutKind::Forbid => 24 * 3_600,
                CutKind::Credential | CutKind::Edge | CutKind::Definition => 90 * 86_400,
                _ => 300 + 3_600 + 600,
            },
        );
    }
}

#[test]
fn numbers_and_order_of_kinds_agree() {
    let mut sorted = CutKind::ALL;
    sorted.sort();
    assert_eq!(sorted, CutKind::ALL);
    assert_eq!(CutKind::ALL.map(CutKind::number), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    for kind in CutKind::ALL {
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
    }
}

#[test]
fn ids_have_the_form_of_their_kind() {
    // Clauses T-40 and T-41.
    let hex = "ab".repeat(32);
    for (kind, id, fits) in [
        (CutKind::Link, hex.as_str(), true),
        (CutKind::Link, &hex.to_uppercase(), false),
        (CutKind::Holder, "ab", false),
        (CutKind::Session, "sess-1", true),
        (CutKind::Session, "two words", false),
        (CutKind::Credential, "crm", true),
        (CutKind::Credential, "crm@7", true),
        (CutKind::Credential, "crm@07", false),
        (CutKind::Credential, "crm@", false),
        (CutKind::Credential, "@7", false),
        (CutKind::Tenant, "acme", true),
        (CutKind::Tenant, "other", false),
        (CutKind::Edge, "eu-west-1", true),
        (CutKind::Edge, "EU", false),
        (CutKind::Tool, "crm.read", true),
        (CutKind::Tool, "", false),
        (CutKind::Class, "analyst", true),
        (CutKind::Class, "", false),
        (CutKind::Definition, hex.as_str(), true),
        (CutKind::Definition, "crm.read", false),
        (CutKind::Issuer, &format!("{hex}@1800000000"), true),
        (CutKind::Issuer, &format!("{hex}@01800000000"), false),
        (CutKind::Issuer, &format!("{hex}@"), false),
        (CutKind::Issuer, &hex, false),
    ] {
        assert_eq!(cut(kind, id).check().is_ok(), fits, "{kind} {id}");
        assert_eq!(Asked::from_body(&cut(kind, id).to_body()).is_ok(), fits);
    }
    for body in ["{}", "[]", "", "{\"tenant\":\"acme\",\"kind\":\"session\",\"id\":\"a\",\"id\":\"b\"}"] {
        assert!(Asked::from_body(body.as_bytes()).is_err(), "{body}");
    }
    let long = format!("{{\"tenant\":\"acme\",\"kind\":\"session\",\"id\":\"a\"{}}}", " ".repeat(512));
    assert!(Asked::from_body(long.as_bytes()).is_err());
}

#[test]
fn only_an_administrator_of_the_tenant_with_the_verb_cuts() {
    // Clause T-43.
    let wanted = cut(CutKind::Session, "s");
    let make = |request| made(request).map(|_| ());
    let code = |result: Result<(), RevocationRefused>| result.map_err(|refused| refused.reason_code());
    assert_eq!(code(make(request(1, &wanted, CREATED))), Ok(()));
    assert_eq!(code(make(request(2, &wanted, CREATED))), Err("verb_not_permitted"));
    assert_eq!(code(make(request(3, &wanted, CREATED))), Err("tenant_not_permitted"));
    assert_eq!(code(make(request(4, &wanted, CREATED))), Err("unknown_administrator"));
    assert_eq!(code(make(request(1, &wanted, CREATED + 1_000_000))), Err("administrator_expired"));
    let mut forged = request(1, &wanted, CREATED);
    forged.body = cut(CutKind::Session, "other").to_body();
    assert_eq!(code(make(forged)), Err("bad_signature"));
    let elsewhere =
        SignedRequest::sign(&MESH, &key(1), "POST", "/v1/x", wanted.to_body(), CREATED, CREATED + 1, [1; 16]);
    assert_eq!(code(make(elsewhere)), Err("malformed"));
}

#[test]
fn forged_revocation_by_a_voter_is_refused() {
    // Clause T-43.
    let good = session("s");
    assert_eq!(with(&MESH, |by| good.verify(by)), Ok(()));
    let other = Revocation { cut: cut(CutKind::Session, "t"), ..good.clone() };
    let shorter = Revocation { until: good.until.minus(Duration::from_secs(1)), ..good.clone() };
    let longer = Revocation { until: good.until.plus(Duration::from_secs(1)), ..good.clone() };
    for changed in [other, shorter, longer] {
        assert_eq!(with(&MESH, |by| changed.verify(by)), Err(RevocationRefused::Differs));
    }
    assert!(with(&MeshId([0x12; 16]), |by| good.verify(by)).is_err());
}

#[test]
fn the_digest_is_golden() {
    // Clause T-44.
    let mut set = Revocations::new();
    assert_eq!(set.digest().to_string(), "c71e1eb96a0fcfc774864277b962499d793fe608d6ae573b4d7b4cd49a65230b");
    set.cut(entry(&cut(CutKind::Tool, "tickets.create"), CREATED)).unwrap();
    set.cut(session("sess-1")).unwrap();
    assert_eq!(
        (set.epoch(), set.digest().to_string().as_str()),
        (RevocationEpoch(2), "4adc1908b7f1ec827fbc95d1578bf2debe5584c77918093f6d896f11882e0893")
    );
    // Index and request are not in it: who delivered an entry, and when, makes no other set.
    let mut same = Revocations::new();
    same.cut(Revocation { index: LogIndex(99), ..session("sess-1") }).unwrap();
    same.cut(entry(&cut(CutKind::Tool, "tickets.create"), CREATED)).unwrap();
    assert_eq!(same.digest(), set.digest());
}

#[test]
fn the_epoch_rises_with_every_change_and_with_nothing_else() {
    // Clause T-45.
    let mut set = Revocations::new();
    assert_eq!(set.cut(session("a")), Ok(RevocationEpoch(1)));
    assert_eq!(set.cut(session("a")), Ok(RevocationEpoch(1)));
    assert_eq!(set.cut(entry(&cut(CutKind::Session, "a"), CREATED - 1)), Ok(RevocationEpoch(1)));
    assert_eq!(set.cut(entry(&cut(CutKind::Session, "a"), CREATED + 1)), Ok(RevocationEpoch(2)));
    assert_eq!(set.len(), 1);
    assert_eq!(set.expire(at(CREATED + 4_500)), 0);
    assert_eq!(set.epoch(), RevocationEpoch(2));
    assert_eq!(set.expire(at(CREATED + 4_501)), 1);
    assert_eq!((set.epoch(), set.is_empty()), (RevocationEpoch(3), true));
}

#[test]
fn tenants_never_meet() {
    let mut set = Revocations::new();
    set.cut(session("s")).unwrap();
    let id = "s".parse().unwrap();
    assert!(set.check(&tenant("acme"), [Subject::Session(&id)]).is_err());
    assert_eq!(set.check(&tenant("other"), [Subject::Session(&id)]), Ok(()));
}

#[test]
fn every_kind_is_found_by_what_a_call_hangs_on() {
    let digest = Digest::of(&[b"x"]);
    let (link, holder) = (LinkId(digest), KeyId(digest));
    let (delegator, session, task) = ("maya".parse().unwrap(), "s".parse().unwrap(), "t".parse().unwrap());
    let (agent, credential) = ("agent".parse().unwrap(), "crm".parse().unwrap());
    let (tool, edge) = ("crm.read".parse().unwrap(), "eu-1".parse().unwrap());
    let class = "analyst".parse().unwrap();
    let signers = RootSigners { kids: vec![holder.short()], needed: 1, issued_secs: 99 };
    let subjects = [
        Subject::Link(&link),
        Subject::Holder(&holder),
        Subject::Delegator(&delegator),
        Subject::Session(&session),
        Subject::Task(&task),
        Subject::Agent(&agent),
        Subject::Credential(&credential, 7),
        Subject::Tool(&tool),
        Subject::Edge(&edge),
        Subject::Class(&class),
        Subject::Issuers(&signers),
        Subject::Definition(&digest),
    ];
    let hex = digest.to_string();
    for (kind, id) in [
        (CutKind::Link, hex.as_str()),
        (CutKind::Holder, &hex),
        (CutKind::Delegator, "maya"),
        (CutKind::Session, "s"),
        (CutKind::Task, "t"),
        (CutKind::Agent, "agent"),
        (CutKind::Credential, "crm"),
        (CutKind::Credential, "crm@7"),
        (CutKind::Tool, "crm.read"),
        (CutKind::Edge, "eu-1"),
        (CutKind::Tenant, "acme"),
        (CutKind::Class, "analyst"),
        (CutKind::Issuer, &format!("{hex}@100")),
        (CutKind::Definition, &hex),
    ] {
        let mut set = Revocations::new();
        assert_eq!(set.check(&tenant("acme"), subjects), Ok(()));
        set.cut(entry(&cut(kind, id), CREATED)).unwrap();
        assert_eq!(set.check(&tenant("acme"), subjects), Err(Revoked { cut: cut(kind, id) }));
    }
    let mut set = Revocations::new();
    set.cut(entry(&cut(CutKind::Credential, "crm@8"), CREATED)).unwrap();
    set.cut(entry(&cut(CutKind::Session, "t"), CREATED)).unwrap();
    set.cut(entry(&cut(CutKind::Issuer, &format!("{hex}@99")), CREATED)).unwrap();
    assert_eq!(set.check(&tenant("acme"), subjects), Ok(()));
}

#[test]
fn a_root_stands_while_enough_issuers_that_are_not_cut_signed_it() {
    // Clause T-49.
    let ids = [11, 12, 13].map(|seed| key(seed).public().id());
    let signed =
        |by: &[KeyId], issued_secs| RootSigners { kids: by.iter().map(KeyId::short).collect(), needed: 2, issued_secs };
    let mut set = Revocations::new();
    set.cut(entry(&cut(CutKind::Issuer, &format!("{}@50", ids[0])), CREATED)).unwrap();
    set.cut(entry(&cut(CutKind::Issuer, &format!("{}@100", ids[0])), CREATED)).unwrap();
    let stands = |signers: &RootSigners| set.check(&tenant("acme"), [Subject::Issuers(signers)]).is_ok();
    assert!(!stands(&signed(&ids[..2], 99)));
    assert!(stands(&signed(&ids[..2], 100)), "what it signed later counts");
    assert!(stands(&signed(&ids[1..], 99)), "it signed nothing of this");
    assert!(stands(&signed(&ids, 99)), "two others did");
}

#[test]
fn an_issuer_cuts_links_and_what_it_signed_itself() {
    // Clause T-51.
    let hex = "ab".repeat(32);
    let own = format!("{}@{CREATED}", key(11).public().id());
    let code =
        |seed, kind, id: &str, created| made(request(seed, &cut(kind, id), created)).map_err(|e| e.reason_code());
    assert!(code(11, CutKind::Link, &hex, CREATED).is_ok());
    assert!(code(11, CutKind::Issuer, &own, CREATED).is_ok());
    assert_eq!(code(12, CutKind::Issuer, &own, CREATED), Err("not_theirs_to_cut"));
    assert_eq!(code(11, CutKind::Tenant, "acme", CREATED), Err("not_theirs_to_cut"));
    assert_eq!(code(13, CutKind::Link, &hex, CREATED), Err("unknown_administrator"), "another tenant's issuer");
    assert_eq!(code(11, CutKind::Link, &hex, CREATED + 10), Err("unknown_administrator"), "not listed any more");
    let later = format!("{}@{}", key(11).public().id(), CREATED + 301);
    assert_eq!(code(1, CutKind::Issuer, &later, CREATED), Err("malformed"));
}

#[test]
fn what_an_issuer_cuts_again_within_five_minutes_changes_nothing() {
    // Clause T-55.
    let own = format!("{}@{CREATED}", key(11).public().id());
    for (kind, id) in [(CutKind::Link, "ab".repeat(32)), (CutKind::Issuer, own)] {
        let by_issuer = |created| made(request(11, &cut(kind, &id), created)).unwrap();
        let mut set = Revocations::new();
        set.cut(by_issuer(CREATED)).unwrap();
        assert_eq!(set.in_force(&by_issuer(CREATED + 9)), Some(by_issuer(CREATED).until));
        assert_eq!(set.cut(by_issuer(CREATED + 9)), Ok(RevocationEpoch(1)));
        assert_eq!(set.cut(entry(&cut(kind, &id), CREATED + 301)), Ok(RevocationEpoch(2)));
    }
}

#[test]
fn an_update_is_verified_compared_and_never_goes_back() {
    // Clause T-46.
    let mut first = Revocations::new();
    first.cut(session("a")).unwrap();
    let mut second = first.clone();
    second.cut(session("b")).unwrap();
    let (whole, step) = (second.update_from(None), second.update_from(Some(&first)));
    assert_eq!((step.added.len(), step.removed.len(), whole.added.len()), (1, 0, 2));
    let now = CREATED;
    assert_eq!(updated(&Revocations::new(), whole.clone(), now).as_ref(), Ok(&second));
    assert_eq!(updated(&first, whole.clone(), now).as_ref(), Ok(&second));
    assert_eq!(updated(&first, step.clone(), now).as_ref(), Ok(&second));
    let (from, have) = (RevocationEpoch(1), RevocationEpoch(0));
    assert_eq!(updated(&Revocations::new(), step.clone(), now), Err(RevocationRefused::Gap { from, have }));
    let (offered, have) = (RevocationEpoch(2), RevocationEpoch(2));
    assert_eq!(updated(&second, whole.clone(), now), Err(RevocationRefused::EpochNotRising { offered, have }));
    let mut missing = whole.clone();
    missing.added.pop();
    assert_eq!(updated(&first, missing, now), Err(RevocationRefused::Digest));
    let mut forged = whole;
    forged.added[1].cut.id = "c".to_owned();
    assert_eq!(updated(&first, forged, now), Err(RevocationRefused::Differs));
}

#[test]
fn what_is_dropped_early_stays_in_force_until_its_end() {
    // Clause T-45.
    let mut full = Revocations::new();
    full.cut(session("a")).unwrap();
    let mut empty = full.clone();
    empty.expire(Timestamp::MAX);
    let id = "a".parse().unwrap();
    let is_cut = |set: &Revocations| set.check(&tenant("acme"), [Subject::Session(&id)]).is_err();
    for update in [empty.update_from(None), empty.update_from(Some(&full))] {
        let early = updated(&full, update.clone(), CREATED).unwrap();
        assert_eq!((early.len(), early.digest(), is_cut(&early)), (0, empty.digest(), true));
        // It survives the disk, and ends by the clock here at the next update.
        let stored = serde_json::to_vec(&early).unwrap();
        let early: Revocations = serde_json::from_slice(&stored).unwrap();
        assert!(is_cut(&early));
        let mut later = empty.clone();
        later.cut(session("b")).unwrap();
        let step = later.update_from(Some(&empty));
        assert!(is_cut(&updated(&early, step.clone(), CREATED + 4_499).unwrap()));
        assert!(!is_cut(&updated(&early, step, CREATED + 4_500).unwrap()));
        assert!(!is_cut(&updated(&full, update, CREATED + 4_500).unwrap()));
    }
}

#[test]
fn the_holders_of_one_tenant_leave_as_much_as_they_take() {
    // Clause T-53: bodies as long as they may be, each below a root of its own.
    let request = request(1, &cut(CutKind::Session, "s"), CREATED);
    let made = |of: &str, number: u32| {
        let link = LinkId(Digest::of(&[of.as_bytes(), &number.to_be_bytes()]));
        let cut = Cut { tenant: tenant(of).into(), kind: CutKind::Link, id: link.to_string() };
        let shown = Shown { links: vec![link], chain: vec![0; PRESENTATION_BYTES_MAX] };
        let body = Asked { cut: cut.clone(), shown: Some(shown), with: None }.to_body();
        Revocation {
            until: Timestamp::MAX,
            cut,
            index: LogIndex(7),
            request: SignedRequest { body, ..request.clone() },
        }
    };
    let mut set = Revocations::new();
    let mut fill = |of: &str| {
        let refused = (0..2_000).find_map(|number| set.cut(made(of, number)).err().map(|why| (number, why)));
        refused.expect("there is an end")
    };
    let (first, second, third) = (fill("acme"), fill("other"), fill("third"));
    assert_eq!([&first.1, &second.1, &third.1], [&RevocationRefused::HoldersFull; 3]);
    let all = u32::try_from(HOLDER_REVOCATIONS_BYTES_MAX / made("acme", 0).request.body.len()).unwrap();
    assert!(first.0.abs_diff(all / 2) <= 1, "{} of {all}", first.0);
    assert!(second.0.abs_diff(all / 4) <= 1 && third.0.abs_diff(all / 8) <= 1, "{} and {}", second.0, third.0);
    // What has ended makes room again, for whoever comes.
    set.cut(entry(&cut(CutKind::Session, "s"), CREATED)).unwrap();
    set.expire(Timestamp::MAX);
    assert!(set.is_empty());
    assert!((0..first.0).all(|number| set.cut(made("fourth", number)).is_ok()));
}

/// A voter that lies shows an edge what an administrator asked for long ago, and then lets it go.
#[test]
fn an_old_request_shown_again_shortens_nothing() {
    // Clause T-45.
    let of = |id: &str, created| entry(&cut(CutKind::Session, id), created);
    let mut have = Revocations::new();
    have.cut(of("a", CREATED)).unwrap();
    let mut lie = Revocations::new();
    lie.cut(of("a", CREATED - 4_000)).unwrap();
    lie.cut(of("b", CREATED)).unwrap();
    let mut gone = lie.clone();
    gone.expire(at(CREATED + 600));
    let id = "a".parse().unwrap();
    let is_cut = |set: &Revocations| set.check(&tenant("acme"), [Subject::Session(&id)]).is_err();
    assert!(gone.len() == 1 && !is_cut(&gone), "the log of the liar has let it go");
    let shown = updated(&have, lie.update_from(None), CREATED + 600).unwrap();
    assert!(is_cut(&shown));
    for update in [gone.update_from(None), gone.update_from(Some(&lie))] {
        let after = updated(&shown, update, CREATED + 600).unwrap();
        assert_eq!((after.digest(), is_cut(&after)), (gone.digest(), true));
        let mut later = gone.clone();
        later.cut(of("c", CREATED)).unwrap();
        let step = later.update_from(Some(&gone));
        assert!(is_cut(&updated(&after, step.clone(), CREATED + 4_499).unwrap()));
        assert!(!is_cut(&updated(&after, step, CREATED + 4_500).unwrap()));
    }
}

#[test]
fn the_stored_form_is_golden_and_refuses_disorder() {
    let mut set = Revocations::new();
    set.cut(session("sess-1")).unwrap();
    let stored = serde_json::to_string(&set).unwrap();
    assert_eq!(stored, include_str!("golden.json").trim_end());
    assert_eq!(serde_json::from_str::<Revocations>(&stored).unwrap(), set);
    let entry = serde_json::to_string(&session("sess-1")).unwrap();
    let twice = stored.replace(&entry, &format!("{entry},{entry}"));
    assert!(serde_json::from_str::<Revocations>(&twice).is_err());
}

proptest! {
    #[test]
    fn any_set_is_reached_from_any_earlier_one(first in proptest::collection::vec(0u8..12, 0..12), more in proptest::collection::vec(0u8..12, 0..12), expire: bool) {
        let mut old = Revocations::new();
        for id in first {
            old.cut(session(&id.to_string())).unwrap();
        }
        let mut new = old.clone();
        for id in more {
            new.cut(entry(&cut(CutKind::Session, &id.to_string()), CREATED + u64::from(id % 3))).unwrap();
        }
        if expire {
            new.expire(at(CREATED + 4_501));
        }
        if new.epoch() > old.epoch() {
            for update in [new.update_from(None), new.update_from(Some(&old))] {
                let reached = updated(&old, update, CREATED + 100_000).unwrap();
                prop_assert_eq!(&reached, &new);
                prop_assert_eq!(reached.digest(), new.digest());
            }
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Asked::from_body(&body).is_err());
    }
}

/// The filter in front of the set never hides an entry, however the set came to be what it is.
#[test]
fn whatever_was_cut_is_found_while_the_set_grows_shrinks_and_grows_again() {
    let digest = |number: u32| Digest::of(&[&number.to_be_bytes()]);
    let kind = |number: u32| if number.is_multiple_of(3) { CutKind::Holder } else { CutKind::Link };
    let request = request(1, &cut(CutKind::Session, "s"), CREATED);
    let made = |number: u32, until: u64| Revocation {
        until: at(until),
        cut: cut(kind(number), &digest(number).to_string()),
        index: LogIndex(7),
        request: request.clone(),
    };
    let is_cut = |set: &Revocations, number: u32| {
        let (link, holder) = (LinkId(digest(number)), KeyId(digest(number)));
        let subject = if kind(number) == CutKind::Holder { Subject::Holder(&holder) } else { Subject::Link(&link) };
        set.check(&tenant("acme"), [subject]).is_err()
    };
    let mut set = Revocations::new();
    for number in 0..2_000 {
        assert!(!is_cut(&set, number));
        set.cut(made(number, if number < 1_500 { 10 } else { 30 })).unwrap();
        assert!(is_cut(&set, number));
    }
    assert_eq!(set.expire(at(20)), 1_500);
    for number in 2_000..6_000 {
        set.cut(made(number, 30)).unwrap();
    }
    let read: Revocations = serde_json::from_slice(&serde_json::to_vec(&set).unwrap()).unwrap();
    assert_eq!(read, set, "it is compared by what is in it");
    for number in 0..8_000 {
        let expected = (1_500..6_000).contains(&number);
        assert_eq!((is_cut(&set, number), is_cut(&read, number)), (expected, expected), "{number}");
    }
}

#[test]
fn a_copy_shares_what_did_not_change() {
    let entry = |kind: CutKind, n: u64| {
        let cut = Cut { tenant: tenant("acme").into(), kind, id: format!("task-{n}") };
        made(SignedRequest::sign(
            &MESH,
            &key(1),
            "POST",
            REVOCATIONS_PATH,
            cut.to_body(),
            CREATED,
            CREATED + 60,
            [1; 16],
        ))
        .unwrap()
    };
    let mut before = Revocations::new();
    for n in 0..20 {
        before.cut(entry(CutKind::Task, n)).unwrap();
    }
    let mut after = before.clone();
    after.cut(entry(CutKind::Session, 1)).unwrap();
    after.cut(entry(CutKind::Task, 20)).unwrap();
    let shared = before.iter().filter(|old| after.iter().any(|new| std::ptr::eq(*old, new))).count();
    assert_eq!((shared, before.len(), after.len()), (20, 20, 22));
    // What changes in the copy does not change in what readers hold.
    let digest = before.digest();
    assert_eq!(after.expire(at(u64::MAX / 1_000)), 22);
    assert_eq!((before.len(), before.clone().digest()), (20, digest));
    assert_eq!(before.update_from(Some(&after)).added.len(), 20);
}
