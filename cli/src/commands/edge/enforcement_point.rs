//! `remit edge enforcement-point`: makes the token of a platform that may ask an edge what policy says.

use std::path::PathBuf;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EnforcementPoint, TenantId, UpstreamName};
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

Example: let nginx ask whether a request may pass (examples/nginx; the token goes into `Remit-Enforcement-Token`)
  remit edge enforcement-point front --tenant acme --token front.token \\
        --forward-auth original --upstream crm >> edge.toml

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
    /// It is a proxy that holds requests back and asks whether they may pass: where it says which request that is
    /// (`original` for nginx, `forwarded` for Traefik and Caddy, `path` for Envoy)
    #[arg(long, value_name = "HEADERS", requires = "upstream", value_parser = ["original", "forwarded", "path"])]
    forward_auth: Option<String>,
    /// The upstream whose plain HTTP tools such requests call
    #[arg(long, value_name = "NAME", requires = "forward_auth")]
    upstream: Option<UpstreamName>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let tenant = match &args.tenant {
        Some(tenant) => tenant.clone(),
        None => context.mesh()?.tenant,
    };
    let (token, is_new) = files::read_or_make_secret(&context.env, &args.token, TOKEN_FILE_BYTES_MAX)?;
    let digest = Digest::of(&[token.expose()]);
    let mut entry = format!(
        "[[enforcement_points]]\nname = \"{}\"\ntenant = \"{tenant}\"\ntoken_sha256 = \"{digest}\"\nvouches = \"{}\"",
        args.name, args.vouches
    );
    if let Some((headers, upstream)) = args.forward_auth.as_ref().zip(args.upstream.as_ref()) {
        let held = format!("\nforward_auth = {{ headers = \"{headers}\", upstream = \"{upstream}\" }}");
        entry.push_str(&held);
    }
    context.output.document(&json!({
        "name": args.name, "tenant": tenant, "token_sha256": digest, "vouches": args.vouches,
        "token": args.token, "is_new": is_new, "config": entry,
    }));
    context.output.line(entry);
    Ok(Exit::Done)
}
