//! The registry: who may change it, what a refused command leaves behind, and that every replica agrees. Clauses C-50
//! to C-72.

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, RevocationEpoch, VoterId};
use remit_common::identity::SignedRequest;
use remit_common::revocation::CutKind;
use remit_common::time::Timestamp;
use remit_common::trust::tick::TickRoots;
use remit_control_plane::registry::{Applied, Command, State};

use crate::world::{
    CUTTER, GLOBEX, MESH, NOW, OPS, Replica, STRANGER, at, cut, documents, genesis, key, reason, request, revoke,
    signed_directory, tenant,
};

/// Applies a request that must be refused, and checks that nothing but clock and nonces moved.
#[track_caller]
fn refused(request: SignedRequest, received_at: Timestamp, expected: &str) {
    let mut replica = Replica::new();
    let applied = replica.admin(request, received_at);
    assert_eq!(reason(&applied), expected, "{applied:?}");
    assert_eq!(replica.state.revocations().epoch(), RevocationEpoch(0));
    assert!(replica.state.bundles().is_empty() && replica.state.credentials().is_empty());
    assert_eq!(replica.state.trust().unwrap().directory.version(), 1);
}

#[test]
fn forged_administrator() {
    refused(revoke(STRANGER, "acme", "s", NOW, 1), NOW, "unknown_administrator");
    // Somebody else's signature under a listed name.
    let mut forged = revoke(STRANGER, "acme", "s", NOW, 1);
    forged.key = key(OPS).public().id();
    refused(forged, NOW, "bad_signature");
}

#[test]
fn tampered_request() {
    let tampered = |change: fn(&mut SignedRequest)| {
        let mut request = revoke(OPS, "acme", "s", NOW, 1);
        change(&mut request);
        request
    };
    refused(tampered(|request| request.body = cut("acme", CutKind::Session, "t")), NOW, "bad_signature");
    refused(tampered(|request| request.path = "/v1/bundles".to_owned()), NOW, "bad_signature");
    refused(tampered(|request| request.expires += 60), NOW, "bad_signature");
    refused(tampered(|request| request.nonce = "00".repeat(16)), NOW, "bad_signature");
    refused(tampered(|request| request.method = "GET".to_owned()), NOW, "malformed");
    refused(tampered(|request| request.path = "/v1/nothing".to_owned()), NOW, "malformed");
}

#[test]
fn another_meshs_request() {
    let secs = NOW.as_secs();
    let body = cut("acme", CutKind::Session, "s");
    let other = remit_common::id::MeshId([0x22; 16]);
    let request = SignedRequest::sign(&other, &key(OPS), "POST", "/v1/revocations", body, secs, secs + 60, [1; 16]);
    refused(request, NOW, "bad_signature");
}

#[test]
fn request_outside_its_window() {
    refused(revoke(OPS, "acme", "s", NOW, 1), at(60), "expired");
    refused(revoke(OPS, "acme", "s", at(6), 1), NOW, "not_yet_valid");
    let secs = NOW.as_secs();
    let body = cut("acme", CutKind::Session, "s");
    let long = SignedRequest::sign(&MESH, &key(OPS), "POST", "/v1/revocations", body, secs, secs + 301, [1; 16]);
    refused(long, NOW, "malformed");
    // Five seconds ahead is a clock, not an attack; the last second of the window is in it.
    for (created, received_at) in [(at(5), NOW), (NOW, at(59))] {
        let applied = Replica::new().admin(revoke(OPS, "acme", "s", created, 1), received_at);
        assert_eq!(reason(&applied), "revoked");
    }
}

#[test]
fn wrong_verb_and_wrong_tenant() {
    refused(request(CUTTER, "/v1/bundles", b"bundle".to_vec(), NOW, 1), NOW, "verb_not_permitted");
    refused(revoke(CUTTER, "globex", "s", NOW, 1), NOW, "tenant_not_permitted");
    refused(revoke(GLOBEX, "acme", "s", NOW, 1), NOW, "tenant_not_permitted");
    assert_eq!(reason(&Replica::new().admin(revoke(CUTTER, "acme", "s", NOW, 1), NOW)), "revoked");
}

#[test]
fn replayed_request() {
    let mut replica = Replica::new();
    let request = revoke(OPS, "acme", "s", NOW, 1);
    assert_eq!(reason(&replica.admin(request.clone(), NOW)), "revoked");
    for secs in [0, 1, 59] {
        assert_eq!(reason(&replica.admin(request.clone(), at(secs))), "replayed");
    }
    assert_eq!(reason(&replica.admin(request.clone(), at(60))), "expired");
    assert_eq!(replica.state.revocations().epoch(), RevocationEpoch(1));
    // A refused request is spent, too: what was forbidden today must not be carried out tomorrow.
    let forbidden = revoke(CUTTER, "globex", "s", at(60), 2);
    assert_eq!(reason(&replica.admin(forbidden.clone(), at(61))), "tenant_not_permitted");
    assert_eq!(reason(&replica.admin(forbidden, at(61))), "replayed");
}

#[test]
fn a_leader_that_turns_the_clock_back_revives_nothing() {
    let mut replica = Replica::new();
    let old = revoke(OPS, "acme", "s", NOW, 1);
    assert_eq!(reason(&replica.admin(old.clone(), NOW)), "revoked");
    // Another request an hour later makes the registry forget the old nonce.
    assert_eq!(reason(&replica.admin(revoke(OPS, "acme", "t", at(3_600), 2), at(3_600))), "revoked");
    assert_eq!(reason(&replica.admin(old, NOW)), "expired");
    assert_eq!(replica.state.clock(), at(3_600));
}

#[test]
fn whoever_lost_the_answer_can_still_be_told() {
    let mut replica = Replica::new();
    let request = revoke(OPS, "acme", "s", NOW, 1);
    let applied = replica.admin(request.clone(), NOW);
    let spent = replica.state.outcome_of(&request).unwrap();
    assert_eq!((spent.index, &spent.outcome), (LogIndex(2), &applied));
}

#[test]
fn revocations_raise_the_epoch_and_end_by_an_entry_only() {
    let mut replica = Replica::new();
    assert_eq!(replica.state.tick(), None);
    let empty = *replica.state.revocations_digest();
    let Applied::Revoked { epoch, until } = replica.admin(revoke(OPS, "acme", "s", NOW, 1), NOW) else {
        panic!("not revoked")
    };
    assert_eq!(epoch, RevocationEpoch(1));
    assert_ne!(*replica.state.revocations_digest(), empty);
    let fact = replica.state.epoch(epoch).unwrap();
    assert_eq!((fact.index, fact.tenant.as_ref()), (LogIndex(2), Some(&tenant("acme"))));
    assert_eq!(fact.digest, *replica.state.revocations_digest());

    let early = Command::ExpireRevocations { at: Timestamp::from_millis(until.as_millis() - 1) };
    assert_eq!(replica.apply(early), Applied::Expired { count: 0, epoch });
    assert_eq!(replica.state.revocations().len(), 1);
    let due = replica.apply(Command::ExpireRevocations { at: until });
    assert_eq!(due, Applied::Expired { count: 1, epoch: RevocationEpoch(2) });
    assert!(replica.state.revocations().is_empty());
    assert_eq!(replica.state.epoch(RevocationEpoch(2)).unwrap().tenant, None);
}

#[test]
fn two_tenants_with_equal_ids_never_meet() {
    let mut replica = Replica::new();
    assert_eq!(reason(&replica.admin(revoke(OPS, "acme", "same", NOW, 1), NOW)), "revoked");
    let of = |replica: &Replica, name: &str| {
        replica.state.revocations().iter().filter(|entry| entry.cut.tenant.covers(&tenant(name))).count()
    };
    assert_eq!((of(&replica, "acme"), of(&replica, "globex")), (1, 0));
    assert_eq!(reason(&replica.admin(revoke(OPS, "globex", "same", NOW, 2), NOW)), "revoked");
    assert_eq!((of(&replica, "acme"), of(&replica, "globex")), (1, 1));
}

#[test]
fn trust_goes_forward_only() {
    let mut replica = Replica::new();
    let install = |version: u64| {
        let mut documents = documents(true, NOW);
        documents.directory = Some(signed_directory(version, NOW).to_bytes());
        Command::InstallTrust { documents, at: NOW }
    };
    assert_eq!(replica.apply(install(3)), Applied::Trust { root: 1, directory: 3 });
    assert!(matches!(replica.apply(install(2)), Applied::Refused(_)));
    assert_eq!(replica.state.trust().unwrap().directory.version(), 3);
    // Another mesh's documents, whole and well signed, are not this mesh's.
    let mut elsewhere = State::new(genesis(false, NOW));
    let entry = Command::InstallTrust { documents: documents(true, NOW), at: NOW };
    let applied = remit_control_plane::registry::apply(&mut elsewhere, LogIndex(1), entry);
    assert!(matches!(applied, Applied::Refused(_)), "{applied:?}");
    assert!(elsewhere.trust().is_err());
}

#[test]
fn nothing_counts_before_there_is_trust() {
    let mut state = State::new(genesis(true, NOW));
    let commands = [
        Command::Admin { request: revoke(OPS, "acme", "s", NOW, 1), received_at: NOW },
        Command::Tick { roots: TickRoots { roots: Vec::new() }, at: NOW },
    ];
    for (index, command) in (1u64..).zip(commands) {
        let applied = remit_control_plane::registry::apply(&mut state, LogIndex(index), command);
        assert_eq!(reason(&applied), "no_trust");
    }
}

#[test]
fn a_tick_says_what_holds_at_its_entry() {
    let mut replica = Replica::new();
    let roots = |voters: &[u64]| TickRoots {
        roots: voters.iter().map(|voter| (VoterId(*voter), Digest::of(&[&voter.to_be_bytes()]))).collect(),
    };
    for unusable in [&[2, 1][..], &[1, 1], &[1, 4]] {
        let applied = replica.apply(Command::Tick { roots: roots(unusable), at: NOW });
        assert!(matches!(applied, Applied::Refused(_)), "{unusable:?}");
    }
    assert_eq!(replica.apply(Command::Tick { roots: roots(&[1, 3]), at: at(1) }), Applied::Tick);
    let before = replica.state.tick().unwrap().clone();
    assert_eq!((before.epoch, before.directory, before.root), (RevocationEpoch(0), 1, 1));
    assert_eq!(reason(&replica.admin(revoke(OPS, "acme", "s", NOW, 1), at(2))), "revoked");
    assert_eq!(replica.state.tick(), Some(&before), "a tick is as of its entry");
    assert_eq!(replica.apply(Command::Tick { roots: roots(&[2]), at: at(3) }), Applied::Tick);
    let after = replica.state.tick().unwrap();
    assert_eq!(after.epoch, RevocationEpoch(1));
    assert_eq!(after.revocations, *replica.state.revocations_digest());
    assert!(after.n > before.n && after.revocations != before.revocations);
}

/// An envelope for acme that two of the issuers signed, and who holds it.
fn envelope() -> (Vec<u8>, remit_common::crypto::sign::SigningKey) {
    use remit_common::envelope::{
        AgentIdentity, EvidenceKind, RootPayload, RootRequest, RootStamp, assemble_root, sign_root_part,
    };
    use remit_common::lattice::{Audience, ClassSet, Demands, Effect, Effects, Grant, PurposePath};
    let holder = key(77);
    let grant = Grant {
        tools: vec!["crm.read".parse().unwrap()],
        classes: Some(ClassSet::EMPTY),
        effects: Some(Effects::from(Effect::Read)),
        ..Grant::default()
    };
    let request = RootRequest {
        tenant: tenant("acme"),
        delegator: "user:maya".parse().unwrap(),
        session: "session-1".parse().unwrap(),
        task: "task-1".parse().unwrap(),
        agent: AgentIdentity { id: "agent:a".parse().unwrap(), class: "a".parse().unwrap(), attestation: None },
        purpose: PurposePath::new(&[1]).unwrap(),
        grants: vec![grant],
        life: std::time::Duration::from_secs(600),
        delegation: None,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        intent: None,
    };
    let stamp = RootStamp {
        issued: NOW,
        nonce: [1; 16],
        evidence_kind: EvidenceKind::Admin,
        evidence: Digest([2; 32]),
        catalogue_version: 1,
        taxonomy_version: 1,
        min_bundle_version: 1,
    };
    let payload = RootPayload::build(&request, holder.public(), &stamp).unwrap();
    let parts = [21, 22].map(|seed| sign_root_part(&MESH, &payload, &key(seed)));
    (assemble_root(&payload, parts.into()).unwrap(), holder)
}

#[test]
fn holders_and_issuers_cut_what_is_theirs_and_ask_for_nothing_else() {
    let (chain, holder) = envelope();
    let link = remit_common::envelope::RawPresentation::parse(&chain).unwrap().leaf_id(&MESH).unwrap();
    let asked = remit_common::revocation::Asked::link(&chain, &MESH, &link).unwrap();
    let own = asked.sign(&MESH, &holder, NOW, [1; 16]);
    let mut replica = Replica::new();
    assert_eq!(reason(&replica.admin(own.clone(), NOW)), "revoked");
    assert_eq!(replica.state.revocations().epoch(), RevocationEpoch(1));
    assert_eq!(reason(&replica.admin(own.clone(), NOW)), "replayed");
    // The same cut, asked for again, is the same cut.
    assert_eq!(reason(&replica.admin(asked.sign(&MESH, &holder, NOW, [2; 16]), NOW)), "revoked");
    assert_eq!(replica.state.revocations().epoch(), RevocationEpoch(1));
    // What was written is read again, and still says until when.
    let again = State::from_snapshot(replica.state.genesis(), &replica.state.to_snapshot()).unwrap();
    assert_eq!(again.revocations(), replica.state.revocations());
    assert_eq!(again.revocations().iter().next().unwrap().until, at(600 + 600));
    // An issuer, by its key, without a chain.
    let body = cut("acme", CutKind::Link, &link.to_string());
    assert_eq!(reason(&replica.admin(request(21, "/v1/revocations", body, NOW, 3), NOW)), "revoked");

    refused(asked.sign(&MESH, &key(STRANGER), NOW, [4; 16]), NOW, "not_theirs_to_cut");
    refused(own.clone(), at(120), "expired");
    refused(asked.sign(&MESH, &holder, at(600), [5; 16]), at(600), "ended");
    let mut elsewhere = own;
    elsewhere.path = "/v1/bundles".to_owned();
    refused(elsewhere, NOW, "unknown_administrator");
    refused(request(21, "/v1/bundles", Vec::new(), NOW, 6), NOW, "unknown_administrator");
    refused(request(21, "/v1/revocations", cut("acme", CutKind::Tenant, "acme"), NOW, 7), NOW, "not_theirs_to_cut");
}

/// What coverage is measured against is the entry that raised the epoch, and its tenant.
#[test]
fn a_cut_that_changes_nothing_says_nothing_about_the_epoch() {
    let mut replica = Replica::new();
    assert_eq!(reason(&replica.admin(revoke(OPS, "acme", "s", NOW, 1), NOW)), "revoked");
    assert_eq!(reason(&replica.admin(revoke(OPS, "globex", "s", NOW, 2), NOW)), "revoked");
    let before = replica.state.epoch(RevocationEpoch(2)).cloned();
    assert_eq!(reason(&replica.admin(revoke(CUTTER, "acme", "s", NOW, 3), NOW)), "revoked");
    assert_eq!(replica.state.epoch(RevocationEpoch(2)).cloned(), before);
    assert_eq!(before.unwrap().tenant, Some(tenant("globex")));
}
