//! Hands a part of the envelope on to another agent.
//!
//! The sidecar signs the link; the key of the child is either the child's own, of which only the public half is shown
//! here, or is made here and goes into a file. It never stands in an answer: answers are what agents print, log and
//! remember. Who can talk to the agent can have it ask for children: a key from elsewhere is taken only where the
//! operator said so. An edge registers what was made, or every edge would refuse it. Clause G-67.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use remit_common::crypto::key_file;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::envelope::{InvalidRequest, RawPresentation, RestrictionRequest, delegate};
use remit_common::lattice::{Names, NoNames};
use remit_common::net::env::Env;
use remit_common::policy::taxonomy::Taxonomy;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::edges::Edges;
use super::place::{Held, NotHere};
use crate::commands::envelope::register::to_json;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};

/// Children of one sidecar, over its whole life. An envelope lives for an hour, and a child for a quarter of one.
const CHILDREN_MAX: usize = 1_024;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// As `child.toml` has it.
    restriction: RestrictionRequest,
    /// The child's own key, which may be anywhere.
    holder: Option<PublicKey>,
    /// Whether an edge is asked to register it.
    #[serde(default = "yes")]
    register: bool,
}

fn yes() -> bool {
    true
}

/// What is given.
#[derive(Serialize)]
struct Child {
    /// The envelope file.
    envelope: EnvelopeFile,
    /// The id of the link that was made: what to name when it is to be cut.
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<serde_json::Value>,
}

#[derive(Clone, Serialize)]
struct Files {
    envelope: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path, link: &str) -> Self {
        let stem: String = link.chars().take(16).collect();
        Self { envelope: folder.join(format!("{stem}.envelope")), key: folder.join(format!("{stem}.key")) }
    }
}

/// Why there is no child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoChild {
    /// What was asked for cannot be had.
    Asked(String),
    /// It could, and something else went wrong.
    Failed(String),
}

/// Makes envelopes for others.
pub(crate) struct Nursery {
    env: Env,
    held: Arc<Held>,
    /// Where keys that are made here go.
    folder: Option<PathBuf>,
    /// Whether keys that were made elsewhere are taken.
    takes_foreign: bool,
    /// What purposes and classes are called, where somebody said.
    names: Option<Taxonomy>,
    made: Arc<AtomicUsize>,
}

/// A child that is being made. Unless it is kept, its place is given back and its files are removed: also when nobody
/// waits for it any more.
struct Draft {
    env: Env,
    made: Arc<AtomicUsize>,
    files: Option<Files>,
    is_kept: AtomicBool,
}

impl Draft {
    fn begin(env: &Env, made: &Arc<AtomicUsize>, files: Option<Files>) -> Result<Arc<Self>, NoChild> {
        let taken = made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
            made.checked_add(1).filter(|made| *made <= CHILDREN_MAX)
        });
        if taken.is_err() {
            return Err(NoChild::Failed(format!("this sidecar has made {CHILDREN_MAX} children; start another one")));
        }
        Ok(Arc::new(Self { env: env.clone(), made: Arc::clone(made), files, is_kept: AtomicBool::new(false) }))
    }

    fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        self.made.fetch_sub(1, Ordering::Relaxed);
        for path in self.files.iter().flat_map(|files| [&files.envelope, &files.key]) {
            if let Err(error) = self.env.disk.remove(path) {
                tracing::warn!(path = %path.display(), %error, "a file of a child that was not made stays");
            }
        }
    }
}

impl Nursery {
    /// `takes_foreign`: whether a request may name the key that will hold the child.
    pub(crate) fn new(
        env: &Env,
        held: &Arc<Held>,
        folder: Option<PathBuf>,
        takes_foreign: bool,
        names: Option<Taxonomy>,
    ) -> Self {
        Self { env: env.clone(), held: Arc::clone(held), folder, takes_foreign, names, made: Arc::default() }
    }

    /// Makes a child; gives the JSON that its parent is told.
    pub(super) async fn child(&self, edges: &Edges, request: &[u8]) -> Result<Vec<u8>, NoChild> {
        let asked = |why: String| NoChild::Asked(why);
        let failed = |error: &dyn std::error::Error| NoChild::Failed(Failure::caused(Exit::Failed, error).message);
        let Request { restriction, holder, register } = serde_json::from_slice(request).map_err(|error| {
            asked(format!(
                "{error}; what is asked for is {{\"restriction\": …, \"holder\": …}}, a restriction as in child.toml"
            ))
        })?;
        let names: &dyn Names = match &self.names {
            Some(names) => names,
            None => &NoNames,
        };
        let restriction = restriction.resolve(names).map_err(|error| asked(self.unresolved(&error)))?;
        let (public, made) = match (holder, &self.folder) {
            (Some(_), _) if !self.takes_foreign => {
                return Err(asked(
                    "a `holder` is not taken here: whoever has that key, on whatever machine, would hold a part of the \
                     envelope. Leave it out (the sidecar makes a key when it is started with --children DIR), or start \
                     the sidecar with --allow-foreign-holders"
                        .to_owned(),
                ));
            }
            (Some(public), _) => (public, None),
            (None, Some(folder)) => {
                let key = SigningKey::from_seed(Zeroizing::new(self.env.random())).map_err(|error| failed(&error))?;
                (*key.public(), Some((folder, key)))
            }
            (None, None) => {
                return Err(asked(
                    "no key for the child: start the sidecar with --children DIR, where it writes envelope and key, or \
                     with --allow-foreign-holders and give the child's public key (64 hex digits) as `holder`"
                        .to_owned(),
                ));
            }
        };
        let Held { mesh, root, presentation, key, .. } = self.held.as_ref();
        let (now, nonce) = (self.env.now().wall, self.env.random());
        let child = delegate(presentation, key, mesh, &restriction, &public, now, nonce)
            .map_err(|error| asked(Failure::caused(Exit::Failed, &error).message))?;
        let parsed = RawPresentation::parse(&child).map_err(|error| failed(&error))?;
        let link = parsed.leaf_id(mesh).map(|link| link.to_string()).unwrap_or_default();
        let files = made.as_ref().map(|(folder, _)| Files::of(folder, &link));
        let draft = Draft::begin(&self.env, &self.made, files.clone())?;
        let mut envelope = EnvelopeFile::new(*mesh, *root, &child);
        // Before any edge counts the child: without its key nobody could use it, and nobody could end it but by a cut.
        if let Some((_, key)) = made {
            let key = key_file::encode_signing(&key);
            let write = move |env: &Env, files: &Files| crate::files::write(env, &files.key, key.as_bytes());
            self.write(&draft, write).await?;
            self.write_envelope(&draft, &envelope).await?;
        }
        let registered = match register {
            false => None,
            true => match edges.register(&child).await {
                Ok(done) => {
                    envelope = EnvelopeFile::new(*mesh, *root, &done.presentation);
                    Some(to_json(&done))
                }
                Err(NotHere::Refused(why)) => return Err(asked(why)),
                Err(NotHere::Silent(why)) => {
                    return Err(NoChild::Failed(format!("no edge registers the child ({why}); it would be refused")));
                }
            },
        };
        draft.keep();
        if registered.is_some() {
            self.write_envelope(&draft, &envelope).await.map_err(|no| match no {
                NoChild::Asked(why) | NoChild::Failed(why) => {
                    NoChild::Failed(format!("the child {link} is registered, and its envelope is not written: {why}"))
                }
            })?;
        }
        serde_json::to_vec(&Child { envelope, link, files, registered }).map_err(|error| failed(&error))
    }

    async fn write_envelope(&self, draft: &Arc<Draft>, envelope: &EnvelopeFile) -> Result<(), NoChild> {
        let envelope = envelope.clone();
        self.write(draft, move |env: &Env, files: &Files| envelope.write(env, &files.envelope)).await
    }

    /// Writes one of the files, where the child has files. Until it is written the draft is not gone.
    async fn write(
        &self,
        draft: &Arc<Draft>,
        write: impl FnOnce(&Env, &Files) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), NoChild> {
        let draft = Arc::clone(draft);
        let write = move || draft.files.as_ref().map_or(Ok(()), |files| write(&draft.env, files));
        let written = self.env.run_blocking(write).await.map_err(|error| NoChild::Failed(error.to_string()))?;
        written.map_err(|failure| NoChild::Failed(failure.message))
    }

    fn unresolved(&self, error: &InvalidRequest) -> String {
        let told = Failure::caused(Exit::Failed, error).message;
        match error {
            InvalidRequest::Purpose { .. } | InvalidRequest::Class { .. } if self.names.is_none() => {
                format!(
                    "{told}; purposes and classes go by number here, or by name when the sidecar is started with --bundle DIR"
                )
            }
            _ => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use remit_common::net::real::real;

    use super::*;

    #[test]
    fn a_child_that_is_not_made_takes_no_place_and_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let (env, made) = (real(), Arc::new(AtomicUsize::new(CHILDREN_MAX - 1)));
        let files = Files::of(folder.path(), &"ab".repeat(32));
        let begin = || Draft::begin(&env, &made, Some(files.clone()));
        for _ in 0..3 {
            let draft = begin().ok().unwrap();
            assert!(matches!(begin(), Err(NoChild::Failed(_))), "the last place is taken");
            for path in [&files.envelope, &files.key] {
                env.disk.replace(path, b"x").unwrap();
            }
            drop(draft);
            assert!(!files.envelope.exists() && !files.key.exists());
        }
        let draft = begin().ok().unwrap();
        env.disk.replace(&files.key, b"x").unwrap();
        draft.keep();
        drop(draft);
        assert!(files.key.exists() && begin().is_err());
    }
}
