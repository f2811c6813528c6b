//! A local mesh with the example's policy, tools and credential: what `up` leaves running and what the demo plays on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_chaos::launcher::{LocalMesh, MeshFile, Plan, UpstreamPlan};
use remit_common::bundle::source::{BuildOverrides, BundleSource};
use remit_common::bundle::{BundleRejected, CompiledBundle, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::secret::Secret;
use remit_common::id::{CredentialId, Region, TenantId, UpstreamName};
use remit_common::text;
use remit_common::trust::root::Root;
use remit_control_plane::admin::model::{BundleStatus, Bundles, EdgeStatus, Edges};
use zeroize::Zeroizing;

use crate::admin::Admin;
use crate::commands::bundle;
use crate::context::Context;
use crate::example;
use crate::failure::{Exit, Failure};
use crate::files;

/// Between two questions how far the edges are.
const POLL: Duration = Duration::from_millis(100);
/// From a push to the last edge that runs it.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(60);

/// What a user chooses about a local mesh.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) dir: PathBuf,
    pub(crate) voters: u64,
    pub(crate) regions: Vec<Region>,
    pub(crate) edges: u32,
    pub(crate) temporary: bool,
    pub(crate) detached: bool,
}

/// Writes the mesh and the example to its folder. Gives the API key that the tool server demands: it exists in this
/// process and, as a hash, at the tool server.
pub(crate) fn create(context: &Context, shape: Shape) -> Result<(LocalMesh, Secret), Failure> {
    let random = Zeroizing::new(context.env.random::<24>());
    let secret = Secret::new(format!("ak_live_{}", text::hex(random.as_slice())).into_bytes());
    let invalid = |error: remit_common::id::InvalidId| Failure::caused(Exit::Failed, &error);
    let plan = Plan {
        dir: shape.dir,
        executable: files::executable()?,
        tenant: TenantId::new("acme").map_err(invalid)?,
        voters: shape.voters,
        regions: shape.regions.into_iter().map(|region| (region, shape.edges)).collect(),
        upstream: UpstreamPlan {
            name: UpstreamName::new("acme").map_err(invalid)?,
            key_hash: Digest::of(&[secret.expose()]),
            data: example::TOOLS.to_vec(),
        },
        temporary: shape.temporary,
        detached: shape.detached,
    };
    let mesh = LocalMesh::create(&context.env, plan)?;
    let url = mesh.file().upstreams.first().map(|upstream| upstream.url.clone()).unwrap_or_default();
    example::write_all(&context.env, &mesh.file().example, &url)?;
    if let Some(agents) = &mesh.file().keys.agents {
        let authority = files::read_key(&context.env, agents)?;
        example::write_trust_domain(&context.env, &mesh.file().example.join("bundle"), authority.public())?;
    }
    if let Some(writer) = &mesh.file().keys.relations {
        let key = files::read_key(&context.env, writer)?;
        example::write_writer(&context.env, &mesh.file().example.join("bundle"), key.public())?;
    }
    Ok((mesh, secret))
}

/// The credential of the example.
pub(crate) fn credential() -> Result<CredentialId, Failure> {
    CredentialId::new("acme-contracts-api").map_err(|error| Failure::caused(Exit::Failed, &error))
}

/// Builds the example's bundle for this mesh, as of now, as version `version` or what its `bundle.toml` says.
pub(crate) fn build(
    context: &Context,
    mesh: &MeshFile,
    source: &BundleSource,
    version: Option<u64>,
) -> Result<SignedBundle, Failure> {
    let overrides =
        BuildOverrides { created: Some(context.now()), mesh_id: Some(mesh.mesh_id), version, fallback: None };
    Ok(bundle::build(source, &overrides)?.into_container())
}

/// Adds the signatures of these administrators.
pub(crate) fn sign<'p>(
    context: &Context,
    bundle: &mut SignedBundle,
    keys: impl IntoIterator<Item = &'p PathBuf>,
) -> Result<(), Failure> {
    for path in keys {
        bundle.add_signature(&files::read_key(&context.env, path)?);
    }
    Ok(())
}

/// The sources of the bundle in this mesh's folder.
pub(crate) fn source(context: &Context, mesh: &MeshFile) -> Result<BundleSource, Failure> {
    bundle::read_source(context, &mesh.example.join("bundle"))
}

/// Whether an edge runs the bundle with this manifest.
pub(crate) fn runs(edge: &EdgeStatus, manifest: &Digest) -> bool {
    edge.running.iter().any(|running| running.attestation.manifest == *manifest)
}

/// Waits until every listed edge runs a bundle. Calls `tell` whenever another one does, with how many do.
pub(crate) async fn wait_running(
    context: &Context,
    admin: &Admin,
    manifest: &Digest,
    mut tell: impl FnMut(usize, usize),
) -> Result<Edges, Failure> {
    let started = context.now();
    let mut before = 0;
    loop {
        let edges: Edges = admin.get("/v1/edges").await?;
        let running = edges.edges.iter().filter(|edge| runs(edge, manifest)).count();
        if running != before {
            tell(running, edges.edges.len());
            before = running;
        }
        if running == edges.edges.len() {
            return Ok(edges);
        }
        if context.now().since(started) > ARRIVAL_WITHIN {
            let missing: Vec<_> = edges.edges.iter().filter(|edge| !runs(edge, manifest)).map(why_not).collect();
            let message = format!("after {} s: {}", ARRIVAL_WITHIN.as_secs(), missing.join("; "));
            return Err(Failure::new(Exit::Failed, message));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn why_not(edge: &EdgeStatus) -> String {
    match (&edge.refused, edge.connected.is_empty()) {
        (Some(refused), _) => format!("{} refused a document: {} ({})", edge.id, refused.detail, refused.code),
        (None, true) => format!("{} is not connected", edge.id),
        (None, false) => format!("{} does not run it yet", edge.id),
    }
}

/// The policy that the tenant's edges are to run: its signatures are checked here, against the root of the mesh.
pub(crate) async fn active_policy(
    context: &Context,
    admin: &Admin,
    mesh: &MeshFile,
    root: &Root,
) -> Result<CompiledBundle, Failure> {
    let listing: Bundles = admin.get("/v1/bundles").await?;
    let is_active = |bundle: &&BundleStatus| bundle.tenant == mesh.tenant && bundle.number.is_some();
    let active = listing.bundles.iter().find(is_active).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("tenant `{}` has no active bundle", mesh.tenant))
            .hint("`remit bundle push` activates one")
    })?;
    verified_policy(context, admin, mesh, (active, root)).await
}

/// A policy that a voter names: its signatures are checked here, against the root of the mesh.
pub(crate) async fn verified_policy(
    context: &Context,
    admin: &Admin,
    mesh: &MeshFile,
    (named, root): (&BundleStatus, &Root),
) -> Result<CompiledBundle, Failure> {
    let container = admin.get_bytes(&format!("/v1/bundles/{}", named.digest)).await?;
    let bundle = SignedBundle::parse(&container).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let rejected = |error: BundleRejected| Failure::caused(Exit::Failed, &error).reason(error.reason_code());
    let verified = bundle.verify(root, &mesh.mesh_id, &named.tenant, context.now()).map_err(rejected)?;
    verified.compile().map_err(rejected)
}

/// A path as people type it: relative to where they are, if that is shorter.
pub(crate) fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
