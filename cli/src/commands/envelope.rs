//! `remit envelope`: asks for, narrows, shows and checks what an agent carries.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use remit_common::bundle::CompiledBundle;
use remit_common::envelope::{self, EvidenceKind, InvalidRequest, Link, Restriction, TaskRequest};
use remit_common::id::LinkId;
use remit_common::lattice::{Grant, IdSet, NoNames, PurposePath};
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::policy::taxonomy::Taxonomy;
use remit_common::text;
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::EnvelopeIssued;
use serde::Serialize;
use serde_json::json;

use crate::admin::Admin;
use crate::context::Context;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::{files, local, trust};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit envelope issue --task task.toml -o maya.envelope --key agent.key
  remit envelope delegate --parent maya.envelope --key agent.key \\
        --restrict child.toml -o child.envelope --child-key helper.key
  remit envelope verify child.envelope")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask the issuers for a root on a human's behalf
    Issue(Issue),
    /// Hand on a part of an envelope; needs no server
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
    let parent_key = files::read_key(env, &args.key)?;
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
    EnvelopeFile::new(parent.mesh_id, parent.root_sha256, &child).write(env, &args.output)?;
    context.output.document(&json!({ "envelope": args.output, "key": args.child_key, "key_made": made }));
    context.output.line(format!("wrote {}", args.output.display()));
    Ok(Exit::Done)
}

async fn active(context: &Context) -> Result<CompiledBundle, Failure> {
    let mesh = context.mesh()?;
    let (root, _) = trust::directory(context, &mesh).await?;
    local::active_policy(context, &Admin::new(context, &mesh)?, &mesh, &root).await
}

fn taxonomy(context: &Context, folder: &Path) -> Result<Taxonomy, Failure> {
    let read = |name: &str| files::read(&context.env, &folder.join(name), CONFIG_BYTES_MAX);
    Taxonomy::parse(&read("purposes.toml")?, &read("classes.toml")?).map_err(|faults| {
        let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::new(Exit::Fault, faults)
    })
}

fn show(path: &Path, context: &Context) -> Result<Exit, Failure> {
    let presentation = EnvelopeFile::read(&context.env, path)?.parse()?;
    let links: Vec<_> = presentation.links().map(link_to_json).collect();
    context.output.document(&json!({ "verified": false, "tenant": presentation.tenant(), "links": links }));
    for (hop, link) in presentation.links().enumerate() {
        print_link(context, hop, link);
    }
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
        "in_time": in_time.is_ok(), "depth_left": authority.depth_left, "grants": grants,
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

fn print_link(context: &Context, hop: usize, link: &Link) {
    let output = &context.output;
    let title = if hop == 0 { "root".to_owned() } else { format!("hop {hop}") };
    output.line(output.strong(&title));
    output.line(format!("  agent       {} ({})", link.agent.id, link.agent.class));
    if let Some(root) = &link.context {
        output.line(format!("  on behalf   {} in tenant {}", root.delegator, root.tenant));
        output.line(format!("  session     {}, task {}", root.session, root.task));
    }
    if let Some(purpose) = &link.purpose {
        output.line(format!("  purpose     {}", purpose_text(purpose)));
    }
    if let Some(words) = link.intent.as_ref().or(link.subtask.as_ref()) {
        output.line(format!("  in words    {words}"));
    }
    let window = (Timestamp::from_secs(link.not_before_secs), Timestamp::from_secs(link.expires_secs));
    output.line(format!("  holds       {} to {}", window.0, window.1));
    for grant in &link.grants {
        output.line(format!("  grant       {}", grant_text(grant)));
    }
}

fn grant_text(grant: &Grant) -> String {
    let mut parts = vec![grant.tools.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")];
    for (name, ids) in &grant.ids {
        let (word, ids) = match ids {
            IdSet::In(ids) => ("", ids),
            IdSet::NotIn(ids) => ("not ", ids),
        };
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        parts.push(format!("{name} {word}{ids}"));
    }
    parts.extend(grant.maxima.iter().map(|(name, most)| format!("{name} ≤ {most}")));
    if let Some(classes) = grant.classes {
        parts.push(format!("classes {}", numbers(classes.iter().map(u64::from))));
    }
    if let Some(effects) = grant.effects {
        parts.push(effects.iter().map(|effect| effect.to_string()).collect::<Vec<_>>().join(" "));
    }
    parts.join("; ")
}

fn numbers(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

fn purpose_text(purpose: &PurposePath) -> String {
    purpose.numbers().iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

fn grant_to_json(grant: &Grant) -> serde_json::Value {
    let ids = |ids: &IdSet| match ids {
        IdSet::In(ids) => json!({ "in": ids }),
        IdSet::NotIn(ids) => json!({ "not_in": ids }),
    };
    json!({
        "of": grant.of,
        "tools": grant.tools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ids": grant.ids.iter().map(|(name, set)| (name.to_string(), ids(set))).collect::<serde_json::Map<_, _>>(),
        "maxima": grant.maxima.iter().map(|(name, most)| (name.to_string(), json!(most))).collect::<serde_json::Map<_, _>>(),
        "classes": grant.classes.map(|classes| classes.iter().collect::<Vec<_>>()),
        "effects": grant.effects.map(|effects| effects.iter().map(|effect| effect.to_string()).collect::<Vec<_>>()),
    })
}

fn link_to_json(link: &Link) -> serde_json::Value {
    let context = link.context.as_ref().map(|root| {
        let evidence = match root.evidence_kind {
            EvidenceKind::Admin => "admin",
            EvidenceKind::IdToken => "id_token",
            EvidenceKind::Jag => "jag",
            EvidenceKind::Mandate => "mandate",
        };
        json!({ "tenant": root.tenant, "delegator": root.delegator, "session": root.session, "task": root.task,
                "evidence": evidence })
    });
    json!({
        "agent": { "id": link.agent.id, "class": link.agent.class },
        "holder": link.holder,
        "context": context,
        "purpose": link.purpose.as_ref().map(purpose_text),
        "not_before": Timestamp::from_secs(link.not_before_secs).to_string(),
        "expires": Timestamp::from_secs(link.expires_secs).to_string(),
        "grants": link.grants.iter().map(grant_to_json).collect::<Vec<_>>(),
        "depth_left": link.delegation.map_or(0, |delegation| delegation.depth_left),
    })
}
