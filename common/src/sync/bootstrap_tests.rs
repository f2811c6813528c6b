use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::sign::Signature;
use crate::id::{LogIndex, RevocationEpoch, VoterId};
use crate::revocation::Revocations;
use crate::trust::beacon::Statement;
use crate::trust::fixture::{MESH, NOW, directory_content, key, root, root_content, signed_directory, signed_root};

fn directory() -> Directory {
    let mut content = directory_content();
    for (voter, seed) in content.voters.iter_mut().zip(61..) {
        voter.beacon = Some(*key(seed).public());
    }
    signed_directory(&content, &[4, 5]).verify(&root(), NOW).unwrap()
}

fn raw(bytes: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(bytes).unwrap()
}

fn activation(number: u64) -> Activation {
    Activation {
        number: LogIndex(number),
        tenant: "acme".parse().unwrap(),
        ring: 0,
        manifest: Digest::of(&[&number.to_be_bytes()]),
    }
}

/// Of tick 70, signed by the first `signers` of three voters.
fn bootstrap(signers: u8) -> Bootstrap {
    let root = root();
    let activations = vec![activation(7)];
    let relations = BTreeMap::from([("acme".parse().unwrap(), Head { revision: 3, digest: Digest::of(&[b"3"]) })]);
    let revocations = Revocations::new().update_from(None);
    let statement = Statement {
        n: LogIndex(70),
        nonce_root: Digest::default(),
        epoch: revocations.to,
        revocations: revocations.digest,
        activations: activations_digest(&activations, &BTreeMap::new()),
        relations: RelationHeads::new(&root, &relations).root(),
        directory: 1,
        root: 1,
    };
    let sign = |n: u8| (VoterId(n.into()), statement.sign(&MESH, &key(60 + n)));
    let signatures: BTreeMap<VoterId, Signature> = (1..=signers).map(sign).collect();
    Bootstrap {
        v: BOOTSTRAP_VERSION,
        mesh_id: MESH,
        roots: vec![raw(&signed_root(&root_content(), &[1, 2]).to_bytes())],
        directory: raw(&signed_directory(&directory_content(), &[4, 5]).to_bytes()),
        beacon: SignedStatement { statement, signatures },
        activations,
        scopes: BTreeMap::new(),
        relations,
        revocations,
        sealed_for: BTreeSet::new(),
    }
}

fn checked(bootstrap: &Bootstrap) -> Result<(), BootstrapRefused> {
    bootstrap.check(&root(), &directory())
}

/// Clause D-16.
#[test]
fn a_mixture_is_not_what_voters_signed() {
    assert_eq!(checked(&bootstrap(2)), Ok(()));
    type Attack = fn(&mut Bootstrap);
    let attacks: [(&str, &str, Attack); 9] = [
        ("another bundle", "not_as_signed", |b| b.activations = vec![activation(6)]),
        ("a bundle left out", "not_as_signed", |b| b.activations.clear()),
        ("a bundle for some", "not_as_signed", |b| b.activations[0].ring = 1),
        ("older relations", "not_as_signed", |b| b.relations.values_mut().for_each(|head| head.revision = 2)),
        ("relations left out", "not_as_signed", |b| b.relations.clear()),
        ("older revocations", "not_as_signed", |b| b.revocations.to = RevocationEpoch(9)),
        ("other revocations", "not_as_signed", |b| b.revocations.digest = Digest::of(&[b"other"])),
        ("another tick", "beacon_minority", |b| b.beacon.statement.n = LogIndex(71)),
        ("another mesh", "wrong_mesh", |b| b.mesh_id = MeshId([0x22; 16])),
    ];
    for (name, reason, attack) in attacks {
        let mut bootstrap = bootstrap(3);
        attack(&mut bootstrap);
        assert_eq!(checked(&bootstrap).unwrap_err().reason_code(), reason, "{name}");
    }
}

/// Clause D-16.
#[test]
fn a_minority_of_voters_says_nothing_and_neither_does_a_mesh_that_signs_nothing() {
    assert_eq!(checked(&bootstrap(1)).unwrap_err().reason_code(), "beacon_minority");
    let mut twice = bootstrap(1);
    let signature = twice.beacon.signatures[&VoterId(1)];
    twice.beacon.signatures.insert(VoterId(2), signature);
    assert_eq!(checked(&twice).unwrap_err().reason_code(), "beacon_minority", "one voter twice");
    let unsigned = signed_directory(&directory_content(), &[4, 5]).verify(&root(), NOW).unwrap();
    assert_eq!(bootstrap(3).check(&root(), &unsigned), Err(BootstrapRefused::Unsigned));
}

/// Clause D-16: of an older root or directory than those that are here, and of newer ones.
#[test]
fn another_root_is_another_tick() {
    let mut content = root_content();
    content.version = 2;
    let next = signed_root(&content, &[1, 2]).verify_next(&root()).unwrap();
    let refused = bootstrap(3).check(&next, &directory()).unwrap_err();
    assert_eq!(refused, BootstrapRefused::NotSigned { part: "root and directory", tick: 70 });
}

/// Clause D-15.
#[test]
fn documents_keep_their_bytes_and_what_is_unknown_is_refused() {
    let written = serde_json::to_vec(&bootstrap(2)).unwrap();
    let read = Bootstrap::parse(&written).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), written);
    assert_eq!(read.roots[0].get().as_bytes(), signed_root(&root_content(), &[1, 2]).to_bytes());
    let text = String::from_utf8(written).unwrap();
    let edited = |from: &str, to: &str| Bootstrap::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
    assert_eq!(edited(r#""v":1"#, r#""v":2"#), BootstrapRefused::Version { found: 2 });
    assert_eq!(edited(r#""v":1"#, r#""v":1,"more":0"#).reason_code(), "malformed");
    assert_eq!(edited(r#""v":1,"#, "").reason_code(), "malformed");
    for bytes in [&b""[..], b"{}", b"[]", &text.as_bytes()[..text.len() - 1]] {
        assert_eq!(Bootstrap::parse(bytes).unwrap_err().reason_code(), "malformed");
    }
}
