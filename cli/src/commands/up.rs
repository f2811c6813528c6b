//! `remit up`: a local mesh to try things on.

use std::path::PathBuf;

use remit_common::id::Region;
use remit_common::net::tasks::Shutdown;

use super::{bundle, credential, relation};
use crate::admin::Admin;
use crate::context::{Context, DEFAULT_FOLDER};
use crate::failure::{Exit, Failure};
use crate::local::{self, Shape};
use crate::{signals, trust};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit up --detach
  remit envelope issue --task .remit/example/task.toml -o maya.envelope --key agent.key
  remit down")]
pub(crate) struct Args {
    /// The folder for keys, certificates, data and logs
    #[arg(long, default_value = DEFAULT_FOLDER)]
    dir: PathBuf,
    /// Voters of the control plane: 1, 3 or 5
    #[arg(long, default_value_t = 3, value_parser = odd)]
    voters: u64,
    /// Regions, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "eu-west,us-east")]
    regions: Vec<Region>,
    /// Edges of each region
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    edges: u32,
    /// Return when everything is ready, and leave it running
    #[arg(long)]
    detach: bool,
}

/// Voters that can lose as many as an even number could, with one less.
fn odd(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(number @ (1 | 3 | 5)) => Ok(number),
        _ => Err("1, 3 or 5"),
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let shape = Shape {
        dir: args.dir.clone(),
        voters: args.voters,
        regions: args.regions.clone(),
        edges: args.edges,
        temporary: false,
        detached: args.detach,
    };
    let (mut mesh, secret) = local::create(context, shape).map_err(|failure| {
        failure.hint("`remit down` stops a mesh and removes its folder; `--dir` takes another one")
    })?;
    let shutdown = Shutdown::new();
    signals::trigger_on_signal(&context.env, &shutdown)?;
    let progress = context.output.progress("starting");
    let brought_up = tokio::select! {
        biased;
        () = shutdown.requested() => Err(Failure::new(Exit::Aborted, "interrupted")),
        done = bring_up(context, &mut mesh, &secret, &progress) => done,
    };
    progress.finish_and_clear();
    drop(secret);
    if let Err(failure) = brought_up {
        mesh.stop().await;
        return Err(failure);
    }
    print(context, &mesh);
    if args.detach {
        mesh.release();
        return Ok(Exit::Done);
    }
    context.output.line("Ctrl-C stops it");
    shutdown.requested().await;
    mesh.stop().await;
    Ok(Exit::Done)
}

async fn bring_up(
    context: &Context,
    mesh: &mut remit_chaos::launcher::LocalMesh,
    secret: &remit_common::crypto::secret::Secret,
    progress: &indicatif::ProgressBar,
) -> Result<(), Failure> {
    mesh.start(|name| progress.set_message(format!("{name} is ready"))).await?;
    let file = mesh.file().clone();
    let admin = Admin::new(context, &file)?;
    let source = local::source(context, &file)?;
    let mut signed = local::build(context, &file, &source, None)?;
    local::sign(context, &mut signed, file.keys.policy.iter().take(2))?;
    let digest = signed.digest();
    bundle::push(&admin, signed.to_bytes()).await?;
    let tell = |running: usize, all: usize| progress.set_message(format!("{running} of {all} edges run the policy"));
    local::wait_running(context, &admin, &digest, tell).await?;
    let policy = source.compile().map_err(|_| Failure::new(Exit::Failed, "the example's policy does not compile"))?;
    let (_, directory) = trust::directory(context, &file).await?;
    let name = local::credential()?;
    credential::seal_and_send(context, &admin, &file, &directory, &policy, &name, secret).await?;
    relation::seed(context, &file).await
}

fn print(context: &Context, mesh: &remit_chaos::launcher::LocalMesh) {
    let file = mesh.file();
    context.output.document(file);
    let output = &context.output;
    output.line(format!("mesh {} is up", file.mesh_id));
    output.line(format!("  mesh file  {}", local::short(&mesh.file_path())));
    output.line(format!("  keys       {}", local::short(&file.root.with_file_name("keys"))));
    output.line(format!("  example    {}", local::short(&file.example)));
    let voters = file
        .voters
        .iter()
        .map(|voter| [format!("voter {}", voter.id), voter.admin.clone(), voter.ops.clone(), local::short(&voter.dir)]);
    let edges = file
        .edges
        .iter()
        .map(|edge| [edge.id.to_string(), format!("{}/mcp", edge.agent), edge.ops.clone(), local::short(&edge.dir)]);
    let tools = file.upstreams.iter().map(|upstream| {
        [format!("tools {}", upstream.name), upstream.url.clone(), String::new(), local::short(&upstream.dir)]
    });
    output.table(["", "address", "operations", "folder"], voters.chain(edges).chain(tools));
    if std::path::absolute(context.mesh_path()).ok() != Some(mesh.file_path()) {
        output.line(format!("other commands need: --mesh {}", local::short(&mesh.file_path())));
    }
    output.line("next: remit status; remit down stops it and removes the folder");
}
