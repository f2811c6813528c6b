//! Where agents call.
//!
//! A request is read once, strictly, and becomes a call and nothing else; who may do what is decided behind it
//! ([`crate::road`]).

mod body;
pub(crate) mod carrier;
mod challenge;
mod channels;
mod delegations;
mod directory;
mod drain;
pub(crate) mod enforcement;
pub(crate) mod mcp;
mod plain;
mod revocations;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use http::{Extensions, HeaderMap, HeaderValue};
use remit_common::crypto::sign::PublicKey;
use remit_common::identity::DRAIN_PATH;
use remit_common::net::http::PeerKey;
use tokio::sync::mpsc;

pub(crate) use self::body::BODY_BYTES_READ_MAX;
pub(crate) use self::enforcement::EnforcementPoints;
use self::enforcement::{authzen, forward_auth};
pub(crate) use self::plain::CalledTool;
use crate::road::Gateway;
use crate::sync::{Asking, Hold};

/// Where an answer says which decision it is.
const DECISION_HEADER: HeaderName = HeaderName::from_static("remit-decision");

/// What every request needs.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub(crate) gateway: Arc<Gateway>,
    /// Origins from which a browser may call.
    pub(crate) origins: Arc<BTreeSet<String>>,
    pub(crate) cursors: Arc<mcp::list::Cursors>,
    /// Passes on what holders want cut.
    pub(crate) asking: Arc<Asking>,
    /// Takes cuts that are brought here and not to a voter.
    pub(crate) hold: mpsc::Sender<Hold>,
    /// Who asks without calling.
    pub(crate) points: Arc<EnforcementPoints>,
    /// Where others reach this edge, without a slash at the end.
    pub(crate) public_url: Option<Arc<str>>,
}

impl Ingress {
    /// Whether a request may come from where it says: no browser's page may make one that is not listed.
    fn takes_origin(&self, headers: &HeaderMap) -> bool {
        headers.get(ORIGIN).is_none_or(|origin| origin.to_str().is_ok_and(|origin| self.origins.contains(origin)))
    }
}

/// Whether a body says that it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"application/json")
    };
    headers.get(CONTENT_TYPE).is_some_and(essence)
}

/// The key that a request's connection is of. Only our own listener says it, never a header.
fn connection_of(extensions: &Extensions) -> Option<PublicKey> {
    extensions.get::<PeerKey>().map(|PeerKey(key)| *key)
}

/// The agents' listener.
pub(crate) fn router(ingress: Ingress) -> Router {
    let turn_away = from_fn_with_state(Arc::clone(&ingress.gateway.drain), drain::turn_away);
    Router::new()
        .route("/mcp", any(mcp::serve))
        .route("/v1/channels", any(channels::serve))
        .route("/v1/delegations", any(delegations::serve))
        .route("/t/{*path}", any(plain::serve))
        .route(authzen::EVALUATION_PATH, any(authzen::evaluation))
        .route(authzen::EVALUATIONS_PATH, any(authzen::evaluations))
        .route(forward_auth::PATH, any(forward_auth::serve))
        .route(&format!("{}/", forward_auth::PATH), any(forward_auth::serve))
        .route(&format!("{}/{{*path}}", forward_auth::PATH), any(forward_auth::serve))
        .route_layer(turn_away)
        // An edge that drains is cut at like any other.
        .route("/v1/revocations", any(revocations::serve))
        .route(DRAIN_PATH, any(drain::serve))
        .route("/v1/directory", get(directory::serve))
        .route(authzen::CONFIGURATION_PATH, any(authzen::configuration))
        .with_state(ingress)
}
