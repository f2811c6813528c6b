//! `remit edge enforcement-point`: makes the token of a platform that may ask an edge what policy says.

use std::path::PathBuf;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EnforcementPoint, TenantId};
use remit_common::proof::Grade;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// Bytes of the file of a token.
const TOKEN_FILE_BYTES_MAX: usize = 512;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: let a gateway ask the edge beside it about the tenant acme
  remit edge enforcement-point records-gateway --tenant acme --token gateway.token >> edge.toml
  (restart the edge; give the file to the gateway, which sends what is in it as `Authorization: Bearer`)

The edge's configuration gets the token's SHA-256 alone. A file that exists is kept, and its line printed again.")]
pub(super) struct Args {
    /// How records name the platform
    name: EnforcementPoint,
    /// Whose policy it asks; by default the mesh file's tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// The file for the token, of mode 0600
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The grade of proof that the platform makes sure of before it asks about an envelope
    #[arg(long, value_name = "GRADE", default_value = "none")]
    vouches: Grade,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let tenant = match &args.tenant {
        Some(tenant) => tenant.clone(),
        None => context.mesh()?.tenant,
    };
    let (token, is_new) = files::read_or_make_secret(&context.env, &args.token, TOKEN_FILE_BYTES_MAX)?;
    let digest = Digest::of(&[token.expose()]);
    let entry = format!(
        "[[enforcement_points]]\nname = \"{}\"\ntenant = \"{tenant}\"\ntoken_sha256 = \"{digest}\"\nvouches = \"{}\"",
        args.name, args.vouches
    );
    context.output.document(&json!({
        "name": args.name, "tenant": tenant, "token_sha256": digest, "vouches": args.vouches,
        "token": args.token, "is_new": is_new, "config": entry,
    }));
    context.output.line(entry);
    Ok(Exit::Done)
}
