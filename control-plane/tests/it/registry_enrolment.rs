//! Tokens and certificates in the registry: compared and consumed in one entry. Clauses J-9 to J-17.

use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingPublicKey;
use remit_common::crypto::sign::{PublicKey, Signature};
use remit_common::id::{LogIndex, MeshId};
use remit_common::identity::{Admission, SignedRequest};
use remit_common::revocation::CutKind;
use remit_common::text;
use remit_common::time::Timestamp;
use remit_common::trust::tick::TickRoots;
use remit_control_plane::registry::{
    Applied, Command, EnrolRequest, GRACE, State, TOKENS_MAX, TokenRequest, TrustDocuments, check_enrolment,
};

use crate::world::{
    CUTTER, GLOBEX, MESH, NOW, OPS, Replica, at, cut, directory_content, edge, genesis, key, reason, request,
    sealing_key, token_secret as secret,
};

const DAY: u32 = 86_400;

fn token(n: u8) -> Digest {
    secret(n).id()
}

fn create(n: u8, name: &str, secs: u64, uses: u32) -> TokenRequest {
    let region = "eu-west".parse().unwrap();
    TokenRequest::Create { token: token(n), region, edge: edge(name), lifetime_secs: secs, uses }
}

fn signed(seed: u8, asked: &TokenRequest, nonce: u64, created: Timestamp) -> SignedRequest {
    request(seed, "/v1/join-tokens", serde_json::to_vec(asked).unwrap(), created, nonce)
}

fn join(n: u8, name: &str, keys: (u8, u8)) -> EnrolRequest {
    join_at(n, "eu-west", name, keys)
}

/// What the holder of token `n` asks for.
fn join_at(n: u8, region: &str, name: &str, (identity, sealing): (u8, u8)) -> EnrolRequest {
    let (region, edge) = (region.parse().unwrap(), edge(name));
    let (identity, sealing): (PublicKey, SealingPublicKey) =
        (*key(identity).public(), sealing_key(sealing).public().clone());
    let admitted = Admission { mesh: MESH, region: &region, edge: &edge, identity: &identity, sealing: &sealing };
    let (token, admission) = (*secret(n).public(), secret(n).admit(&admitted));
    EnrolRequest::Join { token, region, edge, identity, sealing, admission }
}

fn renew(name: &str, identity: u8) -> EnrolRequest {
    EnrolRequest::Renew { region: "eu-west".parse().unwrap(), edge: edge(name), identity: *key(identity).public() }
}

/// A replica with token 1 for `e17`, used once within ten minutes.
fn with_token() -> Replica {
    let mut replica = Replica::new();
    let applied = replica.admin(signed(OPS, &create(1, "e17", 600, 1), 1, NOW), NOW);
    assert_eq!(applied, Applied::JoinToken { token: token(1), expires: Some(at(600)) });
    replica
}

fn enrol(replica: &mut Replica, request: EnrolRequest, secs: i64) -> Applied {
    let applied = replica.apply(Command::Enrol { request, life_secs: DAY, at: at(secs) });
    // What a state holds survives being written and read.
    let read = State::from_snapshot(&genesis(true, NOW), &replica.state.to_snapshot()).unwrap();
    assert_eq!(read.to_snapshot(), replica.state.to_snapshot());
    applied
}

fn tick(replica: &mut Replica, at: Timestamp) {
    assert_eq!(reason(&replica.apply(Command::Tick { roots: TickRoots { roots: vec![] }, at })), "tick");
}

/// The second directory lists `e17` with these keys.
fn list(replica: &mut Replica, identity: u8, sealing: u8, secs: i64) {
    let mut content = directory_content(2, NOW);
    content.edges.push(remit_common::trust::directory::Edge {
        id: edge("e17"),
        region: "eu-west".parse().unwrap(),
        identity: *key(identity).public(),
        sealing: sealing_key(sealing).public().clone(),
    });
    let signed = remit_common::trust::directory::SignedDirectory::make(&content, &[&key(4), &key(5)]).unwrap();
    let documents = TrustDocuments { roots: vec![], directory: Some(signed.to_bytes()) };
    let applied = replica.apply(Command::InstallTrust { documents, at: at(secs) });
    assert_eq!(applied, Applied::Trust { root: 1, directory: 2 });
}

/// J-9, J-10.
#[test]
fn who_may_make_tokens_and_how_many_there_are() {
    let mut replica = with_token();
    let asked = |replica: &mut Replica, seed, asked: &TokenRequest, nonce| {
        let applied = replica.admin(signed(seed, asked, nonce, NOW), NOW);
        reason(&applied).to_owned()
    };
    assert_eq!(asked(&mut replica, CUTTER, &create(2, "e18", 600, 1), 2), "verb_not_permitted");
    assert_eq!(asked(&mut replica, GLOBEX, &create(2, "e18", 600, 1), 3), "join-token");
    assert_eq!(asked(&mut replica, OPS, &create(1, "e19", 600, 1), 4), "token_exists");
    for (secs, uses) in [(0, 1), (7 * 86_400 + 1, 1), (600, 0), (600, 17)] {
        let nonce = 100 + secs + u64::from(uses);
        assert_eq!(asked(&mut replica, OPS, &create(3, "e18", secs, uses), nonce), "malformed");
    }
    let long = [serde_json::to_vec(&create(3, "e18", 600, 1)).unwrap(), vec![b' '; 512]].concat();
    let long = request(OPS, "/v1/join-tokens", long, NOW, 5);
    assert_eq!(reason(&replica.admin(long, NOW)), "malformed");
    assert_eq!(replica.state.join_tokens().count(), 2);

    // Taken back, it lets nobody in, and cannot be taken back again.
    let back = TokenRequest::Revoke { token: token(1) };
    assert_eq!(asked(&mut replica, OPS, &back, 6), "join-token");
    assert_eq!(asked(&mut replica, OPS, &back, 7), "no_such_token");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 62)), 1)), "token_unknown");

    let mut nonce = 1_000;
    while replica.state.join_tokens().count() < TOKENS_MAX {
        nonce += 1;
        let token = Digest::of(&[&u64::to_be_bytes(nonce)]);
        let TokenRequest::Create { region, edge, .. } = create(0, "e20", 60, 1) else { unreachable!() };
        let one = TokenRequest::Create { token, region, edge, lifetime_secs: 60, uses: 1 };
        assert_eq!(asked(&mut replica, OPS, &one, nonce), "join-token");
    }
    assert_eq!(asked(&mut replica, OPS, &create(9, "e21", 60, 1), 1), "replayed");
    assert_eq!(asked(&mut replica, OPS, &create(9, "e21", 60, 1), 8), "too_many_tokens");
    // Those that have ended make room.
    let applied = replica.admin(signed(OPS, &create(9, "e21", 60, 1), 9, at(61)), at(61));
    assert_eq!(reason(&applied), "join-token");
    assert!(replica.state.join_tokens().count() < 4);
}

/// J-11, J-12: one turn, whatever is tried.
#[test]
fn a_token_is_consumed_once_and_the_same_keys_are_told_what_came_of_it() {
    let mut replica = with_token();
    let first = enrol(&mut replica, join(1, "e17", (61, 62)), 1);
    let Applied::Certificate { edge: name, index } = first.clone() else { panic!("{first:?}") };
    assert_eq!((name, index), (edge("e17"), LogIndex(3)));
    // A retry, as after a fail-over: the same certificate, and no second turn.
    assert_eq!(enrol(&mut replica, join(1, "e17", (61, 62)), 5), first);
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (63, 62)), 6)), "token_used");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 64)), 6)), "token_used");
    let enrolled = replica.state.enrolled(&key(61).public().id()).unwrap();
    assert_eq!((enrolled.index, enrolled.at, enrolled.ends()), (LogIndex(3), at(1), at(86_401)));
    let waiting: Vec<_> = replica.state.waiting().map(|(row, _)| row).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!((&waiting[0].id, &waiting[0].sealing), (&edge("e17"), sealing_key(62).public()));
    list(&mut replica, 61, 62, 10);
    assert_eq!(replica.state.waiting().count(), 0);
}

/// J-11.
#[test]
fn a_token_counts_for_one_edge_in_one_region_for_a_while() {
    let mut replica = with_token();
    assert_eq!(reason(&enrol(&mut replica, join(2, "e17", (61, 62)), 1)), "token_unknown");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e18", (61, 62)), 1)), "token_for_another");
    assert_eq!(reason(&enrol(&mut replica, join_at(1, "us-east", "e17", (61, 62)), 1)), "token_for_another");
    // Another edge's key: one of the directory's, and one that waits.
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (31, 62)), 1)), "key_taken");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 31)), 1)), "key_taken");
    assert_eq!(reason(&replica.admin(signed(OPS, &create(5, "e18", 600, 1), 5, NOW), at(1))), "join-token");
    assert_eq!(reason(&enrol(&mut replica, join(5, "e18", (71, 72)), 2)), "certificate");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (71, 62)), 3)), "key_taken");
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 72)), 3)), "key_taken");
    // Until it ends, and not then.
    assert!(check_enrolment(&replica.state, &join(1, "e17", (61, 62)), at(599)).is_ok());
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 62)), 600)), "token_expired");
    tick(&mut replica, at(601));
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 62)), 602)), "token_unknown");
    assert_eq!(replica.state.join_tokens().count(), 0);
}

/// J-18: every voter knows the token and hears what its holder signed; none of them lets anybody else in by it.
#[test]
fn a_voter_cannot_spend_a_token_that_it_knows() {
    let mut replica = with_token();
    let EnrolRequest::Join { token, region, edge: name, identity, sealing, admission } = join(1, "e17", (61, 62))
    else {
        unreachable!()
    };
    let [other, other_sealing] = [63, 64].map(|seed| (*key(seed).public(), sealing_key(seed).public().clone()));
    let with = |identity, sealing: &SealingPublicKey, admission| EnrolRequest::Join {
        token,
        region: region.clone(),
        edge: name.clone(),
        identity,
        sealing: sealing.clone(),
        admission,
    };
    let own = Admission { mesh: MESH, region: &region, edge: &name, identity: &other.0, sealing: &other.1 };
    let elsewhere = Admission { mesh: MeshId([9; 16]), identity: &identity, sealing: &sealing, ..own };
    for proposed in [
        with(other.0, &sealing, admission),
        with(identity, &other_sealing.1, admission),
        with(other.0, &other.1, secret(2).admit(&own)),
        with(identity, &sealing, secret(1).admit(&elsewhere)),
        with(identity, &sealing, Signature([0; 64])),
    ] {
        assert_eq!(reason(&enrol(&mut replica, proposed, 1)), "bad_signature");
    }
    assert!(replica.state.join_tokens().all(|(_, token)| token.used.is_empty()));
    assert_eq!(replica.state.waiting().count(), 0);
    assert_eq!(reason(&enrol(&mut replica, with(identity, &sealing, admission), 2)), "certificate");
}

/// J-13, J-15.
#[test]
fn only_an_edge_that_the_directory_lists_has_its_certificate_renewed() {
    let mut replica = with_token();
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 62)), 1)), "certificate");
    assert_eq!(reason(&enrol(&mut replica, renew("e17", 61), 2)), "not_in_directory");
    list(&mut replica, 61, 62, 3);
    assert_eq!(reason(&enrol(&mut replica, renew("e17", 63), 4)), "not_in_directory");
    assert_eq!(reason(&enrol(&mut replica, renew("eu-west-1", 61), 4)), "not_in_directory");
    let renewed = enrol(&mut replica, renew("e17", 61), 100);
    let Applied::Certificate { index, .. } = renewed.clone() else { panic!("{renewed:?}") };
    assert_eq!(enrol(&mut replica, renew("e17", 61), 104), renewed, "asked again at once");
    let later = enrol(&mut replica, renew("e17", 61), 105);
    assert_ne!(later, renewed);
    let enrolled = replica.state.enrolled(&key(61).public().id()).unwrap();
    assert!(enrolled.index > index && enrolled.at == at(105));
    // One that was installed by hand is renewed as well.
    assert_eq!(reason(&enrol(&mut replica, renew("eu-west-1", 31), 106)), "certificate");
    let malformed = |replica: &mut Replica, life_secs| {
        let applied = replica.apply(Command::Enrol { request: renew("e17", 61), life_secs, at: at(200) });
        assert_eq!(reason(&applied), "malformed");
    };
    malformed(&mut replica, 9);
    malformed(&mut replica, 7 * DAY + 1);
    // Long after its certificate has ended, nothing is left of one that was never renewed.
    let ends = replica.state.enrolled(&key(61).public().id()).unwrap().ends();
    tick(&mut replica, ends.plus(GRACE).minus(Duration::from_secs(1)));
    assert!(replica.state.enrolled(&key(61).public().id()).is_some());
    tick(&mut replica, ends.plus(GRACE).plus(Duration::from_secs(1)));
    assert!(replica.state.enrolled(&key(61).public().id()).is_none());
}

/// J-17: what one tenant cuts, another one may still use.
#[test]
fn an_edge_that_every_tenant_has_cut_is_evicted() {
    let mut replica = with_token();
    let name = "eu-west-1";
    let revoke = |replica: &mut Replica, tenant: &str, nonce| {
        let body = cut(tenant, CutKind::Edge, name);
        let applied = replica.admin(request(OPS, "/v1/revocations", body, NOW, nonce), NOW);
        assert_eq!(reason(&applied), "revoked");
    };
    revoke(&mut replica, "acme", 11);
    assert!(!replica.state.is_evicted(&edge(name)));
    revoke(&mut replica, "globex", 12);
    assert!(replica.state.is_evicted(&edge(name)) && !replica.state.is_evicted(&edge("eu-west-2")));
    assert_eq!(reason(&enrol(&mut replica, renew(name, 31), 1)), "edge_evicted");
    let read = State::from_snapshot(&genesis(true, NOW), &replica.state.to_snapshot()).unwrap();
    assert!(read.is_evicted(&edge(name)));
    // It ends with the cuts.
    let ended = at(91 * 86_400);
    assert_eq!(reason(&replica.apply(Command::ExpireRevocations { at: ended })), "expired");
    assert!(!replica.state.is_evicted(&edge(name)));
}

/// C-50, C-51: the entry, whose sealing key has golden bytes of its own.
#[test]
fn enrol_version_1() {
    let enrol = |request| Command::Enrol { request, life_secs: DAY, at: NOW };
    let renewal = enrol(renew("e17", 61)).to_entry();
    let identity = text::hex(key(61).public().as_bytes());
    let expected = format!(
        "524d544300010001060107{}03{}{identity}fc80510100fd00e86794a1010000",
        text::hex(b"eu-west"),
        text::hex(b"e17")
    );
    assert_eq!(text::hex(&renewal), expected);
    let joining = enrol(join(1, "e17", (61, 62)));
    assert_eq!(Command::from_entry(&joining.to_entry()), Ok(joining.clone()));
    let sealing = text::hex(sealing_key(62).public().as_bytes());
    let EnrolRequest::Join { admission, .. } = join(1, "e17", (61, 62)) else { unreachable!() };
    let expected = format!(
        "524d5443000100010600{}07{}03{}{identity}fbc004{sealing}40{}fc80510100fd00e86794a1010000",
        text::hex(secret(1).public().as_bytes()),
        text::hex(b"eu-west"),
        text::hex(b"e17"),
        text::hex(&admission.0)
    );
    assert_eq!(text::hex(&joining.to_entry()), expected);
}

/// C-86: what a snapshot holds of it, as JSON.
#[test]
fn enrolment_in_a_snapshot() {
    let mut replica = with_token();
    assert_eq!(reason(&enrol(&mut replica, join(1, "e17", (61, 62)), 1)), "certificate");
    let snapshot = String::from_utf8_lossy(&replica.state.to_snapshot()).into_owned();
    let (identity, sealing) = (key(61).public().id(), sealing_key(62).public().id());
    let expected = format!(
        r#"{{"tokens":{{"{}":{{"region":"eu-west","edge":"e17","expires":1793491800000,"uses":1,"by":"{}","index":2,"used":[["{identity}","{sealing}"]]}}}},"enrolled":{{"{identity}":{{"region":"eu-west","edge":"e17","identity":"{}","sealing":"{}","index":3,"at":1793491201000,"life_secs":86400}}}}}}"#,
        token(1),
        key(OPS).public().id(),
        text::hex(key(61).public().as_bytes()),
        text::base64(sealing_key(62).public().as_bytes())
    );
    assert!(snapshot.contains(&expected), "{expected}");
}
