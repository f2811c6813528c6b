//! A child is registered with an edge: by the parent's holder, who shows it there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::sign::SigningKey;
use remit_common::net::http::HttpClient;
use remit_common::net::prover::Prover;
use remit_common::net::registrar::{NotHeld, Registration};
use remit_common::proof::EdgeKey;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::trust;

/// For a channel and the answer.
const REGISTERS_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Registers `child` with an edge of the mesh at hand.
pub(super) async fn register(
    context: &Context,
    edge: &str,
    parent: &[u8],
    parent_key: Arc<SigningKey>,
    child: &[u8],
) -> Result<Registration, Failure> {
    let mesh = context.mesh()?;
    let url = edge.trim_end_matches('/');
    let known = mesh.edges.iter().find(|known| known.id.as_str() == edge || known.agent == url).ok_or_else(|| {
        let ids = mesh.edges.iter().map(|known| known.id.to_string()).collect::<Vec<_>>().join(", ");
        Failure::new(Exit::Usage, format!("`{edge}` is no edge of this mesh")).hint(format!("it has {ids}"))
    })?;
    let (_, directory) = trust::directory(context, &mesh).await?;
    let failed = |what: &str| Failure::new(Exit::Failed, format!("{what} {}", known.id));
    let listed = directory.edge(&known.id).ok_or_else(|| failed("the directory does not list"))?;
    let key = EdgeKey { mesh: mesh.mesh_id, edge: known.id.clone(), key: listed.identity };
    let prover = Prover::new(&context.env, key, parent_key, parent).ok_or_else(|| failed("no envelope to show to"))?;
    let to: Option<SocketAddr> = known.agent.strip_prefix("http://").and_then(|addr| addr.parse().ok());
    let to = to.ok_or_else(|| failed("no address in the URL of"))?;
    let client = HttpClient::new(&context.env, ANSWER_BYTES_MAX);
    let registered = prover.register(&client, to, child, REGISTERS_WITHIN).await;
    registered.map_err(|error| Failure::caused(Exit::Failed, &error))
}

/// Says what was registered, and what of the child's wishes nobody holds.
pub(super) fn print(context: &Context, registered: &Registration) {
    let output = &context.output;
    output.line(format!("registered by decision {}", registered.decision));
    for NotHeld { grant, dimension, asked, held } in &registered.not_held {
        output.line(format!("  grant {grant} asks for more than is held: {dimension} {asked} (held: {held})"));
    }
}

/// The same for programs.
pub(crate) fn to_json(registered: &Registration) -> serde_json::Value {
    let not_held = registered.not_held.iter().map(|NotHeld { grant, dimension, asked, held }| {
        json!({ "grant": grant, "dimension": dimension, "asked": asked, "held": held })
    });
    json!({ "decision_id": registered.decision, "not_held": not_held.collect::<Vec<_>>() })
}
