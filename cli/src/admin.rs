//! The client of the control plane's admin API.
//!
//! Reads ask one voter after the other until one answers. Writes are signed by the administrator's key, method, path
//! and body, so that every voter can check them; the same signed request goes to the next voter only when it is sure
//! that the one before has not seen it.

use std::time::Duration;

use remit_chaos::launcher::MeshFile;
use remit_common::crypto::sign::SigningKey;
use remit_common::identity::SignedRequest;
use remit_common::limits::BOOTSTRAP_BYTES_MAX;
use remit_common::net::env::Env;
use remit_control_plane::admin::model::Problem;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// For a TCP connection on one machine or between regions.
const CONNECT: Duration = Duration::from_secs(2);
/// For an answer; a write waits for a majority, and after the loss of a leader for an election.
const ANSWER: Duration = Duration::from_secs(20);
/// Life of a signature: clocks may differ by half a minute, and a command is sent at once.
const SIGNATURE_LIFE_SECS: u64 = 120;
/// Bytes of one answer; the longest is a bootstrap.
const ANSWER_BYTES_MAX: usize = BOOTSTRAP_BYTES_MAX;

/// The reason of a write of which no voter knows whether it was carried out.
const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// Talks to the voters of one mesh.
pub(crate) struct Admin {
    env: Env,
    mesh: MeshFile,
    http: reqwest::Client,
}

/// One voter's answer, or why there is none.
enum Asked {
    Answer(Vec<u8>),
    /// Nothing reached the voter, or it says that it cannot act.
    Next(String),
    Failed(Failure),
}

impl Admin {
    pub(crate) fn new(context: &Context, mesh: &MeshFile) -> Result<Self, Failure> {
        Ok(Self { env: context.env.clone(), mesh: mesh.clone(), http: http_client()? })
    }

    /// `GET path` from the first voter that answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask_any(&Method::GET, path, None).await.and_then(|bytes| read(&bytes))
    }

    /// `GET path` as bytes.
    pub(crate) async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask_any(&Method::GET, path, None).await
    }

    /// `GET path` from one voter.
    pub(crate) async fn get_from<T: DeserializeOwned>(&self, admin: &str, path: &str) -> Result<T, Failure> {
        match self.ask(admin, &Method::GET, path, None).await {
            Asked::Answer(bytes) => read(&bytes),
            Asked::Next(why) => Err(Failure::new(Exit::Unreachable, why)),
            Asked::Failed(failure) => Err(failure),
        }
    }

    /// `GET path`, answered piece by piece for as long as the voter has something to say.
    pub(crate) async fn stream(&self, path: &str) -> Result<reqwest::Response, Failure> {
        let client = client(None)?;
        let mut silent = Vec::new();
        for voter in &self.mesh.voters {
            match client.get(format!("{}{path}", voter.admin)).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => silent.push(format!("voter {}: {}", voter.id, response.status())),
                Err(error) => silent.push(format!("voter {}: {}", voter.id, cause(&error))),
            }
        }
        Err(unreachable(&silent))
    }

    /// `POST path`, signed by the administrator of the mesh file.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, Failure> {
        let key = files::read_key(&self.env, &self.mesh.keys.admin)?;
        self.post_as(&key, path, body).await
    }

    /// `POST path`, signed by this key.
    pub(crate) async fn post_as<T: DeserializeOwned>(
        &self,
        key: &SigningKey,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let request = self.sign(key, path, body);
        self.ask_any(&Method::POST, path, Some(&request)).await.and_then(|bytes| read(&bytes))
    }

    /// A request as this administrator would send it now.
    pub(crate) fn sign(&self, key: &SigningKey, path: &str, body: Vec<u8>) -> SignedRequest {
        let created = self.env.now().wall.as_secs();
        let nonce = self.env.random();
        SignedRequest::sign(&self.mesh.mesh_id, key, "POST", path, body, created, created + SIGNATURE_LIFE_SECS, nonce)
    }

    async fn ask_any(&self, method: &Method, path: &str, signed: Option<&SignedRequest>) -> Result<Vec<u8>, Failure> {
        let mut silent = Vec::new();
        for voter in &self.mesh.voters {
            match self.ask(&voter.admin, method, path, signed).await {
                Asked::Answer(bytes) => return Ok(bytes),
                Asked::Failed(failure) => return Err(failure),
                Asked::Next(why) => silent.push(format!("voter {}: {why}", voter.id)),
            }
        }
        Err(unreachable(&silent))
    }

    async fn ask(&self, admin: &str, method: &Method, path: &str, signed: Option<&SignedRequest>) -> Asked {
        let mut request = self.http.request(method.clone(), format!("{admin}{path}"));
        if let Some(signed) = signed {
            let kind = if signed.body.starts_with(b"{") || signed.body.starts_with(b"[") {
                "application/json"
            } else {
                "application/octet-stream"
            };
            request = request.header(CONTENT_TYPE, kind).body(signed.body.clone());
            for (name, value) in signed.headers(&self.mesh.mesh_id) {
                request = request.header(name, value);
            }
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || signed.is_none() => return Asked::Next(cause(&error)),
            Err(error) => {
                let message = format!("the answer to the command did not come: {}", cause(&error));
                return Asked::Failed(
                    Failure::new(Exit::Unreachable, message)
                        .hint("the command may have been carried out; look before you repeat it"),
                );
            }
        };
        let status = response.status();
        let body = match bounded(response).await {
            Ok(body) => body,
            Err(failure) => return Asked::Failed(failure),
        };
        if status.is_success() {
            return Asked::Answer(body);
        }
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return Asked::Failed(Failure::new(Exit::Failed, format!("the voter answers {status}")));
        };
        if problem.reason == OUTCOME_UNKNOWN {
            let failure = Failure::new(Exit::Unreachable, problem.detail).reason(problem.reason);
            return Asked::Failed(failure.hint("it may have been carried out; look before you repeat it"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Asked::Next(problem.detail);
        }
        Asked::Failed(Failure::new(Exit::Failed, problem.detail).reason(problem.reason))
    }
}

fn unreachable(silent: &[String]) -> Failure {
    Failure::new(Exit::Unreachable, format!("no voter answers ({})", silent.join("; ")))
        .hint("`remit status` shows which processes run; `remit up` starts a mesh")
}

/// The client for everything this command line asks over HTTP: no proxy, no redirect, no cookie.
pub(crate) fn http_client() -> Result<reqwest::Client, Failure> {
    client(Some(ANSWER))
}

fn client(answer: Option<Duration>) -> Result<reqwest::Client, Failure> {
    let mut builder =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT);
    if let Some(answer) = answer {
        builder = builder.timeout(answer);
    }
    builder.build().map_err(|error| Failure::new(Exit::Failed, format!("cannot make an HTTP client: {error}")))
}

/// The body of an answer, if it is not too long.
pub(crate) async fn bounded(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let message = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(Failure::new(Exit::Failed, message));
            }
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(Failure::new(Exit::Unreachable, format!("the answer broke off: {}", cause(&error))));
            }
        }
    }
}

/// What is at the bottom of an HTTP error: `connection refused` instead of three layers of words.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::new(Exit::Failed, format!("the voter's answer is not what was expected: {error}")))
}
