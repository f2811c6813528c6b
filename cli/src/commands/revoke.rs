//! `remit revoke`: cuts authority, as an administrator at a voter, or as a holder at an edge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use remit_chaos::launcher::MeshFile;
use remit_common::id::{LinkId, MeshId, RevocationEpoch};
use remit_common::identity::SignedRequest;
use remit_common::revocation::{Asked as HolderAsks, Cut, CutKind, REVOCATIONS_PATH};
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::RevocationMade;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::revocation;
use crate::admin::Admin;
use crate::agent::{EdgeCa, EdgeUrl, Reach};
use crate::context::Context;
use crate::coverage::Asked;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::trust;

/// For an answer: an edge gives each of its voters eight seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit revoke session session-maya-0711 --wait
  remit revoke issuer \"$KEY_ID@$(date +%s)\"
  remit revocation coverage 1 --wait

With the voters gone, bring it to the edges themselves:
  remit revoke session session-maya-0711 --direct http://127.0.0.1:7300

A holder cuts a link that it holds, or one further down, or gives up its own key; it needs no administrator:
  remit revoke link LINK --envelope child.envelope --key parent.key --edge http://127.0.0.1:7300

`remit envelope verify ENVELOPE` shows the ids of links, holders, session and task.")]
pub(crate) struct Args {
    /// What kind of thing
    kind: Kind,
    /// Which one
    id: String,
    /// Wait until the voters have sealed the cut, and every edge enforces it or must have stopped by itself
    #[arg(long, conflicts_with = "envelope")]
    wait: bool,
    /// Bring the cut to this edge itself, where it takes agents' calls, and to the voters if they can be reached;
    /// may be given more than once
    #[arg(long, value_name = "URL", conflicts_with_all = ["envelope", "wait"])]
    direct: Vec<EdgeUrl>,
    /// As a holder: the envelope that has the link
    #[arg(long, value_name = "ENVELOPE", requires_all = ["key", "edge"])]
    envelope: Option<PathBuf>,
    /// As a holder: the key of the link, or of one above it
    #[arg(long, value_name = "FILE", requires = "envelope")]
    key: Option<PathBuf>,
    /// As a holder: where an edge takes agents' calls
    #[arg(long, value_name = "URL", requires = "envelope")]
    edge: Option<EdgeUrl>,
    #[command(flatten)]
    edge_ca: EdgeCa,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A link of a chain, and everything below it
    Link,
    /// Every envelope that a key holds
    Holder,
    /// A human
    Delegator,
    /// A human's session
    Session,
    /// A task
    Task,
    /// An agent
    Agent,
    /// A credential, or one version of it: NAME@VERSION
    Credential,
    /// A tool; lapses after a day
    Tool,
    /// An edge
    Edge,
    /// The whole tenant; lapses after a day
    Tenant,
    /// A class of agents
    Class,
    /// What an issuer signed before a moment: KEY@SECONDS
    Issuer,
    /// A definition of a tool, by its digest
    Definition,
}

impl From<Kind> for CutKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Link => Self::Link,
            Kind::Holder => Self::Holder,
            Kind::Delegator => Self::Delegator,
            Kind::Session => Self::Session,
            Kind::Task => Self::Task,
            Kind::Agent => Self::Agent,
            Kind::Credential => Self::Credential,
            Kind::Tool => Self::Tool,
            Kind::Edge => Self::Edge,
            Kind::Tenant => Self::Tenant,
            Kind::Class => Self::Class,
            Kind::Issuer => Self::Issuer,
            Kind::Definition => Self::Definition,
        }
    }
}

/// Has a cut committed.
pub(crate) async fn revoke(admin: &Admin, cut: &Cut) -> Result<RevocationMade, Failure> {
    admin.post(REVOCATIONS_PATH, cut.to_body()).await
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let kind = CutKind::from(args.kind);
    if let (Some(envelope), Some(key), Some(edge)) = (&args.envelope, &args.key, &args.edge) {
        return as_holder(kind, &args.id, (envelope, key), (edge, &args.edge_ca), context).await;
    }
    let mesh = context.mesh()?;
    let cut = Cut { tenant: mesh.tenant.clone(), kind, id: args.id.clone() };
    check(&cut)?;
    let admin = Admin::new(context, &mesh)?;
    if !args.direct.is_empty() {
        return directly(&admin, &mesh, &cut, (&args.direct, &args.edge_ca), context).await;
    }
    let made = revoke(&admin, &cut).await?;
    if args.wait {
        let trust = trust::directory(context, &mesh).await?;
        let asked = Asked { epoch: made.epoch, cut: Some(cut) };
        let proven = revocation::wait_and_tell(context, &admin, &trust, asked).await?;
        revocation::report(context, &proven);
        return Ok(Exit::Done);
    }
    context.output.document(&json!({ "epoch": made.epoch, "index": made.index, "until": made.until.to_string() }));
    tell(context, made.epoch, made.until);
    Ok(Exit::Done)
}

fn check(cut: &Cut) -> Result<(), Failure> {
    cut.check().map_err(|_| {
        let (id, form) = (&cut.id, cut.kind.form());
        Failure::new(Exit::Usage, format!("`{id}` names no {}: it has to be {form}", cut.kind))
    })
}

fn tell(context: &Context, epoch: RevocationEpoch, until: Timestamp) {
    context.output.line(format!("revoked as of epoch {epoch}, until {until}"));
    context.output.line(format!("next: remit revocation coverage {epoch} --wait"));
}

/// An edge's answer.
#[derive(Deserialize)]
struct InForce {
    /// Absent while the voters do not have it.
    #[serde(default)]
    epoch: Option<RevocationEpoch>,
    /// Milliseconds since the Unix epoch.
    until: Timestamp,
}

/// Has an edge pass on what the holder of a key wants cut.
async fn as_holder(
    kind: CutKind,
    id: &str,
    (envelope, key): (&Path, &Path),
    (edge, edge_ca): (&EdgeUrl, &EdgeCa),
    context: &Context,
) -> Result<Exit, Failure> {
    let env = &context.env;
    let file = EnvelopeFile::read(env, envelope)?;
    let (presentation, mesh) = (file.bytes()?, file.mesh_id);
    let key = files::read_key(env, key)?;
    check(&Cut { tenant: file.parse()?.tenant().clone(), kind, id: id.to_owned() })?;
    let refuse = |message: String| Failure::new(Exit::Usage, message);
    let asked = match kind {
        CutKind::Link => {
            let link = id.parse().map(LinkId).map_err(|_| refuse(format!("`{id}` is no link id")))?;
            let shown = envelope.display();
            HolderAsks::link(&presentation, &mesh, &link).ok_or_else(|| {
                refuse(format!("`{shown}` has no link {id}"))
                    .hint("show the envelope that was handed on: a link is proven to be below yours by its chain")
            })?
        }
        CutKind::Holder if key.public().id().to_string() == id => {
            HolderAsks::own_key(&presentation, &mesh, &key.public().id())
                .ok_or_else(|| refuse("the envelope file holds no envelope".to_owned()))?
        }
        CutKind::Holder => return Err(refuse(format!("a holder gives up its own key, {}", key.public().id()))),
        other => {
            let message = format!("a holder cuts a `link` or its own `holder` key, not a {other}");
            return Err(refuse(message).hint("an administrator cuts everything else; leave out --envelope"));
        }
    };
    let request = asked.sign(&mesh, &key, context.now(), env.random());
    match ask_edge(&mesh, &request, (edge, edge_ca), context).await? {
        InForce { epoch: Some(epoch), until } => {
            context.output.document(&json!({ "epoch": epoch, "until": until.to_string() }));
            tell(context, epoch, until);
            Ok(Exit::Done)
        }
        InForce { epoch: None, .. } => {
            Err(Failure::new(Exit::Failed, "the edge says no epoch of the voters".to_owned()))
        }
    }
}

/// What came of a cut at one edge.
#[derive(Serialize)]
struct Brought {
    edge: String,
    in_force: bool,
    epoch: Option<RevocationEpoch>,
    until: Option<String>,
    why: Option<String>,
}

/// Brings a cut to edges, each signed for itself and all at once, and to the voters: where voters are gone it is in force
/// at these edges all the same.
async fn directly(
    admin: &Admin,
    mesh: &MeshFile,
    cut: &Cut,
    (edges, edge_ca): (&[EdgeUrl], &EdgeCa),
    context: &Context,
) -> Result<Exit, Failure> {
    let key = files::read_key(&context.env, &mesh.keys.admin)?;
    let bring = async |edge: &EdgeUrl| {
        let request = admin.sign(&key, REVOCATIONS_PATH, cut.to_body());
        let asked = ask_edge(&mesh.mesh_id, &request, (edge, edge_ca), context).await;
        let (in_force, why) = (asked.as_ref().ok(), asked.as_ref().err());
        Brought {
            edge: edge.to_string(),
            in_force: in_force.is_some(),
            epoch: in_force.and_then(|told| told.epoch),
            until: in_force.map(|told| told.until.to_string()),
            why: why.map(|failure| failure.message.clone()),
        }
    };
    let brought = futures::future::join_all(edges.iter().map(bring));
    let (brought, made) = futures::join!(brought, revoke(admin, cut));
    context.output.document(&json!({
        "edges": brought,
        "epoch": made.as_ref().ok().map(|made| made.epoch),
        "voters": made.as_ref().err().map(|failure| failure.message.clone()),
    }));
    for Brought { edge, until, why, .. } in &brought {
        context.output.line(match why {
            Some(why) => context.output.bad(&format!("{edge}: not in force: {why}")),
            None => context.output.good(&format!("{edge}: in force until {}", until.as_deref().unwrap_or("it ends"))),
        });
    }
    match &made {
        Ok(made) => tell(context, made.epoch, made.until),
        Err(failure) => {
            context.output.line(context.output.bad(&format!("the voters do not have it: {}", failure.message)));
            context.output.line("Repeat the command when they are back: other edges do not know of it.");
        }
    }
    let everywhere = brought.iter().all(|brought| brought.in_force);
    Ok(if everywhere { Exit::Done } else { Exit::Failed })
}

/// Posts a signed request to an edge.
async fn ask_edge(
    mesh: &MeshId,
    request: &SignedRequest,
    (edge, edge_ca): (&EdgeUrl, &EdgeCa),
    context: &Context,
) -> Result<InForce, Failure> {
    let env = &context.env;
    let mut post =
        Request::post(REVOCATIONS_PATH).header(CONTENT_TYPE, "application/json").header(HOST, edge.authority());
    for (name, value) in request.headers(mesh) {
        post = post.header(name, value);
    }
    let post = post.body(Bytes::from(request.body.clone())).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let authorities = edge_ca.read(env, std::slice::from_ref(edge))?;
    let reach = Reach::new(env, edge.clone(), &authorities, ANSWER_BYTES_MAX);
    let reach = reach.map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let response = reach.send(post, ANSWERS_WITHIN).await.map_err(|error| {
        let message = format!("the edge does not answer: {}: {}", reach.url(), reach.told(&error));
        Failure::new(Exit::Unreachable, message).hint("name another edge; asking twice does no harm")
    })?;
    let (status, body) = (response.status(), response.into_body());
    if let Ok(in_force) = serde_json::from_slice(&body)
        && status.is_success()
    {
        return Ok(in_force);
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    Err(match problem {
        Some(problem) => Failure::new(Exit::Failed, problem.detail).reason(problem.reason),
        None => Failure::new(Exit::Failed, format!("the edge answers {status}")),
    })
}

/// What of a refusal matters here.
#[derive(Deserialize)]
struct Problem {
    reason: String,
    detail: String,
}
