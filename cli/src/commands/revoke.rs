//! `remit revoke`: cuts authority.

use clap::ValueEnum;
use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH};
use remit_control_plane::admin::model::RevocationMade;
use serde_json::json;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit revoke session session-maya-0711
  remit revocation coverage 1 --wait

`remit envelope verify ENVELOPE` shows the ids of links, holders, session and task.")]
pub(crate) struct Args {
    /// What kind of thing
    kind: Kind,
    /// Which one
    id: String,
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
        }
    }
}

/// Has a cut committed.
pub(crate) async fn revoke(admin: &Admin, cut: &Cut) -> Result<RevocationMade, Failure> {
    admin.post(REVOCATIONS_PATH, cut.to_body()).await
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let cut = Cut { tenant: mesh.tenant.clone(), kind: args.kind.into(), id: args.id.clone() };
    let made = revoke(&Admin::new(context, &mesh)?, &cut).await?;
    context.output.document(&json!({ "epoch": made.epoch, "index": made.index, "until": made.until.to_string() }));
    context.output.line(format!("revoked as of epoch {}, until {}", made.epoch, made.until));
    context.output.line(format!("next: remit revocation coverage {} --wait", made.epoch));
    Ok(Exit::Done)
}
