//! Golden bytes of the AAD and a shard, and what may be tried with somebody else's shard.

use std::sync::LazyLock;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::crypto::digest::Digest;
use crate::crypto::hpke::SealingKey;
use crate::crypto::secret::Secret;
use crate::crypto::sign::SigningKey;
use crate::id::{CredentialId, EdgeId, MeshId, TenantId};
use crate::limits::{CREDENTIAL_BYTES_MAX, SHARD_BYTES_MAX};
use crate::text;
use crate::trust::directory::{Directory, DirectoryContent, Sealer};
use crate::trust::dsse::{Envelope, NotVerified};
use crate::trust::fixture::{MESH, NOW, acme, directory_content, key, root, signed_directory};

type Fallible = Result<(), Box<dyn std::error::Error>>;

const PROFILE: Digest = Digest([0xab; 32]);
const SECRET: &[u8] = b"acme-live-key-8f1d";

/// What a test may change about a good shard.
struct Case {
    mesh: MeshId,
    tenant: TenantId,
    edge: EdgeId,
    credential: CredentialId,
    version: u64,
    profile: Digest,
    to: SealingKey,
    sealer: SigningKey,
}

impl Case {
    fn good() -> Self {
        Self {
            mesh: MESH,
            tenant: acme(),
            edge: EdgeId::new("eu-west-1").unwrap(),
            credential: CredentialId::new("acme-api").unwrap(),
            version: 3,
            profile: PROFILE,
            to: sealing(31),
            sealer: key(51),
        }
    }

    fn aad(&self) -> ShardAad<'_> {
        ShardAad {
            mesh: &self.mesh,
            tenant: &self.tenant,
            edge: &self.edge,
            sealing_key: self.to.public().id(),
            credential: &self.credential,
            version: self.version,
            profile: self.profile,
        }
    }

    fn seal(&self) -> Vec<u8> {
        let secret = Secret::new(SECRET.to_vec());
        seal(&self.aad(), self.to.public(), &secret, &self.sealer, &Zeroizing::new([7; 64])).unwrap()
    }
}

fn sealing(seed: u8) -> SealingKey {
    SealingKey::from_seed(Zeroizing::new([seed; 32]))
}

fn directory_of(content: &DirectoryContent) -> Directory {
    signed_directory(content, &[4, 5]).verify(&root(), NOW).unwrap()
}

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| directory_of(&directory_content()));
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| Case::good().seal());

fn verify(bytes: &[u8]) -> Result<VerifiedShard, ShardRefused> {
    let edge = EdgeId::new("eu-west-1").unwrap();
    SealedShard::parse(bytes)?.verify_for(&DIRECTORY, &MESH, &edge)
}

/// The same payload with one text in place of another, signed again by `sealer`.
fn resigned(bytes: &[u8], from: &str, to: &str, sealer: &SigningKey) -> Vec<u8> {
    let envelope = Envelope::parse(bytes).unwrap();
    let payload = String::from_utf8(envelope.payload).unwrap();
    assert!(payload.contains(from), "{from}");
    let mut changed = Envelope::new(SHARD_TYPE, payload.replacen(from, to, 1).into_bytes());
    changed.sign(sealer);
    changed.to_bytes()
}

#[test]
fn a_shard_opens_at_its_edge_and_says_what_it_is_for() -> Fallible {
    let case = Case::good();
    let shard = verify(&case.seal())?;
    assert_eq!((shard.tenant(), shard.credential(), shard.version()), (&case.tenant, &case.credential, 3));
    assert_eq!((shard.edge(), shard.profile()), (&case.edge, &PROFILE));
    let open = shard.open(&case.to, &PROFILE)?;
    assert_eq!(open.expose(), SECRET);
    assert_eq!(format!("{open:?}"), "OpenShard(acme/acme-api version 3)");
    Ok(())
}

#[test]
fn s_2_the_aad_has_golden_bytes() {
    let case = Case::good();
    let aad = ShardAad { sealing_key: crate::id::KeyId(Digest([0x22; 32])), ..case.aad() };
    let golden = format!(
        "8801 50{} 64{} 69{} 5820{} 68{} 03 5820{}",
        "11".repeat(16),
        text::hex(b"acme"),
        text::hex(b"eu-west-1"),
        "22".repeat(32),
        text::hex(b"acme-api"),
        "ab".repeat(32)
    );
    assert_eq!(text::hex(&aad.to_bytes()), golden.replace(' ', ""));
}

#[test]
fn s_1_s_3_a_shard_has_golden_bytes() {
    // Sealing takes its randomness as an argument, so that all of it is fixed: encapsulation, ciphertext, signature.
    let golden = include_str!("golden.json").trim_end();
    let found = String::from_utf8(Case::good().seal()).unwrap();
    if golden != found {
        println!("{found}");
    }
    assert_eq!(golden, found);
    let payload = Envelope::parse(golden.as_bytes()).unwrap().payload;
    let members = String::from_utf8(payload).unwrap();
    let names = ["mesh_id", "tenant", "edge", "sealing_key", "credential", "version", "profile", "suite", "enc"];
    let mut rest = members.as_str();
    for name in names.into_iter().chain(["ciphertext"]) {
        rest = rest.split_once(&format!("\"{name}\":")).expect(name).1;
    }
}

#[test]
fn a_shard_for_another_edge_is_refused_and_does_not_open() {
    let other = Case { edge: EdgeId::new("eu-west-2").unwrap(), to: sealing(32), ..Case::good() }.seal();
    assert!(matches!(verify(&other), Err(ShardRefused::OtherEdge { .. })));
    let shard = SealedShard::parse(&other).unwrap().verify(&DIRECTORY, &MESH).unwrap();
    assert_eq!(shard.open(&sealing(31), &PROFILE).unwrap_err(), DoesNotOpen::OtherKey);
}

#[test]
fn a_sealer_who_relabels_a_shard_makes_one_that_does_not_open() {
    // The signature is good, so only the binding inside the encryption stops this.
    let sealer = key(51);
    let two = Case { edge: EdgeId::new("eu-west-2").unwrap(), to: sealing(32), ..Case::good() };
    let check = |bytes: &[u8], from: &str, to: &str| {
        let shard = SealedShard::parse(&resigned(bytes, from, to, &sealer)).unwrap().verify(&DIRECTORY, &MESH).unwrap();
        assert_eq!(shard.open(&sealing(31), shard.profile()).unwrap_err(), DoesNotOpen::Failed, "{from} -> {to}");
    };
    let good = Case::good().seal();
    check(&good, "\"acme-api\"", "\"acme-crm\"");
    check(&good, "\"version\":3", "\"version\":4");
    check(&good, &PROFILE.to_string(), &Digest([0xac; 32]).to_string());
    let moved = resigned(&two.seal(), "eu-west-2", "eu-west-1", &sealer);
    let (from, to) = (sealing(32).public().id().to_string(), sealing(31).public().id().to_string());
    check(&moved, &from, &to);
}

#[test]
fn a_key_that_is_no_sealers_is_refused() {
    for stranger in [key(41), key(31), key(99)] {
        let forged = Case { sealer: stranger, ..Case::good() }.seal();
        assert!(matches!(verify(&forged), Err(ShardRefused::UnknownSealer { .. })));
    }
}

#[test]
fn s_4_a_sealer_stays_within_its_tenant_and_prefix() {
    let tenant = TenantId::new("globex").unwrap();
    let outside = Case { tenant, ..Case::good() }.seal();
    assert!(matches!(verify(&outside), Err(ShardRefused::NotThatSealers { .. })));
    let outside = Case { credential: CredentialId::new("payroll").unwrap(), ..Case::good() }.seal();
    assert!(matches!(verify(&outside), Err(ShardRefused::NotThatSealers { .. })));
    // The same name in another tenant, by that tenant's sealer: two tenants never meet.
    let mut content = directory_content();
    let globex = TenantId::new("globex").unwrap();
    content.sealers.push(Sealer {
        name: "sealer".to_owned(),
        key: *key(52).public(),
        tenant: globex.clone(),
        prefix: String::new(),
    });
    let directory = directory_of(&content);
    let theirs = Case { tenant: globex.clone(), sealer: key(52), ..Case::good() }.seal();
    let shard = SealedShard::parse(&theirs).unwrap().verify(&directory, &MESH).unwrap();
    assert_eq!(shard.tenant(), &globex);
    let ours = Case { sealer: key(52), ..Case::good() }.seal();
    let refused = SealedShard::parse(&ours).unwrap().verify(&directory, &MESH);
    assert!(matches!(refused, Err(ShardRefused::NotThatSealers { .. })));
}

#[test]
fn a_shard_of_another_mesh_is_refused() {
    let other = Case { mesh: MeshId([0x12; 16]), ..Case::good() }.seal();
    assert_eq!(verify(&other), Err(ShardRefused::OtherMesh));
}

#[test]
fn a_shard_for_a_key_that_the_edge_no_longer_has_is_refused() {
    let old = Case { to: sealing(77), ..Case::good() }.seal();
    assert!(matches!(verify(&old), Err(ShardRefused::UnlistedKey { .. })));
    let nobody = Case { edge: EdgeId::new("eu-west-9").unwrap(), ..Case::good() }.seal();
    assert!(matches!(verify(&nobody), Err(ShardRefused::UnlistedKey { .. })));
}

#[test]
fn s_6_a_shard_opens_for_its_own_profile_only() {
    let shard = verify(&Case::good().seal()).unwrap();
    assert_eq!(shard.open(&sealing(31), &Digest([0xac; 32])).unwrap_err(), DoesNotOpen::OtherProfile);
}

#[test]
fn s_5_versions_only_rise() {
    let shard = verify(&Case::good().seal()).unwrap();
    assert_eq!(shard.check_rises(None), Ok(()));
    assert_eq!(shard.check_rises(Some(2)), Ok(()));
    assert_eq!(shard.check_rises(Some(3)), Err(NotRising { have: 3, offered: 3 }));
    assert_eq!(shard.check_rises(Some(4)), Err(NotRising { have: 4, offered: 3 }));
}

#[test]
fn a_tampered_shard_is_refused() {
    let good = Case::good().seal();
    let envelope = Envelope::parse(&good).unwrap();
    let last = envelope.payload.len() - 1;
    for at in [0, 20, envelope.payload.len() / 2, last] {
        let mut changed = envelope.clone();
        changed.payload[at] ^= 1;
        let refused = verify(&changed.to_bytes());
        assert!(
            matches!(refused, Err(ShardRefused::Signature(NotVerified::NotEnoughSignatures { .. }))),
            "{refused:?}"
        );
    }
    let mut typed = Envelope::new("application/vnd.remit.directory.v1+json", envelope.payload.clone());
    typed.sign(&key(51));
    assert_eq!(verify(&typed.to_bytes()), Err(ShardRefused::Signature(NotVerified::WrongType)));
}

#[test]
fn s_1_a_payload_of_any_other_shape_is_refused() {
    let (good, sealer) = (Case::good().seal(), key(51));
    let check = |from: &str, to: &str| {
        let refused = verify(&resigned(&good, from, to, &sealer));
        assert!(matches!(refused, Err(ShardRefused::Malformed { .. })), "{from} -> {to}: {refused:?}");
    };
    check("\"version\":3", "\"version\":3,\"extra\":1");
    check("\"version\":3", "\"version\":3,\"version\":4");
    check("\"version\":3", "\"version\":0");
    check("\"version\":3", "\"version\":-3");
    check("\"version\":3", "\"version\":3.0");
    check("\"credential\":\"acme-api\"", "\"credential\":\"Acme Api\"");
    check("\"enc\":\"", "\"enc\":\"*");
    let refused = verify(&resigned(&good, "AES-256-GCM", "ROT-13", &sealer));
    assert!(matches!(refused, Err(ShardRefused::UnknownSuite { .. })));
    let mut twice = Envelope::parse(&good).unwrap();
    twice.sign(&key(52));
    assert!(matches!(SealedShard::parse(&twice.to_bytes()), Err(ShardRefused::Malformed { .. })));
    assert!(matches!(SealedShard::parse(&vec![b' '; SHARD_BYTES_MAX + 1]), Err(ShardRefused::Malformed { .. })));
}

#[test]
fn what_cannot_be_sealed_is_said_before_anything_is() {
    let case = Case::good();
    let sealed = |aad: &ShardAad<'_>, secret: Vec<u8>| {
        seal(aad, case.to.public(), &Secret::new(secret), &case.sealer, &Zeroizing::new([7; 64]))
    };
    let found = CREDENTIAL_BYTES_MAX + 1;
    assert_eq!(sealed(&case.aad(), vec![1; found]), Err(CannotSeal::TooLong { found }));
    assert_eq!(sealed(&case.aad(), Vec::new()), Err(CannotSeal::Empty));
    assert_eq!(sealed(&ShardAad { version: 0, ..case.aad() }, vec![1]), Err(CannotSeal::VersionZero));
    let other = sealing(32).public().id();
    assert_eq!(sealed(&ShardAad { sealing_key: other, ..case.aad() }, vec![1]), Err(CannotSeal::OtherKey));
    let longest = sealed(&case.aad(), vec![1; CREDENTIAL_BYTES_MAX]).unwrap();
    assert!(longest.len() <= SHARD_BYTES_MAX, "the longest credential still makes a shard: {}", longest.len());
    assert!(verify(&longest).is_ok());
}

#[test]
fn a_sealed_shard_shows_nothing_of_its_secret() {
    let bytes = Case::good().seal();
    let payload = Envelope::parse(&bytes).unwrap().payload;
    let hidden = |haystack: &[u8], needle: &[u8]| !haystack.windows(needle.len()).any(|window| window == needle);
    for form in [SECRET.to_vec(), text::hex(SECRET).into_bytes(), text::base64(SECRET).into_bytes()] {
        assert!(hidden(&bytes, &form) && hidden(&payload, &form));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = SealedShard::parse(&bytes);
    }
}

proptest! {
    #[test]
    fn a_mutated_shard_never_opens(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut changed = GOOD.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(shard) = verify(&changed) {
            // Only white space, or the very same byte, leaves the signed bytes as they were.
            prop_assert_eq!(shard, verify(&GOOD)?);
        }
    }
}
