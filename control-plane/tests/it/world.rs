//! A small mesh on paper: three voters, two edges, two tenants that use the same names for everything.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::bundle::{BuildOverrides, BundleSource};
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, LogIndex, MeshId, TenantId, VoterId};
use remit_common::identity::{Administrator, SignedRequest, TokenSecret, Verb};
use remit_common::policy::Bounds;
use remit_common::revocation::{Cut, CutKind};
use remit_common::time::Timestamp;
use remit_common::trust::directory::{
    ALG_ED25519, DirectoryContent, Edge, IssuerEntry, Sealer, SignedDirectory, Voter,
};
use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
use remit_control_plane::registry::{Applied, Command, Genesis, State, TrustDocuments, apply};
use zeroize::Zeroizing;

pub(crate) const MESH: MeshId = MeshId([0x11; 16]);

/// 2026-11-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_793_491_200);

const DAY: u64 = 86_400;

/// Administrators: `OPS` may do everything in both tenants, `CUTTER` may cut in `acme`, `GLOBEX` everything in its own.
pub(crate) const OPS: u8 = 41;
pub(crate) const CUTTER: u8 = 42;
pub(crate) const GLOBEX: u8 = 43;
/// Nobody lists this key.
pub(crate) const STRANGER: u8 = 99;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs().saturating_add_signed(secs))
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn edge(name: &str) -> EdgeId {
    EdgeId::new(name).unwrap()
}

fn role(seeds: &[u8], threshold: usize) -> RoleContent {
    RoleContent { keys: seeds.iter().map(|seed| *key(*seed).public()).collect(), threshold }
}

/// Root 1 to 3 (2 needed), directory 4 and 5 (2), policy of acme 6 to 8 and of globex 16 to 18 (2 each).
pub(crate) fn root_content(dev: bool, now: Timestamp) -> RootContent {
    RootContent {
        mesh_id: MESH,
        version: 1,
        dev,
        expires: Timestamp::from_secs(now.as_secs() + 300 * DAY),
        root: role(&[1, 2, 3], 2),
        directory: role(&[4, 5], 2),
        policy: BTreeMap::from([(tenant("acme"), role(&[6, 7, 8], 2)), (tenant("globex"), role(&[16, 17, 18], 2))]),
        bounds_max: Bounds::MOST,
    }
}

/// Those that there were when the golden files were made.
fn verbs() -> BTreeSet<Verb> {
    Verb::ALL.into_iter().filter(|verb| *verb != Verb::RevokeEverywhere).collect()
}

/// Voters' identities 11 to 13, issuers 21 to 23, edges 31 and 32, sealers 51 (acme) and 52 (globex).
pub(crate) fn directory_content(version: u64, now: Timestamp) -> DirectoryContent {
    let later = Timestamp::from_secs(now.as_secs() + 29 * DAY);
    let made = Timestamp::from_secs(now.as_secs() - 60);
    let edge = |id: &str, seed: u8| Edge {
        id: id.parse().unwrap(),
        region: "eu-west".parse().unwrap(),
        identity: *key(seed).public(),
        sealing: sealing_key(seed).public().clone(),
    };
    let administrator = |name: &str, seed: u8, tenants: &[&str], verbs: BTreeSet<Verb>| Administrator {
        name: name.to_owned(),
        key: *key(seed).public(),
        tenants: tenants.iter().map(|name| tenant(name)).collect(),
        verbs,
        expires: later,
    };
    let sealer = |of: &str, seed: u8| Sealer {
        name: format!("{of}-sealer"),
        key: *key(seed).public(),
        tenant: tenant(of),
        prefix: "acme-".to_owned(),
    };
    DirectoryContent {
        mesh_id: MESH,
        version,
        created: made,
        expires: later,
        voters: (1..=3)
            .map(|n| Voter { id: VoterId(n.into()), identity: *key(10 + n).public(), beacon: None })
            .collect(),
        edges: vec![edge("eu-west-1", 31), edge("eu-west-2", 32)],
        issuers: (21..=23)
            .map(|seed| IssuerEntry {
                alg: ALG_ED25519,
                key: *key(seed).public(),
                tenants: vec![tenant("acme"), tenant("globex")],
                from: made,
                until: later,
            })
            .collect(),
        administrators: vec![
            administrator("ops", OPS, &["acme", "globex"], verbs()),
            administrator("cutter", CUTTER, &["acme"], BTreeSet::from([Verb::Revoke])),
            administrator("globex", GLOBEX, &["globex"], verbs()),
        ],
        sealers: vec![sealer("acme", 51), sealer("globex", 52)],
    }
}

/// The secret of a join token.
pub(crate) fn token_secret(seed: u8) -> TokenSecret {
    TokenSecret::new(Zeroizing::new([seed; 32])).unwrap()
}

pub(crate) fn sealing_key(seed: u8) -> SealingKey {
    SealingKey::from_seed(Zeroizing::new([seed; 32]))
}

pub(crate) fn signed_root(dev: bool, now: Timestamp) -> SignedRoot {
    SignedRoot::make(&root_content(dev, now), &[&key(1), &key(2)]).unwrap()
}

/// The root after the first one: acme's policy keys are others (26 to 28).
pub(crate) fn successor_root(now: Timestamp) -> SignedRoot {
    let mut content = RootContent { version: 2, ..root_content(true, now) };
    content.policy.insert(tenant("acme"), role(&[26, 27, 28], 2));
    SignedRoot::make(&content, &[&key(1), &key(2)]).unwrap()
}

pub(crate) fn signed_directory(version: u64, now: Timestamp) -> SignedDirectory {
    SignedDirectory::make(&directory_content(version, now), &[&key(4), &key(5)]).unwrap()
}

pub(crate) fn documents(dev: bool, now: Timestamp) -> TrustDocuments {
    TrustDocuments {
        roots: vec![signed_root(dev, now).to_bytes()],
        directory: Some(signed_directory(1, now).to_bytes()),
    }
}

pub(crate) fn genesis(dev: bool, now: Timestamp) -> Genesis {
    Genesis { mesh: MESH, root: signed_root(dev, now).digest() }
}

/// A request of one of the administrators, signed at `created` for a minute.
pub(crate) fn request(seed: u8, path: &str, body: Vec<u8>, created: Timestamp, nonce: u64) -> SignedRequest {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&nonce.to_be_bytes());
    let secs = created.as_secs();
    SignedRequest::sign(&MESH, &key(seed), "POST", path, body, secs, secs + 60, bytes)
}

pub(crate) fn cut(of: &str, kind: CutKind, id: &str) -> Vec<u8> {
    Cut { tenant: tenant(of).into(), kind, id: id.to_owned() }.to_body()
}

pub(crate) fn revoke(seed: u8, of: &str, session: &str, created: Timestamp, nonce: u64) -> SignedRequest {
    request(seed, "/v1/revocations", cut(of, CutKind::Session, session), created, nonce)
}

/// A directory that lists these voters.
pub(crate) fn directory_of_voters(version: u64, now: Timestamp, voters: &[u8]) -> SignedDirectory {
    let mut content = directory_content(version, now);
    content.voters = voters
        .iter()
        .map(|n| Voter { id: VoterId((*n).into()), identity: *key(10 + n).public(), beacon: None })
        .collect();
    SignedDirectory::make(&content, &[&key(4), &key(5)]).unwrap()
}

/// A directory that lists beacon keys: those with these seeds, for voters 1 and up.
pub(crate) fn directory_with_beacons(version: u64, now: Timestamp, seeds: &[u8]) -> SignedDirectory {
    let mut content = directory_content(version, now);
    for (voter, seed) in content.voters.iter_mut().zip(seeds) {
        voter.beacon = Some(*key(*seed).public());
    }
    SignedDirectory::make(&content, &[&key(4), &key(5)]).unwrap()
}

/// The example's bundle, for any tenant.
pub(crate) fn bundle_source(of: &str, version: u64, floor: u64) -> BundleSource {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/contract-renewal/bundle");
    let mut files = BTreeMap::new();
    collect(std::path::Path::new(folder), "", &mut files);
    let manifest = format!(
        "tenant = \"{of}\"\nname = \"contract-renewal\"\nversion = {version}\nfloor = {floor}\nlife_days = 30\n\
         created = 2026-10-31T00:00:00Z\nmesh_id = \"{MESH}\"\n"
    );
    files.insert("bundle.toml".to_owned(), manifest.into_bytes());
    BundleSource { files }
}

fn collect(folder: &std::path::Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap().into_bytes());
        }
    }
}

/// A container signed by these keys.
pub(crate) fn bundle(of: &str, version: u64, seeds: &[u8], created: Timestamp) -> Vec<u8> {
    bundle_of(&bundle_source(of, version, 1), seeds, created)
}

/// The same, of other sources.
pub(crate) fn bundle_of(source: &BundleSource, seeds: &[u8], created: Timestamp) -> Vec<u8> {
    let overrides = BuildOverrides { created: Some(created), mesh_id: Some(MESH), version: None, fallback: None };
    let mut signed = source.build(&overrides).unwrap_or_else(|faults| panic!("{faults:#?}")).into_container();
    for seed in seeds {
        signed.add_signature(&key(*seed));
    }
    signed.to_bytes()
}

/// The example for acme, whose analysts may read so many records; 100 is what everybody else's example says.
pub(crate) fn bundle_for_records(version: u64, records: u64, created: Timestamp) -> Vec<u8> {
    let mut source = bundle_source("acme", version, 1);
    let rules = source.files.get_mut("policies/renewal.cedar").unwrap();
    let text = String::from_utf8(rules.clone()).unwrap();
    let (from, to) = ("context.max_records <= 100", format!("context.max_records <= {records}"));
    assert!(text.contains(from));
    *rules = text.replacen(from, &to, 1).into_bytes();
    bundle_of(&source, &[6, 7], created)
}

/// One replica, fed one command after the other.
pub(crate) struct Replica {
    pub(crate) state: State,
    next: u64,
}

impl Replica {
    /// With root and directory installed.
    pub(crate) fn new() -> Self {
        Self::with(true)
    }

    pub(crate) fn with(dev: bool) -> Self {
        let mut replica = Self { state: State::new(genesis(dev, NOW)), next: 1 };
        let applied = replica.apply(Command::InstallTrust { documents: documents(dev, NOW), at: NOW });
        assert_eq!(applied, Applied::Trust { root: 1, directory: 1 });
        replica
    }

    pub(crate) fn apply(&mut self, command: Command) -> Applied {
        let index = LogIndex(self.next);
        self.next += 1;
        // What every voter sees is what went through the log.
        let entry = command.to_entry();
        apply(&mut self.state, index, Command::from_entry(&entry).unwrap())
    }

    pub(crate) fn admin(&mut self, request: SignedRequest, received_at: Timestamp) -> Applied {
        self.apply(Command::Admin { request, received_at })
    }
}

/// The reason of a refusal; of what was not refused, what it was.
pub(crate) fn reason(applied: &Applied) -> &str {
    match applied {
        Applied::Refused(refusal) => &refusal.reason,
        other => other.outcome(),
    }
}
