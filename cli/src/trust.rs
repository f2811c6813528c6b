//! The root and the directory of a mesh, verified here and not believed from anybody.

use remit_chaos::launcher::MeshFile;
use remit_common::crypto::digest::Digest;
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::trust::directory::Directory;
use remit_common::trust::published;
use remit_common::trust::root::{Root, SignedRoot};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::admin::{bounded, cause, http_client};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// `GET /v1/directory` of an edge: every root from the first on, and the newest directory, each as it was signed.
#[derive(Deserialize)]
pub(crate) struct Published<'a> {
    #[serde(borrow)]
    pub(crate) roots: Vec<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) directory: &'a RawValue,
}

/// The digest by which this mesh's first root is known: that of the root beside the mesh file.
pub(crate) fn root_digest(context: &Context, mesh: &MeshFile) -> Result<Digest, Failure> {
    Ok(installed_root(context, mesh)?.digest())
}

fn installed_root(context: &Context, mesh: &MeshFile) -> Result<SignedRoot, Failure> {
    let bytes = files::read(&context.env, &mesh.root, DOCUMENT_BYTES_MAX)?;
    SignedRoot::parse(&bytes).map_err(|error| Failure::caused(Exit::Failed, &error))
}

/// The newest root and directory that an edge of the mesh has.
pub(crate) async fn directory(context: &Context, mesh: &MeshFile) -> Result<(Root, Directory), Failure> {
    verified(context, mesh, &published(mesh).await?)
}

/// What an edge of the mesh gives as [`Published`], not verified.
pub(crate) async fn published(mesh: &MeshFile) -> Result<Vec<u8>, Failure> {
    let http = http_client()?;
    let mut silent = Vec::new();
    for edge in &mesh.edges {
        match http.get(format!("{}/v1/directory", edge.agent)).send().await {
            Ok(response) if response.status().is_success() => {
                return bounded(response).await;
            }
            Ok(response) => silent.push(format!("{}: {}", edge.id, response.status())),
            Err(error) => silent.push(format!("{}: {}", edge.id, cause(&error))),
        }
    }
    Err(Failure::new(Exit::Unreachable, format!("no edge gives its directory ({})", silent.join("; "))))
}

/// Verifies what [`published()`] gave, from the root beside the mesh file on.
pub(crate) fn verified(context: &Context, mesh: &MeshFile, body: &[u8]) -> Result<(Root, Directory), Failure> {
    let pin = installed_root(context, mesh)?.digest();
    let verified = published::Published::parse(body).and_then(|it| it.verify(&pin, &mesh.mesh_id, context.now()));
    verified.map_err(|error| Failure::caused(Exit::Failed, &error))
}
