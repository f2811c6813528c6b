//! The keys, certificates and documents of a new mesh.
//!
//! A development mesh: its root says so, one key signs the root and one the directory. What guards policy is as in
//! a real one: two of three administrators sign a bundle, and nobody's online key can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, MeshId, Region, TenantId, VoterId};
use remit_common::identity::certificate::{Validity, issue_ca, issue_node, to_pem};
use remit_common::identity::{Administrator, NodeKind, NodeRole, SpiffeId, Verb};
use remit_common::net::env::Env;
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::directory::{DirectoryContent, Edge, IssuerEntry, Sealer, SignedDirectory, Voter};
use remit_common::trust::root::{RoleContent, RootContent, SignedRoot};
use zeroize::Zeroizing;

use super::files::{Folder, new_signing_key};
use super::mesh_file::KeyPaths;

/// Life of certificates, directory and issuers of a development mesh.
const LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How far before now they begin, for clocks that differ.
const BACKDATED: Duration = Duration::from_secs(60);
/// COSE's number for Ed25519.
const ALG_ED25519: i32 = -19;
/// Administrators who may sign bundles, and how many must.
const POLICY_KEYS: (u32, usize) = (3, 2);

/// What a node of the mesh is given.
pub(crate) struct NodeFiles {
    pub(crate) folder: Folder,
    pub(crate) identity: SigningKey,
}

/// Everything that exists once per mesh.
pub(crate) struct Material {
    mesh_id: MeshId,
    tenant: TenantId,
    created: Timestamp,
    serial: u64,
    authorities: Authorities,
    directory_key: SigningKey,
    directory: DirectoryContent,
    pub(crate) key_paths: KeyPaths,
    pub(crate) root: PathBuf,
    pub(crate) voters_ca: PathBuf,
    pub(crate) edges_ca: PathBuf,
    pub(crate) edges_ca_key: PathBuf,
}

struct Authorities {
    voters_key: SigningKey,
    voters: Vec<u8>,
    edges_key: SigningKey,
    edges: Vec<u8>,
}

impl Material {
    /// Makes keys, authorities and root of a mesh, and writes them.
    pub(crate) fn create(env: &Env, folder: &Folder, mesh_id: MeshId, tenant: &TenantId) -> Result<Self> {
        let created = env.now().wall;
        let keys = folder.sub("keys")?;
        let make = |name: &str| -> Result<(SigningKey, PathBuf)> {
            let key = new_signing_key(env)?;
            let path = keys.write_signing_key(&format!("{name}.key"), &key)?;
            Ok((key, path))
        };
        let (root_key, root_path) = make("root")?;
        let (directory_key, directory_path) = make("directory")?;
        let (admin_key, admin_path) = make("admin")?;
        let (on_call_key, on_call_path) = make("on-call")?;
        let (sealer_key, sealer_path) = make("sealer")?;
        let (_, agents_path) = make("agents")?;
        let (_, relations_path) = make("relations")?;
        let policy = (1..=POLICY_KEYS.0).map(|n| make(&format!("policy-{n}"))).collect::<Result<Vec<_>>>()?;

        let validity = validity(created);
        let (voters_key, _) = make("voters-ca")?;
        let voters = issue_ca(&voters_key, &mesh_id, NodeKind::Voter, 1, validity)?.as_ref().to_vec();
        let (edges_key, edges_ca_key) = make("edges-ca")?;
        let edges = issue_ca(&edges_key, &mesh_id, NodeKind::Edge, 2, validity)?.as_ref().to_vec();

        let one = |key: &SigningKey| RoleContent { keys: vec![*key.public()], threshold: 1 };
        let root = RootContent {
            mesh_id,
            version: 1,
            dev: true,
            expires: created.plus(Duration::from_secs(365 * 86_400)),
            root: one(&root_key),
            directory: one(&directory_key),
            policy: BTreeMap::from([(
                tenant.clone(),
                RoleContent { keys: policy.iter().map(|(key, _)| *key.public()).collect(), threshold: POLICY_KEYS.1 },
            )]),
            bounds_max: Bounds::MOST,
        };
        let root = SignedRoot::make(&root, &[&root_key]).context("cannot make the root")?;
        let directory = DirectoryContent {
            mesh_id,
            version: 1,
            created,
            expires: created.plus(LIFE),
            voters: Vec::new(),
            edges: Vec::new(),
            issuers: Vec::new(),
            administrators: vec![
                Administrator {
                    name: "operator".to_owned(),
                    key: *admin_key.public(),
                    tenants: BTreeSet::from([tenant.clone()]),
                    verbs: Verb::ALL.into(),
                    expires: created.plus(LIFE),
                },
                Administrator {
                    name: "on-call".to_owned(),
                    key: *on_call_key.public(),
                    tenants: BTreeSet::from([tenant.clone()]),
                    verbs: BTreeSet::from([Verb::Revoke, Verb::RevokeEverywhere]),
                    expires: created.plus(LIFE),
                },
            ],
            sealers: vec![Sealer {
                name: "sealer".to_owned(),
                key: *sealer_key.public(),
                tenant: tenant.clone(),
                prefix: String::new(),
            }],
        };
        Ok(Self {
            mesh_id,
            tenant: tenant.clone(),
            created,
            serial: 2,
            root: folder.write("root.json", &root.to_bytes())?,
            voters_ca: folder.write("voters-ca.pem", to_pem(&voters.as_slice().into()).as_bytes())?,
            edges_ca: folder.write("edges-ca.pem", to_pem(&edges.as_slice().into()).as_bytes())?,
            edges_ca_key,
            authorities: Authorities { voters_key, voters, edges_key, edges },
            directory_key,
            directory,
            key_paths: KeyPaths {
                policy: policy.into_iter().map(|(_, path)| path).collect(),
                admin: admin_path,
                directory: directory_path,
                sealer: sealer_path,
                root: root_path,
                on_call: Some(on_call_path),
                agents: Some(agents_path),
                relations: Some(relations_path),
            },
        })
    }

    /// Gives a voter its keys and certificate, and lists it.
    pub(crate) fn add_voter(&mut self, env: &Env, folder: Folder, id: VoterId) -> Result<NodeFiles> {
        let issuer = new_signing_key(env)?;
        folder.write_signing_key("issuer.key", &issuer)?;
        self.directory.issuers.push(IssuerEntry {
            alg: ALG_ED25519,
            key: *issuer.public(),
            tenants: vec![self.tenant.clone()],
            from: self.created.minus(BACKDATED),
            until: self.created.plus(LIFE),
        });
        let node = self.add_node(env, folder, NodeRole::Voter(id))?;
        let beacon = new_signing_key(env)?;
        node.folder.write_signing_key("beacon.key", &beacon)?;
        self.directory.voters.push(Voter { id, identity: *node.identity.public(), beacon: Some(*beacon.public()) });
        Ok(node)
    }

    /// Gives an edge its keys and certificate, and lists it.
    pub(crate) fn add_edge(&mut self, env: &Env, folder: Folder, id: &EdgeId, region: &Region) -> Result<NodeFiles> {
        let sealing = SealingKey::from_seed(Zeroizing::new(env.random()));
        folder.write_sealing_key("sealing.key", &sealing)?;
        let node = self.add_node(env, folder, NodeRole::Edge { region: region.clone(), edge: id.clone() })?;
        self.directory.edges.push(Edge {
            id: id.clone(),
            region: region.clone(),
            identity: *node.identity.public(),
            sealing: sealing.public().clone(),
        });
        Ok(node)
    }

    fn add_node(&mut self, env: &Env, folder: Folder, role: NodeRole) -> Result<NodeFiles> {
        let identity = new_signing_key(env)?;
        folder.write_signing_key("identity.key", &identity)?;
        self.serial += 1;
        let (ca, ca_key) = match role.kind() {
            NodeKind::Voter => (&self.authorities.voters, &self.authorities.voters_key),
            NodeKind::Edge => (&self.authorities.edges, &self.authorities.edges_key),
        };
        let id = SpiffeId { mesh: self.mesh_id, role };
        let validity = validity(self.created);
        let certificate = issue_node(&ca.as_slice().into(), ca_key, &id, identity.public(), self.serial, validity)?;
        folder.write("certificate.pem", to_pem(&certificate).as_bytes())?;
        Ok(NodeFiles { folder, identity })
    }

    /// The directory as it stands, signed; the next one has a higher version.
    /// A voter is gone for good. What its issuer has signed goes on holding.
    pub(crate) fn drop_voter(&mut self, id: VoterId) {
        self.directory.voters.retain(|voter| voter.id != id);
    }

    pub(crate) fn sign_directory(&mut self) -> Result<Vec<u8>> {
        let signed =
            SignedDirectory::make(&self.directory, &[&self.directory_key]).context("cannot make the directory")?;
        self.directory.version += 1;
        Ok(signed.to_bytes())
    }
}

fn validity(created: Timestamp) -> Validity {
    Validity { not_before: created.minus(BACKDATED), not_after: created.plus(LIFE) }
}
