//! Keys, documents and files of a mesh of one voter and any number of edges that its directory lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use remit_common::bundle::{BuildOverrides, BundleSource};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::key_file;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, MeshId, Region, TenantId, VoterId};
use remit_common::identity::certificate::{CertificateDer, Validity, issue_ca, issue_node, to_pem};
use remit_common::identity::{Administrator, NodeKind, NodeRole, SpiffeId, Verb};
use remit_common::net::env::Env;
use remit_common::net::tls::{Identity, Peers};
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::directory::{
    ALG_ED25519, Directory, DirectoryContent, Edge, IssuerEntry, SignedDirectory, Voter,
};
use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
use remit_control_plane::config::{Config, Listen, Peer, Timings, TlsFiles};
use zeroize::Zeroizing;

use crate::bundle;

/// The only voter.
pub const VOTER: VoterId = VoterId(1);
/// Life of everything that has an end.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How far before now it begins.
const BACKDATED: Duration = Duration::from_secs(60);
/// Permits of the bundle that the edges run.
const PERMITS: usize = 100;
/// Ports that are looked at before giving up.
const TRIES_MAX: u16 = 200;

/// A mesh whose files lie in a folder.
pub struct Mesh {
    /// Its id.
    pub id: MeshId,
    /// The tenant that it serves.
    pub tenant: TenantId,
    /// Who may do everything.
    pub administrator: SigningKey,
    /// The edges, as the directory lists them.
    pub seats: Vec<Seat>,
    /// Whom edges dial.
    pub voters: Peers,
    /// The directory, verified.
    pub directory: Arc<Directory>,
    /// The directory as edges fetch it.
    pub directory_object: Digest,
    /// Bytes of the signed directory.
    pub directory_bytes: usize,
    /// The bundle that is to be pushed, and the digest of its manifest.
    pub bundle: (Vec<u8>, Digest),
    /// Where the voter listens.
    pub listen: Listen,
    /// The voter's configuration file.
    pub config: PathBuf,
}

/// What one edge is given.
pub struct Seat {
    /// Its name.
    pub edge: EdgeId,
    /// Its identity key.
    pub key: Arc<SigningKey>,
    /// Its certificate and key on connections.
    pub identity: Identity,
}

/// An authority for certificates of one kind of node.
struct Issuing {
    key: SigningKey,
    certificate: CertificateDer<'static>,
    validity: Validity,
    mesh: MeshId,
    serial: u64,
}

impl Issuing {
    fn new(env: &Env, mesh: MeshId, kind: NodeKind, validity: Validity) -> Result<Self> {
        let key = new_key(env)?;
        let certificate = issue_ca(&key, &mesh, kind, 1, validity)?;
        Ok(Self { key, certificate, validity, mesh, serial: 1 })
    }

    fn issue(&mut self, role: NodeRole, key: &SigningKey) -> Result<CertificateDer<'static>> {
        self.serial += 1;
        let id = SpiffeId { mesh: self.mesh, role };
        Ok(issue_node(&self.certificate, &self.key, &id, key.public(), self.serial, self.validity)?)
    }
}

fn new_key(env: &Env) -> Result<SigningKey> {
    SigningKey::from_seed(Zeroizing::new(env.random())).context("the library refused a random seed")
}

impl Mesh {
    /// Makes everything, and writes what the voter reads.
    ///
    /// # Errors
    /// When a document breaks a rule, a port is not free, or the disk refuses.
    pub fn make(env: &Env, folder: &Path, edges: u32) -> Result<Self> {
        let folder = Folder { env, path: folder };
        let (id, tenant) = (MeshId(env.random()), TenantId::new("acme")?);
        let now = env.now().wall;
        let validity = Validity { not_before: now.minus(BACKDATED), not_after: now.plus(LIFE) };
        let mut of_voters = Issuing::new(env, id, NodeKind::Voter, validity)?;
        let mut of_edges = Issuing::new(env, id, NodeKind::Edge, validity)?;
        let region: Region = "lab".parse()?;

        let (mut seats, mut listed) = (Vec::new(), Vec::new());
        for number in 1..=edges {
            let edge = EdgeId::new(&format!("lab-{number:05}"))?;
            let key = new_key(env)?;
            let role = NodeRole::Edge { region: region.clone(), edge: edge.clone() };
            let certificate = of_edges.issue(role, &key)?;
            let sealing = SealingKey::from_seed(Zeroizing::new(env.random())).public().clone();
            listed.push(Edge { id: edge.clone(), region: region.clone(), identity: *key.public(), sealing });
            seats.push(Seat { edge, identity: Identity::new(vec![certificate], &key), key: Arc::new(key) });
        }

        let (root_key, directory_key, administrator) = (new_key(env)?, new_key(env)?, new_key(env)?);
        let policy = new_key(env)?;
        let (identity, beacon, issuer) = (new_key(env)?, new_key(env)?, new_key(env)?);
        let root = RootContent {
            mesh_id: id,
            version: 1,
            dev: true,
            expires: now.plus(LIFE),
            root: one(&root_key),
            directory: one(&directory_key),
            policy: BTreeMap::from([(tenant.clone(), one(&policy))]),
            bounds_max: Bounds::MOST,
        };
        let signed_root = SignedRoot::make(&root, &[&root_key])?;
        let directory = DirectoryContent {
            mesh_id: id,
            version: 1,
            created: now,
            expires: now.plus(LIFE),
            voters: vec![Voter { id: VOTER, identity: *identity.public(), beacon: Some(*beacon.public()) }],
            edges: listed,
            issuers: vec![IssuerEntry {
                alg: ALG_ED25519,
                key: *issuer.public(),
                tenants: vec![tenant.clone()],
                from: now.minus(BACKDATED),
                until: now.plus(LIFE),
            }],
            administrators: vec![Administrator {
                name: "operator".to_owned(),
                key: *administrator.public(),
                tenants: BTreeSet::from([tenant.clone()]),
                verbs: Verb::ALL.into(),
                expires: now.plus(LIFE),
            }],
            sealers: Vec::new(),
        };
        let signed = SignedDirectory::make(&directory, &[&directory_key])?;
        let document = signed.to_bytes();
        let pin = signed_root.digest();
        let directory = signed.verify(&signed_root.clone().verify_pinned(&pin, &id)?, now)?;

        let certificate = of_voters.issue(NodeRole::Voter(VOTER), &identity)?;
        let listen = listen(env)?;
        let config = Config {
            mesh_id: id,
            id: VOTER,
            data_dir: folder.path.join("data"),
            root: folder.write("root.json", &signed_root.to_bytes())?,
            directory: folder.write("directory.json", &document)?,
            issuer_key: folder.write_signing_key("issuer.key", &issuer)?,
            beacon_key: Some(folder.write_signing_key("beacon.key", &beacon)?),
            next_beacon_key: None,
            join: false,
            tls: TlsFiles {
                certificate: folder.write("certificate.pem", to_pem(&certificate).as_bytes())?,
                key: folder.write_signing_key("identity.key", &identity)?,
                voters_ca: folder.write("voters-ca.pem", to_pem(&of_voters.certificate).as_bytes())?,
                edges_ca: folder.write("edges-ca.pem", to_pem(&of_edges.certificate).as_bytes())?,
            },
            listen: listen.clone(),
            peers: vec![Peer { id: VOTER, raft: listen.raft }],
            enrolment: None,
            timings: Timings::default(),
        };
        Ok(Self {
            id,
            bundle: signed_bundle(id, now, &policy)?,
            tenant,
            administrator,
            seats,
            voters: Peers::new(id, NodeKind::Voter, vec![of_voters.certificate])?,
            directory: Arc::new(directory),
            directory_object: Digest::of(&[&document]),
            directory_bytes: document.len(),
            config: folder.write("voter.toml", toml::to_string_pretty(&config)?.as_bytes())?,
            listen,
        })
    }
}

fn one(key: &SigningKey) -> RoleContent {
    RoleContent { keys: vec![*key.public()], threshold: 1 }
}

/// Where the voter's files lie.
struct Folder<'a> {
    env: &'a Env,
    path: &'a Path,
}

impl Folder<'_> {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        self.env.disk.replace(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn write_signing_key(&self, name: &str, key: &SigningKey) -> Result<PathBuf> {
        self.write(name, key_file::encode_signing(key).as_bytes())
    }
}

/// Ports that nobody uses, below those that the kernel hands to clients: a voter that is killed finds its own again.
pub(super) fn ports(env: &Env) -> impl FnMut() -> Result<SocketAddr> {
    let env = env.clone();
    let mut next = 18_000 + u16::from_be_bytes(env.random()) % 12_000;
    move || {
        for _ in 0..TRIES_MAX {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, next));
            next += 1;
            if env.socket.listen(addr).is_ok() && env.socket.udp(addr).is_ok() {
                return Ok(addr);
            }
        }
        bail!("no free port below {next}")
    }
}

fn listen(env: &Env) -> Result<Listen> {
    let mut take = ports(env);
    Ok(Listen { raft: take()?, dist: take()?, admin: take()?, ops: take()? })
}

/// A bundle as an administrator pushes it, and the digest of its manifest.
fn signed_bundle(mesh: MeshId, now: Timestamp, policy: &SigningKey) -> Result<(Vec<u8>, Digest)> {
    let mut files = bundle::sources(PERMITS);
    files.insert("bundle.toml".to_owned(), bundle::BUNDLE_TOML.into());
    let overrides =
        BuildOverrides { mesh_id: Some(mesh), created: Some(now), version: Some(1), ..BuildOverrides::default() };
    let built = BundleSource { files }.build(&overrides).map_err(|faults| anyhow!("{faults:?}"))?;
    let digest = built.digest();
    let mut container = built.into_container();
    container.add_signature(policy);
    Ok((container.to_bytes(), digest))
}
