//! `remit edge bootstrap`: a folder from which edges start while no voter can be reached.
//!
//! A voter is asked, and nothing of what it says is believed: everything is verified here as an edge will verify it.
//! Clauses U-19 and D-15 to D-17.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::bundle::{BundleRejected, CompiledBundle, SignedBundle};
use remit_common::id::{RevocationEpoch, TenantId};
use remit_common::net::bootstrap::BootstrapFolder;
use remit_common::relation_log::{RelationLog, Writers, has_model};
use remit_common::revocation::Revocations;
use remit_common::sync::bootstrap::Bootstrap;
use remit_common::trust::activation::Activation;
use remit_common::trust::directory::Directory;
use remit_common::trust::root::Root;
use serde_json::json;

use crate::admin::Admin;
use crate::commands::relation;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::trust;

/// Between two questions while what voters sign and what they have differ: a tick is one a second.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How often that is asked.
const TRIES_MAX: u32 = 30;
/// The voter's word for it.
const CHANGING: &str = "changing";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything in the folder is signed or sealed, so it may travel by any way. It gives policy, and says nothing about how old
it is: an edge that starts from it permits nothing until it hears voters, or administrators let it go on without them.

Example: a region is cut off for days
  remit edge bootstrap static/                                   # where a voter can be reached
  remit trust offline static/ --life 24h --bound read=24h --key policy-1.key
  remit trust offline static/ --key policy-2.key                 # as many administrators as sign a bundle
  remit edge-node --config edge.toml --bootstrap static/         # where none can")]
pub(super) struct Args {
    /// Where it goes; what an earlier one left there is replaced
    dir: PathBuf,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let progress = context.output.progress("asking a voter");
    let (bytes, bootstrap) = ask(&admin).await?;
    let (root, directory) = trust::verified(context, &mesh, &bytes)?;
    verify(&bootstrap, &root, &directory, context)?;
    let folder = BootstrapFolder::new(Arc::clone(&context.env.disk), &args.dir);
    let unwritten = |error| Failure::caused(Exit::Failed, &error);
    let mut bundles: BTreeMap<_, (TenantId, u64)> = BTreeMap::new();
    for activation in &bootstrap.activations {
        if bundles.contains_key(&activation.manifest) {
            continue;
        }
        progress.set_message(format!("bundle {} of {}", bundles.len() + 1, bootstrap.activations.len()));
        let (container, bundle) = fetch(&admin, activation, &root, context).await?;
        folder.write_bundle(&activation.manifest, &container).map_err(unwritten)?;
        let tenant = &activation.tenant;
        let head = bootstrap.relations.get(tenant).filter(|_| has_model(bundle.policy()));
        if let Some(head) = head.filter(|head| head.revision > 0) {
            let batches = relation::batches(&admin, tenant).await?;
            let read = batches.iter().map(|batch| batch.get().as_bytes());
            let log = RelationLog::verify(mesh.mesh_id, tenant.clone(), read, &Writers::of(bundle.policy()));
            let log = log.map_err(|error| Failure::caused(Exit::Failed, &error).reason(error.reason_code()))?;
            if log.head() != *head {
                return Err(Failure::new(Exit::Failed, format!("the relations of `{tenant}` change under way"))
                    .reason(CHANGING)
                    .hint("try again"));
            }
            folder.write_relations(tenant, &batches).map_err(unwritten)?;
        }
        bundles.insert(activation.manifest, (tenant.clone(), bundle.manifest().version.0));
    }
    folder.write_index(&bytes).map_err(unwritten)?;
    progress.finish_and_clear();
    say(args, &bootstrap, &bundles.into_values().collect::<Vec<_>>(), context);
    Ok(Exit::Done)
}

async fn ask(admin: &Admin) -> Result<(Vec<u8>, Bootstrap), Failure> {
    let mut tries = 0;
    let bytes = loop {
        tries += 1;
        match admin.get_bytes("/v1/bootstrap").await {
            Err(failure) if tries < TRIES_MAX && failure.reason.as_deref() == Some(CHANGING) => {
                tokio::time::sleep(ASKED_EVERY).await;
            }
            answered => break answered?,
        }
    };
    let bootstrap = Bootstrap::parse(&bytes);
    let bootstrap = bootstrap.map_err(|error| Failure::caused(Exit::Failed, &error).reason(error.reason_code()))?;
    Ok((bytes, bootstrap))
}

/// As an edge would.
fn verify(bootstrap: &Bootstrap, root: &Root, directory: &Directory, context: &Context) -> Result<(), Failure> {
    let refused = |error: &dyn std::error::Error, reason| Failure::caused(Exit::Failed, error).reason(reason);
    bootstrap.check(root, directory).map_err(|error| refused(&error, error.reason_code()))?;
    if bootstrap.revocations.to > RevocationEpoch(0) {
        let whole = Revocations::new().updated(bootstrap.revocations.clone(), &directory.authorities(), context.now());
        whole.map_err(|error| refused(&error, error.reason_code()))?;
    }
    Ok(())
}

async fn fetch(
    admin: &Admin,
    activation: &Activation,
    root: &Root,
    context: &Context,
) -> Result<(Vec<u8>, CompiledBundle), Failure> {
    let rejected = |error: BundleRejected| Failure::caused(Exit::Failed, &error).reason(error.reason_code());
    let container = admin.get_bytes(&format!("/v1/bundles/{}", activation.manifest)).await?;
    let bundle = SignedBundle::parse(&container).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let verified = bundle.verify(root, root.mesh_id(), &activation.tenant, context.now()).map_err(rejected)?;
    if *verified.digest() != activation.manifest {
        let message = format!("the voter gives another bundle than {}", activation.manifest);
        return Err(Failure::new(Exit::Failed, message).reason("wrong_digest"));
    }
    Ok((container, verified.compile().map_err(rejected)?))
}

fn say(args: &Args, bootstrap: &Bootstrap, bundles: &[(TenantId, u64)], context: &Context) {
    let signed = &bootstrap.beacon.statement;
    let signers: Vec<String> = bootstrap.beacon.signatures.keys().map(ToString::to_string).collect();
    context.output.document(&json!({
        "dir": args.dir,
        "tick": signed.n,
        "revocation_epoch": signed.epoch,
        "directory_version": signed.directory,
        "signed_by": signers,
        "bundles": bundles.iter().map(|(tenant, version)| json!({"tenant": tenant, "version": version})).collect::<Vec<_>>(),
        "revocations": bootstrap.revocations.added.len(),
        "edges_with_credentials": bootstrap.shards.len(),
    }));
    let dir = args.dir.display();
    context.output.line(format!(
        "{dir} has what the voters had at tick {}, signed by voters {}",
        signed.n,
        signers.join(", ")
    ));
    for (tenant, version) in bundles {
        context.output.line(format!("  bundle of {tenant}, version {version}"));
    }
    context.output.line(format!(
        "  directory {}, {} revocations at epoch {}, credentials of {} edges",
        signed.directory,
        bootstrap.revocations.added.len(),
        signed.epoch,
        bootstrap.shards.len()
    ));
    context.output.line(format!(
        "\nan edge starts from it with `remit edge-node --config FILE --bootstrap {dir}`, and permits nothing until it \
         hears voters; `remit trust offline {dir}` lets it go on without them"
    ));
}
