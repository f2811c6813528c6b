//! `GET /v1/directory`: the documents that this edge trusts, as they were signed.
//!
//! For agents' side, which has no mesh file: from the pinned first root the chain of roots leads to the directory, and
//! whoever has the digest of the first checks all of it. Nothing in them is secret. Clause G-34.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use remit_common::id::{EdgeId, MeshId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Ingress;

#[derive(Serialize)]
struct Documents<'a> {
    mesh_id: MeshId,
    /// Which of the directory's edges this is.
    edge: &'a EdgeId,
    /// From the installed root to the newest.
    roots: Vec<&'a RawValue>,
    directory: Option<&'a RawValue>,
}

pub(super) async fn serve(State(ingress): State<Ingress>) -> Response {
    let view = ingress.gateway.views.load();
    let raw = |bytes: &'_ [u8]| serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    let roots: Option<Vec<Box<RawValue>>> = view.documents.roots.iter().map(|bytes| raw(bytes)).collect();
    let directory = view.documents.directory.as_deref().and_then(raw);
    let Some(roots) = roots else {
        // INVARIANT: they have been parsed before they were believed.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let documents = Documents {
        mesh_id: ingress.gateway.mesh,
        edge: &ingress.gateway.place.edge,
        roots: roots.iter().map(AsRef::as_ref).collect(),
        directory: directory.as_deref(),
    };
    match serde_json::to_vec(&documents) {
        Ok(body) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
