//! Where agents call.
//!
//! A request is read once, strictly, and becomes a call and nothing else; who may do what is decided behind it
//! ([`crate::road`]).

pub(crate) mod carrier;
mod directory;
pub(crate) mod mcp;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::road::Gateway;

/// What every request needs.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    pub(crate) gateway: Arc<Gateway>,
    /// Origins from which a browser may call.
    pub(crate) origins: Arc<BTreeSet<String>>,
    pub(crate) cursors: Arc<mcp::list::Cursors>,
}

/// The agents' listener.
pub(crate) fn router(ingress: Ingress) -> Router {
    Router::new().route("/mcp", any(mcp::serve)).route("/v1/directory", get(directory::serve)).with_state(ingress)
}
