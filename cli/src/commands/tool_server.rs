//! `remit tool-server`: the example's tools, behind their API key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::limits::AGENT_BODY_BYTES_MAX;
use remit_common::net::http::{ServeCounters, ServeLimits, serve};
use remit_common::net::tasks::Shutdown;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::story_server::{Book, KeyHash, router};
use crate::{files, signals};

/// Connections at the same time: six edges keep a few each, and a demo asks for no more.
const CONNECTIONS_MAX: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The data file; opened tickets are written to it
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The file with the SHA-256 of the API key, 64 hex digits
    #[arg(long, value_name = "FILE")]
    key_sha256: PathBuf,
    #[command(flatten)]
    parent: signals::Parent,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let env = &context.env;
    let hash = files::read_text(env, &args.key_sha256, 128)?;
    let key = KeyHash::parse(&hash).ok_or_else(|| {
        let path = args.key_sha256.display();
        Failure::new(Exit::Usage, format!("`{path}` does not hold the SHA-256 of a key"))
            .hint("write 64 hex digits: printf %s \"$KEY\" | sha256sum | cut -d' ' -f1")
    })?;
    let book = Book::open(&args.data, Arc::clone(&env.disk)).map_err(|fault| Failure::caused(Exit::Failed, &fault))?;
    let listener = env
        .socket
        .listen(args.listen)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot listen at {}: {error}", args.listen)))?;
    let shutdown = Shutdown::new();
    signals::trigger_on_signal(env, &shutdown)?;
    args.parent.watch(env);
    let limits = ServeLimits {
        connections_max: CONNECTIONS_MAX,
        header_timeout: Duration::from_secs(5),
        body_bytes_max: AGENT_BODY_BYTES_MAX,
        body_timeout: Duration::from_secs(5),
        grace: Duration::from_secs(1),
        ..ServeLimits::default()
    };
    tracing::info!(addr = %listener.local_addr(), "serving tools to who has the key");
    serve(env, listener, router(book, key), limits, &ServeCounters::default(), &shutdown).await;
    Ok(Exit::Done)
}
