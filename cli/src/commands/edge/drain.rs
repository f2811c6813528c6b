//! `remit edge drain`: an edge takes no new work.

use std::path::PathBuf;
use std::time::Duration;

use remit_common::id::EdgeId;
use remit_common::identity::{DRAIN_PATH, DrainRequest};
use serde::Deserialize;
use serde_json::json;

use crate::admin::Admin;
use crate::agent::{EdgeCa, EdgeUrl, post_signed};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// How often something is asked for that has been overtaken: clocks are at most half a minute apart.
const TRIES_MAX: u32 = 16;
/// How often an edge is asked what is still under way.
const ASKED_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The edge says `draining` at /readyz, so that load balancers leave it; it turns new calls and sessions away with 503, and
sidecars with another edge go on there. Calls that are under way end as always. A restart ends it.")]
pub(super) struct Args {
    /// Which edge
    id: EdgeId,
    /// Take work again
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    /// Wait until no call is under way
    #[arg(long)]
    wait: bool,
    /// For how long at most
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration, requires = "wait")]
    timeout: Duration,
    /// Where the edge takes agents' calls; by default what the mesh file says
    #[arg(long, value_name = "URL")]
    url: Option<EdgeUrl>,
    /// The administrator's key; by default the mesh file's
    #[arg(long, value_name = "FILE")]
    admin_key: Option<PathBuf>,
    #[command(flatten)]
    edge_ca: EdgeCa,
}

/// An edge's answer.
#[derive(Debug, Deserialize)]
struct Drained {
    /// Calls that are under way.
    running: usize,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let key = files::read_key(&context.env, args.admin_key.as_ref().unwrap_or(&mesh.keys.admin))?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => {
            let entry = mesh.edges.iter().find(|edge| edge.id == args.id).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("the mesh file does not say where edge `{}` is", args.id))
                    .hint("name its address with --url")
            })?;
            entry.agent.parse().map_err(|why: String| Failure::new(Exit::Usage, why))?
        }
    };
    let asked = DrainRequest { edge: args.id.clone(), draining: !args.undo };
    let body = serde_json::to_vec(&asked).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let ask = async || {
        let mut tries = 0;
        loop {
            let request = admin.sign(&key, DRAIN_PATH, body.clone());
            tries += 1;
            match post_signed::<Drained>(&mesh.mesh_id, &request, (&url, &args.edge_ca), context).await {
                // Somebody has asked for the opposite in this second: whoever asks later is heard.
                Err(failure) if tries < TRIES_MAX && failure.reason.as_deref() == Some("overtaken") => {
                    tokio::time::sleep(ASKED_EVERY).await;
                }
                answered => break answered,
            }
        }
    };
    let mut drained = ask().await?;
    let began = context.env.now().boot;
    let progress = args.wait.then(|| context.output.progress("waiting for calls to end"));
    while args.wait && drained.running > 0 {
        if context.env.now().boot.since(began) >= args.timeout {
            let message = format!("{} calls are still under way at {}", drained.running, args.id);
            return Err(Failure::new(Exit::Failed, message).hint("it takes no new ones; wait longer with --timeout"));
        }
        if let Some(bar) = &progress {
            bar.set_message(format!("{} calls are under way", drained.running));
        }
        tokio::time::sleep(ASKED_EVERY).await;
        drained = ask().await?;
    }
    if let Some(bar) = progress {
        bar.finish_and_clear();
    }
    context.output.document(&json!({ "edge": args.id, "draining": !args.undo, "running": drained.running }));
    context.output.line(if args.undo {
        format!("{} takes work again", args.id)
    } else {
        format!("{} takes no new work; {} calls are under way", args.id, drained.running)
    });
    Ok(Exit::Done)
}
