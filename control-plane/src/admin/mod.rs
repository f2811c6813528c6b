//! The admin API: the only way in for people and their tools. HTTP and JSON under `/v1`.
//!
//! A write is an administrator's signed request; it is passed on to the leader as it is, and what it did comes back
//! with its log index. A read answers from this voter's own applied state, after a barrier unless `consistency=stale`
//! is asked for; what only all voters together know is asked of all, and who did not answer is named. Reads are not
//! authenticated yet, which is why this listener stays on loopback. Clauses.

mod bootstrap;
mod coverage;
mod decisions;
mod describe;
mod divergence;
mod enrolment;
pub mod model;
mod problem;
mod read;
mod records;
mod relations;
mod rollouts;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use http::StatusCode;
use remit_common::limits::ADMIN_BODY_BYTES_MAX;
use remit_common::net::tasks::Shutdown;

pub(crate) use self::problem::{problem_of, problem_of_write};

use self::problem::Failure;
use crate::beacons::Beacons;
use crate::cluster::Cluster;
use crate::collect::Collector;
use crate::edges::EdgeTable;
use crate::issuer::Issuer;
use crate::registry::{Genesis, Operation};
use crate::rollouts::Lookout;

/// What every request works with.
pub(crate) struct App {
    pub(crate) genesis: Genesis,
    pub(crate) cluster: Cluster,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) edges: Arc<EdgeTable>,
    pub(crate) beacons: Arc<Beacons>,
    pub(crate) lookout: Lookout,
    pub(crate) collector: Collector,
    pub(crate) shutdown: Shutdown,
    /// Where this voter takes edges in.
    pub(crate) enrol: Option<SocketAddr>,
}

/// The routes.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/v1/status", get(read::status))
        .route("/v1/edges", get(read::edges))
        .route(Operation::ChangeVoters.path(), get(read::seats))
        .route(Operation::PublishBundle.path(), get(read::bundles))
        .route("/v1/bundles/{digest}", get(read::bundle))
        .route(Operation::SealCredential.path(), get(read::credentials))
        .route(Operation::Revoke.path(), get(read::revocations))
        .route(Operation::WriteRelations.path(), get(relations::list))
        .route("/v1/relations/batches", get(relations::batches))
        .route(Operation::ChangeRollout.path(), get(rollouts::list))
        .route(Operation::ChangeTokens.path(), get(enrolment::tokens))
        .route("/v1/revocations/{epoch}/coverage", get(coverage::coverage))
        .route("/v1/bootstrap", get(bootstrap::bootstrap))
        .route("/v1/bootstrap/shards/{edge}", get(bootstrap::shards))
        .route("/v1/decisions", get(decisions::list))
        .route("/v1/decisions/stream", get(decisions::stream))
        .route("/v1/records", get(records::list))
        .route("/openapi.json", get(describe::openapi));
    for operation in Operation::ALL {
        router = router.route(operation.path(), post(write::submit));
    }
    router
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not with this method")
        })
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .with_state(Arc::new(app))
}
