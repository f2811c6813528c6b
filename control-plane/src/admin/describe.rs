//! The API described for tools: OpenAPI 3.1 at `/openapi.json`.

use axum::Json;
use serde_json::{Value, json};

use crate::registry::Operation;

pub(super) async fn openapi() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    let mut paths = json!({
        "/v1/status": { "get": read("Voters, edges and what each tenant runs", &["consistency", "tenant"]) },
        "/v1/edges": { "get": read("What edges last said", &["consistency", "tenant"]) },
        "/v1/bundles": { "get": read("Bundles that are kept", &["consistency", "tenant"]) },
        "/v1/bundles/{digest}": { "get": read("One bundle, as its administrators signed it", &["digest"]) },
        "/v1/rollouts": { "get": read("Bundles on their way, and what edges report of them", &["consistency", "tenant"]) },
        "/v1/voters": { "get": read("Voters, learners, and the change that is under way", &["consistency"]) },
        "/v1/join-tokens": { "get": read("Join tokens that count, and where edges join", &["consistency"]) },
        "/v1/credentials": { "get": read("Sealed credentials", &["consistency", "tenant"]) },
        "/v1/relations": { "get": read(
            "Relation tuples that hold",
            &["tenant", "object", "relation", "subject", "after", "limit", "consistency"],
        ) },
        "/v1/relations/batches": { "get": read(
            "Batches of relation tuples, as their writers signed them",
            &["tenant", "after", "consistency"],
        ) },
        "/v1/revocations": { "get": read("Revocations in force, or those of the newest signed tick", &["consistency", "tenant", "signed"]) },
        "/v1/revocations/{epoch}/coverage": { "get": read("Where an epoch holds, and when it will", &["epoch", "consistency"]) },
        "/v1/bootstrap": { "get": read("What edges need to start without a voter, as signed at the newest tick", &[]) },
        "/v1/bootstrap/shards/{edge}": { "get": read("The credentials that are sealed for one edge", &["edge"]) },
        "/v1/decisions": { "get": read("Decision records", &["tenant", "id", "after", "limit"]) },
        "/v1/decisions/stream": { "get": read("Decision records as they arrive, as server-sent events", &["tenant"]) },
        "/v1/records": { "get": read("Records of this voter's store, as edges wrote them", &["after", "limit"]) },
    });
    for operation in Operation::ALL {
        let (summary, body) = match operation {
            Operation::PublishBundle => (
                "Publish a bundle, with a plan of waves and, if it is wider, an approval in front, and activate it",
                "application/octet-stream",
            ),
            Operation::SealCredential => ("Store sealed shards", "application/json"),
            Operation::Revoke => ("Cut authority", "application/json"),
            Operation::IssueEnvelope => ("Issue a root envelope", "application/json"),
            Operation::InstallTrust => ("Install roots and a directory", "application/json"),
            Operation::WriteRelations => ("Change relation tuples by a signed batch", "application/json"),
            Operation::ChangeRollout => ("Pause, resume or abort a rollout", "application/json"),
            Operation::RollBack => ("Go back to a bundle that the highest one names", "application/json"),
            Operation::ChangeTokens => ("Make a join token, or take one back", "application/json"),
            Operation::ChangeVoters => ("Add or remove a voter, or have the leader hand over", "application/json"),
        };
        let parameters = ["Content-Digest", "Signature-Input", "Signature"]
            .map(|name| json!({ "name": name, "in": "header", "required": true, "schema": { "type": "string" } }));
        let write = json!({
            "summary": summary,
            "parameters": parameters,
            "requestBody": { "required": true, "content": { body: {} } },
            "responses": responses("What was done, with its log index"),
        });
        if let Some(path) = paths.get_mut(operation.path()).and_then(Value::as_object_mut) {
            path.insert("post".to_owned(), write);
        } else if let Some(paths) = paths.as_object_mut() {
            paths.insert(operation.path().to_owned(), json!({ "post": write }));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Remit control plane", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
    })
}

fn read(summary: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| {
            let in_path = ["epoch", "digest", "edge"].contains(name);
            let place = if in_path { "path" } else { "query" };
            json!({ "name": name, "in": place, "required": in_path, "schema": { "type": "string" } })
        })
        .collect();
    json!({ "summary": summary, "parameters": parameters, "responses": responses("The answer") })
}

fn responses(done: &str) -> Value {
    json!({
        "200": { "description": done },
        "default": { "description": "A refusal", "content": { "application/problem+json": {} } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_described() {
        let document = document();
        for operation in Operation::ALL {
            let described = document.pointer(&format!("/paths/{}/post/summary", operation.path().replace('/', "~1")));
            assert!(described.is_some_and(Value::is_string), "{operation:?}");
        }
    }
}
