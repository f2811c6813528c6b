//! `remit trust push`: hands roots and a directory to the control plane, after asking here what voters will ask there.

use std::path::PathBuf;

use remit_chaos::launcher::MeshFile;
use remit_common::limits::DIRECTORY_BYTES_MAX;
use remit_common::trust::TrustRefused;
use remit_common::trust::ceremony::{Content, Draft};
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::{Root, SignedRoot};
use remit_control_plane::admin::model::TrustInstalled;
use serde::Serialize;
use serde_json::value::RawValue;

use super::documents;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{files, trust};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit trust push 2.root.json directory.json
The request is signed by the administrator of the mesh file, whom the directory gives the verb `install-trust`.")]
pub(super) struct Args {
    /// Roots in any order, and at most one directory
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// The body of `POST /v1/trust`.
#[derive(Serialize)]
struct Body {
    roots: Vec<Box<RawValue>>,
    directory: Option<Box<RawValue>>,
}

/// What is to be installed, in order.
#[derive(Default)]
struct Documents {
    roots: Vec<(u64, Vec<u8>)>,
    directory: Option<Vec<u8>>,
}

/// What the mesh has, as an edge gives it; nothing of it is believed.
#[derive(Default)]
struct Known {
    roots: Vec<Vec<u8>>,
    directory: Option<Vec<u8>>,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let documents = read(args, context)?;
    let mesh = context.mesh()?;
    let known = match trust::published(&mesh).await {
        Ok(body) => known(&body)?,
        // Without an edge that answers, the files have to lead from the first root on by themselves.
        Err(_) => Known::default(),
    };
    verify(&documents, &known, &mesh, context)?;
    let raw = |bytes: &[u8]| {
        serde_json::from_slice::<Box<RawValue>>(bytes).map_err(|error| Failure::caused(Exit::Failed, &error))
    };
    let body = Body {
        roots: documents.roots.iter().map(|(_, bytes)| raw(bytes)).collect::<Result<_, _>>()?,
        directory: documents.directory.as_deref().map(raw).transpose()?,
    };
    let body = serde_json::to_vec(&body).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let admin = Admin::new(context, &mesh)?;
    let installed: TrustInstalled = admin.post("/v1/trust", body).await.map_err(advise)?;
    context.output.document(&installed);
    let TrustInstalled { index, root, directory } = installed;
    context.output.line(format!("installed as entry {index}: root {root}, directory {directory}"));
    context.output.line("edges fetch both by themselves; `remit status` shows what they have");
    Ok(Exit::Done)
}

fn read(args: &Args, context: &Context) -> Result<Documents, Failure> {
    let mut documents = Documents::default();
    for path in &args.files {
        let bytes = files::read(&context.env, path, DIRECTORY_BYTES_MAX)?;
        let draft = Draft::parse(&bytes).map_err(|error| documents::refused_in(path, &error))?;
        match draft.content() {
            Content::Root(content) => documents.roots.push((content.version, bytes)),
            Content::Directory(_) if documents.directory.is_some() => {
                return Err(Failure::new(Exit::Usage, "at most one directory is installed at a time"));
            }
            Content::Directory(_) => documents.directory = Some(bytes),
        }
    }
    documents.roots.sort_by_key(|(version, _)| *version);
    Ok(documents)
}

fn known(body: &[u8]) -> Result<Known, Failure> {
    let published: trust::Published<'_> = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Exit::Failed, format!("the edge's answer is not what was expected: {error}")))?;
    let bytes = |raw: &RawValue| raw.get().as_bytes().to_vec();
    Ok(Known {
        roots: published.roots.iter().map(|raw| bytes(raw)).collect(),
        directory: Some(bytes(published.directory)).filter(|raw| raw != b"null"),
    })
}

/// What voters will do: clause C-56.
fn verify(documents: &Documents, known: &Known, mesh: &MeshFile, context: &Context) -> Result<(), Failure> {
    let refused = |error: TrustRefused| documents::refused(&error);
    let now = context.now();
    let pin = trust::root_digest(context, mesh)?;
    let is_new = |bytes: &Vec<u8>| !known.roots.contains(bytes);
    let new = documents.roots.iter().map(|(_, bytes)| bytes).filter(|bytes| is_new(bytes));
    let mut root: Option<Root> = None;
    for bytes in known.roots.iter().chain(new) {
        let signed = SignedRoot::parse(bytes).map_err(refused)?;
        root = Some(match &root {
            Some(previous) => signed.verify_next(previous).map_err(refused)?,
            None => signed.verify_pinned(&pin, &mesh.mesh_id).map_err(|error| match error {
                TrustRefused::Pin { .. } if known.roots.is_empty() => refused(error)
                    .hint("no edge shows what is installed: name every root, from the mesh's first one on"),
                other => refused(other),
            })?,
        });
    }
    // No root is named and none is known: then voters alone can say.
    let Some(root) = root else { return Ok(()) };
    root.check_time(now).map_err(refused)?;
    let installed = known.directory.as_deref().map(SignedDirectory::parse).transpose().map_err(refused)?;
    match &documents.directory {
        Some(bytes) => {
            let directory = SignedDirectory::parse(bytes).and_then(|it| it.verify(&root, now)).map_err(refused)?;
            if let Some(previous) = installed.and_then(|it| it.verify_signatures(&root).ok()) {
                directory.check_succeeds(&previous).map_err(|error| {
                    refused(error).hint("`remit trust directory --from OLD` makes the one that comes after OLD")
                })?;
            }
        }
        None => {
            if let Some(installed) = installed {
                installed.verify(&root, now).map_err(|error| {
                    refused(error).hint(
                        "the directory that is installed does not hold under this root: push one that does with it",
                    )
                })?;
            }
        }
    }
    Ok(())
}

fn advise(failure: Failure) -> Failure {
    match failure.reason.as_deref() {
        Some("verb_not_permitted" | "unknown_administrator" | "administrator_expired") => {
            failure.hint("trust is installed by an administrator with the verb `install-trust` in the directory")
        }
        Some("not_the_next_root" | "rollback" | "same_version") => {
            failure.hint("somebody else has installed something meanwhile: look, and make the next one")
        }
        _ => failure,
    }
}
