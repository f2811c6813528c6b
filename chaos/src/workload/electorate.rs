//! Who votes, changed as an administrator changes it: signed, at any voter that answers, one change at a time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use remit_common::id::VoterId;
use remit_common::identity::SignedRequest;
use remit_control_plane::admin::model::{Problem, Voters};
use remit_control_plane::registry::VoterRequest;
use serde_json::{Value, json};

use super::http::{addr_of, get, send};
use crate::drill::backend::Access;
use crate::launcher::read_signing_key;
use crate::node::Node;

/// For one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For a majority to take a request, and for a change to be carried out: an election, a snapshot, a joint membership.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);
/// Between two tries, and between two looks at how far a change is.
const LOOK: Duration = Duration::from_millis(250);
/// Life of a signature.
const SIGNATURE_LIFE_SECS: u64 = 120;

/// Installs a directory.
///
/// # Errors
/// When voters refuse it, or none answers in time.
pub async fn install(access: &dyn Access, directory: &[u8]) -> Result<()> {
    let document: Value = serde_json::from_slice(directory).context("the directory is not JSON")?;
    let body = json!({"roots": [], "directory": document});
    post(access, "/v1/trust", &body, &["same_version"]).await.context("no directory is installed")
}

/// Takes a voter in that has been started, and returns when it votes.
///
/// # Errors
/// When voters refuse it, or it does not vote in time.
pub async fn add(access: &dyn Access, id: VoterId, raft: SocketAddr, dist: SocketAddr) -> Result<()> {
    change(access, &VoterRequest::Add { id, raft, dist }, id, true).await
}

/// Lets a voter go, and returns when it has no vote.
///
/// # Errors
/// When voters refuse it, or it still votes after a while.
pub async fn remove(access: &dyn Access, id: VoterId) -> Result<()> {
    change(access, &VoterRequest::Remove { id }, id, false).await
}

async fn change(access: &dyn Access, request: &VoterRequest, id: VoterId, votes: bool) -> Result<()> {
    let until = access.now() + CHANGE_WITHIN;
    let body = serde_json::to_value(request).context("a request has no JSON form")?;
    // A request whose answer was lost may have been taken: then a second one finds it done, or under way.
    post(access, "/v1/voters", &body, &["change_under_way", "already_a_voter", "no_such_voter"]).await?;
    while access.now() < until {
        for voter in access.mesh().voters.iter().filter(|voter| voter.id != id) {
            let env = access.env_at(&Node::Voter(voter.id));
            let voters: Option<Voters> = get(&env, &voter.admin, "/v1/voters", ANSWER_WITHIN).await;
            if voters.is_some_and(|voters| voters.change.is_none() && has_vote(&voters, id) == votes) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let what = if votes { "does not vote" } else { "still votes" };
    bail!("voter {id} {what} {} seconds after it was asked for", CHANGE_WITHIN.as_secs())
}

fn has_vote(voters: &Voters, id: VoterId) -> bool {
    voters.voters.iter().any(|seat| seat.id == id && seat.seat == "voter")
}

/// Hands a signed request to one voter after the other until one has carried it out. A refusal for one of these reasons
/// counts as that, once an answer has been lost.
async fn post(access: &dyn Access, path: &str, body: &Value, done: &[&str]) -> Result<()> {
    let until = access.now() + CHANGE_WITHIN;
    let body = serde_json::to_vec(body).context("a request has no JSON form")?;
    let (mesh, env) = (access.mesh(), access.env_at(&Node::Operator));
    let key = read_signing_key(&env, &mesh.keys.admin)?;
    let mut last = "no voter answers".to_owned();
    let mut unknown = false;
    while access.now() < until {
        for voter in &access.mesh().voters {
            let Some(to) = addr_of(&voter.admin) else { continue };
            let created = env.now().wall.as_secs();
            let (until, nonce) = (created + SIGNATURE_LIFE_SECS, env.random());
            let signed = SignedRequest::sign(&mesh.mesh_id, &key, "POST", path, body.clone(), created, until, nonce);
            let mut request = http::Request::post(path).header("host", to.to_string());
            request = request.header("content-type", "application/json");
            for (name, value) in signed.headers(&mesh.mesh_id) {
                request = request.header(name, value);
            }
            let at = access.env_at(&Node::Voter(voter.id));
            let answer = send(&at, to, request.body(Bytes::from(signed.body.clone()))?, ANSWER_WITHIN).await;
            let response = match answer {
                Ok(response) => response,
                Err(failed) => {
                    unknown |= !failed.is_unsent();
                    continue;
                }
            };
            if response.status().is_success() {
                return Ok(());
            }
            let Ok(problem) = serde_json::from_slice::<Problem>(response.body()) else { continue };
            if unknown && done.contains(&problem.reason.as_str()) {
                return Ok(());
            }
            last = format!("{}: {}", problem.reason, problem.detail);
            // What is not about the moment will not be otherwise in a second.
            if response.status().is_client_error() && problem.reason != "change_under_way" {
                bail!("refused: {last}");
            }
            unknown |= problem.reason == "outcome_unknown";
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{last}")
}
