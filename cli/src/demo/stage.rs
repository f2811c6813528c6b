//! What the steps of the story share: the mesh, who asks it, and what is known by now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use remit_chaos::launcher::{EdgeEntry, LocalMesh, MeshFile};
use remit_common::bundle::source::BundleSource;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::RawPresentation;
use remit_common::identity::AgentSpiffeId;
use remit_common::net::http::HttpClient;
use remit_common::net::prover::{NotProven, Prover};
use remit_common::net::registrar::{Registration, refusal_of};
use remit_common::policy::compile::CompiledPolicy;
use remit_common::proof::{EdgeKey, Exchange, Grade, Target};
use remit_common::time::BootTime;
use remit_common::trust::directory::Directory;
use remit_common::trust::root::Root;
use zeroize::Zeroizing;

use super::agent::{Agent, Outcome, Transcript};
use super::report::{Check, Story};
use super::sidecar::Papers;
use crate::admin::{Admin, http_client};
use crate::commands::identity;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{local, trust};

/// Bytes of an answer to a request for a channel, and room for whatever else stands there.
const CHANNEL_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// For the answer to a registration, its channel included.
const REGISTERS_WITHIN: Duration = Duration::from_secs(20);

/// How long an identity of the story counts.
const SHOWN_FOR_MINUTES: u64 = 60;

/// An envelope in the hands of who holds its key.
pub(crate) struct Held {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) presentation: Vec<u8>,
}

impl Held {
    /// As the header carries it.
    pub(crate) fn header(&self) -> String {
        remit_common::text::base64url(&self.presentation)
    }
}

/// Everything the steps need.
pub(crate) struct Stage {
    pub(crate) context: Context,
    pub(crate) mesh: LocalMesh,
    pub(crate) file: MeshFile,
    pub(crate) admin: Admin,
    pub(crate) http: reqwest::Client,
    pub(crate) story: Story,
    pub(crate) transcript: Transcript,
    pub(crate) source: BundleSource,
    pub(crate) policy: CompiledPolicy,
    /// The API key, until it is sealed and forgotten; what it looks like stays with the search.
    pub(crate) secret: Secret,
    /// The manifest that every edge should run.
    pub(crate) active: Option<Digest>,
    /// The container that step 1 pushed.
    pub(crate) first: Vec<u8>,
    pub(crate) maya: Option<Held>,
    pub(crate) child: Option<Held>,
    began: BootTime,
}

impl Stage {
    pub(crate) fn new(context: &Context, mesh: LocalMesh, secret: Secret, mut story: Story) -> Result<Self, Failure> {
        let file = mesh.file().clone();
        story.mesh = Some(file.clone());
        let source = local::source(context, &file)?;
        let policy = source.compile().map_err(|faults| {
            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Failure::new(Exit::Fault, format!("the example's policy does not compile: {faults}"))
        })?;
        Ok(Self {
            admin: Admin::new(context, &file)?,
            http: http_client()?,
            context: context.clone(),
            mesh,
            file,
            story,
            transcript: Transcript::default(),
            source,
            policy,
            secret,
            active: None,
            first: Vec::new(),
            maya: None,
            child: None,
            began: context.env.now().boot,
        })
    }

    /// A clock for how long things take.
    pub(crate) fn now(&self) -> BootTime {
        self.context.env.now().boot
    }

    /// Milliseconds since `from`.
    pub(crate) fn ms(&self, from: BootTime) -> u64 {
        millis(self.now().since(from))
    }

    /// How long the story has been playing.
    pub(crate) fn took(&self) -> Duration {
        self.now().since(self.began)
    }

    /// Notes a check that began at `from`.
    pub(crate) fn check(&mut self, from: BootTime, name: &str, expected: &str, got: impl Into<String>, ok: bool) {
        let (ms, got) = (self.ms(from), got.into());
        self.story.note(Check { name: name.to_owned(), expected: expected.to_owned(), got, ok, ms, decision_id: None });
    }

    /// Notes a call that was to be refused for `reason`, in `dimension` if that is given, with the decision's id.
    pub(crate) fn check_denied(
        &mut self,
        from: BootTime,
        name: &str,
        (reason, dimension): (&str, Option<&str>),
        outcome: &Outcome,
    ) {
        let expected = match dimension {
            Some(dimension) => format!("{reason} ({dimension})"),
            None => reason.to_owned(),
        };
        let ok = match outcome {
            Outcome::Denied(denial) => {
                denial.reason == reason
                    && dimension.is_none_or(|dimension| denial.dimension.as_deref() == Some(dimension))
                    && denial.decision_id.is_some()
            }
            Outcome::Result(_) | Outcome::Failed(_) => false,
        };
        let (ms, got, decision_id) = (self.ms(from), outcome.brief(), outcome.decision_id());
        self.story.note(Check { name: name.to_owned(), expected, got, ok, ms, decision_id });
    }

    /// The edge at `position` of the mesh file.
    pub(crate) fn edge(&self, position: usize) -> Result<&EdgeEntry, Failure> {
        self.file.edges.get(position).ok_or_else(|| Failure::new(Exit::Failed, format!("there is no edge {position}")))
    }

    /// An agent with this envelope, and its key, at this edge.
    pub(crate) async fn agent(&self, edge: &EdgeEntry, held: &Held) -> Result<Agent, Failure> {
        let met = self.meet(edge, held).await?;
        met.map_err(|why| Failure::new(Exit::Failed, format!("no agent at {}: {}", edge.id, why.brief())))
    }

    /// As [`Self::agent`]; a refusal is an outcome.
    pub(crate) async fn meet(&self, edge: &EdgeEntry, held: &Held) -> Result<Result<Agent, Outcome>, Failure> {
        let sidecar = self.papers(held)?.start(&edge.agent)?;
        Ok(Agent::connect(sidecar, &self.transcript).await)
    }

    /// As [`Self::agent`], and it shows that it is the agent `id`.
    pub(crate) async fn agent_showing(
        &self,
        edge: &EdgeEntry,
        held: &Held,
        id: &AgentSpiffeId,
    ) -> Result<Agent, Failure> {
        let authority = identity::authority(&self.context, &self.file)?;
        let (svid, _) = identity::svid(&self.context, &authority, id, held.key.public(), SHOWN_FOR_MINUTES)?;
        let sidecar = self.papers(held)?.showing(&self.context.env, &svid)?.start(&edge.agent)?;
        let met = Agent::connect(sidecar, &self.transcript).await;
        met.map_err(|why| Failure::new(Exit::Failed, format!("no agent at {}: {}", edge.id, why.brief())))
    }

    /// What a sidecar needs, in a folder of the mesh, named after the envelope's last link.
    pub(crate) fn papers(&self, held: &Held) -> Result<Papers, Failure> {
        let parsed =
            RawPresentation::parse(&held.presentation).map_err(|error| Failure::caused(Exit::Failed, &error))?;
        let leaf = parsed.leaf_id(&self.file.mesh_id).map(|leaf| leaf.to_string()).unwrap_or_default();
        let holder: String = held.key.public().id().to_string().chars().take(8).collect();
        let name = format!("{}-{holder}", leaf.chars().take(16).collect::<String>());
        let folder = self.file.root.with_file_name("agents");
        let known_by = (self.file.mesh_id, trust::root_digest(&self.context, &self.file)?);
        Papers::write(&self.context.env, &folder, &name, held, known_by)
    }

    /// Registers at this edge what `parent`'s holder has handed on.
    pub(crate) async fn register(
        &self,
        edge: &EdgeEntry,
        parent: &Held,
        child: &[u8],
    ) -> Result<Registration, Failure> {
        let (channels, to, prover) = self.proving(edge, parent).await?;
        let registered = prover.register(&channels, to, child, REGISTERS_WITHIN).await;
        registered.map_err(|error| Failure::caused(Exit::Failed, &error))
    }

    /// The reason for which this edge opens no channel for an envelope; nothing if it does.
    pub(crate) async fn knock(&self, edge: &EdgeEntry, held: &Held) -> Result<Option<String>, Failure> {
        let (channels, to, prover) = self.proving(edge, held).await?;
        let target = Target::Mcp { method: "tools/list", name: "", definition: None };
        let exchange = Exchange { target, body: b"", idempotency_key: b"" };
        match prover.prove(&channels, to, &exchange, Grade::P1, REGISTERS_WITHIN).await {
            Ok(_) => Ok(None),
            Err(NotProven::Refused(response)) => Ok(Some(refusal_of(&response).unwrap_or_default())),
            Err(error) => Err(Failure::caused(Exit::Failed, &error)),
        }
    }

    /// What the story itself proves with, beside its agents.
    async fn proving(&self, edge: &EdgeEntry, held: &Held) -> Result<(HttpClient, SocketAddr, Prover), Failure> {
        let wrong = |what: &str| Failure::new(Exit::Failed, format!("{what} of {}", edge.id));
        let (_, directory) = self.trust().await?;
        let listed = directory.edge(&edge.id).ok_or_else(|| wrong("the directory knows nothing"))?;
        let key = EdgeKey { mesh: self.file.mesh_id, edge: edge.id.clone(), key: listed.identity };
        let env = &self.context.env;
        let prover = Prover::new(env, key, Arc::clone(&held.key), &held.presentation);
        let to = edge.agent.strip_prefix("http://").and_then(|addr| addr.parse().ok());
        Ok((
            HttpClient::new(env, CHANNEL_ANSWER_BYTES_MAX),
            to.ok_or_else(|| wrong("no address in the URL"))?,
            prover.ok_or_else(|| wrong("no envelope for an agent"))?,
        ))
    }

    /// The envelope that step 3 made.
    pub(crate) fn maya(&self) -> Result<&Held, Failure> {
        self.maya.as_ref().ok_or_else(|| Failure::new(Exit::Failed, "there is no envelope of Maya's"))
    }

    /// Root and directory, verified.
    pub(crate) async fn trust(&self) -> Result<(Root, Directory), Failure> {
        trust::directory(&self.context, &self.file).await
    }

    /// A new signing key.
    pub(crate) fn new_key(&self) -> Result<SigningKey, Failure> {
        SigningKey::from_seed(Zeroizing::new(self.context.env.random()))
            .map_err(|error| Failure::caused(Exit::Failed, &error))
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
