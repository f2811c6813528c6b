//! Join tokens, as far as voters know them. Clause A-25.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::model::{JoinTokenStatus, JoinTokens};
use super::problem::Failure;
use super::read::{Ask, Asked, Consistency, asked};

pub(super) async fn tokens(State(app): State<Arc<App>>, query: Asked<Ask>) -> Result<Json<JoinTokens>, Failure> {
    let Ask { consistency, tenant: _ } = asked(query)?;
    let view = app.view(consistency.unwrap_or(Consistency::Linearizable)).await?;
    let state = &view.state;
    let trust = state.trust().ok();
    let tokens = state.join_tokens().map(|(digest, token)| JoinTokenStatus {
        token: *digest,
        region: token.region.clone(),
        edge: token.edge.clone(),
        expires: token.expires,
        uses: token.uses,
        used: u32::try_from(token.used.len()).unwrap_or(u32::MAX),
        by: token.by,
        by_name: trust
            .as_ref()
            .and_then(|trust| trust.directory.administrator(&token.by))
            .map(|administrator| administrator.name.clone()),
        index: token.index,
    });
    Ok(Json(JoinTokens { applied: state.applied(), voter: app.cluster.id, enrol: app.enrol, tokens: tokens.collect() }))
}
