//! `remit edge enforcement-point`: makes the token of a platform that may ask an edge what policy says.

use std::path::PathBuf;

use remit_common::crypto::digest::Digest;
use remit_common::id::{EnforcementPoint, TenantId};
use remit_common::proof::Grade;
use remit_common::text;
use serde_json::json;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// Bytes of the file of a token.
const TOKEN_FILE_BYTES_MAX: usize = 512;
/// Characters of a token that cannot be guessed.
const TOKEN_CHARS_MIN: usize = 32;

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
    let (token, is_new) = match files::read_private(&context.env, &args.token, TOKEN_FILE_BYTES_MAX) {
        Ok(token) => (token, false),
        Err(_) if !args.token.exists() => {
            let random: Zeroizing<[u8; 32]> = Zeroizing::new(context.env.random());
            let token = Zeroizing::new(text::base64url(random.as_slice()).into_bytes());
            files::write(&context.env, &args.token, &token)?;
            (token, true)
        }
        Err(failure) => return Err(failure),
    };
    let token = token.trim_ascii();
    if token.len() < TOKEN_CHARS_MIN || !token.iter().all(u8::is_ascii_graphic) {
        let why = format!("`{}` holds no token: 32 or more visible ASCII characters", args.token.display());
        return Err(Failure::new(Exit::Usage, why).hint("name a file that does not exist, and one is made"));
    }
    let digest = Digest::of(&[token]);
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
