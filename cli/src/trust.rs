//! The root and the directory of a mesh, verified here and not believed from anybody.

use remit_chaos::launcher::MeshFile;
use remit_common::crypto::digest::Digest;
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::time::Timestamp;
use remit_common::trust::directory::Directory;
use remit_common::trust::published;
use remit_common::trust::root::{Root, SignedRoot};
use serde::{Deserialize, Serialize};
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

/// The newest root and directory that any edge of the mesh has: one that lags, or lies, does not hide them.
pub(crate) async fn directory(context: &Context, mesh: &MeshFile) -> Result<(Root, Directory), Failure> {
    newest(context, mesh, &published_by_all(mesh).await?)
}

/// What each edge of the mesh gives as [`Published`], in the order of the mesh file.
pub(crate) async fn published_by_all(mesh: &MeshFile) -> Result<Vec<Result<Vec<u8>, String>>, Failure> {
    let http = http_client()?;
    Ok(futures::future::join_all(mesh.edges.iter().map(|edge| published_by(&http, &edge.agent))).await)
}

/// The newest that verifies of what [`published_by_all`] gave.
pub(crate) fn newest(
    context: &Context,
    mesh: &MeshFile,
    answers: &[Result<Vec<u8>, String>],
) -> Result<(Root, Directory), Failure> {
    let (mut newest, mut silent) = (None::<(Root, Directory)>, Vec::new());
    for (edge, answer) in mesh.edges.iter().zip(answers) {
        match answer
            .as_deref()
            .map_err(String::clone)
            .and_then(|body| verified(context, mesh, body).map_err(|failure| failure.message))
        {
            Ok(found) => {
                let rank = |trust: &(Root, Directory)| (trust.1.version(), trust.0.version());
                if newest.as_ref().is_none_or(|known| rank(known) < rank(&found)) {
                    newest = Some(found);
                }
            }
            Err(why) => silent.push(format!("{}: {why}", edge.id)),
        }
    }
    newest.ok_or_else(|| {
        Failure::new(
            Exit::Unreachable,
            format!("no edge gives a directory that can be verified ({})", silent.join("; ")),
        )
    })
}

async fn published_by(http: &reqwest::Client, agent: &str) -> Result<Vec<u8>, String> {
    let response = http.get(format!("{agent}/v1/directory")).send().await.map_err(|error| cause(&error))?;
    if !response.status().is_success() {
        return Err(response.status().to_string());
    }
    bounded(response).await.map_err(|failure| failure.message)
}

/// What an edge of the mesh gives as [`Published`], not verified.
pub(crate) async fn published(mesh: &MeshFile) -> Result<Vec<u8>, Failure> {
    let http = http_client()?;
    let mut silent = Vec::new();
    for edge in &mesh.edges {
        match published_by(&http, &edge.agent).await {
            Ok(body) => return Ok(body),
            Err(why) => silent.push(format!("{}: {why}", edge.id)),
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

/// How long before its end a root is to be followed by the next: enough for people to come together.
const ROOT_SOON_DAYS: u64 = 30;
/// The same for a directory, which lives for 30 days at most.
const DIRECTORY_SOON_DAYS: u64 = 7;
const DAY_MILLIS: u64 = 86_400_000;

/// When a document ends, and whether somebody has to see to it. Clause T-19.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Life {
    #[serde(skip)]
    what: &'static str,
    /// First moment at which it no longer counts.
    expires: String,
    /// Whole days until then.
    days_left: u64,
    state: LifeState,
}

/// Whether a document's end is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LifeState {
    /// Not near.
    Counts,
    /// The next one is to be made now.
    EndsSoon,
    /// It counts no longer.
    Expired,
}

impl Life {
    /// Of a `root` or a `directory`.
    pub(crate) fn of(what: &'static str, expires: Timestamp, now: Timestamp) -> Self {
        let left = expires.as_millis().saturating_sub(now.as_millis());
        let soon = if what == "root" { ROOT_SOON_DAYS } else { DIRECTORY_SOON_DAYS };
        let state = match left {
            0 => LifeState::Expired,
            left if left <= soon * DAY_MILLIS => LifeState::EndsSoon,
            _ => LifeState::Counts,
        };
        Self { what, expires: expires.to_string(), days_left: left / DAY_MILLIS, state }
    }

    /// For people: red where somebody has to act.
    pub(crate) fn paint(&self, context: &Context) -> String {
        let Self { expires, days_left, .. } = self;
        match self.state {
            LifeState::Counts => format!("{expires}, in {days_left} days"),
            LifeState::EndsSoon => context.output.bad(&format!("{expires}, in {days_left} days: soon")),
            LifeState::Expired => context.output.bad(&format!("{expires}: it has expired")),
        }
    }

    /// What somebody has to do, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { what, expires, days_left, state } = self;
        let make = if *what == "root" { "remit trust rotate" } else { "remit trust directory --from" };
        match state {
            LifeState::Counts => None,
            LifeState::EndsSoon => {
                Some(format!("the {what} ends in {days_left} days, at {expires}: make the next one with `{make}`"))
            }
            LifeState::Expired => Some(format!("the {what} ended at {expires}: make the next one with `{make}`")),
        }
    }
}

/// What a mesh hangs on, as one of its edges gave it, and how long that counts.
pub(crate) fn standing(context: &Context, mesh: &MeshFile, body: &[u8]) -> Result<[Life; 2], Failure> {
    let pin = installed_root(context, mesh)?.digest();
    let published = published::Published::parse(body);
    let (root, directory) = published
        .and_then(|it| it.verify_signatures(&pin, &mesh.mesh_id))
        .map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let now = context.now();
    Ok([Life::of("root", root.content().expires, now), Life::of("directory", directory.content().expires, now)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause T-19.
    #[test]
    fn the_end_is_told_thirty_days_before_of_a_root_and_seven_of_a_directory() {
        let now = Timestamp::from_secs(1_793_491_200);
        let of = |what, secs: u64| Life::of(what, Timestamp::from_secs(now.as_secs() + secs), now);
        for (what, days, make) in [("root", 30, "remit trust rotate"), ("directory", 7, "remit trust directory")] {
            let (soon, later) = (of(what, days * 86_400), of(what, days * 86_400 + 1));
            assert_eq!((soon.state, soon.days_left), (LifeState::EndsSoon, days));
            assert!(soon.warning().unwrap().contains(make));
            assert_eq!((later.state, later.warning()), (LifeState::Counts, None));
            let ended = of(what, 0);
            assert_eq!(ended.state, LifeState::Expired);
            assert!(ended.warning().unwrap().starts_with(&format!("the {what} ended at ")));
        }
    }
}
