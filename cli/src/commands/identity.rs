//! `remit identity`: names for agents that they can prove, in a mesh for trying things out.
//!
//! A real mesh takes identities from where its workloads get them (SPIFFE); a development mesh has a trust domain of its
//! own, which its bundle names and whose key lies in its folder.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::identity::certificate::{Validity, to_pem};
use remit_common::identity::{AgentSpiffeId, issue_agent_svid};
use remit_common::time::Timestamp;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// How far before now an identity begins, for clocks that differ.
const BACKDATED: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit identity issue --agent spiffe://customer-success.example/agent/clause-classifier \\
        --key helper.key -o helper.svid")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Issue an X.509-SVID for an agent's key, from the mesh's own trust domain
    Issue(Issue),
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// The agent's SPIFFE id
    #[arg(long, value_name = "SPIFFE_ID")]
    agent: String,
    /// The agent's key, the one that holds its envelope; made if it is missing
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the identity goes (PEM)
    #[arg(short, value_name = "SVID")]
    output: PathBuf,
    /// How many minutes it counts
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Issue(args) => issue(args, context),
    }
}

fn issue(args: &Issue, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let authority = authority(context, &mesh)?;
    let id: AgentSpiffeId =
        args.agent.parse().map_err(|error| Failure::new(Exit::Usage, format!("`{}` is {error}", args.agent)))?;
    let (key, made) = files::read_or_make_key(&context.env, &args.key)?;
    let (svid, expires) = svid(context, &authority, &id, key.public(), args.minutes)?;
    files::write(&context.env, &args.output, svid.as_bytes())?;
    context.output.document(&json!({
        "svid": args.output, "agent": id.to_string(), "key": args.key, "key_made": made,
        "expires": expires.to_string(),
    }));
    if made {
        context.output.line(format!("made the key {}", args.key.display()));
    }
    context.output.line(format!("wrote {}: {id}, until {expires}", args.output.display()));
    Ok(Exit::Done)
}

/// The key of the mesh's own trust domain for agents.
pub(crate) fn authority(context: &Context, mesh: &MeshFile) -> Result<SigningKey, Failure> {
    let path = mesh.keys.agents.as_ref().ok_or_else(|| {
        Failure::new(Exit::Failed, "this mesh has no trust domain of its own for agents")
            .hint("agents get their identities from the SPIFFE domain that the bundle's trust-domains.toml names")
    })?;
    files::read_key(&context.env, path)
}

/// An X.509-SVID (PEM) for an agent's key, and when it ends.
pub(crate) fn svid(
    context: &Context,
    authority: &SigningKey,
    id: &AgentSpiffeId,
    key: &PublicKey,
    minutes: u64,
) -> Result<(String, Timestamp), Failure> {
    let now = context.now();
    let not_after = now.plus(Duration::from_secs(minutes.saturating_mul(60)));
    let validity = Validity { not_before: now.minus(BACKDATED), not_after };
    let serial = u64::from_be_bytes(context.env.random()) >> 1;
    let svid = issue_agent_svid(authority, id, key, serial, validity)
        .map_err(|error| Failure::caused(Exit::Failed, &error))?;
    Ok((to_pem(&svid), not_after))
}
