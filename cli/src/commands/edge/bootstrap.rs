//! `remit edge bootstrap`: a folder from which edges start while no voter can be reached.
//!
//! A voter is asked, and nothing of what it says is believed: everything is verified here as an edge will verify it.
//! Clauses U-19 and D-15 to D-17.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_chaos::launcher::MeshFile;
use remit_common::bundle::{BundleRejected, CompiledBundle, SignedBundle};
use remit_common::id::{MeshId, RevocationEpoch, TenantId};
use remit_common::net::bootstrap::BootstrapFolder;
use remit_common::policy::CompiledPolicy;
use remit_common::relation_log::{BatchRefused, Head, RelationLog, Writers, has_model};
use remit_common::revocation::Revocations;
use remit_common::sync::bootstrap::Bootstrap;
use remit_common::trust::activation::{Activation, RING_ALL};
use remit_common::trust::directory::Directory;
use remit_common::trust::root::Root;
use serde_json::json;
use serde_json::value::RawValue;

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
Make it regularly: when it is needed, no voter may be left to ask. Everything in it is signed
or sealed, so it may travel by any way. It gives policy, and says nothing about how old it is:
an edge that starts from it permits nothing until it hears voters, or administrators let it go
on without them.

Example: a region is cut off for days
  remit edge bootstrap static/                           # where a voter can be reached
  remit trust offline static/ --life 24h --bound read=24h --key policy-1.key
  remit trust offline static/ --key policy-2.key         # as many as sign a bundle
  remit edge-node --config edge.toml --bootstrap static/ # where none can")]
pub(super) struct Args {
    /// Where it goes; an earlier one is replaced, and what administrators signed for it stays
    dir: PathBuf,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let progress = context.output.progress("asking the voters");
    let Newest { bytes, bootstrap, root, answered } = ask(&admin, context, &mesh).await?;
    let folder = BootstrapFolder::new(Arc::clone(&context.env.disk), &args.dir);
    let unwritten = |error| Failure::caused(Exit::Failed, &error);
    let (mut bundles, mut left_out) = (BTreeMap::new(), Vec::new());
    for activation in &bootstrap.activations {
        let Activation { tenant, manifest, ring, .. } = activation;
        if bundles.contains_key(manifest) {
            continue;
        }
        progress.set_message(format!("bundle {} of {}", bundles.len() + 1, bootstrap.activations.len()));
        let (container, bundle) = fetch(&admin, activation, &root, context).await?;
        folder.write_bundle(manifest, &container).map_err(unwritten)?;
        bundles.insert(*manifest, (tenant.clone(), bundle.manifest().version.0));
        let head = bootstrap.relations.get(tenant).filter(|head| head.revision > 0 && *ring == RING_ALL);
        if let Some(head) = head.filter(|_| has_model(bundle.policy())) {
            match relations_at(&admin, (&mesh.mesh_id, tenant), bundle.policy(), head).await? {
                Ok(batches) => folder.write_relations(tenant, &batches).map_err(unwritten)?,
                // Its edges do not use them either (N-18).
                Err(why) => left_out.push(format!("relations of {tenant}: {why}")),
            }
        }
    }
    for (place, edge) in bootstrap.sealed_for.iter().enumerate() {
        progress.set_message(format!("credentials of edge {} of {}", place + 1, bootstrap.sealed_for.len()));
        let shards: Vec<Box<RawValue>> = admin.get(&format!("/v1/bootstrap/shards/{edge}")).await?;
        folder.write_shards(edge, &shards).map_err(unwritten)?;
    }
    folder.write_index(&bytes).map_err(unwritten)?;
    folder.keep_bundles(&bundles.keys().copied().collect()).map_err(unwritten)?;
    progress.finish_and_clear();
    let written = Written { bundles: bundles.into_values().collect(), left_out, answered, voters: mesh.voters.len() };
    written.say(args, &bootstrap, context);
    Ok(Exit::Done)
}

/// The newest that any voter has.
struct Newest {
    bytes: Vec<u8>,
    bootstrap: Bootstrap,
    root: Root,
    /// Voters that gave one that holds.
    answered: usize,
}

/// Every voter is asked: one that lags, or shows what was signed long ago, does not hide what another one has.
async fn ask(admin: &Admin, context: &Context, mesh: &MeshFile) -> Result<Newest, Failure> {
    let (mut newest, mut answered, mut silent) = (None::<Newest>, 0, Vec::new());
    for voter in &mesh.voters {
        let given = ask_one(admin, &voter.admin).await.and_then(|bytes| {
            let bootstrap = Bootstrap::parse(&bytes)
                .map_err(|error| Failure::caused(Exit::Failed, &error).reason(error.reason_code()))?;
            let (root, directory) = trust::verified(context, mesh, &bytes)?;
            verify(&bootstrap, &root, &directory, context)?;
            Ok(Newest { bytes, bootstrap, root, answered: 0 })
        });
        match given {
            Ok(given) => {
                answered += 1;
                let tick = |of: &Newest| of.bootstrap.beacon.statement.n;
                if newest.as_ref().is_none_or(|known| tick(known) < tick(&given)) {
                    newest = Some(given);
                }
            }
            Err(failure) => silent.push((voter.id, failure)),
        }
    }
    if let Some(newest) = newest {
        return Ok(Newest { answered, ..newest });
    }
    match silent.pop() {
        Some((_, failure)) if silent.is_empty() || failure.reason.is_some() => Err(failure),
        last => {
            let silent = silent.into_iter().chain(last);
            let silent: Vec<String> = silent.map(|(id, failure)| format!("voter {id}: {}", failure.message)).collect();
            Err(Failure::new(Exit::Unreachable, format!("no voter gives one that holds ({})", silent.join("; ")))
                .hint("`remit status` shows which processes run"))
        }
    }
}

async fn ask_one(admin: &Admin, voter: &str) -> Result<Vec<u8>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match admin.get_from::<Box<RawValue>>(voter, "/v1/bootstrap").await {
            Err(failure) if tries < TRIES_MAX && failure.reason.as_deref() == Some(CHANGING) => {
                tokio::time::sleep(ASKED_EVERY).await;
            }
            answered => return answered.map(|raw| raw.get().as_bytes().to_vec()),
        }
    }
}

/// The batches up to the one that the tick names; why they do not count, where that is so.
async fn relations_at(
    admin: &Admin,
    (mesh, tenant): (&MeshId, &TenantId),
    policy: &CompiledPolicy,
    head: &Head,
) -> Result<Result<Vec<Box<RawValue>>, BatchRefused>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut batches = relation::batches(admin, tenant).await?;
        let read = batches.iter().map(|batch| batch.get().as_bytes());
        let log = match RelationLog::verify(*mesh, tenant.clone(), read, &Writers::of(policy)) {
            Ok(log) => log,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(place) = log.kept().iter().position(|kept| kept.head == *head) {
            // What came since is of a later tick.
            batches.truncate(place + 1);
            return Ok(Ok(batches));
        }
        // The voter that answered is behind, or somebody has stated the whole set anew.
        if tries >= TRIES_MAX {
            let message = format!("no voter has revision {} of the relations of `{tenant}`", head.revision);
            return Err(Failure::new(Exit::Failed, message).reason(CHANGING).hint("try again"));
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
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

/// What is in the folder now.
struct Written {
    bundles: Vec<(TenantId, u64)>,
    /// What is not in it, and why.
    left_out: Vec<String>,
    answered: usize,
    voters: usize,
}

impl Written {
    fn say(&self, args: &Args, bootstrap: &Bootstrap, context: &Context) {
        let Self { bundles, left_out, answered, voters } = self;
        let signed = &bootstrap.beacon.statement;
        let signers: Vec<String> = bootstrap.beacon.signatures.keys().map(ToString::to_string).collect();
        let shown: Vec<_> = bundles.iter().map(|(of, version)| json!({"tenant": of, "version": version})).collect();
        context.output.document(&json!({
            "dir": args.dir,
            "tick": signed.n,
            "revocation_epoch": signed.epoch,
            "directory_version": signed.directory,
            "signed_by": signers,
            "voters_asked": voters,
            "voters_answered": answered,
            "bundles": shown,
            "revocations": bootstrap.revocations.added.len(),
            "edges_with_credentials": bootstrap.sealed_for.len(),
            "left_out": left_out,
        }));
        let (dir, line) = (args.dir.display(), |text: String| context.output.line(text));
        let signers = signers.join(", ");
        line(format!("{dir} has what the voters had at tick {}, signed by voters {signers}", signed.n));
        for (tenant, version) in bundles {
            line(format!("  bundle of {tenant}, version {version}"));
        }
        line(format!(
            "  directory {}, {} revocations at epoch {}, credentials of {} edges",
            signed.directory,
            bootstrap.revocations.added.len(),
            signed.epoch,
            bootstrap.sealed_for.len()
        ));
        for what in left_out {
            line(context.output.bad(&format!("  left out: {what}")));
        }
        if *answered <= voters / 2 {
            line(context.output.bad(&format!(
                "  {answered} of {voters} voters answered: others may have signed something newer since"
            )));
        }
        line(format!(
            "\nan edge starts from it with `remit edge-node --config FILE --bootstrap {dir}`, and permits nothing until it \
             hears voters; `remit trust offline {dir}` lets it go on without them"
        ));
    }
}
