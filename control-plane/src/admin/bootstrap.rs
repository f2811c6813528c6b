//! What edges need to start without a voter. Clause A-22.
//!
//! Every answer is what this voter has: whoever takes it verifies it, and a voter that has lost the others still has what
//! they signed together last.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use remit_common::id::EdgeId;
use remit_common::sync::bootstrap::{BOOTSTRAP_VERSION, Bootstrap, BootstrapRefused};
use serde::Serialize;
use serde_json::value::RawValue;

use super::App;
use super::problem::Failure;
use crate::beacons::NewestSigned;
use crate::cluster::Unavailable;
use crate::registry;

/// What there is has changed since the newest tick that a majority has signed.
const CHANGING: &str = "changing";

pub(super) async fn bootstrap(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let (view, newest) = (app.cluster.view(), app.beacons.newest_signed());
    let make = move || make(&view.state, newest.ok_or(BootstrapRefused::Unsigned)?).and_then(|made| written(&made));
    // Every revocation is in it: nothing else waits for it.
    let made = app.cluster.env.run_blocking(make).await.map_err(|_| Failure::from(Unavailable::Stopping))?;
    match made {
        Ok(bytes) => Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response()),
        // The next tick says what there is now.
        Err(BootstrapRefused::NotSigned { part, .. }) => {
            let detail = format!("the {part} have changed since the newest signed tick; ask again in a second");
            Err(Failure::new(StatusCode::CONFLICT, CHANGING, detail))
        }
        Err(refused) => Err(Failure::new(StatusCode::CONFLICT, refused.reason_code(), refused)),
    }
}

/// The credentials that are sealed for one edge.
pub(super) async fn shards(State(app): State<Arc<App>>, Path(edge): Path<String>) -> Result<Response, Failure> {
    let malformed = |_| Failure::new(StatusCode::BAD_REQUEST, "malformed", "that is no name of an edge");
    let edge: EdgeId = edge.parse().map_err(malformed)?;
    let view = app.cluster.view();
    let shards = view.state.shards_for(&edge).map(|shard| raw(shard)).collect::<Result<Vec<_>, _>>();
    let bytes = shards.and_then(|shards| written(&shards));
    let failed =
        |refused: BootstrapRefused| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, refused.reason_code(), refused);
    Ok(([(CONTENT_TYPE, "application/json")], bytes.map_err(failed)?).into_response())
}

/// A signed document as it is. INVARIANT: it is JSON; it was read when it came.
fn raw(bytes: &[u8]) -> Result<Box<RawValue>, BootstrapRefused> {
    serde_json::from_slice(bytes).map_err(|error| BootstrapRefused::Malformed(error.to_string()))
}

fn written(answer: &impl Serialize) -> Result<Vec<u8>, BootstrapRefused> {
    serde_json::to_vec(answer).map_err(|error| BootstrapRefused::Malformed(error.to_string()))
}

/// Everything as it is now, if that is what has been signed.
fn make(state: &registry::State, newest: NewestSigned) -> Result<Bootstrap, BootstrapRefused> {
    let NewestSigned { signed, relations, revocations } = newest;
    let trust = state.trust().map_err(|_| BootstrapRefused::Unsigned)?;
    let bootstrap = Bootstrap {
        v: BOOTSTRAP_VERSION,
        mesh_id: state.genesis().mesh,
        roots: trust.root_chain().map(raw).collect::<Result<_, _>>()?,
        directory: raw(trust.signed_directory())?,
        beacon: signed,
        activations: state.activations().values().cloned().collect(),
        scopes: state.scopes(),
        relations: relations.iter().map(|(tenant, head)| (tenant.clone(), *head)).collect(),
        revocations: revocations.update_from(None),
        sealed_for: state.credentials().values().flat_map(|credential| credential.shards.keys()).cloned().collect(),
    };
    bootstrap.check(&trust.root, &trust.directory)?;
    Ok(bootstrap)
}
