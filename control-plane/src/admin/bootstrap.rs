//! What edges need to start without a voter. Clause A-22.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use remit_common::id::EdgeId;
use remit_common::sync::bootstrap::{BOOTSTRAP_VERSION, Bootstrap, BootstrapRefused};
use remit_common::trust::beacon::SignedStatement;
use serde_json::value::RawValue;

use super::App;
use super::problem::Failure;
use super::read::Consistency;
use crate::cluster::Unavailable;
use crate::registry;

/// What there is has changed since the newest tick that a majority has signed.
const CHANGING: &str = "changing";

pub(super) async fn bootstrap(State(app): State<Arc<App>>) -> Result<Json<Bootstrap>, Failure> {
    let view = app.view(Consistency::Linearizable).await?;
    let signed = app.beacons.complete();
    let env = app.cluster.env.clone();
    // Every revocation, and a shard for every edge: nothing else waits for it.
    let made = env.run_blocking(move || signed.map_or(Err(BootstrapRefused::Unsigned), |it| make(&view.state, it)));
    match made.await.map_err(|_| Failure::from(Unavailable::Stopping))? {
        Ok(bootstrap) => Ok(Json(bootstrap)),
        // The next tick says what there is now.
        Err(BootstrapRefused::NotSigned { part, .. }) => {
            let detail = format!("the {part} have changed since the newest signed tick; ask again in a second");
            Err(Failure::new(StatusCode::CONFLICT, CHANGING, detail))
        }
        Err(refused) => Err(Failure::new(StatusCode::CONFLICT, refused.reason_code(), refused)),
    }
}

/// Everything as it is now, if that is what has been signed.
fn make(state: &registry::State, beacon: SignedStatement) -> Result<Bootstrap, BootstrapRefused> {
    let malformed = |error: serde_json::Error| BootstrapRefused::Malformed(error.to_string());
    // INVARIANT: these are JSON; they were read when they came.
    let raw = |bytes: &[u8]| serde_json::from_slice::<Box<RawValue>>(bytes).map_err(malformed);
    let trust = state.trust().map_err(|_| BootstrapRefused::Unsigned)?;
    let mut shards: BTreeMap<EdgeId, Vec<Box<RawValue>>> = BTreeMap::new();
    for (edge, shard) in state.credentials().values().flat_map(|credential| &credential.shards) {
        shards.entry(edge.clone()).or_default().push(raw(shard)?);
    }
    let bootstrap = Bootstrap {
        v: BOOTSTRAP_VERSION,
        mesh_id: state.genesis().mesh,
        roots: trust.root_chain().map(raw).collect::<Result<_, _>>()?,
        directory: raw(trust.signed_directory())?,
        beacon,
        activations: state.activations().values().cloned().collect(),
        scopes: state.scopes(),
        relations: BTreeMap::clone(state.tick_relations()),
        revocations: state.revocations().update_from(None),
        shards,
    };
    bootstrap.check(&trust.root, &trust.directory)?;
    Ok(bootstrap)
}
