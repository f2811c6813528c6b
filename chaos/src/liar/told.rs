//! What a liar knows, and what it says instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use remit_common::bundle::SignedBundle;
use remit_common::bundle::source::BuildOverrides;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{LogIndex, VoterId};
use remit_common::identity::SignedRequest;
use remit_common::limits::DIRECTORY_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH, Revocation, Revocations};
use remit_common::sync::published::{PublishedBundle, PublishedObject, PublishedRevocations, PublishedState};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, activations_digest};
use remit_common::trust::beacon::SignedStatement;
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::{Root, SignedRoot};
use remit_control_plane::admin::model::{Bundles, Coverage, RevocationList};
use zeroize::Zeroizing;

use crate::drill::action::Lie;
use crate::drill::backend::Access;
use crate::example;
use crate::launcher::{MeshFile, read_signing_key};
use crate::node::Node;
use crate::workload::fetch;

/// Life of a forged signature.
const SIGNATURE_LIFE_SECS: u64 = 120;

/// What a voter knows.
pub struct Truth {
    applied: LogIndex,
    directory: (u64, Vec<u8>),
    root: u64,
    /// Those that are kept, the oldest first, with the number of the one that is active.
    bundles: Vec<(Option<LogIndex>, LogIndex, SignedBundle)>,
    /// In the order in which they were made.
    revocations: Vec<Revocation>,
    document: Arc<Root>,
    signed: Arc<[SignedStatement]>,
}

/// How a liar says that there is nothing newer than what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouches {
    /// In one conversation by ticks that it signs alone, in the next by what a majority has signed before.
    InTurns,
    /// In every conversation by what a majority has signed before.
    Replays,
}

/// A lie: what a liar publishes, and what its answers to ticks vouch for.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it publishes.
    pub state: Arc<PublishedState>,
    /// The digest of the activations.
    pub activations: Digest,
    /// The version of the directory.
    pub directory: u64,
    /// The version of the root.
    pub root: u64,
    /// The mesh's root document.
    pub document: Arc<Root>,
    /// What honest voters have signed, to be shown as if it were new.
    pub signed: Arc<[SignedStatement]>,
    /// How it says that there is nothing newer.
    pub vouches: Vouches,
    /// The beacon keys of the voters that lie, too; its own it has anyway.
    pub allies: Arc<BTreeMap<VoterId, SigningKey>>,
    /// In each conversation its ticks are numbered from here on; the first repeats one of long ago.
    pub ticks_from: LogIndex,
}

impl Told {
    /// The numbers of its own ticks in one conversation: one that edges have counted long ago, which changes nothing at
    /// an edge that remembers, and then such as are still to come.
    pub(super) fn ticks(&self) -> impl Iterator<Item = LogIndex> + use<> {
        let from = self.ticks_from.0;
        std::iter::once(from / 2).chain(from.saturating_add(1)..).map(LogIndex)
    }
}

impl Truth {
    /// Asks a voter, before it is gone; whom it does not answer, another one does.
    ///
    /// # Errors
    /// When no voter tells all of it.
    pub async fn learn(access: &dyn Access, voter: VoterId) -> Result<Self> {
        let mesh = access.mesh();
        let (asked, others): (Vec<_>, Vec<_>) = mesh.voters.iter().partition(|entry| entry.id == voter);
        let mut told = Err(anyhow::anyhow!("the mesh has no voter"));
        for entry in asked.into_iter().chain(others) {
            told = Self::learn_from(&access.env_at(&Node::Voter(entry.id)), &entry.admin, &mesh).await;
            if told.is_ok() {
                break;
            }
        }
        told
    }

    async fn learn_from(env: &Env, admin: &str, mesh: &MeshFile) -> Result<Self> {
        let read = |path: &std::path::Path| {
            env.disk.read(path, DIRECTORY_BYTES_MAX)?.with_context(|| format!("`{}` is missing", path.display()))
        };
        let document = read(&mesh.root.with_file_name("directory.json"))?;
        let signed = SignedRoot::parse(&read(&mesh.root)?)?;
        let pin = signed.digest();
        let root = signed.verify_pinned(&pin, &mesh.mesh_id)?;
        let directory = SignedDirectory::parse(&document)?.verify(&root, env.now().wall)?;
        let get = async |path: &str| fetch(env, admin, path).await.with_context(|| format!("`{path}` is not answered"));
        let listed: Bundles = serde_json::from_slice(&get("/v1/bundles").await?)?;
        let mut bundles = Vec::new();
        for status in listed.bundles.iter().rev() {
            let bytes: Bytes = get(&format!("/v1/bundles/{}", status.digest)).await?;
            bundles.push((status.number, status.index, SignedBundle::parse(&bytes)?));
        }
        let cuts: RevocationList = serde_json::from_slice(&get("/v1/revocations").await?)?;
        let mut revocations = cuts.revocations;
        revocations.sort_by_key(|revocation| revocation.index);
        let coverage: Coverage =
            serde_json::from_slice(&get(&format!("/v1/revocations/{}/coverage", cuts.epoch)).await?)?;
        Ok(Self {
            applied: listed.applied,
            directory: (directory.version(), document),
            root: root.content().version,
            bundles,
            revocations,
            document: Arc::new(root),
            signed: coverage.ticks.into(),
        })
    }

    /// Makes a lie of it. What a liar could steal with the voter's keys it has; the keys of administrators it has
    /// not, except for one of the two who must sign a bundle.
    ///
    /// # Errors
    /// When there is nothing yet to lie about.
    pub fn tell(&self, lie: Lie, env: &Env, mesh: &MeshFile) -> Result<Told> {
        let half = self.revocations.len() / 2;
        let (newest, oldest) = (self.bundles.last(), self.bundles.first());
        let active = self.bundles.iter().find(|(number, ..)| number.is_some()).or(newest);
        let [oldest, active] =
            [oldest, active].map(|kept| kept.map(|(number, index, bundle)| (number.unwrap_or(*index), bundle)));
        match lie {
            // As when the mesh was young: the oldest bundle, and nobody was cut.
            Lie::Old => self.say(mesh, oldest, &[]),
            // All is as it is, but the later half of the cuts is missing, and every credential.
            Lie::Truncated => {
                let shown = self.revocations.get(..half).unwrap_or_default();
                self.say(mesh, active, shown)
            }
            Lie::Forged => {
                let mut revocations = self.revocations.clone();
                revocations.push(forged_cut(env, mesh, LogIndex(self.applied.0 + 1))?);
                let bundle = self.forged_bundle(env, mesh)?;
                self.say(mesh, Some((LogIndex(self.applied.0 + 1), &bundle)), &revocations)
            }
            // All is as it is, but for the credentials, and was so a while ago.
            Lie::Replayed => {
                let told = self.say(mesh, active, &self.revocations)?;
                Ok(Told { vouches: Vouches::Replays, ..told })
            }
        }
    }

    fn say(
        &self,
        mesh: &MeshFile,
        bundle: Option<(LogIndex, &SignedBundle)>,
        revocations: &[Revocation],
    ) -> Result<Told> {
        let mut set = Revocations::new();
        for revocation in revocations {
            set.cut(revocation.clone())?;
        }
        let (number, bundle) = bundle.context("the mesh has no bundle to lie about yet")?;
        let mut state = PublishedState::new(PublishedRevocations::new(set), Vec::new());
        let (version, document) = &self.directory;
        state.set_directory(*version, &PublishedObject::new(document.clone()));
        let published = PublishedBundle::new(bundle);
        let activation = Activation { number, tenant: mesh.tenant.clone(), ring: 0, manifest: published.manifest };
        let activations = activations_digest([&activation], &BTreeMap::new());
        state.activate(activation, &published);
        let (directory, root) = (*version, self.root);
        // Numbers that honest voters reach within the minute: how far ahead a liar could get is not the question here.
        let (document, signed) = (Arc::clone(&self.document), Arc::clone(&self.signed));
        Ok(Told {
            state: Arc::new(state),
            activations,
            directory,
            root,
            document,
            signed,
            vouches: Vouches::InTurns,
            allies: Arc::default(),
            ticks_from: self.applied,
        })
    }

    /// The next version, signed by one administrator where two must.
    fn forged_bundle(&self, env: &Env, mesh: &MeshFile) -> Result<SignedBundle> {
        let (.., newest) = self.bundles.last().context("the mesh has no bundle to lie about yet")?;
        let version = newest.dangerous_unverified_manifest()?.version.0 + 1;
        let url = mesh.upstreams.first().map(|upstream| upstream.url.clone()).context("the mesh has no tools")?;
        let created = Some(env.now().wall);
        let overrides = BuildOverrides { created, mesh_id: Some(mesh.mesh_id), version: Some(version), fallback: None };
        let built = example::bundle_source(&url).build(&overrides);
        let mut bundle = built.map_err(|_| anyhow::anyhow!("the example does not build"))?.into_container();
        for path in mesh.keys.policy.iter().take(1) {
            bundle.add_signature(&read_signing_key(env, path)?);
        }
        Ok(bundle)
    }
}

/// A cut of everything somebody delegated, under the administrator's name and with a stranger's signature.
fn forged_cut(env: &Env, mesh: &MeshFile, index: LogIndex) -> Result<Revocation> {
    let administrator = read_signing_key(env, &mesh.keys.admin)?;
    let stranger = SigningKey::from_seed(Zeroizing::new(env.random())).context("the library refused a random seed")?;
    let id = "user:maya@customer-success.example".to_owned();
    let cut = Cut { tenant: mesh.tenant.clone().into(), kind: CutKind::Delegator, id };
    let (created, nonce) = (env.now().wall.as_secs(), env.random());
    let until = created + SIGNATURE_LIFE_SECS;
    let mut request =
        SignedRequest::sign(&mesh.mesh_id, &stranger, "POST", REVOCATIONS_PATH, cut.to_body(), created, until, nonce);
    request.key = administrator.public().id();
    Ok(Revocation { until: cut.until(Timestamp::from_secs(created)), cut, index, request })
}
