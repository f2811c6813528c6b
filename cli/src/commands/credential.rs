//! `remit credential`: seals what opens an end service, so that only the edges can open it.

use std::path::PathBuf;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::secret::Secret;
use remit_common::id::CredentialId;
use remit_common::policy::compile::CompiledPolicy;
use remit_common::shard::{ShardAad, seal};
use remit_common::trust::directory::Directory;
use remit_control_plane::admin::model::{CredentialSealed, CredentialStatus, Credentials};
use zeroize::Zeroizing;

use super::bundle;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{files, local, trust};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  printf %s \"$ACME_KEY\" | remit credential seal acme-contracts-api --from -
  remit credential seal acme-contracts-api --from env://ACME_KEY

The plaintext never leaves this process: what is sent is sealed, once for each edge of the directory.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Seal a credential for every edge and hand the shards to the control plane
    Seal(Seal),
    /// List sealed credentials; nothing here opens anything
    Ls,
}

#[derive(Debug, clap::Args)]
struct Seal {
    /// Its name, as the catalogue calls it
    name: CredentialId,
    /// Where the plaintext is: `env://NAME`, `file:///path`, or `-` for standard input
    #[arg(long, value_name = "URI")]
    from: String,
    /// A bundle folder whose catalogue says how it is injected, instead of the active bundle
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Seal(args) => seal_one(args, context).await,
        Verb::Ls => ls(context).await,
    }
}

/// The digest of the injection profile that the catalogue declares for a credential.
pub(crate) fn profile_of(policy: &CompiledPolicy, credential: &CredentialId) -> Result<Digest, Failure> {
    let catalogue = policy.catalogue();
    let mut upstreams: Vec<_> = catalogue
        .tools
        .values()
        .filter(|tool| tool.credential.as_ref() == Some(credential))
        .map(|tool| &tool.upstream)
        .collect();
    upstreams.sort();
    upstreams.dedup();
    match upstreams.as_slice() {
        [upstream] => {
            catalogue.upstreams.get(*upstream).map(|upstream| upstream.profile_digest()).ok_or_else(|| {
                Failure::new(Exit::Failed, format!("the catalogue does not declare upstream `{upstream}`"))
            })
        }
        [] => Err(Failure::new(Exit::Usage, format!("no tool of the catalogue uses the credential `{credential}`"))),
        _ => Err(Failure::new(Exit::Usage, format!("`{credential}` is used by tools of several upstreams"))
            .hint("give each upstream a credential of its own: a sealed one is bound to one address and header")),
    }
}

/// Seals one version of a credential for every edge of the directory.
pub(crate) fn seal_for_all(
    context: &Context,
    mesh: &MeshFile,
    directory: &Directory,
    credential: &CredentialId,
    version: u64,
    profile: Digest,
    secret: &Secret,
) -> Result<Vec<Vec<u8>>, Failure> {
    let sealer = files::read_key(&context.env, &mesh.keys.sealer)?;
    let seal_for = |edge: &remit_common::trust::directory::Edge| {
        let aad = ShardAad {
            mesh: &mesh.mesh_id,
            tenant: &mesh.tenant,
            edge: &edge.id,
            sealing_key: edge.sealing.id(),
            credential,
            version,
            profile,
        };
        let random = Zeroizing::new(context.env.random::<64>());
        seal(&aad, &edge.sealing, secret, &sealer, &random).map_err(|error| Failure::caused(Exit::Failed, &error))
    };
    directory.content().edges.iter().map(seal_for).collect()
}

/// Seals a new version and has it committed.
pub(crate) async fn seal_and_send(
    context: &Context,
    admin: &Admin,
    mesh: &MeshFile,
    directory: &Directory,
    policy: &CompiledPolicy,
    credential: &CredentialId,
    secret: &Secret,
) -> Result<CredentialSealed, Failure> {
    let listed: Credentials = admin.get("/v1/credentials").await?;
    let is_same = |known: &&CredentialStatus| known.tenant == mesh.tenant && known.credential == *credential;
    let newest = listed.credentials.iter().filter(is_same).map(|known| known.version).max();
    let version = newest.unwrap_or(0).saturating_add(1);
    let profile = profile_of(policy, credential)?;
    let shards = seal_for_all(context, mesh, directory, credential, version, profile, secret)?;
    // Each shard is a JSON document whose bytes are signed: they are put side by side, never written anew.
    let mut body = vec![b'['];
    body.extend(shards.join(b",".as_slice()));
    body.push(b']');
    admin.post("/v1/credentials", body).await
}

async fn seal_one(args: &Seal, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let secret = files::read_credential(&context.env, &args.from)?;
    let admin = Admin::new(context, &mesh)?;
    let (root, directory) = trust::directory(context, &mesh).await?;
    let policy = match &args.profile {
        Some(folder) => {
            let source = bundle::read_source(context, folder)?;
            source.compile().map_err(|faults| bundle::faulty(&faults, &source))?
        }
        None => local::active_policy(context, &admin, &mesh, &root).await?.policy().clone(),
    };
    let sealed = seal_and_send(context, &admin, &mesh, &directory, &policy, &args.name, &secret).await?;
    context.output.document(&sealed);
    let edges = sealed.edges.len();
    context.output.line(format!("sealed {} version {} for {edges} edges", sealed.credential, sealed.version));
    Ok(Exit::Done)
}

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let listed: Credentials = Admin::new(context, &mesh)?.get("/v1/credentials").await?;
    context.output.document(&listed);
    let row = |known: &CredentialStatus| {
        let sealer = known.sealer_name.clone().unwrap_or_else(|| known.sealer.to_string());
        let (version, edges) = (known.version.to_string(), known.edges.len().to_string());
        [known.tenant.to_string(), known.credential.to_string(), version, edges, sealer, known.sealed_at.to_string()]
    };
    let header = ["tenant", "credential", "version", "edges", "sealed by", "at"];
    context.output.table(header, listed.credentials.iter().map(row));
    Ok(Exit::Done)
}
