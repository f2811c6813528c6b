//! The administrator: signs, pushes, rolls out, seals, cuts, relates, reads; at any voter that answers.

mod policy;
mod relations;
mod rollout;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use remit_common::bundle::source::BundleSource;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::envelope::{RawPresentation, TaskRequest};
use remit_common::id::{CredentialId, EdgeId, LogIndex, RevocationEpoch, SessionId, VoterId};
use remit_common::identity::SignedRequest;
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;
use remit_common::revocation::{Cut, CutKind, Revocation};
use remit_common::shard::{ShardAad, seal};
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::root::{Root, SignedRoot};
use remit_control_plane::admin::model::{
    Bundles, Coverage, CredentialSealed, EnvelopeIssued, Problem, RevocationList, RevocationMade,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

pub use self::policy::Poison;
use self::policy::PolicyDesk;
pub use self::rollout::{Ended, Harm, RollOut};
use super::http::{addr_of, get, send};
use super::offers;
use super::rest::{draw, rest};
use super::sessions::{Session, Sessions};
use crate::drill::backend::Access;
use crate::example;
use crate::history::{History, Kind, ReadState, What, Write, WriteKind, Written};
use crate::launcher::read_signing_key;
use crate::node::Node;

const NAME: &str = "operator";
/// For one answer to a write: a majority, perhaps an election.
const WRITE_WITHIN: Duration = Duration::from_secs(3);
/// For one answer to a read.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Life of a signature.
const SIGNATURE_LIFE_SECS: u64 = 120;
/// How often somebody asks who is covered, and how long between.
const COVERAGE_ASKS: u32 = 8;
const COVERAGE_EVERY: Duration = Duration::from_millis(700);

/// The administrator of a mesh. Cloning gives the same person.
#[derive(Clone)]
pub struct Operator(Arc<Inner>);

struct Inner {
    access: Arc<dyn Access>,
    history: History,
    sessions: Sessions,
    secret: Secret,
    source: BundleSource,
    /// Versions handed out; a version whose push failed is never used again.
    version: AtomicU64,
    desk: tokio::sync::Mutex<PolicyDesk>,
    /// Held by who writes relations: one batch follows on the other.
    relating: tokio::sync::Mutex<()>,
    credential: AtomicU64,
    root: Root,
    directory: Mutex<Directory>,
}

/// What a write made.
struct Made {
    index: LogIndex,
    epoch: Option<RevocationEpoch>,
    activation: Option<LogIndex>,
    revision: Option<u64>,
}

impl Made {
    fn at(index: LogIndex) -> Self {
        Self { index, epoch: None, activation: None, revision: None }
    }
}

/// What became of a write.
enum Answer<T> {
    Done(T),
    /// It certainly was not carried out.
    Refused(String),
    Unknown,
}

impl Operator {
    pub(super) fn new(access: Arc<dyn Access>, history: History, sessions: Sessions, secret: &[u8]) -> Result<Self> {
        let (env, mesh) = (access.env_at(&Node::Operator), access.mesh());
        let read = |path: &std::path::Path| {
            let bytes = env.disk.read(path, DOCUMENT_BYTES_MAX);
            bytes.with_context(|| path.display().to_string())?.with_context(|| format!("no `{}`", path.display()))
        };
        let signed = SignedRoot::parse(&read(&mesh.root)?)?;
        let pin = signed.digest();
        let root = signed.verify_pinned(&pin, &mesh.mesh_id)?;
        let directory = read(&mesh.root.with_file_name("directory.json"))?;
        let directory = SignedDirectory::parse(&directory)?.verify(&root, env.now().wall)?;
        let url = mesh.upstreams.first().map(|upstream| upstream.url.clone()).context("the mesh has no tools")?;
        let mut source = example::bundle_source(&url);
        if let Some(path) = &mesh.keys.relations {
            example::add_writer(&mut source, read_signing_key(&env, path)?.public());
        }
        Ok(Self(Arc::new(Inner {
            source,
            secret: Secret::new(secret.to_vec()),
            version: AtomicU64::new(0),
            desk: tokio::sync::Mutex::default(),
            relating: tokio::sync::Mutex::default(),
            credential: AtomicU64::new(0),
            directory: Mutex::new(directory),
            access,
            history,
            sessions,
            root,
        })))
    }

    fn env(&self) -> Env {
        self.0.access.env_at(&Node::Operator)
    }

    fn note(&self, kind: Kind, what: What) -> u64 {
        self.0.history.note(self.0.access.now(), NAME, kind, what)
    }

    /// Seals the next version of the credential for every edge of the directory.
    pub async fn seal(&self) -> Option<u64> {
        let version = self.0.credential.fetch_add(1, Ordering::Relaxed) + 1;
        let body = self.shards(version).ok()?;
        let made = |sealed: &CredentialSealed| Made::at(sealed.index);
        self.write(WriteKind::Seal { version }, "/v1/credentials", body, made).await.map(|sealed| sealed.version)
    }

    fn shards(&self, version: u64) -> Result<Vec<u8>> {
        let (env, mesh) = (self.env(), self.0.access.mesh());
        let policy = self.0.source.compile().map_err(|faults| anyhow::anyhow!(policy::texts(&faults)))?;
        let credential = CredentialId::new(example::CREDENTIAL)?;
        let upstream = policy.catalogue().upstreams.values().next().context("the catalogue has no upstream")?;
        let profile = upstream.profile_digest();
        let sealer = read_signing_key(&env, &mesh.keys.sealer)?;
        let mut shards = Vec::new();
        for edge in &self.directory().content().edges {
            let aad = ShardAad {
                mesh: &mesh.mesh_id,
                tenant: &mesh.tenant,
                edge: &edge.id,
                sealing_key: edge.sealing.id(),
                credential: &credential,
                version,
                profile,
            };
            let random = Zeroizing::new(env.random::<64>());
            shards.push(seal(&aad, &edge.sealing, &self.0.secret, &sealer, &random)?);
        }
        let mut body = vec![b'['];
        body.extend(shards.join(b",".as_slice()));
        body.push(b']');
        Ok(body)
    }

    fn directory(&self) -> Directory {
        self.0.directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With which keys edges sign gaps.
    pub(in crate::workload) fn edge_keys(&self) -> BTreeMap<EdgeId, PublicKey> {
        self.directory().content().edges.iter().map(|edge| (edge.id.clone(), edge.identity)).collect()
    }

    /// Installs a newer directory, signed by its role.
    ///
    /// # Errors
    /// When it does not verify here; a voter would not take it either.
    pub async fn install_directory(&self, directory: &[u8]) -> Result<bool> {
        let verified = SignedDirectory::parse(directory)?.verify(&self.0.root, self.env().now().wall)?;
        let version = verified.version();
        let document: serde_json::Value = serde_json::from_slice(directory)?;
        let body = serde_json::to_vec(&json!({"roots": [], "directory": document}))?;
        let made = |installed: &remit_control_plane::admin::model::TrustInstalled| Made::at(installed.index);
        let done = self.write(WriteKind::Trust { directory: version }, "/v1/trust", body, made).await.is_some();
        if done {
            *self.0.directory.lock().unwrap_or_else(PoisonError::into_inner) = verified;
        }
        Ok(done)
    }

    /// Asks the issuers for an envelope of a new session. Gives the session's name.
    pub async fn open_session(&self) -> Option<String> {
        let session = self.issue().await?;
        let name = session.name.clone();
        self.0.sessions.add(session);
        Some(name)
    }

    /// Asks the issuers for an envelope of a new session that nobody else uses.
    pub(super) async fn issue(&self) -> Option<Session> {
        let name = self.0.sessions.next_name();
        let holder = SigningKey::from_seed(Zeroizing::new(self.env().random())).ok()?;
        let body = envelope_request(&name, &holder).ok()?;
        let made = |issued: &EnvelopeIssued| Made::at(issued.index);
        let kind = WriteKind::Envelope { session: name.clone() };
        let issued = self.write(kind, "/v1/envelopes", body, made).await?;
        let envelope = remit_common::text::from_base64url(&issued.presentation)?;
        Some(Session { name, envelope, holder: Arc::new(holder) })
    }

    /// Cuts one child of the session that is handed on, by its link. Gives its name and the epoch.
    pub async fn revoke_hop(&self) -> Option<(String, RevocationEpoch)> {
        let hop = self.0.sessions.family()?.cut;
        let mesh = self.0.access.mesh();
        let link = RawPresentation::parse(&hop.envelope).ok()?.leaf_id(&mesh.mesh_id)?.to_string();
        self.0.sessions.name_hop(link.clone(), hop.name.clone());
        let body = Cut { tenant: mesh.tenant.into(), kind: CutKind::Link, id: link }.to_body();
        let made = |made: &RevocationMade| Made { epoch: Some(made.epoch), ..Made::at(made.index) };
        let kind = WriteKind::Revoke { session: hop.name.clone() };
        let made = self.write(kind, "/v1/revocations", body, made).await?;
        self.watch_coverage(made.epoch).await;
        Some((hop.name, made.epoch))
    }

    /// Cuts the oldest open session. Gives its name and the epoch.
    pub async fn revoke(&self) -> Option<(String, RevocationEpoch)> {
        let session = self.0.sessions.cut_oldest()?;
        let tenant = self.0.access.mesh().tenant;
        let body = Cut { tenant: tenant.into(), kind: CutKind::Session, id: session.name.clone() }.to_body();
        let made = |made: &RevocationMade| Made { epoch: Some(made.epoch), ..Made::at(made.index) };
        let kind = WriteKind::Revoke { session: session.name.clone() };
        let made = self.write(kind, "/v1/revocations", body, made).await?;
        Some((session.name, made.epoch))
    }

    /// Asks who has signed that an epoch is enforced there, until all have or it was asked often enough.
    pub async fn watch_coverage(&self, epoch: RevocationEpoch) {
        for _ in 0..COVERAGE_ASKS {
            tokio::time::sleep(COVERAGE_EVERY).await;
            let Some(coverage) = self.get_any::<Coverage>(&format!("/v1/revocations/{epoch}/coverage")).await else {
                continue;
            };
            let covered: Vec<EdgeId> =
                coverage.edges.iter().filter(|edge| edge.covered).map(|edge| edge.edge.clone()).collect();
            self.note(Kind::Ok, What::Coverage { epoch, covered });
            if coverage.covered {
                return;
            }
        }
    }

    /// Reads what is cut and what is active at one voter.
    pub async fn read(&self, voter: VoterId, linearizable: bool) {
        let consistency = if linearizable { "linearizable" } else { "stale" };
        let blank =
            ReadState { of: None, voter, linearizable, applied: None, epoch: None, sessions: Vec::new(), bundle: None };
        let env = self.0.access.env_at(&Node::Voter(voter));
        let mesh = self.0.access.mesh();
        let Some(admin) = mesh.voters.iter().find(|known| known.id == voter).map(|known| known.admin.clone()) else {
            return;
        };
        let of = self.note(Kind::Invoke, What::Read(blank.clone()));
        let path = format!("/v1/revocations?consistency={consistency}");
        let read = get::<RevocationList>(&env, &admin, &path, READ_WITHIN).await.map(|list| ReadState {
            of: Some(of),
            applied: Some(list.applied),
            epoch: Some(list.epoch),
            sessions: list.revocations.iter().filter_map(|revocation| self.name_of(revocation)).collect(),
            ..blank.clone()
        });
        self.note_read(of, &blank, read);

        let of = self.note(Kind::Invoke, What::Read(blank.clone()));
        let path = format!("/v1/bundles?consistency={consistency}");
        let read = get::<Bundles>(&env, &admin, &path, READ_WITHIN).await.map(|list| ReadState {
            of: Some(of),
            applied: Some(list.applied),
            bundle: list.bundles.iter().find(|bundle| bundle.number.is_some()).map(|bundle| bundle.version),
            ..blank.clone()
        });
        self.note_read(of, &blank, read);
    }

    /// What a cut is called in histories.
    fn name_of(&self, revocation: &Revocation) -> Option<String> {
        match revocation.cut.kind {
            CutKind::Session => Some(revocation.cut.id.clone()),
            CutKind::Link => self.0.sessions.hop(&revocation.cut.id),
            _ => None,
        }
    }

    fn note_read(&self, of: u64, blank: &ReadState, read: Option<ReadState>) {
        match read {
            Some(read) => self.note(Kind::Ok, What::Read(read)),
            None => self.note(Kind::Info, What::Read(ReadState { of: Some(of), ..blank.clone() })),
        };
    }

    pub(super) async fn revoke_repeatedly(self, every: Duration, stop: Shutdown) {
        while rest(&self.env(), every, &stop).await {
            if let Some((_, epoch)) = self.revoke().await {
                self.watch_coverage(epoch).await;
            }
            self.open_session().await;
        }
    }

    pub(super) async fn seal_repeatedly(self, every: Duration, stop: Shutdown) {
        while rest(&self.env(), every, &stop).await {
            self.seal().await;
        }
    }

    pub(super) async fn read_repeatedly(self, every: Duration, stop: Shutdown) {
        while rest(&self.env(), every, &stop).await {
            let voters: Vec<_> = self.0.access.roster().voters().collect();
            let env = self.env();
            if let Some(voter) = voters.get(draw(&env, voters.len())) {
                self.read(*voter, draw(&env, 4) != 0).await;
            }
        }
    }

    /// Signs a write, hands it to one voter after the other until one may have acted, and notes what became of it.
    async fn write<T: DeserializeOwned>(
        &self,
        kind: WriteKind,
        path: &str,
        body: Vec<u8>,
        made: impl Fn(&T) -> Made,
    ) -> Option<T> {
        let key = read_signing_key(&self.env(), &self.0.access.mesh().keys.admin).ok()?;
        self.write_as(&key, kind, path, body, made).await
    }

    async fn write_as<T: DeserializeOwned>(
        &self,
        key: &SigningKey,
        kind: WriteKind,
        path: &str,
        body: Vec<u8>,
        made: impl Fn(&T) -> Made,
    ) -> Option<T> {
        let event = |of, written| What::Write(Write { of, write: kind.clone(), written });
        let of = self.note(Kind::Invoke, event(None, None));
        let answer = match self.post::<T>(key, path, body).await {
            Ok(answer) => answer,
            Err(fault) => Answer::Refused(fault.to_string()),
        };
        match answer {
            Answer::Done(done) => {
                let Made { index, epoch, activation, revision } = made(&done);
                self.note(Kind::Ok, event(Some(of), Some(Written { index, epoch, activation, revision })));
                Some(done)
            }
            Answer::Refused(reason) => {
                tracing::debug!(path, reason, "a write was refused");
                self.note(Kind::Fail, event(Some(of), None));
                None
            }
            Answer::Unknown => {
                self.note(Kind::Info, event(Some(of), None));
                None
            }
        }
    }

    async fn post<T: DeserializeOwned>(&self, key: &SigningKey, path: &str, body: Vec<u8>) -> Result<Answer<T>> {
        let (env, mesh) = (self.env(), self.0.access.mesh());
        let created = env.now().wall.as_secs();
        let until = created + SIGNATURE_LIFE_SECS;
        let signed = SignedRequest::sign(&mesh.mesh_id, key, "POST", path, body, created, until, env.random());
        let first = draw(&env, mesh.voters.len());
        for voter in mesh.voters.iter().cycle().skip(first).take(mesh.voters.len()) {
            let Some(to) = addr_of(&voter.admin) else { continue };
            let mut request = http::Request::post(path).header("host", to.to_string());
            let is_json = signed.body.starts_with(b"{") || signed.body.starts_with(b"[");
            request =
                request.header("content-type", if is_json { "application/json" } else { "application/octet-stream" });
            for (name, value) in signed.headers(&mesh.mesh_id) {
                request = request.header(name, value);
            }
            let request = request.body(Bytes::from(signed.body.clone()))?;
            let at = self.0.access.env_at(&Node::Voter(voter.id));
            let response = match send(&at, to, request, WRITE_WITHIN).await {
                Ok(response) => response,
                Err(failed) if failed.is_unsent() => continue,
                Err(_) => return Ok(Answer::Unknown),
            };
            if response.status().is_success() {
                return Ok(match serde_json::from_slice(response.body()) {
                    Ok(done) => Answer::Done(done),
                    Err(_) => Answer::Unknown,
                });
            }
            let Ok(problem) = serde_json::from_slice::<Problem>(response.body()) else { return Ok(Answer::Unknown) };
            if problem.reason == "outcome_unknown" {
                return Ok(Answer::Unknown);
            }
            if response.status() != http::StatusCode::SERVICE_UNAVAILABLE {
                return Ok(Answer::Refused(format!("{}: {}", problem.reason, problem.detail)));
            }
        }
        Ok(Answer::Refused("no voter can act".to_owned()))
    }

    /// `GET path` from the first voter that answers.
    async fn get_any<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let (env, mesh) = (self.env(), self.0.access.mesh());
        let first = draw(&env, mesh.voters.len());
        for voter in mesh.voters.iter().cycle().skip(first).take(mesh.voters.len()) {
            let at = self.0.access.env_at(&Node::Voter(voter.id));
            if let Some(answer) = get(&at, &voter.admin, path, READ_WITHIN).await {
                return Some(answer);
            }
        }
        None
    }
}

fn envelope_request(session: &str, holder: &SigningKey) -> Result<Vec<u8>> {
    let mut task = TaskRequest::parse_toml(example::TASK)?;
    task.session = SessionId::new(session)?;
    // Some are handed on more often than people usually do.
    if let Some(delegation) = &mut task.delegation {
        delegation.fanout = 64;
    }
    task.grants.extend(offers::grants()?);
    Ok(serde_json::to_vec(&json!({"holder": holder.public(), "task": task}))?)
}
