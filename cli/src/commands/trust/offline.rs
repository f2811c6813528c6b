//! `remit trust offline`: what edges may go on with while no voter can be heard, signed by those who sign policy.
//!
//! Clauses T-63 to T-66 and U-21.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{KeyId, TenantId};
use remit_common::lattice::Effect;
use remit_common::limits::{BOOTSTRAP_BYTES_MAX, CLOCK_AHEAD_MAX, DOCUMENT_BYTES_MAX};
use remit_common::net::bootstrap::BootstrapFolder;
use remit_common::sync::bootstrap::Bootstrap;
use remit_common::trust::offline::{OfflineContent, SignedOffline};
use remit_common::trust::published::Published;
use remit_common::trust::role::Role;
use remit_common::trust::root::{Root, SignedRoot};
use serde_json::json;

use super::documents;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It lets calls of one tenant go on at edges that start with the folder, each effect for as long
as its bound says, counted from now. Whoever signs vouches for that: nobody can take anything
back at such an edge until it hears voters again.

Example: the first administrator says what, the others sign the same
  remit edge bootstrap static/                           # as late as can be
  remit trust offline static/ --life 24h --bound read=24h --bound write=2h --key policy-1.key
  remit trust offline static/ --key policy-2.key --digest DIGEST")]
pub(super) struct Args {
    /// The folder, as `remit edge bootstrap` wrote it
    dir: PathBuf,
    /// Whose calls; by default the mesh file's tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// For how long it counts, at most seven days
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    life: Option<Duration>,
    /// How long an effect may go on; may be given once for each
    #[arg(long, value_name = "EFFECT=TIME", value_parser = bound, requires = "life")]
    bound: Vec<(Effect, u32)>,
    /// A key that signs the tenant's policy; may be given more than once
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// What the first signer was told: sign nothing else
    #[arg(long)]
    digest: Option<Digest>,
    /// The first root of the mesh; by default the mesh file's
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

fn bound(text: &str) -> Result<(Effect, u32), String> {
    let (effect, time) = text.split_once('=').ok_or("an effect, `=`, and a time: `read=24h`")?;
    let effect = effect.parse::<Effect>().map_err(|error| error.to_string())?;
    let time = humantime::parse_duration(time).map_err(|error| error.to_string())?;
    let secs = u32::try_from(time.as_secs()).map_err(|_| "that is too long".to_owned())?;
    Ok((effect, secs))
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let tenant = args.tenant.clone().map_or_else(|| context.mesh().map(|mesh| mesh.tenant), Ok)?;
    let folder = BootstrapFolder::new(Arc::clone(&context.env.disk), &args.dir);
    let (bootstrap, root) = verified(args, &folder, context)?;
    let unusable = |error| Failure::caused(Exit::Failed, &error);
    let path = folder.authorization_path(&tenant);
    let found = folder.authorization(&tenant).map_err(unusable)?;
    let signed_tick = &bootstrap.beacon.statement;
    let mut signed = match (found, args.life) {
        (Some(_), Some(_)) => {
            let message = format!("`{}` is there already, and says for how long", path.display());
            return Err(Failure::new(Exit::Usage, message)
                .reason("exists")
                .hint("sign it with `--key` alone, or remove it to make another one"));
        }
        (Some(bytes), None) => SignedOffline::parse(&bytes).map_err(|error| documents::refused_in(&path, &error))?,
        (None, None) => {
            return Err(Failure::new(Exit::Usage, format!("there is no `{}` to sign", path.display()))
                .hint("make it with `--life 24h --bound read=24h`"));
        }
        (None, Some(life)) => {
            let created = context.now();
            SignedOffline::unsigned(&OfflineContent {
                mesh_id: *root.mesh_id(),
                tenant: tenant.clone(),
                tick: signed_tick.n,
                epoch: signed_tick.epoch,
                bounds: bounds(&args.bound)?,
                created,
                expires: created.plus(life),
            })
            .map_err(|error| documents::refused(&error))?
        }
    };
    let content = signed.read().map_err(|error| documents::refused_in(&path, &error))?;
    let unlike = |reason: &str, what: &str| {
        let message = format!("`{}` {what}", path.display());
        Err(Failure::new(Exit::Failed, message).reason(reason).hint("remove it to make another one"))
    };
    if (&content.tenant, &content.mesh_id) != (&tenant, root.mesh_id()) {
        return unlike("wrong_mesh", "is for another tenant or another mesh");
    }
    // Whoever carries the folder may have written it: what is signed is about this folder, and about now.
    if (content.tick, content.epoch) != (signed_tick.n, signed_tick.epoch) {
        return unlike("another_tick", "is about another tick than the folder's");
    }
    if context.now() >= content.expires || content.created > context.now().plus(CLOCK_AHEAD_MAX) {
        return unlike("expired", "has expired, or is from the future");
    }
    if args.digest.is_some_and(|digest| digest != signed.digest()) {
        return unlike("wrong_digest", &format!("has the digest {}", signed.digest()));
    }
    let unknown =
        || Failure::new(Exit::Failed, format!("the root knows no tenant `{tenant}`")).hint("name it with `--tenant`");
    let role = root.policy_role(&tenant).ok_or_else(unknown)?;
    // What is signed is said before it is signed.
    say(&content, &signed.digest(), context);
    for file in &args.key {
        let key = files::read_key(&context.env, file)?;
        let id = key.public().id();
        let refuse = |reason: &str, what: &str| {
            Err(Failure::new(Exit::Failed, format!("`{}`: {what}", file.display())).reason(reason))
        };
        if !role.keys().contains_key(&id) {
            return refuse("no_part", &format!("key {id} is none of those that sign the policy of `{tenant}`"));
        }
        if signed.signers(role).contains(&id) {
            return refuse("signed_already", &format!("key {id} has signed it already, and counts once"));
        }
        signed.sign(&key);
    }
    folder.write_authorization(&tenant, &signed.to_bytes()).map_err(unusable)?;
    finish((&signed, &content), role, &path.display().to_string(), context);
    Ok(Exit::Done)
}

/// The folder's content under the newest root of its own chain, which begins with the root that is given.
fn verified(args: &Args, folder: &BootstrapFolder, context: &Context) -> Result<(Bootstrap, Root), Failure> {
    let first = args.root.clone().map_or_else(|| context.mesh().map(|mesh| mesh.root), Ok)?;
    let first = files::read(&context.env, &first, DOCUMENT_BYTES_MAX)?;
    let first = SignedRoot::parse(&first).map_err(|error| documents::refused(&error))?;
    let bytes = files::read(&context.env, &folder.index_path(), BOOTSTRAP_BYTES_MAX)?;
    let refused = |error: &dyn std::error::Error| Failure::caused(Exit::Failed, error);
    let bootstrap = Bootstrap::parse(&bytes).map_err(|error| refused(&error).reason(error.reason_code()))?;
    let published = Published::parse(&bytes).map_err(|error| refused(&error))?;
    let (root, directory) =
        published.verify(&first.digest(), &bootstrap.mesh_id, context.now()).map_err(|error| refused(&error))?;
    bootstrap.check(&root, &directory).map_err(|error| refused(&error).reason(error.reason_code()))?;
    Ok((bootstrap, root))
}

fn bounds(given: &[(Effect, u32)]) -> Result<BTreeMap<Effect, u32>, Failure> {
    let bounds: BTreeMap<Effect, u32> = given.iter().copied().collect();
    if bounds.len() != given.len() {
        return Err(Failure::new(Exit::Usage, "an effect has two bounds"));
    }
    Ok(bounds)
}

fn say(content: &OfflineContent, digest: &Digest, context: &Context) {
    let OfflineContent { tenant, tick, epoch, bounds, created, expires, .. } = content;
    let line = |text: String| context.output.line(text);
    line(format!("calls of tenant {tenant} go on at edges without voters, from {created} until {expires} at most:"));
    for (effect, secs) in bounds {
        let time = humantime::format_duration(Duration::from_secs((*secs).into()));
        line(format!("  {effect} for {time}"));
    }
    line(format!("as of tick {tick} and revocation epoch {epoch}; digest {digest}"));
}

fn finish((signed, content): (&SignedOffline, &OfflineContent), role: &Role, file: &str, context: &Context) {
    let signers: Vec<KeyId> = signed.signers(role);
    let OfflineContent { tenant, tick, epoch, bounds, created, expires, .. } = content;
    let complete = signers.len() >= role.threshold();
    context.output.document(&json!({
        "file": file, "tenant": tenant, "tick": tick, "revocation_epoch": epoch, "bounds": bounds,
        "created": created.to_string(), "expires": expires.to_string(), "digest": signed.digest(),
        "signed": signers, "needed": role.threshold(), "complete": complete,
    }));
    context.output.line(format!("\nsigned by {} of the {} keys that it takes", signers.len(), role.threshold()));
    context.output.line(if complete {
        "edges that start with this folder take it".to_owned()
    } else {
        format!("hand the folder on: the next administrator signs with `--key FILE --digest {}`", signed.digest())
    });
}
