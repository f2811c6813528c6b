//! Every key of a small mesh, and the documents that they sign.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{
    self, EvidenceKind, Issuer, Issuers, RestrictionRequest, RootPayload, RootStamp, TaskRequest, assemble_root,
    sign_root_part,
};
use remit_common::id::{CredentialId, EdgeId, LogIndex, MeshId, Region, TenantId, VoterId};
use remit_common::identity::{Administrator, Administrators, SignedRequest, Verb};
use remit_common::policy::{Bounds, Taxonomy};
use remit_common::revocation::{Authorities, Cut, CutKind, REVOCATIONS_PATH, Revocation};
use remit_common::shard::{self, ShardAad};
use remit_common::time::Timestamp;
use remit_common::trust::directory::{
    ALG_ED25519, DirectoryContent, Edge, IssuerEntry, Sealer, SignedDirectory, Voter,
};
use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
use zeroize::Zeroizing;

pub(crate) const MESH: MeshId = MeshId([0x5e; 16]);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn edge_id() -> EdgeId {
    EdgeId::new("eu-west-1").unwrap()
}

pub(crate) fn other_edge_id() -> EdgeId {
    EdgeId::new("eu-west-2").unwrap()
}

pub(crate) fn region() -> Region {
    Region::new("eu-west").unwrap()
}

pub(crate) fn credential() -> CredentialId {
    CredentialId::new("acme-contracts-api").unwrap()
}

/// Seeds of keys, by what they are for.
pub(crate) const ROOT: u8 = 1;
pub(crate) const DIRECTORY: u8 = 4;
pub(crate) const POLICY: [u8; 3] = [6, 7, 8];
pub(crate) const ISSUERS: [u8; 3] = [21, 22, 23];
pub(crate) const EDGE: u8 = 31;
pub(crate) const SEALING: u8 = 32;
pub(crate) const OTHER_EDGE: u8 = 33;
pub(crate) const OTHER_SEALING: u8 = 34;
pub(crate) const ADMINISTRATOR: u8 = 41;
pub(crate) const SEALER: u8 = 51;
pub(crate) const HOLDER: u8 = 61;
pub(crate) const CHILD: u8 = 62;
pub(crate) const GRANDCHILD: u8 = 63;
pub(crate) const SIBLING: u8 = 64;
pub(crate) const VOTERS_CA: u8 = 71;
pub(crate) const EDGES_CA: u8 = 72;
pub(crate) const AGENTS: u8 = 81;
pub(crate) const STRANGER: u8 = 99;

pub(crate) fn voter_key(voter: VoterId) -> SigningKey {
    key(10 + u8::try_from(voter.0).unwrap())
}

pub(crate) fn sealing_key() -> SealingKey {
    sealing_key_of(SEALING)
}

pub(crate) fn sealing_key_of(seed: u8) -> SealingKey {
    SealingKey::from_seed(Zeroizing::new([seed; 32]))
}

fn role(seeds: &[u8], threshold: usize) -> RoleContent {
    RoleContent { keys: seeds.iter().map(|seed| *key(*seed).public()).collect(), threshold }
}

/// The tenants whose policy the same three administrators sign.
pub(crate) fn root(now: Timestamp, tenants: &[TenantId]) -> SignedRoot {
    let content = RootContent {
        mesh_id: MESH,
        version: 1,
        dev: true,
        expires: now.plus(300 * DAY),
        root: role(&[ROOT], 1),
        directory: role(&[DIRECTORY], 1),
        policy: tenants.iter().map(|tenant| (tenant.clone(), role(&policy_keys(tenant), 2))).collect(),
        bounds_max: Bounds::MOST,
    };
    SignedRoot::make(&content, &[&key(ROOT)]).unwrap()
}

/// A key stands in one role of one tenant only.
pub(crate) fn policy_keys(tenant: &TenantId) -> [u8; 3] {
    if *tenant == acme() { POLICY } else { [106, 107, 108] }
}

pub(crate) fn administrator(now: Timestamp, tenants: &[TenantId]) -> Administrator {
    Administrator {
        name: "ops".to_owned(),
        key: *key(ADMINISTRATOR).public(),
        tenants: tenants.iter().cloned().collect(),
        verbs: Verb::ALL.into(),
        expires: now.plus(20 * DAY),
    }
}

pub(crate) fn directory_content(now: Timestamp, version: u64, tenants: &[TenantId]) -> DirectoryContent {
    DirectoryContent {
        mesh_id: MESH,
        version,
        created: now,
        expires: now.plus(20 * DAY),
        voters: (1..=3).map(VoterId).map(|id| Voter { id, identity: *voter_key(id).public(), beacon: None }).collect(),
        edges: vec![Edge {
            id: edge_id(),
            region: region(),
            identity: *key(EDGE).public(),
            sealing: sealing_key().public().clone(),
        }],
        issuers: ISSUERS
            .iter()
            .map(|seed| IssuerEntry {
                alg: ALG_ED25519,
                key: *key(*seed).public(),
                tenants: tenants.to_vec(),
                from: now.minus(DAY),
                until: now.plus(20 * DAY),
            })
            .collect(),
        administrators: vec![administrator(now, tenants)],
        sealers: vec![Sealer {
            name: "sealer".to_owned(),
            key: *key(SEALER).public(),
            tenant: acme(),
            prefix: "acme-".to_owned(),
        }],
    }
}

pub(crate) fn directory(now: Timestamp, version: u64, tenants: &[TenantId]) -> SignedDirectory {
    SignedDirectory::make(&directory_content(now, version, tenants), &[&key(DIRECTORY)]).unwrap()
}

/// A directory whose voters sign ticks: each voter with the seed of its beacon key.
pub(crate) fn directory_with_beacons(
    now: Timestamp,
    version: u64,
    tenants: &[TenantId],
    voters: &[(u64, u8)],
) -> SignedDirectory {
    let mut content = directory_content(now, version, tenants);
    let voter = |(id, seed): &(u64, u8)| {
        let id = VoterId(*id);
        Voter { id, identity: *voter_key(id).public(), beacon: Some(*key(*seed).public()) }
    };
    content.voters = voters.iter().map(voter).collect();
    SignedDirectory::make(&content, &[&key(DIRECTORY)]).unwrap()
}

/// Seals `secret` to the edge, for an injection profile.
pub(crate) fn shard(secret: &str, version: u64, profile: Digest) -> Vec<u8> {
    shard_by(SEALER, &edge_id(), secret, version, profile)
}

pub(crate) fn shard_by(sealer: u8, edge: &EdgeId, secret: &str, version: u64, profile: Digest) -> Vec<u8> {
    let sealing = sealing_key();
    let (tenant, credential) = (acme(), credential());
    let aad = ShardAad {
        mesh: &MESH,
        tenant: &tenant,
        edge,
        sealing_key: sealing.public().id(),
        credential: &credential,
        version,
        profile,
    };
    let secret = Secret::new(secret.as_bytes().to_vec());
    shard::seal(&aad, sealing.public(), &secret, &key(sealer), &Zeroizing::new([u8::try_from(version).unwrap(); 64]))
        .unwrap()
}

/// The issuers, as they verify chains of acme at any time.
pub(crate) fn issuers() -> Issuers {
    let issuer = |seed: &u8| {
        let key = *key(*seed).public();
        Issuer { kid: key.id(), key, tenants: vec![acme()], from: Timestamp::default(), until: Timestamp::MAX }
    };
    Issuers::new(ISSUERS.iter().map(issuer).collect()).unwrap()
}

/// A cut that the administrator asked for.
pub(crate) fn cut(now: Timestamp, index: u64, kind: CutKind, id: &str, tenants: &[TenantId]) -> Revocation {
    let cut = Cut { tenant: acme().into(), kind, id: id.to_owned() };
    let created = now.as_secs();
    let nonce = [u8::try_from(index % 256).unwrap(); 16];
    let request = SignedRequest::sign(
        &MESH,
        &key(ADMINISTRATOR),
        "POST",
        REVOCATIONS_PATH,
        cut.to_body(),
        created,
        created + 60,
        nonce,
    );
    let administrator = administrator(now, tenants);
    let administrators = Administrators::from([(administrator.key.id(), administrator)]);
    let authorities = Authorities { mesh: &MESH, administrators: &administrators, issuers: &Issuers::default() };
    Revocation::from_request(LogIndex(index), request, &authorities).unwrap()
}

/// A root envelope for what `task` asks, issued at `issued` by these issuers.
pub(crate) fn issue(task: &str, taxonomy: &Taxonomy, issued: Timestamp, issuers: &[u8]) -> Vec<u8> {
    let request = TaskRequest::parse_toml(task).unwrap().resolve(taxonomy).unwrap();
    let stamp = RootStamp {
        issued,
        nonce: [7; 16],
        evidence_kind: EvidenceKind::Admin,
        evidence: Digest::of(&[b"evidence"]),
        catalogue_version: 1,
        taxonomy_version: taxonomy.version(),
        min_bundle_version: 1,
    };
    let payload = RootPayload::build(&request, key(HOLDER).public(), &stamp).unwrap();
    let parts = issuers.iter().map(|seed| sign_root_part(&MESH, &payload, &key(*seed))).collect();
    assemble_root(&payload, parts).unwrap()
}

/// What the holder of `parent` hands on.
pub(crate) fn hand_on(parent: &[u8], restriction: &str, taxonomy: &Taxonomy, now: Timestamp) -> Vec<u8> {
    hand_on_to(parent, (HOLDER, CHILD), restriction, (taxonomy, now), 9)
}

/// What the holder of `parent`, whose key this is, hands on to a further one; `nonce` makes two children two.
pub(crate) fn hand_on_to(
    parent: &[u8],
    (from, to): (u8, u8),
    restriction: &str,
    (taxonomy, now): (&Taxonomy, Timestamp),
    nonce: u8,
) -> Vec<u8> {
    let restriction = RestrictionRequest::parse_toml(restriction).unwrap().resolve(taxonomy).unwrap();
    envelope::delegate(parent, &key(from), &MESH, &restriction, key(to).public(), now, [nonce; 16]).unwrap()
}

/// The directory with a second edge in it.
pub(crate) fn directory_of_two_edges(now: Timestamp, version: u64, tenants: &[TenantId]) -> SignedDirectory {
    let mut content = directory_content(now, version, tenants);
    content.edges.push(Edge {
        id: other_edge_id(),
        region: region(),
        identity: *key(OTHER_EDGE).public(),
        sealing: sealing_key_of(OTHER_SEALING).public().clone(),
    });
    SignedDirectory::make(&content, &[&key(DIRECTORY)]).unwrap()
}

/// Files as a set, for tests that look for what must not be in any.
pub(crate) fn files_below(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = BTreeSet::from([folder.to_owned()]);
    while let Some(folder) = folders.pop_first() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.insert(path);
            } else {
                #[expect(clippy::disallowed_methods, reason = "a test looks at the real disk")]
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
