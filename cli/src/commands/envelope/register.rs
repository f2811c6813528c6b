//! A child is registered with an edge: by the parent's holder, who shows it there.

use std::sync::Arc;

use remit_common::crypto::sign::SigningKey;
use remit_common::net::registrar::{NotHeld, Registration};
use serde_json::json;

use crate::agent::{EdgeCa, EdgeUrl, Edges, Held, NotHere};
use crate::context::Context;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};

/// Registers `child` with an edge: one that a URL leads to, or one of the mesh at hand. Which edge answers, and that it
/// is one of the envelope's mesh, is verified as the sidecar does it. Clause G-80.
pub(super) async fn register(
    context: &Context,
    (edge, edge_ca): (&str, &EdgeCa),
    parent: &EnvelopeFile,
    parent_key: Arc<SigningKey>,
    child: &[u8],
) -> Result<Registration, Failure> {
    let env = &context.env;
    let url = url(context, edge)?;
    let authorities = edge_ca.read(env, std::slice::from_ref(&url))?;
    let (mesh, root, presentation) = (parent.mesh_id, parent.root_sha256, parent.bytes()?);
    let held = Arc::new(Held { mesh, root, presentation, key: parent_key, identity: None, relations_at_least: None });
    let edges = Edges::new(env, vec![url], &authorities, &held);
    let edges = edges.map_err(|error| Failure::caused(Exit::Usage, &error))?;
    edges.register(child).await.map_err(|not| match not {
        NotHere::Refused(why) => Failure::new(Exit::Failed, why),
        NotHere::Silent(why) => Failure::new(Exit::Unreachable, format!("the edge does not register it: {why}"))
            .hint("name another edge with --edge; registering twice does no harm"),
    })
}

/// Where the edge is.
fn url(context: &Context, edge: &str) -> Result<EdgeUrl, Failure> {
    let unusable = |text: &str, why: String| Failure::new(Exit::Usage, format!("`{text}` is {why}"));
    if edge.contains("://") {
        return edge.parse().map_err(|why| unusable(edge, why));
    }
    let mesh = context.mesh()?;
    let known = mesh.edges.iter().find(|known| known.id.as_str() == edge).ok_or_else(|| {
        let ids = mesh.edges.iter().map(|known| known.id.to_string()).collect::<Vec<_>>().join(", ");
        Failure::new(Exit::Usage, format!("`{edge}` is no edge of this mesh")).hint(format!("it has {ids}"))
    })?;
    known.agent.parse().map_err(|why| unusable(&known.agent, why))
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
