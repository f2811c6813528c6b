//! `remit envelope`: asks for, narrows, shows and checks what an agent carries.

mod chain;
pub(crate) mod register;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use remit_common::bundle::CompiledBundle;
use remit_common::envelope::{self, InvalidRequest, Restriction, TaskRequest};
use remit_common::id::LinkId;
use remit_common::lattice::NoNames;
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::policy::taxonomy::Taxonomy;
use remit_common::text;
use remit_control_plane::admin::model::EnvelopeIssued;
use serde::Serialize;
use serde_json::json;

use crate::admin::Admin;
use crate::agent::EdgeCa;
use crate::context::Context;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::{files, local, trust};

use show::{audience_to_json, demands_to_json, grant_text, grant_to_json, print_link, print_terms, purpose_text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit envelope issue --task task.toml -o maya.envelope --key agent.key
  remit envelope delegate --parent maya.envelope --key agent.key \\
        --restrict child.toml -o child.envelope --child-key helper.key --edge eu-west-1
  remit envelope verify child.envelope")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask the issuers for a root on a human's behalf
    Issue(Issue),
    /// Hand on a part of an envelope, and register it with an edge
    Delegate(Delegate),
    /// Show what an envelope says, without believing it
    Show(One),
    /// Check an envelope's signatures and show what it is worth
    Verify(One),
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// What is asked for
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Where the envelope goes
    #[arg(short, value_name = "ENVELOPE")]
    output: PathBuf,
    /// The agent's key; made if it is missing
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Delegate {
    /// The envelope that is narrowed
    #[arg(long, value_name = "ENVELOPE")]
    parent: PathBuf,
    /// The key that holds it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What is left of it
    #[arg(long, value_name = "FILE")]
    restrict: PathBuf,
    /// Where the child's envelope goes
    #[arg(short, value_name = "ENVELOPE")]
    output: PathBuf,
    /// The child's key; made if it is missing
    #[arg(long, value_name = "FILE")]
    child_key: PathBuf,
    /// Register the child at this edge (its id or its URL), and carry the countersignature in the child's envelope
    #[arg(long, value_name = "EDGE")]
    edge: Option<String>,
    #[command(flatten)]
    edge_ca: EdgeCa,
    /// A bundle folder whose purposes and classes the restriction names, instead of the mesh's active bundle
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The envelope
    #[arg(value_name = "ENVELOPE")]
    file: PathBuf,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Issue(args) => issue_to_file(args, context).await,
        Verb::Delegate(args) => delegate_to_file(args, context).await,
        Verb::Show(args) => show(&args.file, context),
        Verb::Verify(args) => verify(&args.file, context).await,
    }
}

/// The body of `POST /v1/envelopes`.
#[derive(Serialize)]
struct Request<'a> {
    holder: &'a remit_common::crypto::sign::PublicKey,
    task: &'a TaskRequest,
}

/// Asks the issuers for a root; gives the presentation.
pub(crate) async fn issue(
    admin: &Admin,
    task: &TaskRequest,
    holder: &remit_common::crypto::sign::PublicKey,
) -> Result<Vec<u8>, Failure> {
    let body = serde_json::to_vec(&Request { holder, task })
        .map_err(|error| Failure::new(Exit::Failed, format!("the request has no JSON form: {error}")))?;
    let answer: EnvelopeIssued = admin.post("/v1/envelopes", body).await?;
    text::from_base64url(&answer.presentation)
        .ok_or_else(|| Failure::new(Exit::Failed, "the voter's answer holds no presentation"))
}

async fn issue_to_file(args: &Issue, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let task = parse_task(&args.task, &files::read_text(&context.env, &args.task, CONFIG_BYTES_MAX)?)?;
    let (key, made) = files::read_or_make_key(&context.env, &args.key)?;
    let presentation = issue(&Admin::new(context, &mesh)?, &task, key.public()).await?;
    let root = trust::root_digest(context, &mesh)?;
    EnvelopeFile::new(mesh.mesh_id, root, &presentation).write(&context.env, &args.output)?;
    context.output.document(&json!({ "envelope": args.output, "key": args.key, "key_made": made }));
    if made {
        context.output.line(format!("made the key {}", args.key.display()));
    }
    context.output.line(format!("wrote {}; `remit envelope verify {0}` shows it", args.output.display()));
    Ok(Exit::Done)
}

/// Reads a `task.toml`.
pub(crate) fn parse_task(path: &Path, text: &str) -> Result<TaskRequest, Failure> {
    TaskRequest::parse_toml(text).map_err(|error| bad_request(path, &error))
}

fn bad_request(path: &Path, error: &dyn std::error::Error) -> Failure {
    let mut failure = Failure::caused(Exit::Usage, error);
    failure.message = format!("`{}`: {}", path.display(), failure.message);
    failure.hint("examples/contract-renewal has a request and a restriction to start from")
}

async fn delegate_to_file(args: &Delegate, context: &Context) -> Result<Exit, Failure> {
    let env = &context.env;
    let parent = EnvelopeFile::read(env, &args.parent)?;
    let parent_key = Arc::new(files::read_key(env, &args.key)?);
    let text = files::read_text(env, &args.restrict, CONFIG_BYTES_MAX)?;
    let restriction = match &args.bundle {
        Some(folder) => Restriction::parse_toml(&text, &taxonomy(context, folder)?),
        None => match Restriction::parse_toml(&text, &NoNames) {
            // It names something: only then does anybody have to be asked.
            Err(InvalidRequest::Purpose { .. } | InvalidRequest::Class { .. }) => {
                Restriction::parse_toml(&text, active(context).await?.policy().taxonomy())
            }
            parsed => parsed,
        },
    };
    let restriction = restriction.map_err(|error| bad_request(&args.restrict, &error))?;
    let (child_key, made) = files::read_or_make_key(env, &args.child_key)?;
    let (now, nonce) = (context.now(), env.random());
    let bytes = parent.bytes()?;
    let child = envelope::delegate(&bytes, &parent_key, &parent.mesh_id, &restriction, child_key.public(), now, nonce)
        .map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let registered = match &args.edge {
        Some(edge) => Some(register::register(context, (edge, &args.edge_ca), &parent, parent_key, &child).await?),
        None => None,
    };
    let presentation = registered.as_ref().map_or(&child, |registered| &registered.presentation);
    EnvelopeFile::new(parent.mesh_id, parent.root_sha256, presentation).write(env, &args.output)?;
    context.output.document(&json!({
        "envelope": args.output, "key": args.child_key, "key_made": made,
        "registered": registered.as_ref().map(register::to_json),
    }));
    match &registered {
        Some(registered) => register::print(context, registered),
        None => context.output.line(context.output.faint(
            "Not registered: edges take it only if every link above says `offline`, for five minutes at most; \
             `--edge` registers it.",
        )),
    }
    context.output.line(format!("wrote {}", args.output.display()));
    Ok(Exit::Done)
}

async fn active(context: &Context) -> Result<CompiledBundle, Failure> {
    let mesh = context.mesh()?;
    let (root, _) = trust::directory(context, &mesh).await?;
    local::active_policy(context, &Admin::new(context, &mesh)?, &mesh, &root).await
}

/// The names in a bundle folder.
pub(super) fn taxonomy(context: &Context, folder: &Path) -> Result<Taxonomy, Failure> {
    let read = |name: &str| files::read(&context.env, &folder.join(name), CONFIG_BYTES_MAX);
    Taxonomy::parse(&read("purposes.toml")?, &read("classes.toml")?).map_err(|faults| {
        let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::new(Exit::Fault, faults)
    })
}

fn show(path: &Path, context: &Context) -> Result<Exit, Failure> {
    let file = EnvelopeFile::read(&context.env, path)?;
    let presentation = file.parse()?;
    let chain = chain::Chain::read(&presentation, &file.mesh_id);
    let links: Vec<_> = presentation.links().zip(&chain.steps).map(|(link, step)| step.to_json(link)).collect();
    context.output.document(&json!({ "verified": false, "tenant": presentation.tenant(), "links": links }));
    chain.draw(context, &presentation);
    context.output.line(context.output.faint("No signature was checked; `remit envelope verify` does that."));
    Ok(Exit::Done)
}

async fn verify(path: &Path, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let file = EnvelopeFile::read(&context.env, path)?;
    if file.mesh_id != mesh.mesh_id {
        let message = format!(
            "the envelope is for mesh {}, `{}` is mesh {}",
            file.mesh_id,
            context.mesh_path().display(),
            mesh.mesh_id
        );
        return Err(Failure::new(Exit::Usage, message).hint("name the other mesh's file with --mesh"));
    }
    let (_, directory) = trust::directory(context, &mesh).await?;
    let issuers = directory.issuers();
    let presentation = file.parse()?;
    let links = presentation.links().cloned().collect::<Vec<_>>();
    let chain = presentation
        .verify(&mesh.mesh_id, issuers)
        .map_err(|error| Failure::caused(Exit::Failed, &error).reason(error.reason_code()))?;
    let effective = chain.effective();
    let in_time = effective.check_time(context.now());
    let authority = effective.authority();
    let grants: Vec<_> = authority.scope.grants().filter_map(|(_, grant)| grant).map(grant_to_json).collect();
    let ids: Vec<_> = effective.links().iter().map(LinkId::to_string).collect();
    context.output.document(&json!({
        "verified": true, "tenant": authority.tenant, "delegator": authority.delegator, "session": authority.session,
        "task": authority.task, "agent": authority.agent, "purpose": purpose_text(&authority.purpose),
        "not_before": authority.not_before.to_string(), "expires": authority.expires.to_string(),
        "in_time": in_time.is_ok(), "depth_left": authority.depth_left, "fanout": authority.fanout_max,
        "offline": authority.offline, "audience": audience_to_json(&authority.audience),
        "obligations": demands_to_json(authority.demands), "grants": grants,
        "links": ids, "holders": effective.holders().iter().map(ToString::to_string).collect::<Vec<_>>(),
    }));
    for (hop, (link, id)) in links.iter().zip(&ids).enumerate() {
        print_link(context, hop, link);
        context.output.line(format!("  link        {id}"));
    }
    context.output.line(context.output.strong("What is left after the meet of all links:"));
    for (_, grant) in authority.scope.grants() {
        context.output.line(grant.map_or_else(|| "  nothing".to_owned(), |grant| format!("  {}", grant_text(grant))));
    }
    print_terms(context, &authority.audience, authority.demands);
    let window = format!("from {} to {}", authority.not_before, authority.expires);
    match in_time {
        Ok(()) => context.output.line(format!("{}, {window}", context.output.good("valid"))),
        Err(denied) => {
            context.output.line(format!("{}, {window}", context.output.bad(&denied.to_string())));
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Done)
}
