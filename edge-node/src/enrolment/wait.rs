//! An edge that has joined serves when the directory lists it, and says meanwhile that it waits for that. Clause N-24.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use remit_common::identity::NodeKind;
use remit_common::net::enrol::Enroller;
use remit_common::net::env::Env;
use remit_common::net::http::ServeLimits;
use remit_common::net::tls::{Anchor, Peers};
use remit_common::wire::enrol::{EnrolAnswer, EnrolQuestion, Purpose, Standing};
use serde_json::json;
use tokio::sync::watch;

use super::join::Keys;
use super::{Asker, NotJoined, OPS_END_WITHIN, Progress, Round, places};
use crate::config::Config;
use crate::material::{MaterialUnusable, PEM_BYTES_MAX, read};

/// Between two questions: whoever signs the directory is a person.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// What operators see of an edge that does not run yet.
pub(super) fn router(config: &Config, told: watch::Receiver<String>) -> Router {
    let shown = json!({ "mesh_id": config.mesh_id, "edge": config.id, "region": config.region, "mode": "joining" });
    let why = told.clone();
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", &*told.borrow())) }),
        )
        .route(
            "/status",
            get(move || async move {
                let mut shown = shown;
                if let Some(shown) = shown.as_object_mut() {
                    shown.insert("waits".to_owned(), json!(why.borrow().clone()));
                }
                Json(shown)
            }),
        )
}

pub(super) fn ops_limits() -> ServeLimits {
    ServeLimits { connections_max: 16, body_bytes_max: 1024, grace: OPS_END_WITHIN, ..ServeLimits::default() }
}

/// Returns once a voter says that the directory lists this edge with these keys. Whoever lies about that lets an edge
/// start that no voter serves.
pub(super) async fn until_listed(
    config: &Arc<Config>,
    env: &Env,
    keys: &Keys,
    progress: Progress,
    tell: &watch::Sender<String>,
) -> Result<(), NotJoined> {
    let places = places(config, Some(&progress));
    if places.is_empty() {
        tracing::warn!("nobody is known who could say whether the directory lists this edge; it starts all the same");
        return Ok(());
    }
    let anchors = read(env, "tls.voters_ca", &config.tls.voters_ca, PEM_BYTES_MAX)?;
    let peers = Peers::from_pem(config.mesh_id, NodeKind::Voter, &anchors).map_err(MaterialUnusable::Tls)?;
    let like = places.values().next().copied().unwrap_or(config.listen.ops);
    let asker = Asker {
        env: env.clone(),
        config: Arc::clone(config),
        enroller: Enroller::open(env, &Anchor::Authority(peers), like)?,
        key: Arc::clone(&keys.identity),
        sealing: keys.sealing.public().clone(),
        places,
    };
    loop {
        let why = match asker.round(Purpose::Look, EnrolQuestion::Look).await {
            Round::Done(answered) => match answered.answer {
                EnrolAnswer::Standing(Standing { listed: true, directory }) => {
                    tracing::info!(directory, "the directory lists this edge");
                    break;
                }
                EnrolAnswer::Standing(Standing { listed: false, directory }) => format!(
                    "not_in_directory: directory {directory} does not list this edge with identity key {} and sealing key {}; \
                     `remit edge ls --json` has the row for it",
                    keys.identity.public().id(),
                    keys.sealing.public().id()
                ),
                _ => "not_in_directory: a voter gives another answer than to the question".to_owned(),
            },
            Round::Refused(why) => format!("{}: {}", why.code, why.detail),
            Round::Later(why) => format!("not_in_directory: {why}"),
        };
        if *tell.borrow() != why {
            tracing::warn!(why, "this edge does not serve yet");
            tell.send_replace(why);
        }
        tokio::time::sleep(asker.jittered(LOOK_EVERY)).await;
    }
    asker.enroller.close().await;
    Progress { listed: true, ..progress }.store(config, env)
}
