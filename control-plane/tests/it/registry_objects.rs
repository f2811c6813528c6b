//! Bundles, shards and roots in the registry: what is accepted, what is refused and why, and that tenants who use the
//! same names never meet. Clauses C-55 to C-66.

use remit_common::crypto::digest::Digest;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::PublicKey;
use remit_common::envelope::{RawPresentation, TaskRequest, assemble_root, sign_root_part};
use remit_common::id::{CredentialId, LogIndex};
use remit_common::lattice::Effect;
use remit_common::shard::{ShardAad, seal};
use remit_control_plane::registry::{Applied, Command, EnvelopeRequest, State, TrustDocuments, apply};
use zeroize::Zeroizing;

use crate::world::{
    GLOBEX, MESH, NOW, OPS, Replica, at, bundle, edge, genesis, key, reason, request, sealing_key, successor_root,
    tenant,
};

fn publish(replica: &mut Replica, who: u8, container: Vec<u8>, nonce: u64) -> Applied {
    replica.admin(request(who, "/v1/bundles", container, NOW, nonce), NOW)
}

/// A replica that runs the example's bundle for both tenants.
fn with_bundles(dev: bool) -> Replica {
    let mut replica = Replica::with(dev);
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("acme", 1, &[6, 7], NOW), 1)), "bundle");
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("globex", 1, &[16, 17], NOW), 2)), "bundle");
    replica
}

#[test]
fn a_bundle_of_two_signatures_is_active() {
    let mut replica = Replica::new();
    let Applied::Bundle { tenant: of, version, digest, number, .. } =
        publish(&mut replica, OPS, bundle("acme", 1, &[6, 8], NOW), 1)
    else {
        panic!("not published")
    };
    assert_eq!((of.as_str(), version.0, number), ("acme", 1, LogIndex(2)));
    let activation = replica.state.activations().get(&(of.clone(), 0)).unwrap();
    assert_eq!((activation.number, activation.manifest), (number, digest));
    assert_eq!(replica.state.active(&of).unwrap().version(), version);
    assert!(replica.state.active(&tenant("globex")).is_none());
}

#[test]
fn bundles_that_administrators_did_not_sign_are_refused() {
    let mut replica = Replica::new();
    let good = bundle("acme", 1, &[6, 7], NOW);
    let mut refused = |who, container, nonce, expected: &str| {
        assert_eq!(reason(&publish(&mut replica, who, container, nonce)), expected);
        assert!(replica.state.bundles().is_empty() && replica.state.activations().is_empty());
    };
    refused(OPS, bundle("acme", 1, &[6], NOW), 1, "not_enough_signatures");
    // Twice the same key, and keys of another tenant's role.
    refused(OPS, bundle("acme", 1, &[6, 6], NOW), 2, "not_enough_signatures");
    refused(OPS, bundle("acme", 1, &[16, 17], NOW), 3, "not_enough_signatures");
    refused(GLOBEX, good.clone(), 4, "tenant_not_permitted");
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    refused(OPS, tampered, 5, "file_mismatch");
    let mut short = good;
    short.truncate(40);
    refused(OPS, short, 6, "malformed");
}

#[test]
fn policy_never_goes_back_by_itself() {
    let mut replica = Replica::new();
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("acme", 2, &[6, 7], NOW), 1)), "bundle");
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("acme", 1, &[6, 7], NOW), 2)), "rollback");
    let other = bundle("acme", 2, &[6, 7], at(-60));
    assert_eq!(reason(&publish(&mut replica, OPS, other, 3)), "same_version");
    // The same bundle again is another activation of it, and a higher one follows.
    let again = publish(&mut replica, OPS, bundle("acme", 2, &[6, 7], NOW), 4);
    assert!(matches!(again, Applied::Bundle { number: LogIndex(5), .. }), "{again:?}");
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("acme", 3, &[6, 7], NOW), 5)), "bundle");
    // What one tenant runs says nothing about another.
    assert_eq!(reason(&publish(&mut replica, OPS, bundle("globex", 1, &[16, 17], NOW), 6)), "bundle");
}

#[test]
fn old_bundles_make_room() {
    let mut replica = Replica::new();
    for version in 1..=10 {
        assert_eq!(reason(&publish(&mut replica, OPS, bundle("acme", version, &[6, 7], NOW), version)), "bundle");
    }
    let mut kept: Vec<u64> = replica.state.bundles().values().map(|bundle| bundle.version.0).collect();
    kept.sort_unstable();
    assert_eq!(kept, [3, 4, 5, 6, 7, 8, 9, 10]);
}

/// C-71: a newer root that no longer names the signers of the active bundle takes nothing from a voter that applied
/// both; so it takes nothing from one that restarts from a snapshot, and both go on alike.
#[test]
fn a_newer_root_leaves_restarted_voters_and_others_the_same() {
    for moment in [NOW, at(60)] {
        let mut live = with_bundles(true);
        let documents = TrustDocuments { roots: vec![successor_root(NOW).to_bytes()], directory: None };
        assert_eq!(reason(&live.apply(Command::InstallTrust { documents, at: moment })), "trust");
        let snapshot = live.state.to_snapshot();
        let mut restarted = State::from_snapshot(&genesis(true, NOW), &snapshot).expect("the voter starts");
        assert_eq!(Digest::of(&[&restarted.to_snapshot()]), Digest::of(&[&snapshot]));
        let digest = |state: &State| state.active(&tenant("acme")).map(|active| *active.digest());
        assert!(digest(&live.state).is_some() && digest(&restarted) == digest(&live.state));
        // The keys of the old root publish nothing any more, those of the new one do.
        for (seeds, nonce, expected) in [([6, 7], 11, "not_enough_signatures"), ([26, 27], 12, "bundle")] {
            let container = bundle("acme", 2, &seeds, NOW);
            let next =
                Command::Admin { request: request(OPS, "/v1/bundles", container, moment, nonce), received_at: moment };
            let there = apply(&mut restarted, LogIndex(50 + nonce), next.clone());
            let here = apply(&mut live.state, LogIndex(50 + nonce), next);
            assert_eq!((reason(&here), &here), (expected, &there));
        }
        assert_eq!(Digest::of(&[&restarted.to_snapshot()]), Digest::of(&[&live.state.to_snapshot()]));
        let again = State::from_snapshot(&genesis(true, NOW), &live.state.to_snapshot()).unwrap();
        assert_eq!(digest(&again), digest(&live.state));
    }
}

pub(crate) struct Seal<'a> {
    pub(crate) of: &'a str,
    pub(crate) edge: (&'a str, u8),
    pub(crate) version: u64,
    pub(crate) sealer: u8,
    pub(crate) name: &'a str,
    pub(crate) profile: Digest,
}

pub(crate) fn shard(seal_for: &Seal<'_>) -> String {
    let (edge, sealing) = (edge(seal_for.edge.0), sealing_key(seal_for.edge.1));
    let (of, name) = (tenant(seal_for.of), CredentialId::new(seal_for.name).unwrap());
    let aad = ShardAad {
        mesh: &MESH,
        tenant: &of,
        edge: &edge,
        sealing_key: sealing.public().id(),
        credential: &name,
        version: seal_for.version,
        profile: seal_for.profile,
    };
    let secret = Secret::new(b"s3cret".to_vec());
    let random = Zeroizing::new([7; 64]);
    String::from_utf8(seal(&aad, sealing.public(), &secret, &key(seal_for.sealer), &random).unwrap()).unwrap()
}

pub(crate) const CREDENTIAL: &str = "acme-contracts-api";

pub(crate) fn profile(replica: &Replica, of: &str) -> Digest {
    let profiles = replica.state.active(&tenant(of)).unwrap().profiles_of(&CredentialId::new(CREDENTIAL).unwrap());
    *profiles.first().unwrap()
}

#[test]
fn shards_are_stored_for_the_edge_that_they_are_sealed_to() {
    let mut replica = with_bundles(true);
    let profile = profile(&replica, "acme");
    let for_edge = |name, seed, version| {
        shard(&Seal { of: "acme", edge: (name, seed), version, sealer: 51, name: CREDENTIAL, profile })
    };
    let put = |replica: &mut Replica, shards: &[String], nonce| {
        let body = format!("[{}]", shards.join(",")).into_bytes();
        replica.admin(request(OPS, "/v1/credentials", body, NOW, nonce), NOW)
    };
    let both = [for_edge("eu-west-1", 31, 1), for_edge("eu-west-2", 32, 1)];
    assert_eq!(reason(&put(&mut replica, &both, 10)), "credential");
    let first = edge("eu-west-1");
    let held: Vec<_> = replica.state.shards_for(&first).collect();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].as_ref(), both[0].as_bytes());

    assert_eq!(reason(&put(&mut replica, &both, 11)), "version_not_rising");
    assert_eq!(reason(&put(&mut replica, &[both[0].clone(), both[0].clone()], 12)), "malformed");
    let mixed = [for_edge("eu-west-1", 31, 2), for_edge("eu-west-2", 32, 3)];
    assert_eq!(reason(&put(&mut replica, &mixed, 13)), "malformed");
    assert_eq!(reason(&put(&mut replica, &[], 14)), "malformed");
    assert_eq!(reason(&put(&mut replica, &[for_edge("eu-west-1", 32, 2)], 15)), "unlisted-key");
    let other_profile = Digest::of(&[b"another server"]);
    let elsewhere =
        Seal { of: "acme", edge: ("eu-west-1", 31), version: 2, sealer: 51, name: CREDENTIAL, profile: other_profile };
    assert_eq!(reason(&put(&mut replica, &[shard(&elsewhere)], 16)), "profile_mismatch");
    // The sealer of another tenant, and one of ours without its tampered payload.
    let foreign = Seal { sealer: 52, profile, ..elsewhere };
    assert_eq!(reason(&put(&mut replica, &[shard(&foreign)], 17)), "outside-sealer-scope");
    assert_eq!(reason(&put(&mut replica, &[for_edge("eu-west-1", 31, 2)], 18)), "credential");
    assert_eq!(replica.state.shards_for(&edge("eu-west-2")).count(), 0, "a version replaces the one before whole");

    // The same name in the other tenant is another credential, and starts at its own version.
    let theirs = Seal { of: "globex", edge: ("eu-west-1", 31), version: 1, sealer: 52, name: CREDENTIAL, profile };
    let body = format!("[{}]", shard(&theirs)).into_bytes();
    assert_eq!(reason(&replica.admin(request(GLOBEX, "/v1/credentials", body, NOW, 19), NOW)), "credential");
    assert_eq!(replica.state.shards_for(&edge("eu-west-1")).count(), 2);
    let versions: Vec<_> =
        replica.state.credentials().iter().map(|((of, _), stored)| (of.as_str(), stored.version)).collect();
    assert_eq!(versions, [("acme", 2), ("globex", 1)]);
}

fn task(of: &str, tools: &str, effects: &str) -> TaskRequest {
    TaskRequest::parse_toml(&format!(
        "tenant = \"{of}\"\ndelegator = \"user:maya\"\nsession = \"s\"\ntask = \"t\"\npurpose = \"review.renewal_risk\"\n\
         lifetime_secs = 600\n[agent]\nid = \"spiffe://x/agent\"\nclass = \"renewal-analyst\"\n\
         [[grant]]\ntools = [{tools}]\neffects = [{effects}]\nclasses = [\"contract_metadata\"]\n\
         ids = {{ customer = [\"c1\"], contract = \"any\" }}\n"
    ))
    .unwrap()
}

fn issue(replica: &mut Replica, who: u8, task: TaskRequest, nonce: u64) -> Applied {
    let body = serde_json::to_vec(&EnvelopeRequest { holder: holder(), task }).unwrap();
    replica.admin(request(who, "/v1/envelopes", body, NOW, nonce), NOW)
}

fn holder() -> PublicKey {
    *key(77).public()
}

#[test]
fn a_commission_becomes_a_root_by_a_majority_of_issuers() {
    let mut replica = with_bundles(true);
    let Applied::Envelope { tenant: of, evidence } =
        issue(&mut replica, OPS, task("acme", "\"contracts.*\"", "\"read\""), 10)
    else {
        panic!("not commissioned")
    };
    let commission = replica.state.commission(&of, &evidence).unwrap().clone();
    assert!(replica.state.commission(&tenant("globex"), &evidence).is_none());
    let sign = |seeds: &[u8]| {
        let parts = seeds.iter().map(|seed| sign_root_part(&MESH, &commission.payload, &key(*seed))).collect();
        assemble_root(&commission.payload, parts).unwrap()
    };
    let trust = replica.state.trust().unwrap();
    let issuers = trust.directory.issuers();
    let verify = |bytes: &[u8]| RawPresentation::parse(bytes).unwrap().verify(&MESH, issuers);
    assert!(verify(&sign(&[21])).is_err(), "one issuer is no majority of three");
    let chain = verify(&sign(&[21, 23])).unwrap();
    let effective = chain.effective();
    let context = chain.context();
    assert_eq!((&context.tenant, context.evidence), (&of, evidence));
    assert_eq!((context.catalogue_version, context.min_bundle_version), (1, 1));
    assert_eq!(effective.authority().expires, commission.expires);
    assert_eq!(commission.expires, at(600));
    // The pattern has become today's tools.
    let grants: Vec<_> = effective.authority().scope.grants().collect();
    let (_, Some(grant)) = grants[0] else { panic!("a grant is gone") };
    let mut tools: Vec<String> = grant.tools.iter().map(ToString::to_string).collect();
    tools.sort_unstable();
    assert_eq!(tools, ["contracts.export", "contracts.read"]);
}

#[test]
fn roots_that_nobody_may_ask_for_are_not_commissioned() {
    let mut replica = with_bundles(false);
    let read = || task("acme", "\"contracts.read\"", "\"read\"");
    assert_eq!(reason(&issue(&mut replica, OPS, read(), 10)), "envelope");
    assert_eq!(reason(&issue(&mut replica, GLOBEX, read(), 11)), "tenant_not_permitted");
    let unknown = task("acme", "\"no.such.tool\"", "\"read\"");
    assert_eq!(reason(&issue(&mut replica, OPS, unknown, 12)), "tool_unknown");
    // This mesh's root does not say `dev`: an administrator's word alone is too little for what cannot be undone.
    for (nonce, effect) in (20..).zip([Effect::Irreversible, Effect::Spend, Effect::ExternalSend, Effect::Delegate]) {
        let asked = task("acme", "\"tickets.create\"", &format!("\"read\", \"{effect}\""));
        assert_eq!(reason(&issue(&mut replica, OPS, asked, nonce)), "evidence_too_weak", "{effect}");
    }
    let mut no_bundle = Replica::new();
    assert_eq!(reason(&issue(&mut no_bundle, OPS, read(), 1)), "no_bundle");
}

#[test]
fn a_snapshot_with_everything_in_it_is_the_state() {
    let mut replica = with_bundles(true);
    let profile = profile(&replica, "acme");
    let sealed = Seal { of: "acme", edge: ("eu-west-1", 31), version: 1, sealer: 51, name: CREDENTIAL, profile };
    let body = format!("[{}]", shard(&sealed)).into_bytes();
    assert_eq!(reason(&replica.admin(request(OPS, "/v1/credentials", body, NOW, 10), NOW)), "credential");
    let asked = issue(&mut replica, OPS, task("acme", "\"contracts.read\"", "\"read\""), 11);
    let Applied::Envelope { tenant: of, evidence } = asked else { panic!("not commissioned") };

    let snapshot = replica.state.to_snapshot();
    // A day later bundle and documents would not be accepted as new any more; they were accepted when they were.
    let mut restored = State::from_snapshot(&genesis(true, NOW), &snapshot).unwrap();
    assert_eq!(restored.to_snapshot(), snapshot);
    assert_eq!(restored.active(&of).unwrap().digest(), replica.state.active(&of).unwrap().digest());
    assert_eq!(restored.commission(&of, &evidence), replica.state.commission(&of, &evidence));
    assert_eq!(restored.revocations_digest(), replica.state.revocations_digest());
    // Both go on alike.
    let next = Command::Admin {
        request: request(OPS, "/v1/bundles", bundle("acme", 2, &[6, 7], NOW), NOW, 12),
        received_at: at(1),
    };
    let there = apply(&mut restored, LogIndex(50), next.clone());
    let here = apply(&mut replica.state, LogIndex(50), next);
    assert_eq!((reason(&here), &here), ("bundle", &there));
    assert_eq!(restored.to_snapshot(), replica.state.to_snapshot());
    assert!(State::from_snapshot(&genesis(false, NOW), &snapshot).is_err(), "another mesh's snapshot");
}
