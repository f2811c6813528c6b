//! Requests to listeners that may be gone.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use remit_common::net::env::Env;
use remit_common::net::http::{HttpClient, HttpFailed};
use serde::de::DeserializeOwned;

/// Bytes of one answer: a page of records.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// For the answer to [`fetch`].
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// The address in `http://ADDR/...`.
pub(super) fn addr_of(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.split('/').next()?.parse().ok()
}

/// One request on a connection of its own.
pub(super) async fn send(
    env: &Env,
    to: SocketAddr,
    request: http::Request<Bytes>,
    within: Duration,
) -> Result<http::Response<Bytes>, HttpFailed> {
    HttpClient::new(env, ANSWER_BYTES_MAX).send(to, request, within).await
}

/// `GET path` from a listener for administrators; none when there is no answer, or one that is no success.
pub(crate) async fn fetch(env: &Env, url: &str, path: &str) -> Option<Bytes> {
    let to = addr_of(url)?;
    let request = http::Request::get(path).header(http::header::HOST, to.to_string()).body(Bytes::new()).ok()?;
    let response = send(env, to, request, FETCH_WITHIN).await.ok()?;
    response.status().is_success().then(|| response.into_body())
}

/// `GET path` as JSON; none when there is no answer of that form.
pub(super) async fn get<T: DeserializeOwned>(env: &Env, url: &str, path: &str, within: Duration) -> Option<T> {
    let to = addr_of(url)?;
    let request = http::Request::get(path).header(http::header::HOST, to.to_string()).body(Bytes::new()).ok()?;
    let response = send(env, to, request, within).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    serde_json::from_slice(response.body()).ok()
}

/// Whether `GET path` is answered with 2xx.
pub(crate) async fn answers(env: &Env, to: SocketAddr, path: &str) -> bool {
    let request = http::Request::get(path).header(http::header::HOST, to.to_string()).body(Bytes::new());
    match request {
        Ok(request) => send(env, to, request, Duration::from_secs(2)).await.is_ok_and(|it| it.status().is_success()),
        Err(_) => false,
    }
}
