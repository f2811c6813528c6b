//! Writes: a signed request goes in, its log index comes out. Clauses.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Uri};
use remit_common::id::LogIndex;
use remit_common::identity::SignedRequest;
use remit_common::text;

use super::App;
use super::model::{
    BundlePublished, CredentialSealed, EnvelopeIssued, HandingOver, RelationsWritten, RevocationMade, RolloutMoved,
    TokenChanged, TrustInstalled, VotersChanging,
};
use super::problem::Failure;
use crate::cluster::Submitted;
use crate::registry::{Applied, Refusal, request_refused};

/// Any of the write paths: method and path are signed, and the registry reads them.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    if uri.query().is_some() {
        // A query is not signed, so it must not be there to be misunderstood.
        return Err((&Refusal::malformed("a write takes no query")).into());
    }
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let request = SignedRequest::from_headers(&app.genesis.mesh, method.as_str(), uri.path(), body.into(), given)
        .map_err(|refused| Failure::from(&request_refused(&refused)))?;
    let Submitted { index, applied } = app.cluster.submit(request).await?;
    answer(&app, index, applied).await
}

async fn answer(app: &App, index: LogIndex, applied: Applied) -> Result<Response, Failure> {
    Ok(match applied {
        Applied::Refused(refusal) => return Err(Failure::recorded(&refusal, index)),
        Applied::Trust { root, directory } => Json(TrustInstalled { index, root, directory }).into_response(),
        Applied::Bundle { tenant, name, version, digest, number } => {
            Json(BundlePublished { index, tenant, name, version, digest, number }).into_response()
        }
        Applied::Credential { tenant, credential, version, edges } => {
            Json(CredentialSealed { index, tenant, credential, version, edges }).into_response()
        }
        Applied::Revoked { epoch, until } => Json(RevocationMade { index, epoch, until }).into_response(),
        Applied::Envelope { tenant, evidence } => {
            let issued = app.issuer.collect(&app.cluster, &tenant, &evidence, index).await?;
            let presentation = text::base64url(&issued.presentation);
            Json(EnvelopeIssued { index, evidence, presentation, expires: issued.expires }).into_response()
        }
        Applied::VoterPlan { id, votes } => Json(VotersChanging { index, id, votes }).into_response(),
        Applied::Relations { tenant, revision, digest, added, removed, tuples } => {
            Json(RelationsWritten { index, tenant, revision, digest, added, removed, tuples }).into_response()
        }
        Applied::Rollout { tenant, rollout, version, digest, wave, status } => {
            Json(RolloutMoved { index, tenant, rollout, version, digest, wave, status }).into_response()
        }
        Applied::HandOver { to } => Json(HandingOver { index, to }).into_response(),
        Applied::JoinToken { token, expires } => Json(TokenChanged { index, token, expires }).into_response(),
        // INVARIANT: no administrator's request does any of these.
        Applied::Tick | Applied::Expired { .. } | Applied::Certificate { .. } => {
            Json(serde_json::json!({ "index": index })).into_response()
        }
    })
}
