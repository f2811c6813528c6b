use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::*;
use crate::crypto::sign::SigningKey;
use crate::id::{Delegator, LogIndex, SessionId};
use crate::identity::{Administrator, NotPermitted, RequestRefused, SignedRequest, Verb};
use crate::revocation::REVOCATIONS_PATH;

const MESH: MeshId = MeshId([7; 16]);
const CREATED: u64 = 1_800_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).expect("any seed is a key")
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a name")
}

fn administrators() -> Administrators {
    let administrator = Administrator {
        name: "ana".to_owned(),
        key: *key(1).public(),
        tenants: BTreeSet::from([tenant("acme"), tenant("beta")]),
        verbs: BTreeSet::from([Verb::Revoke]),
        expires: Timestamp::from_secs(CREATED + 1_000),
    };
    Administrators::from([(administrator.key.id(), administrator)])
}

fn cut(of: &str, kind: CutKind, id: &str) -> Cut {
    Cut { tenant: tenant(of), kind, id: id.to_owned() }
}

fn request(signer: u8, cut: &Cut, created: u64) -> SignedRequest {
    let nonce = Digest::of(&[&cut.to_body()]).0;
    let nonce = *nonce.first_chunk().expect("32 bytes have 16");
    SignedRequest::sign(&MESH, &key(signer), "POST", REVOCATIONS_PATH, cut.to_body(), created, created + 60, nonce)
}

fn entry(index: u64, cut: &Cut) -> Revocation {
    Revocation::from_request(LogIndex(index), request(1, cut, CREATED), &MESH, &administrators()).expect("permitted")
}

fn session(id: &str) -> Cut {
    cut("acme", CutKind::Session, id)
}

fn set(cuts: &[Cut]) -> Revocations {
    let mut set = Revocations::new();
    for (index, cut) in (10..).zip(cuts) {
        set.cut(entry(index, cut)).expect("there is room");
    }
    set
}

fn now() -> Timestamp {
    Timestamp::from_secs(CREATED + 10)
}

#[test]
fn a_cut_session_is_cut_in_its_tenant_only() {
    let set = set(&[session("s-1")]);
    let s1 = SessionId::new("s-1").expect("an id");
    let s2 = SessionId::new("s-2").expect("an id");
    let delegator = Delegator::new("s-1").expect("an id");
    assert!(set.check(&tenant("acme"), [Subject::Session(&s1)]).is_err());
    assert!(set.check(&tenant("acme"), [Subject::Session(&s2), Subject::Delegator(&delegator)]).is_ok());
    assert!(set.check(&tenant("beta"), [Subject::Session(&s1)]).is_ok());
}

#[test]
fn a_credential_is_cut_by_name_or_by_version() {
    let name = crate::id::CredentialId::new("api").expect("an id");
    let by_version = set(&[cut("acme", CutKind::Credential, "api@7")]);
    assert!(by_version.check(&tenant("acme"), [Subject::Credential(&name, 7)]).is_err());
    assert!(by_version.check(&tenant("acme"), [Subject::Credential(&name, 8)]).is_ok());
    let by_name = set(&[cut("acme", CutKind::Credential, "api")]);
    assert!(by_name.check(&tenant("acme"), [Subject::Credential(&name, 8)]).is_err());
}

#[test]
fn cutting_the_tenant_cuts_everything_in_it() {
    let set = set(&[cut("acme", CutKind::Tenant, "acme")]);
    assert!(set.check(&tenant("acme"), []).is_err());
    assert!(set.check(&tenant("beta"), []).is_ok());
}

#[test]
fn ids_that_are_not_of_their_kind_are_refused() {
    let check = |kind, id: &str| {
        let body = Cut { tenant: tenant("acme"), kind, id: id.to_owned() }.to_body();
        assert!(matches!(Cut::from_body(&body), Err(RevocationRefused::Malformed { .. })), "{kind:?} {id}");
    };
    check(CutKind::Link, "abc");
    check(CutKind::Holder, &"A".repeat(64));
    check(CutKind::Session, "two words");
    check(CutKind::Credential, "api@07");
    check(CutKind::Tenant, "beta");
    check(CutKind::Edge, "");
    for body in [&b"{}"[..], b"[]", br#"{"tenant":"a","tenant":"a","kind":"tool","id":"x"}"#, &[b' '; 2_000]] {
        assert!(Cut::from_body(body).is_err());
    }
}

#[test]
fn forged_revocation_by_a_voter_is_refused() {
    let good = entry(10, &session("s-1"));
    let refused = |entry: &Revocation| entry.verify(&MESH, &administrators()).expect_err("forged");
    assert_eq!(good.verify(&MESH, &administrators()), Ok(()));

    let other_cut = Revocation { cut: session("s-2"), ..good.clone() };
    assert_eq!(refused(&other_cut), RevocationRefused::Differs);
    let lives_longer = Revocation { until: Timestamp::MAX, ..good.clone() };
    assert_eq!(refused(&lives_longer), RevocationRefused::Differs);
    let mut body_changed = good.clone();
    body_changed.request.body = session("s-2").to_body();
    assert_eq!(refused(&body_changed), RevocationRefused::Request(RequestRefused::Signature));
    let stranger = Revocation { request: request(2, &session("s-1"), CREATED), ..good.clone() };
    assert!(matches!(refused(&stranger), RevocationRefused::NotPermitted(NotPermitted::Unknown { .. })));
    let late = Revocation { request: request(1, &session("s-1"), CREATED + 2_000), ..good.clone() };
    assert!(matches!(refused(&late), RevocationRefused::NotPermitted(NotPermitted::Expired { .. })));
    let elsewhere = cut("gamma", CutKind::Session, "s-1");
    let elsewhere = Revocation { request: request(1, &elsewhere, CREATED), cut: elsewhere, ..good.clone() };
    assert!(matches!(refused(&elsewhere), RevocationRefused::NotPermitted(NotPermitted::Tenant { .. })));
    assert!(good.verify(&MeshId([8; 16]), &administrators()).is_err(), "another mesh");
}

#[test]
fn updates_lead_to_the_same_set_whole_or_in_steps() {
    let old = set(&[session("s-1"), session("s-2")]);
    let mut new = old.clone();
    new.cut(entry(30, &session("s-3"))).expect("room");
    let updated = |from: &Revocations, update| from.updated(update, &MESH, &administrators(), now());
    let step = updated(&old, new.update_from(Some(&old))).expect("follows");
    let whole = updated(&Revocations::new(), new.update_from(None)).expect("whole");
    assert_eq!((step.epoch(), step.digest()), (new.epoch(), new.digest()));
    assert_eq!((whole.epoch(), whole.digest()), (new.epoch(), new.digest()));
    let stored = serde_json::to_vec(&step).expect("encodes");
    assert_eq!(serde_json::from_slice::<Revocations>(&stored).expect("decodes"), step);
}

#[test]
fn an_update_that_goes_back_leaps_or_lies_changes_nothing() {
    let old = set(&[session("s-1")]);
    let new = set(&[session("s-1"), session("s-2"), session("s-3")]);
    let middle = set(&[session("s-1"), session("s-2")]);
    let updated = |from: &Revocations, update| from.updated(update, &MESH, &administrators(), now());
    let back = updated(&new, old.update_from(None));
    assert!(matches!(back, Err(RevocationRefused::EpochNotRising { .. })), "{back:?}");
    let leap = updated(&old, new.update_from(Some(&middle)));
    assert!(matches!(leap, Err(RevocationRefused::Gap { .. })), "{leap:?}");
    let mut lie = new.update_from(Some(&old));
    lie.added.pop();
    assert_eq!(updated(&old, lie), Err(RevocationRefused::Digest));
}

#[test]
fn what_a_voter_drops_too_early_stays_cut_here() {
    let old = set(&[session("s-1")]);
    let mut expired = old.clone();
    assert_eq!(expired.expire(Timestamp::from_secs(CREATED)), 0, "not yet");
    assert_eq!(expired.expire(Timestamp::from_secs(CREATED + 30 * 24 * 3_600)), 1);
    let s1 = SessionId::new("s-1").expect("an id");
    let check = |set: &Revocations| set.check(&tenant("acme"), [Subject::Session(&s1)]);
    for update in [expired.update_from(Some(&old)), expired.update_from(None)] {
        let early = old.updated(update.clone(), &MESH, &administrators(), now()).expect("follows");
        assert_eq!(early.digest(), expired.digest());
        assert!(check(&early).is_err(), "resurrected");
        let stored = serde_json::to_vec(&early).expect("encodes");
        assert!(check(&serde_json::from_slice(&stored).expect("decodes")).is_err(), "resurrected by a restart");
        let late = Timestamp::from_secs(CREATED + 40 * 24 * 3_600);
        assert!(check(&old.updated(update, &MESH, &administrators(), late).expect("follows")).is_ok());
    }
}

/// Golden bytes, clause T-44.
#[test]
fn the_digest_is_what_the_protocol_says() {
    let set = set(&[session("s-1"), cut("beta", CutKind::Tool, "crm.read")]);
    let entry = |tenant: &str, kind: u8, id: &str, until: u64, index: u64| {
        let mut bytes = Vec::new();
        for (text, after) in [(tenant, Some(kind)), (id, None)] {
            bytes.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
            bytes.extend(text.as_bytes());
            bytes.extend(after);
        }
        bytes.extend(until.to_be_bytes());
        bytes.extend(index.to_be_bytes());
        bytes
    };
    let expected = Digest::of(&[
        b"remit/revocations/v1\0",
        &2u64.to_be_bytes(),
        &entry("acme", 3, "s-1", (CREATED + 300 + 3_600 + 600) * 1_000, 10),
        &entry("beta", 7, "crm.read", (CREATED + 86_400) * 1_000, 11),
    ]);
    assert_eq!(set.digest(), expected);
    assert_eq!(
        Revocations::new().digest().to_string(),
        Digest::of(&[b"remit/revocations/v1\0", &0u64.to_be_bytes()]).to_string()
    );
}

#[test]
fn the_epoch_rises_with_every_cut_and_the_later_end_wins() {
    let mut set = Revocations::new();
    let first = entry(10, &session("s-1"));
    let again =
        Revocation::from_request(LogIndex(20), request(1, &session("s-1"), CREATED + 500), &MESH, &administrators())
            .expect("permitted");
    assert_eq!(set.cut(again.clone()), Ok(RevocationEpoch(1)));
    assert_eq!(set.cut(first), Ok(RevocationEpoch(2)));
    assert_eq!(set.iter().collect::<Vec<_>>(), [&again]);
}
