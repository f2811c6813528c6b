//! Requests that administrators and holders sign for one edge.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use remit_common::id::MeshId;
use remit_common::identity::SignedRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::reach::{EdgeCa, EdgeUrl, Reach};
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// For an answer: an edge gives each of its voters eight seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts a signed request to an edge.
pub(crate) async fn post_signed<T: DeserializeOwned>(
    mesh: &MeshId,
    request: &SignedRequest,
    (edge, edge_ca): (&EdgeUrl, &EdgeCa),
    context: &Context,
) -> Result<T, Failure> {
    let env = &context.env;
    let mut post = Request::post(&request.path).header(CONTENT_TYPE, "application/json").header(HOST, edge.authority());
    for (name, value) in request.headers(mesh) {
        post = post.header(name, value);
    }
    let post = post.body(Bytes::from(request.body.clone())).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let authorities = edge_ca.read(env, std::slice::from_ref(edge))?;
    let reach = Reach::new(env, edge.clone(), &authorities, ANSWER_BYTES_MAX);
    let reach = reach.map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let response = reach.send(post, ANSWERS_WITHIN).await.map_err(|error| {
        let message = format!("the edge does not answer: {}: {}", reach.url(), reach.told(&error));
        Failure::new(Exit::Unreachable, message).hint("name another edge; asking twice does no harm")
    })?;
    let (status, body) = (response.status(), response.into_body());
    if let Ok(answer) = serde_json::from_slice(&body)
        && status.is_success()
    {
        return Ok(answer);
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    Err(match problem {
        Some(problem) => Failure::new(Exit::Failed, problem.detail).reason(problem.reason),
        None => Failure::new(Exit::Failed, format!("the edge answers {status}")),
    })
}

/// What of a refusal matters here.
#[derive(Deserialize)]
struct Problem {
    reason: String,
    detail: String,
}
