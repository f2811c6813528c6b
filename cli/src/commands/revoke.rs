//! `remit revoke`: cuts authority, as an administrator at a voter, or as a holder at an edge.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use remit_chaos::launcher::MeshFile;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{LinkId, RevocationEpoch};
use remit_common::identity::SignedRequest;
use remit_common::revocation::{Asked as HolderAsks, Cut, CutKind, REVOCATIONS_PATH, Reach as CutReach};
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::{RevocationList, RevocationMade};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::revocation;
use crate::admin::Admin;
use crate::agent::{EdgeCa, EdgeUrl, post_signed};
use crate::context::Context;
use crate::coverage::Asked;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::trust;

/// Bytes of a file with a signed cut.
const SIGNED_BYTES_MAX: usize = 8 * 1_024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit revoke session session-maya-0711 --wait
  remit revoke issuer \"$KEY_ID@$(date +%s)\"
  remit revocation coverage 1 --wait

In an emergency, stop calls that fit a rule, or a tool; after a day that lapses, unless a second administrator joins in:
  remit revoke forbid \"effect=external-send tool=mail.**\"
  remit revoke tool mail.send --join --admin-key another.key
What reaches every tenant needs two from the start:
  remit revoke tool mail.send --everywhere --sign-only cut.json
  remit revoke tool mail.send --everywhere --join-file cut.json --admin-key another.key
To lift a brake sooner, name it in the next bundle: `lifts = [\"NAME\"]`, with the name that `remit revocation ls` shows.

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
    /// In every tenant of the mesh; two administrators have to ask for it
    #[arg(long, conflicts_with = "envelope")]
    everywhere: bool,
    /// Join in what another administrator has asked for and is in force: of a tenant's brake, so that it does not lapse
    #[arg(long, conflicts_with_all = ["envelope", "everywhere"])]
    join: bool,
    /// Join in what another administrator has signed into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["envelope", "join"])]
    join_file: Option<PathBuf>,
    /// Only sign, into this file, for another administrator to join in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["envelope", "join", "join_file", "wait", "direct"])]
    sign_only: Option<PathBuf>,
    /// The administrator's key; by default the mesh file's
    #[arg(long, value_name = "FILE", conflicts_with = "envelope")]
    admin_key: Option<PathBuf>,
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
    /// Calls that fit a rule: class=, effect=, tool=, upstream=; lapses after a day
    Forbid,
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
            Kind::Forbid => Self::Forbid,
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
    let tenant = if args.everywhere { CutReach::Mesh } else { mesh.tenant.clone().into() };
    let cut = Cut { tenant, kind, id: args.id.clone() };
    check(&cut)?;
    let admin = Admin::new(context, &mesh)?;
    let key = files::read_key(&context.env, args.admin_key.as_ref().unwrap_or(&mesh.keys.admin))?;
    if let Some(file) = &args.sign_only {
        return sign_only(&admin.sign(&key, REVOCATIONS_PATH, cut.to_body()), &cut, file, context);
    }
    let body = match joined(args, &admin, &cut, context).await? {
        Some(first) => cut.to_body_with(first),
        None if args.everywhere => {
            let failure = Failure::new(Exit::Usage, "the whole mesh is cut by two administrators".to_owned());
            return Err(failure.hint(
                "sign with `--sign-only cut.json`, and have another administrator send it with `--join-file cut.json`",
            ));
        }
        None => cut.to_body(),
    };
    if !args.direct.is_empty() {
        return directly(&admin, &mesh, (&key, &body), (&args.direct, &args.edge_ca), context).await;
    }
    let made: RevocationMade = admin.post_as(&key, REVOCATIONS_PATH, body).await?;
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

/// Writes down what one administrator asks for, until another one joins in.
fn sign_only(request: &SignedRequest, cut: &Cut, file: &Path, context: &Context) -> Result<Exit, Failure> {
    let bytes = serde_json::to_vec_pretty(request).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    files::write(&context.env, file, &bytes)?;
    context.output.document(&json!({ "signed": file, "cut": cut }));
    let Cut { tenant, kind, id } = cut;
    let (shown, everywhere) = (file.display(), if tenant.tenant().is_none() { " --everywhere" } else { "" });
    context.output.line(format!("signed into {shown}; nothing is cut yet"));
    context.output.line(format!(
        "next, within a day, another administrator: remit revoke {kind} {id:?}{everywhere} --join-file {shown}"
    ));
    Ok(Exit::Done)
}

/// The request of the administrator in which this one joins, if it is to join in any.
async fn joined(args: &Args, admin: &Admin, cut: &Cut, context: &Context) -> Result<Option<SignedRequest>, Failure> {
    if let Some(file) = &args.join_file {
        let bytes = files::read(&context.env, file, SIGNED_BYTES_MAX)?;
        let request = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Exit::Usage, format!("{}: not a signed cut: {error}", file.display()))
                .hint("make one with `remit revoke KIND ID --sign-only FILE`")
        })?;
        return Ok(Some(request));
    }
    if !args.join {
        return Ok(None);
    }
    let list: RevocationList = admin.get("/v1/revocations").await?;
    let entry = list.revocations.into_iter().find(|entry| entry.cut == *cut).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{} `{}` is not cut: there is nothing to join in", cut.kind, cut.id))
            .hint("`remit revocation ls` shows what is in force; leave out --join to cut it")
    })?;
    if HolderAsks::from_body(&entry.request.body).is_ok_and(|asked| asked.with.is_some()) {
        let message = format!("two administrators have asked for it already; it holds until {}", entry.until);
        return Err(Failure::new(Exit::Failed, message)
            .hint("to have it hold longer, ask anew: one with --sign-only FILE, the other with --join-file FILE"));
    }
    Ok(Some(entry.request))
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
    check(&Cut { tenant: file.parse()?.tenant().clone().into(), kind, id: id.to_owned() })?;
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
    match post_signed::<InForce>(&mesh, &request, (edge, edge_ca), context).await? {
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
    (key, body): (&SigningKey, &[u8]),
    (edges, edge_ca): (&[EdgeUrl], &EdgeCa),
    context: &Context,
) -> Result<Exit, Failure> {
    let bring = async |edge: &EdgeUrl| {
        let request = admin.sign(key, REVOCATIONS_PATH, body.to_vec());
        let asked = post_signed::<InForce>(&mesh.mesh_id, &request, (edge, edge_ca), context).await;
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
    let commit = admin.post_as::<RevocationMade>(key, REVOCATIONS_PATH, body.to_vec());
    let (brought, made) = futures::join!(brought, commit);
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
