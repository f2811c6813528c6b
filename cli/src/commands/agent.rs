//! `remit agent`: the sidecar.

use std::path::PathBuf;
use std::sync::Arc;

use remit_common::crypto::secret::Secret;
use remit_common::envelope::leaf_holder;
use remit_common::net::tasks::Shutdown;
use remit_common::time::Timestamp;
use serde_json::json;

use super::envelope::taxonomy;
use crate::agent::{At, EdgeCa, EdgeUrl, Edges, Gate, Held, Nursery, Sidecar, listen, read_identity, talk};
use crate::context::Context;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::{files, signals};

/// Edges of one sidecar: those of a region, not a fleet.
const EDGES_MAX: usize = 16;
/// Bytes of the file with the secret.
const SECRET_BYTES_MAX: usize = 1_024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An agent's framework speaks plain MCP to the sidecar, and the sidecar proves every request to an edge. The agent never
sees the key, and needs no change: any MCP client works, of the revisions 2025-03-26 to 2026-07-28.

Example:
  remit envelope issue --task task.toml -o maya.envelope --key agent.key
  remit agent --envelope maya.envelope --key agent.key --edge http://127.0.0.1:7511 --stdio

In the configuration of an MCP client, that is a server on standard input and output:
  {\"mcpServers\": {\"tools\": {\"command\": \"remit\", \"args\": [\"agent\", \"--envelope\", \"maya.envelope\", \"--key\",
   \"agent.key\", \"--edge\", \"http://127.0.0.1:7511\", \"--edge\", \"http://127.0.0.1:7512\", \"--stdio\"]}}}

Over HTTP, for whoever knows the secret (`Authorization: Bearer SECRET`) or owns the socket:
  remit agent --envelope maya.envelope --key agent.key --edge http://127.0.0.1:7511 \\
        --listen 127.0.0.1:7800 --secret agent.secret
  remit agent --envelope maya.envelope --key agent.key --edge http://127.0.0.1:7511 --listen unix:agent.sock

A sub-agent that shows who it is, at edges whose bundle names the trust domain:
  remit identity issue --agent spiffe://customer-success.example/agent/clause-classifier \\
        --key helper.key -o helper.svid
  remit agent --envelope child.envelope --key helper.key --identity helper.svid --edge http://127.0.0.1:7511 --stdio

An envelope for a sub-agent, in files in --children DIR: the request `remit/delegate` (or `POST /v1/children`) with
  {\"restriction\": {…as in child.toml…}}
and with --allow-foreign-holders also \"holder\": \"the child's public key, 64 hex digits\"")]
#[command(group = clap::ArgGroup::new("front").required(true).args(["stdio", "listen"]))]
pub(crate) struct Args {
    /// The envelope, as `remit envelope issue` wrote it
    #[arg(long, value_name = "FILE")]
    envelope: PathBuf,
    /// The key that holds it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who the holder is: an X.509-SVID (PEM) for that key, shown to edges. Read again before each new channel
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// An edge's address, http://127.0.0.1:PORT or https://HOST:PORT; several are tried in turn
    #[arg(long = "edge", value_name = "URL", required = true)]
    edges: Vec<EdgeUrl>,
    #[command(flatten)]
    edge_ca: EdgeCa,
    /// Have no call judged by relations older than this revision, as `remit relation add` and `rm` print it
    #[arg(long, value_name = "REVISION")]
    relations_at_least: Option<u64>,
    /// Speak MCP on standard input and output
    #[arg(long)]
    stdio: bool,
    /// Speak MCP over HTTP at 127.0.0.1:PORT (0 takes a free one) or unix:PATH
    #[arg(long, value_name = "ADDR")]
    listen: Option<At>,
    /// The file with the secret of the port, of mode 0600; made if it is missing. Without it a new secret is printed
    #[arg(long, value_name = "FILE", requires = "listen")]
    secret: Option<PathBuf>,
    /// A folder for the envelopes and keys of sub-agents that bring no key of their own
    #[arg(long, value_name = "DIR")]
    children: Option<PathBuf>,
    /// Let the agent name the key of a sub-agent (`holder`), which may be on any machine
    #[arg(long)]
    allow_foreign_holders: bool,
    /// A bundle folder whose purposes and classes restrictions of sub-agents may name
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let env = &context.env;
    let held = Arc::new(held(&args, context)?);
    if args.edges.len() > EDGES_MAX {
        return Err(Failure::new(Exit::Usage, format!("more than {EDGES_MAX} edges")));
    }
    if let Some(folder) = &args.children {
        let unmade = |error| Failure::new(Exit::Failed, format!("cannot make `{}`: {error}", folder.display()));
        env.disk.create_dir(folder).map_err(unmade)?;
    }
    let names = args.bundle.as_ref().map(|folder| taxonomy(context, folder)).transpose()?;
    let nursery = Nursery::new(env, &held, args.children.clone(), args.allow_foreign_holders, names);
    let authorities = args.edge_ca.read(env, &args.edges)?;
    let edges = Edges::new(env, args.edges.clone(), &authorities, &held);
    let sidecar = Sidecar::new(edges.map_err(|error| Failure::caused(Exit::Usage, &error))?, nursery);
    let shutdown = Shutdown::new();
    signals::trigger_on_signal(env, &shutdown)?;
    let early = Arc::clone(&sidecar);
    env.spawn_named("meet an edge", async move { early.warm().await });
    match &args.listen {
        None => talk(env, &sidecar, &shutdown).await,
        Some(at) => {
            let (listener, gate) = open(at, &args, context)?;
            listen(env, listener, sidecar, gate, &shutdown).await;
        }
    }
    Ok(Exit::Done)
}

/// The envelope and the key to it, checked as far as they can be without an edge.
fn held(args: &Args, context: &Context) -> Result<Held, Failure> {
    let env = &context.env;
    let file = EnvelopeFile::read(env, &args.envelope)?;
    let parsed = file.parse()?;
    let key = files::read_key(env, &args.key)?;
    let (envelope, key_path) = (args.envelope.display(), args.key.display());
    if leaf_holder(&parsed).as_ref() != Some(key.public()) {
        let message =
            format!("`{key_path}` is not the key that holds `{envelope}`; without that key it is worth nothing");
        return Err(Failure::new(Exit::Failed, message).reason("not_the_holder"));
    }
    let ends = parsed.links().map(|link| link.expires_secs).min().unwrap_or(0);
    if context.now() >= Timestamp::from_secs(ends) {
        let message = format!("`{envelope}` ended at {}", Timestamp::from_secs(ends));
        return Err(Failure::new(Exit::Failed, message)
            .reason("expired")
            .hint("`remit envelope issue` asks for a new one"));
    }
    if let Some(path) = &args.identity {
        read_identity(env, path, key.public())?;
    }
    Ok(Held {
        mesh: file.mesh_id,
        root: file.root_sha256,
        presentation: file.bytes()?,
        key: Arc::new(key),
        identity: args.identity.clone(),
        relations_at_least: args.relations_at_least,
    })
}

type Opened = (Box<dyn remit_common::net::env::Listener>, Gate);

fn open(at: &At, args: &Args, context: &Context) -> Result<Opened, Failure> {
    let (env, output) = (&context.env, &context.output);
    let unheard = |where_: &dyn std::fmt::Display, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot listen at {where_}: {error}"))
    };
    match at {
        At::Path(path) => {
            let listener = env.socket.listen_local(path).map_err(|error| unheard(&path.display(), error))?;
            output.document(&json!({ "socket": path, "path": "/mcp" }));
            output.line(format!("MCP at unix:{}, for its owner", path.display()));
            Ok((listener, Gate::of_owner()))
        }
        At::Port(addr) => {
            let listener = env.socket.listen(*addr).map_err(|error| unheard(addr, error))?;
            let (secret, made) = secret(args, context)?;
            let addr = listener.local_addr();
            let url = format!("http://{addr}/mcp");
            let shown = match &args.secret {
                Some(path) => path.display().to_string(),
                None => String::from_utf8_lossy(secret.expose()).into_owned(),
            };
            match &args.secret {
                Some(path) => output.document(&json!({ "url": url, "secret_file": path, "secret_made": made })),
                None => output.document(&json!({ "url": url, "secret": shown })),
            }
            output.line(format!("MCP at {url}, for who sends `Authorization: Bearer SECRET`"));
            output.line(match &args.secret {
                Some(_) => format!("the secret is in {shown}"),
                None => format!("the secret is {shown}"),
            });
            Ok((listener, Gate::of_port(env, addr, &secret)))
        }
    }
}

/// The secret of the port, and whether it is a new one.
fn secret(args: &Args, context: &Context) -> Result<(Secret, bool), Failure> {
    let env = &context.env;
    match &args.secret {
        Some(path) => files::read_or_make_secret(env, path, SECRET_BYTES_MAX),
        None => Ok((files::make_secret(env), true)),
    }
}
