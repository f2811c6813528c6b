//! An administrator of the mesh: cuts, and asks whom they cover.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use remit_common::id::RevocationEpoch;
use remit_common::identity::SignedRequest;
use remit_common::net::env::Env;
use remit_common::net::http::HttpClient;
use remit_common::text;
use remit_control_plane::admin::model::{BundlePublished, Coverage, RevocationMade};
use serde::de::DeserializeOwned;

use super::mesh::Mesh;

/// For an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of one: the coverage of ten thousand edges.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Life of a signature.
const SIGNATURE_LIFE_SECS: u64 = 120;

/// Sends requests to the voter of a mesh.
pub struct Desk<'a> {
    env: Env,
    mesh: &'a Mesh,
    http: HttpClient,
}

impl<'a> Desk<'a> {
    /// At the voter of this mesh.
    #[must_use]
    pub fn new(env: &Env, mesh: &'a Mesh) -> Self {
        Self { env: env.clone(), mesh, http: HttpClient::new(env, ANSWER_BYTES_MAX) }
    }

    /// Cuts a link that nobody has, and says at which epoch.
    ///
    /// # Errors
    /// When the voter refuses, or does not answer.
    pub async fn revoke(&self) -> Result<RevocationMade> {
        let link = text::hex(&self.env.random::<32>());
        let body = serde_json::json!({ "tenant": self.mesh.tenant, "kind": "link", "id": link });
        self.post("/v1/revocations", serde_json::to_vec(&body)?).await
    }

    /// Pushes the bundle that the edges run.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub async fn push(&self) -> Result<BundlePublished> {
        self.post("/v1/bundles", self.mesh.bundle.0.clone()).await
    }

    /// Which edges have signed that they enforce this epoch.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub async fn coverage(&self, epoch: RevocationEpoch) -> Result<Coverage> {
        let path = format!("/v1/revocations/{epoch}/coverage?consistency=stale");
        self.send(http::Request::get(path), Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T> {
        let created = self.env.now().wall.as_secs();
        let (mesh, key, nonce) = (&self.mesh.id, &self.mesh.administrator, self.env.random());
        let signed =
            SignedRequest::sign(mesh, key, "POST", path, body.clone(), created, created + SIGNATURE_LIFE_SECS, nonce);
        let request = signed
            .headers(mesh)
            .into_iter()
            .fold(http::Request::post(path), |request, (name, value)| request.header(name, value));
        self.send(request, body.into()).await
    }

    async fn send<T: DeserializeOwned>(&self, request: http::request::Builder, body: Bytes) -> Result<T> {
        let to = self.mesh.listen.admin;
        let request = request.header(http::header::HOST, to.to_string()).body(body)?;
        let path = request.uri().path().to_owned();
        let answer = self.http.send(to, request, ANSWER_WITHIN).await?;
        let said = || String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status().is_success(), "`{path}`: {}: {}", answer.status(), said());
        serde_json::from_slice(answer.body()).with_context(|| format!("what `{path}` answers"))
    }
}
