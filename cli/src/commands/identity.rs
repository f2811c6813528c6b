//! `remit identity`: names for agents that they can prove, in a mesh for trying things out.
//!
//! A real mesh takes identities from where its workloads get them (SPIFFE); a development mesh has a trust domain of its
//! own, which its bundle names and whose key lies in its folder.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use remit_common::identity::certificate::{Validity, to_pem};
use remit_common::identity::{AgentSpiffeId, issue_agent_svid};
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
    let authority = mesh.keys.agents.as_ref().ok_or_else(|| {
        Failure::new(Exit::Failed, "this mesh has no trust domain of its own for agents")
            .hint("agents get their identities from the SPIFFE domain that the bundle's trust-domains.toml names")
    })?;
    let authority = files::read_key(&context.env, authority)?;
    let id: AgentSpiffeId =
        args.agent.parse().map_err(|error| Failure::new(Exit::Usage, format!("`{}` is {error}", args.agent)))?;
    let (key, made) = files::read_or_make_key(&context.env, &args.key)?;
    let now = context.now();
    let validity = Validity {
        not_before: now.minus(BACKDATED),
        not_after: now.plus(Duration::from_secs(args.minutes.saturating_mul(60))),
    };
    let serial = u64::from_be_bytes(context.env.random()) >> 1;
    let svid = issue_agent_svid(&authority, &id, key.public(), serial, validity)
        .map_err(|error| Failure::caused(Exit::Failed, &error))?;
    files::write(&context.env, &args.output, to_pem(&svid).as_bytes())?;
    context.output.document(&json!({
        "svid": args.output, "agent": id.to_string(), "key": args.key, "key_made": made,
        "expires": validity.not_after.to_string(),
    }));
    if made {
        context.output.line(format!("made the key {}", args.key.display()));
    }
    context.output.line(format!("wrote {}: {id}, until {}", args.output.display(), validity.not_after));
    Ok(Exit::Done)
}
